//! Flow records: they let a packet pass because its flow was admitted before (NSG-20..26).
//!
//! One idea: a NIC's record is one entry under one key for both directions ([`key`]), so a packet needs
//! one lookup at each NIC. All workers share the table; each of its shards has one short lock. So a fragment, an ICMP
//! error or the other direction finds its record from any worker. It reads no clock and knows no rules. Its ids are
//! those of the snapshot that made the record: a `NicId` must mean the same in the next snapshot.
//!
//! Memory: 112 bytes a record and 4 to 8 for its bucket. Blocks of records are allocated when first needed and kept, so
//! a warm table allocates nothing, and the limits bound it.

mod event;
pub(in crate::dataplane) mod key;
#[cfg(test)]
mod limit_tests;
mod record;
mod shard;
mod shares;
pub(in crate::dataplane) mod slab;
pub(in crate::dataplane) mod tcp;
mod terms;
#[cfg(test)]
mod tests;
pub(in crate::dataplane) mod wheel;

use std::hash::BuildHasher;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use crate::dataplane::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

use super::lock::{Lock, Locked};
use key::FlowKey;
use record::Record;
use shard::{Shard, Sweep};
use shares::Shares;

pub use event::{Denial, FlowEvent};
pub use record::{FlowRecord, Follow, Passing, Traffic};
pub use shares::{FlowLimits, TableFull};
pub use tcp::{FlowState, Signal};
pub use terms::{Deciders, FlowTerms, RuleId, RulesMark, Share};

/// A power of two; many more than workers, so that two seldom need the same shard. A small table has fewer.
const SHARDS: usize = 64;
const RECORDS_OF_A_SHARD: usize = 4096;
/// Records looked at under one hold of a lock, so that no packet waits for a long sweep.
const SWEEP_AT_ONCE: usize = 64;
/// Slots tried for a record that may be pushed out, and how many a new one may push out. As many tries as Linux's
/// conntrack makes (`NF_CT_EVICTION_RANGE`).
const LOOKS: usize = 8;
const PUSHED_OUT: usize = 2;

/// Where a reading of all records continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    slot: usize,
}

impl From<Cursor> for u64 {
    fn from(cursor: Cursor) -> Self {
        (cursor.shard as Self) << 32 | cursor.slot as Self
    }
}

impl From<u64> for Cursor {
    fn from(number: u64) -> Self {
        Self { shard: (number >> 32) as usize, slot: number as u32 as usize }
    }
}

/// What became of a flow's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Open,
    /// Its connection is over.
    Closed,
    Gone,
}

/// Records of admitted flows, shared by all workers.
#[derive(Debug)]
pub struct FlowTable {
    shards: Box<[CachePadded<Lock<Shard>>]>,
    hasher: RandomState,
    shares: Shares,
    /// The shard where the next record is pushed out.
    crowded: AtomicUsize,
    /// The shard where the next expiry starts, so that a small budget reaches all of them in turn.
    sweeping: AtomicUsize,
}

