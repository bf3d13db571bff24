//! Where a packet goes: the sender's route, the peering on the way, the NIC at its end.

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
    /// A route's next hop, whatever the destination (UDR-13).
    Appliance(NicId),
}

/// Where a route leads.
pub(super) enum Way<'a> {
    Within(Hop),
    Internet(&'a Edge),
    /// To one of its backends.
    Frontend(FrontendId),
    /// Through one of its backends.
    Through(FrontendId),
    Gateway(GatewayId),
    /// Who asks, or answers a probe.
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
    /// From where the receiver's VNet's own link lets traffic in; none where from everywhere.
    sources: Option<&'a Lpm<()>>,
}

/// Which of a peering's two links, the sender's VNet's own and the receiver's, wants an explicit rule for a flow (PEER-22);
/// neither within a VNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    near_explicit: bool,
    far_explicit: bool,
}

impl<'a> Leg<'a> {
    /// By the destination alone, in the sender's subnet's routes (RSEL-01); among several appliances of one route, by the
    /// flow (RSEL-06). No next hop is looked up twice: an appliance
    /// was located by ownership when the routes were compiled (UDR-12).
    #[inline]
    pub(super) fn route<O: Observer>(
        self,
        (sender, admitted): (NicId, Admitted),
        flow: &Tuple,
        observer: &mut O,
    ) -> Result<Way<'a>, DropReason> {
        let dst = &flow.dst;
        if *dst == PLATFORM || *dst == METADATA || *dst == PROBER_V6 {
            // In reach whatever the routes say (FAB-12): who asks for what is served there, or answers a probe.
            let there = self.snapshot.vnet(self.snapshot.nic(sender).vnet).platform;
            let there = there.filter(|_| admitted.has_record() || platform::serves(flow));
            return there.map(Way::Platform).ok_or(DropReason::NoEndpoint);
        }
        self.lead(sender, flow, observer)
    }

    /// The same for a destination that is nobody's by itself.
    #[inline]
    pub(super) fn lead<O: Observer>(
        self,
        sender: NicId,
        flow: &Tuple,
        observer: &mut O,
    ) -> Result<Way<'a>, DropReason> {
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
                Some(Owner::Nic(nic)) => Ok(Way::Within(Hop::Endpoint(nic))),
                Some(Owner::Frontend(frontend)) => Ok(Way::Frontend(frontend)),
                Some(Owner::Service) => Err(DropReason::NoService),
                Some(Owner::Reserved) | None => Err(DropReason::NoEndpoint),
            },
            NextHop::Nic(nic) => Ok(Way::Within(Hop::Appliance(nic))),
            NextHop::Frontend(id) if self.snapshot.frontend(id).address == *dst => Ok(Way::Frontend(id)),
            NextHop::Frontend(id) => Ok(Way::Through(id)),
            NextHop::Unreachable | NextHop::Spread(_) => Err(DropReason::NextHopUnreachable),
            NextHop::Gateway(gateway) => Ok(Way::Gateway(gateway)),
            NextHop::NoGateway | NextHop::Tunnel(_) => Err(DropReason::GatewayUnavailable),
            NextHop::Internet => self.edge(dst).map(Way::Internet),
            NextHop::Service => Err(DropReason::NoService),
            NextHop::None => Err(DropReason::NextHopNone),
        }
    }

    /// The edge, if the Internet has somebody at this address (UDR-15).
    fn edge(self, dst: &IpAddr) -> Result<&'a Edge, DropReason> {
        let edge = self.snapshot.edge.as_ref().ok_or(DropReason::NoInternet)?;
        let is_there = edge.hosts.lookup(*dst).is_some() || edge.public.lookup(*dst).is_some();
        is_there.then_some(edge).ok_or(DropReason::NoInternet)
    }

    /// The peering between the two NICs' VNets. It is not transitive, so there is one at most (PEER-05); compile makes no
    /// route into a VNet without one.
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
        // By the two NICs' subnets: a forwarded packet's addresses say nothing of them (PEER-53).
        if !near.joins(near_end.subnet) || !far.joins(far_end.subnet) {
            return Err(DropReason::SubnetNotPeered);
        }
        let access = Access { near_explicit: near.explicit_allow, far_explicit: far.explicit_allow };
        Ok(Crossing { access, sources: far.sources.as_ref() })
    }

    /// A NIC takes what it owns, and the rest only with IP forwarding (NIC-02, NIC-03); of a machine that is stopped
    /// nothing.
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
    /// The entered VNet's link decides whether traffic of foreign origin may come (PEER-23, PEER-24).
    #[inline]
    pub(super) fn enter_from(&self, src: &IpAddr) -> Result<(), DropReason> {
        let known = self.sources.is_none_or(|sources| sources.lookup(*src).is_some());
        if known { Ok(()) } else { Err(DropReason::ForwardedTraffic) }
    }
}

/// Each link asks on its own side only.
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
