//! Flows that the kernel carries: what workers hand to its cache, and what they learn from it.
//!
//! One idea: the flow records stay the only truth. A flow is handed over once a few packets of it have followed
//! records, mappings and tables alone; its entry is of the epoch that began with the last change of tables, taps or ports. What the
//! kernel carried is added to records and counters a few times a second, and before anyone looks at them. A packet that
//! has no valid entry comes up and is decided as ever, so an entry may be missing or end at any time.
//!
//! One thread owns the entries and alone asks the kernel: others send it requests. Workers never wait for it: what does
//! not fit into its queue is handed over with a later packet.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use foldhash::fast::RandomState;

use crate::dataplane::{Flows, Snapshot, Timestamp, Traffic};
use crate::sys::clock::monotonic_nanos;
use crate::sys::confine::{self, Role, Thread};
use crate::sys::flow_cache::{FLOWS_MAX, Flow, FlowCache, FlowKey, Mark};

use super::copies::Copies;
use super::counters::Tally;
use super::leg::{Basis, Leg, Offer};
use super::slots::{Slot, Slots};
use super::trace::{Taps, Traced};

/// How often what was carried is read: more often than a silent flow may be pushed out of a full table. A reading that
/// takes long is not repeated at once.
const READING: Duration = Duration::from_millis(250);
const SHARE_OF_TIME: u32 = 20;
/// Requests that wait at a time.
const REQUESTS: usize = 1024;
/// A reading that is younger than this serves another caller.
const FRESH: u64 = 1_000_000;
/// An entry for another TTL is replaced once it has carried nothing for so long.
const SETTLED: u64 = 1_000_000_000;

/// What the kernel carries for one network: the requests to the thread that knows.
#[derive(Debug)]
pub struct Carried {
    cache: Arc<FlowCache>,
    requests: Sender<Request>,
    tally: Arc<Tally>,
    entries: Arc<AtomicUsize>,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "workers allocate nothing")]
enum Request {
    Take(Offer, Flow),
    /// The same, with the decision on its packets, of which so many bytes are wanted.
    Copy(Offer, Flow, Traced, u32),
    /// Offer the copies that wait.
    Collect(Sender<()>),
    /// Read what was carried.
    Read(Sender<()>),
    /// End all entries.
    Invalidate(Sender<()>),
    Stop,
}

/// The thread's own.
#[derive(Debug)]
struct Keeper {
    cache: Arc<FlowCache>,
    flows: Arc<Flows>,
    tally: Arc<Tally>,
    entries: HashMap<FlowKey, Entry, RandomState>,
    slots: Slots,
    copies: Copies,
    /// How many entries carry.
    count: Arc<AtomicUsize>,
    read_at: u64,
    /// How long the last reading took.
    took: Duration,
}

/// A flow in one direction that was handed over.
#[derive(Debug)]
struct Entry {
    leg: Leg,
    basis: Basis,
    /// What was added to records and counters so far.
    read: Reading,
    /// By which copies of its packets are known, or zero.
    copies: u32,
    /// As long as it waits for its packets that went up.
    slot: Option<Slot>,
    /// It carries no more; its counts are read once more, for packets under leg.
    over: bool,
}

/// What an entry had carried.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    packets: u64,
    bytes: u64,
    wire_bytes: u64,
    missed: u64,
}

impl Entry {
    const fn is_live(flow: &Flow, epoch: u64, now: u64) -> bool {
        flow.epoch == epoch && flow.ended == 0 && now.saturating_sub(flow.last) <= flow.timeout
    }
}

impl Carried {
    /// Starts the thread.
    pub fn start(cache: Arc<FlowCache>, flows: Arc<Flows>, taps: Arc<ArcSwap<Taps>>) -> io::Result<Self> {
        let (requests, taken) = bounded(REQUESTS);
        let (tally, count) = (Arc::new(Tally::new(0)), Arc::new(AtomicUsize::new(0)));
        let keeper = Keeper {
            cache: Arc::clone(&cache),
            flows,
            tally: Arc::clone(&tally),
            entries: HashMap::default(),
            slots: Slots::default(),
            copies: Copies::new(Arc::clone(&cache), taps),
            count: Arc::clone(&count),
            read_at: 0,
            took: Duration::ZERO,
        };
        let thread = confine::spawn("vnet-carried", Role::FlowCache, || Ok(()), move |()| keeper.serve(&taken))?;
        Ok(Self { cache, requests, tally, entries: count, thread: Mutex::new(Some(thread)) })
    }

