//! A request target: sent as it came, resolved at most once, and recorded without a value of its query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::RequestPath;

fuzz_target!(|target: &str| {
    let Ok(path) = RequestPath::parse(target) else { return };
    assert_eq!(path.target(), target);
    let (sent, query) = target.split_once('?').map_or((target, None), |(sent, query)| (sent, Some(query)));
    assert_eq!((path.as_sent(), path.query()), (sent, query));
    if let Some(resolved) = path.resolved() {
        assert_ne!(resolved, sent);
        assert!(resolved.starts_with('/') && !resolved.contains("//") && !resolved.contains(['\\', ';']));
        assert!(!resolved.split('/').any(|segment| matches!(segment, "." | "..")), "{resolved}");
        // An escaped `%` or `?` resolves to one that means something else in a target.
        if let Ok(again) = RequestPath::parse(resolved)
            && again.query().is_none()
        {
            assert_eq!(again.resolved(), None, "{target} reads as {resolved}, which reads as yet another");
        }
    }
    let names = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    let expected = if names.is_empty() { sent.to_owned() } else { format!("{sent}?{}", names.join("&")) };
    assert_eq!(path.for_record(), expected);
});
