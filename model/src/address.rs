//! What kind of place an IP address is (IANA special-purpose registries, RFC 6890).
//!
//! The data path dials a globally routable address freely; anything else only where the rule's
//! `addresses` covers it, and a metadata service only where it is named exactly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Reachable across the internet.
    Global,
    /// Private, local, reserved or a transition form around such an address.
    Special,
    /// The metadata service of a cloud, which hands out credentials to every client that can reach it.
    Metadata,
}

/// The metadata services of clouds and platforms: the one list of them. Names such as `metadata.google.internal` or
/// `instance-data` lead to one of these addresses.
pub const METADATA: [IpAddr; 18] = [
    // AWS, Azure, Google, Oracle, OpenStack, IBM, DigitalOcean, Hetzner and most others.
    v4(169, 254, 169, 254),
    v4(169, 254, 170, 2),                           // AWS ECS: credentials of a task
    v4(169, 254, 170, 23),                          // AWS EKS Pod Identity
    v4(169, 254, 169, 252),                         // Google GKE: workload identity
    v4(169, 254, 169, 250),                         // Rancher
    v4(169, 254, 0, 23),                            // Tencent
    v4(169, 254, 42, 42),                           // Scaleway
    v4(168, 63, 129, 16),                           // Azure WireServer
    v4(100, 100, 100, 200),                         // Alibaba
    v4(192, 0, 0, 192),                             // Oracle Classic
    v4(192, 80, 8, 124),                            // Equinix Metal
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),      // AWS
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),       // AWS EKS Pod Identity
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),       // Google
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), // Oracle
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),        // Scaleway
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]),    // Akamai (Linode)
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),    // OpenStack
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]))
}

impl AddressClass {
    /// Classifies one address; an IPv4 address embedded in an IPv6 one is judged as well.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => class_v4(v4),
            IpAddr::V6(v6) => class_v6(v6),
        }
    }

    /// Whether every address from the first to the last is globally routable and none is a metadata service.
    pub fn is_global_range(first: IpAddr, last: IpAddr) -> bool {
        if METADATA.iter().any(|address| (first..=last).contains(address)) {
            return false;
        }
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => is_global_range_v4(first, last),
            (IpAddr::V6(first), IpAddr::V6(last)) => is_global_range_v6(first, last),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Every range of IPv4 that is not globally routable, by its first address and the length of its prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The ranges within 2000::/3 that are not globally routable.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_global_range_v4(first: Ipv4Addr, last: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(first), u32::from(last));
    let outside = |start: u32, end: u32| last < start || end < first;
    SPECIAL_V4.iter().all(|(start, bits)| {
        let start = u32::from(*start);
        outside(start, start | (u32::MAX >> bits))
    })
}

fn is_global_range_v6(first: Ipv6Addr, last: Ipv6Addr) -> bool {
    let is_unicast = |address: Ipv6Addr| address.segments()[0] & 0xe000 == 0x2000;
    let unicast = is_unicast(first) && is_unicast(last);
    let (first, last) = (u128::from(first), u128::from(last));
    let outside = |start: u128, end: u128| last < start || end < first;
    unicast
        && SPECIAL_V6.iter().all(|(start, bits)| {
            let start = u128::from(*start);
            outside(start, start | (u128::MAX >> bits))
        })
}

fn class_v4(v4: Ipv4Addr) -> AddressClass {
    if METADATA.contains(&IpAddr::V4(v4)) {
        return AddressClass::Metadata;
    }
    let [a, b, c, _] = v4.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    if special { AddressClass::Special } else { AddressClass::Global }
}

fn class_v6(v6: Ipv6Addr) -> AddressClass {
    if METADATA.contains(&IpAddr::V6(v6)) {
        return AddressClass::Metadata;
    }
    // An embedded IPv4 address is where a gateway or the host itself would deliver the packet. The
    // form is never a reason to dial: a metadata address stays one, any other is refused as special.
    if let Some(inner) = embedded_v4(v6) {
        return match class_v4(inner) {
            AddressClass::Metadata => AddressClass::Metadata,
            AddressClass::Special | AddressClass::Global => AddressClass::Special,
        };
    }
    let [a, b, ..] = v6.segments();
    // Only 2000::/3 is handed out for global unicast; the rest is local, reserved or multicast.
    let global = a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x0200)         // IETF protocol assignments, Teredo, ORCHID
        && !(a == 0x2001 && b == 0x0db8)        // documentation
        && !(a == 0x3fff && b & 0xf000 == 0)    // documentation
        && a != 0x2002; // 6to4
    if global { AddressClass::Global } else { AddressClass::Special }
}

