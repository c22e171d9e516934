//! Which sessions get a policy that only a share of them gets.

use sha2::{Digest, Sha256};

/// Whether the session with this id is within `percent` of a hundred, for this policy. The same id gets the same answer
/// always, and one that is within a share is within every larger one.
pub fn in_share(session: &str, policy: &str, percent: u8) -> bool {
    let digest =
        Sha256::new().chain_update(policy.as_bytes()).chain_update([0]).chain_update(session.as_bytes()).finalize();
    let drawn = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    drawn % 100 < u32::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_stable_grow_and_are_as_large_as_they_say() {
        let within = |percent| (0..10_000).filter(|n| in_share(&format!("ses_{n}"), "p", percent)).count();
        assert_eq!((within(0), within(100)), (0, 10_000));
        assert!((2_300..2_700).contains(&within(25)), "{}", within(25));
        let id = |n: usize| format!("ses_{n}");
        assert!((0..1_000).all(|n| !in_share(&id(n), "p", 10) || in_share(&id(n), "p", 11)));
        assert!((0..1_000).any(|n| in_share(&id(n), "p", 50) != in_share(&id(n), "q", 50)));
    }
}
