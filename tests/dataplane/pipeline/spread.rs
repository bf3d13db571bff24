//! Routes to several appliances (RSEL-06): which flow goes to which, and what does not change that. And RSEL-07: a changed
//! route acts on the next packet of a flow that has records.

use std::collections::BTreeSet;

use vnet::dataplane::DropReason::{NextHopUnreachable, NsgInbound};
use vnet::dataplane::{FlowLimits, NextHop, NicId, PortId, Spread, SpreadId, Verdict, VnetId};
use vnet::wire::{Protocol, build};

use super::fabric::fragments;
use super::world::{Lab, World, allow_port, deny_all};
use super::{SYN, SYN_ACK, check, dropped, ip, tcp, to, udp};

const ONE: NicId = NicId(0);
const TWO: NicId = NicId(1);
const A: NicId = NicId(2);
const B: NicId = NicId(3);

/// Two appliances and two ends in one VNet; each end's way to the other is over both appliances.
fn world(members: [NextHop; 2]) -> World {
    let mut world = World::new();
    world.limits = FlowLimits { per_nic: 1000, total: 10_000 };
    let vnet = world.vnet(&["10.0.0.0/16"]);
    assert_eq!(vnet, VnetId(0));
    world.appliance(vnet, "10.0.1.4");
    world.appliance(vnet, "10.0.1.5");
    world.nic(vnet, &["10.0.2.4"]);
    world.nic(vnet, &["10.0.3.4"]);
    world.spreads.push(Spread::new(members));
    world.route(A, "10.0.3.0/24", NextHop::Spread(SpreadId(0)));
    world.route(B, "10.0.2.0/24", NextHop::Spread(SpreadId(0)));
    world
}

fn both() -> World {
    world([NextHop::Nic(ONE), NextHop::Nic(TWO)])
}

fn syn(port: u16) -> Vec<u8> {
    tcp(&format!("10.0.2.4:{port}"), "10.0.3.4:443", SYN)
}

/// The first source port from A that makes a TCP flow take this path.
fn port(lab: &Lab, expected: Verdict) -> u16 {
    (40_000..40_100).find(|port| lab.send(A, &syn(*port)) == expected).unwrap()
}

#[test]
fn rsel_06_a_flow_keeps_to_its_appliance() {
    let mut lab = both().build();
    for member in [ONE, TWO] {
        let port = port(&lab, to(member));
        for _ in 0..10 {
            check(&lab, A, &tcp(&format!("10.0.2.4:{port}"), "10.0.3.4:443", 0x18), to(member));
            lab.pass(3600);
        }
    }
}

/// What is not of the flow does not matter: other routes, other flows, other records, or where the packet comes from.
#[test]
fn rsel_06_the_choice_is_the_flows_alone() {
    let (lab, mut other) = (both().build(), both());
    other.route(A, "20.0.0.0/8", NextHop::None);
    let other = other.build();
    for port in 40_000..40_200 {
        assert_eq!(lab.send(A, &syn(port)), other.send(A, &syn(port)));
    }
}

/// Protocols without ports go by address and protocol, pings by their identifier too.
#[test]
fn rsel_06_every_protocol_is_spread() {
    let lab = both().build();
    let verdicts = |packets: &mut dyn Iterator<Item = Vec<u8>>| -> BTreeSet<u32> {
        let ports = packets.map(|packet| match lab.send(A, &packet) {
            Verdict::Forward(PortId(port)) => port,
            Verdict::Drop(reason) => panic!("{reason}"),
        });
        ports.collect()
    };
    let all = BTreeSet::from([ONE.0, TWO.0]);
    let (src, dst) = (ip("10.0.2.4"), ip("10.0.3.4"));
    assert_eq!(verdicts(&mut (0..40).map(|id| build::icmp_echo(src, dst, id, 1, false))), all);
    assert_eq!(verdicts(&mut (0..40).map(|n| udp(&format!("10.0.2.4:{}", 5000 + n), "10.0.3.4:53"))), all);
    assert_eq!(verdicts(&mut (0..40).map(|n| udp("10.0.2.4:5000", &format!("10.0.3.{}:53", 4 + n)))), all);
    let esp = (4..44).map(|n| build::raw(src, ip(&format!("10.0.3.{n}")), Protocol::ESP.0, &[0; 16]));
    assert_eq!(verdicts(&mut esp.into_iter()), all);
    let sequence = (0..40).map(|sequence| build::icmp_echo(src, dst, 7, sequence, false));
    assert_eq!(verdicts(&mut sequence.into_iter()).len(), 1, "one ping is one flow");
}

