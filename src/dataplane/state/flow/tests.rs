//! The flow table against a slow twin: a list of records, and the rules written down plainly.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use proptest::prelude::*;

use crate::wire::Protocol;

use super::*;

const SECOND: u64 = 1_000_000_000;
const ONE: Traffic = Traffic { packets: 1, bytes: 100 };

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * SECOND)
}

pub(super) fn tuple(src_port: u16) -> Tuple {
    let (src, dst) = (IpAddr::from([10, 0, 0, 4]), IpAddr::from([10, 1, 0, 4]));
    Tuple { src, dst, protocol: Protocol::TCP, src_port, dst_port: 80 }
}

pub(super) fn terms(timeout_secs: u16) -> FlowTerms {
    FlowTerms { timeout_secs, ..FlowTerms::default() }
}

/// A packet without TCP flags.
pub(super) fn plain(at: Timestamp) -> Passing {
    Passing { traffic: ONE, signal: Signal::NONE, ttl: 64, at }
}

/// In the network that the NIC is in: each has two.
pub(super) fn of_network(nic: NicId, timeout_secs: u16) -> FlowTerms {
    FlowTerms { share: Share(nic.0 as u16 / 2), ..terms(timeout_secs) }
}

pub(super) fn admit(
    table: &FlowTable,
    nic: NicId,
    src_port: u16,
    timeout_secs: u16,
    now: Timestamp,
) -> Result<(), TableFull> {
    let terms = of_network(nic, timeout_secs);
    let room = table.reserve(nic, &terms, now, |_| {})?;
    room.admit(Direction::Outbound, &tuple(src_port), Deciders::default(), plain(now), &terms);
    Ok(())
}

/// Which flows were pushed out for this many new flows of a NIC, and how many new ones were refused.
pub(super) fn flood(
    table: &FlowTable,
    nic: NicId,
    ports: std::ops::Range<u16>,
    now: Timestamp,
) -> (Vec<FlowRecord>, Vec<TableFull>) {
    let (mut gone, mut refused) = (Vec::new(), Vec::new());
    for port in ports {
        let terms = of_network(nic, 240);
        match table.reserve(nic, &terms, now, |record| gone.push(*record)) {
            Ok(room) => {
                room.admit(Direction::Outbound, &tuple(port), Deciders::default(), plain(now), &terms);
            }
            Err(full) => refused.push(full),
        }
    }
    (gone, refused)
}

pub(super) fn follows(table: &FlowTable, nic: NicId, src_port: u16, now: Timestamp) -> bool {
    table.follow(nic, Direction::Outbound, &tuple(src_port), plain(now), &terms(240)) == Follow::Passes
}

/// The rules of NSG-21, 24 and 26, written plainly.
#[derive(Default)]
struct Twin {
    records: Vec<TwinRecord>,
}

struct TwinRecord {
    nic: NicId,
    admitted: Direction,
    tuple: Tuple,
    timeout_secs: u64,
    begun: Timestamp,
    last: Timestamp,
    sent: Traffic,
    received: Traffic,
}

impl TwinRecord {
    fn view(&self) -> FlowRecord {
        let Self { nic, admitted, tuple, begun, last, sent, received, .. } = *self;
        let answered = sent.packets > 0 && received.packets > 0;
        let state = if answered { FlowState::Answered } else { FlowState::Unanswered };
        let (refused, rules) = (false, Deciders::default());
        FlowRecord { nic, admitted, tuple, state, refused, rules, begun, last, sent, received }
    }
}

impl Twin {
    fn find(&mut self, nic: NicId, direction: Direction, tuple: &Tuple) -> Option<&mut TwinRecord> {
        self.records.iter_mut().find(|record| {
            let same = record.admitted == direction && record.tuple == *tuple;
            let answer = record.admitted != direction && record.tuple == tuple.mirrored();
            record.nic == nic && (same || answer)
        })
    }

    fn follow(&mut self, nic: NicId, direction: Direction, tuple: &Tuple, now: Timestamp) -> bool {
        let Some(record) = self.find(nic, direction, tuple) else { return false };
        record.last = now;
        match direction {
            Direction::Outbound => record.sent += ONE,
            Direction::Inbound => record.received += ONE,
        }
        true
    }

