//! Through virtual network gateways: from a NIC into a tunnel, out of a tunnel to a NIC, and from tunnel to tunnel.
//!
//! One idea: a gateway is a router within one leg. It counts a hop (FAB-05) and uses its subnet's routes; where those
//! lead to itself, it uses its own. Packets to the gateway itself, or without hops left, go to its own kernel, which
//! answers. Hops are counted when all is decided: until then the packet stays as it came.
//!
//! The machines of a private cloud's segments are at the ends of tunnels too. They alone have rules there (AVS-12).

use crate::dataplane::{
    Deciders, Direction, DropReason, Edge, FrontendId, Gateway, GatewayId, NextHop, NicId, Observer, Owner, PoolId,
    PortId, Step, Trail,
};
use crate::wire::Packet;

use super::admit::Admitted;
use super::balance::Balancing;
use super::edge::Departure;
use super::passed::{Known, Origin, Passed};
use super::route::{Hop, ResolvedHop};
use super::{Leg, PacketView, Passage, check, packet_view};

/// Most gateways that a packet passes in one leg. Of virtual networks chained by tunnels each has one; with more than
/// these the packet is in a loop.
const GATEWAYS_MAX: usize = 16;

/// Routers on the way from a private cloud's workload to the Internet: Tier-1, Tier-0 and the circuit's edge (AVS-06).
const CLOUD_ROUTERS_MAX: u8 = 3;

/// Where a gateway sends a packet.
enum Onward {
    Tunnel(NicId),
    Gateway(GatewayId),
    /// With the appliance that a balancer chose, if one did.
    Nic(Hop, Option<NicId>),
    Frontend(FrontendId),
    /// To the gateway itself.
    Here,
}

