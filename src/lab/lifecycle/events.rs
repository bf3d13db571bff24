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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io;

    use crossbeam_channel::unbounded;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const SOON: Duration = Duration::from_secs(10);

    fn named(event: Option<&Event>) -> String {
        match event {
            Some(Event::Stop(why)) => format!("stop: {why}"),
            Some(Event::ReadAgain) => "read".to_owned(),
            Some(Event::ProgramEnded) => "ended".to_owned(),
            Some(Event::Forwarding(engine::Event::WorkerFailed { worker, .. })) => format!("worker {worker}"),
            Some(_) => "other".to_owned(),
            None => "none".to_owned(),
        }
    }

    /// A change waits for Azure's time; what happens meanwhile is handled after it, but for the end.
    #[test]
    fn events_of_a_pause_keep_their_order_and_the_end_comes_first() {
        let (wake, taken) = unbounded();
        let (_reports, reported) = unbounded();
        let mut events = Events::new(taken, reported);
        wake.send(Event::ReadAgain).unwrap();
        wake.send(Event::ProgramEnded).unwrap();
        let began = Instant::now();
        assert!(events.pause(SHORT));
        assert!((SHORT..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
        wake.send(Event::Stop("enough")).unwrap();
        let began = Instant::now();
        assert!(!events.pause(SOON), "it does not wait for the change");
        assert!(began.elapsed() < SOON);
        let order: Vec<_> = (0..4).map(|_| named(events.next(SHORT).as_ref())).collect();
        assert_eq!(order, ["stop: enough", "read", "ended", "none"]);
    }

    #[test]
    fn a_worker_that_ended_is_reported_and_without_any_the_others_are_heard_still() {
        let (wake, taken) = unbounded();
        let (reports, reported) = unbounded();
        let mut events = Events::new(taken, reported);
        reports.send(engine::Event::WorkerFailed { worker: 1, error: io::Error::other("no") }).unwrap();
        assert_eq!(named(events.next(SHORT).as_ref()), "worker 1");
        drop(reports);
        assert_eq!(named(events.next(SHORT).as_ref()), "none", "none is left to report");
        wake.send(Event::ReadAgain).unwrap();
        assert_eq!(named(events.next(SHORT).as_ref()), "read");
        drop(wake);
        assert_eq!(named(events.next(SOON).as_ref()), "stop: no thread is left to send events");
    }
}
