//! Through virtual network gateways: from a NIC into a tunnel, out of a tunnel to a NIC, and from tunnel to tunnel.
//!
//! One idea: a gateway is a router in the way of one leg. It counts a hop (FAB-05), goes by its subnet's routes, and where
//! those lead to itself by its own. What is for itself, or too old to go on, its own kernel gets and answers. Hops are
//! counted when all is decided: until then the packet is as it came.

use crate::dataplane::{
    Deciders, Direction, DropReason, FrontendId, Gateway, GatewayId, NextHop, NicId, Observer, Owner, PortId, Step,
};
use crate::wire::Packet;

use super::admit::Admitted;
use super::balance::{Balancing, Rewrite};
use super::route::{Hop, Way};
use super::tunnel_nat::Renamed;
use super::{Leg, Passage, Subject, check, packet_view};

/// Gateways that a packet passes in one leg. Between virtual networks that are chained by tunnels each is one; more than
/// these are going round.
const GATEWAYS_MAX: usize = 16;

/// Through how many gateways a packet has gone, and where to.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    port: PortId,
    hops: u8,
    /// Of one for a load balancer's frontend (LB-41).
    rewrite: Option<Rewrite>,
    /// Of one that is known by other names beyond a tunnel (VPN-15).
    renamed: Option<Renamed>,
}

impl Passed {
    /// Writes down the hops, and where it goes; `answer`, if it goes by a frontend's name.
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
}

/// Where a gateway sends a packet.
enum Onward {
    Tunnel(NicId),
    Gateway(GatewayId),
    Within(Hop),
    Frontend(FrontendId),
    /// It is meant itself.
    Here,
}

