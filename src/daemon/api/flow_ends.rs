//! What a flow's record at one interface lacks: the translated address on the far side, and whether a rule of the
//! other end refuses its packets.
//!
//! One idea: both are looked up in what the data plane keeps anyway, port mappings and the drops that workers remember, for
//! the records of one answer alone. A drop that a thousand others have pushed out is not found, and the flow shows as
//! unanswered.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::daemon::engine::{Engine, Published, RuleLabel};
use crate::dataplane::{Direction, FlowRecord, FlowState, NicId, RuleId, Timestamp};
use crate::model::is_routable;

use super::flows::place;
use super::protocol::FlowRow;

/// An address and port.
type End = (IpAddr, u16);

/// A flow's protocol, and the source and destination of its first packet.
type FiveTuple = (u8, End, End);

/// One interface's end of a flow and the other end, as the interface knows them.
type Sides = (NicId, u8, End, End);

/// What is known of the far ends of some records.
pub(in crate::daemon) struct FlowEnds<'a> {
    published: &'a Published,
    translated: HashMap<Sides, End>,
    refused: HashMap<FiveTuple, Refusal>,
}

#[derive(Clone, Copy)]
struct Refusal {
    nic: NicId,
    rule: RuleId,
    last: Timestamp,
}

impl<'a> FlowEnds<'a> {
    pub(in crate::daemon) fn of(engine: &Engine, published: &'a Published, records: &[FlowRecord]) -> Self {
        let refusals = if records.iter().any(unanswered) { engine.dropped() } else { Vec::new() };
        let refusals = refusals.into_iter().filter_map(|one| {
            let ((nic, rule), tuple) = (one.by?, one.tuple);
            let flow = (tuple.protocol.0, (tuple.src, tuple.src_port), (tuple.dst, tuple.dst_port));
            Some((flow, Refusal { nic, rule: rule?, last: one.last }))
        });
        let refusals: Vec<_> = refusals.collect();
        let receiving = refusals.iter().map(|(flow, by)| sides(by.nic, Direction::Inbound, *flow));
        let wanted: HashSet<Sides> = records.iter().map(own_sides).chain(receiving).collect();
        let mut translated = HashMap::new();
        if !wanted.is_empty() {
            engine.look_at_mappings(|held| {
                let sides = (held.mapped.nic, held.protocol.0, held.mapped.private, held.remote);
                if wanted.contains(&sides) {
                    translated.insert(sides, held.mapped.public);
                }
            });
        }
        let mut ends = Self { published, translated, refused: HashMap::new() };
        // As the far side knows the flow: its sender has a record of a load balancer's address, not of a backend's.
        let outside = refusals.into_iter().map(|(flow, by)| (ends.outside(by.nic, Direction::Inbound, flow), by));
        ends.refused = outside.collect();
        ends
    }

    /// A record's row, with what is known of its far end.
    pub(in crate::daemon) fn add(&self, record: &FlowRecord, mut row: FlowRow) -> FlowRow {
        let translated = self.translated(&own_sides(record));
        row.translated_address = translated.map(|(address, _)| address);
        row.translated_port = translated.map(|(_, port)| port);
        if let Some((at, rule)) = self.refused(record) {
            "Deny".clone_into(&mut row.access);
            row.rules = vec![format!("{} {}", rule.owner, rule.name)];
            row.denied_at = Some(at);
        }
        row
    }

    fn refused(&self, record: &FlowRecord) -> Option<(String, &RuleLabel)> {
        let outside = self.outside(record.nic, record.admitted, five_tuple(record));
        let by = self.refused.get(&outside).filter(|by| unanswered(record) && by.nic != record.nic)?;
        let (node, nic) = place(self.published, by.nic).filter(|_| by.last >= record.begun)?;
        Some((format!("{node}/{nic}"), self.published.rule(by.rule)?))
    }

    /// A flow as the networks between its two ends see it, after translation.
    fn outside(&self, nic: NicId, direction: Direction, tuple: FiveTuple) -> FiveTuple {
        let (protocol, mut source, mut destination) = tuple;
        let own = match direction {
            Direction::Inbound => &mut destination,
            Direction::Outbound => &mut source,
        };
        *own = self.translated(&sides(nic, direction, tuple)).unwrap_or(*own);
        (protocol, source, destination)
    }

    /// A mapping, or the public address of the interface for what it has with the Internet (PIP-01).
    fn translated(&self, sides @ (nic, _, (own, port), (remote, _)): &Sides) -> Option<End> {
        let mapped = self.translated.get(sides).copied();
        mapped.or_else(|| {
            let edge = self.published.compiled.snapshot.edge.as_ref().filter(|_| is_routable(*remote))?;
            let instances = &edge.egress.get(nic.0 as usize)?.instances;
            let public = instances.iter().find(|(private, _)| private == own)?.1;
            Some((public, *port))
        })
    }
}

/// Nothing has come back.
fn unanswered(record: &FlowRecord) -> bool {
    !record.refused && matches!(record.state, FlowState::SynSent | FlowState::Unanswered)
}

fn own_sides(record: &FlowRecord) -> Sides {
    sides(record.nic, record.admitted, five_tuple(record))
}

fn five_tuple(record: &FlowRecord) -> FiveTuple {
    let tuple = &record.tuple;
    (tuple.protocol.0, (tuple.src, tuple.src_port), (tuple.dst, tuple.dst_port))
}

fn sides(nic: NicId, direction: Direction, (protocol, source, destination): FiveTuple) -> Sides {
    match direction {
        Direction::Outbound => (nic, protocol, source, destination),
        Direction::Inbound => (nic, protocol, destination, source),
    }
}
