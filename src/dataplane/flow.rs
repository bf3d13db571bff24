//! Flow records: what lets a reply pass without a rule. (interface; bodies to come)
use super::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

/// Bounds of a [`FlowTable`].
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Records of one NIC (NSG-26).
    pub per_nic: usize,
    /// Records in all.
    pub total: usize,
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self { per_nic: 500_000, total: 1_000_000 }
    }
}

/// No room for another record: the new flow is refused, established ones are unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Records of admitted flows, shared by all workers.
#[derive(Debug)]
pub struct FlowTable {}

#[allow(unused_variables, clippy::todo)]
impl FlowTable {
    pub fn new(limits: FlowLimits) -> Self {
        todo!()
    }
    /// Whether a packet follows a record of this NIC (NSG-21): its own direction and tuple, or the opposite direction
    /// and the mirrored tuple. Refreshes the record's idle time and counts the packet.
    pub fn follow(&self, nic: NicId, direction: Direction, tuple: &Tuple, bytes: usize, now: Timestamp) -> bool {
        todo!()
    }
    /// Makes a record, or refreshes the one that is there.
    pub fn admit(
        &self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        bytes: usize,
        timeout_secs: u32,
        now: Timestamp,
    ) -> Result<(), TableFull> {
        todo!()
    }
    /// Ends idle records, at most `budget` of them; returns how many. Call a few times a second.
    pub fn expire(&self, now: Timestamp, budget: usize) -> usize {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
