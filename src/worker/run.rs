//! The worker threads: sleep until a queue is ready, forward a batch from each, sleep again, or spin while that pays.
//!
//! They use epoll, read and write, since io_uring won nothing on this pipeline in two runs (medians of 3, 5 and 7
//! interleaved rounds; the same program twice differed by 1 % for TCP and by 12 % for datagrams). Multishot reads into
//! a ring of buffers: one stream 0.83 and 0.95 of the rate, four 0.89 and 1.10. A batch's writes in one submission:
//! four streams 0.48, 1.13 and 1.03, and more datagrams lost. TCP has nothing to batch, two frames a submission, and
//! most of a write is the receiver's own stack.

use std::hash::RandomState;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::dataplane::{FlowEvent, NicId, PortId, Timestamp};
use crate::sys::clock::monotonic_nanos;
use crate::sys::confine::{self, Role, Thread};
use crate::sys::mailbox::{Inbox, Mailbox, mailbox};
use crate::sys::poll::{Poller, Ready};
use crate::sys::schedule::set_slice;
use crate::sys::tun::TunQueue;

use super::busy_poll::Spin;
use super::carried::Carried;
use super::command::{Followed, Order, Plug};
use super::counters::{MAX_PORTS, Tally};
use super::forwarder::{Forwarder, Tables};

/// How often idle flow records are swept, and how many at a time.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRY_BUDGET: usize = 4096;

/// Ports that one look at the poller reports.
const READY: usize = 64;

/// How long a worker runs at a time while guests want its core: the shortest time there is. A guest that a packet wakes
/// then begins before its socket is full. In the kernel's own 1.4 ms (two cores) a flood fills one.
const TURN: Duration = Duration::from_micros(100);

/// How long a worker may take to follow an order: it checks for one between two batches.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders that wait for a worker at a time: callers wait for each other at that.
const ORDERS: usize = 16;

/// Threads that close queues at the same time.
const CLOSERS: usize = 32;

/// The poller's token for the waker; ports have their number.
const WOKEN: u64 = u64::MAX;

/// What the daemon should know about.
#[derive(Debug)]
pub enum Event {
    /// A port's device is gone. Packets to it are dropped as `NodeDown`.
    PortDown(PortId),
    /// A worker ended: it was told to, the kernel refused to poll, or it has a bug.
    WorkerFailed { worker: usize, error: io::Error },
}

/// Running worker threads. Dropping them stops them.
#[derive(Debug)]
pub struct Workers {
    threads: Mutex<Vec<Thread<Vec<Arc<TunQueue>>>>>,
    orders: Vec<Mailbox<Order>>,
    stopping: Arc<AtomicBool>,
    /// By [`PortId`]; none for a number that no port has.
    alive: Mutex<Vec<Option<Arc<AtomicBool>>>>,
    /// By worker, and what the kernel carried.
    tallies: Vec<Arc<Tally>>,
    carried: Option<Arc<Carried>>,
}

/// Queues that workers have released. They close where this is dropped, never on a thread that forwards: a device goes
/// with its last queue, and the kernel waits about 10 ms for that.
#[derive(Debug, Default)]
#[must_use = "the devices stay until this is dropped"]
pub struct Unplugged(Vec<Arc<TunQueue>>);

struct Worker {
    index: usize,
    forwarder: Forwarder<TunQueue>,
    poller: Poller,
    /// By [`PortId`].
    ports: Vec<Option<Polled>>,
    tables: Tables,
    orders: Inbox<Order>,
    stopping: Arc<AtomicBool>,
    events: Sender<Event>,
}

