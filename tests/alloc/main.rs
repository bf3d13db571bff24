//! The packet path allocates nothing once warm: an allocator that counts says so.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod lab;
mod tunnels;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use vnet::dataplane::DropReason::{
    NextHopUnreachable, NoEndpoint, NotForwarding, NsgInbound, NsgOutbound, SpoofedSource,
};
use vnet::dataplane::Verdict::{self, Drop, Forward};
use vnet::dataplane::{
    Deciders, Direction, FlowLimits, FlowTable, FlowTerms, Flows, IdleReset, NatLimits, NatTable, NicId, Outbound,
    Passing, Pattern, PortId, PortPool, Ports, Signal, TcpSegment, Timestamp, Traffic,
};
use vnet::wire::{Offload, Packet, Protocol, Tuple, build};
use vnet::worker::{Device, FlowEvents, Forwarder, Received, RecvError, SendError, Tables, Tally, Watch};

use lab::Lab;
use tunnels::{APP, FIXED, SHARING};

const WEB: &str = "10.1.0.4:40000";
const DB: &str = "10.2.0.4:443";
const WEB_V6: &str = "[fd00:1::4]:40000";
const DB_V6: &str = "[fd00:2::4]:443";

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_million_mappings_take_fewer_than_sixty_bytes_each() {
    const MAPPINGS: usize = 1_000_000;
    /// Flows to each destination: fewer than one address may have (NAT-02).
    const TO_ONE: usize = 40_000;
    let ports = Box::new([Ports::all([203, 0, 113, 1].into())]);
    let pool = PortPool { ports, preallocated: false, echoes: false, tcp_idle_secs: 240, idle_reset: IdleReset::None };
    let (bytes, table) = held(|| {
        let table = NatTable::new(NatLimits::default());
        for nth in 0..MAPPINGS {
            let (dst, src_port) = ((nth / TO_ONE) as u8, (nth % TO_ONE) as u16);
            let flow = Tuple {
                src: [10, 0, 0, 4].into(),
                dst: [198, 18, 0, dst].into(),
                protocol: Protocol::UDP,
                src_port,
                dst_port: 53,
            };
            let (segment, now) = (TcpSegment::NONE, Timestamp(1));
            table.open(&Outbound { nic: NicId(0), flow: &flow, pool: &pool, segment, now }).unwrap().unwrap();
        }
        table
    });
    assert_eq!(table.len(), MAPPINGS);
    assert!(bytes < 60 * MAPPINGS, "{bytes}");
}

#[test]
fn a_million_flow_records_take_at_most_120_bytes_each() {
    const RECORDS: u32 = 1_000_000;
    let flow = |n: u32| Tuple {
        src: [10, 0, (n >> 16) as u8, 4].into(),
        dst: [10, 1, 0, 4].into(),
        protocol: Protocol::UDP,
        src_port: n as u16,
        dst_port: 53,
    };
    let (traffic, now) = (Traffic { packets: 1, bytes: 100 }, Timestamp(1));
    let (passing, terms) = (Passing { traffic, signal: Signal::NONE, ttl: 64, at: now }, FlowTerms::default());
    let nic = |n| NicId(n % 2);
    let (bytes, table) = held(|| {
        let table = FlowTable::new(FlowLimits::default());
        for n in 0..RECORDS {
            let room = table.reserve(nic(n), &terms, now, |_| {}).unwrap();
            room.admit(Direction::Outbound, &flow(n), Deciders::default(), passing, &terms);
        }
        table
    });
    assert_eq!(table.len(), RECORDS as usize);
    assert!(bytes <= 120 * RECORDS as usize, "{bytes}");
    let found = |n| table.find(nic(n), Direction::Outbound, &flow(n), now).is_some();
    assert!((0..RECORDS).step_by(997).all(found), "each is there");
    assert!(table.reserve(nic(0), &terms, now, |_| {}).is_err(), "and no more than that");
}

