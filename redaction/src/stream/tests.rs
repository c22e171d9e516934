//! Masking, piece by piece.

use memchr::memmem;
use proptest::prelude::*;

use super::*;

fn masker(patterns: &[&[u8]]) -> Masker {
    let set = Needles::of_request(patterns.iter().map(|p| p.to_vec().into()).collect()).unwrap();
    Masker::new(Sets::new(set.map(Arc::new), None, None), TenantId::default())
}

fn run(patterns: &[&[u8]], pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let mut masker = masker(patterns);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&masker.push(Bytes::copy_from_slice(piece)).unwrap());
    }
    out.extend_from_slice(&masker.flush().unwrap());
    (out, masker.found())
}

/// The bytes that pass when the upstream pauses after each piece.
fn run_with_pauses(patterns: &[&[u8]], pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let mut masker = masker(patterns);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&masker.push(Bytes::copy_from_slice(piece)).unwrap());
        out.extend_from_slice(&masker.flush().unwrap());
        assert_eq!(masker.held(), 0);
    }
    (out, masker.found())
}

fn whole(masker: &mut Masker, value: &[u8]) -> Option<Vec<u8>> {
    masker.count_whole(value);
    masker.mask_whole(value).unwrap()
}

const SECRET: &[u8] = b"sk-live-0123456789abcdef";

#[test]
fn t091_masked_at_every_split() {
    let text = [b"before ".as_slice(), SECRET, b" after sk-live sk-live-0123"].concat();
    let want = [b"before ".as_slice(), &[STAR; 24], b" after sk-live sk-live-0123"].concat();
    for cut in 0..text.len() {
        let (front, back) = text.split_at(cut);
        assert_eq!(run(&[SECRET], &[front, back]), (want.clone(), 1), "cut at {cut}");
    }
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(run(&[SECRET], &single), (want, 1));
}

#[test]
fn lines_and_values_pass_at_once() {
    let mut masker = masker(&[b"secret"]);
    for whole in ["data: x\n\n", "data: sec\n\n", "{\"a\":1}", "[\"secr\"]", "\u{0}\u{1}"] {
        assert_eq!(masker.push(Bytes::from_static(whole.as_bytes())).unwrap().as_ref(), whole.as_bytes(), "{whole}");
    }
}

#[test]
fn t101_what_is_held_tells_nothing_of_the_secret() {
    for guess in ["s", "x", "secre", "secrx", "xxxxx", "ecret"] {
        let mut masker = masker(&[b"secret"]);
        let passed = masker.push(Bytes::from(format!("guess: {guess}"))).unwrap();
        assert_eq!(passed.as_ref(), b"guess: ", "{guess}");
        assert_eq!(masker.flush().unwrap().as_ref(), guess.as_bytes());
    }
    // A secret with other characters in it makes every visible character count.
    let mut masker = masker(&[b"a b{c}"]);
    assert_eq!(masker.push(Bytes::from_static(b"\n{x} y")).unwrap().as_ref(), b"\n");
}

#[test]
fn overlapping_secrets_are_all_masked_and_counted_once() {
    assert_eq!(run(&[b"aXb", b"bYc"], &[b"aXb", b"Yc!"]).0, b"*****!");
    assert_eq!(run(&[b"abab"], &[b"ab", b"abab"]), (b"******".to_vec(), 1));
    assert_eq!(run(&[b"user:word", b"word"], &[b"user:word word"]), (b"********* ****".to_vec(), 2));
    assert_eq!(whole(&mut masker(&[b"tok"]), b"a tok b"), Some(b"a *** b".to_vec()));
    assert_eq!(whole(&mut masker(&[b"tok"]), b"a to b"), None);
    assert!(masker(&[b"Tok-Tok-1"]).is_in_name("x-tok-tok-1"));
    assert!(!masker(&[b"Tok-Tok-1"]).is_in_name("x-tok-tok-"));
}

