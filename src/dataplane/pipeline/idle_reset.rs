//! The last word about a connection whose mapping has ended: a reset to each of its ends (LB-25).
//!
//! One idea: each end gets the reset that the other would have said, and nobody is asked: it is the fabric that speaks, and
//! not a guest. It takes the way that packets of the flow took; an end that a route leads elsewhere now is not told
//! (LB-46), and one that never said what it expects next would not heed it.

use std::net::IpAddr;

use crate::dataplane::{DropReason, NicId, Observer, Owner, Parted, PortId, Snapshot, Step, Timestamp, Verdict};
use crate::wire::{Offload, Packet, Protocol, Reset, Tuple};

use super::route::{Hop, Way};
use super::{Flows, Leg, Subject};

/// One of a connection's two ends: the near one is the NIC's, the far one who it speaks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Near,
    Far,
}

/// Writes the reset for one end, and decides where it goes. None if it is not told.
pub fn part<'a, O: Observer>(
    snapshot: &Snapshot,
    flows: &Flows,
    (parted, end): (&Parted, End),
    now: Timestamp,
    bytes: &'a mut [u8; Reset::LEN_MAX],
    observer: &mut O,
) -> Option<(Packet<'a>, Verdict)> {
    let leg = Leg { snapshot, flows, now };
    let Parted { mapped, remote, near_expects, far_expects } = *parted;
    // Its number may be another's by now, and its address, too.
    let nic = snapshot.nics.get(mapped.nic.0 as usize)?;
    let owner = snapshot.vnet(nic.vnet).owners.lookup(mapped.private.0);
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
        End::Far => leg.lead_to_far(mapped.nic, &between(mapped.private, remote), &mut packet, observer),
    };
    observer.step(verdict.map_or_else(|reason| Step::Dropped { reason }, |port| Step::Delivered { port }));
    Some((packet, verdict.map_or_else(Verdict::Drop, Verdict::Forward)))
}

impl Leg<'_> {
    /// Where the far end is, as its partner's packets find it; `answer` is what those look like when they leave.
    fn lead_to_far<O: Observer>(
        self,
        near: NicId,
        answer: &Tuple,
        packet: &mut Packet<'_>,
        observer: &mut O,
    ) -> Result<PortId, DropReason> {
        match self.lead(near, answer, observer)? {
            Way::Within(Hop::Endpoint(nic)) => Ok(self.snapshot.nic(nic).port),
            // Another of this network, by its public address (PIP-05).
            Way::Internet(edge) if edge.public.lookup(packet.dst()).is_some() => self.enter(edge, packet, observer),
            Way::Internet(edge) => Ok(self.snapshot.nic(edge.internet).port),
            Way::Gateway(gateway) => {
                let asked = *packet.tuple();
                let subject = Subject::of(packet, Some(&asked), self.now);
                let passed = self.pass_on(gateway, (near, None), (&subject, &subject), packet, observer)?;
                Ok(passed.write(None, packet))
            }
            Way::Within(Hop::Appliance(_)) | Way::Frontend(_) | Way::Through(_) | Way::Platform(_) => {
                Err(DropReason::NoMapping)
            }
        }
    }
}

fn between(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Tuple {
    Tuple { src: src.0, dst: dst.0, protocol: Protocol::TCP, src_port: src.1, dst_port: dst.1 }
}
