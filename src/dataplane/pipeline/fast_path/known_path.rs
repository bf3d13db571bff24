//! Forwarding along a path that is known: what the tables say is remembered, all else is asked.
//!
//! One idea: a path holds what depends on the tables, the port and the tuple. Filters, records and mappings are asked
//! for every packet, in the order of the full walk. A flow may get another mapping at any time. So what the tables say
//! of a mapping is remembered together with it, and looked up again for another mapping. If a flow has no mapping, or
//! the tables refuse the one that it has, the full walk does the rest.

use std::net::IpAddr;

use crate::dataplane::pipeline::admit::Admitted;
use crate::dataplane::pipeline::route::{Access, Hop, ResolvedHop};
use crate::dataplane::pipeline::{Leg, PacketView, check};
use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{
    Direction, DropReason, Followed, FrontendId, Ingress, Mapped, MappingBucket, MappingLookup, MappingSide, NicId,
    Observer, Passing, PortId, Quiet, TcpSegment, UsedMapping,
};
use crate::wire::Packet;

use super::internet::{In, Out};

/// Where the tables lead a flow.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) enum Path {
    Within(Within),
    Answering(Answering),
    Balanced(Balanced),
    Out(Out),
    In(In),
}

/// From the sender's NIC to the receiver's device.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) struct Within {
    sender: NicId,
    hop: Hop,
    access: Access,
}

/// The same from a backend: its packets may be answers of a frontend.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) struct Answering {
    within: Within,
    bucket: MappingBucket,
    /// The public side of the mapping, which is a frontend's.
    known: Option<(IpAddr, u16)>,
}

/// To a frontend.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) struct Balanced {
    sender: NicId,
    frontend: FrontendId,
    /// Index in the frontend's rules.
    rule: u32,
    bucket: MappingBucket,
    known: Option<Backend>,
}

/// A backend that keeps its flows by the rule, and how it is reached.
#[derive(Clone, Copy, Debug)]
struct Backend {
    nic: NicId,
    private: (IpAddr, u16),
    access: Access,
}

impl Backend {
    fn is_of(&self, mapped: &Mapped) -> bool {
        (self.nic, self.private) == (mapped.nic, mapped.private)
    }
}

/// A packet that its sender's NIC let pass.
type Sent = (NicId, Admitted, Passing);

