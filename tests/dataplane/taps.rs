//! Taps on a worker's packets: traces and captures, what they are told and what they leave alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use vnet::dataplane::{DropReason, Pattern, Step};
use vnet::wire::{Protocol, build};
use vnet::worker::{CaptureWatch, Captured, SendError, Traced, Watch};

use crate::worker::{A, B, Bench, datagram_from_port, snapshot, unfinished, whole};

impl Bench {
    fn watch(&self, pattern: Pattern) -> Watch {
        Watch::new(Arc::clone(&self.tables.taps), pattern)
    }
}

fn everything() -> Pattern {
    Pattern::All(Vec::new())
}

fn ports(watch: &Watch) -> Vec<u16> {
    watch.records().map(|traced| traced.leg.packet().unwrap().tuple.src_port).collect()
}

#[test]
fn a_traced_leg_reports_the_packet_its_place_and_the_decision() {
    let mut bench = Bench::new();
    bench.send(datagram_from_port(1));
    let watch = bench.watch(everything());
    bench.send(datagram_from_port(2));
    let traced: Vec<Traced> = watch.records().collect();
    assert_eq!(traced.len(), 1, "only what came since");
    let Traced { generation, ingress, leg, .. } = &traced[0];
    assert_eq!((*generation, *ingress, leg.dropped()), (1, A, None));
    assert_eq!(leg.packet().unwrap().to_string(), "10.1.0.4:2 > 10.2.0.4:53 udp, 33 bytes");
    assert!(matches!(leg.steps(), [Step::Sent { .. }, .., Step::Delivered { port: B }]), "{:?}", leg.steps());
    drop(watch);
    assert_eq!(bench.send(datagram_from_port(3)).frames, 1);
    bench.assert_counters_add_up();
}

#[test]
fn each_trace_gets_the_packets_of_its_filter() {
    let mut bench = Bench::new();
    let all = bench.watch(everything());
    let dropped = bench.watch(Pattern::Dropped);
    let mut changing = bench.watch(Pattern::Not(Box::new(everything())));
    bench.send(datagram_from_port(1));
    *bench.b.send_error.lock().unwrap() = Some(SendError::Full);
    bench.send(datagram_from_port(2));
    assert_eq!((ports(&all), ports(&changing)), (vec![1, 2], vec![]));
    let full = dropped.records().next().unwrap().leg;
    assert_eq!((full.packet().unwrap().tuple.src_port, full.dropped()), (2, Some(DropReason::QueueFull)));
    changing.change(everything());
    drop(all);
    bench.send(datagram_from_port(3));
    assert_eq!((ports(&dropped), ports(&changing)), (vec![3], vec![3]));
}

#[test]
fn bytes_that_are_no_packet_are_traced_too() {
    let mut bench = Bench::new();
    let watch = bench.watch(Pattern::DroppedFor(DropReason::Malformed));
    // One before, whose place they take.
    bench.send(datagram_from_port(1));
    bench.send(vec![0; 3]);
    bench.send(whole(&[0x45; 12]));
    let traced: Vec<Traced> = watch.records().collect();
    assert_eq!(traced.len(), 2);
    assert!(traced.iter().all(|traced| traced.leg.packet().is_none()));
}

/// A flood is counted, not waited for; what is told is what came first.
#[test]
fn packets_beyond_the_room_are_counted() {
    let mut bench = Bench::new();
    let mut watch = bench.watch(everything());
    for port in 0..1000 {
        bench.send(datagram_from_port(1 + port));
    }
    assert_eq!(bench.b.outgoing.lock().unwrap().len(), 1000, "each went its way");
    let told = ports(&watch);
    assert_eq!(told, (1..=told.len() as u16).collect::<Vec<_>>());
    assert_eq!(watch.missed() + told.len() as u64, 1000);
    assert_eq!(watch.missed(), 0, "told once");
    bench.send(datagram_from_port(7));
    assert_eq!(ports(&watch), [7]);
}

/// Datagrams are not held back during a trace: each is seen with its own fate, and in order.
#[test]
fn traced_datagrams_are_not_joined() {
    let mut bench = Bench::new();
    let burst = |bench: &mut Bench| {
        bench.a.incoming.lock().unwrap().extend((0..64).map(|n| unfinished(5000, &[n; 100])));
        assert_eq!(bench.batch().frames, 64);
        bench.b.outgoing.lock().unwrap().drain(..).count()
    };
    burst(&mut bench);
    assert!(burst(&mut bench) < 64, "a second burst is joined");
    let watch = bench.watch(everything());
    assert_eq!(burst(&mut bench), 64);
    assert_eq!(watch.records().count(), 64);
    drop(watch);
    let others = bench.watch(Pattern::Protocol(Protocol::TCP));
    assert!(burst(&mut bench) < 64, "no trace wants them");
    assert_eq!(others.records().count(), 0);
    // Where they go is known once they are decided.
    let dropped = bench.watch(Pattern::Dropped);
    assert_eq!(burst(&mut bench), 64);
    assert_eq!(dropped.records().count(), 0);
    bench.assert_counters_add_up();
}

