//! Hosts against an independent reading of the URL standard and of UTS 46: the crates `url` and `idna`, and the
//! test data that they carry.
//!
//! What we accept reads the same there. What we refuse and they accept falls in a class of [`STRICTER`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Host;
use proptest::prelude::*;
use serde_json::Value;

/// Where we are stricter than the URL standard, and why.
const STRICTER: [(&str, &str); 8] = [
    ("empty", "nothing but dots, or nothing at all, names no host"),
    ("length", "an empty or overlong label, or an overlong name, resolves nowhere (RFC 1035 section 2.3.4)"),
    (
        "sign",
        "a host name holds letters, digits, `-` and `_`; other ASCII signs are how one host is dressed as another",
    ),
    ("hyphen", "a label that begins or ends with a hyphen is in no certificate, so TLS cannot reach it"),
    ("escape", "a host is not percent-decoded: what is decoded later was not judged"),
    ("mapped", "an international name that UTS 46 maps to something else does not survive the round trip"),
    ("strict", "an international name must pass the strict rules: hyphens and lengths too"),
    ("punycode", "a label with `xn--` is the very one that UTS 46 writes for a name that is not ASCII"),
];

/// The class by which we refuse what the URL standard reads as `theirs`.
fn stricter(text: &str, theirs: &url::Host<String>) -> Option<&'static str> {
    let ascii = match theirs {
        url::Host::Domain(name) => name.as_str(),
        url::Host::Ipv4(_) | url::Host::Ipv6(_) => "",
    };
    let bare = ascii.strip_suffix('.').unwrap_or(ascii);
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    if text.contains('%') {
        Some("escape")
    } else if text.chars().all(|c| c == '.') {
        Some("empty")
    } else if !text.is_ascii() && idna::domain_to_unicode(ascii).0 != lower {
        Some("mapped")
    } else if !ascii.bytes().all(is_name) {
        Some("sign")
    } else if !ascii.is_empty() && (bare.len() > 253 || bare.split('.').any(|l| l.is_empty() || l.len() > 63)) {
        Some("length")
    } else if bare.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) && text.is_ascii() {
        Some("hyphen")
    } else if idna::domain_to_ascii_strict(text).is_err() && !text.is_ascii() {
        Some("strict")
    } else if bare.split('.').any(|label| label.starts_with("xn--")) && text.is_ascii() {
        let (unicode, ok) = idna::domain_to_unicode(bare);
        let again = idna::domain_to_ascii_strict(&unicode);
        (ok.is_err() || again.ok().as_deref() != Some(bare) || unicode.is_ascii()).then_some("punycode")
    } else {
        None
    }
}

/// Compares both readings; the class, where only ours refuses.
fn compare(text: &str) -> Result<Option<&'static str>, String> {
    let told = |theirs: &dyn std::fmt::Debug| format!("{text:?}: {:?} here, {theirs:?} there", Host::parse(text));
    let theirs = url::Host::parse(text);
    match (Host::parse(text), theirs) {
        (Err(_), Err(_)) => Ok(None),
        (Ok(_), Err(theirs)) => Err(told(&theirs)),
        (Err(_), Ok(theirs)) => stricter(text, &theirs).map(Some).ok_or_else(|| told(&theirs)),
        (Ok(ours), Ok(theirs)) => {
            let same = match (&ours, &theirs) {
                // The trailing dot is the same name.
                (Host::Name(ours), url::Host::Domain(theirs)) => **ours == *theirs.strip_suffix('.').unwrap_or(theirs),
                (Host::V4(ours), url::Host::Ipv4(theirs)) => ours == theirs,
                (Host::V6(ours), url::Host::Ipv6(theirs)) => ours == theirs,
                _ => false,
            };
            // What is written again is read as the same, by us and by them.
            let again = Host::parse(&ours.to_string()).is_ok_and(|again| again == ours);
            if same && again { Ok(None) } else { Err(told(&theirs)) }
        }
    }
}

/// A file that a crate carries, as cargo unpacked it.
fn carried(package: &str, file: &str) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let rustc = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let rustc = String::from_utf8(rustc).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let mut cargo = Command::new(env!("CARGO"));
    // Only what was unpacked to build for this machine is there without a network.
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    cargo.arg("--manifest-path").arg(manifest);
    let told: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
    let found = told["packages"].as_array().unwrap().iter().find(|found| found["name"] == package).unwrap();
    let folder = PathBuf::from(found["manifest_path"].as_str().unwrap());
    std::fs::read_to_string(folder.with_file_name(file)).expect("the published crate carries its test data")
}

/// The hosts that the vectors of the URL standard name, in whatever part of them.
fn vectors() -> BTreeSet<String> {
    let data: Vec<Value> = serde_json::from_str(&carried("url", "tests/urltestdata.json")).unwrap();
    let mut hosts = BTreeSet::new();
    for vector in data.iter().filter(|vector| vector.is_object()) {
        let input = vector["input"].as_str().unwrap_or_default();
        let after = input.split_once("//").map(|(_, rest)| rest).unwrap_or_default();
        let authority = after.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let bare = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host);
        hosts.extend([host, bare, vector["hostname"].as_str().unwrap_or_default()].map(str::to_owned));
    }
    hosts
}

