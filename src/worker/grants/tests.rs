//! Grants between two machines of one network that allows everything. The kernel has the maps; its program does not run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use ipnet::IpNet;

use super::super::device::KernelPort;
use super::super::flow_events::FlowScope;
use super::*;
use crate::dataplane::{
    Deciders, Fib, FlowLimits, Followed, Ingress, NextHop, Nic, Owner, PortId, RouteId, Share, Standing, Vnet, VnetId,
};
use crate::sys::clock::monotonic_nanos;
use crate::wire::{Offload, Packet, build};

const ACK: u8 = 0x10;
const CLIENT: NicId = NicId(0);
const SERVER: NicId = NicId(1);
const SECOND: u64 = 1_000_000_000;

struct Opener {
    cache: Arc<FlowCache>,
    flows: Arc<Flows>,
    events: FlowEvents,
    grants: Grants,
    now: u64,
}

/// None where programs cannot be loaded.
fn opener(limits: FlowLimits, terms: [FlowTerms; 2]) -> Option<Opener> {
    let cache = FlowCache::permitted()?;
    let (flows, events) = (Arc::new(Flows::new(limits)), FlowEvents::default());
    let snapshot = Arc::new(ArcSwap::from_pointee(tables(terms)));
    let grants = Grants::new(Arc::clone(&cache), Arc::clone(&flows), snapshot, events.clone()).unwrap();
    Some(Opener { cache, flows, events, grants, now: monotonic_nanos() })
}

/// Terms with idle times that differ.
const TERMS: [FlowTerms; 2] = [terms(240), terms(100)];

const fn terms(timeout_secs: u16) -> FlowTerms {
    FlowTerms {
        timeout_secs,
        share: Share(1),
        strict_tcp: false,
        logged: false,
        outbound_rules: None,
        inbound_rules: None,
    }
}

/// The client has 10.0.0.4 and packets of 9000 bytes, the server 10.0.0.5 and 1400.
fn tables(terms: [FlowTerms; 2]) -> Snapshot {
    let nic = |n: u32, mtu: u16| Nic { mtu, flows: terms[n as usize], ..Nic::at_port(PortId(n)) };
    let net = |prefix: &str| prefix.parse::<IpNet>().unwrap();
    let owners = [("10.0.0.4/32", CLIENT), ("10.0.0.5/32", SERVER)];
    let owners = owners.into_iter().map(|(prefix, nic)| (net(prefix), Owner::Nic(nic))).collect();
    let lpm = [(net("10.0.0.0/16"), RouteId(0))].into_iter().collect();
    Snapshot {
        ports: vec![Ingress::Nic(CLIENT), Ingress::Nic(SERVER)],
        nics: vec![nic(0, 9000), nic(1, 1400)],
        fibs: vec![Fib { lpm, next_hops: [NextHop::Vnet(VnetId(0))].into(), spreads: [].into() }],
        vnets: vec![Vnet { owners, links: [].into_iter().collect(), platform: None }],
        ..Snapshot::default()
    }
}

impl Opener {
    /// How the server answers a connection from this port, of which both ends have records.
    fn answer(&self, src_port: u16) -> Offer {
        let (client, server) = (format!("10.0.0.4:{src_port}").parse().unwrap(), "10.0.0.5:80".parse().unwrap());
        let mut bytes = build::tcp(server, client, SYN | ACK, b"");
        let packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let sent = packet.tuple();
        for (nic, admitted, follows) in
            [(CLIENT, Direction::Outbound, Direction::Inbound), (SERVER, Direction::Inbound, Direction::Outbound)]
        {
            let passing = |flags, ttl| {
                let traffic = Traffic { packets: 1, bytes: 60 };
                Passing { traffic, signal: Signal::from_flags(flags), ttl, at: Timestamp(self.now) }
            };
            let terms = TERMS[nic.0 as usize];
            let room = self.flows.records.reserve(nic, &terms, Timestamp(self.now), |_| {}).unwrap();
            room.admit(admitted, &sent.mirrored(), Deciders::default(), passing(SYN, 64), &terms);
            self.flows.records.follow(nic, follows, sent, passing(SYN | ACK, 61), &terms);
        }
        let (recorded, mappings) = ([true; 2], [None; 2]);
        let followed = Followed { sent, sender: SERVER, receiver: CLIENT, recorded, mappings, between: None, hops: 0 };
        let leg = Leg::of(&packet, &followed).between(PortId(1), PortId(0));
        let port = |nic: NicId| KernelPort { index: nic.0 + 10, guest: [nic.0 as u8 + 1; 6] };
        Offer { leg, from: port(SERVER), to: port(CLIENT), epoch: self.cache.epoch(), ended: false }
    }

