//! Resets for a TCP connection after its mapping has expired: one to each of its ends (LB-25).
//!
//! One idea: each end gets the reset that the other end would have sent. No filter and no record applies, since the
//! fabric sends it, not a guest. It takes the route of the flow's packets. An end that a route now leads elsewhere gets
//! no reset (LB-46), and neither does an end that never acknowledged a byte: it would ignore the reset.

use std::net::IpAddr;

use crate::dataplane::{
    DropReason, ExpiredConnection, NicId, Observer, Owner, PortId, Snapshot, Step, Timestamp, Verdict,
};
use crate::wire::{Offload, Packet, Protocol, Reset, Tuple};

use super::route::{Hop, ResolvedHop};
use super::{Flows, Leg, PacketView};

/// One of a connection's two ends: the near one is the NIC's, the far one its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Near,
    Far,
}

/// Writes the reset for one end and decides where it goes. None if that end gets no reset.
pub fn reset_end<'a, O: Observer>(
    snapshot: &Snapshot,
    flows: &Flows,
    (expired, end): (&ExpiredConnection, End),
    now: Timestamp,
    bytes: &'a mut [u8; Reset::LEN_MAX],
    observer: &mut O,
) -> Option<(Packet<'a>, Verdict)> {
    let leg = Leg { snapshot, flows, now };
    let ExpiredConnection { mapped, remote, near_expects, far_expects } = *expired;
    // The NIC's number may belong to another NIC by now, and so may its address.
    let nic = snapshot.nics.get(mapped.nic.0 as usize)?;
    let owner = snapshot.vnets.get(nic.vnet.0 as usize)?.owners.lookup(mapped.private.0);
    let floats = matches!(owner, Some(Owner::Frontend(id)) if snapshot.frontend(id).floats_at(mapped.nic));
    if owner != Some(Owner::Nic(mapped.nic)) && !floats && !snapshot.floats(mapped.nic, mapped.private.0) {
        return None;
    }
    let (src, dst, seq) = match end {
        End::Near => (remote, mapped.private, near_expects?),
        End::Far => (mapped.public, remote, far_expects?),
    };
    let len = Reset { tuple: between(src, dst), seq, ack: None }.write(bytes);
    let mut packet = Packet::parse(&mut bytes[..len], Offload::default()).ok()?;
    observer.packet(&packet);
    observer.step(Step::Reset { nic: mapped.nic });
    let verdict = match end {
        End::Near => Ok(nic.port),
        End::Far => leg.route_to_far_end(mapped.nic, &between(mapped.private, remote), &mut packet, observer),
    };
    observer.step(verdict.map_or_else(|reason| Step::Dropped { reason }, |port| Step::Delivered { port }));
    Some((packet, verdict.map_or_else(Verdict::Drop, Verdict::Forward)))
}

impl Leg<'_> {
    /// Where the far end is, found as the near end's packets would find it. `answer` is the tuple of those packets when
    /// they leave.
    fn route_to_far_end<O: Observer>(
        self,
        near: NicId,
        answer: &Tuple,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        match self.resolve(near, answer, observer)? {
            ResolvedHop::Nic(Hop::Endpoint(nic)) => Ok(self.snapshot.nic(nic).port),
            // Another NIC of this network, by its public address (PIP-05).
            ResolvedHop::Internet(edge) if edge.public.lookup(packet.dst()).is_some() => {
                self.enter(edge, None, packet, observer)
            }
            ResolvedHop::Internet(edge) => Ok(self.snapshot.nic(edge.internet).port),
            ResolvedHop::Gateway(gateway) => {
                let asked = *packet.tuple();
                let view = PacketView::of(packet, Some(&asked), self.now);
                let passed = self.pass_on(gateway, (near, None), (&view, &view), packet, observer)?;
                Ok(passed.conclude((near, None), None, packet, observer))
            }
            ResolvedHop::Nic(Hop::Appliance(_))
            | ResolvedHop::Frontend(_)
            | ResolvedHop::Through(_)
            | ResolvedHop::Platform(_) => Err(DropReason::NoMapping),
        }
    }
}

fn between(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Tuple {
    Tuple { src: src.0, dst: dst.0, protocol: Protocol::TCP, src_port: src.1, dst_port: dst.1 }
}