impl Leg<'_> {
    /// A packet that a route leads to a gateway. To a peer's gateway it crosses the peering; a gateway has no rules
    /// that could allow it explicitly (PEER-22).
    #[inline(never)]
    pub(super) fn go_through<O: Observer>(
        self,
        gateway: GatewayId,
        (sender, admitted): (NicId, Admitted),
        views: (&PacketView<'_>, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Passed, DropReason> {
        let nic = self.snapshot.gateway(gateway).nic;
        let crossing = self.cross(sender, nic, observer)?;
        crossing.access.leave(admitted)?;
        crossing.access.enter(Admitted::ByDefault(Deciders::default()))?;
        self.pass_on(gateway, (sender, Some((sender, Direction::Outbound, admitted))), views, packet, observer)
    }

    /// A packet out of a tunnel, or one that an edge router sends itself.
    #[inline(never)]
    pub(super) fn come_out<O: Observer>(
        self,
        tunnel: NicId,
        (gateway, up): (GatewayId, bool),
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        observer.step(Step::Sent { nic: tunnel });
        if !up {
            observer.step(Step::Gateway { nic: self.snapshot.gateway(gateway).nic });
            return Err(DropReason::GatewayUnavailable);
        }
        let of_first = packet_view::tuple_of_first(packet, tunnel, &self.flows.fragments, self.now)?;
        let view = PacketView::of(packet, of_first.as_ref(), self.now);
        let own = self.snapshot.gateway(gateway);
        if !own.carries(tunnel, view.tuple.dst, view.tuple.src) {
            observer.step(Step::Gateway { nic: own.nic });
            return Err(DropReason::TrafficSelector);
        }
        let Some(nat) = own.nat(tunnel) else {
            let sent = self.out_of_machine(tunnel, &view, observer)?;
            if let Some(neighbour) = self.neighbour(own, tunnel, &view) {
                let (port, received) = self.into_tunnel(neighbour, (sent, &view, &view), packet, observer)?;
                if let Some(known) = Known::of([sent, received], neighbour) {
                    known.tell(tunnel, &Trail::of(*packet.tuple()), 0, packet, observer);
                }
                return Ok(port);
            }
            if let Some(exit) = self.beyond(gateway, &view).filter(|exit| packet.ttl() > exit.hops) {
                let departure = self.pass_routers(&exit, tunnel, &view, packet, observer)?;
                self.commit(sent.map(|sent| (sent, &view)), None, observer)?;
                let origin = Origin::of(tunnel, sent.map(|(_, _, admitted)| admitted), exit.hops, packet);
                for _ in 0..exit.hops {
                    packet.count_hop();
                }
                return self.leave(exit.edge, (exit.router, origin), departure, packet, observer);
            }
            let passed = self.pass_on(gateway, (tunnel, sent), (&view, &view), packet, observer)?;
            let trail = Trail::of(*packet.tuple());
            return Ok(passed.conclude((tunnel, Some(trail)), None, packet, observer));
        };
        let renamed = self.rename(tunnel, (&nat.near, &nat.far), &view, packet, observer);
        // The step names the gateway that drops it.
        let renamed = renamed.inspect_err(|_| observer.step(Step::Gateway { nic: own.nic }))?;
        let of_first = of_first.map(|tuple| renamed.tuple(tuple));
        let trail = renamed.added_to(Trail::of(*packet.tuple()));
        renamed.apply(packet);
        let view = PacketView::of(packet, of_first.as_ref(), self.now);
        let passed = self.pass_on(gateway, (tunnel, None), (&view, &view), packet, observer)?;
        Ok(passed.conclude((tunnel, trail), None, packet, observer))
    }

    /// By the routers of a private cloud to a circuit's edge, which decides the translation.
    fn pass_routers<O: Observer>(
        self,
        Exit { edge, pool, router, first, hops: _ }: &Exit<'_>,
        from: NicId,
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Departure, DropReason> {
        let mut passed = *first;
        while self.snapshot.gateway(passed).nic != *router {
            let own = self.snapshot.gateway(passed);
            if own.nic != from {
                observer.step(Step::Gateway { nic: own.nic });
            }
            let Onward::Gateway(next) = by_own_table(own, view)? else { return Err(DropReason::GatewayUnavailable) };
            passed = next;
        }
        self.depart_cloud((edge, *pool), *router, view, packet, observer)
    }

    /// Forwards from gateway to gateway. `view` is the packet as its sender sees it, `named` as it is from there on.
    pub(super) fn pass_on<O: Observer>(
        self,
        first: GatewayId,
        (from, sent): (NicId, Option<Passage>),
        (view, named): (&PacketView<'_>, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Passed, DropReason> {
        let mut gateway = first;
        let mut hops = 0;
        for _ in 0..GATEWAYS_MAX {
            let own = self.snapshot.gateway(gateway).nic;
            if from != own {
                observer.step(Step::Gateway { nic: own });
                let nic = self.snapshot.nic(own);
                if self.is_asked(gateway, view) || packet.ttl() <= hops + 1 {
                    observer.step(Step::Arrive { nic: own });
                    self.commit(sent.map(|sent| (sent, view)), None, observer)?;
                    return Ok(Passed::to(nic.port, hops, None));
                }
                hops += 1;
            }
            match self.onward(gateway, view, observer)? {
                Onward::Gateway(next) => gateway = next,
                // A packet to itself never leaves its kernel.
                Onward::Here => return Err(DropReason::GatewayUnavailable),
                Onward::Nic(hop, appliance) => {
                    let (port, known) = self.come_in((own, hop), sent, (view, view), packet, observer)?;
                    return Ok(Passed::to(port, hops, known).through(appliance));
                }
                Onward::Frontend(frontend) => {
                    let Balancing::Pass(rewrite) = self.balance(frontend, own, view, packet, observer)? else {
                        // Over a gateway no reset is sent.
                        return Err(DropReason::NoMapping);
                    };
                    rewrite.tell(view.tuple, observer);
                    let rewritten = rewrite.rewritten(view.tuple);
                    let after = view.rewritten(&rewritten, |tuple| rewrite.rewritten(tuple));
                    let hop = Hop::Endpoint(rewrite.nic());
                    let (port, known) = self.come_in((own, hop), sent, (view, &after), packet, observer)?;
                    return Ok(Passed::to(port, hops, known).rewritten(rewrite));
                }
                Onward::Tunnel(tunnel) => {
                    if !self.snapshot.gateway(gateway).carries(tunnel, view.tuple.src, view.tuple.dst) {
                        return Err(DropReason::TrafficSelector);
                    }
                    check::size(packet, self.snapshot.nic(tunnel))?;
                    let nat = self.snapshot.gateway(gateway).nat(tunnel);
                    let renamed = nat
                        .map(|nat| self.rename(tunnel, (&nat.far, &nat.near), named, packet, observer))
                        .transpose()?;
                    let (port, received) = self.into_tunnel(tunnel, (sent, view, named), packet, observer)?;
                    if sent.is_none() && from != own {
                        // From tunnel to tunnel: every loop between gateways and sites takes such a turn.
                        self.flows.loops.watch(from, packet, self.now);
                    }
                    let enters = self.snapshot.edge.as_ref().is_some_and(|edge| edge.internet == from);
                    let ends = [sent, received];
                    let known = if enters { Known::over_edge(ends, tunnel) } else { Known::of(ends, tunnel) };
                    return Ok(Passed::to(port, hops, known).renamed(renamed));
                }
            }
        }
        Err(DropReason::GatewayUnavailable)
    }

    /// Whether a packet is for a gateway itself.
    fn is_asked(self, gateway: GatewayId, view: &PacketView<'_>) -> bool {
        let Gateway { nic, in_subnet, tunnels, selectors: _, nat: _ } = self.snapshot.gateway(gateway);
        if *in_subnet {
            let vnet = self.snapshot.nic(*nic).vnet;
            return self.snapshot.vnet(vnet).owners.lookup(view.tuple.dst) == Some(Owner::Nic(*nic));
        }
        let route = tunnels.lpm.lookup(view.tuple.dst);
        route.is_some_and(|route| tunnels.next_hops[route.0 as usize] == NextHop::Nic(*nic))
    }

    /// Uses the routes of its subnet. It uses its own where those lead to itself, or to the Internet, where no gateway
    /// forwards.
    fn onward<O: Observer>(
        self,
        gateway: GatewayId,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<Onward, DropReason> {
        let own = self.snapshot.gateway(gateway);
        if !own.in_subnet {
            return by_own_table(own, view);
        }
        match self.resolve(own.nic, view.tuple, observer) {
            Ok(ResolvedHop::Nic(hop)) => return Ok(Onward::Nic(hop, None)),
            Ok(ResolvedHop::Through(frontend)) => {
                let appliance = self.through(frontend, view, observer)?;
                return Ok(Onward::Nic(Hop::Appliance(appliance), Some(appliance)));
            }
            Ok(ResolvedHop::Frontend(frontend)) => return Ok(Onward::Frontend(frontend)),
            Ok(ResolvedHop::Gateway(_) | ResolvedHop::Internet(_) | ResolvedHop::Platform(_))
            | Err(DropReason::NoInternet) => {}
            Err(reason) => return Err(reason),
        }
        by_own_table(own, view)
    }

    /// From a gateway to a NIC of its virtual network or a peer's. A packet that a gateway forwards needs
    /// `allowForwardedTraffic` (PEER-25). `asked` is the packet as its sender sees it, `view` as that NIC does.
    fn come_in<O: Observer>(
        self,
        (gateway, hop): (NicId, Hop),
        sent: Option<Passage>,
        (asked, view): (&PacketView<'_>, &PacketView<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<(PortId, Option<Known>), DropReason> {
        let receiver = hop.nic();
        let crossing = self.cross(gateway, receiver, observer)?;
        crossing.access.leave(Admitted::ByDefault(Deciders::default()))?;
        observer.step(Step::Arrive { nic: receiver });
        self.deliver(hop, &view.tuple.dst)?;
        let admitted =
            self.admit(&view.key(receiver, Direction::Inbound), receiver, Direction::Inbound, view, observer)?;
        crossing.access.enter(admitted)?;
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        let inward = (receiver, Direction::Inbound, admitted);
        self.commit(sent.map(|sent| (sent, asked)), Some((inward, view)), observer)?;
        Ok((nic.port, Known::of([sent, Some(inward)], receiver)))
    }
}

/// Where a private cloud's packet leaves for the Internet: at its circuit's edge, which lends it a port.
struct Exit<'a> {
    edge: &'a Edge,
    pool: PoolId,
    /// The circuit's edge.
    router: NicId,
    /// Routers up to there, that one included.
    hops: u8,
    first: GatewayId,
}

impl<'a> Leg<'a> {
    /// The edge where a packet leaves, if it is a private cloud's and its routers lead there. A packet of anything else is
    /// asked no more than whether its gateway is in a subnet.
    fn beyond(self, first: GatewayId, view: &PacketView<'_>) -> Option<Exit<'a>> {
        let mut own = self.snapshot.gateway(first);
        let edge = self.snapshot.edge.as_ref().filter(|_| !own.in_subnet)?;
        for hops in 1..=CLOUD_ROUTERS_MAX {
            let route = own.tunnels.lpm.lookup(view.tuple.dst)?;
            own = match own.tunnels.next_hops[route.0 as usize] {
                NextHop::Internet => {
                    let pool = edge.egress(own.nic).cloud?.pool;
                    return Some(Exit { edge, pool, router: own.nic, hops, first });
                }
                NextHop::Gateway(next) => Some(self.snapshot.gateway(next)).filter(|next| !next.in_subnet)?,
                _ => return None,
            };
        }
        None
    }
}

/// Where a gateway's own table leads; its subnet's routes do not matter.
fn by_own_table(own: &Gateway, view: &PacketView<'_>) -> Result<Onward, DropReason> {
    let route = own.tunnels.lpm.lookup(view.tuple.dst).ok_or(DropReason::GatewayUnavailable)?;
    let mut hop = own.tunnels.next_hops[route.0 as usize];
    if let NextHop::Spread(spread) = hop {
        hop = own.tunnels.spread(spread).choose(view.tuple);
    }
    match hop {
        NextHop::Tunnel(tunnel) => Ok(Onward::Tunnel(tunnel)),
        NextHop::Gateway(far) => Ok(Onward::Gateway(far)),
        NextHop::Nic(nic) if nic == own.nic => Ok(Onward::Here),
        NextHop::Vnet(_)
        | NextHop::Nic(_)
        | NextHop::Spread(_)
        | NextHop::Frontend(_)
        | NextHop::Unreachable
        | NextHop::NoGateway
        | NextHop::Internet
        | NextHop::Service
        | NextHop::None => Err(DropReason::GatewayUnavailable),
    }
}
