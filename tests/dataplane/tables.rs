//! The clever tables against slow obvious twins, with inputs biased to overlaps and boundaries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ip_network::{IpNetwork, Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use proptest::prelude::*;
use vnet::dataplane::{Acl, AclMatch, AclRule, Action, Lpm, LpmBuilder, ProtocolMatch};
use vnet::wire::{Protocol, Tuple};

// ---- Longest-prefix match ----

/// The twin: of all prefixes that contain the address, the longest; of equal ones, the last.
fn longest(prefixes: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
    let containing = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
    containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, value)| *value)
}

/// Looks up every address in the table, in its twin and in an independent table.
fn check_lpm(prefixes: &[(IpNet, u32)], addresses: impl IntoIterator<Item = IpAddr>) {
    let lpm: Lpm<u32> = prefixes.iter().copied().collect();
    let mut other = IpNetworkTable::new();
    for (prefix, value) in prefixes {
        other.insert(foreign(*prefix), *value);
    }
    assert_eq!(lpm.len(), other.len().0 + other.len().1);
    for address in addresses {
        let found = lpm.lookup(address);
        assert_eq!(found, other.longest_match(address).map(|(_, value)| *value), "{address} in {} prefixes", lpm.len());
        if prefixes.len() <= 64 {
            assert_eq!(found, longest(prefixes, address), "{address} in {prefixes:?}");
        }
    }
}

fn foreign(prefix: IpNet) -> IpNetwork {
    let len = prefix.prefix_len();
    match prefix.network() {
        IpAddr::V4(network) => Ipv4Network::new(network, len).unwrap().into(),
        IpAddr::V6(network) => Ipv6Network::new(network, len).unwrap().into(),
    }
}

/// Where a mistake would show: the ends of every prefix and their neighbours outside, and something within.
fn near(prefixes: &[(IpNet, u32)], random: &mut Random) -> Vec<IpAddr> {
    let near_one = |(prefix, _): &(IpNet, u32)| {
        let (first, last) = (prefix.network(), prefix.broadcast());
        [first, last, offset(first, -1), offset(last, 1), within(*prefix, random)]
    };
    prefixes.iter().flat_map(near_one).collect()
}

fn offset(address: IpAddr, by: i32) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add_signed(by)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add_signed(by.into())).into(),
    }
}

fn within(prefix: IpNet, random: &mut Random) -> IpAddr {
    match prefix {
        IpNet::V4(prefix) => {
            let host = random.next() as u32 & prefix.hostmask().to_bits();
            Ipv4Addr::from_bits(prefix.network().to_bits() | host).into()
        }
        IpNet::V6(prefix) => {
            let host = random.wide() & prefix.hostmask().to_bits();
            Ipv6Addr::from_bits(prefix.network().to_bits() | host).into()
        }
    }
}

#[test]
fn lpm_of_a_hub_and_its_spokes() {
    let routes = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.4/32", "fd00::/8", "fd00:1::/64"];
    let routes: Vec<(IpNet, u32)> = routes.iter().map(|route| route.parse().unwrap()).zip(0..).collect();
    let lpm: Lpm<u32> = routes.iter().copied().collect();
    let lookup = |address: &str| lpm.lookup(address.parse().unwrap());

    assert_eq!(lookup("10.1.1.4"), Some(4));
    assert_eq!(lookup("10.1.1.5"), Some(3));
    assert_eq!(lookup("10.1.2.1"), Some(2));
    assert_eq!(lookup("10.2.0.1"), Some(1));
    assert_eq!(lookup("9.255.255.255"), Some(0));
    assert_eq!(lookup("fd00:1::9"), Some(6));
    assert_eq!(lookup("fd00:1:0:1::"), Some(5));
    assert_eq!(lookup("2001:db8::1"), None, "an IPv4 default route is none for IPv6");
}

#[test]
fn lpm_without_prefixes_finds_nothing() {
    check_lpm(&[], ["0.0.0.0", "255.255.255.255", "::", "10.0.0.1"].map(|address| address.parse().unwrap()));
}

#[test]
fn lpm_cuts_host_bits_and_keeps_the_last_of_equals() {
    let mut builder = LpmBuilder::new();
    builder.insert("10.0.0.7/24".parse().unwrap(), 1);
    builder.insert("10.0.0.9/24".parse().unwrap(), 2);
    let lpm = builder.build();

    assert_eq!(lpm.len(), 1);
    assert_eq!(lpm.lookup("10.0.0.1".parse().unwrap()), Some(2));
    assert_eq!(lpm.lookup("10.0.1.0".parse().unwrap()), None);
}

