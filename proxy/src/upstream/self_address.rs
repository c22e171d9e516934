//! The addresses of this machine, so that a request for one of our own listeners is recognized.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Endpoint, Host};

/// The listeners of this process, and the names of this machine.
#[derive(Debug)]
pub struct SelfAddress {
    /// The bound addresses, with the actual ports.
    listening: Vec<SocketAddr>,
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl SelfAddress {
    /// These listeners, on all addresses and names of this machine.
    pub fn new(listening: Vec<SocketAddr>, names: Vec<String>) -> Self {
        Self { listening, addresses: addresses(), names }
    }

    /// Whether an address is one of our listeners.
    pub(crate) fn is(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let here = ip.is_loopback() || ip.is_unspecified() || self.addresses.contains(&ip);
        here && self.listens_on(address.port())
    }

    /// Whether an endpoint is one of our listeners, as far as this is possible without a lookup.
    pub fn is_named_by(&self, endpoint: &Endpoint) -> bool {
        let Endpoint { host, port } = endpoint;
        match host {
            Host::Name(name) => self.listens_on(*port) && self.names.iter().any(|own| **own == **name),
            Host::V4(v4) => self.is(SocketAddr::from((*v4, *port))),
            Host::V6(v6) => self.is(SocketAddr::from((*v6, *port))),
        }
    }

    fn listens_on(&self, port: u16) -> bool {
        self.listening.iter().any(|own| own.port() == port)
    }
}

/// The addresses of all interfaces, as the kernel lists them; empty if it does not.
fn addresses() -> Vec<IpAddr> {
    let mut all = Vec::new();
    if let Ok(text) = std::fs::read_to_string("/proc/net/fib_trie") {
        all.extend(from_fib_trie(&text).into_iter().map(IpAddr::V4));
    }
    if let Ok(text) = std::fs::read_to_string("/proc/net/if_inet6") {
        all.extend(text.lines().filter_map(from_if_inet6).map(IpAddr::V6));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// A line `|-- 192.0.2.1` is followed by `/32 host LOCAL` where the address is our own.
fn from_fib_trie(text: &str) -> Vec<Ipv4Addr> {
    let mut last: Option<Ipv4Addr> = None;
    let mut own = Vec::new();
    for line in text.lines() {
        if let Some(address) = line.trim().strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.contains("/32 host LOCAL") {
            own.extend(last);
        }
    }
    own
}

fn from_if_inet6(line: &str) -> Option<Ipv6Addr> {
    let digits = line.split_whitespace().next()?;
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n";
        assert_eq!(from_fib_trie(trie), [Ipv4Addr::new(10, 0, 0, 7)]);
        let line = "00000000000000000000000000000001 01 80 10 80       lo";
        assert_eq!(from_if_inet6(line), Some(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_listener_is_named_by_its_port_and_any_name_of_this_machine() {
        let listening = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 3128))];
        let own = SelfAddress::new(listening, vec!["localhost".to_owned()]);
        let named = |host: &str, port| own.is_named_by(&Endpoint { host: Host::parse(host).unwrap(), port });
        for host in ["127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "localhost"] {
            assert_eq!((named(host, 3128), named(host, 3129)), (true, false), "{host}");
        }
        assert!(!named("192.0.2.1", 3128) && !named("other.example.com", 3128));
    }
}