    fn admit(&mut self, nic: NicId, admitted: Direction, tuple: Tuple, timeout_secs: u64, now: Timestamp) {
        if !self.follow(nic, admitted, &tuple, now) {
            let none = Traffic::default();
            self.records.push(TwinRecord {
                nic,
                admitted,
                tuple,
                timeout_secs,
                begun: now,
                last: now,
                sent: none,
                received: none,
            });
            self.follow(nic, admitted, &tuple, now);
        }
    }

    /// The records of a NIC and of its network, with one more, are at most three times what is free then.
    fn has_share(&self, nic: NicId, limits: FlowLimits) -> bool {
        let count = |of: &dyn Fn(NicId) -> bool| self.records.iter().filter(|record| of(record.nic)).count();
        let (of_nic, of_network) = (count(&|other| other == nic), count(&|other| other.0 / 2 == nic.0 / 2));
        self.records.len() < limits.total && of_nic + of_network + 2 <= 3 * (limits.total - self.records.len() - 1)
    }

    fn is_full(&self, nic: NicId, limits: FlowLimits) -> bool {
        self.records.iter().filter(|record| record.nic == nic).count() >= limits.per_nic
    }

    /// An unanswered record, silent for a second: a flow of the same network may push it out.
    fn push_out(&mut self, gone: &FlowRecord, nic: NicId, now: Timestamp) -> bool {
        let at = self.records.iter().position(|record| record.view() == *gone).unwrap();
        let record = self.records.swap_remove(at);
        let unanswered = record.sent.packets == 0 || record.received.packets == 0;
        let lapsed = now.0 > record.last.0 + record.timeout_secs * SECOND;
        record.nic.0 / 2 == nic.0 / 2 && (lapsed || unanswered && now.0 - record.last.0 >= SECOND)
    }

    fn expire(&mut self, now: Timestamp) -> usize {
        let before = self.records.len();
        self.records.retain(|record| now.0 <= record.last.0 + record.timeout_secs * SECOND);
        before - self.records.len()
    }
}

#[derive(Clone, Debug)]
enum Event {
    Follow(NicId, Direction, Tuple),
    Admit(NicId, Direction, Tuple, u64),
    Pass(u64),
}

/// In a table with room for all, or in a small one: there timers come up on time if all records have one idle time.
fn events() -> impl Strategy<Value = (FlowLimits, Vec<Event>)> {
    let of = |total: usize, timeouts: Vec<u64>| {
        prop::collection::vec(event(timeouts), 1..200)
            .prop_map(move |events| (FlowLimits { per_nic: 4, total }, events))
    };
    // Around a minute, the wheel's horizon of 512 s, and beyond it.
    prop_oneof![of(100, vec![60, 511, 512, 1800]), of(9, vec![60]), of(9, vec![1800])]
}

fn event(timeouts: Vec<u64>) -> impl Strategy<Value = Event> {
    let nic = (0_u32..3).prop_map(NicId);
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let address = prop::sample::select(vec!["10.0.0.4", "10.0.0.5", "fd00::4", "fd00::5"]);
    let protocol = prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP)];
    let tuple =
        (address, any::<bool>(), protocol, 1_u16..3, 1_u16..3).prop_map(|(src, same, protocol, src_port, dst_port)| {
            let src: IpAddr = src.parse().unwrap();
            let other = if src.is_ipv4() { "10.0.0.5" } else { "fd00::5" };
            let dst = if same { src } else { other.parse().unwrap() };
            Tuple { src, dst, protocol, src_port, dst_port }
        });
    let timeout = prop::sample::select(timeouts);
    let pause = prop_oneof![4 => 0_u64..70, 2 => 500_u64..520, 1 => 1790_u64..1810];
    prop_oneof![
        4 => (nic.clone(), direction.clone(), tuple.clone()).prop_map(|(n, d, t)| Event::Follow(n, d, t)),
        4 => (nic, direction, tuple, timeout).prop_map(|(n, d, t, s)| Event::Admit(n, d, t, s)),
        2 => pause.prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn nsg_20_to_26_the_table_agrees_with_its_slow_twin(events in events(), start in 0_u64..5000) {
        let (limits, events) = events;
        let table = FlowTable::new(limits);
        let mut twin = Twin::default();
        let mut clock = start;
        for event in events {
            let now = at(clock);
            match event {
                Event::Follow(nic, direction, tuple) => {
                    let expected = twin.follow(nic, direction, &tuple, now);
                    let followed = table.follow(nic, direction, &tuple, plain(now), &FlowTerms::default());
                    prop_assert_eq!(followed == Follow::Passes, expected);
                }
                Event::Admit(nic, direction, tuple, timeout_secs) => {
                    let (of_network, had_share) = (of_network(nic, timeout_secs as u16), twin.has_share(nic, limits));
                    let is_full = twin.is_full(nic, limits);
                    let mut gone = Vec::new();
                    let room = table.reserve(nic, &of_network, now, |record| gone.push(*record));
                    prop_assert!(gone.is_empty() || !is_full && !had_share, "only where there is no room");
                    for record in &gone {
                        prop_assert!(twin.push_out(record, nic, now), "{record:?}");
                    }
                    prop_assert_eq!(room.is_ok(), !is_full && twin.has_share(nic, limits));
                    if let Ok(room) = room {
                        room.admit(direction, &tuple, Deciders::default(), plain(now), &of_network);
                        twin.admit(nic, direction, tuple, timeout_secs, now);
                    }
                }
                Event::Pass(seconds) => {
                    clock += seconds;
                    prop_assert_eq!(table.expire(at(clock), usize::MAX), twin.expire(at(clock)));
                }
            }
            prop_assert_eq!(table.len(), twin.records.len());
            for record in &twin.records {
                let found = table.find(record.nic, record.admitted, &record.tuple, at(clock));
                prop_assert_eq!(found, Some(record.view()));
            }
        }
    }
}

