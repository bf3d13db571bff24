//! What was dropped, by interface and reason, with what workers remember of each packet; and what goes round.
//!
//! One idea: the counters are exact, and what is remembered of single packets is not: the last thousand or so. What they
//! do not explain has a row of its own, so that the rows of a reason always add up to its counter.

use std::collections::BTreeMap;
use std::iter::zip;
use std::net::IpAddr;

use crate::analysis::{refuser, service_endpoint};
use crate::compile::Sender;
use crate::daemon::engine::{Engine, Published};
use crate::dataplane::{DropReason, NicId, PortId, RoutingLoop, RuleId};
use crate::model::Attachment;
use crate::worker::Dropped;

use super::AttachmentNames;
use super::flows::{place, protocol_name};
use super::protocol::{DropCount, DroppedFlow};

/// TCP and UDP.
const WITH_PORTS: [u8; 2] = [6, 17];

/// What the word says of a packet that was not dropped.
const ROUTING_LOOP: &str = "Packets come back to this interface, which they left: not dropped, as in Azure, until a guest, \
                            site or gateway counts their last hop: look at the routes of what they pass (FAB-14, UDR-17).";

/// How far packets of an interface that were dropped for one reason are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Destination,
    Source,
    Flow,
}

/// What rows are told apart by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    by: Option<(NicId, Option<RuleId>)>,
    protocol: u8,
    destination: (IpAddr, u16),
    /// With its port where that tells flows apart.
    source: Option<(IpAddr, Option<u16>)>,
}

/// Only what happened: a reason that never bit has no row.
pub(in crate::daemon) fn rows(engine: &Engine, by_flow: bool) -> Vec<DropCount> {
    let published = engine.published();
    let (network, counters) = (&published.network, engine.counters_of(&published));
    let remembered = engine.dropped();
    let mut rows = Vec::new();
    for (attachment, port) in zip(network.attachments(), &counters.ports) {
        let place = AttachmentNames::of(network, attachment);
        let id = published.compiled.ids().port(attachment);
        let by = match (by_flow, attachment) {
            (false, _) => By::Destination,
            // Each health probe comes from a port of its own: all of a backend are one row.
            (true, Attachment::Platform(_)) => By::Source,
            (true, _) => By::Flow,
        };
        for reason in DropReason::ALL.into_iter().filter(|reason| port.drops[*reason as usize] > 0) {
            let total = port.drops[reason as usize];
            let row = |packets, flow: Option<DroppedFlow>| DropCount {
                node: place.node.clone(),
                nic: place.nic.clone(),
                reason: reason.name().to_owned(),
                packets,
                harmless: reason.is_harmless(),
                explanation: explanation(&published, attachment, reason, flow.as_ref()),
                flow,
            };
            let mut left = total;
            for (kind, packets) in kinds(&remembered, id, reason, by) {
                // A packet may be counted a moment after it is remembered.
                let packets = packets.min(left);
                left -= packets;
                rows.push(row(packets, Some(flow(&published, reason, &kind))));
            }
            rows.push(row(left, None));
        }
    }
    rows.extend(engine.loops().iter().filter_map(|it| going_round(&published, it)));
    rows.retain(|row| row.packets > 0);
    rows
}

/// What the reason says, and of what a service endpoint would carry if it were TCP, that it is not (SYS-11).
fn explanation(published: &Published, from: Attachment, reason: DropReason, flow: Option<&DroppedFlow>) -> String {
    let subnet = match from {
        Attachment::Nic(nic) => Some(published.network.nic(nic).subnet),
        _ => None,
    };
    let aside = flow.zip(subnet).filter(|(flow, _)| flow.protocol != protocol_name(6)).and_then(|(flow, subnet)| {
        let service = service_endpoint(&published.network, subnet, flow.destination_address)?;
        Some(format!(" The subnet's service endpoint to {service} carries TCP alone (SYS-11)."))
    });
    reason.explanation().to_owned() + &aside.unwrap_or_default()
}

fn kinds(remembered: &[Dropped], port: Option<PortId>, reason: DropReason, by: By) -> BTreeMap<Kind, u64> {
    let mut kinds = BTreeMap::new();
    for Dropped { ingress, reason: why, by: refused_by, tuple, packets, .. } in remembered {
        if Some(*ingress) == port && *why == reason {
            let source = match by {
                By::Destination => None,
                By::Source => Some((tuple.src, None)),
                By::Flow => Some((tuple.src, Some(tuple.src_port))),
            };
            // An echo's identifier says nothing about where it goes.
            let dst_port = if by == By::Flow || WITH_PORTS.contains(&tuple.protocol.0) { tuple.dst_port } else { 0 };
            let destination = (tuple.dst, dst_port);
            let kind = Kind { by: *refused_by, protocol: tuple.protocol.0, destination, source };
            *kinds.entry(kind).or_default() += packets;
        }
    }
    kinds
}

fn flow(published: &Published, reason: DropReason, kind: &Kind) -> DroppedFlow {
    let rule = kind.by.and_then(|(_, rule)| published.rule(rule?));
    DroppedFlow {
        protocol: protocol_name(kind.protocol),
        source_address: kind.source.map(|(address, _)| address),
        source_port: kind.source.and_then(|(_, port)| port),
        destination_address: kind.destination.0,
        destination_port: kind.destination.1,
        by: kind.by.and_then(|(nic, _)| refuser(&published.network, &published.compiled, nic, reason)),
        rule: rule.map(|label| format!("{} {}", label.owner, label.name)),
    }
}

fn going_round(published: &Published, it: &RoutingLoop) -> Option<DropCount> {
    let sender = published.compiled.ids().sender(it.nic)?;
    let (node, nic) = if matches!(sender, Sender::Tunnel(_) | Sender::CircuitLink(..)) {
        let place = AttachmentNames::of(&published.network, sender.attachment());
        (place.node, place.nic)
    } else {
        place(published, it.nic).map(|(node, nic)| (node.to_owned(), nic.to_owned()))?
    };
    let flow = DroppedFlow {
        protocol: protocol_name(it.tuple.protocol.0),
        source_address: Some(it.tuple.src),
        source_port: Some(it.tuple.src_port),
        destination_address: it.tuple.dst,
        destination_port: it.tuple.dst_port,
        by: None,
        rule: None,
    };
    Some(DropCount {
        node,
        nic,
        reason: "RoutingLoop".to_owned(),
        packets: it.packets,
        harmless: false,
        flow: Some(flow),
        explanation: ROUTING_LOOP.to_owned(),
    })
}
