//! How a packet went over gateways and the edge: what is written into it at last, and whether its flow may go on without them.
//!
//! One idea: gateways decide by tables, and a [`Trail`] has the mappings. So a packet that followed records at each end that
//! keeps any shows the way of its whole flow.

use crate::dataplane::{Followed, MappingSide, NicId, Observer, PortId, Trail, UsedMapping};
use crate::wire::Packet;

use super::admit::Admitted;
use super::balance::Rewrite;
use super::tunnel_nat::Renamed;
use super::{Passage, fast_path, is_whole_echo};

/// Where a packet comes from that enters over the edge, and how it came there, by records alone.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    nic: NicId,
    recorded: bool,
    hops: u8,
    trail: Trail,
}

/// How many gateways a packet has passed, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    port: PortId,
    hops: u8,
    /// The appliance that a balancer before it chose (LB-32).
    through: Option<NicId>,
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
}

impl Origin {
    /// None if the sender's rules asked for a record, and it is not there yet.
    pub(super) fn of(nic: NicId, admitted: Option<Admitted>, hops: u8, packet: &Packet<'_>) -> Option<Self> {
        let stands = admitted.is_none_or(Admitted::has_record);
        stands.then(|| Self { nic, recorded: admitted.is_some(), hops, trail: Trail::of(*packet.tuple()) })
    }

    /// After a translation at the edge.
    pub(super) fn then(self, packet: &Packet<'_>, by: Option<UsedMapping>) -> Option<Self> {
        Some(Self { trail: self.trail.then(*packet.tuple(), by)?, ..self })
    }

    pub(super) const fn nic(&self) -> NicId {
        self.nic
    }

    /// Reports a packet as its receiver gets it; `recorded` is whether that one keeps records.
    pub(super) fn tell<O: Observer>(self, (receiver, recorded): (NicId, bool), packet: &Packet<'_>, observer: &mut O) {
        let known = Known { receiver, recorded: [self.recorded, recorded] };
        known.tell(self.nic, &self.trail, self.hops, packet, observer);
    }
}

impl Known {
    /// None if an end has no record of the flow yet, or neither keeps any: then loops are looked for (FAB-14).
    pub(super) fn of(passages: [Option<Passage>; 2], receiver: NicId) -> Option<Self> {
        Self::over_edge(passages, receiver).filter(|known| known.recorded != [false; 2])
    }

    /// The same of a packet from the Internet, where no loop leads.
    pub(super) fn over_edge(passages: [Option<Passage>; 2], receiver: NicId) -> Option<Self> {
        let recorded = passages.map(|passage| passage.is_some());
        let mut kept = passages.iter().flatten();
        kept.all(|(_, _, admitted)| admitted.has_record()).then_some(Self { receiver, recorded })
    }

    /// Reports a packet as it is delivered: see [`Observer::followed`].
    pub(super) fn tell<O: Observer>(
        self,
        sender: NicId,
        trail: &Trail,
        hops: u8,
        packet: &Packet<'_>,
        observer: &mut O,
    ) {
        let Self { receiver, recorded } = self;
        let Trail { sent, between, mappings, .. } = trail;
        let is_same_echo = || is_whole_echo(packet) && packet.tuple() == sent && trail.is_by_tables();
        if fast_path::may_be_known(packet) || is_same_echo() {
            let (mappings, between) = (*mappings, *between);
            observer.followed(packet, &Followed { sent, sender, receiver, recorded, mappings, between, hops });
        }
    }
}

impl Passed {
    /// To what has this port.
    pub(super) const fn to(port: PortId, hops: u8, known: Option<Known>) -> Self {
        Self { port, hops, through: None, rewrite: None, renamed: None, known }
    }

    pub(super) const fn through(self, appliance: Option<NicId>) -> Self {
        Self { through: appliance, ..self }
    }

    pub(super) const fn rewritten(self, rewrite: Rewrite) -> Self {
        Self { rewrite: Some(rewrite), ..self }
    }

    pub(super) const fn renamed(self, renamed: Option<Renamed>) -> Self {
        Self { renamed, ..self }
    }

    /// Writes the hops and translations into the packet, and reports it if its flow is known. `trail` has the translations
    /// before. `answer` is the rewrite of a backend's answer. Returns the packet's port.
    pub(super) fn conclude<O: Observer>(
        self,
        (sender, trail): (NicId, Option<Trail>),
        answer: Option<Rewrite>,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> PortId {
        let trail = self.write(trail, answer.map(|answer| (sender, answer)), packet);
        if let Some((known, trail)) = self.known.zip(trail) {
            known.tell(sender, &trail, self.hops, packet, observer);
        }
        self.port
    }

    /// The same for a packet that entered over the edge.
    pub(super) fn deliver<O: Observer>(
        self,
        origin: Option<Origin>,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> PortId {
        let trail = self.write(origin.map(|origin| origin.trail), None, packet);
        if let (Some(Known { receiver, recorded: [_, recorded] }), Some(origin), Some(trail)) =
            (self.known, origin, trail)
        {
            let hops = origin.hops + self.hops;
            Origin { hops, trail, ..origin }.tell((receiver, recorded), packet, observer);
        }
        self.port
    }

    fn write(
        self,
        mut trail: Option<Trail>,
        answer: Option<(NicId, Rewrite)>,
        packet: &mut Packet<'_>,
    ) -> Option<Trail> {
        let mut then = |packet: &Packet<'_>, side, nic| {
            trail = trail.and_then(|trail| trail.then(*packet.tuple(), Some(UsedMapping { side, nic })));
        };
        for _ in 0..self.hops {
            packet.count_hop();
        }
        if let Some(appliance) = self.through {
            then(packet, MappingSide::Through, appliance);
        }
        if let Some(rewrite) = self.rewrite {
            rewrite.apply(packet);
            then(packet, MappingSide::Outside, rewrite.nic());
        }
        if let Some((backend, answer)) = answer {
            answer.apply(packet);
            then(packet, MappingSide::Inside, backend);
        }
        if let Some(renamed) = self.renamed {
            trail = trail.and_then(|trail| renamed.added_to(trail));
            renamed.apply(packet);
        }
        trail
    }
}
