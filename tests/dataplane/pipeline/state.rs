//! What a flow's record does over the flow's life: TCP's states, strictness, `flushConnection`, what is told of it.

use std::num::NonZero;

use vnet::dataplane::DropReason::{NsgInbound, NsgOutbound, TcpState};
use vnet::dataplane::{
    AclId, Direction, FlowEvent, FlowRecord, FlowState, NicId, Observer, PortId, RuleId, RulesMark, Snapshot, Step,
    Verdict, process,
};
use vnet::wire::{Offload, Packet, Protocol, Transport, build};

use super::fabric::fragments;
use super::world::{Lab, World, allow_all, allow_port, default, deny_all};
use super::{SYN, SYN_ACK, check, dropped, ping, pong, tcp, to, udp};

const A: NicId = NicId(0);
const B: NicId = NicId(1);
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;

const CLIENT: &str = "10.0.0.4:1000";
const SERVER: &str = "10.0.0.5:443";
const CLIENT6: &str = "[fd00::4]:1000";
const SERVER6: &str = "[fd00::5]:443";

fn world() -> World {
    let mut world = World::new();
    let vnet = world.vnet(&["10.0.0.0/16", "fd00::/64"]);
    world.nic(vnet, &["10.0.0.4", "fd00::4"]);
    world.nic(vnet, &["10.0.0.5", "fd00::5"]);
    world
}

/// Both interfaces want a SYN first.
fn strict() -> World {
    let mut world = world();
    for nic in [A, B] {
        world.at(nic).flows.strict_tcp = true;
    }
    world
}

fn record(lab: &Lab, nic: NicId, direction: Direction, packet: &[u8]) -> Option<FlowRecord> {
    let mut bytes = packet.to_vec();
    let packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
    lab.flows.records.find(nic, direction, packet.tuple(), lab.now)
}

fn state(lab: &Lab, nic: NicId, direction: Direction) -> FlowState {
    record(lab, nic, direction, &tcp(CLIENT, SERVER, ACK)).unwrap().state
}

#[test]
fn nsg_21_both_records_know_how_far_a_connection_is() {
    let lab = world().build();
    let both = [(A, Direction::Outbound), (B, Direction::Inbound)];
    for (from, flags, expected) in [
        (A, SYN, FlowState::SynSent),
        (B, SYN_ACK, FlowState::SynReceived),
        (A, ACK, FlowState::Established),
        (B, FIN, FlowState::Closing),
        (A, ACK, FlowState::Closing),
        (A, FIN, FlowState::Closed),
        (B, ACK, FlowState::Closed),
    ] {
        let packet = if from == A { tcp(CLIENT, SERVER, flags) } else { tcp(SERVER, CLIENT, flags) };
        check(&lab, from, &packet, to(if from == A { B } else { A }));
        assert_eq!(both.map(|(nic, direction)| state(&lab, nic, direction)), [expected; 2]);
    }
    assert_eq!(lab.records(), 2);
}

#[test]
fn nsg_21_other_protocols_are_answered_or_not() {
    let lab = world().build();
    let state = |packet: &[u8]| record(&lab, B, Direction::Inbound, packet).unwrap().state;
    for (request, answer) in [
        (ping("10.0.0.4", "10.0.0.5"), pong("10.0.0.5", "10.0.0.4")),
        (ping("fd00::4", "fd00::5"), pong("fd00::5", "fd00::4")),
        (udp(CLIENT, SERVER), udp(SERVER, CLIENT)),
        (udp(CLIENT6, SERVER6), udp(SERVER6, CLIENT6)),
    ] {
        check(&lab, A, &request, to(B));
        assert_eq!(state(&request), FlowState::Unanswered);
        check(&lab, B, &answer, to(A));
        assert_eq!(state(&request), FlowState::Answered);
    }
}

#[test]
fn nsg_21_by_default_a_segment_in_the_middle_is_evaluated_as_new() {
    let mut world = world();
    let web = world.acl([allow_port(Protocol::TCP, 443), default(deny_all())]);
    world.at(B).inbound.subnet = Some(web);
    let lab = world.build();
    check(&lab, A, &tcp(CLIENT, SERVER, ACK), to(B));
    assert_eq!(state(&lab, B, Direction::Inbound), FlowState::Established);
    check(&lab, A, &tcp(CLIENT, "10.0.0.5:444", ACK), dropped(NsgInbound));
}

