//! Any input from a guest: a lab's port, an offload header and bytes, packet after packet through one set of tables.
//!
//! Each packet ends as forwarded or dropped. The fast path and the full walk must give the same verdict.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{FlowLimits, Flows, Paths, PortId, Quiet, Timestamp, Verdict, process};
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

static TABLES: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let compiled = |lab| {
        let loaded = config::load(lab, "lab").expect("an example loads");
        compile(&loaded.network, &Learned::default(), 1)
    };
    LABS.into_iter().map(compiled).collect()
});

/// A packet's verdict, and its bytes afterwards.
fn decide(packet: &[u8], offload: Offload, by: impl FnOnce(&mut Packet<'_>) -> Verdict) -> Option<(Verdict, Vec<u8>)> {
    let mut bytes = packet.to_vec();
    let mut packet = Packet::parse(&mut bytes, offload).ok()?;
    let verdict = by(&mut packet);
    Some((verdict, packet.bytes().to_vec()))
}

fuzz_target!(|data: &[u8]| {
    let [lab, data @ ..] = data else { return };
    let snapshot = &TABLES[usize::from(*lab) % LABS.len()].snapshot;
    let [walks, remembers] = [Flows::new(LIMITS), Flows::new(LIMITS)];
    let mut paths = Paths::new();
    let (mut rest, mut now) = (data, Timestamp(1));
    // Port, seconds, flags of the offload header, length, packet.
    while let [port, secs, flags, length, packet @ ..] = rest {
        let (packet, after) = packet.split_at(packet.len().min(usize::from(*length)));
        rest = after;
        now.0 += u64::from(*secs) * 1_000_000_000;
        let port = PortId(u32::from(*port) % (snapshot.ports.len() as u32 + 1));
        let offload = Offload { flags: flags & 3, ..Offload::default() };
        for _ in 0..3 {
            let walked = decide(packet, offload, |packet| process(snapshot, &walks, port, now, packet, &mut Quiet));
            let remembered =
                decide(packet, offload, |packet| paths.process(snapshot, &remembers, port, now, packet, &mut Quiet));
            assert_eq!(walked.as_ref().map(|(verdict, _)| *verdict), remembered.as_ref().map(|(verdict, _)| *verdict));
            assert!(walks.records.len() <= LIMITS.total);
        }
    }
});
