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
    /// The metadata service of a cloud, which hands out credentials to whoever can reach it.
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
