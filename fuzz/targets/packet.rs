//! Any input from a guest: a lab's port, an offload header and bytes, packet after packet through one set of tables.
//!
//! Each packet ends as forwarded or dropped. The fast path and the full walk must give the same verdict. Each input meets
//! empty tables: making new ones would take most of the time, so a day passes after each input, and all flows expire.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use vnet::compile::compile;
use vnet::config;
use vnet::dataplane::{
    FlowLimits, FlowTable, Flows, FragmentTable, LoopTable, NatLimits, NatTable, Paths, PortId, Quiet, Snapshot,
    Timestamp, Verdict, process,
};
use vnet::model::Learned;
use vnet::wire::{Offload, Packet};

const LABS: [&str; 5] = [
    include_str!("../../config/nsg-tiers.yaml"),
    include_str!("../../config/load-balancer.yaml"),
    include_str!("../../config/dual-stack.yaml"),
    include_str!("../../config/internet.yaml"),
    include_str!("../../config/public-load-balancer.yaml"),
];
const LIMITS: FlowLimits = FlowLimits { per_nic: 64, total: 128 };
const NAT_LIMITS: NatLimits = NatLimits { total: 128, per_destination: 64 };
/// Packets of one input.
const PACKETS: usize = 32;
/// Longer than any flow may be idle, in nanoseconds.
const DAY: u64 = 86_400_000_000_000;
/// Inputs after which a lab's tables are made anew, long before their clock ends.
const INPUTS: u64 = 10_000;

/// A lab's tables, and what packets of earlier inputs left: the clock, and expired flows.
struct Lab {
    snapshot: Snapshot,
    /// What full walks remember, and what the fast path does.
    walks: Flows,
    remembers: Flows,
    paths: Paths,
    now: Timestamp,
}

impl Lab {
    /// Ends what the input before has left. A new generation ends all paths, as a publish does.
    fn restart(&mut self) {
        self.snapshot.generation += 1;
        if self.snapshot.generation.is_multiple_of(INPUTS) {
            (self.walks, self.remembers, self.now) = (empty(), empty(), Timestamp(1));
            return;
        }
        for flows in [&self.walks, &self.remembers] {
            if flows.records.is_empty() && flows.mappings.is_empty() {
                continue;
            }
            let later = Timestamp(self.now.0 + DAY);
            flows.records.expire(later, usize::MAX);
            flows.mappings.expire(later, usize::MAX, |_| {});
            assert!(flows.records.is_empty() && flows.mappings.is_empty(), "a flow is there after a day");
        }
        // Fragments and packets in a loop are remembered for seconds.
        self.now.0 += DAY;
    }
}

static LABS_COMPILED: LazyLock<Vec<Mutex<Lab>>> = LazyLock::new(|| {
    let compiled = |lab| {
        let loaded = config::load(lab, "lab").expect("an example loads");
        let compiled = compile(&loaded.network, &Learned::default(), 1);
        let snapshot = Arc::try_unwrap(compiled.snapshot).expect("these tables have one owner");
        Mutex::new(Lab { snapshot, walks: empty(), remembers: empty(), paths: Paths::new(), now: Timestamp(1) })
    };
    LABS.into_iter().map(compiled).collect()
});

/// Small tables: full ones are soon reached.
fn empty() -> Flows {
    Flows {
        records: FlowTable::new(LIMITS),
        fragments: FragmentTable::new(),
        mappings: NatTable::new(NAT_LIMITS),
        loops: LoopTable::new(),
    }
}

/// A packet's verdict.
fn decide(packet: &[u8], offload: Offload, by: impl FnOnce(&mut Packet<'_>) -> Verdict) -> Option<Verdict> {
    let mut bytes = packet.to_vec();
    let mut packet = Packet::parse(&mut bytes, offload).ok()?;
    Some(by(&mut packet))
}

fuzz_target!(|data: &[u8]| {
    let [lab, data @ ..] = data else { return };
    let mut lab = LABS_COMPILED[usize::from(*lab) % LABS.len()].lock().expect("a failure ends the process");
    lab.restart();
    let Lab { snapshot, walks, remembers, paths, now } = &mut *lab;
    let mut rest = data;
    for _ in 0..PACKETS {
        // Port, seconds, flags of the offload header, length, packet.
        let [port, secs, flags, length, packet @ ..] = rest else { return };
        let (packet, after) = packet.split_at(packet.len().min(usize::from(*length)));
        rest = after;
        now.0 += u64::from(*secs) * 1_000_000_000;
        let port = PortId(u32::from(*port) % (snapshot.ports.len() as u32 + 1));
        let offload = Offload { flags: flags & 3, ..Offload::default() };
        for _ in 0..3 {
            let walked = decide(packet, offload, |packet| process(snapshot, walks, port, *now, packet, &mut Quiet));
            let remembered =
                decide(packet, offload, |packet| paths.process(snapshot, remembers, port, *now, packet, &mut Quiet));
            assert_eq!(walked, remembered);
            assert!(walks.records.len() <= LIMITS.total);
        }
    }
});
