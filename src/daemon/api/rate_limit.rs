//! How many may do something at a time: whoever comes beyond that is turned away at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for a number of them.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Room {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct Place(Arc<AtomicUsize>);

impl Room {
    pub(in crate::daemon) fn of(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place, if one is free.
    pub(in crate::daemon) fn enter(&self) -> Option<Place> {
        // Counted before it is judged: dropping the place takes it back.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.taken));
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