    fn grant(&self, answer: &Offer) -> Option<Grant> {
        self.grants.grant(answer, Timestamp(self.now));
        self.cache.find_grant(&any_port(answer))
    }

    fn kinds(&self) -> usize {
        self.grants.kept().kinds.len()
    }

    fn kind(&self) -> Arc<Kind> {
        Arc::clone(&self.grants.kept().kinds.values().next().unwrap().kind)
    }
}

/// By which the program finds the grant.
fn any_port(answer: &Offer) -> FlowKey {
    key(answer.to.index, &Tuple { src_port: 0, ..answer.leg.sent().mirrored() })
}

#[test]
fn nsg_20_a_grant_says_what_the_program_does_with_both_directions() {
    let Some(opener) = opener(FlowLimits::default(), TERMS) else { return };
    let answer = opener.answer(4000);
    let grant = opener.grant(&answer).expect("only tables decide");
    let addresses = |n: u8, of: &Offer| ethernet(if n == 0 { &of.to } else { &of.from });
    let expected = Grant {
        epoch: opener.cache.epoch(),
        timeout: nanos(100),
        last: opener.now,
        number: 1,
        out: 11,
        mtu: [1400, 9000],
        ttl: [64, 61],
        zero: [0; 2],
        ethernet: [addresses(1, &answer), addresses(0, &answer)],
    };
    assert_eq!(grant, expected, "of two idle times the shorter");
    assert_eq!(opener.grant(&opener.answer(4001)), Some(expected), "it is the same kind");
    assert_eq!(opener.kinds(), 1);
}

#[test]
fn no_grant_without_the_present_epoch_the_way_that_tables_say_or_both_records() {
    let Some(opener) = opener(FlowLimits::default(), TERMS) else { return };
    let answer = opener.answer(4000);
    let refused = |what: &str, answer: &Offer| {
        assert_eq!((opener.grant(answer), opener.kinds()), (None, 0), "{what}");
    };
    refused("of an epoch before", &Offer { epoch: answer.epoch - 1, ..answer });
    refused("by another port of the server", &Offer { leg: answer.leg.between(PortId(2), PortId(0)), ..answer });
    let unknown = Leg::of_opened(
        Tuple { src_port: 80, dst_port: 4001, ..*answer.leg.sent() },
        [SERVER, CLIENT],
        [PortId(1), PortId(0)],
        [64; 2],
    );
    refused("without records", &Offer { leg: unknown[0], ..answer });
    assert!(opener.grant(&answer).is_some());
}

/// NSG-26: the kernel opens connections without checking that the flow table has room.
#[test]
fn a_grant_needs_room_for_all_connections_that_it_may_open() {
    // As many records as connections may be under way, and those of the first.
    let room = |more: usize| FlowLimits { per_nic: CREDIT + more, total: 16 * CREDIT };
    let Some(full) = opener(room(0), TERMS) else { return };
    assert_eq!((full.grant(&full.answer(4000)), full.kinds()), (None, 0));
    let opener = opener(room(1), TERMS).unwrap();
    let answer = opener.answer(4000);
    assert!(opener.grant(&answer).is_some());
    opener.grants.sweep(opener.now);
    assert!(opener.cache.find_grant(&any_port(&answer)).is_some(), "there is room still");
    opener.answer(4001);
    opener.grants.sweep(opener.now);
    assert_eq!(opener.cache.find_grant(&any_port(&answer)), None, "a record took the room");
    assert_eq!(opener.kinds(), 1, "one that has read it may still open a connection");
}