#[test]
fn t220_a_pause_releases_everything_whatever_it_is() {
    for text in ["x", "a-word-without-an-end", "secre", "sk-live-", "0123456789"] {
        let mut masker = masker(&[SECRET]);
        assert_eq!(masker.push(Bytes::from(text)).unwrap().as_ref(), b"", "{text}");
        assert_eq!(masker.flush().unwrap().as_ref(), text.as_bytes());
        assert_eq!((masker.flush().unwrap().len(), masker.held(), masker.found()), (0, 0, 0));
    }
}

#[test]
fn t220_a_secret_in_parts_passes_no_more_than_its_first_half() {
    let half = SECRET.len() / 2;
    for cut in 1..SECRET.len() {
        let (front, back) = SECRET.split_at(cut);
        let (out, found) = run_with_pauses(&[SECRET], &[b"key=", front, back, b" end"]);
        let clear = if cut > half { 0 } else { cut };
        let want = [b"key=".as_slice(), &SECRET[..clear], &vec![STAR; SECRET.len() - clear], b" end"].concat();
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(want).unwrap(), "a pause after {cut} bytes");
        assert_eq!(found, 1, "a pause after {cut} bytes");
    }
    let single: Vec<&[u8]> = SECRET.chunks(1).collect();
    let (out, found) = run_with_pauses(&[SECRET], &single);
    assert_eq!((&out[..half], found), (&SECRET[..half], 1));
    assert!(out[half..].iter().all(|byte| *byte == STAR), "{}", String::from_utf8_lossy(&out));
    // Bytes that begin like it and end early are masked from half of it on, and pass below that.
    assert_eq!(run_with_pauses(&[SECRET], &[&SECRET[..half]]), (SECRET[..half].to_vec(), 0));
    assert_eq!(run_with_pauses(&[SECRET], &[&SECRET[..=half]]), (vec![STAR; half + 1], 1));
    // Half of a short secret could be guessed; no part of it is masked before it is complete.
    assert_eq!(run_with_pauses(&[b"12345678"], &[b"1234567", b"8"]).0, b"1234567*");
}

#[test]
fn t218_what_is_held_when_a_response_breaks_off_is_searched() {
    let mut masker = masker(&[SECRET, b"short-secret"]);
    let text = [b"x short-secret", &SECRET[..20]].concat();
    let passed = masker.push(Bytes::from(text)).unwrap();
    let rest = masker.flush().unwrap();
    assert!(!rest.is_empty());
    assert_eq!([passed, rest].concat(), [b"x ".as_slice(), &[STAR; 32]].concat());
}

#[test]
fn t102_the_secret_of_another_tenant_is_masked_and_not_counted() {
    let (folder, now) = (tempfile::tempdir().unwrap(), model::Timestamp::now());
    let vault = vault_of(folder.path());
    for (tenant, value) in [("default", "value-of-default-1"), ("acme", "value-of-acme-2222")] {
        let audience = vault::Audience::parse(&["api.github.com"]).unwrap();
        let spec = vault::CredentialSpec::new(vault::Kind::bearer(), audience);
        let new = vault::NewCredential::new("github".into(), spec);
        let new = vault::NewCredential { tenant: tenant.into(), ..new };
        vault.put(new, vault::Secret::new(value.as_bytes().to_vec()), now).unwrap();
    }
    let found = vault.values_at(&model::Host::parse("api.github.com").unwrap()).unwrap();
    let needles = Arc::new(Needles::new(found.values, found.valid_until).unwrap().unwrap());
    let mut masker = Masker::new(Sets::new(Some(needles), None, None), "acme".into());
    let out = masker.push(Bytes::from("value-of-acme-2222 value-of-default-1 value-of-default-1\n")).unwrap();
    assert_eq!(out.as_ref(), b"****************** ****************** ******************\n");
    assert_eq!(masker.found(), 1);
    let foreign: Vec<_> = masker.foreign().iter().map(|(owner, n)| (owner.tenant.as_str(), *n)).collect();
    assert_eq!(foreign, [("default", 2)]);
}

