//! The timer wheel of idle records.
//!
//! One idea: a packet only writes `last`; the wheel notices later. Each record is in one slot of a wheel of seconds, by
//! its deadline when it was put there. When the slot comes up, a record with a later deadline is put further ahead.
//! So a busy flow costs one check a timeout, never one a packet. A TCP flow costs one a linger time, since it may close
//! meanwhile and its timer stays where it is. A deadline beyond the wheel's horizon is checked early and put ahead
//! again. The wheel decides nothing: its caller asks the record.

use crate::dataplane::Timestamp;

use super::slab::{END, Entry, Link, Slab};

/// Seconds in a round.
const SLOTS: u64 = 512;
const TICK: u64 = 1_000_000_000;

#[derive(Debug)]
pub(in crate::dataplane) struct Wheel {
    /// By tick modulo SLOTS.
    slots: Box<[Link]>,
    /// The tick of the next slot to take.
    tick: u64,
    /// Records of the slots taken so far that were not checked yet. They are kept apart, so that a record put ahead by
    /// a whole round is not met again at once.
    due: Link,
}

impl Wheel {
    pub(in crate::dataplane) fn new() -> Self {
        Self { slots: vec![END; SLOTS as usize].into(), tick: 0, due: END }
    }

    /// Schedules a record for its next check; the record must be in no slot.
    pub(in crate::dataplane) fn arm<T: Entry>(&mut self, records: &mut Slab<T>, link: Link, now: Timestamp) {
        let due = records[link].next_look(now).0 / TICK + 1;
        let tick = due.min(now.0 / TICK + SLOTS - 1);
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        *records[link].timer() = std::mem::replace(slot, link);
    }

    /// Removes the next record of the slots that have come up, expired or not.
    pub(in crate::dataplane) fn pop<T: Entry>(&mut self, records: &mut Slab<T>, now: Timestamp) -> Option<Link> {
        let target = now.0 / TICK;
        // After a long pause every slot is due once, not once for each missed round.
        self.tick = self.tick.max((target + 1).saturating_sub(SLOTS));
        while self.due == END {
            if self.tick > target {
                return None;
            }
            self.due = std::mem::replace(&mut self.slots[(self.tick % SLOTS) as usize], END);
            self.tick += 1;
        }
        let link = self.due;
        self.due = *records[link].timer();
        Some(link)
    }
}