#[test]
fn lpm_of_every_length_around_one_address() {
    let random = &mut Random(1);
    for (address, longest) in [("10.1.2.3", 32), ("255.255.255.255", 32), ("fd00:1:2:3::4", 128), ("::", 128)] {
        let address: IpAddr = address.parse().unwrap();
        let nested: Vec<_> =
            (0..=longest).map(|len| (IpNet::new(address, len).unwrap().trunc(), u32::from(len))).collect();
        check_lpm(&nested, near(&nested, random));
        check_lpm(&nested[1..], near(&nested, random));
        for alone in &nested {
            check_lpm(&[*alone], near(&nested, random));
        }
    }
}

/// Sizes on both sides of each change of the root's size.
#[test]
fn lpm_agrees_at_every_size() {
    let random = &mut Random(2);
    for size in [1, 2, 3, 4, 5, 10, 63, 255, 256, 257, 1_000, 10_000, 65_535, 65_536] {
        let mut distinct = BTreeMap::new();
        while distinct.len() < size {
            distinct.insert(random.prefix(), distinct.len() as u32);
        }
        let prefixes: Vec<_> = distinct.into_iter().collect();
        let mut addresses = near(&prefixes[..size.min(10_000)], random);
        addresses.extend(std::iter::repeat_with(|| random.address()).take(50_000));
        check_lpm(&prefixes, addresses);
    }
}

#[test]
fn lpm_agrees_on_many_small_tables() {
    let random = &mut Random(3);
    for _ in 0..2_000 {
        let prefixes: Vec<_> = (0..random.below(40)).map(|_| (random.prefix(), random.below(4))).collect();
        check_lpm(&prefixes, near(&prefixes, random));
    }
}

/// Hundreds of subnets' tables live side by side.
#[test]
fn lpm_of_few_routes_is_small() {
    let routes = |count: u32| -> Lpm<u32> {
        let route = |n: u32| IpNet::new(Ipv4Addr::from_bits(0x0a00_0000 | n << 8).into(), 24).unwrap();
        (0..count).map(|n| (route(n), n)).collect()
    };
    assert!(routes(0).memory() <= 64, "{}", routes(0).memory());
    assert!(routes(10).memory() <= 1 << 10, "{}", routes(10).memory());
    assert!(routes(400).memory() <= 48 << 10, "{}", routes(400).memory());
}

proptest! {
    #[test]
    fn lpm_agrees_on_random_tables(
        seeds in prop::collection::vec((any::<u64>(), 0..3u32), 0..30),
        addresses in prop::collection::vec(any::<u64>(), 0..30),
    ) {
        let prefixes: Vec<_> = seeds.iter().map(|(seed, value)| (Random(*seed).prefix(), *value)).collect();
        check_lpm(&prefixes, near(&prefixes, &mut Random(4)));
        check_lpm(&prefixes, addresses.iter().map(|seed| Random(*seed).address()));
    }
}

// ---- Security rules ----

/// The twin: the rules in order, each as the documentation states it.
fn first_match(rules: &[AclRule], tuple: &Tuple) -> Option<AclMatch> {
    let rule = rules.iter().position(|rule| matches(rule, tuple))?;
    Some(AclMatch { rule: rule as u32, action: rules[rule].action, custom: rules[rule].custom, id: None })
}

fn matches(rule: &AclRule, tuple: &Tuple) -> bool {
    let protocol = match rule.protocol {
        ProtocolMatch::Any => true,
        ProtocolMatch::Icmp => tuple.protocol.0 == 1 || tuple.protocol.0 == 58,
        ProtocolMatch::Only(only) => only.0 == tuple.protocol.0,
    };
    let all_ports = rule.src_ports.contains(&(0..=65_535)) && rule.dst_ports.contains(&(0..=65_535));
    let ports = match tuple.protocol.0 {
        6 | 17 => {
            rule.src_ports.iter().any(|range| range.contains(&tuple.src_port))
                && rule.dst_ports.iter().any(|range| range.contains(&tuple.dst_port))
        }
        _ => all_ports,
    };
    let src = rule.src.iter().any(|prefix| prefix.contains(&tuple.src));
    let dst = rule.dst.iter().any(|prefix| prefix.contains(&tuple.dst));
    protocol && ports && src && dst
}

/// Classifies by the list as it is, and by one so heavy that it is no longer tried rule by rule.
fn check_acl(rules: &[AclRule], tuples: impl IntoIterator<Item = Tuple>) {
    let acl = Acl::new(rules.to_vec());
    let heavy = Acl::new([rules, &[weight()]].concat());
    assert_eq!(acl.len(), rules.len());
    for tuple in tuples {
        let expected = first_match(rules, &tuple);
        assert_eq!(acl.classify(&tuple), expected, "{tuple:?} in {} rules", rules.len());
        assert_eq!(heavy.classify(&tuple), expected, "{tuple:?} in {} rules and a heavy one", rules.len());
    }
}

