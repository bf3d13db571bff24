//! When to look at idle records again.
//!
//! One idea: a packet only writes `last`; the wheel finds out late. Each record hangs in one slot of a wheel of seconds,
//! where its deadline was when it was put there. When the slot comes round, a record whose deadline has moved is put
//! further ahead, so a busy flow costs one look a timeout, never one a packet; a TCP flow one a linger time, since it may
//! close meanwhile and its timer stays where it is. A deadline beyond the wheel's horizon is looked at early and put ahead
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
    /// The next tick whose slot is to be taken.
    tick: u64,
    /// What was in the slots taken so far and was not looked at yet. Kept apart from them, so that a record put ahead by a
    /// whole round is not met again at once.
    due: Link,
}

impl Wheel {
    pub(in crate::dataplane) fn new() -> Self {
        Self { slots: vec![END; SLOTS as usize].into(), tick: 0, due: END }
    }

    /// Has a record come up once it should be looked at; the record hangs in no slot now.
    pub(in crate::dataplane) fn arm<T: Entry>(&mut self, records: &mut Slab<T>, link: Link, now: Timestamp) {
        let due = records[link].next_look(now).0 / TICK + 1;
        let tick = due.min(now.0 / TICK + SLOTS - 1);
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        *records[link].timer() = std::mem::replace(slot, link);
    }

    /// Takes out the next record whose slot has come round, lapsed or not.
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
