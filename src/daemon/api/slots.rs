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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_is_refused_until_another_leaves() {
        let slots = Slots::new(2);
        let [first, second, third] = [(); 3].map(|()| slots.clone().enter());
        assert_eq!([first.is_some(), second.is_some(), third.is_some()], [true, true, false]);
        drop(first);
        let fourth = slots.enter();
        assert!(fourth.is_some() && slots.enter().is_none() && slots.enter().is_none(), "who was refused takes none");
        drop((second, fourth));
        assert_eq!([(); 3].map(|()| slots.enter()).iter().flatten().count(), 2);
    }
}