/// Has many destinations, no source, and so matches nothing.
fn weight() -> AclRule {
    let dst = (0..200).map(|n| IpNet::new(Ipv4Addr::new(10, n, 0, 0).into(), 16).unwrap()).collect();
    AclRule { dst, src: [].into(), ..anything() }
}

fn anything() -> AclRule {
    let any: Arc<[IpNet]> = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap()).into();
    AclRule {
        protocol: ProtocolMatch::Any,
        src: any.clone(),
        dst: any,
        src_ports: vec![0..=65_535],
        dst_ports: vec![0..=65_535],
        action: Action::Allow,
        custom: true,
    }
}

fn tuple(src: &str, dst: &str, protocol: Protocol, src_port: u16, dst_port: u16) -> Tuple {
    Tuple { src: src.parse().unwrap(), dst: dst.parse().unwrap(), protocol, src_port, dst_port }
}

/// Whether one rule matches, asked of every classifier.
fn one_matches(rule: &AclRule, tuple: Tuple) -> bool {
    check_acl(std::slice::from_ref(rule), [tuple]);
    Acl::new(vec![rule.clone()]).classify(&tuple).is_some()
}

#[test]
fn nsg_07_restricted_ports_match_only_packets_with_ports() {
    let rule = AclRule { dst_ports: vec![80..=80], ..anything() };
    let to_port_80 = |protocol| tuple("10.0.0.4", "10.0.0.5", protocol, 80, 80);

    assert!(one_matches(&rule, to_port_80(Protocol::TCP)));
    assert!(one_matches(&rule, to_port_80(Protocol::UDP)));
    for protocol in [Protocol::ICMP, Protocol::ICMPV6, Protocol::ESP, Protocol::AH, Protocol(0)] {
        assert!(!one_matches(&rule, to_port_80(protocol)), "{protocol:?}: an echo's identifier is no port");
        assert!(one_matches(&anything(), to_port_80(protocol)));
    }
    let rule = AclRule { src_ports: vec![0..=65_534], ..anything() };
    assert!(!one_matches(&rule, to_port_80(Protocol::ICMP)));
    let rule = AclRule { protocol: ProtocolMatch::Icmp, dst_ports: vec![80..=80], ..anything() };
    assert!(!one_matches(&rule, to_port_80(Protocol::ICMP)));
}

#[test]
fn nsg_07_source_ports_are_those_of_the_sender() {
    let rule = AclRule { src_ports: vec![1000..=1999, 3000..=3000], ..anything() };
    let from = |port, to| one_matches(&rule, tuple("10.0.0.4", "10.0.0.5", Protocol::TCP, port, to));
    for port in [1000, 1500, 1999, 3000] {
        assert!(from(port, 80) && from(port, port), "{port}");
    }
    for port in [0, 80, 999, 2000, 2999, 3001, 65_535] {
        assert!(!from(port, 80) && !from(port, 1500), "{port}: where it goes to is no matter");
    }
    let both = AclRule { src_ports: vec![1000..=1999], dst_ports: vec![80..=80], ..anything() };
    for (src, dst, matches) in [(1500, 80, true), (1500, 81, false), (80, 1500, false), (80, 80, false)] {
        assert_eq!(one_matches(&both, tuple("10.0.0.4", "10.0.0.5", Protocol::UDP, src, dst)), matches, "{src} {dst}");
    }
}

#[test]
fn nsg_08_protocols() {
    let with = |protocol| tuple("10.0.0.4", "10.0.0.5", protocol, 0, 0);
    let icmp = AclRule { protocol: ProtocolMatch::Icmp, ..anything() };
    let tcp = AclRule { protocol: ProtocolMatch::Only(Protocol::TCP), ..anything() };

    assert!(one_matches(&icmp, with(Protocol::ICMP)));
    assert!(one_matches(&icmp, with(Protocol::ICMPV6)));
    assert!(!one_matches(&icmp, with(Protocol::TCP)));
    assert!(one_matches(&tcp, with(Protocol::TCP)));
    assert!(!one_matches(&tcp, with(Protocol::UDP)));
    assert!(one_matches(&anything(), with(Protocol::ESP)));
}