fn vault_of(folder: &std::path::Path) -> vault::Vault {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let key = vault::KeyFile(folder.join("key"));
    key.create().unwrap();
    vault::Vault::create(&folder.join("vault"), &key).unwrap()
}

/// Guesses that look like the secret, one of them right.
fn guesses(count: usize, right: usize, between: &str) -> String {
    let guess = |n: usize| if n == right { "k7dm2qx9w4zt6yhb".to_owned() } else { format!("k7dm2qx9w4{n:06x}") };
    (0..count).map(guess).collect::<Vec<_>>().join(between)
}

#[test]
fn t216_among_many_guesses_the_right_one_does_not_show() {
    let secret: &[u8] = b"k7dm2qx9w4zt6yhb";
    for between in ["\n", "\",\"", " ", ".", "", "x", "=1&"] {
        for right in [0, 1, 1500, 2999] {
            let text = guesses(3000, right, between);
            let refused = masker(&[secret]).push(Bytes::from(text.clone()));
            assert_eq!(refused, Err(Guessed), "in one chunk, joined by {between:?}");
            let mut masker = masker(&[secret]);
            let shown =
                text.as_bytes().chunks(16 << 10).map_while(|chunk| masker.push(Bytes::copy_from_slice(chunk)).ok());
            let shown: Vec<u8> = shown.flatten().collect();
            assert!(!shown.contains(&STAR), "the right one of {between:?} shows");
        }
        // Wrong guesses alone have no effect.
        let text = guesses(3000, 4000, between);
        assert_eq!(run(&[secret], &[text.as_bytes()]), (text.into_bytes(), 0));
    }
    // For a head, no byte was sent yet.
    let values: Vec<String> =
        (0..200).map(|n| guesses(1, usize::from(n != 150), "").replace("000000", &format!("{n:06x}"))).collect();
    let mut masker = masker(&[secret]);
    values.iter().for_each(|value| masker.count_whole(value.as_bytes()));
    assert_eq!(masker.mask_whole(secret), Err(Guessed));
}

/// The client's view of these chunks; with pauses between them if `pauses` is true.
fn shown(secret: &[u8], chunks: &[&[u8]], pauses: bool) -> Vec<u8> {
    let mut masker = masker(&[secret]);
    let mut out = Vec::new();
    for chunk in chunks {
        let Ok(passed) = masker.push(Bytes::copy_from_slice(chunk)) else { return out };
        out.extend_from_slice(&passed);
        if pauses {
            let Ok(passed) = masker.flush() else { return out };
            out.extend_from_slice(&passed);
        }
    }
    [out, masker.flush().unwrap().to_vec()].concat()
}

#[test]
fn t273_guesses_are_counted_wherever_they_come_and_whatever_is_between() {
    let secret: &[u8] = b"k7dm2qx9w4zt6yhb";
    let text = guesses(400, 321, "\n");
    // After more than a mebibyte of other bytes.
    let padded = [" \n".repeat(1 << 20).as_bytes(), text.as_bytes()].concat();
    assert!(!shown(secret, &padded.chunks(16 << 10).collect::<Vec<_>>(), false).contains(&STAR));
    // In pieces of any size, with pauses within each value. They share less than half of it; a longer shared part would be masked
    // in all of them.
    let guess = |n: usize| if n == 321 { "k7dm2qx9w4zt6yhb".to_owned() } else { format!("k7dm2q{n:010x}") };
    let text = (0..400).map(guess).collect::<Vec<_>>().join("\n");
    for size in [1, 3, 8, 9, 17, 100] {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        for pauses in [false, true] {
            assert!(!shown(secret, &chunks, pauses).contains(&STAR), "pieces of {size}, pauses: {pauses}");
        }
    }
    // Values that differ only at their end, while the shortest secret of the host is shorter.
    let set = Needles::of_request(vec![b"k7dm2qx9w4zt6yhb-tail-0321".to_vec().into(), b"another-one2".to_vec().into()]);
    let mut masker = Masker::new(Sets::new(set.unwrap().map(Arc::new), None, None), TenantId::default());
    let text: String = (0..400).map(|n| format!("k7dm2qx9w4zt6yhb-tail-{n:04}\n")).collect();
    assert_eq!(masker.push(Bytes::from(text)), Err(Guessed));
}

