//! The keeper of entries by itself: the test writes into the kernel's map what the program would have counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::super::device::KernelPort;
use super::super::handover::Handover;
use super::super::leg::nanos;
use super::*;
use crate::dataplane::{
    Deciders, Direction, FlowLimits, FlowTerms, Followed, Nic, NicId, Passing, PortId, Recorder, Signal, Traffic,
};
use crate::wire::{Offload, Packet, build};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const A: NicId = NicId(0);
const B: NicId = NicId(1);
const C: NicId = NicId(2);
const SECOND: u64 = 1_000_000_000;

/// A keeper without its thread, and when it began; none where programs cannot be loaded.
fn keeper() -> Option<(Keeper, u64)> {
    let cache = FlowCache::permitted()?;
    let flows = Arc::new(Flows::new(FlowLimits::default()));
    let grants = Grants::new(Arc::clone(&cache), Arc::clone(&flows), Arc::default(), FlowEvents::default()).unwrap();
    Some((Keeper::new(&cache, flows, Arc::default(), Arc::new(grants)), monotonic_nanos()))
}

/// A segment from one NIC to another as the worker offers it; the kernel knows the NIC's port by its number and ten.
fn offer(keeper: &Keeper, flags: u8, (from, to): (NicId, NicId), ports: [u16; 2]) -> Offer {
    let end = |nic: NicId, port| format!("10.0.0.{}:{port}", nic.0).parse().unwrap();
    let mut bytes = build::tcp(end(from, ports[0]), end(to, ports[1]), flags, b"");
    let packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
    let (recorded, mappings) = ([true; 2], [None; 2]);
    let sent = packet.tuple();
    let followed = Followed { sent, sender: from, receiver: to, recorded, mappings, between: None, hops: 0 };
    let leg = Leg::of(&packet, &followed).between(PortId(from.0), PortId(to.0));
    let port = |nic: NicId| KernelPort { index: nic.0 + 10, guest: [2; 6] };
    Offer { leg, from: port(from), to: port(to), epoch: keeper.cache.epoch(), ended: false }
}

const PORTS: [u16; 2] = [4000, 80];

/// A connection's legs there and back, of which both ends keep records since `at`.
fn open(keeper: &Keeper, at: u64) -> [Offer; 2] {
    let there = offer(keeper, ACK, (A, B), PORTS);
    let terms = FlowTerms::default();
    let traffic = Traffic { packets: 1, bytes: 40 };
    let passing = Passing { traffic, signal: Signal::from_flags(SYN), ttl: 64, at: Timestamp(at) };
    for (nic, direction) in [(A, Direction::Outbound), (B, Direction::Inbound)] {
        let room = keeper.flows.records.reserve(nic, &terms, Timestamp(at), |_| {}).unwrap();
        room.admit(direction, there.leg.sent(), Deciders::default(), passing, &terms);
    }
    [there, offer(keeper, ACK, (B, A), [PORTS[1], PORTS[0]])]
}

/// Ends the connection for both ends.
fn reset(keeper: &Keeper, leg: &Leg, at: u64) {
    let traffic = Traffic { packets: 1, bytes: 40 };
    let passing = Passing { traffic, signal: Signal::from_flags(RST), ttl: 64, at: Timestamp(at) };
    for (nic, direction) in [(A, Direction::Outbound), (B, Direction::Inbound)] {
        keeper.flows.records.follow(nic, direction, leg.sent(), passing, &FlowTerms::default());
    }
}

fn decided(offer: &Offer, last: u64) -> Flow {
    Flow { epoch: offer.epoch, timeout: nanos(240), last, ttl: 64, ..Flow::default() }
}

/// As the program leaves an entry that waits no longer and has carried so many packets.
fn carry(keeper: &Keeper, offer: &Offer, (packets, bytes): (u64, u64), last: u64) {
    let flow = keeper.cache.find(&offer.key()).unwrap();
    keeper.cache.put(&offer.key(), &Flow { slot: 0, packets, bytes, last, ..flow }).unwrap();
}

fn counted(keeper: &Keeper) -> [(u64, u64); 2] {
    let [a, b] = [A, B].map(|nic| keeper.tally.port(PortId(nic.0)));
    [(a.rx_packets(), a.rx_bytes()), (b.tx_packets(), b.tx_bytes())]
}

