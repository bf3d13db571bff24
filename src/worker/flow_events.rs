//! Flow events for flow logs and for clients that follow.
//!
//! One idea: each listener has its own bounded channel, published beside the tables. Flow logs get the events of
//! interfaces that the tables want logged; while a client follows, all interfaces report. A worker checks that once a
//! batch, and the listeners once an event. Without any listener, the first packet of a flow costs one test of a flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use crossbeam_channel::TryIter;

use super::lossy::{LossyReceiver, LossySender, lossy};
use crate::dataplane::FlowEvent;

/// All current listeners.
#[derive(Clone, Debug, Default)]
pub struct FlowEvents(Arc<Listeners>);

#[derive(Debug, Default)]
struct Listeners {
    all: ArcSwap<Vec<Arc<Listener>>>,
    /// How many of them want the events of all interfaces.
    following: AtomicUsize,
}

#[derive(Debug)]
struct Listener {
    scope: FlowScope,
    events: LossySender<FlowEvent>,
}

/// The interfaces of the events that a listener wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowScope {
    /// Of interfaces that the tables want logged.
    Logged,
    /// Of every interface.
    Every,
}

/// The receiving end of a listener, which ends when this is dropped.
#[derive(Debug)]
pub struct FlowWatch {
    from: FlowEvents,
    listener: Arc<Listener>,
    events: LossyReceiver<FlowEvent>,
}

impl FlowEvents {
    /// Adds a listener, with room for this many waiting events.
    pub fn listen(&self, scope: FlowScope, room: usize) -> FlowWatch {
        let (sender, events) = lossy(room);
        let listener = Arc::new(Listener { scope, events: sender });
        self.0.all.rcu(|now| now.iter().cloned().chain([Arc::clone(&listener)]).collect::<Vec<_>>());
        self.0.following.fetch_add(scope.follows(), Ordering::Relaxed);
        FlowWatch { from: self.clone(), listener, events }
    }

    /// Whether a listener also wants the events of interfaces that are not logged.
    #[inline]
    pub(super) fn followed(&self) -> bool {
        self.0.following.load(Ordering::Relaxed) > 0
    }

    pub(super) fn tell(&self, event: FlowEvent, logged: bool) {
        for listener in self.0.all.load().iter().filter(|listener| logged || listener.scope == FlowScope::Every) {
            listener.events.offer(event);
        }
    }
}

impl FlowScope {
    const fn follows(self) -> usize {
        match self {
            Self::Logged => 0,
            Self::Every => 1,
        }
    }
}

impl FlowWatch {
    /// The events that have arrived. Does not wait.
    pub fn events(&self) -> TryIter<'_, FlowEvent> {
        self.events.drain()
    }

    /// How many events found no room since the last call.
    pub fn missed(&mut self) -> u64 {
        self.events.missed()
    }
}

impl Drop for FlowWatch {
    fn drop(&mut self) {
        self.from.0.following.fetch_sub(self.listener.scope.follows(), Ordering::Relaxed);
        let others = |now: &Arc<Vec<Arc<Listener>>>| {
            now.iter().filter(|other| !Arc::ptr_eq(other, &self.listener)).cloned().collect::<Vec<_>>()
        };
        self.from.0.all.rcu(others);
    }
}
