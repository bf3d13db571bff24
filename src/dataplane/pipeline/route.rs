//! Where a packet goes: the sender's route, the peering to cross, and the receiving NIC.

use std::net::IpAddr;

use super::Leg;
use super::admit::Admitted;
use crate::dataplane::platform::{self, METADATA, PLATFORM, PROBER_V6};
use crate::dataplane::{DropReason, Edge, FrontendId, GatewayId, Lpm, NextHop, NicId, Observer, Owner, PortId, Step};
use crate::wire::Tuple;

/// The end of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// The NIC that owns the destination.
    Endpoint(NicId),
    /// The route's next hop, for any destination (UDR-13).
    Appliance(NicId),
}

/// A route's next hop, resolved for one destination.
pub(super) enum ResolvedHop<'a> {
    Nic(Hop),
    Internet(&'a Edge),
    /// To a load balancer's frontend, and so to one of its backends.
    Frontend(FrontendId),
    /// Through one of a load balancer's backends: the frontend is the next hop.
    Through(FrontendId),
    Gateway(GatewayId),
    /// To the platform: a request to one of its services, or the answer to a probe. The NIC is the platform's.
    Platform(NicId),
}

impl Hop {
    pub(super) const fn nic(self) -> NicId {
        match self {
            Self::Endpoint(nic) | Self::Appliance(nic) => nic,
        }
    }
}

/// The peering that a leg crosses, if it crosses one.
pub(super) struct Crossing<'a> {
    pub(super) access: Access,
    /// The sources that the receiver's VNet's own link lets in; None if it lets in all.
    sources: Option<&'a Lpm<()>>,
}

/// Which of a peering's two links requires an explicit rule for a flow (PEER-22): the sender's VNet's own, the
/// receiver's, both or neither. Neither within a VNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    near_explicit: bool,
    far_explicit: bool,
}