    /// What the kernel carried, as a worker would have counted it.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Ends all entries: once this returns, the next packet of each flow comes up.
    pub fn invalidate(&self) {
        self.ask(Request::Invalidate);
    }

    /// Offers to captures what was carried of the flows that they want. Returns once that is done.
    pub(super) fn collect(&self) {
        self.ask(Request::Collect);
    }

    /// Adds what was carried to records and counters. Returns once that is done.
    pub fn read(&self) {
        self.ask(Request::Read);
    }

    /// How many flows the kernel carried when that was read last, each direction by itself.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Refused by a thread that has ended.
            let _ = self.requests.send(Request::Stop);
            thread.join();
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.cache.epoch()
    }

    /// Reports that a marked packet went on its way.
    pub(super) fn pass(&self, mark: Mark) {
        self.cache.pass(mark);
    }

    /// Hands a flow over, if there is room for the request and the records still admit it.
    pub(super) fn take(&self, offer: &Offer, copies: Option<(&Traced, u32)>, snapshot: &Snapshot, now: Timestamp) {
        let flow = offer.decided(snapshot, now);
        let request = match copies {
            None => Request::Take(*offer, flow),
            Some((traced, most)) => Request::Copy(*offer, flow, traced.clone(), most),
        };
        let _ = self.requests.try_send(request);
    }

    /// A thread that has ended answers no more, and nothing is carried then: see [`Keeper::serve`].
    fn ask(&self, request: impl FnOnce(Sender<()>) -> Request) {
        let (done, answer) = bounded(1);
        if self.requests.send(request(done)).is_ok() {
            let _ = answer.recv();
        }
    }
}

impl Drop for Keeper {
    /// However the thread ends, all packets come up from then on.
    fn drop(&mut self) {
        let _ = self.cache.begin_epoch();
    }
}