#[test]
fn nsg_21_strict_drops_a_segment_that_follows_no_record() {
    let lab = strict().build();
    for (client, server) in [(CLIENT, SERVER), (CLIENT6, SERVER6)] {
        for flags in [ACK, SYN_ACK, FIN, RST, 0] {
            check(&lab, A, &tcp(client, server, flags), dropped(TcpState));
        }
        check(&lab, A, &tcp(client, server, SYN), to(B));
        check(&lab, B, &tcp(server, client, SYN_ACK), to(A));
        check(&lab, A, &tcp(client, server, ACK), to(B));
        check(&lab, A, &udp(client, server), to(B));
    }
    check(&lab, A, &ping("10.0.0.4", "10.0.0.5"), to(B));
}

#[test]
fn nsg_21_strict_is_each_interfaces_own() {
    let mut world = strict();
    world.at(A).flows.strict_tcp = false;
    let mut lab = world.build();
    check(&lab, A, &tcp(CLIENT, SERVER, ACK), dropped(TcpState));
    assert_eq!(lab.trace(A, &tcp(CLIENT, SERVER, ACK)).matches("out 0: NoFilter").count(), 1, "B refuses, not A");
    check(&lab, A, &tcp(CLIENT, SERVER, SYN), to(B));
    lab.pass(241);
    check(&lab, A, &tcp(CLIENT, SERVER, ACK), dropped(TcpState));
    check(&lab, A, &tcp(CLIENT, SERVER, SYN), to(B));
}

#[test]
fn nsg_21_strict_and_a_tuple_used_again() {
    let lab = strict().build();
    let talk = |from: NicId, flags| {
        let packet = if from == A { tcp(CLIENT, SERVER, flags) } else { tcp(SERVER, CLIENT, flags) };
        check(&lab, from, &packet, to(if from == A { B } else { A }));
    };
    for closing in [[(A, FIN), (B, FIN)], [(A, ACK), (B, RST)], [(B, RST), (A, RST)]] {
        for (from, flags) in [(A, SYN), (B, SYN_ACK), (A, ACK)].into_iter().chain(closing) {
            talk(from, flags);
        }
        assert_eq!(state(&lab, B, Direction::Inbound), FlowState::Closed);
    }
    // The old server opens a connection to the old client with the same ports.
    talk(B, SYN);
    assert_eq!(record(&lab, B, Direction::Outbound, &tcp(SERVER, CLIENT, SYN)).unwrap().admitted, Direction::Outbound);
    assert_eq!(lab.records(), 2);
}

#[test]
fn nsg_21_strict_and_fragments_of_a_segment() {
    let lab = strict().build();
    let segment = |flags| build::tcp(super::at(CLIENT), super::at(SERVER), flags, &[0; 64]);
    // Cut further back: TCP's header must be whole.
    let [first, last] = build::fragments(&segment(SYN), 40, 9);
    check(&lab, A, &first, to(B));
    check(&lab, A, &last, to(B));
    let lab = strict().build();
    let [first, last] = build::fragments(&segment(ACK), 40, 9);
    check(&lab, A, &first, dropped(TcpState));
    check(&lab, A, &last, dropped(TcpState));
    let [first, last] = fragments(&udp(CLIENT, SERVER));
    check(&lab, A, &first, to(B));
    check(&lab, A, &last, to(B));
}

#[test]
fn nsg_21_an_icmp_error_follows_a_connection_and_does_not_change_its_state() {
    let lab = strict().build();
    for (client, server, from) in [(CLIENT, SERVER, "10.0.0.5"), (CLIENT6, SERVER6, "fd00::5")] {
        let syn = tcp(client, server, SYN);
        check(&lab, A, &syn, to(B));
        let error = build::icmp_unreachable(super::ip(from), &syn);
        let mut bytes = error.clone();
        let parsed = Packet::parse(&mut bytes, Offload::default()).unwrap();
        assert!(matches!(parsed.transport(), Transport::IcmpError { quoted: Some(_) }));
        check(&lab, B, &error, to(A));
        let record = record(&lab, A, Direction::Outbound, &syn).unwrap();
        assert_eq!((record.state, record.received.packets), (FlowState::SynSent, 1));
    }
}

