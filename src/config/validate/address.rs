//! Address spaces and subnets (ADR-01 to ADR-05, ADR-10, ADR-11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::azure::address::PLATFORM;
use crate::config::schema::{Subnet, VirtualNetwork};
use crate::config::yaml::diagnostic::{At, Report, Spanned};

use super::names::or_unnamed;

/// The ranges of a virtual network, each checked, and then all of them together.
pub(super) fn address_space(vnet: &VirtualNetwork, report: &mut Report) -> Vec<IpNet> {
    let Some(space) = &vnet.address_space else { return Vec::new() };
    let sound: Vec<&Spanned<IpNet>> = space.value.iter().filter(|range| check_range(range, report)).collect();
    let ranges: Vec<IpNet> = space.value.iter().map(|range| range.value).collect();
    if !ranges.is_empty() && ranges.iter().all(|range| matches!(range, IpNet::V6(_))) {
        report
            .error(space.at, format!("virtual network `{}` has IPv6 alone", or_unnamed(&vnet.name)))
            .rule("FAB-16")
            .expected("at least one IPv4 range");
    }
    let nets: Vec<IpNet> = sound.iter().map(|range| range.value).collect();
    for (first, second) in clashes(&nets) {
        let (first, second) = (sound[first], sound[second]);
        report
            .error(second.at, format!("{} overlaps {} of the same address space", second.value, first.value))
            .rule("ADR-05");
    }
    ranges
}

/// Whether the range may be in an address space at all; the report says why not, and what is doubtful about it.
fn check_range(range: &Spanned<IpNet>, report: &mut Report) -> bool {
    let net = range.value;
    if let Some(forbidden) = FORBIDDEN.iter().copied().chain(FORBIDDEN_V6).find(|forbidden| intersect(&net, forbidden))
    {
        report
            .error(range.at, format!("{net} cannot be in an address space: it meets {forbidden}, which Azure reserves"))
            .rule("ADR-03");
        return false;
    }
    match net {
        IpNet::V4(net) if net == Ipv4Net::from(PLATFORM) => {
            report
                .error(range.at, format!("{net} cannot be in an address space: it is the platform's address"))
                .rule("ADR-03");
            return false;
        }
        IpNet::V4(net) if net.contains(&PLATFORM) => {
            report
                .warning(
                    range.at,
                    format!("{net} contains {PLATFORM}, the platform's address, which stays the platform's"),
                )
                .rule("ADR-03");
        }
        IpNet::V4(_) | IpNet::V6(_) => {}
    }
    let (smallest, largest) = sizes(&net);
    if net.prefix_len() > smallest || net.prefix_len() < largest {
        report
            .error(range.at, format!("{net} cannot be an address space's range"))
            .rule("ADR-02")
            .expected(format!("a prefix length from {largest} to {smallest}"));
    }
    if !PRIVATE.iter().copied().chain(PRIVATE_V6).any(|private| private.contains(&net)) {
        report
            .warning(range.at, format!("{net} is a public range: it works here, but the Internet does not reach it"))
            .rule("ADR-04")
            .help("private ranges are 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 and fc00::/7");
    }
    true
}

const fn v4(a: u8, b: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length))
}

const fn v6(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

/// ADR-03: multicast and above it broadcast, loopback, link-local.
const FORBIDDEN: [IpNet; 4] = [v4(224, 0, 4), v4(240, 0, 4), v4(127, 0, 8), v4(169, 254, 16)];
/// The same in IPv6, with the unspecified and loopback addresses: these packets stay in the guest (FAB-16).
const FORBIDDEN_V6: [IpNet; 3] = [v6(0xff00, 8), v6(0xfe80, 10), v6(0, 8)];
const PRIVATE: [IpNet; 4] = [v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), v4(100, 64, 10)];
const PRIVATE_V6: [IpNet; 1] = [v6(0xfc00, 7)];

/// Smallest and largest prefix of an address space, as prefix lengths.
fn sizes(net: &IpNet) -> (u8, u8) {
    match net {
        IpNet::V4(_) => (29, 2),
        IpNet::V6(_) => (64, 8),
    }
}

