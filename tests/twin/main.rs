//! The proof of the product: the compiled tables and the pipeline against a slow, obvious twin.
//!
//! `topology` makes a random network, `rules` answers each packet straight from Azure's rules: every route compared,
//! every security rule in order of priority, tags by asking whether an address is in them, flow records as a plain set.
//! The same packets go through `compile` and `process`. Both must say the same: forwarded to whom, or dropped for what.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rules;
mod topology;

use std::collections::BTreeMap;

use vnet::compile::{Learned, compile};
use vnet::dataplane::{
    DropReason, FlowLimits, FlowTable, Flows, FragmentTable, PortId, Quiet, Timestamp, Verdict, process,
};
use vnet::model::Attachment;
use vnet::wire::{Offload, Packet};

use rules::Twin;
use topology::{Random, Sent};

const TOPOLOGIES: u64 = 200;
const PACKETS: usize = 300;

#[test]
fn tables_and_pipeline_agree_with_the_rules_as_written() {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..TOPOLOGIES {
        for outcome in compare(seed) {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    // A generator that stops reaching a rule would prove nothing about it.
    let reached = |name: &str| outcomes.get(name).copied().unwrap_or(0);
    let expected = [
        DropReason::SpoofedSource,
        DropReason::NsgOutbound,
        DropReason::NsgInbound,
        DropReason::NextHopNone,
        DropReason::NextHopUnreachable,
        DropReason::GatewayUnavailable,
        DropReason::NoInternet,
        DropReason::NoEndpoint,
        DropReason::NotForwarding,
        DropReason::PeeringAccess,
        DropReason::ForwardedTraffic,
    ];
    for reason in expected {
        assert!(reached(reason.name()) >= 20, "{reason} was hardly reached: {outcomes:?}");
    }
    assert!(reached("forwarded") >= 5000, "too little was forwarded: {outcomes:?}");
}

/// One topology, one run of packets over shared flow records; what became of each.
fn compare(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let network = random.network();
    let attachments = network.attachments();
    let compiled = compile(&network, &Learned::default(), 1);
    let limits = FlowLimits { per_nic: 100_000, total: 100_000 };
    let flows = Flows { records: FlowTable::new(limits), fragments: FragmentTable::new() };
    let mut twin = Twin::new(&network);
    let mut outcomes = Vec::new();
    let mut delivered: Vec<(Attachment, Sent)> = Vec::new();
    for _ in 0..PACKETS {
        let (from, sent) = random.packet(&network, &attachments, &delivered);
        let expected = twin.judge(from, &sent);
        let port = attachments.iter().position(|&attachment| attachment == from).unwrap();
        let mut bytes = sent.bytes();
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let verdict = process(&compiled.snapshot, &flows, PortId(port as u32), Timestamp(0), &mut packet, &mut Quiet);
        let found = match verdict {
            Verdict::Forward(PortId(port)) => Ok(attachments[port as usize]),
            Verdict::Drop(reason) => Err(reason),
        };
        assert_eq!(found, expected, "seed {seed}, from {from:?}: {sent:?}\n{network:#?}");
        outcomes.push(found.map_or_else(|reason| reason.name().to_owned(), |_| "forwarded".to_owned()));
        if let Ok(to) = found {
            delivered.push((to, sent));
        }
    }
    outcomes
}