impl FlowTable {
    pub fn new(limits: FlowLimits) -> Self {
        let hasher = RandomState::default();
        let shards = (limits.total / RECORDS_OF_A_SHARD).clamp(1, SHARDS).next_power_of_two();
        // One to two records a bucket when full.
        let buckets = 1 << (limits.total / shards).max(1).ilog2();
        let shard = || CachePadded::new(Lock::new(Shard::new(buckets, hasher.clone())));
        Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            hasher,
            shares: Shares::new(limits),
            crowded: AtomicUsize::new(0),
            sweeping: AtomicUsize::new(0),
        }
    }

    /// What its NIC's record says of a packet (NSG-21): the record of its direction and tuple, or of the opposite
    /// direction and the mirrored tuple. If the packet follows, this counts it and refreshes the record's idle time.
    #[inline]
    pub fn follow(
        &self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        passing: Passing,
        terms: &FlowTerms,
    ) -> Follow {
        self.follow_key(&FlowKey::new(nic, direction, tuple), direction, &passing, terms)
    }

    /// The same, for a caller that has the key. `passing` is borrowed: a copy, made right after its parts were written,
    /// waits for all of them.
    #[inline(never)]
    pub(in crate::dataplane) fn follow_key(
        &self,
        key: &FlowKey,
        direction: Direction,
        passing: &Passing,
        terms: &FlowTerms,
    ) -> Follow {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let Some(record) = shard.find(key, hash) else { return Follow::Nothing };
        record.meet(direction, passing, terms)
    }

    /// Stores what the NIC's rules say of a flow that was [`Follow::Outdated`]: they let it go on, or refuse it. Counts the
    /// packet unless it is refused. Returns the record if it was not refused before and is now.
    pub fn review(
        &self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        passing: Passing,
        terms: &FlowTerms,
        verdict: Result<Deciders, Deciders>,
    ) -> Option<FlowRecord> {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        // Another worker may have swept or reviewed it meanwhile.
        let record = shard.find(&key, hash)?;
        let before = *record;
        let rules = terms.rules(before.view()?.admitted);
        record.reevaluate(rules, verdict);
        if verdict.is_ok() {
            record.touch(direction, &passing);
            return None;
        }
        record.hear(direction, &passing);
        if before.is_refused() { None } else { before.view() }
    }

    /// Reserves room for one more record of this NIC, so that a leg that needs two gets both or none. Where its share
    /// of the table is used up, unanswered flows of its network are pushed out, the oldest first; each goes to `tell`.
    pub fn reserve(
        &self,
        nic: NicId,
        terms: &FlowTerms,
        now: Timestamp,
        tell: impl FnMut(&FlowRecord),
    ) -> Result<Room<'_>, TableFull> {
        // Counted before it is checked: dropping `room` gives it back.
        let room = Room { table: self, nic };
        self.shares.add(nic, terms.share);
        let Err(full) = self.shares.check(nic, terms.share) else { return Ok(room) };
        if full.is_of_nic() || !self.make_room(nic, terms, now, tell) { Err(full) } else { Ok(room) }
    }

    /// Whether there is room for `flows` more records of a NIC, and for as many at the other ends.
    pub fn has_room(&self, nic: NicId, share: Share, flows: usize) -> bool {
        self.shares.check_with(nic, share, flows).is_ok()
    }

    /// Pushes out unanswered flows of a NIC's network until there is room for one of the NIC.
    #[cold]
    fn make_room(&self, nic: NicId, terms: &FlowTerms, now: Timestamp, mut tell: impl FnMut(&FlowRecord)) -> bool {
        for _ in 0..PUSHED_OUT {
            let shard = self.crowded.fetch_add(1, Relaxed) % self.shards.len();
            let gives_way = |record: &Record| record.gives_room(now) && self.shares.of(record.key.nic()) == terms.share;
            let pushed_out = self.shards[shard].lock().push_out(LOOKS, gives_way);
            if let Some(record) = pushed_out.and_then(|record| record.view()) {
                self.shares.subtract(record.nic);
                tell(&record);
            }
            if self.shares.check(nic, terms.share).is_ok() {
                return true;
            }
        }
        false
    }

    /// The record of a packet's flow, untouched.
    pub fn find(&self, nic: NicId, direction: Direction, tuple: &Tuple, now: Timestamp) -> Option<FlowRecord> {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        shard.find(&key, hash).filter(|record| !record.lapsed(now))?.view()
    }

    /// Counts packets of a flow that followed its record without coming by here: what they said, and when the last of
    /// them came. Only if it is the record that began then.
    pub fn count(
        &self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        begun: Timestamp,
        (traffic, signal, last): (Traffic, Signal, Timestamp),
    ) -> Standing {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let Some(record) = shard.find(&key, hash).filter(|record| record.begun() == begun) else {
            return Standing::Gone;
        };
        record.count(direction, traffic, signal, last);
        if record.is_closed() { Standing::Closed } else { Standing::Open }
    }

    /// TTL or hop limit of the last packet that its guest sent, if it sent one.
    pub fn ttl(&self, nic: NicId, direction: Direction, tuple: &Tuple) -> Option<u8> {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let ttl = self.shard(hash).find(&key, hash)?.ttl();
        (ttl != 0).then_some(ttl)
    }

    /// Copies the record of a packet's flow into another table, where following it changes nothing here.
    pub fn copy(
        &self,
        nic: NicId,
        direction: Direction,
        tuple: &Tuple,
        now: Timestamp,
        into: &Self,
    ) -> Option<FlowRecord> {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let record = *self.shard(hash).find(&key, hash).filter(|record| !record.lapsed(now))?;
        let room = into.reserve(nic, &FlowTerms::default(), now, |_| {}).ok()?;
        let hash = into.hasher.hash_one(key);
        let mut shard = into.shard(hash);
        if shard.find(&key, hash).is_none() {
            shard.insert(record, hash, now);
            // It is counted as long as it exists.
            std::mem::forget(room);
        }
        record.view()
    }

    /// Adds some records to `records`, and returns where to continue, or None at the end. A record that stays while all
    /// pages are read is read once. Start with a fresh cursor. No lock is held for longer than a sweep holds it.
    pub fn page(&self, from: Cursor, now: Timestamp, records: &mut Vec<FlowRecord>) -> Option<Cursor> {
        let Cursor { shard, slot } = from;
        let held = self.shards.get(shard)?.lock();
        let slots = held.slots().skip(slot);
        let left = slots.len();
        let there = slots.take(SWEEP_AT_ONCE).filter(|record| !record.lapsed(now));
        records.extend(there.filter_map(Record::view));
        let next = if left > SWEEP_AT_ONCE {
            Cursor { shard, slot: slot + SWEEP_AT_ONCE }
        } else {
            Cursor { shard: shard + 1, slot: 0 }
        };
        (next.shard < self.shards.len()).then_some(next)
    }

    /// Ends idle records, looking at no more than `budget`; returns how many ended. Call a few times a second: a call
    /// continues where the last one ran out of budget.
    pub fn expire(&self, now: Timestamp, budget: usize) -> usize {
        self.sweep(now, budget, |_| {})
    }

    /// The same, and passes each ended record to `tell`.
    pub fn sweep(&self, now: Timestamp, budget: usize, mut tell: impl FnMut(&FlowRecord)) -> usize {
        let start = self.sweeping.load(Relaxed);
        let mut left = budget;
        let mut ended = 0;
        let shards = self.shards.len();
        for index in (start..start + shards).map(|index| index % shards) {
            self.sweeping.store(index, Relaxed);
            ended += self.sweep_shard(&self.shards[index], now, &mut left, &mut tell);
            if left == 0 {
                break;
            }
        }
        ended
    }

    /// Records held, including expired ones that were not swept yet.
    pub fn len(&self) -> usize {
        self.shares.records()
    }

    /// Records of one NIC, with those of NICs that share its count: 0 only if it has none.
    pub fn len_of(&self, nic: NicId) -> usize {
        self.shares.of_nic(nic)
    }

    /// Records that count against a share.
    pub fn len_of_share(&self, share: Share) -> usize {
        self.shares.of_share(share)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sweep_shard(
        &self,
        shard: &Lock<Shard>,
        now: Timestamp,
        left: &mut usize,
        tell: &mut impl FnMut(&FlowRecord),
    ) -> usize {
        let mut ended = 0;
        while *left > 0 {
            let mut gone: [Option<FlowRecord>; SWEEP_AT_ONCE] = [const { None }; _];
            let done = sweep_some(&mut shard.lock(), now, left, &mut gone);
            for record in gone.iter().flatten() {
                self.shares.subtract(record.nic);
                // A review that refused it has reported its end.
                if !record.refused {
                    tell(record);
                }
                ended += 1;
            }
            if done {
                break;
            }
        }
        ended
    }

    fn shard(&self, hash: u64) -> Locked<'_, Shard> {
        let high = (hash >> (u64::BITS - SHARDS.ilog2())) as usize;
        self.shards[high & (self.shards.len() - 1)].lock()
    }
}

