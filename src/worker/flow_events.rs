//! The way of flow events from the workers to whoever logs them: a bounded channel that nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::dataplane::FlowEvent;

/// The workers' end.
#[derive(Clone, Debug)]
pub struct FlowEvents {
    sender: SyncSender<FlowEvent>,
    lost: Arc<AtomicU64>,
}

impl FlowEvents {
    /// Both ends of a channel that holds so many events; its memory is there from the start.
    pub fn channel(capacity: usize) -> (Self, Receiver<FlowEvent>) {
        let (sender, receiver) = sync_channel(capacity);
        (Self { sender, lost: Arc::default() }, receiver)
    }

    /// Events that found no room, or nobody to take them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, event: FlowEvent) {
        if self.sender.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
