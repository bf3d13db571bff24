//! Events for the daemon's main thread, one after the other.
//!
//! One idea: a change may wait in the middle, and the end of the daemon does not wait for the change; all other events
//! keep their order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

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
    /// The workers' reports.
    forwarding: Receiver<engine::Event>,
    /// Events that arrived during a pause.
    later: VecDeque<Event>,
}

impl Events {
    pub(in crate::lab) fn new(wake: Receiver<Event>, forwarding: Receiver<engine::Event>) -> Self {
        Self { wake, forwarding, later: VecDeque::new() }
    }

    /// The next one, if it comes in time.
    pub(in crate::lab) fn next(&mut self, limit: Duration) -> Option<Event> {
        self.later.pop_front().or_else(|| self.receive(limit))
    }

    /// Lets time pass; false if the daemon is to stop before it is up.
    pub(in crate::lab) fn pause(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now())) {
                Some(Event::Stop(why)) => {
                    self.later.push_front(Event::Stop(why));
                    return false;
                }
                Some(event) => self.later.push_back(event),
                None => return true,
            }
        }
    }

    fn receive(&mut self, limit: Duration) -> Option<Event> {
        let reported = select! {
            recv(self.wake) -> event => return Some(event.unwrap_or(Event::Stop("no thread is left to send events"))),
            recv(self.forwarding) -> reported => reported,
            default(limit) => return None,
        };
        reported.map(Event::Forwarding).ok().or_else(|| {
            // Every worker has ended, and has reported it.
            self.forwarding = never();
            self.receive(limit)
        })
    }
}