/// Room for one record of one NIC; given back when dropped unused.
#[derive(Debug)]
#[must_use = "room is given back when dropped"]
pub struct Room<'a> {
    table: &'a FlowTable,
    nic: NicId,
}

impl Room<'_> {
    /// Creates the record of a flow from its first packet. If another worker created it meanwhile, refreshes that
    /// one. Returns the record that it replaced.
    pub fn admit(
        self,
        direction: Direction,
        tuple: &Tuple,
        rules: Deciders,
        passing: Passing,
        terms: &FlowTerms,
    ) -> Option<FlowRecord> {
        let now = passing.at;
        let key = FlowKey::new(self.nic, direction, tuple);
        let hash = self.table.hasher.hash_one(key);
        let mut shard = self.table.shard(hash);
        let mut fresh = Record::new(key, direction, rules, terms, now);
        fresh.touch(direction, &passing);
        let Some(record) = shard.find(&key, hash) else {
            shard.insert(fresh, hash, now);
            drop(shard);
            std::mem::forget(self);
            return None;
        };
        if !record.gives_way(&passing, terms) {
            record.touch(direction, &passing);
            return None;
        }
        let before = *record;
        // Replaced in place: it keeps the links, and at worst its timer comes up early.
        fresh.chain = before.chain;
        fresh.timer = before.timer;
        *record = fresh;
        before.view().filter(|before| !before.refused)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.table.shares.subtract(self.nic);
    }
}

/// Checks a few records that have come up; true if there are no more.
fn sweep_some(
    shard: &mut Shard,
    now: Timestamp,
    left: &mut usize,
    gone: &mut [Option<FlowRecord>; SWEEP_AT_ONCE],
) -> bool {
    for slot in gone.iter_mut().take(*left) {
        match shard.sweep(now) {
            Sweep::Ended(record) => *slot = record.view(),
            Sweep::Kept => {}
            Sweep::Done => return true,
        }
        *left -= 1;
    }
    false
}