fn mark(n: u32) -> Option<RulesMark> {
    NonZero::new(n).map(RulesMark)
}

/// B's subnet allows or denies all inbound packets; its NSG flushes or not.
fn guarded(open: bool, flushes: bool) -> World {
    let mut world = world();
    let guard: AclId = world.acl([if open { allow_all() } else { deny_all() }]);
    world.at(B).inbound.subnet = Some(guard);
    if flushes {
        world.flushing.push(guard);
        world.at(B).flows.inbound_rules = mark(1 + u32::from(open));
    }
    world
}

fn change(lab: &mut Lab, world: &World) {
    lab.snapshot = world.snapshot();
}

#[test]
fn nsg_22_and_23_rules_change_under_a_running_flow() {
    for (client, server) in [(CLIENT, SERVER), (CLIENT6, SERVER6)] {
        let mut lab = guarded(true, false).build();
        check(&lab, A, &tcp(client, server, SYN), to(B));
        check(&lab, B, &tcp(server, client, SYN_ACK), to(A));

        change(&mut lab, &guarded(false, false));
        check(&lab, A, &tcp(client, server, ACK), to(B));
        check(&lab, A, &tcp("10.0.0.4:1001", SERVER, SYN), dropped(NsgInbound));

        // Turning it on reviews once, whichever way the next packet goes.
        change(&mut lab, &guarded(false, true));
        check(&lab, B, &tcp(server, client, ACK), dropped(NsgInbound));
        check(&lab, A, &tcp(client, server, ACK), dropped(NsgInbound));
        check(&lab, B, &tcp(server, client, ACK), dropped(NsgInbound));
        assert!(record(&lab, B, Direction::Inbound, &tcp(client, server, ACK)).unwrap().refused);

        // A new attempt meets the rules, and its answer passes by its own record once they allow.
        check(&lab, A, &tcp(client, server, SYN), dropped(NsgInbound));
        change(&mut lab, &guarded(true, true));
        check(&lab, A, &tcp(client, server, SYN), to(B));
        check(&lab, B, &tcp(server, client, SYN_ACK), to(A));
    }
}

#[test]
fn nsg_23_a_refused_flow_is_not_begun_again_by_the_other_end() {
    let mut lab = guarded(true, true).build();
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
    change(&mut lab, &guarded(false, true));
    for _ in 0..5 {
        lab.pass(200);
        check(&lab, B, &udp(SERVER, CLIENT), dropped(NsgInbound));
    }
    lab.pass(241);
    check(&lab, B, &udp(SERVER, CLIENT), to(A));
    assert_eq!(record(&lab, B, Direction::Outbound, &udp(SERVER, CLIENT)).unwrap().admitted, Direction::Outbound);
}

#[test]
fn nsg_23_only_the_group_that_flushes_judges_anew() {
    let build = |subnet_open: bool, nic_rules: u32| {
        let mut world = guarded(subnet_open, false);
        let nic = world.acl([allow_port(Protocol::TCP, 443)]);
        world.at(B).inbound.nic = Some(nic);
        world.flushing.push(nic);
        world.at(B).flows.inbound_rules = mark(nic_rules);
        world
    };
    let mut lab = build(true, 1).build();
    check(&lab, A, &tcp(CLIENT, SERVER, SYN), to(B));
    change(&mut lab, &build(false, 2));
    check(&lab, A, &tcp(CLIENT, SERVER, ACK), to(B));
    assert_eq!(
        lab.trace(A, &tcp(CLIENT, SERVER, ACK)),
        "sent 0, out 0: Record, route Vnet(VnetId(0)), arrive 1, in 1: Record, delivered 1"
    );
    check(&lab, A, &tcp("10.0.0.4:1001", SERVER, SYN), dropped(NsgInbound));
}

