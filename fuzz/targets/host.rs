//! A host: what is written again is read as the same, and the URL standard reads what we accept as we do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Authority, Destination, Host, Scheme};

fuzz_target!(|text: &str| {
    let Ok(host) = Host::parse(text) else {
        // What carries no host carries no authority.
        return assert!(Authority::parse(text, false).is_err() || text.contains(':'));
    };
    let written = host.to_string();
    assert_eq!(Host::parse(&written).as_ref(), Ok(&host));
    let destination = Destination::new(Scheme::Https, host.clone(), 8443);
    let authority = Authority::parse(&destination.authority(), false).expect("we wrote it");
    assert_eq!(Destination::of(Scheme::Https, authority), destination);
    let theirs = url::Host::parse(text).expect("we accept nothing that the URL standard refuses");
    match (&host, theirs) {
        (Host::Name(name), url::Host::Domain(theirs)) => {
            assert_eq!(&**name, theirs.strip_suffix('.').unwrap_or(&theirs));
        }
        (Host::V4(own), url::Host::Ipv4(theirs)) => assert_eq!(*own, theirs),
        (Host::V6(own), url::Host::Ipv6(theirs)) => assert_eq!(*own, theirs),
        (_, theirs) => panic!("{host} here, {theirs} there"),
    }
});
