//! The masking of one response body.

use std::sync::Arc;

use http_body::SizeHint;
use model::{Host, TenantId};

use crate::Proxy;
use crate::body::known::Known;
use crate::body::rewriter::{Rewriter, Unmaskable};
use crate::limits::budget::Decoding;
use redaction::stream::Masker;

/// Masks a body, including values that are stored while it streams.
pub(crate) struct Masked {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) known: Known,
    pub(crate) tenant: TenantId,
    /// `None` while no audience names the host.
    pub(crate) rewriter: Option<Box<Rewriter>>,
    /// Whether the rest of a body that was not masked from its beginning can be searched.
    pub(crate) can_begin_late: bool,
    /// The memory of its decoder.
    pub(crate) decoding: Decoding,
}

impl Masked {
    /// The host that the response comes from.
    pub(crate) fn host(&self) -> &Host {
        self.known.host()
    }

    /// The length that the client can expect, if the upstream still has `left` to send.
    pub(crate) fn hint(&self, left: Option<u64>) -> SizeHint {
        match (&self.rewriter, left) {
            (Some(rewriter), left) => rewriter.hint(left),
            (None, Some(left)) => SizeHint::with_exact(left),
            (None, None) => SizeHint::default(),
        }
    }

    /// The rewriter of the body, if it has one.
    pub(crate) fn rewriter(&mut self) -> Option<&mut Rewriter> {
        self.rewriter.as_deref_mut()
    }

    /// As [`Masked::rewriter`], by shared reference.
    pub(crate) fn rewrites(&self) -> Option<&Rewriter> {
        self.rewriter.as_deref()
    }

    /// Counts the memory that decoding uses now.
    ///
    /// # Errors
    /// No memory is left for it.
    pub(crate) fn hold_memory(&mut self) -> Result<(), Unmaskable> {
        let bytes = self.rewrites().map_or(0, Rewriter::memory_bytes);
        self.decoding.hold(bytes).map_err(Unmaskable::Memory)
    }

    /// From here on masks the current values of the vault. Costs an atomic load while they do not change.
    ///
    /// # Errors
    /// If the rest cannot be searched for them.
    pub(crate) fn follow(&mut self) -> Result<(), Unmaskable> {
        let Some(sets) = self.known.follow(&self.proxy.needles).map_err(|_| Unmaskable::Unopened)? else {
            return Ok(());
        };
        match &mut self.rewriter {
            Some(rewriter) => return rewriter.renew(sets),
            None if sets.is_empty() => {}
            None if self.can_begin_late => {
                self.rewriter = Some(Box::new(Rewriter::from_here(Masker::new(sets, self.tenant.clone()))));
            }
            None => return Err(Unmaskable::Late),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vault::Kind;

    use super::*;
    use crate::testing::{Bench, HOST, VALUE, credential};

    fn bench() -> Bench {
        Bench::new(&["{id: r, allow: {host: api.example.com}}"])
    }

    /// For a response that began when the vault had no value for its host.
    fn masked(bench: &Bench, can_begin_late: bool) -> Masked {
        let known = Known::now(&bench.core.proxy.needles, bench.destination.host(), &Vec::new()).unwrap();
        let decoding = bench.core.proxy.slot_bodies.decoding(&bench.session.id);
        let proxy = bench.core.proxy.clone();
        Masked { proxy, known, tenant: TenantId::default(), rewriter: None, can_begin_late, decoding }
    }

    fn put(bench: &Bench, host: &str) {
        bench.put(credential("token", Kind::bearer(), host), VALUE);
    }

    #[test]
    fn a_value_that_is_stored_while_a_body_streams_is_masked_from_then_on() {
        let bench = bench();
        let mut masked = masked(&bench, true);
        masked.follow().unwrap();
        put(&bench, "other.example.com");
        masked.follow().unwrap();
        assert!(masked.rewrites().is_none(), "nothing is known of this host");
        put(&bench, HOST);
        masked.follow().unwrap();
        let shown = masked.rewriter().unwrap().take(Bytes::from(format!("a {VALUE} b")), true).unwrap();
        assert_eq!(shown, format!("a {} b", "*".repeat(VALUE.len())));
    }

    #[test]
    fn a_body_that_cannot_be_searched_from_there_on_ends() {
        let bench = bench();
        let mut masked = masked(&bench, false);
        put(&bench, HOST);
        let late = masked.follow();
        assert!(matches!(late, Err(Unmaskable::Late)), "{late:?}");
    }

    #[test]
    fn without_a_rewriter_the_length_is_the_upstreams() {
        let bench = bench();
        assert_eq!(masked(&bench, true).hint(Some(7)).exact(), Some(7));
        assert_eq!(masked(&bench, true).hint(None).exact(), None);
    }
}
