//! What happens to flows, told as it happens, for flow logs (DIAG-07, DIAG-08).
//!
//! One idea: the pipeline tells its observer what that wants to hear: of NICs whose [`FlowTerms::logged`] is set, or of all;
//! else an event costs one test of a flag. A worker's observer puts events into bounded channels without waiting and counts
//! what finds no room (`worker::FlowEvents`); whoever logs or follows takes them from the other end. `Begun` is told when the first packet passes,
//! `Ended` when its record goes: idle, closed, pushed out by a new flow of the same tuple, or refused by
//! `flushConnection`; every `Ended` carries the final counters. For the flows in between there is [`FlowTable::page`].
//! Each NIC has its own record, so a packet between two logged NICs begins two flows. Nothing here knows a file or a clock:
//! timestamps are the worker's monotonic ones.
//!
//! [`FlowTable::page`]: super::FlowTable::page
//! [`FlowTerms::logged`]: super::FlowTerms::logged

use crate::dataplane::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

use super::{FlowRecord, FlowState, RuleId, Traffic};

/// One thing that happened to one NIC's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// A first packet was let through; the record counts it.
    Begun(FlowRecord),
    /// No packet follows this record any more.
    Ended(FlowRecord),
    /// A packet was refused by a rule: every such packet is told.
    Denied(Denial),
}

/// A packet that a rule refused (NSG-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub at: Timestamp,
    pub nic: NicId,
    pub direction: Direction,
    /// As the packet has it.
    pub tuple: Tuple,
    /// None for an ACL that was made without numbers.
    pub rule: Option<RuleId>,
}

impl FlowEvent {
    /// Whose flow it is.
    pub const fn nic(&self) -> NicId {
        match self {
            Self::Begun(record) | Self::Ended(record) => record.nic,
            Self::Denied(denial) => denial.nic,
        }
    }
}

impl Denial {
    /// The flow that it would have begun, as a record that counts nothing.
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
