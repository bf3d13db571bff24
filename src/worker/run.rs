//! The worker threads: sleep until a queue is ready, forward a batch from each, sleep again, or spin while that pays.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::forwarder::{Forwarder, Tables};
use super::spin::Spin;
use super::tally::Tally;
use crate::dataplane::{PortId, Timestamp};
use crate::sys::clock::monotonic_nanos;
use crate::sys::poll::{Poller, Ready, Waker};
use crate::sys::tun::TunQueue;

/// How often idle flow records are looked for, and how many are ended at a time.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRY_BUDGET: usize = 4096;

/// Ports that one look at the poller reports.
const READY: usize = 64;

/// The poller's token for the waker; ports have their number.
const STOP: u64 = u64::MAX;

/// What control should hear about.
#[derive(Debug)]
pub enum Event {
    /// A port's device is gone. Packets to it are dropped as `NodeDown`.
    PortDown(PortId),
    /// A worker ended, which it does only when told to or when the kernel refuses to poll.
    WorkerFailed { worker: usize, error: io::Error },
}

/// Running worker threads. Dropping them stops them.
#[derive(Debug)]
pub struct Workers {
    threads: Mutex<Vec<JoinHandle<()>>>,
    shared: Arc<Shared>,
    tallies: Vec<Arc<Tally>>,
}

#[derive(Debug)]
struct Shared {
    waker: Waker,
    stopping: AtomicBool,
    /// By [`PortId`].
    alive: Box<[AtomicBool]>,
}

struct Worker {
    index: usize,
    forwarder: Forwarder<TunQueue>,
    poller: Poller,
    /// By [`PortId`]: the queue this worker reads, if it has one.
    queues: Vec<Option<Arc<TunQueue>>>,
    tables: Tables,
    shared: Arc<Shared>,
    events: Sender<Event>,
}

impl Workers {
    /// Starts `workers` threads over the queues of each port, by [`PortId`]. A port with more queues than workers loses
    /// the rest; one with fewer is read by the first workers and written by all.
    pub fn start(
        tables: &Tables,
        ports: Vec<Vec<TunQueue>>,
        workers: usize,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let alive = ports.iter().map(|_| AtomicBool::new(true)).collect();
        let shared = Arc::new(Shared { waker: Waker::new()?, stopping: AtomicBool::new(false), alive });
        let tallies = (0..workers).map(|_| Arc::new(Tally::new(ports.len()))).collect();
        let started = Self { threads: Mutex::default(), shared, tallies };
        let ports: Vec<Vec<Arc<TunQueue>>> =
            ports.into_iter().map(|queues| queues.into_iter().take(workers).map(Arc::new).collect()).collect();
        for index in 0..workers {
            let worker = Worker::new(index, tables, &ports, &started, events.clone())?;
            let thread = thread::Builder::new().name(format!("vnet-w{index}")).spawn(move || worker.run())?;
            started.threads().push(thread);
        }
        Ok(started)
    }

    /// Stops the threads and waits for them; they close their queues. Does nothing the second time.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.waker.wake();
        for thread in self.threads().drain(..) {
            // A worker that panicked has said so on stderr; there is nothing left to do about it.
            let _ = thread.join();
        }
    }

    /// What each worker counted.
    pub fn tallies(&self) -> &[Arc<Tally>] {
        &self.tallies
    }

    /// Whether a port's device is still there.
    pub fn alive(&self, port: PortId) -> bool {
        self.shared.alive[port.0 as usize].load(Ordering::Relaxed)
    }

    /// How many threads are running.
    pub fn running(&self) -> usize {
        self.threads().iter().filter(|thread| !thread.is_finished()).count()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Worker {
    fn new(
        index: usize,
        tables: &Tables,
        ports: &[Vec<Arc<TunQueue>>],
        started: &Workers,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&started.shared.waker, STOP)?;
        let queues: Vec<_> = ports.iter().map(|queues| queues.get(index).cloned()).collect();
        for (port, queue) in queues.iter().enumerate() {
            if let Some(queue) = queue {
                poller.add(queue, port as u64)?;
            }
        }
        let devices = ports.iter().map(|queues| Arc::clone(&queues[index.min(queues.len() - 1)])).collect();
        let forwarder = Forwarder::new(tables, devices, Arc::clone(&started.tallies[index]));
        let (tables, shared) = (tables.clone(), Arc::clone(&started.shared));
        Ok(Self { index, forwarder, poller, queues, tables, shared, events })
    }

    fn run(mut self) {
        if let Err(error) = self.forward_until_stopped() {
            // Without a listener nobody wants to know.
            let _ = self.events.send(Event::WorkerFailed { worker: self.index, error });
        }
    }

    fn forward_until_stopped(&mut self) -> io::Result<()> {
        let mut ready = Ready::new(READY);
        let mut spin = Spin::new();
        let mut last_packet = monotonic_nanos();
        let mut now = last_packet;
        // One worker looks after flow records; the others sleep as long as nothing comes.
        let interval = (self.index == 0).then_some(EXPIRY_INTERVAL);
        let mut next_expiry = now;
        while !self.shared.stopping.load(Ordering::Acquire) {
            let timeout = if spin.goes_on(now - last_packet) { Some(Duration::ZERO) } else { interval };
            self.poller.wait(&mut ready, timeout)?;
            now = monotonic_nanos();
            if self.round(&ready, Timestamp(now))? > 0 {
                spin.learn(now - last_packet);
                last_packet = now;
            } else if spin.goes_on(now - last_packet) {
                // The guest that will send the next packet may be waiting for this very core.
                thread::yield_now();
            }
            if let Some(interval) = interval
                && now >= next_expiry
            {
                self.tables.flows.records.expire(Timestamp(now), EXPIRY_BUDGET);
                next_expiry = now + interval.as_nanos() as u64;
            }
        }
        Ok(())
    }

    /// A batch from each ready port; how many frames they were.
    fn round(&mut self, ready: &Ready, now: Timestamp) -> io::Result<usize> {
        let mut frames = 0;
        for token in ready.tokens().filter(|&token| token != STOP) {
            let port = PortId(token as u32);
            let batch = self.forwarder.batch(port, now);
            frames += batch.frames;
            if batch.gone {
                self.retire(port)?;
            }
        }
        Ok(frames)
    }

    /// Takes a port out of the poll set: the kernel would report its error for ever.
    fn retire(&mut self, port: PortId) -> io::Result<()> {
        let slot = port.0 as usize;
        if let Some(queue) = self.queues[slot].take() {
            self.poller.remove(&queue)?;
        }
        if self.shared.alive[slot].swap(false, Ordering::Relaxed) {
            // Without a listener nobody wants to know.
            let _ = self.events.send(Event::PortDown(port));
        }
        Ok(())
    }
}