#[test]
fn t273_the_first_values_are_only_kept() {
    let count = |masker: &Masker| masker.guesses.hashed.as_ref().map(|hashed| hashed.values.len());
    let mut masker = masker(&[b"k7dm2qx9w4zt6yhb"]);
    for n in 0..MAX_GUESSES {
        masker.push(Bytes::from(format!("k7dm2qx9w4{n:06x} and text\n"))).unwrap();
    }
    assert_eq!((count(&masker), masker.guesses.kept.len()), (None, 17 * 100));
    masker.push(Bytes::from("k7dm2qx9w4000001 again\n")).unwrap();
    assert_eq!((count(&masker), masker.guesses.kept.len()), (Some(100), 0), "one of them came twice");
    for n in 0..5000 {
        masker.push(Bytes::from(format!("k7dm2qx9w4{n:06x}\nK7dm2qx9w4{n:06x}\n{n:016}\n"))).unwrap();
    }
    assert!(count(&masker).unwrap() <= 8 * 101, "bounded");
}

#[test]
fn t273_the_first_piece_is_counted_once_more_comes() {
    let counted = |masker: &Masker| (masker.guesses.kept_values, masker.guesses.first.as_ref().map(Bytes::len));
    let started = || {
        let mut masker = masker(&[b"k7dm2qx9w4zt6yhb"]);
        masker.push(Bytes::from_static(b"k7dm2qx9w4000001\n")).unwrap();
        masker
    };
    let mut alone = started();
    alone.flush().unwrap();
    assert_eq!(counted(&alone), (0, Some(17)), "a response of one piece: nothing is counted");

    let mut paused = started();
    paused.pause();
    assert_eq!(counted(&paused), (1, None), "nothing is kept while the upstream pauses");

    let mut longer = started();
    longer.push(Bytes::from_static(b"k7dm2qx9w4000002\n")).unwrap();
    assert_eq!(counted(&longer), (2, None));

    let mut trailers = started();
    trailers.count_whole(b"k7dm2qx9w4000003");
    assert_eq!(counted(&trailers), (2, None));

    let mut hit = masker(&[b"k7dm2qx9w4zt6yhb"]);
    assert!(hit.push(Bytes::from(guesses(300, 150, "\n"))).is_err(), "a hit in the first piece counts all of it");
}

#[test]
fn t270_a_value_that_is_stored_later_is_masked_from_then_on() {
    let later = Needles::of_request(vec![b"later-value-0123".to_vec().into()]).unwrap().map(Arc::new);
    let first = Needles::of_request(vec![SECRET.to_vec().into()]).unwrap().map(Arc::new);
    let both = Sets::new(later, first, None);
    // The carry-over is searched too, at every split.
    let text = [b"a later-value-0123 ".as_slice(), SECRET, b" later-value-0123\n"].concat();
    let want = [b"a ".as_slice(), &[STAR; 16], b" ", &[STAR; 24], b" ", &[STAR; 16], b"\n"].concat();
    for cut in 2..=18 {
        let (front, back) = text.split_at(cut);
        let mut masker = masker(&[SECRET]);
        let mut out = masker.push(Bytes::copy_from_slice(front)).unwrap().to_vec();
        masker.renew(both.clone()).unwrap();
        out.extend_from_slice(&masker.push(Bytes::copy_from_slice(back)).unwrap());
        assert_eq!((out, masker.found()), (want.clone(), 3), "cut at {cut}");
    }
    let mut masker = masker(&[SECRET]);
    assert_eq!(masker.push(Bytes::from("later-value-0123")).unwrap().as_ref(), b"");
    masker.renew(both).unwrap();
    assert_eq!(masker.flush().unwrap().as_ref(), [STAR; 16]);
}