/// A port as a worker knows it.
struct Polled {
    /// The queue this worker reads, if it has one.
    queue: Option<Arc<TunQueue>>,
    alive: Arc<AtomicBool>,
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
        let tallies = (0..workers).map(|_| Arc::new(Tally::new(ports.len())));
        let tallies = tallies.chain(tables.carried.iter().map(|carried| Arc::clone(carried.tally()))).collect();
        let mut started = Self {
            threads: Mutex::default(),
            orders: Vec::new(),
            stopping: Arc::default(),
            alive: Mutex::default(),
            tallies,
            carried: tables.carried.clone(),
        };
        for index in 0..workers {
            let (orders, taken) = mailbox(ORDERS)?;
            started.orders.push(orders);
            let tally = Arc::clone(&started.tallies[index]);
            let worker = Worker::new(index, tables, tally, taken, &started.stopping, events.clone())?;
            let name = format!("vnet-w{index}");
            let prepare = || {
                prepare();
                Ok(())
            };
            let thread = confine::spawn(&name, Role::Worker, prepare, move |()| worker.run())?;
            started.threads().push(thread);
        }
        started.plug((0..).map(PortId).zip(ports).collect())?;
        Ok(started)
    }

    /// Gives every worker its queues of new ports. Their numbers must be free. All ports or none; no worker stops
    /// forwarding meanwhile.
    pub fn plug(&self, ports: Vec<(PortId, Vec<TunQueue>)>) -> io::Result<()> {
        let numbers: Vec<PortId> = ports.iter().map(|(port, _)| *port).collect();
        if let Some(beyond) = numbers.iter().find(|port| port.0 as usize >= MAX_PORTS) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("port {}: at most {MAX_PORTS}", beyond.0)));
        }
        let mut plugs: Vec<Vec<Plug>> = self.orders.iter().map(|_| Vec::with_capacity(ports.len())).collect();
        for (port, queues) in ports {
            for tally in &self.tallies {
                tally.port(port).reset();
                tally.dropped().forget(port);
            }
            let alive = self.announce(port);
            let queues: Vec<_> = queues.into_iter().take(self.orders.len()).map(Arc::new).collect();
            for (worker, plugs) in plugs.iter_mut().enumerate() {
                let read = queues.get(worker).cloned();
                let write = Arc::clone(&queues[worker.min(queues.len() - 1)]);
                plugs.push(Plug { port, read, write, alive: Arc::clone(&alive) });
            }
        }
        let plugged =
            self.order(|worker, done| Order { plug: std::mem::take(&mut plugs[worker]), unplug: Vec::new(), done });
        if plugged.is_err() {
            drop(self.unplug(&numbers));
        }
        plugged
    }

    /// Removes ports from every worker. After that no worker uses tables older than the published ones. Devices that
    /// are not persistent vanish once the result is dropped.
    pub fn unplug(&self, ports: &[PortId]) -> Unplugged {
        let mut unplugged = Unplugged::default();
        let order = |_, done| Order { plug: Vec::new(), unplug: ports.to_vec(), done };
        // A worker that does not answer has ended, which is reported as an event.
        let _ = self.order_and(order, |queues| unplugged.0.extend(queues));
        let mut alive = self.alive();
        for port in ports {
            alive[port.0 as usize] = None;
        }
        unplugged
    }

    /// Returns once every worker uses the published tables.
    pub fn refresh(&self) -> io::Result<()> {
        self.order(|_, done| Order { plug: Vec::new(), unplug: Vec::new(), done })
    }

    /// Stops the threads, waits for them and closes their queues. Does nothing the second time.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.orders.iter().for_each(Mailbox::wake);
        if let Some(carried) = &self.carried {
            carried.stop();
        }
        // One that ended early has reported it.
        let threads = std::mem::take(&mut *self.threads());
        drop(Unplugged(threads.into_iter().filter_map(Thread::join).flatten().collect()));
    }

    /// What each worker counted, and the kernel.
    pub fn tallies(&self) -> &[Arc<Tally>] {
        &self.tallies
    }

    /// Whether a port's device is still there.
    pub fn is_alive(&self, port: PortId) -> bool {
        self.alive().get(port.0 as usize).and_then(Option::as_ref).is_some_and(|alive| alive.load(Ordering::Relaxed))
    }

    /// How many threads are running.
    pub fn running(&self) -> usize {
        self.threads().iter().filter(|thread| !thread.is_finished()).count()
    }

    /// Gives every worker an order and waits until all have followed it. A worker that has ended is skipped.
    fn order(&self, make: impl FnMut(usize, Sender<Followed>) -> Order) -> io::Result<()> {
        self.order_and(make, drop)
    }

    /// The same; `take` receives the queues that each worker releases.
    fn order_and(
        &self,
        mut make: impl FnMut(usize, Sender<Followed>) -> Order,
        mut take: impl FnMut(Vec<Arc<TunQueue>>),
    ) -> io::Result<()> {
        let (done, answers) = bounded(self.orders.len());
        for (worker, orders) in self.orders.iter().enumerate() {
            // Refused by a worker that has ended.
            let _ = orders.send(make(worker, done.clone()));
        }
        drop(done);
        let mut outcome = Ok(());
        for _ in &self.orders {
            match answers.recv_timeout(PATIENCE) {
                Ok(Followed { plugged, unplugged }) => {
                    outcome = outcome.and(plugged);
                    take(unplugged);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "a worker does not answer"));
                }
            }
        }
        outcome
    }

    /// Notes that there is a port of this number.
    fn announce(&self, port: PortId) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(true));
        let mut alive = self.alive();
        let slots = alive.len().max(port.0 as usize + 1);
        alive.resize(slots, None);
        alive[port.0 as usize] = Some(Arc::clone(&flag));
        flag
    }

    fn alive(&self) -> MutexGuard<'_, Vec<Option<Arc<AtomicBool>>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Thread<Vec<Arc<TunQueue>>>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker does before it may not any more.
