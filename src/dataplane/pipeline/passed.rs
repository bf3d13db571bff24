//! How a packet went through gateways: what is written into it at last, and whether its flow may go on without them.
//!
//! One idea: gateways decide by tables. So a packet that followed records at each end that keeps any, and at most one
//! mapping, shows the way of its whole flow.

use crate::dataplane::{Followed, MappingSide, NicId, Observer, PortId};
use crate::wire::{Packet, Tuple};

use super::balance::Rewrite;
use super::tunnel_nat::Renamed;
use super::{Passage, fast_path, is_whole_echo};

/// How many gateways a packet has passed, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    port: PortId,
    hops: u8,
    /// The rewrite of a packet to a load balancer's frontend (LB-41).
    rewrite: Option<Rewrite>,
    /// The translation of a tunnel with NAT rules (VPN-15).
    renamed: Option<Renamed>,
    known: Option<Known>,
}

/// The ends of a flow that records admit at each end that keeps any.
#[derive(Clone, Copy)]
pub(super) struct Known {
    receiver: NicId,
    recorded: [bool; 2],
    mapping: Option<MappingSide>,
}

impl Known {
    /// None if an end has no record of the flow yet, or neither keeps any: then loops are looked for (FAB-14).
    pub(super) fn of(passages: [Option<Passage>; 2], receiver: NicId) -> Option<Self> {
        let recorded = passages.map(|passage| passage.is_some());
        let mut kept = passages.iter().flatten();
        let stands = recorded != [false; 2] && kept.all(|(_, _, admitted)| admitted.has_record());
        stands.then_some(Self { receiver, recorded, mapping: None })
    }

    /// Its packets follow this mapping on the way.
    pub(super) const fn by(self, mapping: Option<MappingSide>) -> Self {
        Self { mapping, ..self }
    }

    /// Reports a packet as it is delivered: see [`Observer::followed`]. `mapping` is the one that its sender's side adds.
    pub(super) fn tell<O: Observer>(
        self,
        (sender, sent): (NicId, &Tuple),
        mapping: Option<MappingSide>,
        hops: u8,
        packet: &Packet<'_>,
        observer: &mut O,
    ) {
        let Self { receiver, recorded, .. } = self;
        let mapping = match (mapping, self.mapping) {
            (Some(_), Some(_)) => return,
            (one, other) => one.or(other),
        };
        if fast_path::may_be_known(packet) || is_whole_echo(packet) && packet.tuple() == sent && mapping.is_none() {
            observer.followed(packet, &Followed { sent, sender, receiver, recorded, mapping, hops });
        }
    }
}

impl Passed {
    /// To what has this port.
    pub(super) const fn to(port: PortId, hops: u8, known: Option<Known>) -> Self {
        Self { port, hops, rewrite: None, renamed: None, known }
    }

    pub(super) const fn rewritten(self, rewrite: Rewrite) -> Self {
        Self { rewrite: Some(rewrite), ..self }
    }

    pub(super) const fn renamed(self, renamed: Option<Renamed>) -> Self {
        Self { renamed, ..self }
    }

    /// Writes the hops and translations into the packet, and returns its port. `answer` is the rewrite of a backend's
    /// answer.
    pub(super) fn write(self, answer: Option<Rewrite>, packet: &mut Packet<'_>) -> PortId {
        for _ in 0..self.hops {
            packet.count_hop();
        }
        for rewrite in [self.rewrite, answer].into_iter().flatten() {
            rewrite.apply(packet);
        }
        if let Some(renamed) = self.renamed {
            renamed.apply(packet);
        }
        self.port
    }

    /// The same, and reports the packet if its flow is known: `sent` is the flow as its sender sends it, which a tunnel may
    /// have translated since.
    pub(super) fn conclude<O: Observer>(
        self,
        (sender, sent): (NicId, &Tuple),
        answer: Option<Rewrite>,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> PortId {
        let by_rules = packet.tuple() != sent || self.renamed.is_some();
        let lent = self.renamed.is_some_and(|renamed| renamed.is_lent());
        let port = self.write(answer, packet);
        let mapping = answer.map(|_| MappingSide::Inside);
        // A mapping is known by the flow from which the tunnel's rules have made another.
        let known = self.known.filter(|known| !lent && !(by_rules && (mapping.is_some() || known.mapping.is_some())));
        if let Some(known) = known {
            known.tell((sender, sent), mapping, self.hops, packet, observer);
        }
        port
    }
}
