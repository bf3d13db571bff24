//! The clever tables against slow obvious twins, with inputs biased to overlaps and boundaries.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ip_network::{IpNetwork, Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use proptest::prelude::*;
use vnet::dataplane::{Lpm, LpmBuilder};

// ---- Longest-prefix match ----

/// The twin: of all prefixes that contain the address, the longest; of equal ones, the last.
fn longest(prefixes: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
    let containing = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
    containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, value)| *value)
}

/// Looks up every address in the table, in its twin and in somebody else's table.
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

/// Sizes on both sides of each change of the root's size, and one large enough to fill it.
#[test]
fn lpm_agrees_at_every_size() {
    let random = &mut Random(2);
    for size in [1, 2, 3, 4, 5, 10, 63, 255, 256, 257, 1_000, 16_383, 16_384, 60_000] {
        let prefixes: Vec<_> = (0..size).map(|value| (random.prefix(), value)).collect();
        check_lpm(&prefixes, near(&prefixes, random));
        check_lpm(&prefixes, std::iter::repeat_with(|| random.address()).take(100_000));
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
    fn lpm_agrees_on_whatever_shrinks(
        seeds in prop::collection::vec((any::<u64>(), 0..3u32), 0..30),
        addresses in prop::collection::vec(any::<u64>(), 0..30),
    ) {
        let prefixes: Vec<_> = seeds.iter().map(|(seed, value)| (Random(*seed).prefix(), *value)).collect();
        check_lpm(&prefixes, near(&prefixes, &mut Random(4)));
        check_lpm(&prefixes, addresses.iter().map(|seed| Random(*seed).address()));
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
}
