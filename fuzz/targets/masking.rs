//! Masking of a response: the same bytes give the same output however they are cut, as long as they were, and no form of a secret
//! is left in it. With a pause behind each piece, at most half of a secret passes, or 8 bytes.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use model::{Authority, TenantId, Timestamp};
use redaction::Needles;
use redaction::stream::{Guessed, Masker, Sets};
use vault::{Audience, CredentialSpec, KeyFile, Kind, NewCredential, Secret, Store, StoreError, Stored, Vault};

/// Made up: a token, a password, and a text that is escaped in every encoding.
const SECRETS: [(&str, &str); 3] =
    [("bearer", "sk-live-0123456789abcdef"), ("basic", "robot:q7Zk9_xP55aa"), ("query", "k/y+9_x\"Zq 7abc")];

/// From here on, a byte of the input selects a form of a secret.
const FORMS_FROM: u8 = 0xc0;

#[derive(Default)]
struct Memory(Mutex<Option<Vec<u8>>>);

impl Store for Memory {
    fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().expect("no holder panics").clone())
    }

    fn replace(&self, expected: Stored, bytes: &[u8]) -> Result<(), StoreError> {
        let mut held = self.0.lock().expect("no holder panics");
        Stored::of(held.as_deref()).check(expected)?;
        *held = Some(bytes.to_vec());
        Ok(())
    }
}

/// What the vault has to find at a host.
static NEEDLES: LazyLock<Arc<Needles>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyFile(folder.path().join("vault.key"));
    key.create().expect("a key");
    let vault = Vault::create_in(Box::new(Memory::default()), &key).expect("a vault");
    for (kind, value) in SECRETS {
        let fields = (kind == "query").then(|| ("name", "key".to_owned()));
        let shape = Kind::new(kind, fields).expect("a kind");
        let spec = CredentialSpec::new(shape, Audience::parse(&["a.example"]).expect("a host"));
        let new = NewCredential::new(kind.into(), spec);
        vault.put(new, Secret::new(value.into()), Timestamp::UNIX_EPOCH).expect("it is put");
    }
    let host = Authority::parse("a.example", true).expect("a host").host;
    let found = vault.values_at(&host).expect("they open");
    Arc::new(Needles::new(found.values, found.valid_until).expect("random bytes").expect("there are some"))
});

/// The secrets as an upstream may write them.
static FORMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut forms = Vec::new();
    for (_, value) in SECRETS {
        let percent = |upper: bool| {
            let byte = |byte: u8| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                _ if upper => format!("%{byte:02X}"),
                _ => format!("%{byte:02x}"),
            };
            value.bytes().map(byte).collect::<String>()
        };
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        forms.extend([value.to_owned(), percent(true), percent(false), percent(true).replace("%20", "+")]);
        forms.extend([hex.to_ascii_uppercase(), hex]);
        for front in ["", "a", "ab"] {
            forms.extend([
                STANDARD.encode(format!("{front}{value}")),
                URL_SAFE_NO_PAD.encode(format!("{front}{value}x")),
            ]);
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
});

/// The body, and where it is cut: a count, so many positions, then bytes and forms, each form with how much of it comes.
fn body(input: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let (count, rest) = input.split_first()?;
    let (positions, program) = rest.split_at_checked(2 * usize::from(count % 9))?;
    let mut body = Vec::new();
    let mut bytes = program.iter();
    while let Some(byte) = bytes.next() {
        let Some(number) = byte.checked_sub(FORMS_FROM) else {
            body.push(*byte);
            continue;
        };
        let form = FORMS.get(usize::from(number) % FORMS.len())?;
        let part = usize::from(bytes.next().copied().unwrap_or_default());
        // Mostly whole, else its beginning or its end.
        let at = part / 4 % form.len();
        body.extend_from_slice(match part % 4 {
            0 => &form[..at],
            1 => &form[at..],
            _ => form,
        });
    }
    let mut cuts: Vec<usize> = positions
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (body.len() + 1))
        .collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    Some((body, cuts))
}

fn masker() -> Masker {
    Masker::new(Sets::new(Some(NEEDLES.clone()), None, None), TenantId::default())
}

/// What passes, how many secrets were found, and whether the response ended for its guesses.
fn run(pieces: &[&[u8]], pauses: bool) -> (Vec<u8>, u64, Result<(), Guessed>) {
    let (mut masker, mut out) = (masker(), Vec::new());
    let mut feed = || {
        for piece in pieces {
            out.extend_from_slice(&masker.push(Bytes::copy_from_slice(piece))?);
            if pauses {
                out.extend_from_slice(&masker.flush()?);
            }
        }
        out.extend_from_slice(&masker.flush()?);
        Ok(())
    };
    let ended = feed();
    (out, masker.found(), ended)
}

fn hits(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut hits = Vec::new();
    NEEDLES.find(bytes, |hit| hits.push((hit.start, hit.end)));
    hits
}

fuzz_target!(|input: &[u8]| {
    let Some((body, cuts)) = body(input) else { return };
    let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
    let (whole, cut) = (run(&[&body], false), run(&pieces, false));
    for (out, _, ended) in [&whole, &cut] {
        assert!(out.len() <= body.len() && (ended.is_err() || out.len() == body.len()), "the length changed");
        assert!(out.iter().zip(&body).all(|(out, byte)| out == byte || *out == b'*'), "other bytes than stars");
        assert!(hits(out).is_empty(), "a secret is left in {:?}", String::from_utf8_lossy(out));
        for form in FORMS.iter() {
            assert!(memmem::find(out, form).is_none(), "{:?} is left", String::from_utf8_lossy(form));
        }
    }
    // A response with many guesses ends before what would confirm one: in pieces, what was masked before has passed.
    if whole.2.is_ok() && cut.2.is_ok() {
        assert_eq!((&whole.0, whole.1), (&cut.0, cut.1), "cut at {cuts:?}");
    }
    let (paused, _, ended) = run(&pieces, true);
    assert!(ended.is_err() || paused.len() == body.len(), "the length changed in a pause");
    for (start, end) in hits(&body) {
        let shown = (start + ((end - start) / 2).max(8)).min(paused.len());
        let rest = &paused[shown..end.min(paused.len()).max(shown)];
        assert!(rest.iter().all(|byte| *byte == b'*'), "more than half passes in pauses at {cuts:?}");
    }
});