#[test]
fn fab_16_prefixes_of_one_family_do_not_match_the_other() {
    let v4 = tuple("10.0.0.4", "10.0.0.5", Protocol::TCP, 1, 2);
    let v6 = tuple("fd00::4", "fd00::5", Protocol::TCP, 1, 2);
    let only_v4 = AclRule { src: ["0.0.0.0/0".parse().unwrap()].into(), ..anything() };
    let only_v6 = AclRule { dst: ["::/0".parse().unwrap()].into(), ..anything() };

    assert!(one_matches(&only_v4, v4) && !one_matches(&only_v4, v6));
    assert!(one_matches(&only_v6, v6) && !one_matches(&only_v6, v4));
}

#[test]
fn an_empty_list_matches_nothing() {
    let tuple = tuple("10.0.0.4", "10.0.0.5", Protocol::TCP, 1, 2);
    assert!(!one_matches(&AclRule { src: [].into(), ..anything() }, tuple));
    assert!(!one_matches(&AclRule { dst: [].into(), ..anything() }, tuple));
    assert!(!one_matches(&AclRule { dst_ports: Vec::new(), ..anything() }, tuple));
    check_acl(&[], [tuple]);
}

/// Sizes on both sides of each word of bits.
#[test]
fn acl_agrees_at_every_size() {
    let random = &mut Random(5);
    for size in [1, 2, 3, 10, 16, 17, 63, 64, 65, 100, 128, 129, 400, 1_000, 1_200] {
        let rules = random.rules(size);
        let tuples: Vec<_> = (0..1_000).map(|_| random.tuple(&rules)).collect();
        check_acl(&rules, tuples);
    }
}

/// As administrators may have: more words than a summary has bits.
#[test]
fn acl_agrees_on_thousands_of_rules() {
    let random = &mut Random(8);
    for size in [4_096, 4_097, 8_200] {
        let rules = random.rules(size);
        let tuples: Vec<_> = (0..200).map(|_| random.tuple(&rules)).collect();
        check_acl(&rules, tuples);
    }
}

/// LIM-13: 4,000 addresses, and as many ports.
#[test]
fn lim_13_a_rule_has_thousands_of_addresses_and_ports() {
    let source = |n: u32| IpNet::new(Ipv4Addr::from_bits(0x0a00_0000 | n << 1).into(), 32).unwrap();
    let rule = AclRule {
        src: (0..4_000).map(source).collect(),
        dst_ports: (0..4_000).map(|n| 2 * n..=2 * n).collect(),
        ..anything()
    };
    let rules = [rule, AclRule { action: Action::Deny, ..anything() }];
    let tuple = |src: u32, dst_port| Tuple {
        src: Ipv4Addr::from_bits(0x0a00_0000 | src).into(),
        ..tuple("10.0.0.0", "10.9.9.9", Protocol::TCP, 1, dst_port)
    };
    check_acl(
        &rules,
        (0..=8_000).step_by(3).flat_map(|n| [tuple(n, 4_000), tuple(4_000, n as u16), tuple(n, n as u16)]),
    );
}

#[test]
fn acl_agrees_on_many_small_lists() {
    let random = &mut Random(6);
    for _ in 0..300 {
        let size = 1 + random.below(21) as usize;
        let rules = random.rules(size);
        let tuples: Vec<_> = (0..60).map(|_| random.tuple(&rules)).collect();
        check_acl(&rules, tuples);
    }
}

/// As many rules as an NSG may have, every twentieth with 400 sources.
#[test]
fn acl_of_a_thousand_rules_is_small() {
    let random = &mut Random(7);
    let mut rules = random.rules(1_000);
    for rule in rules.iter_mut().step_by(20) {
        rule.src = (0..400).map(|_| random.prefix()).collect();
    }
    let memory = Acl::new(rules).memory();
    assert!(memory <= 4 << 20, "{memory} bytes");
}

proptest! {
    #[test]
    fn acl_agrees_on_random_rules(
        rules in prop::collection::vec(any::<u64>(), 1..12),
        tuples in prop::collection::vec(any::<u64>(), 1..12),
    ) {
        let rules: Vec<_> = rules.iter().map(|seed| Random(*seed).rule()).collect();
        let tuples: Vec<_> = tuples.iter().map(|seed| Random(*seed).tuple(&rules)).collect();
        check_acl(&rules, tuples);
    }
}

// ---- Inputs ----

