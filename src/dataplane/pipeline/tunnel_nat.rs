//! NAT rules of a tunnel between networks with overlapping addresses (VPN-15).
//!
//! One idea: in both directions the receiver is translated before the sender. So the sender's mapping is made for the
//! receiver's own address, and the answer finds it by the same pair.

use std::net::IpAddr;

use crate::dataplane::tables::tunnel_nat::Name;
use crate::dataplane::{
    AddressMap, DropReason, Mapped, MappingSide, NicId, Observer, Outbound, Step, TcpSegment, Trail, Translation,
    UsedMapping,
};
use crate::wire::{Packet, Protocol, QuotedEnd, Transport, Tuple};

use super::{Leg, PacketView};

/// The translated ends of a packet, and of the packet that it quotes.
#[derive(Clone, Copy, Default)]
pub(super) struct Renamed {
    src: Option<Name>,
    dst: Option<Name>,
    quoted_src: Option<Name>,
    quoted_dst: Option<Name>,
    /// The mappings by which the ends are lent to this flow alone: the destination, then the source.
    lent: [Option<UsedMapping>; 2],
}

impl Renamed {
    /// The tuple after translation; of a later fragment, that of its first.
    pub(super) fn tuple(&self, tuple: Tuple) -> Tuple {
        let end = |name: Option<Name>, before: (IpAddr, u16)| name.map_or(before, |name| with_port(name, before.1));
        let (src, src_port) = end(self.src, (tuple.src, tuple.src_port));
        let (dst, dst_port) = end(self.dst, (tuple.dst, tuple.dst_port));
        Tuple { src, dst, src_port, dst_port, ..tuple }
    }

    /// Adds it to a packet's translations: the destination first.
    pub(super) fn added_to(&self, trail: Trail) -> Option<Trail> {
        let renamed = self.tuple(trail.now());
        let received = Tuple { src: trail.now().src, src_port: trail.now().src_port, ..renamed };
        trail.then(received, self.lent[0])?.then(renamed, self.lent[1])
    }

    pub(super) fn apply(self, packet: &mut Packet<'_>) {
        for (end, name) in [(QuotedEnd::Src, self.quoted_src), (QuotedEnd::Dst, self.quoted_dst)] {
            if let Some((address, port)) = name {
                packet.set_quoted(end, address, port);
            }
        }
        if let Some((address, port)) = self.dst {
            packet.set_dst(address);
            if let Some(port) = port {
                packet.set_dst_port(port);
            }
        }
        if let Some((address, port)) = self.src {
            packet.set_src(address);
            if let Some(port) = port {
                packet.set_src_port(port);
            }
        }
    }
}

impl Leg<'_> {
    /// Applies the maps of the receiver's side, then those of the sender's.
    pub(super) fn rename<O: Observer>(
        self,
        tunnel: NicId,
        (to, from): (&[AddressMap], &[AddressMap]),
        view: &PacketView<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Renamed, DropReason> {
        let Tuple { src, dst, src_port, dst_port, .. } = *view.tuple;
        // The flow as its sender sends it; of an ICMP error, the flow of the quoted packet.
        let flow = view.flow();
        let quotes = !view.starts_flow();
        let mut renamed = Renamed::default();
        let map = to.iter().find(|map| map.is_external((dst, flow.dst_port), flow.protocol));
        if let Some(map) = map {
            let name = self.receiver(tunnel, map, dst, flow, packet)?;
            observer.step(Step::Translate(Translation::destination((dst, dst_port), with_port(name, dst_port))));
            renamed.dst = Some(name);
            renamed.lent[0] = map.pool.is_some().then_some(UsedMapping { side: MappingSide::Outside, nic: tunnel });
            renamed.quoted_src =
                quotes.then(|| if map.pool.is_none() { map.inward((flow.dst, flow.dst_port)) } else { name });
        }
        if let Some(map) = from.iter().find(|map| map.is_internal((src, flow.src_port), flow.protocol)) {
            let (dst, port) = renamed.dst.unwrap_or((dst, None));
            let flow = Tuple { dst, dst_port: port.unwrap_or(flow.dst_port), ..*flow };
            let name = self.sender(tunnel, (map, src), &flow, (view, packet), observer)?;
            observer.step(Step::Translate(Translation::source((src, src_port), with_port(name, src_port))));
            renamed.src = Some(name);
            renamed.lent[1] = map.pool.is_some().then_some(UsedMapping { side: MappingSide::Inside, nic: tunnel });
        }
        // The router that reports an error need not be the receiver of the packet that it quotes.
        let map = from.iter().find(|map| quotes && map.is_internal((flow.src, flow.src_port), flow.protocol));
        renamed.quoted_dst = map.and_then(|map| match (&map.pool, renamed.src) {
            (None, _) => Some(map.outward((flow.src, flow.src_port))),
            (Some(_), name) => name,
        });
        Ok(renamed)
    }

    fn receiver(
        self,
        tunnel: NicId,
        map: &AddressMap,
        dst: IpAddr,
        flow: &Tuple,
        packet: &Packet<'_>,
    ) -> Result<Name, DropReason> {
        if map.pool.is_none() {
            return Ok(map.inward((dst, flow.dst_port)));
        }
        if packet.fragment().is_some() {
            return Err(DropReason::NotTranslatable);
        }
        let (mappings, outside) = (&self.flows.mappings, flow.mirrored());
        let lookup = mappings.lookup_outside(&outside, TcpSegment::of(packet), self.now);
        let mapped = lookup.and_then(|lookup| mappings.enter(&lookup));
        // Another tunnel of networks with the same addresses may use the same translation.
        let (address, port) = mapped.filter(|mapped| mapped.nic == tunnel).ok_or(DropReason::Unsolicited)?.private;
        Ok((address, Some(port)))
    }

    fn sender<O: Observer>(
        self,
        tunnel: NicId,
        (map, src): (&AddressMap, IpAddr),
        flow: &Tuple,
        (view, packet): (&PacketView<'_>, &Packet<'_>),
        observer: &mut O,
    ) -> Result<Name, DropReason> {
        let Some(pool) = &map.pool else { return Ok(map.outward((src, flow.src_port))) };
        if packet.fragment().is_some() {
            return Err(DropReason::NotTranslatable);
        }
        let segment = TcpSegment::of(packet);
        let mappings = &self.flows.mappings;
        let lookup = mappings.lookup_inside(tunnel, flow, segment, self.now);
        let is_ours = |mapped: &Mapped| map.lends(mapped.public.0);
        let known = lookup.and_then(|lookup| mappings.leave(tunnel, &lookup, is_ours));
        let mapped = match known {
            Some(mapped) => mapped,
            None if !view.starts_flow() || !has_port(packet) => return Err(DropReason::NotTranslatable),
            None => {
                let outbound = Outbound { nic: tunnel, flow, pool, segment, now: self.now };
                self.open(&outbound, observer)?
            }
        };
        let (address, port) = mapped.public;
        Ok((address, Some(port)))
    }
}

/// Whether it has ports, or an echo's identifier, which the answer repeats.
fn has_port(packet: &Packet<'_>) -> bool {
    packet.protocol() != Protocol::ICMP || matches!(packet.transport(), Transport::Echo { reply: false, .. })
}

fn with_port((address, port): Name, before: u16) -> (IpAddr, u16) {
    (address, port.unwrap_or(before))
}
