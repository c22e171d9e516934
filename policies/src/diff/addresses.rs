//! What two sides may dial, compared address by address: the ranges that one may dial and the other not.
//!
//! All bounds that any of the rules names, and those of the classes of addresses, cut all addresses into
//! stretches within which nothing differs; one address of each is asked of the rules themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use model::AddressClass;

use super::BeforeAfter;
use crate::rule::Rule;

/// Where the class of an address changes, as `model::AddressClass` has it.
const BOUNDS: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2000::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];

/// Every bound: of the classes, and each metadata service, which is a class of its own.
fn bounds() -> impl Iterator<Item = IpNet> {
    BOUNDS.iter().filter_map(|text| text.parse().ok()).chain(model::METADATA.into_iter().map(IpNet::from))
}

/// What the new side may dial and the old may not, and the other way round; each side by all of its rules together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) gained: Vec<IpNet>,
    pub(super) lost: Vec<IpNet>,
}

/// Compares the rules behind two grants; a side on which only a policy observes has no rule of its own, and
/// dials what is globally routable.
pub(super) fn difference(rules: &BeforeAfter<Vec<&Rule>>, observed: &BeforeAfter<bool>) -> Difference {
    let named: BTreeSet<IpNet> =
        rules.old.iter().chain(&rules.new).filter_map(|rule| rule.addresses.as_ref()).flatten().copied().collect();
    let may = |rules: &[&Rule], observed: bool, address: IpAddr| {
        (!observed || AddressClass::of(address) == AddressClass::Global)
            && rules.iter().all(|rule| rule.allows_address(address))
    };
    let mut difference = Difference::default();
    for (first, last) in stretches(&named) {
        let asked = of_the_stretch(first, last);
        let (old, new) = (may(&rules.old, observed.old, asked), may(&rules.new, observed.new, asked));
        if new && !old {
            difference.gained.extend(nets(first, last));
        }
        if old && !new {
            difference.lost.extend(nets(first, last));
        }
    }
    difference.gained = IpNet::aggregate(&difference.gained);
    difference.lost = IpNet::aggregate(&difference.lost);
    difference
}

/// The address that is asked: not a metadata service that happens to begin a longer stretch, since such an
/// address is dialed only where it is named exactly, and then it is a stretch of its own.
fn of_the_stretch(first: IpAddr, last: IpAddr) -> IpAddr {
    if first == last || AddressClass::of(first) != AddressClass::Metadata { first } else { last }
}

/// All addresses, cut at every bound.
fn stretches(named: &BTreeSet<IpNet>) -> Vec<(IpAddr, IpAddr)> {
    let known = bounds();
    let mut v4 = BTreeSet::from([0u64, 1 << 32]);
    let mut v6 = BTreeSet::from([0u128]);
    for net in known.chain(named.iter().copied()) {
        match net {
            IpNet::V4(net) => {
                v4.insert(u64::from(u32::from(net.network())));
                v4.insert(u64::from(u32::from(net.broadcast())) + 1);
            }
            IpNet::V6(net) => {
                v6.insert(u128::from(net.network()));
                v6.extend(u128::from(net.broadcast()).checked_add(1));
            }
        }
    }
    let v4_address = |bits: u64| IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX)));
    let v6_address = |bits: u128| IpAddr::V6(Ipv6Addr::from(bits));
    let v4: Vec<u64> = v4.into_iter().collect();
    let v6: Vec<u128> = v6.into_iter().collect();
    let mut found: Vec<_> = v4.windows(2).map(|cut| (v4_address(cut[0]), v4_address(cut[1] - 1))).collect();
    for (at, first) in v6.iter().enumerate() {
        let last = v6.get(at + 1).map_or(u128::MAX, |next| next - 1);
        found.push((v6_address(*first), v6_address(last)));
    }
    found
}

fn nets(first: IpAddr, last: IpAddr) -> Vec<IpNet> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).map(|net: Ipv4Net| net.into()).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).map(|net: Ipv6Net| net.into()).collect()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_exact() {
        let rule = |nets: Option<&[&str]>| {
            let text = nets.map(|nets| format!(", addresses: {nets:?}")).unwrap_or_default();
            let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: a.example}}{text}}}\n");
            crate::compile(&[crate::PolicySource { name: "p".to_owned(), text }]).unwrap()
        };
        let compare = |old: Option<&[&str]>, new: Option<&[&str]>| {
            let (old, new) = (rule(old), rule(new));
            let rules = |set: &crate::PolicySet| set.rules_for_policies(&["p".into()]).unwrap().all().to_vec();
            let (old, new) = (rules(&old), rules(&new));
            let found = difference(&BeforeAfter { old: vec![&old[0]], new: vec![&new[0]] }, &BeforeAfter::default());
            let shown = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
            (shown(found.gained), shown(found.lost))
        };
        assert_eq!(compare(Some(&["10.0.0.0/9"]), Some(&["10.0.0.0/8"])).0, ["10.128.0.0/9"]);
        assert_eq!(compare(Some(&["10.0.0.0/8"]), Some(&["10.0.0.0/8", "10.1.0.0/16"])), (vec![], vec![]));
        let metadata = compare(Some(&["169.254.0.0/16"]), Some(&["169.254.0.0/16", "169.254.169.254"]));
        assert_eq!(metadata, (vec!["169.254.169.254/32".to_owned()], vec![]));
        let (gained, lost) = compare(None, Some(&["10.0.0.0/8", "1.0.0.0/8"]));
        assert!(
            gained == ["10.0.0.0/8"]
                && lost.contains(&"2.0.0.0/7".to_owned())
                && !lost.contains(&"1.0.0.0/8".to_owned())
        );
    }

    /// A class that changes within a stretch would be judged by the first address of it alone.
    #[test]
    fn no_class_of_addresses_changes_within_a_stretch() {
        for (first, last) in stretches(&BTreeSet::new()) {
            let (IpAddr::V4(a), IpAddr::V4(b)) = (first, last) else { continue };
            let step = 251;
            let mut bits = u64::from(u32::from(a));
            while bits <= u64::from(u32::from(b)) {
                let address = IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap()));
                assert_eq!(AddressClass::of(address), AddressClass::of(first), "{address}");
                bits += step;
            }
            assert_eq!(AddressClass::of(last), AddressClass::of(first), "{last}");
        }
        let class = |text: &str| AddressClass::of(text.parse::<IpAddr>().unwrap());
        for net in bounds() {
            assert_eq!(class(&net.network().to_string()), class(&net.broadcast().to_string()), "{net}");
        }
    }
}
