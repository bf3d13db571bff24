//! A channel whose sender never waits: what finds no room is counted and left out.
//!
//! Whoever receives looks for what has come and never sleeps on the channel, so that a worker has nobody to wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryIter, TrySendError, sync_channel};

/// The workers' end.
#[derive(Clone, Debug)]
pub(super) struct LossySender<T> {
    sender: SyncSender<T>,
    missed: Arc<AtomicU64>,
}

/// The listener's end.
#[derive(Debug)]
pub(super) struct LossyReceiver<T> {
    receiver: Receiver<T>,
    missed: Arc<AtomicU64>,
    /// Already told.
    told: u64,
}

/// Both ends, with room for this many; its memory is there from the start.
pub(super) fn lossy<T>(room: usize) -> (LossySender<T>, LossyReceiver<T>) {
    let (sender, receiver) = sync_channel(room);
    let missed = Arc::default();
    (LossySender { sender, missed: Arc::clone(&missed) }, LossyReceiver { receiver, missed, told: 0 })
}

impl<T> LossySender<T> {
    pub(super) fn offer(&self, thing: T) {
        // A listener that has gone misses nothing.
        if let Err(TrySendError::Full(_)) = self.sender.try_send(thing) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T> LossyReceiver<T> {
    /// What has come. Does not wait.
    pub(super) fn drain(&self) -> TryIter<'_, T> {
        self.receiver.try_iter()
    }

    /// How many found no room since it was asked last.
    pub(super) fn missed(&mut self) -> u64 {
        let total = self.missed.load(Ordering::Relaxed);
        total - std::mem::replace(&mut self.told, total)
    }
}
