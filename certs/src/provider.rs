//! The one cryptography provider of the process, passed explicitly everywhere.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The provider: aws-lc-rs, TLS 1.3 and 1.2, with AES-128-GCM first (without SHA extensions for
/// SHA-384 in the processor, AES-256-GCM costs a tenth of a handshake).
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = aws_lc_rs::default_provider();
            provider.cipher_suites.sort_by_key(|suite| *suite != aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256);
            Arc::new(provider)
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CipherSuite, NamedGroup};

    #[test]
    fn the_cheap_suite_comes_first_and_none_is_lost() {
        let ours: Vec<_> = provider().cipher_suites.iter().map(|s| s.suite()).collect();
        assert_eq!(ours[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(ours.len(), aws_lc_rs::default_provider().cipher_suites.len());
    }

    #[test]
    fn the_hybrid_group_is_supported_but_not_first() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(groups[0], NamedGroup::X25519);
        assert!(groups.contains(&NamedGroup::X25519MLKEM768));
    }
}
