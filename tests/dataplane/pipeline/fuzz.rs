//! Packets that no machine should send, and many that machines do send: each ends as forwarded or dropped, and the tables
//! stay within their bounds.

use std::net::{IpAddr, SocketAddr};

use vnet::dataplane::{
    Action, Direction, DropReason, FlowLimits, Flows, NextHop, NicId, PortId, Quiet, Snapshot, Timestamp, Verdict,
    process,
};
use vnet::wire::{Offload, Packet, ParseError, Protocol, Tuple, build};

use super::fabric::fragments;
use super::world::{LinkSpec, World, allow, allow_all, allow_port, default, deny_all, net, rule};

const PACKETS: usize = 100_000;
const WORKERS: u64 = 4;

#[test]
fn a_hundred_thousand_packets_of_all_kinds() {
    let world = world();
    let limits = FlowLimits { per_nic: 10, ..world.limits };
    let (snapshot, flows) = (world.snapshot(), Flows::new(limits));
    let tally = send(&snapshot, &flows, limits, PACKETS, 1);
    assert_eq!(tally.forwarded + tally.drops.iter().sum::<usize>(), PACKETS);
    tally.reached_everything();
}

#[test]
fn workers_share_the_flows() {
    let world = world();
    let (snapshot, flows) = (world.snapshot(), Flows::new(world.limits));
    let each = PACKETS / 4 / WORKERS as usize;
    let (snapshot, flows, limits) = (&snapshot, &flows, world.limits);
    let sent: usize = std::thread::scope(|scope| {
        let start = |seed| scope.spawn(move || send(snapshot, flows, limits, each, seed).sum());
        let workers: Vec<_> = (0..WORKERS).map(start).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(sent, each * WORKERS as usize);
    flows.records.expire(Timestamp(u64::MAX), usize::MAX);
    assert!(flows.records.is_empty(), "no record outlives its end");
}

struct Tally {
    forwarded: usize,
    drops: [usize; DropReason::COUNT],
}

impl Tally {
    fn sum(&self) -> usize {
        self.forwarded + self.drops.iter().sum::<usize>()
    }

    /// Else the test has lost its aim.
    fn reached_everything(&self) {
        use DropReason as R;
        assert!(self.forwarded > PACKETS / 20, "{} forwarded", self.forwarded);
        let expected = [
            R::Malformed,
            R::BlockedProtocol,
            R::Multicast,
            R::LinkLocal,
            R::Fragment,
            R::SpoofedSource,
            R::NsgOutbound,
            R::NoRoute,
            R::NextHopNone,
            R::NextHopUnreachable,
            R::GatewayUnavailable,
            R::NoInternet,
            R::PeeringAccess,
            R::ForwardedTraffic,
            R::NoEndpoint,
            R::NotForwarding,
            R::NsgInbound,
            R::TooBig,
            R::FlowLimit,
        ];
        for reason in expected {
            assert!(self.drops[reason as usize] > 0, "no packet met {reason}");
        }
    }
}

/// Sends packets over random ports and a clock that moves on, sweeping now and then.
fn send(snapshot: &Snapshot, flows: &Flows, limits: FlowLimits, packets: usize, seed: u64) -> Tally {
    let mut random = Random(seed);
    let mut tally = Tally { forwarded: 0, drops: [0; DropReason::COUNT] };
    let mut now = Timestamp(0);
    for _ in 0..packets {
        now.0 += random.next() % 2_000_000_000;
        if random.below(100) == 0 {
            flows.records.expire(now, 50);
        }
        let ingress = PortId(random.below(snapshot.ports.len()) as u32);
        let (mut bytes, offload) = random.packet(ingress);
        match decide(snapshot, flows, ingress, now, &mut bytes, offload) {
            Verdict::Forward(port) => {
                assert!((port.0 as usize) < snapshot.ports.len());
                tally.forwarded += 1;
            }
            Verdict::Drop(reason) => tally.drops[reason as usize] += 1,
        }
        // A worker that finds no room has counted itself for an instant.
        assert!(flows.records.len() <= limits.total + WORKERS as usize);
    }
    tally
}

fn decide(
    snapshot: &Snapshot,
    flows: &Flows,
    ingress: PortId,
    now: Timestamp,
    bytes: &mut [u8],
    offload: Offload,
) -> Verdict {
    match Packet::parse(bytes, offload) {
        Ok(mut packet) => process(snapshot, flows, ingress, now, &mut packet, &mut Quiet),
        Err(ParseError::Malformed) => Verdict::Drop(DropReason::Malformed),
        Err(ParseError::BadChecksum) => Verdict::Drop(DropReason::BadChecksum),
    }
}

/// Two spokes and a hub with an appliance, rules of every kind, links of every kind, and little room.
fn world() -> World {
    let mut world = World::new();
    world.limits = FlowLimits { per_nic: 60, total: 300 };
    let hub = world.vnet(&["10.0.0.0/24"]);
    let left = world.vnet(&["10.1.0.0/24", "fd01::/64"]);
    let right = world.vnet(&["10.2.0.0/24", "fd02::/64"]);
    let closed = world.vnet(&["10.3.0.0/24"]);
    let appliance = world.appliance(hub, "10.0.0.4");
    let web = world.nic(left, &["10.1.0.4", "fd01::4"]);
    let db = world.nic(right, &["10.2.0.4", "fd02::4"]);
    let small = world.nic(left, &["10.1.0.5", "fd01::5"]);
    let guarded = world.nic(closed, &["10.3.0.4"]);
    world.attached_subnet(right, "10.2.0.128/25");
    for spoke in [left, right, closed] {
        world.peer(hub, spoke);
    }
    world.peer(left, right);
    world.link(closed, hub, LinkSpec { explicit_allow: true, ..LinkSpec::default() });
    world.link(right, hub, LinkSpec { sources: Some(vec![net("10.0.0.0/24")]), ..LinkSpec::default() });
    world.route(web, "10.3.0.0/24", NextHop::Nic(appliance));
    world.route(web, "10.1.0.5/32", NextHop::Nic(small));
    world.route(web, "10.2.0.5/32", NextHop::Nic(small));
    world.route(db, "10.1.0.5/32", NextHop::Unreachable);
    world.route(db, "10.3.0.0/24", NextHop::NoGateway);
    let web_rules = world.acl([allow_port(Protocol::TCP, 443), allow_port(Protocol::UDP, 53), default(deny_all())]);
    let out_rules = world.acl([rule(Action::Deny, "0.0.0.0/0", "10.2.0.4/32"), default(allow_all())]);
    let explicit = world.acl([allow("10.0.0.0/24", "10.3.0.4/32"), default(allow_all())]);
    world.at(db).inbound.subnet = Some(web_rules);
    world.at(small).outbound.nic = Some(out_rules);
    world.at(guarded).inbound.subnet = Some(explicit);
    world.at(small).mtu = 576;
    world
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A packet as a guest might send it, half of the time damaged; the kernel vouches for damaged checksums, or few would
    /// come further than the parser.
    fn packet(&mut self, ingress: PortId) -> (Vec<u8>, Offload) {
        let mut bytes = self.sound_packet(ingress);
        if self.below(2) == 0 {
            return (bytes, Offload::default());
        }
        for _ in 0..=self.below(3) {
            // The headers are where it matters.
            let at = self.below(bytes.len().min(64));
            match self.below(8) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = self.next() as u8,
            }
        }
        mend_ipv4_checksum(&mut bytes);
        (bytes, Offload { flags: 2, ..Offload::default() })
    }

    fn sound_packet(&mut self, ingress: PortId) -> Vec<u8> {
        let (src, dst) = self.ends(ingress);
        let port = |random: &mut Self| random.pick(&[53, 67, 68, 80, 443, 1000, 1001, 65330]);
        let from = SocketAddr::new(src, port(self));
        let to = SocketAddr::new(dst, port(self));
        let payload = vec![0; self.pick(&[8, 8, 100, 1000])];
        match self.below(8) {
            0..=2 => build::udp(from, to, &payload),
            3 => build::tcp(from, to, self.next() as u8, &payload),
            4 => build::icmp_echo(src, dst, self.below(4) as u16, 1, self.below(2) == 0),
            5 => build::icmp_unreachable(src, &build::udp(to, from, &payload)),
            6 => build::raw(src, dst, self.pick(&[4, 47, 50, 51, 58, 1, 17, 89]), &payload),
            _ if src.is_ipv4() => {
                let pieces = fragments(&build::udp(from, to, &payload));
                pieces[self.below(2)].clone()
            }
            _ => build::tcp(from, to, 2, &[]),
        }
    }

    /// Of one family: mostly a source that may send here, and a destination in use.
    fn ends(&mut self, ingress: PortId) -> (IpAddr, IpAddr) {
        const OWN: [[&str; 2]; 6] = [
            ["10.0.0.4", "10.3.0.9"],
            ["10.1.0.4", "fd01::4"],
            ["10.2.0.4", "fd02::4"],
            ["10.1.0.5", "fd01::5"],
            ["10.3.0.4", "10.3.0.4"],
            ["10.2.0.200", "10.2.0.201"],
        ];
        const IPV4: [&str; 14] = [
            "10.0.0.4",
            "10.1.0.4",
            "10.2.0.4",
            "10.1.0.5",
            "10.3.0.4",
            "10.2.0.200",
            "10.2.0.5",
            "10.0.0.1",
            "10.9.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.169.254",
            "168.63.129.16",
        ];
        const IPV6: [&str; 7] = ["fd01::4", "fd02::4", "fd01::5", "fd01::1", "fe80::1", "ff02::1", "2001:db8::1"];
        let own = self.pick(&OWN[ingress.0 as usize]);
        let of: &[&str] = if own.contains(':') { &IPV6 } else { &IPV4 };
        let src = if self.below(8) == 0 { self.pick(of) } else { own };
        (src.parse().unwrap(), self.pick(of).parse().unwrap())
    }
}

fn mend_ipv4_checksum(bytes: &mut [u8]) {
    let Some(header) = bytes.first().filter(|byte| *byte >> 4 == 4).map(|byte| usize::from(byte & 15) * 4) else {
        return;
    };
    if header < 20 || bytes.len() < header {
        return;
    }
    bytes[10..12].fill(0);
    let sum: u32 = bytes[..header].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    bytes[10..12].copy_from_slice(&(!folded as u16).to_be_bytes());
}

/// Filling the table is part of the plan above: this is what it must not do.
#[test]
fn nsg_26_a_flood_harms_no_established_flow() {
    let world = world();
    let (snapshot, flows) = (world.snapshot(), Flows::new(world.limits));
    let (src, dst): (IpAddr, IpAddr) = ("10.1.0.4".parse().unwrap(), "10.2.0.4".parse().unwrap());
    let (web, now) = (NicId(1), Timestamp(0));
    let send = |port: u16| {
        let mut bytes = build::udp(SocketAddr::new(src, port), SocketAddr::new(dst, 53), b"query");
        decide(&snapshot, &flows, PortId(web.0), now, &mut bytes, Offload::default())
    };
    let admitted = (1..=1000).filter(|port| matches!(send(*port), Verdict::Forward(_))).count();
    assert_eq!(admitted, world.limits.per_nic);
    assert_eq!(send(2000), Verdict::Drop(DropReason::FlowLimit));
    assert!((1..=60).all(|port| matches!(send(port), Verdict::Forward(_))));
    let tuple = Tuple { src, dst, protocol: Protocol::UDP, src_port: 1, dst_port: 53 };
    assert_eq!(flows.records.find(web, Direction::Outbound, &tuple, now).unwrap().sent.packets, 2);
}
