//! Packets that go round, and what looks like it.

use std::cell::RefCell;

use vnet::dataplane::{FlowLimits, NextHop, NicId, Paths, PortId, Quiet, RoutingLoop, process};
use vnet::wire::{Offload, Packet, build};

use super::world::{Lab, World};
use super::{ip, ping, tcp, to, udp};

const N: NicId = NicId(0);
const FAR: &str = "10.9.0.1";
const ACK: u8 = 0x10;

/// An appliance that gets all outbound packets of its own subnet.
fn lab() -> Lab {
    let mut world = World::new();
    world.limits = FlowLimits { per_nic: 1_000, total: 10_000 };
    let vnet = world.vnet(&["10.0.0.0/16", "fd00::/64"]);
    let nva = world.appliance(vnet, "10.0.0.9");
    world.nic(vnet, &["10.0.0.4", "fd00::4"]);
    for beyond in ["10.9.0.0/16", "fd09::/64"] {
        world.route(nva, beyond, NextHop::Nic(nva));
    }
    world.build()
}

/// The packet with so many hops to go.
fn with_ttl(packet: &[u8], ttl: u8) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let mut parsed = Packet::parse(&mut bytes, Offload::default()).unwrap();
    while parsed.ttl() > ttl {
        parsed.count_hop();
    }
    bytes
}

/// A datagram with an identification of its own.
fn datagram(id: u8) -> Vec<u8> {
    build::udp("10.0.0.4:1000".parse().unwrap(), "10.9.0.1:53".parse().unwrap(), &[id; 8])
}

/// Sends packets the way workers do, along paths too.
fn found(lab: &Lab, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<RoutingLoop> {
    let paths = RefCell::new(Paths::new());
    for mut bytes in packets {
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let mut paths = paths.borrow_mut();
        let verdict = paths.process(&lab.snapshot, &lab.flows, PortId(N.0), lab.now, &mut packet, &mut Quiet);
        assert_eq!(verdict, to(N), "nothing is dropped for it");
    }
    lab.flows.loops.found()
}

#[test]
fn fab_14_a_packet_that_comes_back_with_fewer_hops_each_time_goes_round() {
    let v6 = "[fd00::4]:1000";
    for packet in [
        datagram(7),
        tcp("10.0.0.4:1000", "10.9.0.1:80", 0x02),
        ping("10.0.0.4", FAR),
        udp(v6, "[fd09::1]:53"),
        tcp(v6, "[fd09::1]:80", ACK),
        ping("fd00::4", "fd09::1"),
    ] {
        let lab = lab();
        let rounds = |from: u8| (1..=from).rev().map(|ttl| with_ttl(&packet, ttl)).collect::<Vec<_>>();
        assert_eq!(found(&lab, rounds(64).into_iter().take(4)), [], "not yet");
        let seen = found(&lab, rounds(64).into_iter().skip(4));
        let mut bytes = packet.clone();
        let tuple = *Packet::parse(&mut bytes, Offload::default()).unwrap().tuple();
        assert_eq!(seen, [RoutingLoop { nic: N, tuple, packets: 1, last: lab.now }]);
    }
}

#[test]
fn fab_14_each_packet_of_a_flow_counts_once() {
    let lab = lab();
    let rounds = (0..5).flat_map(|id| (1..=64).rev().map(move |ttl| with_ttl(&datagram(id), ttl)));
    assert_eq!(found(&lab, rounds).iter().map(|it| it.packets).collect::<Vec<_>>(), [5]);
}

#[test]
fn fab_14_packets_that_go_round_together_do_not_hide_each_other() {
    let lab = lab();
    let rounds = (20..=64).rev().flat_map(|ttl| (0..10).map(move |id| with_ttl(&datagram(id), ttl + id % 3 - 3)));
    assert_eq!(found(&lab, rounds).len(), 1);
}

#[test]
fn fab_14_what_only_looks_like_a_loop_is_none() {
    let same = |times: usize| vec![datagram(1); times];
    let fewer: Vec<_> = (1..=64).rev().zip(0..).map(|(ttl, id)| with_ttl(&datagram(id), ttl)).collect();
    let more: Vec<_> = (1..=64).map(|ttl| with_ttl(&datagram(1), ttl)).collect();
    let two_ways: Vec<_> = (0..100).map(|id| with_ttl(&datagram(id), 64 - id % 2)).collect();
    let twice: Vec<_> = [64, 63, 62, 61].map(|ttl| with_ttl(&datagram(1), ttl)).to_vec();
    let repeated: Vec<_> = (0..40).map(|n| with_ttl(&datagram(n / 2), 64 - n % 2)).collect();
    let again: Vec<_> = (0..40).map(|n| with_ttl(&datagram(1), 64 - n % 3)).collect();
    for (what, packets) in [
        ("the same packet again and again", same(100)),
        ("other packets, each with fewer hops", fewer),
        ("the same packet with more hops, as a trace sends it", more),
        ("packets that take two ways", two_ways),
        ("back three times", twice),
        ("each packet twice, by two ways", repeated),
        ("the same packet by three ways", again),
    ] {
        assert_eq!(found(&lab(), packets), [], "{what}");
    }
    // The same packet, sent by hand every few seconds.
    let mut lab = lab();
    for ttl in (40..=64).rev() {
        lab.now.0 += 6_000_000_000;
        assert_eq!(found(&lab, [with_ttl(&datagram(1), ttl)]), []);
    }
}

/// As many flows as are remembered, and more.
#[test]
fn fab_14_what_is_found_is_bounded_and_the_oldest_goes() {
    let mut lab = lab();
    for port in 1..=100_u16 {
        lab.now.0 += 1_000_000_000;
        let packet = build::udp((ip("10.0.0.4"), port).into(), (ip(FAR), 53).into(), b"query");
        for ttl in (30..=64).rev() {
            let mut bytes = with_ttl(&packet, ttl);
            let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
            process(&lab.snapshot, &lab.flows, PortId(N.0), lab.now, &mut packet, &mut Quiet);
        }
    }
    let found = lab.flows.loops.found();
    assert_eq!(found.len(), 64);
    assert!(found.iter().all(|it| it.tuple.src_port > 36));
}
