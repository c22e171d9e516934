//! The primitives against Wycheproof's vectors, called as the vault calls them.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wycheproof::TestResult;

#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let cipher = Aes256Gcm::new(test.key.as_ref().try_into().unwrap());
            let nonce: [u8; 12] = test.nonce.as_ref().try_into().unwrap();
            let tag: [u8; 16] = test.tag.as_ref().try_into().unwrap();
            let mut opened = vec![0; test.ct.len()];
            let buffer = InOutBuf::new(&test.ct, &mut opened).unwrap();
            let result = cipher.decrypt_inout_detached(&nonce.into(), &test.aad, buffer, &tag.into());
            let valid = test.result == TestResult::Valid;
            assert_eq!(result.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
            if valid {
                assert_eq!(opened, test.pt.as_ref(), "{}", test.tc_id);
                let mut sealed = vec![0; test.pt.len()];
                let buffer = InOutBuf::new(&test.pt, &mut sealed).unwrap();
                let made = cipher.encrypt_inout_detached(&nonce.into(), &test.aad, buffer).unwrap();
                assert_eq!((sealed.as_slice(), made.as_slice()), (test.ct.as_ref(), &tag[..]), "{}", test.tc_id);
            }
            tried += 1;
        }
    }
    assert!(tried >= 60, "{tried}");
}

#[test]
fn hkdf_sha_256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut tried = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let hkdf = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm);
        let mut okm = vec![0; test.size];
        let result = hkdf.expand_multi_info(&[&test.info], &mut okm);
        let valid = test.result == TestResult::Valid;
        assert_eq!(result.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
        assert!(!valid || okm == test.okm.as_ref(), "{}", test.tc_id);
        tried += 1;
    }
    assert!(tried >= 80, "{tried}");
}

#[test]
fn hmac_sha_256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        for test in group.tests {
            let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&test.key).unwrap().chain_update(&test.msg);
            let result =
                if group.tag_size == 256 { mac.verify_slice(&test.tag) } else { mac.verify_truncated_left(&test.tag) };
            assert_eq!(result.is_ok(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            tried += 1;
        }
    }
    assert!(tried >= 170, "{tried}");
}
