//! Over a tunnel between networks that have other names for each other's addresses (VPN-15).
//!
//! One idea: who a packet is for is found before who it is from, both ways. So what stands for its sender is a mapping for
//! the receiver as that calls itself, and the answer finds it by the same two names.

use std::net::IpAddr;

use crate::dataplane::tables::tunnel_nat::Name;
use crate::dataplane::{AddressMap, DropReason, Mapped, NicId, Observer, Outbound, Said, Step, Translation};
use crate::wire::{Packet, Protocol, QuotedEnd, Transport, Tuple};

use super::{Leg, Subject};

/// Other names for a packet's ends, and for those of the packet that it quotes.
#[derive(Clone, Copy, Default)]
pub(super) struct Renamed {
    src: Option<Name>,
    dst: Option<Name>,
    quoted_src: Option<Name>,
    quoted_dst: Option<Name>,
}

impl Renamed {
    /// What a later fragment's first one is then.
    pub(super) fn tuple(&self, tuple: Tuple) -> Tuple {
        let end = |name: Option<Name>, before: (IpAddr, u16)| name.map_or(before, |name| with_port(name, before.1));
        let (src, src_port) = end(self.src, (tuple.src, tuple.src_port));
        let (dst, dst_port) = end(self.dst, (tuple.dst, tuple.dst_port));
        Tuple { src, dst, src_port, dst_port, ..tuple }
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
    /// By the maps of the side that a packet goes to, and of the side that it comes from.
    pub(super) fn rename<O: Observer>(
        self,
        tunnel: NicId,
        (to, from): (&[AddressMap], &[AddressMap]),
        subject: &Subject<'_>,
        packet: &Packet<'_>,
        observer: &mut O,
    ) -> Result<Renamed, DropReason> {
        let Tuple { src, dst, src_port, dst_port, .. } = *subject.tuple;
        // A flow from its sender's side: of an error, the one whose packet it quotes.
        let flow = subject.flow();
        let quotes = !subject.starts_flow();
        let mut renamed = Renamed::default();
        let map = to.iter().find(|map| map.is_external((dst, flow.dst_port), flow.protocol));
        if let Some(map) = map {
            let name = self.receiver(tunnel, map, dst, flow, packet)?;
            observer.step(Step::Translate(Translation::destination((dst, dst_port), with_port(name, dst_port))));
            renamed.dst = Some(name);
            renamed.quoted_src =
                quotes.then(|| if map.pool.is_none() { map.inward((flow.dst, flow.dst_port)) } else { name });
        }
        if let Some(map) = from.iter().find(|map| map.is_internal((src, flow.src_port), flow.protocol)) {
            let (dst, port) = renamed.dst.unwrap_or((dst, None));
            let flow = Tuple { dst, dst_port: port.unwrap_or(flow.dst_port), ..*flow };
            let name = self.sender(tunnel, map, src, &flow, (subject, packet))?;
            observer.step(Step::Translate(Translation::source((src, src_port), with_port(name, src_port))));
            renamed.src = Some(name);
        }
        // Whoever a packet was for need not be who says that it did not arrive.
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
        let asking = mappings.asking_outside(&outside, Said::by(packet), self.now);
        let mapped = asking.and_then(|asking| mappings.enter(&asking));
        // Of networks that are alike another tunnel may have the same names.
        let (address, port) = mapped.filter(|mapped| mapped.nic == tunnel).ok_or(DropReason::Unsolicited)?.private;
        Ok((address, Some(port)))
    }

    fn sender(
        self,
        tunnel: NicId,
        map: &AddressMap,
        src: IpAddr,
        flow: &Tuple,
        (subject, packet): (&Subject<'_>, &Packet<'_>),
    ) -> Result<Name, DropReason> {
        let Some(pool) = &map.pool else { return Ok(map.outward((src, flow.src_port))) };
        if packet.fragment().is_some() {
            return Err(DropReason::NotTranslatable);
        }
        let said = Said::by(packet);
        let mappings = &self.flows.mappings;
        let asking = mappings.asking_inside(tunnel, flow, said, self.now);
        let is_ours = |mapped: &Mapped| map.lends(mapped.public.0);
        let known = asking.and_then(|asking| mappings.leave(tunnel, &asking, is_ours));
        let mapped = match known {
            Some(mapped) => mapped,
            None if !subject.starts_flow() || !has_port(packet) => return Err(DropReason::NotTranslatable),
            None => {
                let outbound = Outbound { nic: tunnel, flow, pool, said, now: self.now };
                let opened = mappings.open(&outbound).ok_or(DropReason::NotTranslatable)?;
                opened.map_err(|_| DropReason::SnatExhausted)?
            }
        };
        let (address, port) = mapped.public;
        Ok((address, Some(port)))
    }
}

/// Or an identifier that whoever is asked answers with.
fn has_port(packet: &Packet<'_>) -> bool {
    packet.protocol() != Protocol::ICMP || matches!(packet.transport(), Transport::Echo { reply: false, .. })
}

fn with_port((address, port): Name, before: u16) -> (IpAddr, u16) {
    (address, port.unwrap_or(before))
}
