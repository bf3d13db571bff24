//! Flows that the kernel carries: what workers hand to its cache, and what they learn from it.
//!
//! One idea: the flow records stay the only truth. A flow is handed over once a few packets of it have followed
//! records, mappings and tables alone; its entry is of the epoch that began with the last change of tables, taps or ports. What the
//! kernel carried is added to records and counters a few times a second, and before anyone looks at them. A packet that
//! has no valid entry comes up and is decided as ever, so an entry may be missing or end at any time.
//!
//! One thread owns the entries and alone asks the kernel: others send it requests. Workers never wait for it: what does
//! not fit into its queue is handed over with a later packet.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use foldhash::fast::RandomState;

use crate::dataplane::{Flows, Snapshot, Standing, Timestamp};
use crate::sys::clock::monotonic_nanos;
use crate::sys::confine::{self, Role, Thread};
use crate::sys::flow_cache::{CREDIT, FLOWS_MAX, Flow, FlowCache, FlowKey, Mark};
use crate::sys::schedule::set_slice;

use super::copies::Copies;
use super::counters::Tally;
use super::entry::{Entry, HalfOpen, Reading};
use super::flow_events::FlowEvents;
use super::grants::{Grants, Opened};
use super::leg::{Leg, Offer};
use super::slots::Slots;
use super::trace::{Taps, Traced};

/// How often what was carried is read: more often than a silent flow may be pushed out of a full table. A reading that
/// takes long is not repeated at once.
const READING: Duration = Duration::from_millis(250);
const SHARE_OF_TIME: u32 = 20;
/// The thread's time slice: the longest that the kernel gives. A process that a packet wakes then runs before this thread.
const TURN: Duration = Duration::from_millis(100);
/// Requests that wait at a time.
const REQUESTS: usize = 1024;
/// A reading that is younger than this serves another caller.
const FRESH: u64 = 1_000_000;
/// Connections that the kernel opened are looked at after so long, in turns of the first: many are over soon, and another
/// one from the same port can be opened once their entries are gone. Without this, 8 % of 12,000 connections a second came
/// up, for Linux uses a port again after 3,000.
const LOOKS: [u64; 2] = [25_000_000, 100_000_000];
/// An entry for another TTL is replaced once it has carried nothing for so long.
const SETTLED: u64 = 1_000_000_000;

/// What the kernel carries for one network: the requests to the thread that knows.
#[derive(Debug)]
pub struct Carried {
    cache: Arc<FlowCache>,
    grants: Arc<Grants>,
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
    /// Let the kernel open connections like the one that this answers.
    Grant(Offer, Timestamp),
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
    grants: Arc<Grants>,
    taps: Arc<ArcSwap<Taps>>,
    /// Taken from `grants`, to be entered; between two calls none.
    opened: Vec<Opened>,
    /// For each of the [`LOOKS`]: when it is due, when the connection was opened, and its keys.
    looks: [VecDeque<(u64, Timestamp, [FlowKey; 2])>; LOOKS.len()],
    looked_at: u64,
    /// How many entries carry.
    count: Arc<AtomicUsize>,
    read_at: u64,
    /// How long the last reading took.
    took: Duration,
}

