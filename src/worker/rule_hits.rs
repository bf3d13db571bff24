//! How often each security rule decided, counted by one worker.
//!
//! A rule decides when it is the first of its NSG to match: for a flow's first packet, or for each packet that is
//! denied. A packet that follows a flow record meets no rule, so counting costs known flows nothing. As in
//! [`Tally`](super::Tally), each cell has one writer; memory grows a chunk at a time, and nothing moves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dataplane::RuleId;

/// Most rules that are counted; higher numbers are not.
const MAX_RULES: usize = 1 << 22;
/// Rules in a chunk: 8 KiB.
const CHUNK: usize = 1024;

/// One worker's count of each rule.
#[derive(Debug)]
pub struct RuleHits(Box<[OnceLock<Box<[AtomicU64]>>]>);

impl RuleHits {
    pub(super) fn new() -> Self {
        Self((0..MAX_RULES / CHUNK).map(|_| OnceLock::new()).collect())
    }

    /// Makes room for this many rules. Others are not counted, since counting allocates nothing.
    pub fn make_room(&self, rules: usize) {
        self.0.iter().take(rules.div_ceil(CHUNK)).for_each(|chunk| _ = chunk.get_or_init(new_chunk));
    }

    pub fn get(&self, rule: RuleId) -> u64 {
        self.cell(rule).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Resets the count for another rule of the same number. Call only while no worker counts it.
    pub fn reset(&self, rule: RuleId) {
        if let Some(cell) = self.cell(rule) {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Without a lock prefix: the calling worker is the only writer.
    pub(super) fn hit(&self, rule: RuleId) {
        if let Some(cell) = self.cell(rule) {
            cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn cell(&self, rule: RuleId) -> Option<&AtomicU64> {
        let index = rule.index() as usize;
        Some(&self.0.get(index / CHUNK)?.get()?[index % CHUNK])
    }
}

fn new_chunk() -> Box<[AtomicU64]> {
    (0..CHUNK).map(|_| AtomicU64::new(0)).collect()
}
