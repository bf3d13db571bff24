//! Flow events, for flow logs and `vnet flows --follow` (DIAG-07, DIAG-08).
//!
//! One idea: the pipeline reports to its observer only the events that the observer wants: of NICs with
//! [`FlowTerms::logged`] set, or of all. Otherwise an event costs one test of a flag. A worker's observer puts events
//! into bounded channels without waiting and counts what finds no room (`worker::FlowEvents`); flow logs and followers
//! read from the other end. `Begun` comes when the first packet passes. `Ended` comes when its record ends: idle,
//! closed, pushed out, replaced by a new flow of the same tuple, or refused by `flushConnection`. Every `Ended` carries
//! the final counters. [`FlowTable::page`] lists the flows in between. Each NIC has its own record, so a packet between
//! two logged NICs begins two flows. Nothing here knows a file or a clock: timestamps are the worker's monotonic ones.
//!
//! [`FlowTable::page`]: super::FlowTable::page
//! [`FlowTerms::logged`]: super::FlowTerms::logged

use crate::dataplane::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

use super::{FlowRecord, FlowState, RuleId, Traffic};

/// An event of one NIC's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// A first packet passed; the record counts it.
    Begun(FlowRecord),
    /// The record ended.
    Ended(FlowRecord),
    /// A rule denied a packet; each such packet is an event.
    Denied(Denial),
}

/// A packet that a rule denied (NSG-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub at: Timestamp,
    pub nic: NicId,
    pub direction: Direction,
    /// The packet's tuple.
    pub tuple: Tuple,
    /// None if the ACL's rules have no numbers, or no rule matched.
    pub rule: Option<RuleId>,
}

impl FlowEvent {
    /// The NIC of the flow.
    pub const fn nic(&self) -> NicId {
        match self {
            Self::Begun(record) | Self::Ended(record) => record.nic,
            Self::Denied(denial) => denial.nic,
        }
    }
}

impl Denial {
    /// The flow that it would have begun, as a record without packets.
    pub fn unbegun(&self) -> FlowRecord {
        let Self { at, nic, direction, tuple, rule } = *self;
        FlowRecord {
            nic,
            admitted: direction,
            tuple,
            state: FlowState::Unanswered,
            refused: true,
            rules: rule.into_iter().collect(),
            begun: at,
            last: at,
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }
}
