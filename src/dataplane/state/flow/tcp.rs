//! A record's view of its TCP connection, from the flags that passed in each direction.
//!
//! One idea: four bits a side, which are only ever set: SYN, FIN, RST, anything else. States are read from them, so
//! following a segment is one OR, and order does not matter. Sequence numbers are ignored: both ends' kernels check
//! them.

use std::fmt;

use crate::dataplane::Direction;
use crate::wire::Packet;

/// What one packet's flags say of its connection; nothing unless it is TCP with its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(u8);

/// TCP's flags (RFC 9293 section 3.1).
mod flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;
}

const SYN: u8 = 1;
const FIN: u8 = 2;
const RST: u8 = 4;
const OTHER: u8 = 8;
/// SYN without ACK: beside the four bits of a side.
const OPENS: u8 = 16;
/// Beside OPENS: the connection before it is over, though its record may not say so.
const RENEWS: u8 = 32;
const SIDE: u8 = 15;
const INBOUND: u32 = 4;

impl Signal {
    pub const NONE: Self = Self(0);

    #[inline]
    pub fn of(packet: &Packet<'_>) -> Self {
        let signal = packet.tcp_flags().map_or(Self::NONE, Self::from_flags);
        if packet.renews() && signal.opens() { Self(signal.0 | RENEWS) } else { signal }
    }

    /// A reset counts as a reset only; a SYN opens unless it answers one.
    #[inline]
    pub const fn from_flags(flags: u8) -> Self {
        if flags & flag::RST != 0 {
            Self(RST)
        } else if flags & flag::SYN != 0 {
            Self(if flags & flag::ACK == 0 { SYN | OPENS } else { SYN })
        } else if flags & flag::FIN != 0 {
            Self(OTHER | FIN)
        } else {
            Self(OTHER)
        }
    }

    /// What several segments of one side said, as the bits of a side: 1 SYN, 2 FIN, 4 RST, 8 anything else.
    #[inline]
    pub const fn of_bits(bits: u8) -> Self {
        Self(bits & SIDE)
    }

    /// The first segment of a new connection.
    #[inline]
    pub const fn opens(self) -> bool {
        self.0 & OPENS != 0
    }

    /// Such a segment after a connection that is over, even if the record does not say so.
    #[inline]
    pub const fn renews(self) -> bool {
        self.0 & RENEWS != 0
    }
}

/// All flags seen of a connection. None, for other protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Connection(u8);

impl Connection {
    pub(in crate::dataplane) const NONE: Self = Self(0);

    #[inline]
    pub(in crate::dataplane) const fn note(&mut self, direction: Direction, signal: Signal) {
        if signal.0 & OTHER != 0 {
            // An end that sent a reset sends nothing more, so that reset was forged or stale (RFC 5961 section 3).
            self.0 &= !(RST << Self::shift(direction));
        }
        self.note_earlier(direction, signal);
    }

    /// Notes segments that came before others which are noted already: they do not take a reset back.
    #[inline]
    pub(in crate::dataplane) const fn note_earlier(&mut self, direction: Direction, signal: Signal) {
        self.0 |= (signal.0 & SIDE) << Self::shift(direction);
    }

    const fn shift(direction: Direction) -> u32 {
        match direction {
            Direction::Outbound => 0,
            Direction::Inbound => INBOUND,
        }
    }

    /// There was a reset, and its sender sent nothing since.
    #[inline]
    pub(in crate::dataplane) const fn is_reset(self) -> bool {
        self.0 & (RST | RST << INBOUND) != 0
    }

    /// Over: a FIN from each side, or a reset.
    #[inline]
    pub(in crate::dataplane) const fn is_closed(self) -> bool {
        const FINS: u8 = FIN | FIN << INBOUND;
        self.0 & FINS == FINS || self.is_reset()
    }

    /// None where no TCP segment was seen.
    pub(in crate::dataplane) const fn state(self, admitted: Direction) -> Option<FlowState> {
        let (out, inward) = (self.0 & SIDE, self.0 >> INBOUND);
        let (opener, answerer) = match admitted {
            Direction::Outbound => (out, inward),
            Direction::Inbound => (inward, out),
        };
        if self.0 == 0 {
            return None;
        }
        Some(if self.is_closed() {
            FlowState::Closed
        } else if (opener | answerer) & FIN != 0 {
            FlowState::Closing
        } else if opener & (SYN | OTHER) != SYN {
            // The handshake is over, or was not seen.
            FlowState::Established
        } else if answerer == 0 {
            FlowState::SynSent
        } else {
            FlowState::SynReceived
        })
    }
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowState {
    /// Not TCP, and packets in one direction only.
    Unanswered,
    /// Not TCP, and packets in both directions.
    Answered,
    SynSent,
    /// The SYN was answered, the answer not yet acknowledged.
    SynReceived,
    Established,
    /// One side has sent its FIN.
    Closing,
    /// Both have, or one sent a reset: the record ends soon, and a SYN starts a new flow in its place.
    Closed,
}

impl FlowState {
    pub const ALL: [Self; 7] = [
        Self::Unanswered,
        Self::Answered,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::Closing,
        Self::Closed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Unanswered => "Unanswered",
            Self::Answered => "Answered",
            Self::SynSent => "SynSent",
            Self::SynReceived => "SynReceived",
            Self::Established => "Established",
            Self::Closing => "Closing",
            Self::Closed => "Closed",
        }
    }
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use Direction::{Inbound, Outbound};
    use FlowState::{Closed, Closing, Established, SynReceived, SynSent};