#[test]
fn packets_of_known_flows() {
    let lab = Lab::new(400, 100);
    let mut traffic = vec![
        (Lab::WEB, build::tcp(addr(WEB), addr(DB), 0x02, b""), Forward(Lab::DB)),
        (Lab::DB, build::tcp(addr(DB), addr(WEB), 0x12, b""), Forward(Lab::WEB)),
        (Lab::WEB, build::udp(addr(WEB), addr(DB), b"query"), Forward(Lab::DB)),
        (Lab::WEB, build::tcp(addr(WEB_V6), addr(DB_V6), 0x02, b""), Forward(Lab::DB)),
        (Lab::WEB, build::icmp_echo(addr(WEB).ip(), addr(DB).ip(), 7, 1, false), Forward(Lab::DB)),
        (Lab::DB, build::icmp_echo(addr(DB).ip(), addr(WEB).ip(), 7, 1, true), Forward(Lab::WEB)),
        (Lab::WEB, build::icmp_echo(addr(WEB_V6).ip(), addr(DB_V6).ip(), 7, 1, false), Forward(Lab::DB)),
        (Lab::WEB, build::raw(addr(WEB).ip(), addr(DB).ip(), Protocol::ESP.0, &[0; 32]), Forward(Lab::DB)),
    ];
    let query = build::udp(addr(WEB), addr(DB), b"query");
    traffic.push((Lab::DB, build::icmp_unreachable(addr(DB).ip(), &query), Forward(Lab::WEB)));
    check(&lab, &mut traffic);
}

#[test]
fn packets_that_are_dropped() {
    let lab = Lab::new(400, 100);
    let mut traffic = [
        (Lab::WEB, build::tcp(addr(WEB), addr("10.2.0.4:25"), 0x02, b""), Drop(NsgInbound)),
        (Lab::WEB, build::tcp(addr(WEB_V6), addr("[fd00:2::4]:25"), 0x02, b""), Drop(NsgInbound)),
        (Lab::WEB, build::udp(addr(WEB), addr("10.100.7.1:53"), b"query"), Drop(NsgOutbound)),
        (Lab::WEB, build::udp(addr(WEB), addr("10.2.0.77:53"), b"query"), Drop(NoEndpoint)),
        (Lab::WEB, build::udp(addr(DB), addr(WEB), b"query"), Drop(SpoofedSource)),
    ];
    check(&lab, &mut traffic);
}

/// One appliance does not forward, the other's address is unused.
#[test]
fn packets_of_flows_that_are_spread() {
    let lab = Lab::new(400, 100);
    let from = |port| SocketAddr::new(addr(WEB).ip(), port);
    let packets = (0..20).map(|n| build::udp(from(40_000 + n), addr("10.99.0.4:53"), b"query"));
    let mut traffic: Vec<_> = packets.map(|mut packet| (lab.send(Lab::WEB, &mut packet), packet)).collect();
    for expected in [Drop(NotForwarding), Drop(NextHopUnreachable)] {
        assert!(traffic.iter().any(|(verdict, _)| *verdict == expected), "{expected:?}");
    }
    check(&lab, &mut traffic.drain(..).map(|(verdict, packet)| (Lab::WEB, packet, verdict)).collect::<Vec<_>>());
}

/// Load balancers and NAT gateways: what goes, and what comes back.
#[test]
fn packets_of_flows_that_are_translated() {
    let lab = Lab::translating();
    let (client, frontend, backend) = (addr("10.1.0.4:40000"), addr("10.1.0.100:80"), addr("10.1.0.5:8080"));
    let (nat, far) = (addr("10.1.1.4:40000"), addr("198.18.0.1:443"));
    let traffic = [
        (Lab::CLIENT, build::tcp(client, frontend, 0x02, b""), Lab::BACKEND),
        (Lab::BACKEND, build::tcp(backend, client, 0x12, b""), Lab::CLIENT),
        (Lab::CLIENT, build::udp(client, frontend, b"query"), Lab::BACKEND),
        (Lab::BACKEND, build::udp(backend, client, b"answer"), Lab::CLIENT),
        (Lab::NATTED, build::tcp(nat, far, 0x02, b""), Lab::INTERNET),
        (Lab::NATTED, build::udp(nat, far, b"query"), Lab::INTERNET),
    ];
    for (from, bytes, to) in traffic {
        let mut packet = bytes.clone();
        assert_eq!(lab.send(from, &mut packet), Forward(to));
        let answer = (to == Lab::INTERNET).then(|| {
            let tuple = *Packet::parse(&mut packet.clone(), Offload::default()).unwrap().tuple();
            let [src, dst] = [(tuple.dst, tuple.dst_port), (tuple.src, tuple.src_port)].map(SocketAddr::from);
            if bytes[9] == 6 { build::tcp(src, dst, 0x12, b"") } else { build::udp(src, dst, b"answer") }
        });
        let mut both = vec![(from, bytes, to)];
        both.extend(answer.map(|answer| (Lab::INTERNET, answer, Lab::NATTED)));
        for (from, original, to) in both {
            check_rewritten(&lab, from, &original, to);
        }
    }
}