impl Leg<'_> {
    /// What a route hands to a gateway. To one of a peer it crosses the peering, where a gateway has no rule that could
    /// allow it (PEER-22).
    #[inline(never)]
    pub(super) fn go_through<O: Observer>(
        self,
        gateway: GatewayId,
        (sender, admitted): (NicId, Admitted),
        subjects: (&Subject<'_>, &Subject<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Passed, DropReason> {
        let nic = self.snapshot.gateway(gateway).nic;
        let crossing = self.cross(sender, nic, observer)?;
        crossing.access.leave(admitted)?;
        crossing.access.enter(Admitted::ByDefault(Deciders::default()))?;
        self.pass_on(gateway, (sender, Some((sender, Direction::Outbound, admitted))), subjects, packet, observer)
    }

    /// What comes out of a tunnel, or what an edge says itself.
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
        let subject = Subject::of(packet, of_first.as_ref(), self.now);
        let own = self.snapshot.gateway(gateway);
        if !own.carries(tunnel, subject.tuple.dst, subject.tuple.src) {
            observer.step(Step::Gateway { nic: own.nic });
            return Err(DropReason::TrafficSelector);
        }
        let Some(nat) = own.nat(tunnel) else {
            let passed = self.pass_on(gateway, (tunnel, None), (&subject, &subject), packet, observer)?;
            return Ok(passed.write(None, packet));
        };
        let renamed = self.rename(tunnel, (&nat.near, &nat.far), &subject, packet, observer);
        // Who refuses it has to be named.
        let renamed = renamed.inspect_err(|_| observer.step(Step::Gateway { nic: own.nic }))?;
        let of_first = of_first.map(|tuple| renamed.tuple(tuple));
        renamed.apply(packet);
        let subject = Subject::of(packet, of_first.as_ref(), self.now);
        let passed = self.pass_on(gateway, (tunnel, None), (&subject, &subject), packet, observer)?;
        Ok(passed.write(None, packet))
    }

    /// The packet as its sender's NIC knows it, and as it goes by from there on.
    pub(super) fn pass_on<O: Observer>(
        self,
        first: GatewayId,
        (from, sent): (NicId, Option<Passage>),
        (subject, named): (&Subject<'_>, &Subject<'_>),
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
                if self.is_asked(gateway, subject) || packet.ttl() <= hops + 1 {
                    observer.step(Step::Arrive { nic: own });
                    self.commit(sent.map(|sent| (sent, subject)), None, observer)?;
                    return Ok(Passed { port: nic.port, hops, rewrite: None, renamed: None });
                }
                hops += 1;
            }
            match self.onward(gateway, subject, observer)? {
                Onward::Gateway(next) => gateway = next,
                // What it says to itself never comes by.
                Onward::Here => return Err(DropReason::GatewayUnavailable),
                Onward::Within(hop) => {
                    let port = self.come_in((own, hop), sent, (subject, subject), packet, observer)?;
                    return Ok(Passed { port, hops, rewrite: None, renamed: None });
                }
                Onward::Frontend(frontend) => {
                    let Balancing::Pass(rewrite) = self.balance(frontend, own, subject, packet, observer)? else {
                        // Nobody is told over a gateway.
                        return Err(DropReason::NoMapping);
                    };
                    rewrite.tell(subject.tuple, observer);
                    let rewritten = rewrite.rewritten(subject.tuple);
                    let after = subject.rewritten(&rewritten, |tuple| rewrite.rewritten(tuple));
                    let hop = Hop::Endpoint(rewrite.nic());
                    let port = self.come_in((own, hop), sent, (subject, &after), packet, observer)?;
                    return Ok(Passed { port, hops, rewrite: Some(rewrite), renamed: None });
                }
                Onward::Tunnel(tunnel) => {
                    if !self.snapshot.gateway(gateway).carries(tunnel, subject.tuple.src, subject.tuple.dst) {
                        return Err(DropReason::TrafficSelector);
                    }
                    let nic = self.snapshot.nic(tunnel);
                    check::size(packet, nic)?;
                    let nat = self.snapshot.gateway(gateway).nat(tunnel);
                    let renamed = nat
                        .map(|nat| self.rename(tunnel, (&nat.far, &nat.near), named, packet, observer))
                        .transpose()?;
                    self.commit(sent.map(|sent| (sent, subject)), None, observer)?;
                    if sent.is_none() && from != own {
                        // From tunnel to tunnel, as all that goes round between gateways and sites does.
                        self.flows.loops.watch(from, packet, self.now);
                    }
                    observer.step(Step::Arrive { nic: tunnel });
                    return Ok(Passed { port: nic.port, hops, rewrite: None, renamed });
                }
            }
        }
        Err(DropReason::GatewayUnavailable)
    }

    /// Whether a packet is for a gateway itself.
    fn is_asked(self, gateway: GatewayId, subject: &Subject<'_>) -> bool {
        let Gateway { nic, in_subnet, tunnels, selectors: _, nat: _ } = self.snapshot.gateway(gateway);
        if *in_subnet {
            let vnet = self.snapshot.nic(*nic).vnet;
            return self.snapshot.vnet(vnet).owners.lookup(subject.tuple.dst) == Some(Owner::Nic(*nic));
        }
        let route = tunnels.lpm.lookup(subject.tuple.dst);
        route.is_some_and(|route| tunnels.next_hops[route.0 as usize] == NextHop::Nic(*nic))
    }

    /// By the routes of its subnet; by its own where those lead to itself, or out to the Internet, which no gateway does.
    fn onward<O: Observer>(
        self,
        gateway: GatewayId,
        subject: &Subject<'_>,
        observer: &mut O,
    ) -> Result<Onward, DropReason> {
        let own = self.snapshot.gateway(gateway);
        if !own.in_subnet {
            return by_own_table(own, subject);
        }
        match self.lead(own.nic, subject.tuple, observer) {
            Ok(Way::Within(hop)) => return Ok(Onward::Within(hop)),
            Ok(Way::Through(frontend)) => {
                return Ok(Onward::Within(Hop::Appliance(self.through(frontend, subject, observer)?)));
            }
            Ok(Way::Frontend(frontend)) => return Ok(Onward::Frontend(frontend)),
            Ok(Way::Gateway(_) | Way::Internet(_) | Way::Platform(_)) | Err(DropReason::NoInternet) => {}
            Err(reason) => return Err(reason),
        }
        by_own_table(own, subject)
    }

    /// From a gateway to a NIC of its virtual network or a peer's, as its sender knows it and as that NIC does; what a gateway forwards asks for no
    /// `allowForwardedTraffic` (PEER-25).
    fn come_in<O: Observer>(
        self,
        (gateway, hop): (NicId, Hop),
        sent: Option<Passage>,
        (asked, subject): (&Subject<'_>, &Subject<'_>),
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let receiver = hop.nic();
        let crossing = self.cross(gateway, receiver, observer)?;
        crossing.access.leave(Admitted::ByDefault(Deciders::default()))?;
        observer.step(Step::Arrive { nic: receiver });
        self.deliver(hop, &subject.tuple.dst)?;
        let admitted = self.admit(receiver, Direction::Inbound, subject, observer)?;
        crossing.access.enter(admitted)?;
        let nic = self.snapshot.nic(receiver);
        check::size(packet, nic)?;
        self.commit(
            sent.map(|sent| (sent, asked)),
            Some(((receiver, Direction::Inbound, admitted), subject)),
            observer,
        )?;
        Ok(nic.port)
    }
}

/// Where a gateway's own table leads, whatever its subnet's says.
fn by_own_table(own: &Gateway, subject: &Subject<'_>) -> Result<Onward, DropReason> {
    let route = own.tunnels.lpm.lookup(subject.tuple.dst).ok_or(DropReason::GatewayUnavailable)?;
    let mut hop = own.tunnels.next_hops[route.0 as usize];
    if let NextHop::Spread(spread) = hop {
        hop = own.tunnels.spread(spread).choose(subject.tuple);
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