/// Every subnet's ranges: their size, inside the space, apart from each other.
pub(super) fn check_subnets(vnet: &VirtualNetwork, space: &[IpNet], report: &mut Report) {
    let mut ranges: Vec<(IpNet, At, String)> = Vec::new();
    for subnet in &vnet.subnets {
        let Some(prefixes) = &subnet.prefixes else { continue };
        let name = or_unnamed(&subnet.name);
        let six = prefixes.value.iter().filter(|prefix| matches!(prefix.value, IpNet::V6(_))).count();
        if six > 0 && six == prefixes.value.len() {
            report
                .error(prefixes.at, format!("subnet `{name}` has IPv6 alone"))
                .rule("FAB-16")
                .expected("an IPv4 range beside it in `addressPrefixes`");
        }
        for prefix in &prefixes.value {
            check_size(prefix, &name, report);
            if !space.is_empty() && !space.iter().any(|range| range.contains(&prefix.value)) {
                outside(prefix, &name, vnet, space, report);
            }
            ranges.push((prefix.value, prefix.at, name.clone()));
        }
    }
    let nets: Vec<IpNet> = ranges.iter().map(|(net, ..)| *net).collect();
    for (first, second) in clashes(&nets) {
        let ((first_net, _, first_name), (net, at, name)) = (&ranges[first], &ranges[second]);
        report
            .error(*at, format!("subnet `{name}` {net} overlaps subnet `{first_name}` {first_net}"))
            .code("NetcfgSubnetRangesOverlap")
            .rule("ADR-05");
    }
}

fn outside(prefix: &Spanned<IpNet>, name: &str, vnet: &VirtualNetwork, space: &[IpNet], report: &mut Report) {
    let space: Vec<String> = space.iter().map(ToString::to_string).collect();
    report
        .error(
            prefix.at,
            format!("subnet `{name}` {} is not valid in virtual network `{}`", prefix.value, or_unnamed(&vnet.name)),
        )
        .code("NetcfgInvalidSubnet")
        .rule("ADR-05")
        .expected(format!("a range inside {}", space.join(" or ")));
}

fn check_size(prefix: &Spanned<IpNet>, name: &str, report: &mut Report) {
    let length = prefix.value.prefix_len();
    let (fits, expected) = match prefix.value {
        IpNet::V4(_) => ((2..=29).contains(&length), "an IPv4 prefix length from 2 to 29"),
        IpNet::V6(_) => (length == 64, "an IPv6 prefix length of exactly 64"),
    };
    if !fits {
        report
            .error(prefix.at, format!("subnet `{name}` cannot have the size of {}", prefix.value))
            .rule("ADR-02")
            .expected(expected);
    }
}

/// What a subnet with a reserved name must and must not have.
struct Special {
    name: &'static str,
    rule: &'static str,
    /// The longest IPv4 prefix.
    smallest: u8,
    nsg: bool,
    route_table: bool,
}

const GATEWAY_SUBNET: &str = "GatewaySubnet";

const SPECIAL: [Special; 6] = [
    Special { name: GATEWAY_SUBNET, rule: "ADR-10", smallest: 29, nsg: false, route_table: true },
    Special { name: "RouteServerSubnet", rule: "ADR-11", smallest: 27, nsg: false, route_table: false },
    Special { name: "AzureFirewallSubnet", rule: "ADR-11", smallest: 26, nsg: true, route_table: true },
    Special { name: "AzureFirewallManagementSubnet", rule: "ADR-11", smallest: 26, nsg: true, route_table: true },
    Special { name: "AzureBastionSubnet", rule: "ADR-11", smallest: 26, nsg: true, route_table: true },
    Special { name: "VirtualNetworkApplianceSubnet", rule: "ADR-11", smallest: 29, nsg: true, route_table: true },
];