/// SplitMix64: the same inputs in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }

    /// Mostly out of a few neighbourhoods, so that prefixes of different lengths overlap.
    fn address(&mut self) -> IpAddr {
        let neighbourhood = self.below(4);
        let host = self.wide() >> self.below(128);
        match self.below(8) {
            0 => Ipv4Addr::from_bits(self.next() as u32).into(),
            1..5 => Ipv4Addr::from_bits((10 + neighbourhood) << 24 ^ host as u32 & 0x00ff_ffff).into(),
            5 => Ipv6Addr::from_bits(self.wide()).into(),
            _ => Ipv6Addr::from_bits((0xfd00_0000 + u128::from(neighbourhood)) << 96 ^ host & u128::MAX >> 32).into(),
        }
    }

    fn prefix(&mut self) -> IpNet {
        let address = self.address();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let len = match self.below(16) {
            0 => 0,
            1 => longest,
            2..10 => 8 * self.below(u32::from(longest) / 8 + 1) as u8,
            _ => self.below(u32::from(longest) + 1) as u8,
        };
        IpNet::new(address, len).unwrap().trunc()
    }

    /// Some share a list, as rules that name one tag do.
    fn rules(&mut self, count: usize) -> Vec<AclRule> {
        let mut rules: Vec<_> = (0..count).map(|_| self.rule()).collect();
        for _ in 0..count / 4 {
            let [from, to] = [(); 2].map(|()| self.below(count as u32) as usize);
            rules[to].src = rules[from].src.clone();
        }
        rules
    }

    fn rule(&mut self) -> AclRule {
        let protocol = match self.below(6) {
            0..2 => ProtocolMatch::Any,
            2 => ProtocolMatch::Icmp,
            3 => ProtocolMatch::Only(Protocol::TCP),
            4 => ProtocolMatch::Only(Protocol::UDP),
            _ => ProtocolMatch::Only(self.protocol()),
        };
        AclRule {
            protocol,
            src: self.prefixes(),
            dst: self.prefixes(),
            src_ports: self.port_ranges(),
            dst_ports: self.port_ranges(),
            action: if self.below(2) == 0 { Action::Allow } else { Action::Deny },
            custom: self.below(2) == 0,
        }
    }

    fn protocol(&mut self) -> Protocol {
        Protocol([0, 1, 6, 6, 6, 17, 17, 50, 51, 58, 132, 255][self.below(12) as usize])
    }

    fn prefixes(&mut self) -> Arc<[IpNet]> {
        let count = match self.below(20) {
            0 => 0,
            1 => 40,
            2..8 => return anything().src,
            _ => 1 + self.below(3),
        };
        (0..count).map(|_| self.prefix()).collect()
    }

    fn port_ranges(&mut self) -> Vec<RangeInclusive<u16>> {
        match self.below(20) {
            0 => Vec::new(),
            1 => vec![self.port()..=self.port()],
            2..12 => vec![0..=65_535],
            12..16 => {
                let port = self.port();
                vec![port..=port]
            }
            _ => {
                let range = |random: &mut Self| {
                    let port = random.port();
                    port..=port.saturating_add(random.below(300) as u16)
                };
                (0..=self.below(4)).map(|_| range(self)).collect()
            }
        }
    }

    fn port(&mut self) -> u16 {
        [0, 1, 80, 443, 1_024, 65_535, self.below(1_000) as u16, self.next() as u16][self.below(8) as usize]
    }

    /// At an edge of what some rule says, field by field.
    fn tuple(&mut self, rules: &[AclRule]) -> Tuple {
        let rule = &rules[self.below(rules.len() as u32) as usize];
        let protocol = match rule.protocol {
            ProtocolMatch::Only(protocol) => protocol,
            ProtocolMatch::Any | ProtocolMatch::Icmp => self.protocol(),
        };
        Tuple {
            src: self.address_near(&rule.src),
            dst: self.address_near(&rule.dst),
            protocol,
            src_port: self.port_near(&rule.src_ports),
            dst_port: self.port_near(&rule.dst_ports),
        }
    }

    fn address_near(&mut self, prefixes: &[IpNet]) -> IpAddr {
        if prefixes.is_empty() || self.below(8) == 0 {
            return self.address();
        }
        let prefix = prefixes[self.below(prefixes.len() as u32) as usize];
        match self.below(6) {
            0 => prefix.network(),
            1 => prefix.broadcast(),
            2 => offset(prefix.network(), -1),
            3 => offset(prefix.broadcast(), 1),
            _ => within(prefix, self),
        }
    }

    fn port_near(&mut self, ranges: &[RangeInclusive<u16>]) -> u16 {
        if ranges.is_empty() || self.below(8) == 0 {
            return self.port();
        }
        let range = &ranges[self.below(ranges.len() as u32) as usize];
        match self.below(4) {
            0 => *range.start(),
            1 => *range.end(),
            2 => range.start().wrapping_sub(1),
            _ => range.end().wrapping_add(1),
        }
    }
}