#[test]
fn a_kind_that_opens_nothing_is_withdrawn_and_later_forgotten() {
    let Some(opener) = opener(FlowLimits::default(), TERMS) else { return };
    let answer = opener.answer(4000);
    let key = any_port(&answer);
    opener.grants.sweep(opener.now);
    let grant = opener.grant(&answer).unwrap();
    let is_granted = || opener.cache.find_grant(&key).is_some();
    opener.grants.sweep(opener.now + IDLE - 1);
    assert!(is_granted(), "it is not time to look");
    opener.cache.grant(&key, &Grant { last: opener.now + 1, ..grant }).unwrap();
    opener.grants.sweep(opener.now + IDLE);
    assert!(is_granted(), "it opened a connection less than a minute ago");
    opener.grants.sweep(opener.now + IDLE + SECOND);
    assert!(is_granted(), "all were looked at a second ago");
    let withdrawn = opener.now + 2 * IDLE;
    opener.grants.sweep(withdrawn);
    assert_eq!((is_granted(), opener.kinds()), (false, 1));
    opener.grants.sweep(withdrawn + IDLE - 1);
    assert_eq!(opener.kinds(), 1, "one that was announced late still has its kind");
    opener.grants.sweep(withdrawn + IDLE);
    assert_eq!(opener.kinds(), 0);
    let again = opener.grant(&answer).expect("it is granted anew");
    assert_eq!(again.number, 2, "by another number");
}

#[test]
fn a_kind_can_be_withdrawn_by_itself_and_all_at_once() {
    let Some(opener) = opener(FlowLimits::default(), TERMS) else { return };
    let answer = opener.answer(4000);
    let key = any_port(&answer);
    opener.grant(&answer).unwrap();
    let kind = opener.kind();
    opener.grants.withdraw(&kind, opener.now);
    assert_eq!((opener.cache.find_grant(&key), opener.kinds()), (None, 1));
    let again = opener.grant(&answer).expect("a withdrawn grant does not prevent another");
    opener.grants.withdraw(&kind, opener.now);
    assert_eq!(
        (opener.cache.find_grant(&key), opener.kinds()),
        (Some(again), 2),
        "of two alike only the one that is meant"
    );
    opener.grants.withdraw_all();
    assert_eq!((opener.cache.find_grant(&key), opener.kinds()), (None, 0));
}

/// A connection from this port, as the program announces it.
fn opened(opener: &Opener, src_port: u16, at: u64) -> Opened {
    Opened { kind: opener.kind(), at: Timestamp(at), src_port, len: 60, credit: Credit(Arc::clone(&opener.cache)) }
}

#[test]
fn nsg_20_an_opened_connection_has_the_records_that_a_worker_would_have_made() {
    let Some(opener) = opener(FlowLimits::default(), TERMS) else { return };
    opener.grant(&opener.answer(4000)).unwrap();
    let at = opener.now + 5;
    let connection = opened(&opener, 4001, at);
    opener.grants.record(&connection);
    let first = connection.kind.first(4001);
    for (nic, direction) in [(CLIENT, Direction::Outbound), (SERVER, Direction::Inbound)] {
        let record = opener.flows.records.find(nic, direction, &first, Timestamp(at)).unwrap();
        let sides = [record.sent, record.received].map(|traffic| (traffic.packets, traffic.bytes));
        let expected = if nic == CLIENT { [(1, 60), (0, 0)] } else { [(0, 0), (1, 60)] };
        assert_eq!((record.begun, record.last, sides), (Timestamp(at), Timestamp(at), expected));
    }
    let ways = connection.legs();
    let standings = ways.map(|(_, leg)| leg.basis_of_opened(&opener.flows, Timestamp(at)).1);
    assert_eq!(standings, [Standing::Open; 2]);
}