/// Subnets that Azure knows by name, exactly as it is spelled.
pub(super) fn check_special(subnet: &Subnet, report: &mut Report) {
    let Some(name) = &subnet.name else { return };
    let Some(special) = SPECIAL.iter().find(|special| special.name.eq_ignore_ascii_case(&name.value)) else { return };
    if special.name != name.value {
        report
            .warning(name.at, format!("`{}` is an ordinary subnet: special names compare exactly", name.value))
            .rule(special.rule)
            .help(format!("did you mean `{}`?", special.name));
        return;
    }
    let refused = [
        (subnet.network_security_group.as_ref().filter(|_| !special.nsg), "network security group", "NSG-16"),
        (subnet.route_table.as_ref().filter(|_| !special.route_table), "route table", special.rule),
    ];
    for (reference, what, rule) in refused {
        if let Some(reference) = reference {
            report.error(reference.at, format!("{} takes no {what}", special.name)).rule(rule);
        }
    }
    let prefixes = subnet.prefixes.iter().flat_map(|prefixes| &prefixes.value);
    if special.name == GATEWAY_SUBNET {
        for prefix in prefixes.clone().filter(|prefix| matches!(prefix.value, IpNet::V4(net) if net.prefix_len() > 27))
        {
            report
                .warning(prefix.at, format!("{} leaves gateways little room", prefix.value))
                .rule(special.rule)
                .help("Azure recommends /27 or larger for GatewaySubnet");
        }
    }
    for prefix in
        prefixes.filter(|prefix| matches!(prefix.value, IpNet::V4(net) if net.prefix_len() > special.smallest))
    {
        // A subnet beyond /29 has been refused with ADR-02 already.
        if prefix.value.prefix_len() <= 29 {
            report
                .error(prefix.at, format!("{} is too small for {}", prefix.value, special.name))
                .rule(special.rule)
                .expected(format!("/{} or larger", special.smallest));
        }
    }
}

/// Whether Azure keeps this address of a subnet's range for itself (ADR-01; in IPv6 the first four).
pub(super) fn is_reserved(address: IpAddr, range: &IpNet) -> bool {
    let (first, last) = (bits(range.network()), bits(range.broadcast()));
    let address = bits(address);
    address - first < 4 || (range.network().is_ipv4() && address == last)
}

/// An address as a number.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Two ranges overlap exactly if one contains the other.
pub(super) fn intersect(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Pairs of indices of ranges that overlap, the containing one first. A range inside several is paired with the
/// innermost, so that a list in disorder gives one message a range and not one a pair.
pub(super) fn overlaps(ranges: &[IpNet]) -> Vec<(usize, usize)> {
    let mut order: Vec<_> = (0..).zip(ranges).map(|(i, range)| (range.network(), range.prefix_len(), i)).collect();
    order.sort_unstable();
    let mut around: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for (_, _, i) in order {
        while around.last().is_some_and(|&outer| !ranges[outer].contains(&ranges[i])) {
            around.pop();
        }
        pairs.extend(around.last().map(|&outer| (outer, i)));
        around.push(i);
    }
    pairs
}

/// The overlaps in list order, each range at most once: `(the one it meets, the later one)`.
fn clashes(ranges: &[IpNet]) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = overlaps(ranges).into_iter().map(|(a, b)| (a.max(b), a.min(b))).collect();
    pairs.sort_unstable();
    pairs.dedup_by_key(|&mut (later, _)| later);
    pairs.into_iter().map(|(later, first)| (first, later)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        // Few bits, so that ranges meet often.
        let net = (0..16_u32, 26..=32_u8).prop_map(|(bits, length)| {
            IpNet::from(Ipv4Net::new_assert(Ipv4Addr::from(0x0a00_0000 | bits << 2), length).trunc())
        });
        prop::collection::vec(net, 0..12)
    }

    proptest! {
        #[test]
        fn every_overlap_is_found(nets in nets()) {
            let found: HashSet<usize> = overlaps(&nets).into_iter().flat_map(|(a, b)| [a, b]).collect();
            for (i, a) in nets.iter().enumerate() {
                let meets = nets.iter().enumerate().any(|(j, b)| i != j && intersect(a, b));
                prop_assert_eq!(meets, found.contains(&i), "{} in {:?}", a, nets);
            }
            for (outer, inner) in overlaps(&nets) {
                prop_assert!(outer != inner && nets[outer].contains(&nets[inner]));
            }
        }
    }

    #[test]
    fn adr_01_five_addresses_of_a_range_are_reserved() {
        let range: IpNet = "10.1.0.0/29".parse().expect("a range");
        let free: Vec<u8> = (0..8).filter(|last| !is_reserved(IpAddr::from([10, 1, 0, *last]), &range)).collect();
        assert_eq!(free, [4, 5, 6]);
    }
}