/// FAB-11: of any protocol, the fragments of a datagram do not part.
#[test]
fn rsel_06_fragments_follow_their_first() {
    let lab = both().build();
    let mut seen = BTreeSet::new();
    for port in 5000..5040 {
        let [first, last] = fragments(&udp(&format!("10.0.2.4:{port}"), "10.0.3.4:53"));
        let verdict = lab.send(A, &first);
        check(&lab, A, &last, verdict);
        seen.insert(verdict == to(ONE));
    }
    assert_eq!(seen.len(), 2, "both appliances were used");
}

/// UDR-12: appliances are not probed. Flows to an unused address drop, and do not move to the other.
#[test]
fn udr_12_flows_of_a_missing_appliance_drop() {
    let whole = both().build();
    let lab = world([NextHop::Nic(ONE), NextHop::Unreachable]).build();
    let mut lost = 0;
    for port in 40_000..40_100 {
        let verdict = lab.send(A, &syn(port));
        let expected = if whole.send(A, &syn(port)) == to(ONE) { to(ONE) } else { dropped(NextHopUnreachable) };
        assert_eq!(verdict, expected);
        lost += usize::from(verdict == dropped(NextHopUnreachable));
    }
    assert!((30..70).contains(&lost), "{lost}");
}

/// RSEL-09, CH-05: the answer chooses for itself, and an appliance that has not seen the question judges it anew.
#[test]
fn rsel_06_the_answer_may_go_another_way() {
    let mut world = both();
    let web_only = world.acl([allow_port(Protocol::TCP, 443), deny_all()]);
    for appliance in [ONE, TWO] {
        world.at(appliance).inbound.subnet = Some(web_only);
    }
    let lab = world.build();
    let mut outcomes = BTreeSet::new();
    for port in 40_000..40_100 {
        let Verdict::Forward(PortId(there)) = lab.send(A, &syn(port)) else { panic!("443 is allowed") };
        check(&lab, NicId(there), &syn(port), to(B));
        let answer = lab.send(B, &tcp("10.0.3.4:443", &format!("10.0.2.4:{port}"), SYN_ACK));
        let known = answer == Verdict::Forward(PortId(there));
        assert!(known || answer == dropped(NsgInbound), "{answer:?}");
        outcomes.insert(known);
    }
    assert_eq!(outcomes.len(), 2, "some flows come back by their own appliance, some by the other");
}

/// The records of a flow stay and go on counting; only where it goes changes.
#[test]
fn rsel_07_a_changed_route_acts_on_the_next_packet_of_a_flow() {
    let mut world = both();
    let mut lab = world.build();
    let port = port(&lab, to(ONE));
    let records = lab.records();
    let data = tcp(&format!("10.0.2.4:{port}"), "10.0.3.4:443", 0x18);
    let changes = [
        (vec![NextHop::Nic(TWO)], to(TWO)),
        (vec![NextHop::Unreachable], dropped(NextHopUnreachable)),
        (vec![NextHop::Nic(ONE)], to(ONE)),
    ];
    for (members, expected) in changes {
        world.spreads = vec![Spread::new(members)];
        lab.snapshot = world.snapshot();
        check(&lab, A, &data, expected);
    }
    world.at(A).routes.clear();
    lab.snapshot = world.snapshot();
    check(&lab, A, &data, to(B));
    assert!(lab.records() > records, "the flow's own record at A is still the one, its new receivers have theirs");
    assert!(lab.trace(A, &data).contains("out 2: Record"), "{}", lab.trace(A, &data));
}