/// Over tunnels with address translation at both ends: address for address, port for port, and flows that share an
/// address; pieces of datagrams, and errors.
#[test]
fn packets_over_tunnels_that_translate() {
    let lab = tunnels::lab();
    let (app, fixed) = (addr("10.0.1.4:40000"), addr("172.30.2.10:443"));
    let (sharing, known) = (addr("10.0.1.10:40000"), addr("172.30.1.4:443"));
    let query = build::udp(app, fixed, &[0; 64]);
    let first = fragment(query[..20 + 32].to_vec(), 0, true);
    let last = fragment([&query[..20], &query[20 + 32..]].concat(), 32, false);
    let asked = build::udp(addr("10.0.1.10:443"), addr("172.30.1.4:40000"), b"answer");
    let traffic = [
        (APP, build::tcp(app, fixed, 0x02, b""), FIXED),
        (FIXED, build::tcp(addr("10.0.1.10:443"), addr("172.30.1.4:40000"), 0x12, b""), APP),
        (APP, build::tcp(app, addr("172.30.4.10:8080"), 0x02, b""), FIXED),
        (APP, build::icmp_echo(app.ip(), fixed.ip(), 7, 1, false), FIXED),
        (APP, first, FIXED),
        (APP, last, FIXED),
        (FIXED, asked.clone(), APP),
        (APP, build::icmp_unreachable(app.ip(), &build::udp(fixed, app, b"answer")), FIXED),
        (SHARING, build::tcp(sharing, known, 0x02, b""), APP),
        (SHARING, build::udp(sharing, known, b"query"), APP),
        (SHARING, build::icmp_echo(sharing.ip(), known.ip(), 7, 1, false), APP),
    ];
    for (from, original, to) in traffic {
        let mut packet = original.clone();
        assert_eq!(lab.send(from, &mut packet), Forward(to));
        assert_ne!(packet, original, "it has other names now");
        check_rewritten(&lab, from, &original, to);
        if from == SHARING && original[9] == Protocol::UDP.0 {
            let tuple = *Packet::parse(&mut packet, Offload::default()).unwrap().tuple();
            let [src, dst] = [(tuple.dst, tuple.dst_port), (tuple.src, tuple.src_port)].map(SocketAddr::from);
            check_rewritten(&lab, APP, &build::udp(src, dst, b"answer"), SHARING);
        }
    }
}

#[test]
fn fragments() {
    let lab = Lab::new(400, 100);
    let whole = build::udp(addr(WEB), addr(DB), &[0; 64]);
    let first = fragment(whole[..20 + 32].to_vec(), 0, true);
    let last = fragment([&whole[..20], &whole[20 + 32..]].concat(), 32, false);
    check(&lab, &mut [(Lab::WEB, first, Forward(Lab::DB)), (Lab::WEB, last, Forward(Lab::DB))]);
}

/// Records that ended make room for new ones.
#[test]
fn first_packets_of_new_flows() {
    let mut lab = Lab::new(400, 100);
    let from = |port| SocketAddr::new(addr(WEB).ip(), port);
    let mut packets: Vec<_> = (0..10_000).map(|n| build::udp(from(20_000 + n), addr(DB), b"query")).collect();
    let mut send_all = |lab: &Lab| {
        for packet in &mut packets {
            assert_eq!(lab.send(Lab::WEB, packet), Forward(Lab::DB));
        }
    };
    send_all(&lab);
    lab.forget_flows();
    lab.forget_paths();
    assert_eq!(lab.flows.records.len(), 0);

    assert_eq!(allocations(|| send_all(&lab)), 0);
    assert_eq!(lab.flows.records.len(), 20_000, "one at each end");
    assert_eq!(allocations(|| lab.forget_flows()), 0);
}