#[test]
fn hosts_of_the_url_vectors_read_alike() {
    let hosts = vectors();
    assert!(hosts.len() > 200, "{}", hosts.len());
    let (mut wrong, mut classes, mut accepted) = (Vec::new(), BTreeSet::new(), 0);
    for host in &hosts {
        accepted += usize::from(Host::parse(host).is_ok());
        match compare(host) {
            Ok(class) => classes.extend(class),
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 60, "{accepted}");
    assert!(classes.iter().all(|class| STRICTER.iter().any(|(named, _)| named == class)), "{classes:?}");
}

#[test]
fn each_class_of_refusals_has_its_case() {
    let long = "a".repeat(64);
    let cases = [
        (".", "empty"),
        (&*long, "length"),
        ("a..b", "length"),
        ("a!b.example", "sign"),
        ("a~b", "sign"),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        ("a%2eb", "escape"),
        ("%61.example", "escape"),
        ("example\u{ff0e}com", "mapped"),
        ("exam\u{ad}ple.com", "mapped"),
        ("\u{ff11}\u{ff12}.0.0.1", "mapped"),
        ("b\u{fc}--r.example", "strict"),
        ("-b\u{fc}.example", "strict"),
        ("xn--a-.xn--zca", "punycode"),
    ];
    for (text, class) in cases {
        let theirs = url::Host::parse(text);
        assert!(Host::parse(text).is_err(), "{text}");
        if let Ok(theirs) = theirs {
            assert_eq!(stricter(text, &theirs), Some(class), "{text}");
        }
    }
    let seen: BTreeSet<&str> = cases.iter().map(|(_, class)| *class).collect();
    assert_eq!(seen, STRICTER.iter().map(|(class, _)| *class).collect());
}

/// One text of the vectors of UTS 46, escapes undone.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim();
    if rest == "\"\"" {
        return out;
    }
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (digits, tail) = match after.strip_prefix("x{") {
            Some(braced) => braced.split_once('}').unwrap(),
            None => after.strip_prefix('u').unwrap().split_at(4),
        };
        // A lone surrogate is no text.
        out.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap_or('\u{fffd}'));
        rest = tail;
    }
    out + rest
}

#[test]
fn names_of_the_uts46_vectors_read_alike() {
    let data = carried("idna", "tests/IdnaTestV2.txt");
    // Characters that the vectors call unassigned and the tables that are compiled in, being newer, do not.
    let mut assigned_since = 0;
    let (mut accepted, mut wrong) = (0, Vec::new());
    for line in data.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let columns: Vec<&str> = line.split(';').map(str::trim).collect();
        let [source, unicode, unicode_status, ascii, ascii_status, ..] = columns.as_slice() else { continue };
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { unescaped(text) };
        let source = unescaped(source);
        let ascii = or(ascii, &or(unicode, &source));
        let status = if ascii_status.is_empty() { unicode_status } else { ascii_status };
        let errors: Vec<&str> = status.split(['[', ']', ',', ' ']).filter(|error| !error.is_empty()).collect();
        let Ok(Host::Name(name)) = Host::parse(&source) else { continue };
        accepted += 1;
        // If no label is international, hyphens are allowed anywhere, as in names that resolve today.
        let plain = source.is_ascii() && !name.contains("xn--");
        let mut is_error = |error: &&str| match *error {
            "V2" | "V3" | "U1" => !plain,
            // The trailing dot is an empty label to them, and the root to everybody who resolves it.
            "A4_2" => !source.ends_with('.') || source.ends_with(".."),
            "V7" => {
                assigned_since += 1;
                false
            }
            _ => true,
        };
        let is_wrong = errors.iter().filter(|error| is_error(error)).count() > 0;
        if *name != *ascii.strip_suffix('.').unwrap_or(&ascii) || is_wrong {
            wrong.push(format!("{source:?}: {name} here, {ascii} {errors:?} there"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 200 && assigned_since < 8, "{accepted} {assigned_since}");
}

/// One part of an IPv4 address in some notation.
fn notation(value: u32, style: u8) -> String {
    match style % 6 {
        0 => format!("0{value:o}"),
        1 => format!("0x{value:x}"),
        2 => format!("0X{value:X}"),
        3 => format!("000{value:o}"),
        4 => format!("0x00{value:x}"),
        _ => value.to_string(),
    }
}

proptest! {
    #[test]
    fn every_notation_of_an_ipv4_address_is_the_address(
        address in any::<u32>(), parts in 1..5u32, styles in any::<[u8; 4]>(), dot in any::<bool>()
    ) {
        let mut texts = Vec::new();
        for place in 0..parts {
            let last = place + 1 == parts;
            let value = if last { u64::from(address) & ((1 << (8 * (5 - parts))) - 1) } else { u64::from(address) >> (24 - 8 * place) & 255 };
            texts.push(notation(u32::try_from(value).unwrap(), styles[place as usize]));
        }
        let text = texts.join(".") + if dot { "." } else { "" };
        prop_assert_eq!(Host::parse(&text), Ok(Host::V4(address.into())), "{}", text);
        prop_assert_eq!(compare(&text), Ok(None));
    }

    #[test]
    fn any_host_reads_alike(
        text in prop_oneof![
            "[0-9a-fxX.]{1,14}", "[0-9]{1,11}(\\.[0-9]{1,4}){0,4}\\.?", "[a-zA-Z0-9_.!~*'()-]{1,12}", "\\[[0-9a-fA-F:.]{2,24}\\]",
            "(xn--)?[a-z0-9-]{1,8}(\\.xn--[a-z0-9-]{1,10})?", "[a-zäöüßéςжıİ\u{ff0e}\u{3002}\u{200d}\u{ad}א١・。.-]{1,6}(\\.[a-z]{1,3})?", "\\PC{1,5}"
        ]
    ) {
        prop_assert!(compare(&text).is_ok(), "{:?}", compare(&text));
    }
}
