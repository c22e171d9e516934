//! A request target: sent as it came, read in a bounded number of ways, and recorded without a value of its query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{RequestPath, written_path};

fuzz_target!(|target: &str| {
    let Ok(path) = RequestPath::parse(target) else { return };
    assert_eq!(path.target(), target);
    let (sent, query) = target.split_once('?').map_or((target, None), |(sent, query)| (sent, Some(query)));
    assert_eq!((path.as_sent(), path.query()), (sent, query));
    let count = path.readings().len();
    assert!((1..=12).contains(&count), "{target} has {count} readings");
    assert!(!path.is_ambiguous() || count == 1);
    for reading in path.readings() {
        let text = reading.text();
        assert!(text.starts_with('/') && text.len() <= sent.len(), "{target} reads as {text:?}");
        assert_eq!(reading.folded(), text.to_ascii_lowercase());
        if path.is_ambiguous() {
            continue;
        }
        assert!(!text.contains('\\'));
        assert!(!text.split('/').any(|segment| matches!(segment, "." | "..")), "{target} reads as {text:?}");
        // What is shown to people reads as what it shows.
        let again = RequestPath::parse(&written_path(text)).expect("a reading can be written");
        assert!(again.readings().any(|other| other.text() == text), "{target} reads as {text:?}");
    }
    let names = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    let expected = if names.is_empty() { sent.to_owned() } else { format!("{sent}?{}", names.join("&")) };
    assert_eq!(path.for_record(), expected);
});
