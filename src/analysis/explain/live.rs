//! What happens to the next packet of an existing flow, by the flow records that it has (NSG-22).
//!
//! One idea: the records are copied into private ones, which `process` uses. Looking neither makes nor refreshes a real
//! record. Of several flows between two ends the last used one is taken.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::analysis::query::{Ends, Probe, Query, resolve};
use crate::analysis::walk::ScratchFlows;
use crate::analysis::walk::guest_rules::GuestRules;
use crate::analysis::walk::narration::Path;
use crate::analysis::walk::round_trip::RoundTrip;
use crate::compile::Compiled;
use crate::dataplane::{Direction, FlowRecord, FlowTable, Timestamp};
use crate::model::{Network, Verdict};

use super::{Explanation, explain};

/// An explanation with a real flow's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveExplanation {
    #[serde(flatten)]
    pub explanation: Explanation,
    pub flow: FollowedFlow,
}

/// The record at the source's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowedFlow {
    /// The interface that has the record: `web/eth0`.
    pub nic: String,
    /// A ping's identifier.
    pub source_port: u16,
    /// Since the record was made.
    pub age_ms: u64,
    /// Since its last packet.
    pub idle_ms: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    /// The number of such flows that have a record.
    pub flows: usize,
}

/// Explains the flow that was used last; an error if there is none.
pub fn explain_live(
    network: &Network,
    compiled: &Compiled,
    (guests, records): (&GuestRules, &FlowTable),
    query: &Query,
    (now, moment): (Timestamp, Instant),
) -> Result<LiveExplanation, String> {
    let ends = resolve(network, compiled, query)?;
    let names = Names { network, compiled };
    let found = flows(records, &ends, query.probe, now);
    let newest = found.iter().max_by_key(|(_, record)| record.last);
    let (source_port, record) =
        *newest.ok_or_else(|| format!("there is no such flow: {} has no record of one", names.nic(ends.source)))?;
    let tuple = query.probe.flow(ends.source_address, ends.destination.address, source_port);
    let scratch = ScratchFlows::of(records, compiled, &tuple, now);
    let trip = RoundTrip::go_on(names, &scratch, &ends, query.probe, source_port);
    let millis = |since: Timestamp| now.0.saturating_sub(since.0) / 1_000_000;
    Ok(LiveExplanation {
        explanation: explanation(names, guests, (query, moment), &trip)?,
        flow: FollowedFlow {
            nic: names.nic(ends.source),
            source_port,
            age_ms: millis(record.begun),
            idle_ms: millis(record.last),
            packets_sent: record.sent.packets,
            packets_received: record.received.packets,
            flows: found.len(),
        },
    })
}

/// Every flow of this kind between two ends: only the source port is unknown, so each one is looked up.
fn flows(records: &FlowTable, ends: &Ends, probe: Probe, now: Timestamp) -> Vec<(u16, FlowRecord)> {
    let found = (0..=u16::MAX).filter_map(|port| {
        let tuple = probe.flow(ends.source_address, ends.destination.address, port);
        Some((port, records.find(ends.source, Direction::Outbound, &tuple, now)?))
    });
    found.collect()
}

/// A new flow's explanation with this flow's path. If only a new flow would be stopped, a warning says so.
fn explanation(
    names: Names<'_>,
    guests: &GuestRules,
    (query, now): (&Query, Instant),
    trip: &RoundTrip,
) -> Result<Explanation, String> {
    let fresh = explain(names.network, names.compiled, query, now)?;
    let mut explanation = Explanation {
        verdict: trip.verdict(),
        forward: Path::tell(names, &trip.forward),
        back: trip.back.as_ref().map(|walk| Path::tell(names, walk)),
        branches: Vec::new(),
        ..fresh
    };
    if explanation.verdict == Verdict::Reachable
        && let Some(cause) = explanation.cause.take()
    {
        explanation.fix = None;
        explanation.further.clear();
        explanation.warnings.push(format!("a new flow would not get there and back: {cause}"));
    }
    Ok(explanation.past(guests.met_by(names, trip.walks())))
}
