//! Over the edge of the fabric: source translation of what leaves, destination translation of what enters.
//!
//! One idea: filters and records know private addresses only (NSG-05). So a packet is translated after the last of them
//! on its way out, and before the first of them on its way in. A packet for a public address of this network leaves
//! too, and enters again (PIP-05). The packet is written last: until the translation is decided, nothing has changed.

use std::net::IpAddr;

use crate::dataplane::{
    Direction, DropReason, Edge, FrontendId, IdleReset, Mapped, MappingLookup, MappingSide, NicId, Observer, Outbound,
    PoolId, PortId, PublicOwner, Step, TcpSegment, Translation, UsedMapping,
};
use crate::wire::{Packet, Protocol, QuotedEnd, Transport, Tuple};

use super::admit::Admitted;
use super::balance::Balancing;
use super::passed::Origin;
use super::{Leg, PacketView, check, packet_view};

/// How a packet enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Closed by default: an NSG must allow it (PIP-04, LB-43).
    pub(super) closed: bool,
    /// For an address that its receiver has besides its own (LB-20).
    pub(super) floating: bool,
}

/// The outbound translation of a packet that leaves.
#[derive(Clone, Copy)]
pub(super) enum Departure {
    /// The instance's own public address, port unchanged (PIP-01).
    Instance { public: IpAddr },
    /// A port of a shared public address.
    Mapped { public: (IpAddr, u16) },
    /// None: its mapping has expired, and its sender gets a reset (NAT-04).
    Reset,
}

