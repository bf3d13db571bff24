//! Which flows a worker offers to the kernel (root: programs are loaded): its devices are in memory, the kernel's map is real.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use vnet::compile::compile;
use vnet::config;
use vnet::dataplane::{FlowLimits, Flows, Pattern, Timestamp};
use vnet::model::Learned;
use vnet::sys::clock::monotonic_nanos;
use vnet::sys::flow_cache::{Flow, FlowCache, FlowKey};
use vnet::wire::build;
use vnet::worker::{
    CaptureWatch, Carried, Device, FlowEvents, Forwarder, KernelPort, Received, RecvError, SendError, Tables, Tally,
    Watch,
};

use crate::worker::{A, Memory, whole};

const TEXT: &str = "
name: two
emulation: {platformServices: false}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s}]}
  - {name: b, networkInterfaces: [{subnet: v/s}]}
";

/// A queue in memory of a port that the kernel knows, while it is up.
struct Known {
    memory: Memory,
    index: u32,
    up: AtomicBool,
}

impl Device for Known {
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError> {
        self.memory.recv(frame)
    }

    fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.memory.send(frame)
    }

    fn takes_udp_super_packets(&self) -> bool {
        false
    }

    fn kernel_port(&self) -> Option<KernelPort> {
        self.up.load(Relaxed).then_some(KernelPort { index: self.index, guest: [2, 0, 0, 0, 0, 7] })
    }
}

struct Bench {
    cache: Arc<FlowCache>,
    carried: Arc<Carried>,
    tables: Tables,
    devices: [Arc<Known>; 2],
    forwarder: Forwarder<Known>,
    now: AtomicU64,
}

impl Bench {
    /// None where programs cannot be loaded.
    fn new() -> Option<Self> {
        let loaded = FlowCache::load();
        assert!(loaded.is_ok() || std::env::var("CI").is_err(), "{:?}", loaded.err());
        let cache = Arc::new(loaded.ok()?);
        let network = config::load(TEXT, "two.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network;
        let snapshot = Arc::new(ArcSwap::new(compile(&network, &Learned::default(), 1).snapshot));
        let (flows, taps, events) =
            (Arc::new(Flows::new(FlowLimits::default())), Arc::default(), FlowEvents::default());
        let (of_cache, of_tables) = (Arc::clone(&cache), Arc::clone(&snapshot));
        let carried =
            Carried::start(of_cache, of_tables, Arc::clone(&flows), Arc::clone(&taps), events.clone()).unwrap();
        let carried = Arc::new(carried);
        let tables = Tables { snapshot, flows, taps, events, carried: Some(Arc::clone(&carried)) };
        let device = |index| Arc::new(Known { memory: Memory::default(), index, up: AtomicBool::new(true) });
        let devices = [device(11), device(12)];
        let forwarder = Forwarder::new(&tables, devices.to_vec(), Arc::new(Tally::new(2)));
        Some(Self { cache, carried, tables, devices, forwarder, now: AtomicU64::new(monotonic_nanos()) })
    }

    fn send(&mut self, packet: &[u8]) {
        self.devices[0].memory.incoming.lock().unwrap().push_back(whole(packet));
        // A flow that was offered may be offered again after a while.
        let now = self.now.fetch_add(20_000_000, Relaxed);
        assert_eq!(self.forwarder.batch(A, Timestamp(now)).frames, 1);
    }

    /// What the kernel has of a flow of `a`'s.
    fn entry(&self, protocol: u8, src_port: u16) -> Option<Flow> {
        self.carried.read();
        let octets = |last| {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&[10, 1, 1, last]);
            octets
        };
        let (src_port, dst_port) = (src_port.to_be_bytes(), 53_u16.to_be_bytes());
        let (src, dst) = (octets(4), octets(5));
        self.cache.find(&FlowKey { port: 11, version: 4, protocol, src_port, dst_port, zero: [0; 2], src, dst })
    }

    fn datagrams(&mut self, src_port: u16, count: usize) -> Option<Flow> {
        let packet = build::udp(format!("10.1.1.4:{src_port}").parse().unwrap(), "10.1.1.5:53".parse().unwrap(), b"x");
        (0..count).for_each(|_| self.send(&packet));
        self.entry(17, src_port)
    }
}

fn everything() -> Pattern {
    Pattern::All(Vec::new())
}

#[test]
fn a_flow_is_offered_once_a_few_of_its_packets_have_followed_its_record() {
    let Some(mut bench) = Bench::new() else { return };
    assert_eq!(bench.datagrams(1000, 4), None, "the first makes the record");
    let flow = bench.datagrams(1000, 1).unwrap();
    assert_eq!((flow.out, flow.ttl, flow.copies, flow.translated, flow.granted), (12, 64, 0, 0, 0));
    assert_eq!((&flow.ethernet[..6], flow.epoch), (&[2, 0, 0, 0, 0, 7][..], bench.cache.epoch()));
    // What begins or ends a connection stays with the worker.
    let segment = |flags| build::tcp("10.1.1.4:1000".parse().unwrap(), "10.1.1.5:53".parse().unwrap(), flags, b"");
    (0..10).for_each(|_| bench.send(&segment(0x02)));
    assert_eq!(bench.entry(6, 1000), None);
    (0..10).for_each(|_| bench.send(&segment(0x10)));
    assert!(bench.entry(6, 1000).is_some());
}

#[test]
fn a_flow_that_a_tap_wants_or_a_port_that_is_down_is_not_offered() {
    let Some(mut bench) = Bench::new() else { return };
    let trace = Watch::new(Arc::clone(&bench.tables.taps), everything());
    assert_eq!(bench.datagrams(1000, 10), None, "each packet is traced");
    drop(trace);
    assert!(bench.datagrams(1000, 10).is_some());
    let other = Watch::new(Arc::clone(&bench.tables.taps), Pattern::Port(vnet::dataplane::Side::Src, 9, 9));
    assert!(bench.datagrams(1001, 10).is_some(), "a trace of other packets");
    drop(other);
    let capture = CaptureWatch::new(&bench.tables, everything(), 96);
    let copied = bench.datagrams(1002, 10).unwrap();
    assert_eq!((copied.copies > 0, copied.most), (true, 96), "a capture gets the kernel's copies");
    drop(capture);
    for port in [0, 1] {
        bench.devices[port].up.store(false, Relaxed);
        assert_eq!(bench.datagrams(1003, 10), None, "port {port} is down");
        bench.devices[port].up.store(true, Relaxed);
    }
    *bench.devices[1].memory.send_error.lock().unwrap() = Some(SendError::Full);
    assert_eq!(bench.datagrams(1004, 10), None, "none of them arrived");
    *bench.devices[1].memory.send_error.lock().unwrap() = None;
    assert!(bench.datagrams(1003, 10).is_some() && bench.datagrams(1004, 10).is_some());
}
