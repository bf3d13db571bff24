//! Paths over the fabric's edge: of flows that leave, and of flows that enter.
//!
//! One idea: as within the fabric (`known_path`), mappings are asked for every packet. Two kinds of flows have no path:
//! those to a public address of this network, which leave and enter again, and those with a source that is not an
//! address of the sending NIC.

use std::net::IpAddr;

use crate::dataplane::pipeline::edge::Arrival;
use crate::dataplane::pipeline::passed::Origin;
use crate::dataplane::pipeline::{Leg, PacketView, check};
use crate::dataplane::state::flow::key::FlowKey;
use crate::dataplane::{
    Direction, DropReason, Edge, Followed, FrontendId, Mapped, MappingBucket, MappingLookup, MappingSide, NicId,
    Observer, PortId, PublicOwner, TcpSegment, UsedMapping,
};
use crate::wire::Packet;

/// From a NIC to the Internet.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) struct Out {
    sender: NicId,
    bucket: MappingBucket,
    /// A public address that is this network's.
    known: Option<IpAddr>,
}

/// From the Internet to the NIC behind a public address.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) enum In {
    /// One private address of one NIC.
    Instance {
        receiver: NicId,
        private: IpAddr,
    },
    Mapped(Entrance),
}

/// Flows with a mapped port of a public address, and flows that a rule of a frontend there takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::dataplane::pipeline) struct Entrance {
    /// The frontend and its rule.
    frontend: Option<(FrontendId, u32)>,
    bucket: MappingBucket,
    /// The mapping's NIC and private side, once the tables confirmed them.
    known: Option<(NicId, (IpAddr, u16), Arrival)>,
}

impl Leg<'_> {
    pub(in crate::dataplane::pipeline) fn path_out(
        self,
        edge: &Edge,
        sender: NicId,
        packet: &Packet<'_>,
    ) -> Option<Out> {
        if edge.public.lookup(packet.dst()).is_some() || !self.has(sender, packet.src()) {
            return None;
        }
        let bucket = self.flows.mappings.lookup_inside(sender, packet.tuple(), TcpSegment::NONE, self.now)?.bucket;
        Some(Out { sender, bucket, known: None })
    }

    pub(in crate::dataplane::pipeline) fn path_in(self, packet: &Packet<'_>) -> Option<In> {
        let edge = self.snapshot.edge.as_ref()?;
        edge.hosts.lookup(packet.src())?;
        let frontend = match edge.public.lookup(packet.dst())? {
            PublicOwner::Instance { nic, private } => {
                return self.has(nic, private).then_some(In::Instance { receiver: nic, private });
            }
            PublicOwner::Pool(_) => None,
            PublicOwner::Frontend(id) => self.snapshot.frontend(id).rule(packet.tuple()).map(|(rule, _)| (id, rule)),
        };
        let bucket = self.flows.mappings.lookup_outside(&packet.tuple().mirrored(), TcpSegment::NONE, self.now)?.bucket;
        Some(In::Mapped(Entrance { frontend, bucket, known: None }))
    }

    pub(in crate::dataplane::pipeline) fn along_out<O: Observer>(
        self,
        out: &mut Out,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let Out { sender, bucket, known } = *out;
        let edge = self.snapshot.edge.as_ref().ok_or(DropReason::NoInternet)?;
        let view = PacketView::of(packet, None, self.now);
        let admitted = self.admit(&key.at(sender), sender, Direction::Outbound, &view, observer)?;
        let lookup = MappingLookup { flow: packet.tuple(), bucket, segment: TcpSegment::of(packet), now: self.now };
        let mapped = self.stood_for(edge, sender, &lookup, known);
        let instance = || edge.egress(sender).instance(packet.src()).filter(|_| admitted.has_record());
        let public = mapped.map(|mapped| mapped.public).or_else(|| Some((instance()?, packet.tuple().src_port)));
        let Some(public) = public else {
            let departure = self.depart(edge, (sender, admitted), &view, packet, observer)?;
            return self.leave(edge, (sender, None), departure, packet, observer);
        };
        out.known = mapped.map(|mapped| mapped.public.0).or(known);
        let internet = self.snapshot.nic(edge.internet);
        check::size(packet, internet)?;
        if !admitted.has_record() {
            self.commit(Some(((sender, Direction::Outbound, admitted), &view)), None, observer)?;
        }
        packet.set_src_end(public);
        if admitted.has_record() {
            let used = mapped.map(|_| UsedMapping { side: MappingSide::Inside, nic: sender });
            let (sent, ends) = (&key.tuple(Direction::Outbound), [sender, edge.internet]);
            let followed = Followed { recorded: [true, false], ..Followed::between_nics(sent, ends, used) };
            observer.followed(packet, &followed);
        }
        Ok(internet.port)
    }

    pub(in crate::dataplane::pipeline) fn along_in<O: Observer>(
        self,
        inward: &mut In,
        key: &FlowKey,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        let edge = self.snapshot.edge.as_ref().ok_or(DropReason::NodeDown)?;
        let passing = PacketView::of(packet, None, self.now).passing;
        let (receiver, closed, used) = match inward {
            In::Instance { receiver, private } => {
                packet.set_dst(*private);
                (*receiver, true, None)
            }
            In::Mapped(entrance) => {
                let Some((mapped, arrival)) = self.entering(entrance, packet) else {
                    // Such as one of a private cloud's: its machines are behind a router.
                    let origin = Origin::of(edge.internet, None, 0, packet);
                    return self.enter(edge, origin, packet, observer);
                };
                entrance.known = Some((mapped.nic, mapped.private, arrival));
                if !arrival.floating {
                    packet.set_dst_end(mapped.private);
                }
                let used = UsedMapping { side: MappingSide::Outside, nic: mapped.nic };
                (mapped.nic, arrival.closed, Some(used))
            }
        };
        let view = PacketView::of_ports(packet.tuple(), passing);
        let (port, admitted) = self.take_in(receiver, closed, &view, packet, observer)?;
        if admitted.has_record() {
            let (sent, ends) = (&key.tuple(Direction::Outbound), [edge.internet, receiver]);
            let followed = Followed { recorded: [false, true], ..Followed::between_nics(sent, ends, used) };
            observer.followed(packet, &followed);
        }
        Ok(port)
    }

    /// The mapping of a packet that enters, if the tables still have its NIC.
    fn entering(self, entrance: &Entrance, packet: &Packet<'_>) -> Option<(Mapped, Arrival)> {
        let Entrance { frontend, bucket, known } = *entrance;
        let mappings = &self.flows.mappings;
        let lookup =
            MappingLookup { flow: &packet.tuple().mirrored(), bucket, segment: TcpSegment::of(packet), now: self.now };
        let found = if let Some(mapped) = mappings.enter(&lookup) {
            (mapped, Arrival { closed: false, floating: false })
        } else {
            let (id, rule) = frontend?;
            let frontend = self.snapshot.frontend(id);
            let rule = &frontend.rules[rule as usize];
            let arrival = Arrival { closed: true, floating: rule.floating };
            let fits = |mapped: &Mapped| {
                known == Some((mapped.nic, mapped.private, arrival))
                    || self.fits(frontend, rule, packet.protocol(), mapped)
            };
            (mappings.balanced(&lookup, fits)?, arrival)
        };
        let (mapped, arrival) = found;
        let is_there = || arrival.floating || self.has(mapped.nic, mapped.private.0);
        (known == Some((mapped.nic, mapped.private, arrival)) || is_there()).then_some(found)
    }
}
