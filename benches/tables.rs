//! Lookup and build times of the tables, and their memory. `ip_network_table` is the baseline for routes.
//!
//! Independent lookups over 4,096 keys: what a batch of packets costs, not the latency of one lookup.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at what it did not expect")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ip_network::{IpNetwork, Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use vnet::dataplane::{
    Acl, AclRule, Action, Deciders, Direction, FlowLimits, FlowTable, FlowTerms, Follow, Lpm, NicId, Passing,
    ProtocolMatch, Signal, Timestamp, Traffic,
};
use vnet::wire::{Protocol, Tuple};

criterion_main!(tables);
criterion_group! {
    name = tables;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = lpm, acl, flows
}

fn lpm(criterion: &mut Criterion) {
    let random = &mut Random(1);
    let tables = [
        ("ipv4 10", routes(10, || random.subnet_v4())),
        ("ipv4 400", routes(400, || random.subnet_v4())),
        ("ipv4 1M", routes(1_000_000, || random.internet_v4())),
        ("ipv6 10", routes(10, || random.subnet_v6())),
        ("ipv6 400", routes(400, || random.subnet_v6())),
        ("ipv6 400 hosts", routes(400, || random.host_v6())),
    ];
    for (name, routes) in &tables {
        let lpm: Lpm<u32> = routes.iter().copied().collect();
        let baseline = baseline(routes);
        let within = |_| {
            let route = random.pick(routes).0;
            random.within(route)
        };
        let keys: Vec<IpAddr> = (0..4_096).map(within).collect();
        println!("lpm {name}: {} KiB", lpm.memory().div_ceil(1 << 10));

        let mut group = criterion.benchmark_group(format!("lpm {name}"));
        let mut at = cycle(&keys);
        group.bench_function("lookup", |bench| bench.iter(|| lpm.lookup(black_box(at()))));
        let mut at = cycle(&keys);
        group.bench_function("lookup, ip_network_table", |bench| {
            bench.iter(|| baseline.longest_match(black_box(at())).map(|(_, value)| *value));
        });
        group.sample_size(10);
        group.bench_function("build", |bench| bench.iter(|| routes.iter().copied().collect::<Lpm<u32>>()));
    }
}

fn acl(criterion: &mut Criterion) {
    let families: [(&str, Subnet); 2] = [("ipv4", Random::subnet_v4), ("ipv6", Random::subnet_v6)];
    let sizes = [(10, 0), (16, 0), (20, 0), (100, 5), (1_000, 50)];
    for ((family, subnet), (count, long_lists)) in families.iter().flat_map(|family| sizes.map(|size| (family, size))) {
        let random = &mut Random(2);
        let rules = rules(count, long_lists, *subnet, random);
        let acl = Acl::new(rules.clone());
        let tuples: Vec<Tuple> = (0..4_096).map(|_| random.tuple(&rules)).collect();
        let last = tuples.iter().filter(|tuple| acl.classify(tuple).unwrap().rule as usize == count - 1).count();
        println!(
            "acl {family} {count}: {} KiB, {} % reach the last rule",
            acl.memory().div_ceil(1 << 10),
            last * 100 / 4_096
        );

        let mut group = criterion.benchmark_group(format!("acl {family} {count}"));
        let mut at = cycle(&tuples);
        group.bench_function("classify", |bench| bench.iter(|| acl.classify(&black_box(at()))));
        group.sample_size(10);
        group.bench_function("build", |bench| bench.iter_batched(|| rules.clone(), Acl::new, BatchSize::LargeInput));
    }
}

/// Records of many flows: lookups of the same 4,096 again and again, and of any.
fn flows(criterion: &mut Criterion) {
    let terms = FlowTerms::default();
    let traffic = Traffic { packets: 1, bytes: 100 };
    let passing = Passing { traffic, signal: Signal::from_flags(0x10), ttl: 64, at: Timestamp(0) };
    let direction = Direction::Outbound;
    for (name, count) in [("4,096", 4_096), ("1M", 1_000_000)] {
        let table = FlowTable::new(FlowLimits::default());
        let mut keys: Vec<_> = (0..count).map(flow).collect();
        for (nic, tuple) in &keys {
            let room = table.reserve(*nic, &terms, passing.at, |_| {}).unwrap();
            room.admit(direction, tuple, Deciders::default(), passing, &terms);
        }
        let random = &mut Random(3);
        for at in (1..keys.len()).rev() {
            keys.swap(at, random.below(at + 1));
        }
        let mut group = criterion.benchmark_group(format!("flow records {name}"));
        for (which, among) in [("one of 4,096", 4_096), ("any", keys.len())] {
            let mut next = 0;
            group.bench_function(format!("follow {which}"), |bench| {
                bench.iter(|| {
                    next = (next + 1) % among;
                    let (nic, tuple) = &keys[next];
                    assert!(table.follow(*nic, direction, tuple, passing, &terms) == Follow::Passes);
                });
            });
        }
        group.finish();
    }
}