    use super::*;

    const ACK: u8 = flag::ACK;

    fn after(segments: &[(Direction, u8)]) -> Option<FlowState> {
        let mut connection = Connection::NONE;
        for (direction, flags) in segments {
            connection.note(*direction, Signal::from_flags(*flags));
        }
        connection.state(Outbound)
    }

    #[test]
    fn nsg_21_a_connection_from_its_syn_to_both_fins() {
        let all = [
            (Outbound, flag::SYN, SynSent),
            (Inbound, flag::SYN | ACK, SynReceived),
            (Outbound, ACK, Established),
            (Inbound, ACK, Established),
            (Inbound, flag::FIN | ACK, Closing),
            (Outbound, ACK, Closing),
            (Outbound, flag::FIN | ACK, Closed),
            (Inbound, ACK, Closed),
        ];
        for (n, (_, _, state)) in all.into_iter().enumerate() {
            let so_far: Vec<_> = all[..=n].iter().map(|(direction, flags, _)| (*direction, *flags)).collect();
            assert_eq!(after(&so_far), Some(state), "after {} segments", n + 1);
        }
    }

    #[test]
    fn nsg_21_a_reset_closes_unless_its_sender_goes_on() {
        assert_eq!(after(&[(Outbound, flag::SYN), (Inbound, flag::RST | ACK)]), Some(Closed), "refused");
        let open = [(Outbound, flag::SYN), (Inbound, flag::SYN | ACK), (Outbound, ACK)];
        let reset = [&open[..], &[(Inbound, flag::RST)]].concat();
        assert_eq!(after(&reset), Some(Closed));
        assert_eq!(after(&[&reset[..], &[(Outbound, ACK)]].concat()), Some(Closed), "the other side may not know yet");
        assert_eq!(after(&[&reset[..], &[(Inbound, ACK)]].concat()), Some(Established), "forged");
    }

    #[test]
    fn nsg_21_a_connection_met_in_the_middle_is_established() {
        assert_eq!(after(&[(Outbound, ACK)]), Some(Established));
        assert_eq!(after(&[(Inbound, flag::SYN | ACK)]), Some(Established), "its SYN went another way");
        assert_eq!(after(&[(Outbound, flag::SYN), (Outbound, ACK)]), Some(Established), "its answers go another way");
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn only_a_syn_without_ack_opens() {
        let opens = |flags| Signal::from_flags(flags).opens();
        assert!(opens(flag::SYN) && opens(flag::SYN | 0xc0), "with ECN set-up too (RFC 3168)");
        assert!(!opens(flag::SYN | ACK) && !opens(ACK) && !opens(flag::SYN | flag::RST) && !opens(0));
        assert!(!Signal::NONE.opens() && !Signal::from_flags(flag::SYN).renews());
    }

    /// The kernel's program has the same bits (`SIGNAL_SYN` and so on).
    #[test]
    fn what_several_segments_said_is_noted_at_once() {
        let bits = |flags| Signal::from_flags(flags).0 & SIDE;
        assert_eq!([flag::SYN, flag::FIN | ACK, flag::RST, ACK].map(bits), [1, 2 | 8, 4, 8]);
        let mut connection = Connection::NONE;
        connection.note(Outbound, Signal::of_bits(1 | 8));
        connection.note(Inbound, Signal::of_bits(1 | 2 | 8));
        assert_eq!(connection.state(Outbound), Some(Closing));
        connection.note(Outbound, Signal::of_bits(2 | 8));
        assert_eq!(connection.state(Outbound), Some(Closed));
        assert!(!Signal::of_bits(u8::MAX).opens());
        connection.note_earlier(Inbound, Signal::of_bits(4));
        connection.note_earlier(Inbound, Signal::of_bits(8));
        assert!(connection.is_reset(), "what came before takes no reset back");
        connection.note(Inbound, Signal::of_bits(8));
        assert!(!connection.is_reset());
    }
}
