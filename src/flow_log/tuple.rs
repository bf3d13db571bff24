//! One line about a flow: the comma-separated tuples of DIAG-07 and DIAG-08.

use crate::dataplane::{Direction, FlowRecord, Traffic};
use crate::model::NsgLogVersion;
use crate::wire::{Protocol, Tuple};

/// One event of a flow, at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) unix_micros: u64,
    pub(super) direction: Direction,
    /// Of the flow's first packet.
    pub(super) tuple: Tuple,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Begun,
    /// Since its last report (DIAG-09).
    Continuing(Exchange),
    Ended(Exchange),
    Denied,
}

/// The traffic from the flow's source to its destination, and back; headers are counted (DIAG-09).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) there: Traffic,
    pub(super) back: Traffic,
}

impl Exchange {
    /// Records count from the guest's side.
    pub(super) const fn of(record: &FlowRecord) -> Self {
        match record.admitted {
            Direction::Outbound => Self { there: record.sent, back: record.received },
            Direction::Inbound => Self { there: record.received, back: record.sent },
        }
    }

    pub(super) const fn since(self, before: Self) -> Self {
        const fn less(more: Traffic, less: Traffic) -> Traffic {
            let packets = more.packets.saturating_sub(less.packets);
            Traffic { packets, bytes: more.bytes.saturating_sub(less.bytes) }
        }
        Self { there: less(self.there, before.there), back: less(self.back, before.back) }
    }

    fn words(self) -> String {
        let Self { there, back } = self;
        [there.packets, there.bytes, back.packets, back.bytes].map(|n| n.to_string()).join(",")
    }
}

impl Moment {
    /// The tuple in a security group's log, which covers TCP and UDP only; version 1 has only begun and denied flows.
    pub(super) fn in_nsg_log(&self, version: NsgLogVersion) -> Option<String> {
        let protocol = match self.tuple.protocol {
            Protocol::TCP => 'T',
            Protocol::UDP => 'U',
            _ => return None,
        };
        let (decision, state, counters) = match self.state {
            State::Begun => ('A', 'B', ",,,".to_owned()),
            State::Continuing(exchange) => ('A', 'C', exchange.words()),
            State::Ended(exchange) => ('A', 'E', exchange.words()),
            State::Denied => ('D', 'B', ",,,".to_owned()),
        };
        let flow = format!("{},{},{protocol},{},{decision}", self.unix_micros / 1_000_000, self.ends(), self.way());
        match version {
            NsgLogVersion::V1 => (state == 'B').then_some(flow),
            NsgLogVersion::V2 => Some(format!("{flow},{state},{counters}")),
        }
    }

    /// The tuple in the log of a virtual network, a subnet or an interface. Nothing is encrypted in a lab.
    pub(super) fn in_flow_log(&self) -> String {
        let (state, exchange) = match self.state {
            State::Begun => ('B', Exchange::default()),
            State::Continuing(exchange) => ('C', exchange),
            State::Ended(exchange) => ('E', exchange),
            State::Denied => ('D', Exchange::default()),
        };
        let (time, protocol) = (self.unix_micros / 1000, self.tuple.protocol.0);
        format!("{time},{},{protocol},{},{state},NX,{}", self.ends(), self.way(), exchange.words())
    }

    fn ends(&self) -> String {
        let Tuple { src, dst, src_port, dst_port, protocol } = self.tuple;
        // An echo's identifier is no port.
        let ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
        let (src_port, dst_port) = if ports { (src_port, dst_port) } else { (0, 0) };
        format!("{src},{dst},{src_port},{dst_port}")
    }

    const fn way(&self) -> char {
        match self.direction {
            Direction::Inbound => 'I',
            Direction::Outbound => 'O',
        }
    }
}