fn prepare() {
    // If the kernel refuses, all threads have longer turns.
    let _ = set_slice(TURN);
    // The thread's own random numbers, for its first hash table.
    let _ = RandomState::new();
}

impl Drop for Unplugged {
    /// The kernel waits for all processors to have let go of a device: 500 take 10 s one after another, and half a
    /// second where they share these waits.
    fn drop(&mut self) {
        let mut shares: Vec<Vec<_>> = (0..CLOSERS).map(|_| Vec::new()).collect();
        for (nth, queue) in self.0.drain(..).enumerate() {
            shares[nth % CLOSERS].push(queue);
        }
        thread::scope(|scope| {
            for share in shares.into_iter().filter(|share| !share.is_empty()) {
                // If no thread can be started, the queue is closed here.
                let _ = thread::Builder::new().name("vnet-close".into()).spawn_scoped(scope, move || drop(share));
            }
        });
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
        tally: Arc<Tally>,
        orders: Inbox<Order>,
        stopping: &Arc<AtomicBool>,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&orders, WOKEN)?;
        let forwarder = Forwarder::new(tables, Vec::new(), tally);
        let (tables, stopping) = (tables.clone(), Arc::clone(stopping));
        Ok(Self { index, forwarder, poller, ports: Vec::new(), tables, orders, stopping, events })
    }

    /// A worker that ends early closes its queues; the kernel then spreads their flows over those of the others. One
    /// that is stopped hands them back.
    fn run(mut self) -> Vec<Arc<TunQueue>> {
        let (worker, events) = (self.index, self.events.clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| self.forward_until_stopped()));
        let queues = self.ports.drain(..).filter_map(|polled| polled?.queue).collect();
        drop(self);
        let error = match outcome {
            Ok(Ok(())) => return queues,
            Ok(Err(error)) => error,
            // The panic's message is on stderr.
            Err(_) => io::Error::other("it panicked: this is a bug in vnet"),
        };
        drop(queues);
        // Without a listener the event is lost.
        let _ = events.send(Event::WorkerFailed { worker, error });
        Vec::new()
    }

    fn forward_until_stopped(&mut self) -> io::Result<()> {
        let mut ready = Ready::new(READY);
        let mut spin = Spin::new();
        let mut last_packet = monotonic_nanos();
        let mut now = last_packet;
        // One worker sweeps flow records; the others sleep as long as nothing comes.
        let interval = (self.index == 0).then_some(EXPIRY_INTERVAL);
        let mut next_expiry = now;
        while !self.stopping.load(Ordering::Acquire) {
            let timeout = if spin.goes_on(now - last_packet) { Some(Duration::ZERO) } else { interval };
            self.poller.wait(&mut ready, timeout)?;
            now = monotonic_nanos();
            let frames = self.round(&ready, Timestamp(now))?;
            if frames > 0 {
                spin.learn(now - last_packet);
                last_packet = now;
            }
            if frames > 0 || spin.goes_on(now - last_packet) {
                // The guest that receives these, or sends the next, may be waiting for this very core. With both guests
                // on one core, 1 of 100 round trips takes longer than 0.11 ms with this, and than 2.7 ms without. Of 16
                // interleaved flows of datagrams, 22 % were lost for lack of a receiver, and 42 % without.
                thread::yield_now();
            }
            if let Some(interval) = interval
                && now >= next_expiry
            {
                self.sweep(Timestamp(now));
                self.forwarder.reset_idle(Timestamp(now), EXPIRY_BUDGET);
                next_expiry = now + interval.as_nanos() as u64;
            }
        }
        Ok(())
    }

    /// Ends idle flow records, and reports them to the listeners.
    fn sweep(&self, now: Timestamp) {
        let Tables { snapshot, flows, events, .. } = &self.tables;
        let snapshot = snapshot.load();
        let followed = events.followed();
        let logged = |nic: NicId| snapshot.nics.get(nic.0 as usize).is_some_and(|nic| nic.flows.logged);
        flows.records.sweep(now, EXPIRY_BUDGET, |record| {
            let logged = logged(record.nic);
            if logged || followed {
                events.tell(FlowEvent::Ended(*record), logged);
            }
        });
    }

    /// Follows orders, and forwards a batch from each ready port; returns the number of frames.
    fn round(&mut self, ready: &Ready, now: Timestamp) -> io::Result<usize> {
        let mut frames = 0;
        for token in ready.tokens() {
            if token == WOKEN {
                self.obey();
                continue;
            }
            let port = PortId(token as u32);
            let batch = self.forwarder.batch(port, now);
            frames += batch.frames;
            if batch.gone {
                self.retire(port)?;
            }
        }
        Ok(frames)
    }

    /// Follows the orders that have arrived, and confirms each.
    fn obey(&mut self) {
        for Order { plug, unplug, done } in self.orders.drain().collect::<Vec<_>>() {
            let unplugged = unplug.into_iter().flat_map(|port| self.unplug(port)).flatten().collect();
            let plugged = plug.into_iter().try_for_each(|plug| self.plug(plug));
            self.forwarder.refresh();
            // The thread that gave the order may have lost patience.
            let _ = done.send(Followed { plugged, unplugged });
        }
    }

    fn plug(&mut self, Plug { port, read, write, alive }: Plug) -> io::Result<()> {
        if let Some(queue) = &read {
            self.poller.add(queue, u64::from(port.0))?;
        }
        let slot = port.0 as usize;
        if self.ports.len() <= slot {
            self.ports.resize_with(slot + 1, || None);
        }
        self.ports[slot] = Some(Polled { queue: read, alive });
        self.forwarder.plug(port, write);
        Ok(())
    }

    /// Removes a port; returns the queues that it read and wrote.
    fn unplug(&mut self, port: PortId) -> [Option<Arc<TunQueue>>; 2] {
        let written = self.forwarder.unplug(port);
        let read = self.ports.get_mut(port.0 as usize).and_then(Option::take).and_then(|polled| polled.queue);
        if let Some(queue) = &read {
            // Its descriptor is about to close, which takes it out of the poll set in any case.
            let _ = self.poller.remove(queue);
        }
        [read, written]
    }

    /// Removes a port from the poll set after its device is gone: otherwise the kernel would report its error for ever.
    fn retire(&mut self, port: PortId) -> io::Result<()> {
        // Unplugged since it was found ready.
        let Some(polled) = self.ports.get_mut(port.0 as usize).and_then(Option::as_mut) else { return Ok(()) };
        if let Some(queue) = polled.queue.take() {
            self.poller.remove(&queue)?;
        }
        if polled.alive.swap(false, Ordering::Relaxed) {
            // Without a listener the event is lost.
            let _ = self.events.send(Event::PortDown(port));
        }
        Ok(())
    }
}