fn carrying(keeper: &Keeper) -> usize {
    keeper.count.load(Ordering::Relaxed)
}

#[test]
fn nsg_20_only_a_flow_with_records_is_handed_over_and_what_was_carried_is_added_once() {
    let Some((mut keeper, now)) = keeper() else { return };
    let unknown = offer(&keeper, ACK, (A, B), PORTS);
    keeper.take(&unknown, decided(&unknown, now), None);
    assert_eq!((keeper.entries.len(), keeper.cache.find(&unknown.key())), (0, None));
    let [there, _] = open(&keeper, now);
    keeper.take(&there, decided(&there, now), None);
    let flow = keeper.cache.find(&there.key()).unwrap();
    assert!(flow.slot != 0 && flow.copies == 0 && flow.timeout == nanos(240), "{flow:?}");
    keeper.read(0);
    assert_eq!((keeper.entries.len(), carrying(&keeper)), (1, 0), "it waits");
    carry(&keeper, &there, (3, 300), now + 5);
    keeper.read(0);
    assert_eq!((carrying(&keeper), counted(&keeper)), (1, [(3, 300); 2]));
    let record = keeper.flows.records.find(A, Direction::Outbound, there.leg.sent(), Timestamp(now)).unwrap();
    assert_eq!((record.sent, record.last), (Traffic { packets: 4, bytes: 340 }, Timestamp(now + 5)));
    carry(&keeper, &there, (5, 600), now + 6);
    keeper.read(u64::MAX);
    assert_eq!(counted(&keeper), [(3, 300); 2], "a younger reading serves");
    keeper.read(0);
    assert_eq!(counted(&keeper), [(5, 600); 2], "the difference is added");
    // A packet that ends the connection has the counts before it read at once.
    carry(&keeper, &there, (6, 700), now + 7);
    let end = offer(&keeper, RST, (A, B), PORTS);
    keeper.take(&end, decided(&end, now + 8), None);
    assert_eq!(counted(&keeper), [(6, 700); 2]);
    carry(&keeper, &there, (7, 800), now + 9);
    let end = offer(&keeper, RST, (B, A), [PORTS[1], PORTS[0]]);
    keeper.take(&end, decided(&end, now + 10), None);
    assert_eq!((counted(&keeper), keeper.entries.len()), ([(7, 800); 2], 1), "of either side");
}

/// What is carried stays; what cannot be carried any more is handed over anew.
#[test]
fn an_entry_is_replaced_where_it_carries_no_more() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, _] = open(&keeper, now);
    let key = there.key();
    let later = now + SETTLED;
    for (what, offered, replaced) in [
        ("the same", decided(&there, now + 1), false),
        ("another TTL, but the other one was seen lately", Flow { ttl: 63, ..decided(&there, later - 1) }, false),
        ("another TTL since a while", Flow { ttl: 63, ..decided(&there, later) }, true),
        ("the same TTL, after a while", decided(&there, later), false),
        ("the flow had been idle for too long", decided(&there, now + nanos(240) + 1), true),
    ] {
        keeper.entries.clear();
        keeper.cache.remove(&key);
        keeper.take(&there, decided(&there, now), None);
        carry(&keeper, &there, (9, 900), now);
        keeper.flows.records.count(A, Direction::Outbound, there.leg.sent(), Timestamp(now), spoke(offered.last));
        keeper.flows.records.count(B, Direction::Inbound, there.leg.sent(), Timestamp(now), spoke(offered.last));
        keeper.take(&there, offered, None);
        let flow = keeper.cache.find(&key).unwrap();
        let expected = if replaced { (0, offered.ttl, true) } else { (9, 64, false) };
        assert_eq!((flow.packets, flow.ttl, flow.slot != 0), expected, "{what}");
        assert_eq!(keeper.entries.len(), 1, "{what}");
    }
    carry(&keeper, &there, (9, 900), now + 1);
    keeper.cache.begin_epoch().unwrap();
    let there = Offer { epoch: keeper.cache.epoch(), ..there };
    keeper.take(&there, decided(&there, now + 2), None);
    assert_eq!(keeper.cache.find(&key).unwrap().packets, 0, "an epoch has ended");
}