#[test]
fn nsg_24_a_lapsed_record_is_not_followed_even_before_it_is_swept() {
    let table = FlowTable::new(FlowLimits { per_nic: 10, total: 10 });
    admit(&table, NicId(0), 1, 240, at(0)).unwrap();
    assert!(follows(&table, NicId(0), 1, at(240)), "idle for exactly its timeout");
    assert!(!follows(&table, NicId(0), 1, at(481)));
    assert_eq!(table.len(), 1, "not swept yet");
    admit(&table, NicId(0), 1, 240, at(481)).unwrap();
    assert_eq!(table.len(), 1, "the new flow takes its place");
    let renewed = table.find(NicId(0), Direction::Outbound, &tuple(1), at(481)).unwrap();
    assert_eq!(renewed.sent, ONE, "and counts from the start");
}

#[test]
fn a_copy_is_followed_like_the_record_and_a_lapsed_one_has_none() {
    let table = FlowTable::new(FlowLimits { per_nic: 10, total: 50 });
    admit(&table, NIC, 1, 240, at(0)).unwrap();
    let copy = |port, now| {
        let scratch = FlowTable::new(FlowLimits { per_nic: 10, total: 50 });
        let copied = table.copy(NIC, Direction::Outbound, &tuple(port), now, &scratch);
        let again = table.copy(NIC, Direction::Outbound, &tuple(port), now, &scratch);
        assert_eq!((copied, scratch.len()), (again, usize::from(copied.is_some())), "once");
        (copied.map(|record| record.tuple), follows(&scratch, NIC, port, now))
    };
    assert_eq!(copy(1, at(240)), (Some(tuple(1)), true));
    assert_eq!(copy(1, at(241)), (None, false));
    assert_eq!(copy(2, at(0)), (None, false));
    assert_eq!(table.find(NIC, Direction::Outbound, &tuple(1), at(0)).map(|record| record.sent), Some(ONE));
}

#[test]
fn a_flood_reuses_what_it_pushes_out() {
    let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 400 });
    let mut ended = 0;
    for second in 0..600_u64 {
        let first = (second % 300) as u16 * 100;
        let (gone, _) = flood(&table, NicId(0), first..first + 100, at(second));
        ended += gone.len() + table.expire(at(second), 64);
    }
    assert!(ended > 10_000 && table.len() <= 300);
    let slots: usize = table.shards.iter().map(|shard| shard.lock().slots().len()).sum();
    assert!(slots <= 300, "{slots}");
    while table.expire(at(2_000), 64) > 0 {}
    assert!(table.is_empty() && table.len_of_share(Share(0)) == 0);
}

