//! Through a load balancer: which backend gets a packet to a frontend, and which frontend an answer comes from.
//!
//! One idea: a flow's first packet is mapped like any other translation, from the frontend's address and port to a
//! backend's, and later packets only look up that mapping. An answer is translated back only where it goes straight to
//! the client. One that a route takes elsewhere stays as it is (LB-46).

use std::net::IpAddr;

use crate::dataplane::tables::balancer::sorted;
use crate::dataplane::{
    BalancedFlow, BalancingRule, DropReason, Frontend, FrontendId, Mapped, MappingLookup, Member, NicId, Observer,
    Owner, PacketEnd, PortId, Step, Takes, TcpSegment, Translation,
};
use crate::wire::{Packet, Protocol, QuotedEnd, Tuple};

use super::admit::Admitted;
use super::route::Hop;
use super::{Leg, PacketView};

/// How a packet is rewritten, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Rewrite {
    hop: Hop,
    end: PacketEnd,
    /// None if it stays as it is (LB-20).
    to: Option<(IpAddr, u16)>,
}

/// The decision on a packet to a frontend.
#[derive(Clone, Copy)]
pub(super) enum Balancing {
    Pass(Rewrite),
    /// Its flow has ended, and its sender gets a reset (LB-25).
    Reset,
}

/// The backend of a flow.
enum Taken {
    By(NicId, (IpAddr, u16)),
    /// None: the flow was idle for too long.
    Ended,
}

impl Rewrite {
    pub(super) const fn nic(&self) -> NicId {
        self.hop.nic()
    }

    /// Whether the packet stays as it is.
    pub(super) const fn is_floating(&self) -> bool {
        self.to.is_none()
    }
}

