//! Sealing, opening, and envelopes that must not open.

#![expect(clippy::disallowed_methods, reason = "the tests look at made-up values")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn kek(byte: u8) -> Key {
    crate::kek::Kek::for_tests([byte; 32]).0
}

#[test]
fn what_is_sealed_opens_once_more() {
    let envelope = Envelope::seal(&kek(1), b"context", b"value").unwrap();
    assert_eq!(envelope.open(&kek(1), b"context").unwrap().expose_secret(), b"value");
    assert_ne!(&*envelope.ciphertext, b"value");
}

#[test]
fn t158_another_key_or_context_opens_nothing() {
    let envelope = Envelope::seal(&kek(1), b"tenant a", b"value").unwrap();
    assert!(envelope.open(&kek(2), b"tenant a").is_err());
    assert!(envelope.open(&kek(1), b"tenant b").is_err());
    assert!(envelope.open(&kek(1), b"").is_err());
}

#[test]
fn a_ciphertext_is_bound_to_one_key_before_it_is_opened() {
    let mut envelope = Envelope::seal(&kek(1), b"context", b"value").unwrap();
    envelope.commitment = Envelope::seal(&kek(1), b"context", b"value").unwrap().commitment;
    assert!(envelope.open(&kek(1), b"context").is_err());
}

#[test]
fn t161_no_salt_or_nonce_repeats() {
    let seals: usize = std::env::var_os("EGRET_SEALS").map_or(20_000, |text| text.to_str().unwrap().parse().unwrap());
    let key = kek(1);
    let (mut salts, mut nonces) = (HashSet::with_capacity(seals), HashSet::with_capacity(seals));
    for _ in 0..seals {
        let sealed = Envelope::seal(&key, b"", b"").unwrap();
        assert!(salts.insert(sealed.salt) && nonces.insert(sealed.nonce));
    }
    println!("{seals} seals, no salt and no nonce twice");
}

proptest! {
    #[test]
    fn any_value_survives(value in prop::collection::vec(any::<u8>(), 0..300), aad in prop::collection::vec(any::<u8>(), 0..50)) {
        let envelope = Envelope::seal(&kek(1), &aad, &value).unwrap();
        prop_assert_eq!(envelope.ciphertext.len(), value.len());
        let opened = envelope.open(&kek(1), &aad).unwrap();
        prop_assert_eq!(opened.expose_secret(), &value[..]);
    }

    #[test]
    fn one_flipped_bit_opens_nothing(value in prop::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut envelope = Envelope::seal(&kek(1), b"context", &value).unwrap();
        let total = SALT_BYTES + COMMITMENT_BYTES + NONCE_BYTES + TAG_BYTES + value.len();
        let mut all = envelope.salt.iter_mut().chain(&mut envelope.commitment).chain(&mut envelope.nonce).chain(&mut envelope.tag).chain(&mut envelope.ciphertext);
        *all.nth(at.index(total)).unwrap() ^= 1 << bit;
        prop_assert!(envelope.open(&kek(1), b"context").is_err());
    }
}
