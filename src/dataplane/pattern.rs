//! The filter of `trace`: a condition on a packet and its leg, with names replaced by numbers. It is evaluated once a
//! leg is decided.

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

impl Pattern {
    /// Whether a leg that began at this port matches.
    pub fn matches(&self, ingress: PortId, leg: &Recorder) -> bool {
        let packet = |test: &dyn Fn(&Summary) -> bool| leg.packet().is_some_and(test);
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(ingress, leg)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(ingress, leg)),
            Self::Not(part) => !part.matches(ingress, leg),
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
            Self::At(nics, ports) => ports.contains(&ingress) || leg.steps().iter().any(|step| is_at(step, nics)),
            Self::Dropped => leg.dropped().is_some(),
            Self::DroppedFor(reason) => leg.dropped() == Some(*reason),
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
        | Step::Gateway { .. }
        | Step::Delivered { .. }
        | Step::Dropped { .. } => false,
    }
}