impl<'a> Leg<'a> {
    /// Looks up the destination alone in the routes of the sender's subnet (RSEL-01). Among several appliances of one
    /// route, the flow decides (RSEL-06). No next hop is looked up twice: compile located an appliance by its address
    /// (UDR-12).
    #[inline]
    pub(super) fn route<O: Observer>(
        self,
        (sender, admitted): (NicId, Admitted),
        flow: &Tuple,
        observer: &mut O,
    ) -> Result<ResolvedHop<'a>, DropReason> {
        let dst = &flow.dst;
        if *dst == PLATFORM || *dst == METADATA || *dst == PROBER_V6 {
            // Reachable without a route (FAB-12): requests to its services, and answers to its probes.
            let there = self.snapshot.vnet(self.snapshot.nic(sender).vnet).platform;
            let there = there.filter(|_| admitted.has_record() || platform::serves(flow));
            return there.map(ResolvedHop::Platform).ok_or(DropReason::NoEndpoint);
        }
        self.resolve(sender, flow, observer)
    }

    /// The same for a destination that is not the platform's.
    #[inline]
    pub(super) fn resolve<O: Observer>(
        self,
        sender: NicId,
        flow: &Tuple,
        observer: &mut O,
    ) -> Result<ResolvedHop<'a>, DropReason> {
        let dst = &flow.dst;
        let id = self.snapshot.nic(sender).fib_of(flow.protocol);
        let fib = self.snapshot.fib(id);
        let route = fib.lpm.lookup(*dst).ok_or(DropReason::NoRoute)?;
        let mut next_hop = fib.next_hops[route.0 as usize];
        if let NextHop::Spread(spread) = next_hop {
            next_hop = fib.spread(spread).choose(flow);
        }
        observer.step(Step::Route { fib: id, route, next_hop });
        match next_hop {
            NextHop::Vnet(vnet) => match self.snapshot.vnet(vnet).owners.lookup(*dst) {
                Some(Owner::Nic(nic)) => Ok(ResolvedHop::Nic(Hop::Endpoint(nic))),
                Some(Owner::Frontend(frontend)) => Ok(ResolvedHop::Frontend(frontend)),
                Some(Owner::Service) => Err(DropReason::NoService),
                Some(Owner::Reserved) | None => Err(DropReason::NoEndpoint),
            },
            NextHop::Nic(nic) => Ok(ResolvedHop::Nic(Hop::Appliance(nic))),
            NextHop::Frontend(id) if self.snapshot.frontend(id).address == *dst => Ok(ResolvedHop::Frontend(id)),
            NextHop::Frontend(id) => Ok(ResolvedHop::Through(id)),
            NextHop::Unreachable | NextHop::Spread(_) => Err(DropReason::NextHopUnreachable),
            NextHop::Gateway(gateway) => Ok(ResolvedHop::Gateway(gateway)),
            NextHop::NoGateway | NextHop::Tunnel(_) => Err(DropReason::GatewayUnavailable),
            NextHop::Internet => self.edge(dst).map(ResolvedHop::Internet),
            NextHop::Service => Err(DropReason::NoService),
            NextHop::None => Err(DropReason::NextHopNone),
        }
    }

    /// The edge, if this address exists in the Internet (UDR-15).
    fn edge(self, dst: &IpAddr) -> Result<&'a Edge, DropReason> {
        let edge = self.snapshot.edge.as_ref().ok_or(DropReason::NoInternet)?;
        let is_there = edge.hosts.lookup(*dst).is_some() || edge.public.lookup(*dst).is_some();
        is_there.then_some(edge).ok_or(DropReason::NoInternet)
    }

    /// The peering between the two NICs' VNets. Peering is not transitive, so there is at most one (PEER-05); compile
    /// makes no route into a VNet without one.
    #[inline]
    pub(super) fn cross<O: Observer>(
        self,
        sender: NicId,
        receiver: NicId,
        observer: &mut O,
    ) -> Result<Crossing<'a>, DropReason> {
        let (near_end, far_end) = (self.snapshot.nic(sender), self.snapshot.nic(receiver));
        let (from, into) = (near_end.vnet, far_end.vnet);
        if from == into {
            return Ok(Crossing { access: Access::default(), sources: None });
        }
        observer.step(Step::Cross { from, into, receiver });
        let near = self.snapshot.vnet(from).link(into).ok_or(DropReason::PeeringNotConnected)?;
        let far = self.snapshot.vnet(into).link(from).ok_or(DropReason::PeeringNotConnected)?;
        // The two NICs' subnets decide: a forwarded packet's addresses say nothing about them (PEER-53).
        if !near.joins(near_end.subnet) || !far.joins(far_end.subnet) {
            return Err(DropReason::SubnetNotPeered);
        }
        let access = Access { near_explicit: near.explicit_allow, far_explicit: far.explicit_allow };
        Ok(Crossing { access, sources: far.sources.as_ref() })
    }

    /// A NIC accepts packets to its own addresses, and others only with IP forwarding (NIC-02, NIC-03). A stopped
    /// machine accepts none.
    #[inline]
    pub(super) fn deliver(self, hop: Hop, dst: &IpAddr) -> Result<(), DropReason> {
        let nic = self.snapshot.nic(hop.nic());
        if nic.port == PortId::NONE {
            return Err(DropReason::NodeDown);
        }
        let Hop::Appliance(id) = hop else { return Ok(()) };
        let owns = || self.snapshot.vnet(nic.vnet).owners.lookup(*dst) == Some(Owner::Nic(id));
        if nic.forwarding || owns() { Ok(()) } else { Err(DropReason::NotForwarding) }
    }
}

impl Crossing<'_> {
    /// The link of the entered VNet decides whether forwarded traffic may enter (PEER-23, PEER-24).
    #[inline]
    pub(super) fn enter_from(&self, src: &IpAddr) -> Result<(), DropReason> {
        let known = self.sources.is_none_or(|sources| sources.lookup(*src).is_some());
        if known { Ok(()) } else { Err(DropReason::ForwardedTraffic) }
    }
}

/// Each link decides for its own side only.
impl Access {
    #[inline]
    pub(super) fn leave(self, sent: Admitted) -> Result<(), DropReason> {
        grant(self.near_explicit, sent)
    }

    #[inline]
    pub(super) fn enter(self, received: Admitted) -> Result<(), DropReason> {
        grant(self.far_explicit, received)
    }
}

#[inline]
fn grant(explicit: bool, admitted: Admitted) -> Result<(), DropReason> {
    if !explicit || admitted.is_explicit() { Ok(()) } else { Err(DropReason::PeeringAccess) }
}