impl Leg<'_> {
    /// The backend of a packet to a frontend.
    #[inline(never)]
    pub(super) fn balance<O: Observer>(
        self,
        id: FrontendId,
        sender: NicId,
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Balancing, DropReason> {
        let frontend = self.snapshot.frontend(id);
        // LB-07
        if packet.fragment().is_some() {
            return Err(DropReason::NotTranslatable);
        }
        let flow = view.flow();
        let (index, rule) = frontend.rule(flow).ok_or(DropReason::NoBalancingRule)?;
        let fits = |mapped: &Mapped| self.fits(frontend, rule, flow.protocol, mapped);
        let to = |member: Member| {
            let port = rule.takes.backend_port(flow.dst_port);
            if rule.floating { (flow.dst, flow.dst_port) } else { (member.address, port) }
        };
        let (nic, to) = match self.taken(&flow.mirrored(), (rule, flow), (view, TcpSegment::of(packet)), fits, to)? {
            Taken::By(nic, to) => (nic, to),
            Taken::Ended if rule.resets => return Ok(Balancing::Reset),
            Taken::Ended => return Err(DropReason::NoMapping),
        };
        observer.step(Step::Balance { frontend: id, rule: index, backend: nic });
        // A guest cannot answer a packet from itself (LB-40).
        if nic == sender {
            return Err(DropReason::Hairpin);
        }
        let to = (!rule.floating).then_some(to);
        Ok(Balancing::Pass(Rewrite { hop: Hop::Endpoint(nic), end: PacketEnd::Destination, to }))
    }

    /// Whether a flow stays with the backend that it is mapped to. The mapping's NIC number may no longer exist.
    pub(super) fn fits(self, frontend: &Frontend, rule: &BalancingRule, protocol: Protocol, mapped: &Mapped) -> bool {
        let nic = self.snapshot.nics.get(mapped.nic.0 as usize);
        nic.is_some_and(|nic| nic.vnet == frontend.vnet) && rule.keeps(protocol, mapped.nic)
    }

    /// Sends the packet on to the backend, or the reset back.
    pub(super) fn to_backend<O: Observer>(
        self,
        sent: (NicId, Admitted),
        balanced: Balancing,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        match balanced {
            Balancing::Pass(rewrite) => self.pass(sent, rewrite, packet, observer),
            Balancing::Reset => self.reset(sent.0, packet, observer),
        }
    }

    /// The appliance behind a frontend that is a route's next hop; the packet stays as it is (LB-32).
    #[inline(never)]
    pub(super) fn through<O: Observer>(
        self,
        id: FrontendId,
        view: &PacketView<'_>,
        observer: &mut O,
    ) -> Result<NicId, DropReason> {
        let flow = view.flow();
        let frontend = self.snapshot.frontend(id);
        let (index, rule) = frontend.rule_through(flow).ok_or(DropReason::NoBalancingRule)?;
        let nic = if has_ports(flow) {
            let ends = sorted(flow);
            let member = |nic| rule.members.iter().any(|member| member.nic == nic);
            let fits = |mapped: &Mapped| member(mapped.nic) && rule.keeps(flow.protocol, mapped.nic);
            let segment = TcpSegment { signal: view.passing.signal, expects: None };
            match self.taken(&ends, (rule, flow), (view, segment), fits, |_| (ends.src, ends.src_port))? {
                Taken::By(nic, _) => nic,
                Taken::Ended => return Err(DropReason::NoMapping),
            }
        } else {
            rule.choose(flow).ok_or(DropReason::NoHealthyBackend)?.nic
        };
        observer.step(Step::Balance { frontend: id, rule: index, backend: nic });
        Ok(nic)
    }

    /// The backend of a flow by its mapping, or else one chosen now, and the address and port that it has there.
    /// `outside` is the flow as the frontend's side sends it.
    fn taken(
        self,
        outside: &Tuple,
        (rule, flow): (&BalancingRule, &Tuple),
        (view, segment): (&PacketView<'_>, TcpSegment),
        fits: impl Fn(&Mapped) -> bool,
        to: impl Fn(Member) -> (IpAddr, u16),
    ) -> Result<Taken, DropReason> {
        let mappings = &self.flows.mappings;
        let lookup = mappings.lookup_outside(outside, segment, self.now);
        if let Some(mapped) = lookup.and_then(|lookup| mappings.balanced(&lookup, fits)) {
            return Ok(Taken::By(mapped.nic, mapped.private));
        }
        // A rule for all ports also takes flows in the middle (LB-25).
        if rule.takes != Takes::All && view.is_mid_stream() {
            return Ok(Taken::Ended);
        }
        let member = rule.choose(flow).ok_or(DropReason::NoHealthyBackend)?;
        let private = to(member);
        // An ICMP error about an unknown flow creates no mapping.
        if view.starts_flow() {
            let (idle_secs, resets) = (rule.idle_secs, rule.resets && rule.takes != Takes::All);
            let mapping = BalancedFlow { nic: member.nic, outside, private, idle_secs, resets, segment, now: self.now };
            mappings.map_balanced(&mapping).map_err(|_| DropReason::FlowLimit)?;
        }
        Ok(Taken::By(member.nic, private))
    }

    /// Whether a packet may be a backend's answer on behalf of a frontend.
    #[inline]
    pub(super) fn may_answer(self, sender: NicId, hop: Hop) -> bool {
        matches!(hop, Hop::Endpoint(_)) && self.may_answer_far(sender)
    }

    /// The same for a packet that goes into a gateway.
    #[inline]
    pub(super) fn may_answer_far(self, sender: NicId) -> bool {
        !self.snapshot.frontends.is_empty() && self.flows.mappings.has_balanced(sender)
    }

    /// The frontend for which a backend's packet answers.
    #[inline(never)]
    pub(super) fn answer(self, sender: NicId, hop: Hop, view: &PacketView<'_>, packet: &Packet<'_>) -> Option<Rewrite> {
        let lookup = self.flows.mappings.lookup_inside(sender, view.flow(), TcpSegment::of(packet), self.now)?;
        let mapped = self.answered(sender, &lookup, None)?;
        let whole = packet.fragment().is_none();
        whole.then(|| Rewrite::of_source(hop, mapped.public))
    }

    /// The mapping of a backend's answer. `known` is a public side that the tables already confirmed as a frontend.
    pub(super) fn answered(
        self,
        sender: NicId,
        lookup: &MappingLookup<'_>,
        known: Option<(IpAddr, u16)>,
    ) -> Option<Mapped> {
        let owners = &self.snapshot.vnet(self.snapshot.nic(sender).vnet).owners;
        let is_frontend = |mapped: &Mapped| {
            mapped.public != mapped.private && matches!(owners.lookup(mapped.public.0), Some(Owner::Frontend(_)))
        };
        self.flows.mappings.answered(sender, lookup, |mapped| known == Some(mapped.public) || is_frontend(mapped))
    }

    /// Rewrites the packet, and goes on to the receiver with the new one.
    #[inline(never)]
    pub(super) fn pass<O: Observer>(
        self,
        sent: (NicId, Admitted),
        rewrite: Rewrite,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let asked = *packet.tuple();
        rewrite.write(packet, observer);
        let receiver = rewrite.hop.nic();
        let vnet = self.snapshot.nic(receiver).vnet;
        let stays = rewrite.end == PacketEnd::Source || rewrite.to.is_none();
        // A mapping may outlive its backend's address: another NIC may own it now.
        if !stays && self.snapshot.vnet(vnet).owners.lookup(packet.dst()) != Some(Owner::Nic(receiver)) {
            return Err(DropReason::NoEndpoint);
        }
        let (before, after) = (PacketView::of(packet, Some(&asked), self.now), PacketView::of(packet, None, self.now));
        self.meet(rewrite.hop, sent, (&before, &after), packet, observer).map(|(port, _)| port)
    }
}

impl Rewrite {
    /// An answer: its source becomes the frontend.
    const fn of_source(hop: Hop, to: (IpAddr, u16)) -> Self {
        Self { hop, end: PacketEnd::Source, to: Some(to) }
    }

    /// The packet's tuple after the rewrite.
    pub(super) fn rewritten(&self, tuple: &Tuple) -> Tuple {
        match (self.to, self.end) {
            (None, _) => *tuple,
            (Some((dst, dst_port)), PacketEnd::Destination) if has_ports(tuple) => Tuple { dst, dst_port, ..*tuple },
            (Some((dst, _)), PacketEnd::Destination) => Tuple { dst, ..*tuple },
            (Some((src, src_port)), PacketEnd::Source) if has_ports(tuple) => Tuple { src, src_port, ..*tuple },
            (Some((src, _)), PacketEnd::Source) => Tuple { src, ..*tuple },
        }
    }

    /// Reports the translation.
    pub(super) fn tell<O: Observer>(&self, tuple: &Tuple, observer: &mut O) {
        let Some(to) = self.to else { return };
        observer.step(Step::Translate(match self.end {
            PacketEnd::Destination => Translation::destination((tuple.dst, tuple.dst_port), to),
            PacketEnd::Source => Translation::source((tuple.src, tuple.src_port), to),
        }));
    }

    /// Rewrites the packet.
    pub(super) fn apply(&self, packet: &mut Packet<'_>) {
        let Some((address, port)) = self.to else { return };
        let has_ports = has_ports(packet.tuple());
        match self.end {
            PacketEnd::Destination => {
                packet.set_quoted(QuotedEnd::Src, address, Some(port));
                if has_ports {
                    packet.set_dst_end((address, port));
                } else {
                    packet.set_dst(address);
                }
            }
            PacketEnd::Source => {
                packet.set_quoted(QuotedEnd::Dst, address, Some(port));
                if has_ports {
                    packet.set_src_end((address, port));
                } else {
                    packet.set_src(address);
                }
            }
        }
    }

    /// Reports the translation and rewrites the packet.
    pub(super) fn write<O: Observer>(&self, packet: &mut Packet<'_>, observer: &mut O) {
        self.tell(packet.tuple(), observer);
        self.apply(packet);
    }
}

fn has_ports(tuple: &Tuple) -> bool {
    matches!(tuple.protocol, Protocol::TCP | Protocol::UDP)
}
