//! Events for the daemon's main thread, one after the other.
//!
//! One idea: a change may wait in the middle, and the end of the daemon does not wait for the change; all other events
//! keep their order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::daemon::api::protocol::{Change, Response};
use crate::daemon::engine;

pub(in crate::lab) enum Event {
    /// Why to stop.
    Stop(&'static str),
    ReadAgain,
    ProgramEnded,
    Change(Change, Sender<Response>),
    Forwarding(engine::Event),
    /// Devices of gateways, sites or circuits' links were switched off or on, or something else about them is new.
    DevicesChanged,
}

pub(in crate::lab) struct Events {
    wake: Receiver<Event>,
    /// Events that arrived during such a wait.
    later: VecDeque<Event>,
}

impl Events {
    pub(in crate::lab) fn new(wake: Receiver<Event>) -> Self {
        Self { wake, later: VecDeque::new() }
    }

    /// The next one, if it comes in time.
    pub(in crate::lab) fn next(&mut self, limit: Duration) -> Result<Event, RecvTimeoutError> {
        self.later.pop_front().map_or_else(|| self.wake.recv_timeout(limit), Ok)
    }

    /// Lets time pass; false if the daemon is to stop before it is up.
    pub(in crate::lab) fn pause(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self.wake.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Stop(why)) => {
                    self.later.push_front(Event::Stop(why));
                    return false;
                }
                Ok(event) => self.later.push_back(event),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}
