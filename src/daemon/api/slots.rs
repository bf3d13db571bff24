//! A limit on how many clients may do something at a time: one more is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of slots.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Slots {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// A taken slot, until it is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(in crate::daemon) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes a slot, if one is free.
    pub(in crate::daemon) fn enter(&self) -> Option<Slot> {
        // Counted before it is compared: dropping the slot takes it back.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(&self.taken));
        (before < self.most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