impl Leg<'_> {
    /// Finds the path of a flow: the parts of the full walk that ask neither records nor rules.
    #[inline(never)]
    pub(in crate::dataplane::pipeline) fn path(self, ingress: PortId, packet: &Packet<'_>) -> Option<Path> {
        let tuple = packet.tuple();
        check::addresses(packet).ok()?;
        check::protocol(packet).ok()?;
        if let Some(Ingress::Internet) = self.snapshot.ports.get(ingress.0 as usize) {
            return self.path_in(packet).map(Path::In);
        }
        let sender = check::source(self.snapshot, ingress, &tuple.src).ok()?;
        match self.route((sender, Admitted::Record), tuple, &mut Quiet).ok()? {
            ResolvedHop::Nic(hop) => {
                let access = self.reach(sender, hop, (&tuple.src, &tuple.dst))?;
                Some(Path::Within(Within { sender, hop, access }))
            }
            ResolvedHop::Frontend(frontend) => {
                let (rule, _) = self.snapshot.frontend(frontend).rule(tuple)?;
                let bucket = self.flows.mappings.lookup_outside(&tuple.mirrored(), TcpSegment::NONE, self.now)?.bucket;
                Some(Path::Balanced(Balanced { sender, frontend, rule, bucket, known: None }))
            }
            ResolvedHop::Internet(edge) => self.path_out(edge, sender, packet).map(Path::Out),
            ResolvedHop::Through(_) | ResolvedHop::Gateway(_) | ResolvedHop::Platform(_) => None,
        }
    }

    /// Forwards a packet along its path; `key` is the flow's. The leg is borrowed: copying what was just written takes
    /// 10 ns of 65.
    #[inline]
    pub(in crate::dataplane::pipeline) fn forward_on<O: Observer>(
        &self,
        path: &mut Path,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        match path {
            Path::Within(within) if !self.may_answer(within.sender, within.hop) => {
                self.along_within(*within, key, packet, observer)
            }
            Path::Within(_) | Path::Answering(_) | Path::Balanced(_) | Path::Out(_) | Path::In(_) => {
                self.along_translated(path, key, packet, observer)
            }
        }
    }

    #[inline(never)]
    fn along_translated<O: Observer>(
        &self,
        path: &mut Path,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        match path {
            Path::Within(within) => {
                let within = *within;
                let lookup =
                    self.flows.mappings.lookup_inside(within.sender, packet.tuple(), TcpSegment::NONE, self.now);
                let Some(MappingLookup { bucket, .. }) = lookup else {
                    return self.along_within(within, key, packet, observer);
                };
                // Its sender has become a backend.
                let mut answering = Answering { within, bucket, known: None };
                let outcome = self.along_answering(&mut answering, key, packet, observer);
                *path = Path::Answering(answering);
                outcome
            }
            Path::Answering(answering) => self.along_answering(answering, key, packet, observer),
            Path::Balanced(balanced) => self.along_balanced(balanced, key, packet, observer),
            Path::Out(out) => self.along_out(out, key, packet, observer),
            Path::In(inward) => self.along_in(inward, key, packet, observer),
        }
    }

    #[inline]
    fn along_within<O: Observer>(
        &self,
        Within { sender, hop, access }: Within,
        key: &FlowKey,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let receiver = hop.nic();
        let view = PacketView::of(packet, None, self.now);
        let admitted_out = self.admit(&key.at(sender), sender, Direction::Outbound, &view, observer)?;
        access.leave(admitted_out)?;
        let admitted_in = self.admit(&key.turned().at(receiver), receiver, Direction::Inbound, &view, observer)?;
        access.enter(admitted_in)?;
        let ends = ((sender, admitted_out, &view), (receiver, admitted_in, &view));
        let port = self.arrive_at(ends.0, ends.1, packet, observer)?;
        if admitted_out.has_record() && admitted_in.has_record() {
            observer.followed(packet, &Followed::between_nics(packet.tuple(), [sender, receiver], None));
        }
        Ok(port)
    }

    fn along_answering<O: Observer>(
        self,
        answering: &mut Answering,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let Answering { within: Within { sender, hop, access }, bucket, known } = *answering;
        let sent = self.set_out(sender, key, packet, observer)?;
        let lookup = MappingLookup { flow: packet.tuple(), bucket, segment: TcpSegment::of(packet), now: self.now };
        let mapped = self.answered(sender, &lookup, known);
        if let Some(mapped) = mapped {
            answering.known = Some(mapped.public);
            packet.set_src_end(mapped.public);
        }
        let used = mapped.map(|_| UsedMapping { side: MappingSide::Inside, nic: sender });
        self.transmit((sent, used), (hop, access), key, packet, observer)
    }

    fn along_balanced<O: Observer>(
        self,
        balanced: &mut Balanced,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let Balanced { sender, frontend: id, rule, bucket, .. } = *balanced;
        let sent = self.set_out(sender, key, packet, observer)?;
        let frontend = self.snapshot.frontend(id);
        let rule = &frontend.rules[rule as usize];
        let lookup =
            MappingLookup { flow: &packet.tuple().mirrored(), bucket, segment: TcpSegment::of(packet), now: self.now };
        let is_known = |mapped: &Mapped| balanced.known.as_ref().is_some_and(|known| known.is_of(mapped));
        let fits = |mapped: &Mapped| is_known(mapped) || self.fits(frontend, rule, packet.protocol(), mapped);
        let mapped = self.flows.mappings.balanced(&lookup, fits);
        if !mapped.is_some_and(|mapped| is_known(&mapped)) {
            balanced.known = mapped.and_then(|mapped| self.backend(sender, &mapped, rule.floating, packet));
        }
        let Some(backend) = &balanced.known else {
            let balanced = self.balance(id, sender, &PacketView::of(packet, None, self.now), packet, observer)?;
            return self.to_backend((sender, sent.1), balanced, packet, observer);
        };
        if !rule.floating {
            packet.set_dst_end(backend.private);
        }
        let way = (Hop::Endpoint(backend.nic), backend.access);
        let used = UsedMapping { side: MappingSide::Outside, nic: backend.nic };
        self.transmit((sent, Some(used)), way, key, packet, observer)
    }

    /// Asks the sender's NIC.
    #[inline]
    fn set_out<O: Observer>(
        self,
        sender: NicId,
        key: &FlowKey,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Sent, DropReason> {
        let view = PacketView::of(packet, None, self.now);
        let admitted = self.admit(&key.at(sender), sender, Direction::Outbound, &view, observer)?;
        Ok((sender, admitted, view.passing))
    }

    /// The backend that a sender's flow is mapped to, if the sender can reach it.
    #[inline(never)]
    fn backend(self, sender: NicId, mapped: &Mapped, floating: bool, packet: &Packet<'_>) -> Option<Backend> {
        let Mapped { nic, private, public: _ } = *mapped;
        let dst = if floating { packet.dst() } else { private.0 };
        let is_other = nic != sender && (floating || self.has(nic, dst));
        let access = is_other.then(|| self.reach(sender, Hop::Endpoint(nic), (&packet.src(), &dst))).flatten()?;
        Some(Backend { nic, private, access })
    }

    /// How a sender reaches the end of a leg, if the tables allow it.
    fn reach(self, sender: NicId, hop: Hop, (src, dst): (&IpAddr, &IpAddr)) -> Option<Access> {
        let crossing = self.cross(sender, hop.nic(), &mut Quiet).ok()?;
        crossing.enter_from(src).ok()?;
        self.deliver(hop, dst).ok()?;
        Some(crossing.access)
    }

    /// The far end of a leg, for a packet that is already rewritten for its receiver by a mapping. `key` is the flow as
    /// it was sent.
    #[inline]
    fn transmit<O: Observer>(
        self,
        ((sender, admitted_out, passing), used): (Sent, Option<UsedMapping>),
        (hop, access): (Hop, Access),
        key: &FlowKey,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        access.leave(admitted_out)?;
        let receiver = hop.nic();
        let view = PacketView::of_ports(packet.tuple(), passing);
        let admitted_in =
            self.admit(&view.key(receiver, Direction::Inbound), receiver, Direction::Inbound, &view, observer)?;
        access.enter(admitted_in)?;
        if admitted_out.has_record() && admitted_in.has_record() {
            let nic = self.snapshot.nic(receiver);
            check::size(packet, nic)?;
            let sent = &key.tuple(Direction::Outbound);
            observer.followed(packet, &Followed::between_nics(sent, [sender, receiver], used));
            return Ok(nic.port);
        }
        let asked = key.tuple(Direction::Outbound);
        let asked = PacketView::of_ports(&asked, passing);
        self.arrive_at((sender, admitted_out, &asked), (receiver, admitted_in, &view), packet, observer)
    }
}