#[test]
fn a_nic_in_another_network_brings_its_records_along() {
    let table = FlowTable::new(FlowLimits { per_nic: 1_000, total: 400 });
    let of = |share| FlowTerms { share: Share(share), ..FlowTerms::default() };
    for (port, share) in [(1, 7), (2, 7), (3, 8)] {
        let room = table.reserve(NIC, &of(share), at(0), |_| {}).unwrap();
        room.admit(Direction::Outbound, &tuple(port), Deciders::default(), plain(at(0)), &of(share));
    }
    assert_eq!([7, 8].map(|share| table.len_of_share(Share(share))), [0, 3]);
    assert_eq!(table.expire(at(300), usize::MAX), 3);
    assert_eq!([7, 8].map(|share| table.len_of_share(Share(share))), [0, 0]);
}

/// With Azure's own number, and room for a second such interface.
#[test]
fn lim_09_an_interface_has_500_000_flows() {
    const FLOWS: u32 = 500_000;
    let table = FlowTable::new(FlowLimits::default());
    let admit = |nic: NicId, n: u32| {
        let flow = Tuple { src: std::net::Ipv4Addr::from_bits(n >> 16).into(), src_port: n as u16, ..tuple(0) };
        let flow = Tuple { dst: [10, 0, 0, 5].into(), ..flow };
        let room = table.reserve(nic, &terms(240), at(0), |_| {})?;
        room.admit(Direction::Outbound, &flow, Deciders::default(), plain(at(0)), &terms(240));
        Ok(())
    };
    for nic in [NicId(0), NicId(1)] {
        assert_eq!((0..FLOWS).filter_map(|n| admit(nic, n).err()).count(), 0);
        assert_eq!(admit(nic, FLOWS), Err(TableFull::Nic));
        assert_eq!(table.len_of(nic), FLOWS as usize);
    }
    assert_eq!(table.expire(at(300), usize::MAX), 2 * FLOWS as usize);
    assert!(table.is_empty());
}

#[test]
fn room_that_is_not_used_is_given_back() {
    let table = FlowTable::new(FlowLimits { per_nic: 1, total: 4 });
    drop(table.reserve(NicId(0), &terms(240), at(0), |_| {}).unwrap());
    assert!(table.is_empty());
    admit(&table, NicId(0), 1, 240, at(0)).unwrap();
}

#[test]
fn a_small_budget_reaches_every_record_in_the_end() {
    let table = FlowTable::new(FlowLimits { per_nic: 2000, total: 6000 });
    for port in 0..1000 {
        admit(&table, NicId(0), port, 4, at(0)).unwrap();
    }
    let rounds: Vec<usize> = std::iter::repeat_with(|| table.expire(at(10), 7)).take(200).collect();
    assert!(rounds.iter().all(|ended| *ended <= 7));
    assert_eq!(rounds.iter().sum::<usize>(), 1000);
    assert!(table.is_empty());
}

#[test]
fn a_busy_flow_outlives_many_rounds_of_the_wheel() {
    let table = FlowTable::new(FlowLimits { per_nic: 10, total: 10 });
    admit(&table, NicId(0), 1, 240, at(0)).unwrap();
    for seconds in (100..10_000).step_by(100) {
        assert!(follows(&table, NicId(0), 1, at(seconds)));
        assert_eq!(table.expire(at(seconds), usize::MAX), 0);
    }
    assert_eq!(table.expire(at(9_900 + 241), usize::MAX), 1);
}