#[test]
fn t216_a_secret_in_ordinary_text_is_masked() {
    let secret: &[u8] = b"ghp_Q7Zk9xP2mV5tB8nL3cR6wY1dF4hJ0sKaTuEi";
    let digests: String = (0..5000).map(|n| format!("{n:040x} commit number {n} of a long log\n")).collect();
    let text = [digests.as_bytes(), b"Authorization: token ", secret, b"\n", digests.as_bytes()].concat();
    let (out, found) = run(&[secret], &[&text]);
    assert_eq!((out.len(), found), (text.len(), 1));
    assert!(memmem::find(&out, secret).is_none());
    let few = guesses(90, 45, "\n");
    let (out, found) = run(&[b"k7dm2qx9w4zt6yhb"], &[few.as_bytes()]);
    assert_eq!((out.len(), found), (few.len(), 1));
}

proptest! {
    #[test]
    fn t273_guesses_are_the_same_however_they_are_cut(
        text in "[a-cA-B0 .]{0,400}", cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let counted = |pieces: &[&[u8]]| {
            let mut guesses = Guesses::new(&masker(&[b"aaaaaaaa"]).sets);
            // Hashed from the first on.
            guesses.kept_values = MAX_GUESSES;
            pieces.iter().for_each(|piece| guesses.count(piece));
            guesses.end_run();
            guesses.hashed.map(|hashed| hashed.of_class)
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        let runs = text.split([' ', '.']).filter(|run| run.len() >= 8);
        let mut values = HashSet::new();
        for run in runs {
            let (run, count) = (run.as_bytes(), run.len() / 8);
            values.extend((0..count).map(|n| if n + 1 == count { &run[n * 8..] } else { &run[n * 8..n * 8 + 8] }));
        }
        let mut of_class = [0; 8];
        values.iter().for_each(|value| of_class[usize::from(classes_of(value))] += 1);
        prop_assert_eq!(counted(&pieces).unwrap_or_default(), of_class);
    }

    #[test]
    fn t091_the_same_however_it_is_cut(
        text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 0..80),
        patterns in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 1..6), 1..4),
        cuts in proptest::collection::vec(0usize..80, 0..6),
    ) {
        let patterns: Vec<&[u8]> = patterns.iter().map(Vec::as_slice).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&text[from..cut]);
            from = cut;
        }
        let whole = run(&patterns, &[&text]);
        prop_assert_eq!(&run(&patterns, &pieces).0, &whole.0);
        prop_assert_eq!(whole.0.len(), text.len());
        // The output contains no pattern that was in the text.
        for pattern in patterns {
            prop_assert!(memmem::find(&whole.0, pattern).is_none());
        }
    }

    #[test]
    fn t220_pauses_anywhere_show_no_more_than_half(
        front in "[a-z./ ]{0,40}", back in "[a-z./ ]{0,40}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let text = [front.as_bytes(), SECRET, back.as_bytes()].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (out, found) = run_with_pauses(&[SECRET], &pieces);
        prop_assert_eq!((out.len(), found), (text.len(), 1));
        let shown = &out[front.len()..front.len() + SECRET.len()];
        let clear = shown.iter().zip(SECRET).filter(|(shown, was)| shown == was).count();
        prop_assert!(clear <= SECRET.len() / 2, "{}", String::from_utf8_lossy(&out));
        prop_assert_eq!(&out[..front.len()], front.as_bytes());
        prop_assert_eq!(&out[front.len() + SECRET.len()..], back.as_bytes());
    }
}