impl Keeper {
    fn serve(mut self, requests: &Receiver<Request>) {
        loop {
            let pause = READING.max(self.took * SHARE_OF_TIME);
            let due = Duration::from_nanos(monotonic_nanos().saturating_sub(self.read_at));
            match requests.recv_timeout(pause.saturating_sub(due)) {
                Ok(Request::Take(offer, flow)) => self.take(&offer, flow, None),
                Ok(Request::Copy(offer, flow, traced, most)) => self.take(&offer, flow, Some((traced, most))),
                Ok(Request::Collect(done)) => {
                    if self.copies.collect() {
                        self.read(0);
                    }
                    let _ = done.send(());
                }
                Ok(Request::Read(done)) => {
                    self.read(FRESH);
                    let _ = done.send(());
                }
                Ok(Request::Invalidate(done)) => {
                    // An epoch that could not begin is told to no program: its entries are of no use.
                    let _ = self.cache.begin_epoch();
                    self.read(0);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.read(0),
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Adds what was carried since the last reading to records and counters, and removes what is over; not if that was
    /// done less than `fresh` nanoseconds ago.
    fn read(&mut self, fresh: u64) {
        let begun = monotonic_nanos();
        if begun.saturating_sub(self.read_at) < fresh {
            return;
        }
        self.copies.collect();
        let epoch = self.cache.epoch();
        let mut entries = std::mem::take(&mut self.entries);
        let mut carries = 0;
        entries.retain(|key, entry| {
            let Some(flow) = self.cache.find(key) else { return false };
            let followed = self.add(entry, &flow);
            let over = !Entry::is_live(&flow, epoch, begun);
            let stays = followed && !(over && entry.over);
            entry.over = over;
            carries += usize::from(stays && !over && entry.slot.is_none());
            if !stays {
                self.cache.remove(key);
                self.copies.end(entry.copies);
            }
            stays
        });
        self.entries = entries;
        self.count.store(carries, Ordering::Relaxed);
        self.read_at = monotonic_nanos();
        self.took = Duration::from_nanos(self.read_at - begun);
    }

    /// Hands a flow over, if its records still admit it; of a connection that ends, reads what was carried.
    fn take(&mut self, offer: &Offer, flow: Flow, copies: Option<(Traced, u32)>) {
        let leg = &offer.leg;
        let now = Timestamp(flow.last);
        let (key, back) = (offer.key(), offer.key_of_answers());
        if leg.turns() {
            self.catch_up(&key);
            self.catch_up(&back);
            return;
        }
        let Some(basis) = leg.basis(&self.flows, now) else { return };
        let flow = basis.limit(flow);
        self.end_other(&back, leg);
        if let Some(carried) = self.catch_up(&key) {
            let same = self.entries.get(&key).is_some_and(|entry| entry.leg.arrives_as(leg));
            let in_use = carried.ttl == flow.ttl || now.0.saturating_sub(carried.last) < SETTLED;
            if same && in_use && Entry::is_live(&carried, offer.epoch, now.0) {
                return;
            }
        } else if self.entries.len() >= FLOWS_MAX {
            return;
        }
        let Some(slot) = self.slots.take() else { return };
        let flow = slot.delay(flow, &self.cache);
        let flow = match copies {
            None => Some(flow),
            Some((traced, most)) => self.copies.want(flow, traced, most),
        };
        let Some(flow) = flow else { return };
        // A full map, or an end since: what is there no longer stands for the flow.
        if self.cache.put(&key, &flow).is_ok() && leg.basis(&self.flows, now) == Some(basis) {
            let (read, copies) = (Reading::default(), flow.copies);
            let entry = Entry { leg: *leg, basis, read, copies, slot: Some(slot), over: false };
            self.replace(key, Some(entry));
        } else {
            self.cache.remove(&key);
            self.replace(key, None);
            self.copies.end(flow.copies);
        }
    }

    fn replace(&mut self, key: FlowKey, entry: Option<Entry>) {
        let former = match entry {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
        if let Some(former) = former {
            self.copies.end(former.copies);
        }
    }

    /// Adds what an entry has carried, if there is one.
    fn catch_up(&mut self, key: &FlowKey) -> Option<Flow> {
        let (key, mut entry) = self.entries.remove_entry(key)?;
        let flow = self.cache.find(&key);
        if let Some(flow) = &flow {
            self.add(&mut entry, flow);
            self.entries.insert(key, entry);
        }
        flow
    }

    /// Ends the entry of the packets that come back, if it sends them to another end than the one that now sends: they
    /// were of another flow with the same ports.
    fn end_other(&mut self, back: &FlowKey, leg: &Leg) {
        if self.entries.get(back).is_some_and(|entry| !leg.is_answered_by(&entry.leg)) {
            self.catch_up(back);
            self.cache.remove(back);
            self.replace(*back, None);
        }
    }

    /// Adds what an entry has carried since it was read last. False if one of its records is gone, or its mapping.
    fn add(&self, entry: &mut Entry, flow: &Flow) -> bool {
        let Entry { leg, basis, read, slot, copies, .. } = entry;
        self.copies.miss(*copies, flow.missed - read.missed);
        if flow.slot == 0 {
            *slot = None;
        }
        let traffic = Traffic { packets: flow.packets - read.packets, bytes: flow.bytes - read.bytes };
        let [ingress, egress] = leg.ports().map(|port| self.tally.port(port));
        let on_wire = flow.wire_bytes - read.wire_bytes;
        ingress.received(traffic.packets, on_wire);
        egress.sent(traffic.packets, on_wire);
        *read = Reading { packets: flow.packets, bytes: flow.bytes, wire_bytes: flow.wire_bytes, missed: flow.missed };
        leg.add(&self.flows, basis, traffic, flow)
    }
}
