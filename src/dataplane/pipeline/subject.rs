//! What filters and records ask about a packet, settled once at the start of its leg.

use crate::dataplane::{DropReason, FragmentTable, NicId, Timestamp, Traffic};
use crate::wire::{Packet, Protocol, Transport, Tuple};

pub(super) struct Subject {
    /// What rules match: a later fragment has the ports of its first.
    pub(super) tuple: Tuple,
    /// The flow that an ICMP error answers, as its replies would look: its record admits the error.
    answers: Option<Tuple>,
    pub(super) traffic: Traffic,
}

impl Subject {
    #[inline]
    pub(super) fn of(
        packet: &Packet<'_>,
        sender: NicId,
        fragments: &FragmentTable,
        now: Timestamp,
    ) -> Result<Self, DropReason> {
        let tuple = match packet.fragment() {
            None => packet.tuple(),
            Some(fragment) if fragment.offset == 0 => {
                fragments.first(sender, &packet.tuple(), fragment.id, now);
                packet.tuple()
            }
            Some(fragment) => fragments.later(sender, &packet.tuple(), fragment.id, now).ok_or(DropReason::Fragment)?,
        };
        let traffic = Traffic { packets: packet.segments().into(), bytes: packet.len() as u64 };
        Ok(Self { tuple, answers: answered(packet), traffic })
    }

    /// Whose record it follows at a NIC.
    #[inline]
    pub(super) fn flow(&self) -> &Tuple {
        self.answers.as_ref().unwrap_or(&self.tuple)
    }

    /// An ICMP error belongs to another flow: it starts none of its own, or one admitted error would admit the next.
    #[inline]
    pub(super) const fn starts_flow(&self) -> bool {
        self.answers.is_none()
    }
}

/// An error travels against the packet that it quotes, back to its source.
#[inline]
fn answered(packet: &Packet<'_>) -> Option<Tuple> {
    if !matches!(packet.protocol(), Protocol::ICMP | Protocol::ICMPV6) {
        return None;
    }
    match packet.transport() {
        Transport::IcmpError { quoted: Some(quoted) } if quoted.src == packet.dst() => Some(quoted.mirrored()),
        Transport::IcmpError { .. } => Some(packet.tuple()),
        Transport::Ports { .. } | Transport::Echo { .. } | Transport::Other => None,
    }
}