impl Leg<'_> {
    /// Decides the sender's translation and creates its record. The packet has left, even if the Internet drops it.
    #[inline(never)]
    pub(super) fn depart<O: Observer>(
        self,
        edge: &Edge,
        (sender, admitted): (NicId, Admitted),
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Departure, DropReason> {
        let departure = self.source_nat(edge, (sender, admitted), (view, packet), observer)?;
        let own = (view.tuple.src, view.tuple.src_port);
        match departure {
            Departure::Instance { public } => {
                observer.step(Step::Translate(Translation::source(own, (public, own.1))));
            }
            Departure::Mapped { public } => observer.step(Step::Translate(Translation::source(own, public))),
            Departure::Reset => return Ok(departure),
        }
        check::size(packet, self.snapshot.nic(edge.internet))?;
        self.commit(Some(((sender, Direction::Outbound, admitted), view)), None, observer)?;
        Ok(departure)
    }

    /// Rewrites the packet, and delivers it to the Internet or back into this network. `sender` is whose translation it is,
    /// `origin` where it comes from if it followed records there.
    #[inline(never)]
    pub(super) fn leave<O: Observer>(
        self,
        edge: &Edge,
        (sender, origin): (NicId, Option<Origin>),
        departure: Departure,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let private = packet.src();
        let (public, port) = match departure {
            Departure::Instance { public } => (public, None),
            Departure::Mapped { public: (public, port) } => (public, Some(port)),
            Departure::Reset => return self.reset(sender, packet, observer),
        };
        // An error comes from an end of the flow that it quotes, or from a router between the ends.
        if quotes(packet, |quoted| quoted.dst == private) {
            packet.set_quoted(QuotedEnd::Dst, public, port);
        }
        match port {
            Some(port) => packet.set_src_end((public, port)),
            None => packet.set_src(public),
        }
        let used = port.map(|_| UsedMapping { side: MappingSide::Inside, nic: sender });
        let origin = origin.and_then(|origin| origin.then(packet, used));
        if edge.public.lookup(packet.dst()).is_some() {
            return self.enter(edge, origin, packet, observer);
        }
        observer.step(Step::Arrive { nic: edge.internet });
        if let Some(origin) = origin {
            origin.tell((edge.internet, false), packet, observer);
        }
        Ok(self.snapshot.nic(edge.internet).port)
    }

    /// Answers a packet with a reset: its flow has ended.
    #[inline(never)]
    pub(super) fn reset<O: Observer>(
        self,
        sender: NicId,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let answered = packet.turn_into_reset();
        observer.step(Step::Reset { nic: sender });
        answered.then_some(self.snapshot.nic(sender).port).ok_or(DropReason::NoMapping)
    }

    /// Decides the translation of what a private cloud sends to the Internet. Behind a circuit's edge there are no
    /// filters and no records (AVS-11).
    #[inline(never)]
    pub(super) fn depart_cloud<O: Observer>(
        self,
        (edge, pool): (&Edge, PoolId),
        router: NicId,
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Departure, DropReason> {
        observer.step(Step::Gateway { nic: router });
        let segment = TcpSegment::of(packet);
        let is_whole = packet.fragment().is_none();
        let lookup = self.flows.mappings.lookup_inside(router, view.flow(), segment, self.now).filter(|_| is_whole);
        let known = lookup.and_then(|lookup| self.stood_for(edge, router, &lookup, None));
        let departure = match known {
            Some(mapped) => Departure::Mapped { public: mapped.public },
            None => self.map(edge, pool, (router, segment), (view, is_whole), observer)?,
        };
        if let Departure::Mapped { public } = departure {
            observer.step(Step::Translate(Translation::source((view.tuple.src, view.tuple.src_port), public)));
        }
        check::size(packet, self.snapshot.nic(edge.internet))?;
        Ok(departure)
    }

    /// A packet from the Internet.
    #[inline(never)]
    pub(super) fn forward_in<O: Observer>(
        self,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let edge = self.snapshot.edge.as_ref().ok_or(DropReason::NodeDown)?;
        observer.step(Step::Sent { nic: edge.internet });
        if edge.hosts.lookup(packet.src()).is_none() {
            return Err(DropReason::SpoofedSource);
        }
        let origin = Origin::of(edge.internet, None, 0, packet);
        self.enter(edge, origin, packet, observer)
    }

    /// From the Internet's side to the NIC that a public address stands for.
    pub(super) fn enter<O: Observer>(
        self,
        edge: &Edge,
        origin: Option<Origin>,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let owner = edge.public.lookup(packet.dst()).ok_or(DropReason::NoEndpoint)?;
        let public = (packet.dst(), packet.tuple().dst_port);
        let (receiver, private, port) = match owner {
            PublicOwner::Instance { nic, private } => (nic, private, None),
            PublicOwner::Pool(_) | PublicOwner::Frontend(_) => match (self.mapped(packet), owner) {
                (Some(Mapped { nic, private: (private, port), .. }), _) => (nic, private, Some(port)),
                (None, PublicOwner::Frontend(id)) => return self.enter_frontend((edge, id), origin, packet, observer),
                (None, PublicOwner::Pool(_) | PublicOwner::Instance { .. }) => return Err(DropReason::Unsolicited),
            },
        };
        if quotes(packet, |quoted| quoted.src == public.0) {
            packet.set_quoted(QuotedEnd::Src, private, port);
        }
        match port {
            Some(port) => packet.set_dst_end((private, port)),
            None => packet.set_dst(private),
        }
        observer.step(Step::Translate(Translation::destination(public, (private, packet.tuple().dst_port))));
        let used = port.map(|_| UsedMapping { side: MappingSide::Outside, nic: receiver });
        let origin = origin.and_then(|origin| origin.then(packet, used));
        if let Some(cloud) = edge.egress.get(receiver.0 as usize).and_then(|egress| egress.cloud) {
            let view = PacketView::of(packet, None, self.now);
            let passed = self.pass_on(cloud.gateway, (edge.internet, None), (&view, &view), packet, observer)?;
            return Ok(passed.deliver(origin, packet, observer));
        }
        observer.step(Step::Arrive { nic: receiver });
        let closed = match owner {
            PublicOwner::Instance { .. } => true,
            PublicOwner::Pool(_) | PublicOwner::Frontend(_) => false,
        };
        self.arrive(edge, (receiver, Arrival { closed, floating: false }), origin, packet, observer)
    }

    /// To a public load balancer, which an NSG must open (LB-43).
    fn enter_frontend<O: Observer>(
        self,
        (edge, id): (&Edge, FrontendId),
        origin: Option<Origin>,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let asked = *packet.tuple();
        let view = PacketView::of(packet, Some(&asked), self.now);
        let rewrite = match self.balance(id, edge.internet, &view, packet, observer)? {
            Balancing::Pass(rewrite) => rewrite,
            Balancing::Reset => return self.reset(edge.internet, packet, observer),
        };
        rewrite.write(packet, observer);
        observer.step(Step::Arrive { nic: rewrite.nic() });
        let arrival = Arrival { closed: true, floating: rewrite.is_floating() };
        let used = UsedMapping { side: MappingSide::Outside, nic: rewrite.nic() };
        let origin = origin.and_then(|origin| origin.then(packet, Some(used)));
        self.arrive(edge, (rewrite.nic(), arrival), origin, packet, observer)
    }

    /// Inbound filters of the NIC, by its private address.
    fn arrive<O: Observer>(
        self,
        edge: &Edge,
        (receiver, Arrival { closed, floating }): (NicId, Arrival),
        origin: Option<Origin>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        // Fragments from the Internet are kept with those that their receiver sends: the Internet's NIC has no state.
        let of_first = packet_view::tuple_of_first(packet, receiver, &self.flows.fragments, self.now)?;
        let view = PacketView::of(packet, of_first.as_ref(), self.now);
        // A mapping may outlive its sender's address: another NIC may own it now.
        if !floating && !self.has(receiver, view.tuple.dst) {
            return Err(DropReason::NoEndpoint);
        }
        let (port, admitted) = self.take_in(receiver, closed, &view, packet, observer)?;
        // What leaves and enters again has to fit on both sides of the edge, and later only its receiver is asked.
        let fits = |origin: &Origin| {
            origin.nic() == edge.internet || self.snapshot.nic(edge.internet).mtu >= self.snapshot.nic(receiver).mtu
        };
        if let Some(origin) = origin.filter(fits).filter(|_| admitted.has_record()) {
            origin.tell((receiver, true), packet, observer);
        }
        Ok(port)
    }

    /// Whether an address is a NIC's own. A mapping may name a NIC number that no longer exists.
    pub(super) fn has(self, id: NicId, address: IpAddr) -> bool {
        self.snapshot.owns(id, address)
    }

    /// The receiver's side of a packet that enters over the edge. Also returns how its NIC let it pass.
    pub(super) fn take_in<O: Observer>(
        self,
        receiver: NicId,
        closed: bool,
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<(PortId, Admitted), DropReason> {
        let nic = self.snapshot.nic(receiver);
        let admitted =
            self.admit(&view.key(receiver, Direction::Inbound), receiver, Direction::Inbound, view, observer)?;
        let filtered = nic.inbound.nic.is_some() || nic.inbound.subnet.is_some();
        if closed && !filtered && !admitted.has_record() {
            return Err(DropReason::NoSecurityGroup);
        }
        if nic.port == PortId::NONE {
            return Err(DropReason::NodeDown);
        }
        check::size(packet, nic)?;
        if !admitted.has_record() {
            self.commit(None, Some(((receiver, Direction::Inbound, admitted), view)), observer)?;
        }
        Ok((nic.port, admitted))
    }

    /// SNAT-01: a known flow keeps its translation (NAT-05). A new one takes the NAT gateway, else the instance's own
    /// public address, else a load balancer, else default outbound access.
    fn source_nat<O: Observer>(
        self,
        edge: &Edge,
        (sender, admitted): (NicId, Admitted),
        (view, packet): (&PacketView<'_>, &Packet<'_>),
        observer: &mut O,
    ) -> Result<Departure, DropReason> {
        let src = view.tuple.src;
        // There is no translation for a source that is not the sender's own (UDR-18).
        if !self.has(sender, src) {
            let floats = self.snapshot.floats(sender, src);
            return floats.then_some(Departure::Instance { public: src }).ok_or(DropReason::NoOutbound);
        }
        let egress = edge.egress(sender);
        let segment = TcpSegment::of(packet);
        let is_whole = packet.fragment().is_none();
        let lookup = self.flows.mappings.lookup_inside(sender, view.flow(), segment, self.now);
        if let Some(mapped) = lookup.filter(|_| is_whole).and_then(|lookup| self.stood_for(edge, sender, &lookup, None))
        {
            return Ok(Departure::Mapped { public: mapped.public });
        }
        let instance = egress.instance(src).map(|public| Departure::Instance { public });
        if admitted.has_record()
            && let Some(instance) = instance
        {
            return Ok(instance);
        }
        let balanced = egress.balanced.iter().find_map(|balanced| balanced.pool(view.tuple));
        // Neither serves IPv6: both have IPv4 addresses only (NAT-02, SNAT-02).
        let is_ipv4 = |_: &PoolId| src.is_ipv4();
        let shared = balanced.or(egress.default_outbound.filter(is_ipv4));
        match (egress.nat_gateway.filter(is_ipv4), instance, shared) {
            (Some(pool), _, _) | (None, None, Some(pool)) => {
                self.map(edge, pool, (sender, segment), (view, is_whole), observer)
            }
            (None, Some(instance), _) => Ok(instance),
            (None, None, None) => Err(DropReason::NoOutbound),
        }
    }

    /// The translation of a known flow: the frontend that it answers for, or its mapped port (NAT-05). `known` is a
    /// public address that the tables already confirmed as this network's.
    pub(super) fn stood_for(
        self,
        edge: &Edge,
        sender: NicId,
        lookup: &MappingLookup<'_>,
        known: Option<IpAddr>,
    ) -> Option<Mapped> {
        let mappings = &self.flows.mappings;
        let owner = |mapped: &Mapped| edge.public.lookup(mapped.public.0);
        let is_frontend = |mapped: &Mapped| matches!(owner(mapped), Some(PublicOwner::Frontend(_)));
        let is_ours = |mapped: &Mapped| {
            known == Some(mapped.public.0)
                || matches!(owner(mapped), Some(PublicOwner::Pool(_) | PublicOwner::Frontend(_)))
        };
        let has_balanced = mappings.has_balanced(sender);
        let answered = has_balanced.then(|| mappings.answered(sender, lookup, is_frontend)).flatten();
        answered.or_else(|| mappings.leave(sender, lookup, is_ours))
    }

    /// Allocates a port for a new flow: TCP and UDP only, no fragments (NAT-02, SNAT-08).
    fn map<O: Observer>(
        self,
        edge: &Edge,
        pool: PoolId,
        (sender, segment): (NicId, TcpSegment),
        (view, is_whole): (&PacketView<'_>, bool),
        observer: &mut O,
    ) -> Result<Departure, DropReason> {
        let pool = edge.pool(pool);
        let flow = view.tuple;
        if !is_whole || !view.starts_flow() {
            return Err(DropReason::NotTranslatable);
        }
        if pool.idle_reset != IdleReset::None && flow.protocol == Protocol::TCP && !segment.signal.opens() {
            return Ok(Departure::Reset);
        }
        let outbound = Outbound { nic: sender, flow, pool, segment, now: self.now };
        let mapped = self.open(&outbound, observer)?;
        Ok(Departure::Mapped { public: mapped.public })
    }

    /// Maps a new flow to a port of its pool.
    pub(super) fn open<O: Observer>(self, outbound: &Outbound<'_>, observer: &mut O) -> Result<Mapped, DropReason> {
        let opened = self.flows.mappings.open(outbound).ok_or(DropReason::NotTranslatable)?;
        opened.map_err(|_| {
            observer.step(Step::NoPort { nic: outbound.nic });
            DropReason::SnatExhausted
        })
    }

    /// The mapping of a packet from the Internet; of an ICMP error, the mapping of the flow that it is about.
    fn mapped(self, packet: &Packet<'_>) -> Option<Mapped> {
        if packet.fragment().is_some() {
            return None;
        }
        let flow = match packet.transport() {
            Transport::IcmpError { quoted } => quoted.filter(|quoted| quoted.src == packet.dst())?,
            Transport::Ports { .. } | Transport::Echo { .. } | Transport::Other => packet.tuple().mirrored(),
        };
        let mappings = &self.flows.mappings;
        mappings.enter(&mappings.lookup_outside(&flow, TcpSegment::of(packet), self.now)?)
    }
}

/// Whether this is an ICMP error about such a packet.
fn quotes(packet: &Packet<'_>, such: impl Fn(&Tuple) -> bool) -> bool {
    matches!(packet.protocol(), Protocol::ICMP | Protocol::ICMPV6)
        && matches!(packet.transport(), Transport::IcmpError { quoted: Some(quoted) } if such(&quoted))
}