/// The IPv4 address inside a mapped, compatible, NAT64, 6to4 or Teredo address.
pub fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let last = || Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(last()),
        [0, 0, 0, 0, 0, 0, h, l] if h != 0 || l > 1 => Some(last()),
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(last()),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last()),
        [0x64, 0xff9b, 1, ..] => Some(last()),
        [0x2002, h, l, ..] => Some(Ipv4Addr::from((u32::from(h) << 16) | u32::from(l))),
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!((u32::from(s[6]) << 16) | u32::from(s[7])))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        AddressClass::of(text.parse().unwrap())
    }

    #[test]
    fn special_ranges_are_not_global() {
        for text in [
            "0.0.0.0",
            "0.255.255.255",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ] {
            assert_eq!(class(text), AddressClass::Special, "{text}");
        }
    }

    #[test]
    fn a_range_is_global_where_each_of_its_addresses_is() {
        // Each border of a class of IPv4 is between two blocks of 256, except that of a metadata service.
        for block in (0..=u32::MAX >> 8).map(|block| block << 8) {
            let (first, last) = (Ipv4Addr::from(block), Ipv4Addr::from(block | 0xff));
            // Neither the first nor the last address of a block is a metadata service.
            assert_eq!(is_global_range_v4(first, last), class_v4(first) == AddressClass::Global, "{first}");
        }
        for (start, bits) in SPECIAL_V6 {
            let (start, size) = (u128::from(start), u128::MAX >> bits);
            for (at, is_global) in
                [(start - 1, None), (start, Some(false)), (start | size, Some(false)), ((start | size) + 1, None)]
            {
                let address = Ipv6Addr::from(at);
                let class = class_v6(address) == AddressClass::Global;
                assert_eq!(is_global_range_v6(address, address), is_global.unwrap_or(class), "{address}");
            }
        }
        let range =
            |first: &str, last: &str| AddressClass::is_global_range(first.parse().unwrap(), last.parse().unwrap());
        assert!(
            range("1.0.0.0", "1.255.255.255")
                && range("2606:4700::", "2606:4700:ffff::")
                && range("8.8.8.8", "8.8.8.8")
        );
        for (first, last) in [
            ("0.0.0.0", "255.255.255.255"),
            ("9.0.0.0", "10.0.0.0"),
            ("168.63.129.16", "168.63.129.16"),
            ("168.63.0.0", "168.63.255.255"),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::ffff:8.8.8.8", "::ffff:8.8.8.8"),
            ("64:ff9b::808:808", "64:ff9b::808:808"),
            ("fd00:ec2::254", "fd00:ec2::254"),
            ("1.1.1.1", "2606::"),
        ] {
            assert!(!range(first, last), "{first} {last}");
        }
    }

    #[test]
    fn public_addresses_are_global() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1",
            "2a00::1",
        ] {
            assert_eq!(class(text), AddressClass::Global, "{text}");
        }
    }

    #[test]
    fn t255_every_metadata_service_is_one_in_every_form() {
        for address in METADATA {
            assert_eq!(AddressClass::of(address), AddressClass::Metadata, "{address}");
            let IpAddr::V4(v4) = address else { continue };
            let bits = u32::from(v4);
            let (high, low) = ((bits >> 16) as u16, bits as u16);
            for form in [
                v4.to_ipv6_mapped(),
                v4.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
            ] {
                assert_eq!(AddressClass::of(IpAddr::V6(form)), AddressClass::Metadata, "{form}");
            }
        }
    }

    #[test]
    fn metadata_services_are_found_in_every_dress() {
        for text in [
            "169.254.169.254",
            "169.254.170.23",
            "fd00:ec2::23",
            "192.0.0.192",
            "fd20:ce::254",
            "fd00:42::42",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert_eq!(class(text), AddressClass::Metadata, "{text}");
        }
    }
}
