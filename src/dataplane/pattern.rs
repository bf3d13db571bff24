//! The filter of `trace`: a condition on a packet and its leg, with names replaced by numbers.
//!
//! One idea: a condition is evaluated on what is known so far, and the answer may be "not yet". So a packet that cannot
//! match is told from others before its leg is recorded, and a flow that cannot match stays with the kernel.

use ipnet::IpNet;

use super::{DropReason, NicId, PortId, Recorder, Step};
use crate::wire::{Fragment, Protocol, Summary};

/// A condition on a packet and its leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// True if all are; an empty list is true.
    All(Vec<Pattern>),
    Any(Vec<Pattern>),
    Not(Box<Pattern>),
    /// An address within one of these prefixes.
    Within(Side, Vec<IpNet>),
    /// A TCP or UDP port from the first to the last.
    Port(Side, u16, u16),
    Protocol(Protocol),
    Ipv4,
    Ipv6,
    /// The leg begins or ends at one of these NICs. The ports serve where the source check did not find the sender.
    At(Vec<NicId>, Vec<PortId>),
    Dropped,
    DroppedFor(DropReason),
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Src,
    Dst,
    Either,
}

/// What is known of a leg.
#[derive(Clone, Copy, Debug)]
enum Known<'a> {
    /// Its packet, on which nothing is decided yet.
    Packet(&'a Summary),
    Decided(&'a Recorder),
}

impl Pattern {
    /// Whether a leg that began at this port matches.
    pub fn matches(&self, ingress: PortId, leg: &Recorder) -> bool {
        self.evaluate(ingress, Known::Decided(leg)) == Some(true)
    }

    /// Whether the leg of this packet, which is not decided yet, may match.
    pub fn may_match(&self, ingress: PortId, packet: &Summary) -> bool {
        self.evaluate(ingress, Known::Packet(packet)) != Some(false)
    }

    /// None if that is not known yet.
    fn evaluate(&self, ingress: PortId, known: Known<'_>) -> Option<bool> {
        let packet = |test: &dyn Fn(&Summary) -> bool| Some(known.packet().is_some_and(test));
        match self {
            Self::All(parts) => first(parts.iter().map(|part| part.evaluate(ingress, known)), false),
            Self::Any(parts) => first(parts.iter().map(|part| part.evaluate(ingress, known)), true),
            Self::Not(part) => part.evaluate(ingress, known).map(|matches| !matches),
            Self::Within(side, nets) => packet(&|packet| {
                let within = |address| nets.iter().any(|net| net.contains(&address));
                side.either(|| within(packet.tuple.src), || within(packet.tuple.dst))
            }),
            Self::Port(side, first, last) => packet(&|packet| {
                let within = |port| (*first..=*last).contains(&port);
                let tuple = &packet.tuple;
                has_ports(packet) && side.either(|| within(tuple.src_port), || within(tuple.dst_port))
            }),
            Self::Protocol(protocol) => packet(&|packet| packet.tuple.protocol == *protocol),
            Self::Ipv4 => packet(&|packet| packet.tuple.src.is_ipv4()),
            Self::Ipv6 => packet(&|packet| packet.tuple.src.is_ipv6()),
            Self::At(_, ports) if ports.contains(&ingress) => Some(true),
            Self::At(nics, _) => known.leg().map(|leg| leg.steps().iter().any(|step| is_at(step, nics))),
            Self::Dropped => known.leg().map(|leg| leg.dropped().is_some()),
            Self::DroppedFor(reason) => known.leg().map(|leg| leg.dropped() == Some(*reason)),
        }
    }
}

/// The deciding answer if a part gives it, the other one if all do, else none.
fn first(parts: impl Iterator<Item = Option<bool>>, deciding: bool) -> Option<bool> {
    let mut answer = Some(!deciding);
    for part in parts {
        match part {
            Some(part) if part == deciding => return Some(deciding),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

impl<'a> Known<'a> {
    /// None if the bytes were not a valid packet.
    fn packet(&self) -> Option<&'a Summary> {
        match self {
            Self::Packet(packet) => Some(packet),
            Self::Decided(leg) => leg.packet(),
        }
    }

    const fn leg(&self) -> Option<&'a Recorder> {
        match self {
            Self::Packet(_) => None,
            Self::Decided(leg) => Some(leg),
        }
    }
}

impl Side {
    fn either(self, src: impl FnOnce() -> bool, dst: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Src => src(),
            Self::Dst => dst(),
            Self::Either => src() || dst(),
        }
    }
}

/// For an ICMP echo the tuple's ports hold the identifier, and a later fragment has no ports.
fn has_ports(packet: &Summary) -> bool {
    let first = packet.fragment.is_none_or(|Fragment { offset, .. }| offset == 0);
    first && matches!(packet.tuple.protocol, Protocol::TCP | Protocol::UDP)
}

fn is_at(step: &Step, nics: &[NicId]) -> bool {
    match step {
        Step::Sent { nic } | Step::Arrive { nic } => nics.contains(nic),
        Step::Admit { .. }
        | Step::Route { .. }
        | Step::Cross { .. }
        | Step::Translate(_)
        | Step::Balance { .. }
        | Step::Reset { .. }
        | Step::NoRoom { .. }
        | Step::NoPort { .. }
        | Step::Gateway { .. }
        | Step::Delivered { .. }
        | Step::Dropped { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::wire::{Detail, Tuple};

    /// Only the first fragment of a packet has its ports.
    #[test]
    fn a_later_fragment_has_no_ports() {
        let [src, dst] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        let tuple = Tuple { src, dst, protocol: Protocol::UDP, src_port: 5000, dst_port: 53 };
        let packet = |fragment| Summary { tuple, detail: Detail::Udp, fragment, ttl: 64, len: 60, segments: 1 };
        let at = |offset| Some(Fragment { id: 7, offset, more: true });
        let port = Pattern::Port(Side::Dst, 53, 53);
        let matches = [None, at(0), at(1), at(1480)].map(|part| port.may_match(PortId(0), &packet(part)));
        assert_eq!(matches, [true, true, false, false]);
    }
}