#[test]
fn workers_share_the_table_and_the_counts_stay_right() {
    let table = FlowTable::new(FlowLimits { per_nic: 300, total: 1000 });
    let admitted: usize = std::thread::scope(|scope| {
        let worker = |worker: u16| {
            let table = &table;
            // Half of the ports are the next worker's too.
            move || (0..400).filter(|n| admit(table, NicId(0), worker * 200 + n, 240, at(0)).is_ok()).count()
        };
        let workers: Vec<_> = (0..4).map(|id| scope.spawn(worker(id))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(admitted >= 300, "room was refused before it was used up");
    assert_eq!(table.len(), 300);
    assert_eq!(table.expire(at(300), usize::MAX), 300);
    assert!(table.is_empty());
}

#[test]
fn a_record_stays_small() {
    assert_eq!(size_of::<Record>(), 112, "and 4 to 8 for its bucket");
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;
const NIC: NicId = NicId(0);

/// A table, its NIC's terms, and TCP segments of one connection.
struct Wire {
    table: FlowTable,
    terms: FlowTerms,
}

impl Wire {
    fn new() -> Self {
        Self { table: FlowTable::new(FlowLimits { per_nic: 10, total: 10 }), terms: FlowTerms::default() }
    }

    /// From the guest, or to it.
    fn segment(&self, direction: Direction, flags: u8, now: Timestamp) -> Follow {
        self.table.follow(NIC, direction, &Self::tuple(direction), Self::passing(flags, now), &self.terms)
    }

    fn open(&self, now: Timestamp) {
        let (out, rules) = (Direction::Outbound, Deciders::from_iter([RuleId::new(7)]));
        let room = self.table.reserve(NIC, &self.terms, now, |_| {}).unwrap();
        room.admit(out, &Self::tuple(out), rules, Self::passing(SYN, now), &self.terms);
    }

    fn close(&self, now: Timestamp) {
        assert_eq!(self.segment(Direction::Inbound, FIN, now), Follow::Passes);
        assert_eq!(self.segment(Direction::Outbound, FIN, now), Follow::Passes);
    }

    fn record(&self, now: Timestamp) -> Option<FlowRecord> {
        self.table.find(NIC, Direction::Outbound, &Self::tuple(Direction::Outbound), now)
    }

    fn passing(flags: u8, at: Timestamp) -> Passing {
        Passing { traffic: ONE, signal: Signal::from_flags(flags), ttl: 64, at }
    }

    fn tuple(direction: Direction) -> Tuple {
        match direction {
            Direction::Outbound => tuple(1),
            Direction::Inbound => tuple(1).mirrored(),
        }
    }
}

#[test]
fn nsg_24_a_closed_connection_lingers_and_goes_soon() {
    let wire = Wire::new();
    wire.open(at(0));
    wire.close(at(5));
    assert_eq!(wire.segment(Direction::Inbound, ACK, at(15)), Follow::Passes, "a last ACK that was long under way");
    assert_eq!(wire.record(at(15)).unwrap().state, FlowState::Closed);
    assert_eq!(wire.segment(Direction::Inbound, ACK, at(26)), Follow::Nothing);
    let ended: usize = (16..45).map(|second| wire.table.expire(at(second), usize::MAX)).sum();
    assert_eq!(ended, 1);
    assert!(wire.table.is_empty(), "its timer, set for minutes when it was open, has come up");
}

#[test]
fn nsg_24_an_open_connection_keeps_its_time() {
    let wire = Wire::new();
    wire.open(at(0));
    (0..=240).for_each(|second| assert_eq!(wire.table.expire(at(second), usize::MAX), 0, "after {second} s"));
    assert_eq!(wire.table.expire(at(260), usize::MAX), 1);
}

#[test]
fn nsg_21_a_syn_on_a_closed_connection_starts_a_new_flow() {
    for last in [FIN, RST] {
        let wire = Wire::new();
        wire.open(at(0));
        assert_eq!(wire.segment(Direction::Inbound, FIN, at(1)), Follow::Passes);
        assert_eq!(wire.segment(Direction::Outbound, SYN, at(1)), Follow::Passes, "repeated while it is open");
        assert_eq!(wire.segment(Direction::Outbound, last, at(1)), Follow::Passes);
        assert_eq!(wire.segment(Direction::Inbound, SYN | ACK, at(2)), Follow::Passes, "an answer starts none");
        assert_eq!(wire.segment(Direction::Outbound, SYN, at(2)), Follow::Nothing);
        wire.open(at(2));
        let renewed = wire.record(at(2)).unwrap();
        assert_eq!((renewed.state, renewed.begun, renewed.sent), (FlowState::SynSent, at(2), ONE));
        assert_eq!(wire.table.len(), 1, "in the place of the old one");
    }
}

#[test]
fn nsg_23_a_flow_is_reviewed_once_for_each_set_of_rules() {
    let mark = |n| Some(RulesMark(std::num::NonZero::new(n).unwrap()));
    let mut wire = Wire::new();
    let answer = |wire: &Wire| wire.segment(Direction::Inbound, ACK, at(1));
    let review = |wire: &Wire, refused| {
        let (tuple, passing) = (Wire::tuple(Direction::Inbound), Wire::passing(ACK, at(1)));
        wire.table.review(NIC, Direction::Inbound, &tuple, passing, &wire.terms, refused)
    };
    wire.open(at(0));
    wire.terms.inbound_rules = mark(1);
    assert_eq!(answer(&wire), Follow::Passes, "rules of the other direction do not concern it");
    wire.terms.outbound_rules = mark(2);
    assert_eq!(answer(&wire), Follow::Outdated(Direction::Outbound), "turned on");
    let allowed = |rule| Ok(Deciders::from_iter([RuleId::new(rule)]));
    assert_eq!(review(&wire, allowed(8)), None);
    assert!(wire.record(at(1)).unwrap().rules.iter().eq([RuleId::new(7)]), "by which it began");
    assert_eq!(answer(&wire), Follow::Passes);
    wire.terms.outbound_rules = mark(3);
    let (rule, refused) = (RuleId::new(9), Deciders::from_iter([RuleId::new(9)]));
    let before = wire.record(at(1)).unwrap().received;
    let ended = review(&wire, Err(refused)).unwrap();
    assert_eq!(ended.rules.iter().collect::<Vec<_>>(), [RuleId::new(7)], "as it was");
    assert_eq!(answer(&wire), Follow::Refused(Direction::Outbound), "whichever way it goes");
    let record = wire.record(at(1)).unwrap();
    assert!(record.refused && record.rules.iter().eq([rule]));
    assert_eq!(record.received, before, "what is refused is not received");
    assert_eq!(wire.segment(Direction::Inbound, SYN, at(1)), Follow::Nothing, "a new connection may begin");
    wire.terms.outbound_rules = mark(2);
    assert_eq!(answer(&wire), Follow::Outdated(Direction::Outbound));
    review(&wire, allowed(8));
    assert_eq!(answer(&wire), Follow::Passes, "rules that allow it bring it back");
    assert!(wire.record(at(1)).unwrap().rules.iter().eq([RuleId::new(8)]), "and are named");
    wire.terms.outbound_rules = None;
    assert_eq!(answer(&wire), Follow::Passes, "turned off");
}

#[test]
fn nsg_23_the_end_of_a_refused_flow_is_told_once() {
    let mut wire = Wire::new();
    wire.open(at(0));
    wire.terms.outbound_rules = Some(RulesMark(std::num::NonZero::new(1).unwrap()));
    let (tuple, refused) = (Wire::tuple(Direction::Outbound), Err(Deciders::default()));
    let review = |wire: &Wire, now| {
        wire.table.review(NIC, Direction::Outbound, &tuple, Wire::passing(ACK, now), &wire.terms, refused)
    };
    assert!(review(&wire, at(1)).is_some(), "reported when it is refused");
    assert!(review(&wire, at(1)).is_none(), "and not of each packet");
    let mut reported = 0;
    let ended: usize = (1..300).map(|second| wire.table.sweep(at(second), usize::MAX, |_| reported += 1)).sum();
    assert_eq!((ended, reported), (1, 0));
    // Nor when a new connection takes its place.
    wire.open(at(300));
    review(&wire, at(300));
    let room = wire.table.reserve(NIC, &wire.terms, at(301), |_| {}).unwrap();
    let took = room.admit(Direction::Outbound, &tuple, Deciders::default(), Wire::passing(SYN, at(301)), &wire.terms);
    assert_eq!(took, None);
}

#[test]
fn pages_show_every_record_once_while_others_come_and_go() {
    let table = FlowTable::new(FlowLimits { per_nic: 50_000, total: 150_000 });
    (0..20_000).for_each(|port| admit(&table, NIC, port, 240, at(0)).unwrap());
    (20_000..30_000).for_each(|port| admit(&table, NIC, port, 10, at(0)).unwrap());
    let mut seen = Vec::new();
    let mut cursor = Some(Cursor::default());
    let mut pages = 0_u16;
    while let Some(from) = cursor {
        cursor = table.page(from, at(5), &mut seen);
        pages += 1;
        admit(&table, NIC, 30_000 + pages, 240, at(5)).unwrap();
        table.expire(at(12), 20);
    }
    let mut lasting: Vec<u16> = seen.iter().map(|record| record.tuple.src_port).filter(|port| *port < 20_000).collect();
    lasting.sort_unstable();
    assert!(lasting.into_iter().eq(0..20_000));
    seen.clear();
    table.page(Cursor::default(), at(1000), &mut seen);
    assert!(seen.is_empty(), "lapsed, though not swept");
}