/// No packets, only the time.
fn spoke(last: u64) -> (Traffic, Signal, Timestamp) {
    (Traffic { packets: 0, bytes: 0 }, Signal::of_bits(8), Timestamp(last))
}

/// The program writes entries of the connections that it opens: the keeper hears of them later.
#[test]
fn an_entry_that_the_program_has_written_stays() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, _] = open(&keeper, now);
    let written = Flow { packets: 7, ..decided(&there, now) };
    keeper.cache.put(&there.key(), &written).unwrap();
    keeper.take(&there, decided(&there, now + 1), None);
    assert_eq!((keeper.cache.find(&there.key()), keeper.entries.len()), (Some(written), 0));
}

#[test]
fn entries_go_with_their_record_their_flow_or_their_epoch() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, back] = open(&keeper, now);
    let keys = [there.key(), back.key()];
    let begin = |keeper: &mut Keeper, packets: (u64, u64)| {
        for offer in [&there, &back] {
            let offer = Offer { epoch: keeper.cache.epoch(), ..*offer };
            keeper.take(&offer, decided(&offer, now), None);
            carry(keeper, &offer, packets, now);
        }
        keeper.read(0);
        assert_eq!((keeper.entries.len(), carrying(keeper)), (2, 2));
    };
    begin(&mut keeper, (1, 10));
    keeper.cache.remove(&keys[1]);
    keeper.read(0);
    assert_eq!((keeper.entries.len(), carrying(&keeper)), (1, 1), "the program's map has lost one");

    begin(&mut keeper, (2, 20));
    keeper.cache.begin_epoch().unwrap();
    carry(&keeper, &there, (4, 40), now);
    let before = counted(&keeper)[0];
    keeper.read(0);
    assert_eq!((keeper.entries.len(), carrying(&keeper)), (2, 0), "packets may be under way");
    carry(&keeper, &there, (5, 50), now);
    keeper.read(0);
    assert_eq!(counted(&keeper)[0], (before.0 + 3, before.1 + 30));
    assert_eq!((keeper.entries.len(), keys.map(|key| keeper.cache.find(&key))), (0, [None; 2]));

    begin(&mut keeper, (1, 10));
    let half_open = HalfOpen { since: Timestamp(now - 2 * SECOND), _credit: None };
    keeper.entries.get_mut(&keys[0]).unwrap().half_open = Some(half_open);
    keeper.read(0);
    assert_eq!(keeper.cache.find(&keys[0]), None, "neither end has acknowledged it");
    assert!(keeper.entries.contains_key(&keys[1]));

    begin(&mut keeper, (1, 10));
    reset(&keeper, &there.leg, now + 1);
    keeper.read(0);
    assert_eq!((keeper.entries.len(), carrying(&keeper), keeper.cache.find(&keys[0])), (0, 0, None));
}

/// Two machines may have used the same ports as two others, where their answers look alike.
#[test]
fn answers_to_another_end_are_of_another_flow() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, back] = open(&keeper, now);
    keeper.take(&back, decided(&back, now), None);
    keeper.take(&there, decided(&there, now), None);
    assert_eq!(keeper.entries.len(), 2, "each is the other's way back");
    carry(&keeper, &back, (2, 20), now);
    // From the same port as the answers, though to another machine than the one that now sends.
    let other = offer(&keeper, ACK, (B, C), [PORTS[1], PORTS[0]]);
    keeper.entries.get_mut(&back.key()).unwrap().leg = other.leg;
    keeper.take(&there, decided(&there, now + 1), None);
    assert!(!keeper.entries.contains_key(&back.key()) && keeper.entries.contains_key(&there.key()));
    assert_eq!(keeper.cache.find(&back.key()), None);
    assert_eq!(keeper.tally.port(PortId(B.0)).rx_packets(), 2, "what it carried is counted first");
}