/// Through a worker's batch: without a trace, with a reader that takes what comes, and with one that takes nothing.
#[test]
fn batches_traced_and_not() {
    let lab = Lab::new(400, 100);
    let packet = build::tcp(addr(WEB), addr(DB), 0x10, b"");
    let device = Arc::new(Endless([&Offload::default().encode(), &packet[..]].concat()));
    let snapshot = Arc::new(ArcSwap::new(Arc::clone(&lab.snapshot)));
    let flows = Arc::new(Flows::new(FlowLimits::default()));
    let events = FlowEvents::default();
    let (tables, tally) =
        (Tables { snapshot, flows, taps: Arc::default(), events, carried: None }, Arc::new(Tally::new(2)));
    let mut forwarder = Forwarder::new(&tables, vec![Arc::clone(&device), device], Arc::clone(&tally));
    let mut batches = || (0..10).for_each(|_| assert_eq!(forwarder.batch(Lab::WEB, Timestamp(1)).frames, 64));
    batches();
    assert_eq!(allocations(&mut batches), 0);
    let pattern = Pattern::All(vec![Pattern::Protocol(Protocol::TCP), Pattern::Not(Box::new(Pattern::Dropped))]);
    let taking = Watch::new(Arc::clone(&tables.taps), pattern.clone());
    let mut idle = Watch::new(Arc::clone(&tables.taps), pattern);
    batches();
    let mut taken = taking.records().count();
    assert_eq!(
        allocations(|| {
            batches();
            taken += taking.records().count();
            batches();
        }),
        0
    );
    assert!(taken > 0 && idle.missed() > 640, "both were asked");
    drop((taking, idle));
    batches();
    assert_eq!(allocations(&mut batches), 0);
    assert_eq!(tally.port(Lab::WEB).rx_packets(), 70 * 64);
}

/// A device that has one frame for ever, and takes all.
struct Endless(Vec<u8>);

impl Device for Endless {
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError> {
        frame[..self.0.len()].copy_from_slice(&self.0);
        Ok(self.0.len().into())
    }

    fn send(&self, _: &[u8]) -> Result<(), SendError> {
        Ok(())
    }

    fn takes_udp_super_packets(&self) -> bool {
        true
    }
}

/// A packet that is another one when it arrives takes no memory on the way.
fn check_rewritten(lab: &Lab, from: PortId, original: &[u8], to: PortId) {
    let mut packet = original.to_vec();
    let allocated = allocations(|| {
        for _ in 0..100 {
            packet.copy_from_slice(original);
            assert_eq!(lab.send(from, &mut packet), Forward(to));
        }
    });
    assert_eq!(allocated, 0, "from {from:?} to {to:?}");
}

/// Each packet has its verdict the first time, and again without an allocation.
fn check(lab: &Lab, traffic: &mut [(PortId, Vec<u8>, Verdict)]) {
    for (from, packet, verdict) in traffic.iter_mut() {
        assert_eq!(lab.send(*from, packet), *verdict);
    }
    for (from, packet, verdict) in traffic {
        let allocated = allocations(|| {
            for _ in 0..100 {
                assert_eq!(lab.send(*from, packet), *verdict);
            }
        });
        assert_eq!(allocated, 0, "for a packet that ends as {verdict:?}");
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Makes an IPv4 packet a fragment of datagram 1.
fn fragment(mut packet: Vec<u8>, offset: u16, more: bool) -> Vec<u8> {
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[4..6].copy_from_slice(&1_u16.to_be_bytes());
    packet[6..8].copy_from_slice(&(offset / 8 + (u16::from(more) << 13)).to_be_bytes());
    packet[10..12].fill(0);
    let sum: u32 = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

// ---- The allocator ----

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    /// By thread, since tests run side by side.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are in use.
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// How many more bytes this thread has than before, while what `run` gives is held.
fn held<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = BYTES.get();
    let made = run();
    (BYTES.get().wrapping_sub(before), made)
}

/// How many times this thread asked for memory meanwhile.
fn allocations(run: impl FnOnce()) -> usize {
    let before = COUNT.get();
    run();
    COUNT.get() - before
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: the system's allocator, which upholds the contract, gets every call as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        BYTES.set(BYTES.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        BYTES.set(BYTES.get().wrapping_sub(layout.size()).wrapping_add(size));
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.realloc(at, layout, size) }
    }
}