/// A capture waits for the end of a batch: it has what became of each, in the order in which they came.
#[test]
fn captured_datagrams_are_joined_and_a_train_that_is_lost_is_shown_as_dropped() {
    let mut bench = Bench::new();
    let burst = |bench: &mut Bench| {
        let mixed = (0..64).map(|n| unfinished(5000 + u16::from(n % 3), &[n; 100]));
        bench.a.incoming.lock().unwrap().extend(mixed);
        assert_eq!(bench.batch().frames, 64);
        bench.b.outgoing.lock().unwrap().drain(..).count()
    };
    let mut capture = CaptureWatch::new(&bench.tables, everything(), 1000);
    let mut captured = || -> Vec<(u8, Option<DropReason>)> {
        let packets = capture.take();
        let dropped = |packet: &Captured<'_>| packets.decisions()[packet.decision].leg.dropped();
        packets.iter().map(|packet| (*packet.as_sent().1.concat().last().unwrap(), dropped(&packet))).collect()
    };
    assert_eq!(burst(&mut bench), 64, "what came before tells whether holding pays");
    assert!(burst(&mut bench) < 10);
    let twice = (0..64).chain(0..64).map(|n| (n, None)).collect::<Vec<_>>();
    assert_eq!(captured(), twice);
    *bench.b.send_error.lock().unwrap() = Some(SendError::Full);
    assert_eq!(burst(&mut bench), 0);
    assert_eq!(captured(), (0..64).map(|n| (n, Some(DropReason::QueueFull))).collect::<Vec<_>>());
    assert_eq!(bench.drops(DropReason::QueueFull), 64);
    *bench.b.send_error.lock().unwrap() = None;
    assert!(burst(&mut bench) < 10);
    assert!(captured().iter().all(|(_, dropped)| dropped.is_none()));
    bench.assert_counters_add_up();
}

/// A decision is kept once for packets that it fits, and each packet has its own.
#[test]
fn captured_packets_share_what_was_decided_and_nothing_else() {
    let mut bench = Bench::new();
    let mut capture = CaptureWatch::new(&bench.tables, everything(), 1000);
    let to = |last: u8| {
        let (src, dst) = ("10.1.0.4:1000".parse().unwrap(), format!("10.{}.0.4:53", 2 + last % 7).parse().unwrap());
        whole(&build::udp(src, dst, &[last; 20]))
    };
    for round in 0..2 {
        bench.a.incoming.lock().unwrap().extend((0..64).map(to));
        assert_eq!(bench.batch().frames, 64);
        let packets = capture.take();
        let mut used = BTreeSet::new();
        for (packet, last) in packets.iter().zip(0u8..) {
            let decision = &packets.decisions()[packet.decision].leg;
            let destination = decision.packet().unwrap().tuple.dst.to_string();
            assert_eq!(destination, format!("10.{}.0.4", 2 + last % 7));
            assert_eq!(decision.dropped().is_none(), last % 7 == 0, "{destination}");
            assert_eq!(packet.as_sent().1.concat().last(), Some(&last));
            used.insert(packet.decision);
        }
        assert_eq!((packets.iter().count(), used.len()), (64, packets.decisions().len()), "round {round}");
    }
    // One flow at a time is the rule: after its first packet all have one decision, until there are other tables or steps.
    let again = |bench: &mut Bench| {
        bench.a.incoming.lock().unwrap().extend((0..32).map(|_| to(7)));
        assert_eq!(bench.batch().frames, 32);
    };
    again(&mut bench);
    assert_eq!(capture.take().decisions().len(), 1);
    again(&mut bench);
    bench.tables.snapshot.store(snapshot("", 2));
    again(&mut bench);
    *bench.b.send_error.lock().unwrap() = Some(SendError::Full);
    again(&mut bench);
    let packets = capture.take();
    let seen = packets.iter().map(|packet| {
        let Traced { generation, leg, .. } = &packets.decisions()[packet.decision];
        (*generation, leg.dropped())
    });
    let expected = [(1, None), (2, None), (2, Some(DropReason::QueueFull))].map(|decision| [decision; 32]);
    assert_eq!(seen.collect::<Vec<_>>(), expected.concat());
}