#[test]
fn copies_are_of_a_flow_as_long_as_it_is_carried() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, back] = open(&keeper, now);
    let traced = || Some((Traced::new(Timestamp(now), 0, PortId(0), Recorder::new()), 96));
    keeper.take(&there, decided(&there, now), traced());
    keeper.take(&back, decided(&back, now), traced());
    let flows = [&there, &back].map(|offer| keeper.cache.find(&offer.key()).unwrap());
    assert_eq!(flows.map(|flow| (flow.copies, flow.most)), [(1, 96), (2, 96)]);
    reset(&keeper, &there.leg, now + 1);
    keeper.take(&there, decided(&there, now + 2), traced());
    assert_eq!(keeper.cache.find(&there.key()).unwrap().copies, 1, "a flow that is over gets no other number");
    keeper.read(0);
    assert_eq!(keeper.entries.len(), 0);
    assert_eq!((keeper.copies.collect(), keeper.copies.flows()), (false, 0));
}

#[test]
fn connections_are_looked_at_twice_and_removed_once_they_are_over() {
    let Some((mut keeper, now)) = keeper() else { return };
    let [there, back] = open(&keeper, now);
    let keys = [there.key(), back.key()];
    let at = Timestamp(now);
    let enter = |keeper: &mut Keeper, opened_at: Timestamp| {
        for offer in [&there, &back] {
            keeper.take(offer, decided(offer, now), None);
            keeper.entries.get_mut(&offer.key()).unwrap().opened_at = Some(opened_at);
        }
    };
    let look = |keeper: &mut Keeper| {
        keeper.looked_at = 0;
        keeper.look();
        [0, 1].map(|look: usize| keeper.looks[look].len())
    };
    enter(&mut keeper, at);
    keeper.looks[0].push_back((u64::MAX, at, keys));
    assert_eq!(look(&mut keeper), [1, 0], "it is not due");
    keeper.looks[0][0].0 = now;
    keeper.looked_at = u64::MAX;
    keeper.look();
    assert_eq!(keeper.looks[0].len(), 1, "all were looked at a moment ago");
    assert_eq!((look(&mut keeper), keeper.entries.len()), ([0, 1], 2), "open ones stay, and are looked at again");
    assert!(keeper.looks[1][0].0 >= now + LOOKS[1] && keeper.looks[1][0].1 == at);
    assert_eq!(look(&mut keeper), [0, 1]);
    keeper.looks[1][0].0 = now;
    assert_eq!((look(&mut keeper), keeper.entries.len()), ([0, 0], 2), "that was the last look");

    reset(&keeper, &there.leg, now + 1);
    keeper.looks[0].push_back((now, Timestamp(now - 1), keys));
    assert_eq!((look(&mut keeper), keeper.entries.len()), ([0, 0], 2), "another has begun from the same port");
    keeper.looks[0].push_back((now, at, keys));
    assert_eq!((look(&mut keeper), keeper.entries.len()), ([0, 0], 0));
    assert_eq!(keys.map(|key| keeper.cache.find(&key)), [None; 2]);
}

#[test]
fn readings_and_looks_come_as_often_as_they_are_worth() {
    let Some((mut keeper, _)) = keeper() else { return };
    keeper.read_at = SECOND;
    let due = |keeper: &Keeper, after: u64| keeper.reading_due(SECOND + after).as_millis();
    assert_eq!([0, 100_000_000, 250_000_000, SECOND].map(|after| due(&keeper, after)), [250, 150, 0, 0]);
    keeper.took = Duration::from_millis(30);
    assert_eq!([0, 250_000_000, 600_000_000].map(|after| due(&keeper, after)), [600, 350, 0], "one that takes long");
    assert_eq!(keeper.look_due(0), Duration::MAX, "there is none to look at");
    let unknown = offer(&keeper, ACK, (A, B), PORTS).key();
    keeper.looks[1].push_back((0, Timestamp(0), [unknown; 2]));
    keeper.looked_at = SECOND;
    assert_eq!([0, 10_000_000, 25_000_000].map(|after| keeper.look_due(SECOND + after).as_millis()), [25, 15, 0]);
    assert_eq!(keeper.entries.len(), 0);
}

