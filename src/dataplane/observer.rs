//! What the pipeline reports to its observer. Diagnosis is forwarding, watched: it runs the same code with another
//! observer.

use std::net::IpAddr;

use crate::wire::{Packet, Tuple};

use super::{
    AclId, DropReason, FibId, FlowEvent, FlowTerms, FrontendId, NextHop, NicId, PortId, RouteId, TableFull,
    UsedMapping, VnetId,
};

/// As the NIC sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// The owner of the rules: the VNet's administrators (security admin rules), an NSG of a NIC or a subnet, or the
/// distributed firewall of a private cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterPlace {
    Admin,
    Nic,
    Subnet,
    Distributed,
}

/// Why a NIC let a packet pass or not, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It follows a flow record (NSG-20).
    Record,
    /// It follows a record that `flushConnection` has ended since (NSG-23): it is dropped.
    Refused,
    /// Platform traffic, to which NSG rules do not apply (NSG-30).
    Platform,
    /// Neither NIC nor subnet has an NSG (NSG-11).
    NoFilter,
    /// A rule of this ACL matched: one step for the admin rules, and one for each NSG evaluated.
    Rule { place: FilterPlace, acl: AclId, rule: u32, allow: bool },
}

/// One decision on a packet's leg, in the order taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The sender, after the source check.
    Sent {
        nic: NicId,
    },
    Admit {
        nic: NicId,
        direction: Direction,
        admission: Admission,
    },
    /// The route that the sender's subnet chose; of a spread, the member that this flow uses.
    Route {
        fib: FibId,
        route: RouteId,
        next_hop: NextHop,
    },
    /// The packet crosses a peering, from the first VNet into the second, for a NIC there.
    Cross {
        from: VnetId,
        into: VnetId,
        receiver: NicId,
    },
    /// An address, and perhaps a port, was translated.
    Translate(Translation),
    /// A TCP segment without a mapping was answered by a reset, which goes back to this NIC (NAT-04).
    Reset {
        nic: NicId,
    },
    /// A load balancer's rule, by its index in the frontend, chose this backend for the flow.
    Balance {
        frontend: FrontendId,
        rule: u32,
        backend: NicId,
    },
    /// The packet enters a gateway, which makes the decisions that follow.
    Gateway {
        nic: NicId,
    },
    /// There is no room for this NIC's record of a new flow.
    NoRoom {
        nic: NicId,
        full: TableFull,
    },
    /// No port is left for this NIC's new flow, which leaves under an address that several share.
    NoPort {
        nic: NicId,
    },
    /// The receiver before its inbound checks: a NIC, the Internet, or the far end of a tunnel.
    Arrive {
        nic: NicId,
    },
    Delivered {
        port: PortId,
    },
    Dropped {
        reason: DropReason,
    },
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketEnd {
    Source,
    Destination,
}

/// One end of a packet, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    pub end: PacketEnd,
    /// Address and port; a port of 0 where the packet has none.
    pub from: (IpAddr, u16),
    pub to: (IpAddr, u16),
}

impl Translation {
    pub(super) const fn source(from: (IpAddr, u16), to: (IpAddr, u16)) -> Self {
        Self { end: PacketEnd::Source, from, to }
    }

    pub(super) const fn destination(from: (IpAddr, u16), to: (IpAddr, u16)) -> Self {
        Self { end: PacketEnd::Destination, from, to }
    }

    /// The public one of the two.
    pub const fn public(&self) -> (IpAddr, u16) {
        match self.end {
            PacketEnd::Source => self.to,
            PacketEnd::Destination => self.from,
        }
    }
}

/// How a packet went that followed records, mappings and tables alone.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// The flow as its sender sends it.
    pub sent: &'a Tuple,
    pub sender: NicId,
    pub receiver: NicId,
    /// Whether each end keeps records: sites and the Internet do not.
    pub recorded: [bool; 2],
    /// The mappings that it followed, one after the other.
    pub mappings: [Option<UsedMapping>; 2],
    /// What it was after the first translation, if there is a second. None makes the only one that of the first mapping.
    pub between: Option<Tuple>,
    /// Gateways on the way, each of which counts a hop.
    pub hops: u8,
}

impl<'a> Followed<'a> {
    /// Between two NICs, by one mapping at most and no gateway.
    pub(super) const fn between_nics(
        sent: &'a Tuple,
        [sender, receiver]: [NicId; 2],
        mapping: Option<UsedMapping>,
    ) -> Self {
        Self { sent, sender, receiver, recorded: [true; 2], mappings: [mapping, None], between: None, hops: 0 }
    }
}

/// Observes the pipeline. An observer that does nothing, such as [`Quiet`], compiles to nothing.
pub trait Observer {
    /// Receives the packet before any decision.
    #[inline(always)]
    fn packet(&mut self, _: &Packet<'_>) {}

    /// Receives one decision.
    fn step(&mut self, step: Step);

    /// Receives a packet that was dropped.
    #[inline(always)]
    fn dropped(&mut self, _: &Packet<'_>, _: DropReason) {}

    /// Receives a packet as it is delivered, after it followed records, mappings and tables alone. As long as those
    /// stay, the next of its flow goes the same way.
    #[inline(always)]
    fn followed(&mut self, _: &Packet<'_>, _: &Followed<'_>) {}

    /// Whether it wants the events of flows under these terms.
    #[inline]
    fn wants_flows(&self, terms: &FlowTerms) -> bool {
        terms.logged
    }

    /// Receives an event of a flow.
    #[inline(always)]
    fn flow(&mut self, _: &FlowEvent) {}
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    #[inline(always)]
    fn step(&mut self, _: Step) {}
}

/// Two observers of the same packet.
impl<A: Observer, B: Observer> Observer for (&mut A, &mut B) {
    #[inline]
    fn packet(&mut self, packet: &Packet<'_>) {
        self.0.packet(packet);
        self.1.packet(packet);
    }

    #[inline]
    fn step(&mut self, step: Step) {
        self.0.step(step);
        self.1.step(step);
    }

    #[inline]
    fn dropped(&mut self, packet: &Packet<'_>, reason: DropReason) {
        self.0.dropped(packet, reason);
        self.1.dropped(packet, reason);
    }

    #[inline]
    fn followed(&mut self, packet: &Packet<'_>, followed: &Followed<'_>) {
        self.0.followed(packet, followed);
        self.1.followed(packet, followed);
    }

    #[inline]
    fn wants_flows(&self, terms: &FlowTerms) -> bool {
        self.0.wants_flows(terms) || self.1.wants_flows(terms)
    }

    #[inline]
    fn flow(&mut self, event: &FlowEvent) {
        self.0.flow(event);
        self.1.flow(event);
    }
}
