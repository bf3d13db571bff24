//! Where workers report the packets of flows that wait, so that the kernel's program carries none that overtakes them.
//!
//! One idea: a slot is one flow's until it carries, and marks are numbers that no other flow had lately. So a report about
//! a slot's former flow, however late, is none about the present one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::flow_cache::{Flow, FlowCache, Mark, SLOTS};

/// A flow that has sent so many packets up, while the last was never reported, is one that always fills its queue. It
/// carries all the same. A queue holds 2,000 of these: the rest of it is overtaken.
const LONGEST_WAIT: u32 = 65_536;

/// The slots that no flow has.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Mutex<Vec<u16>>>,
    next_mark: u32,
}

/// One flow's slot, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u16,
    mark: u32,
    free: Arc<Mutex<Vec<u16>>>,
}

impl Default for Slots {
    fn default() -> Self {
        let free = (1..u16::MAX).take(SLOTS - 1).rev().collect();
        Self { free: Arc::new(Mutex::new(free)), next_mark: 0 }
    }
}

impl Slots {
    /// None while all are in use.
    pub(super) fn take(&mut self) -> Option<Slot> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let mark = self.next_mark;
        self.next_mark = mark.wrapping_add(LONGEST_WAIT + 1);
        Some(Slot { number, mark, free: Arc::clone(&self.free) })
    }
}

impl Slot {
    /// Lets a flow wait, from before it is in the map.
    pub(super) fn delay(&self, flow: Flow, cache: &FlowCache) -> Flow {
        let mark = self.mark;
        cache.pass(Mark { slot: self.number, number: mark.wrapping_sub(1) });
        Flow { slot: self.number, mark, last_mark: mark.wrapping_add(LONGEST_WAIT), ..flow }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_one_flows_and_no_two_have_the_same_marks() {
        let mut slots = Slots::default();
        let mut all: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(all.len(), SLOTS - 1);
        let numbers: std::collections::BTreeSet<_> = all.iter().map(|slot| slot.number).collect();
        assert_eq!((numbers.len(), numbers.contains(&0)), (SLOTS - 1, false), "zero is none");
        assert!(all.windows(2).all(|pair| pair[1].mark.wrapping_sub(pair[0].mark) > LONGEST_WAIT));
        let freed = all.pop().map(|slot| slot.number);
        assert_eq!(slots.take().map(|slot| slot.number), freed);
    }
}