/// A worker asks the keeper to carry a packet's flow, or to let the kernel open connections of the same kind.
#[test]
fn a_worker_asks_for_flows_and_grants_once_a_few_packets_came() {
    let Some((keeper, now)) = keeper() else { return };
    let (requests, asked) = bounded(REQUESTS);
    let carried = Arc::new(Carried {
        cache: Arc::clone(&keeper.cache),
        grants: Arc::clone(&keeper.grants),
        requests,
        tally: Arc::clone(&keeper.tally),
        entries: Arc::default(),
        thread: Mutex::default(),
    });
    let nics = (0..3).map(|n| Nic::at_port(PortId(n))).collect();
    let snapshot = Snapshot { nics, ..Snapshot::default() };
    let traced = Traced::new(Timestamp(now), 0, PortId(0), Recorder::new());
    let first = |flags| offer(&keeper, flags, (A, B), PORTS);
    let answer = |flags, dst_port| offer(&keeper, flags, (B, A), [PORTS[1], dst_port]);
    // Of a batch of eight packets of one flow, or of as many answers to connections from ports of their own.
    let eight = |packet: &dyn Fn(u16) -> Offer, copies: Option<(&Traced, u32)>| {
        let mut handover = Handover::new(Arc::clone(&carried), 8);
        assert_eq!(handover.epoch(), keeper.cache.epoch());
        (0..8).for_each(|n| handover.offer(&packet(n), copies, &snapshot, Timestamp(now)));
        let word = |request| match request {
            Request::Take(..) => "take",
            Request::Copy(_, _, _, most) => ["copy nothing", "copy"][usize::from(most == 96)],
            Request::Grant(..) => "grant",
            _ => "another",
        };
        asked.try_iter().map(word).collect::<Vec<_>>()
    };
    let wanted = Some((&traced, 96));
    assert_eq!(eight(&|_| first(ACK), None), ["take"], "after four packets");
    assert_eq!(eight(&|n| first(if n < 3 { ACK } else { RST }), None), [""; 0], "after three none");
    assert_eq!(eight(&|_| first(ACK), wanted), ["copy"]);
    assert_eq!(eight(&|n| answer(SYN | ACK, 4000 + n), None), ["grant"], "one grant for all source ports");
    assert_eq!(eight(&|n| answer(SYN | ACK, 4000 + n), wanted), [""; 0], "a capture wants all of them");
    assert_eq!(eight(&|_| first(SYN), None), [""; 0], "a first packet is no answer");
    let ended = |n| Offer { ended: n == 7, ..first(RST) };
    assert_eq!(eight(&ended, None), ["take"], "what the kernel carried has ended");
}

/// Without a request, the keeper adds what was carried to records and counters, and removes entries that are over.
#[test]
fn the_keeper_reads_by_itself() {
    let Some((keeper, now)) = keeper() else { return };
    let [there, _] = open(&keeper, now);
    let (cache, flows) = (Arc::clone(&keeper.cache), Arc::clone(&keeper.flows));
    let (tally, count) = (Arc::clone(&keeper.tally), Arc::clone(&keeper.count));
    let flow = decided(&there, now);
    let (requests, taken) = bounded(REQUESTS);
    let thread = std::thread::spawn(move || keeper.serve(&taken));
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let key = there.key();
    requests.send(Request::Take(there, flow)).unwrap();
    eventually("it is handed over", &|| cache.find(&key).is_some());
    let carried = cache.find(&key).unwrap();
    cache.put(&key, &Flow { slot: 0, packets: 3, bytes: 300, last: now + 5, ..carried }).unwrap();
    eventually("it is counted", &|| tally.port(PortId(A.0)).rx_packets() == 3);
    eventually("it carries", &|| count.load(Ordering::Relaxed) == 1);
    let traffic = Traffic { packets: 1, bytes: 40 };
    let passing = Passing { traffic, signal: Signal::from_flags(RST), ttl: 64, at: Timestamp(now + 6) };
    for (nic, direction) in [(A, Direction::Outbound), (B, Direction::Inbound)] {
        flows.records.follow(nic, direction, there.leg.sent(), passing, &FlowTerms::default());
    }
    eventually("what is over goes", &|| cache.find(&key).is_none());
    let epoch = cache.epoch();
    requests.send(Request::Stop).unwrap();
    thread.join().unwrap();
    assert!(cache.epoch() > epoch, "without its keeper nothing is carried");
}
