//! A channel with a sender that never waits: an item that finds no room is dropped and counted.
//!
//! The receiver polls and never sleeps on the channel, so a worker never has to wake it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TryIter, TrySendError, bounded};

/// The workers' end.
#[derive(Clone, Debug)]
pub(super) struct LossySender<T> {
    sender: Sender<T>,
    missed: Arc<AtomicU64>,
}

/// The listener's end.
#[derive(Debug)]
pub(super) struct LossyReceiver<T> {
    receiver: Receiver<T>,
    missed: Arc<AtomicU64>,
    /// Misses already reported.
    reported: u64,
}

/// Creates both ends, with room for this many; the memory is allocated at once.
pub(super) fn lossy<T>(room: usize) -> (LossySender<T>, LossyReceiver<T>) {
    let (sender, receiver) = bounded(room);
    let missed = Arc::default();
    (LossySender { sender, missed: Arc::clone(&missed) }, LossyReceiver { receiver, missed, reported: 0 })
}

impl<T> LossySender<T> {
    pub(super) fn offer(&self, thing: T) {
        // A receiver that is gone misses nothing.
        if let Err(TrySendError::Full(_)) = self.sender.try_send(thing) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T> LossyReceiver<T> {
    /// The items that have arrived. Does not wait.
    pub(super) fn drain(&self) -> TryIter<'_, T> {
        self.receiver.try_iter()
    }

    /// How many items found no room since the last call.
    pub(super) fn missed(&mut self) -> u64 {
        let total = self.missed.load(Ordering::Relaxed);
        total - std::mem::replace(&mut self.reported, total)
    }
}