#[test]
fn nsg_23_turned_off_a_refused_flow_is_judged_as_new() {
    let mut lab = guarded(true, true).build();
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
    change(&mut lab, &guarded(false, true));
    check(&lab, A, &udp(CLIENT, SERVER), dropped(NsgInbound));
    change(&mut lab, &guarded(false, false));
    check(&lab, A, &udp(CLIENT, SERVER), dropped(NsgInbound));
    change(&mut lab, &guarded(true, false));
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
}

#[test]
fn nsg_25_an_nsg_that_comes_concerns_new_flows_unless_it_flushes() {
    let mut lab = world().build();
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
    change(&mut lab, &guarded(false, false));
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
    change(&mut lab, &guarded(false, true));
    check(&lab, A, &udp(CLIENT, SERVER), dropped(NsgInbound));
}

#[test]
fn nsg_23_the_senders_own_group_ends_the_flow_at_its_end() {
    let build = |open: bool| {
        let mut world = world();
        let guard = world.acl([if open { allow_all() } else { deny_all() }]);
        world.at(A).outbound.nic = Some(guard);
        world.flushing.push(guard);
        world.at(A).flows.outbound_rules = mark(1 + u32::from(open));
        world
    };
    let mut lab = build(true).build();
    check(&lab, A, &udp(CLIENT, SERVER), to(B));
    change(&mut lab, &build(false));
    check(&lab, B, &udp(SERVER, CLIENT), dropped(NsgOutbound));
    check(&lab, A, &udp(CLIENT, SERVER), dropped(NsgOutbound));
}

#[derive(Default)]
struct Told(Vec<FlowEvent>);

impl Observer for Told {
    fn step(&mut self, _: Step) {}

    fn flow(&mut self, event: &FlowEvent) {
        self.0.push(*event);
    }
}

fn told(lab: &Lab, snapshot: &Snapshot, from: NicId, packet: &[u8]) -> (Verdict, Vec<FlowEvent>) {
    let mut bytes = packet.to_vec();
    let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
    let mut told = Told::default();
    let verdict = process(snapshot, &lab.flows, PortId(from.0), lab.now, &mut packet, &mut told);
    (verdict, told.0)
}

#[test]
fn flow_events_tell_a_logged_interfaces_flows_from_begin_to_end() {
    let logged = |open| {
        let mut world = guarded(open, true);
        world.at(B).flows.logged = true;
        world
    };
    let lab = logged(true).build();
    let [open, shut] = [true, false].map(|open| logged(open).snapshot());
    let syn = tcp(CLIENT, SERVER, SYN);

    let (_, events) = told(&lab, &open, A, &syn);
    let [FlowEvent::Begun(begun)] = events[..] else { panic!("{events:?}") };
    assert_eq!((begun.nic, begun.admitted, begun.received.packets), (B, Direction::Inbound, 1));
    assert!(begun.rules.iter().eq([RuleId::new(0)]));
    assert!(told(&lab, &open, A, &syn).1.is_empty(), "it follows the record");

    told(&lab, &open, B, &tcp(SERVER, CLIENT, RST));
    let (_, events) = told(&lab, &open, A, &syn);
    let [FlowEvent::Ended(ended), FlowEvent::Begun(_)] = events[..] else { panic!("{events:?}") };
    assert_eq!((ended.sent.packets, ended.received.packets, ended.state), (1, 2, FlowState::Closed));

    let (verdict, events) = told(&lab, &shut, A, &tcp(CLIENT, SERVER, ACK));
    assert_eq!(verdict, dropped(NsgInbound));
    assert!(matches!(events[..], [FlowEvent::Ended(_)]), "{events:?}");
    let (_, events) = told(&lab, &shut, A, &tcp("10.0.0.4:1001", SERVER, SYN));
    let [FlowEvent::Denied(denial)] = events[..] else { panic!("{events:?}") };
    assert_eq!((denial.nic, denial.direction, denial.rule), (B, Direction::Inbound, Some(RuleId::new(0))));
    assert_eq!(denial.tuple.src_port, 1001);
}