/// The events that a listener gets of a connection from port 4001: begun or ended, and at which NIC.
fn heard(opener: &Opener, scope: FlowScope, before: bool) -> Vec<(&'static str, NicId)> {
    opener.grant(&opener.answer(4000)).unwrap();
    if before {
        // It was reset a while ago, and its port is used again.
        let old = opened(opener, 4001, opener.now);
        opener.grants.record(&old);
        let first = old.kind.first(4001);
        let traffic = Traffic { packets: 1, bytes: 40 };
        let reset = Passing { traffic, signal: Signal::from_flags(0x04), ttl: 64, at: Timestamp(opener.now + SECOND) };
        for (nic, direction) in [(CLIENT, Direction::Outbound), (SERVER, Direction::Inbound)] {
            opener.flows.records.follow(nic, direction, &first, reset, &TERMS[nic.0 as usize]);
        }
    }
    let watch = opener.events.listen(scope, 16);
    opener.grants.record(&opened(opener, 4001, opener.now + 2 * SECOND));
    let word = |event| match event {
        FlowEvent::Begun(record) => ("begun", record.nic),
        FlowEvent::Ended(record) => ("ended", record.nic),
        FlowEvent::Denied(_) => panic!("nothing is denied"),
    };
    watch.events().map(word).collect()
}

#[test]
fn nsg_22_a_follower_gets_events_of_both_ends_and_a_flow_log_those_of_logged_nics() {
    use FlowScope::{Every, Logged};
    let logged = |nic: NicId| {
        let mut terms = TERMS;
        terms[nic.0 as usize].logged = true;
        terms
    };
    let (both, anew) = (
        vec![("begun", CLIENT), ("begun", SERVER)],
        vec![("ended", CLIENT), ("begun", CLIENT), ("ended", SERVER), ("begun", SERVER)],
    );
    for (what, scope, terms, before, expected) in [
        ("all", Every, TERMS, false, both),
        ("all, of a port that is used again", Every, TERMS, true, anew.clone()),
        ("all, and one is logged", Every, logged(SERVER), true, anew),
        ("the client is logged", Logged, logged(CLIENT), false, vec![("begun", CLIENT)]),
        ("the server is logged", Logged, logged(SERVER), true, vec![("ended", SERVER), ("begun", SERVER)]),
        ("nothing is logged", Logged, TERMS, true, vec![]),
    ] {
        let Some(opener) = opener(FlowLimits::default(), terms) else { return };
        assert_eq!(heard(&opener, scope, before), expected, "{what}");
    }
}

/// If the server's NIC has no room, neither end gets a record, and there is no event.
#[test]
fn nsg_26_an_opened_connection_has_both_records_or_none() {
    let limits = FlowLimits { per_nic: CREDIT + 1, total: 16 * CREDIT };
    let Some(opener) = opener(limits, TERMS) else { return };
    opener.grant(&opener.answer(4000)).unwrap();
    let watch = opener.events.listen(FlowScope::Every, 16);
    let other = Tuple { dst_port: 81, ..opener.kind().first(1) };
    for src_port in 0..CREDIT as u16 {
        let room = opener.flows.records.reserve(SERVER, &TERMS[1], Timestamp(opener.now), |_| {}).unwrap();
        let passing = Passing {
            traffic: Traffic { packets: 1, bytes: 40 },
            signal: Signal::from_flags(ACK),
            ttl: 64,
            at: Timestamp(opener.now),
        };
        let tuple = Tuple { src_port, ..other };
        room.admit(Direction::Inbound, &tuple, Deciders::default(), passing, &TERMS[1]);
        // Answered, so that it does not give way to another.
        opener.flows.records.follow(SERVER, Direction::Outbound, &tuple.mirrored(), passing, &TERMS[1]);
    }
    let connection = opened(&opener, 4001, opener.now + 1);
    let before = opener.flows.records.len();
    opener.grants.record(&connection);
    assert_eq!((opener.flows.records.len(), watch.events().count()), (before, 0));
    let standings = connection.legs().map(|(_, leg)| leg.basis_of_opened(&opener.flows, connection.at).1);
    assert_eq!(standings, [Standing::Gone; 2]);
}