/// The n-th of many flows of two NICs.
fn flow(n: u32) -> (NicId, Tuple) {
    let src = IpAddr::from(Ipv4Addr::from_bits(10 << 24 | n >> 14));
    let (dst, src_port) = ("10.200.0.4".parse().unwrap(), 20_000 + (n % (1 << 14)) as u16);
    (NicId(n % 2), Tuple { src, dst, protocol: Protocol::TCP, src_port, dst_port: 443 })
}

/// Returns the next key each time, without end.
fn cycle<T: Copy>(keys: &[T]) -> impl FnMut() -> T {
    let mut next = 0;
    move || {
        next = (next + 1) % 4_096;
        keys[next]
    }
}

fn routes(count: u32, mut prefix: impl FnMut() -> IpNet) -> Vec<(IpNet, u32)> {
    (0..count).map(|value| (prefix(), value)).collect()
}

fn baseline(routes: &[(IpNet, u32)]) -> IpNetworkTable<u32> {
    let mut table = IpNetworkTable::new();
    for (prefix, value) in routes {
        let network: IpNetwork = match prefix {
            IpNet::V4(prefix) => Ipv4Network::new(prefix.network(), prefix.prefix_len()).unwrap().into(),
            IpNet::V6(prefix) => Ipv6Network::new(prefix.network(), prefix.prefix_len()).unwrap().into(),
        };
        table.insert(network, *value);
    }
    table
}

/// Makes a prefix of one family.
type Subnet = fn(&mut Random) -> IpNet;

/// Rules like those of a large NSG: a source, a destination and one port each; some with 400 sources; deny all at the
/// end.
fn rules(count: usize, long_lists: usize, subnet: fn(&mut Random) -> IpNet, random: &mut Random) -> Vec<AclRule> {
    let anywhere: Arc<[IpNet]> = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap()).into();
    let rule = |index| {
        let sources = if index < long_lists * 7 && index % 7 == 0 { 400 } else { 1 };
        let port = random.below(10_000) as u16;
        AclRule {
            protocol: ProtocolMatch::Only(if random.below(4) == 0 { Protocol::UDP } else { Protocol::TCP }),
            src: (0..sources).map(|_| subnet(random)).collect(),
            dst: [subnet(random)].into(),
            src_ports: vec![0..=u16::MAX],
            dst_ports: vec![port..=port + random.below(2) as u16 * 100],
            action: Action::Allow,
            custom: true,
        }
    };
    let deny = AclRule {
        protocol: ProtocolMatch::Any,
        src: anywhere.clone(),
        dst: anywhere,
        src_ports: vec![0..=u16::MAX],
        dst_ports: vec![0..=u16::MAX],
        action: Action::Deny,
        custom: false,
    };
    (0..count - 1).map(rule).chain([deny]).collect()
}

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

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn subnet_v4(&mut self) -> IpNet {
        let address = Ipv4Addr::from_bits(10 << 24 | self.next() as u32 >> 8);
        IpNet::new(address.into(), 16 + self.below(13) as u8).unwrap().trunc()
    }

    /// Prefix lengths like those on the Internet: mostly /24, none longer.
    fn internet_v4(&mut self) -> IpNet {
        let len = if self.below(5) < 3 { 24 } else { 16 + self.below(8) as u8 };
        IpNet::new(Ipv4Addr::from_bits(self.next() as u32).into(), len).unwrap().trunc()
    }

    fn subnet_v6(&mut self) -> IpNet {
        let address = 0xfd00_u128 << 112 | u128::from(self.next() as u32) << 64;
        IpNet::new(Ipv6Addr::from_bits(address).into(), 64).unwrap()
    }

    /// An interface's address, in one of sixteen subnets.
    fn host_v6(&mut self) -> IpNet {
        let address = 0xfd00_u128 << 112 | (self.below(16) as u128) << 64 | self.below(1_000) as u128;
        IpNet::new(Ipv6Addr::from_bits(address).into(), 128).unwrap()
    }

    fn within(&mut self, prefix: IpNet) -> IpAddr {
        match prefix {
            IpNet::V4(prefix) => {
                let host = self.next() as u32 & prefix.hostmask().to_bits();
                Ipv4Addr::from_bits(prefix.network().to_bits() | host).into()
            }
            IpNet::V6(prefix) => {
                let host = u128::from(self.next()) & prefix.hostmask().to_bits();
                Ipv6Addr::from_bits(prefix.network().to_bits() | host).into()
            }
        }
    }

    /// Half of them match some rule, half only the last.
    fn tuple(&mut self, rules: &[AclRule]) -> Tuple {
        let rule = self.pick(&rules[..rules.len() - 1]);
        let src = *self.pick(&rule.src);
        let src = self.within(src);
        let dst = self.within(rule.dst[0]);
        let ProtocolMatch::Only(protocol) = rule.protocol else {
            unreachable!("only the last rule takes any protocol")
        };
        let dst_port = rule.dst_ports[0].start() + self.below(2) as u16 * 20_000;
        Tuple { src, dst, protocol, src_port: self.next() as u16, dst_port }
    }
}