impl Carried {
    /// Starts the thread.
    pub fn start(
        cache: Arc<FlowCache>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        flows: Arc<Flows>,
        taps: Arc<ArcSwap<Taps>>,
        events: FlowEvents,
    ) -> io::Result<Self> {
        let (requests, taken) = bounded(REQUESTS);
        let grants = Arc::new(Grants::new(Arc::clone(&cache), Arc::clone(&flows), snapshot, events)?);
        let keeper = Keeper::new(&cache, flows, taps, Arc::clone(&grants));
        let (tally, count) = (Arc::clone(&keeper.tally), Arc::clone(&keeper.count));
        let prepared = || {
            prepare();
            Ok(())
        };
        let thread = confine::spawn("vnet-carried", Role::FlowCache, prepared, move |()| keeper.serve(&taken))?;
        Ok(Self { cache, grants, requests, tally, entries: count, thread: Mutex::new(Some(thread)) })
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
    pub fn flows(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
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

    /// Makes the records of the connections that the kernel has opened. Call it with each packet, before it is decided.
    pub(super) fn catch_up(&self) {
        self.grants.catch_up();
    }

    /// Asks for leave to open connections like the one that this answers, if there is room for the request.
    pub(super) fn ask_grant(&self, answer: &Offer, now: Timestamp) {
        let _ = self.requests.try_send(Request::Grant(*answer, now));
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

/// What the thread does before it may not any more.
fn prepare() {
    // If the kernel refuses, guests that want its core wait for it longer.
    let _ = set_slice(TURN);
}

impl Drop for Keeper {
    /// However the thread ends, all packets come up from then on.
    fn drop(&mut self) {
        let _ = self.cache.begin_epoch();
    }
}

impl Keeper {
    fn new(cache: &Arc<FlowCache>, flows: Arc<Flows>, taps: Arc<ArcSwap<Taps>>, grants: Arc<Grants>) -> Self {
        Self {
            cache: Arc::clone(cache),
            flows,
            tally: Arc::new(Tally::new(0)),
            entries: HashMap::default(),
            slots: Slots::default(),
            copies: Copies::new(Arc::clone(cache), Arc::clone(&taps)),
            grants,
            taps,
            opened: Vec::with_capacity(CREDIT),
            looks: Default::default(),
            looked_at: 0,
            count: Arc::default(),
            read_at: 0,
            took: Duration::ZERO,
        }
    }

    fn serve(mut self, requests: &Receiver<Request>) {
        loop {
            let now = monotonic_nanos();
            let request = requests.recv_timeout(self.reading_due(now).min(self.look_due(now)));
            self.enter_opened();
            self.look();
            match request {
                Ok(Request::Take(offer, flow)) => self.take(&offer, flow, None),
                Ok(Request::Copy(offer, flow, traced, most)) => self.take(&offer, flow, Some((traced, most))),
                Ok(Request::Grant(answer, now)) => {
                    // A tap may want some of these connections. One that begins later begins an epoch.
                    if self.taps.load().is_empty() {
                        self.grants.grant(&answer, now);
                    }
                }
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
                    self.enter_opened();
                    self.grants.withdraw_all();
                    self.read(0);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.reading_due(monotonic_nanos()).is_zero() {
                        self.read(0);
                    }
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// How long it is to the next reading.
    fn reading_due(&self, now: u64) -> Duration {
        let since = Duration::from_nanos(now.saturating_sub(self.read_at));
        READING.max(self.took * SHARE_OF_TIME).saturating_sub(since)
    }

    /// How long it is to the next look at connections.
    fn look_due(&self, now: u64) -> Duration {
        if self.looks.iter().all(VecDeque::is_empty) {
            return Duration::MAX;
        }
        Duration::from_nanos(LOOKS[0].saturating_sub(now.saturating_sub(self.looked_at)))
    }

    /// Looks at the connections that are due, and removes those that are over.
    fn look(&mut self) {
        let now = monotonic_nanos();
        if !self.look_due(now).is_zero() {
            return;
        }
        self.looked_at = now;
        for look in 0..LOOKS.len() {
            while let Some(&(due, at, ways)) = self.looks[look].front()
                && due <= now
            {
                self.looks[look].pop_front();
                // Another connection may have begun from the same port since.
                let its =
                    ways.map(|key| self.entries.get(&key)?.opened_at.filter(|opened| *opened == at).and(Some(key)));
                let standing = its.iter().flatten().map(|key| self.standing(key)).max();
                if standing != Some(Standing::Open) {
                    its.iter().flatten().for_each(|key| self.end_entry(key));
                } else if let Some(next) = self.looks.get_mut(look + 1) {
                    next.push_back((now + LOOKS[look + 1], at, ways));
                }
            }
        }
    }

    /// Adds what an entry has carried; returns what became of what it stands on.
    fn standing(&mut self, key: &FlowKey) -> Standing {
        let books = (&*self.flows, &*self.tally, &self.copies);
        let Some((entry, flow)) = self.entries.get_mut(key).zip(self.cache.find(key)) else { return Standing::Gone };
        entry.add(&flow, books)
    }

    fn end_entry(&mut self, key: &FlowKey) {
        self.cache.remove(key);
        self.replace(*key, None);
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
            let standing = entry.add(&flow, (&self.flows, &self.tally, &self.copies));
            let over = !Entry::is_live(&flow, epoch, begun);
            let stays = standing == Standing::Open && !entry.is_ignored(begun) && !(over && entry.over);
            entry.over = over;
            carries += usize::from(stays && !over && entry.slot.is_none());
            if !stays {
                self.cache.remove(key);
                self.copies.end(entry.copies);
            }
            stays
        });
        self.entries = entries;
        self.grants.sweep(begun);
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
        let known = self.catch_up(&key);
        if let Some(carried) = &known {
            let same = self.entries.get(&key).is_some_and(|entry| entry.leg.arrives_as(leg));
            let in_use = carried.ttl == flow.ttl || now.0.saturating_sub(carried.last) < SETTLED;
            if same && in_use && Entry::is_live(carried, offer.epoch, now.0) {
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
        // Without a known entry, there may be one that the program has written a moment ago: it stays.
        let put = if known.is_some() { self.cache.put(&key, &flow) } else { self.cache.put_new(&key, &flow) };
        let is_put = put.is_ok();
        // A full map, or an end since: what is there no longer stands for the flow.
        if is_put && leg.basis(&self.flows, now) == Some(basis) {
            let (leg, read, copies) = (*leg, Reading::default(), flow.copies);
            let (slot, opened_at, half_open) = (Some(slot), None, None);
            self.replace(key, Some(Entry { leg, basis, read, copies, slot, opened_at, half_open, over: false }));
        } else {
            if known.is_some() || is_put {
                self.end_entry(&key);
            }
            self.copies.end(flow.copies);
        }
    }

    /// Enters the connections that the kernel has opened: counts their first packets, and the rules that decided on them.
    fn enter_opened(&mut self) {
        let mut opened = std::mem::take(&mut self.opened);
        self.grants.take(&mut opened);
        for connection in opened.drain(..) {
            let (at, len) = (connection.at, connection.len.into());
            let [ingress, egress] = connection.kind.opening.ports.map(|port| self.tally.port(port));
            ingress.received(1, len);
            egress.sent(1, len);
            connection.kind.opening.rules().for_each(|rule| self.tally.rules().hit(rule));
            let first = Reading { packets: 1, bytes: len, missed: 0 };
            let ways = connection.legs();
            self.looks[0].push_back((at.0 + LOOKS[0], at, [ways[0].0, ways[1].0]));
            let mut credit = Some(connection.credit);
            for ((key, leg), read) in ways.into_iter().zip([first, Reading::default()]) {
                let (basis, standing) = leg.basis_of_opened(&self.flows, at);
                let half_open = Some(HalfOpen { since: at, _credit: credit.take() });
                let (copies, slot, opened_at) = (0, None, Some(at));
                self.replace(key, Some(Entry { leg, basis, read, copies, slot, opened_at, half_open, over: false }));
                if standing != Standing::Open {
                    // A packet that came up has closed it already, or there was no room for a record.
                    self.standing(&key);
                    self.end_entry(&key);
                }
            }
            if !self.grants.has_room(&connection.kind) {
                self.grants.withdraw(&connection.kind, monotonic_nanos());
            }
        }
        self.opened = opened;
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
        let books = (&*self.flows, &*self.tally, &self.copies);
        let entry = self.entries.get_mut(key)?;
        let flow = self.cache.find(key);
        match &flow {
            Some(flow) => drop(entry.add(flow, books)),
            None => self.replace(*key, None),
        }
        flow
    }

    /// Ends the entry of the packets that come back, if it sends them to another end than the one that now sends: they
    /// were of another flow with the same ports.
    fn end_other(&mut self, back: &FlowKey, leg: &Leg) {
        if self.entries.get(back).is_some_and(|entry| !leg.is_answered_by(&entry.leg)) {
            self.catch_up(back);
            self.end_entry(back);
        }
    }
}

#[cfg(test)]
mod tests;
