//! Flow records: what lets a packet pass because its flow was admitted before (NSG-20..26).
//!
//! One idea: a NIC's record is one entry under one key, whichever way a packet goes ([`key`]), so a packet needs one
//! lookup at each NIC. The table is shared by all workers, in shards of which each has one short lock: a fragment, an ICMP
//! error or the other direction finds its record from any worker. It reads no clock and knows no rules. Ids in it are those
//! of the snapshot that made the record: `NicId`s must mean the same in the next.
//!
//! Memory: 104 bytes a record and 8 to 16 for its buckets. Blocks of records are allocated when first needed and kept,
//! so a warm table allocates nothing, and the limits bound it.

mod key;
mod shard;
mod slab;
#[cfg(test)]
mod tests;
mod wheel;

use std::hash::BuildHasher;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use self::key::FlowKey;
use self::shard::{Shard, Sweep};
use self::slab::Record;
use super::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

/// Power of two; many more than workers, so that two seldom meet.
const SHARDS: usize = 64;
/// NICs that lie this far apart in number share a count; no lab has so many.
const COUNTED_NICS: usize = 1 << 16;
/// Records looked at under one hold of a lock, so that no packet waits for a long sweep.
const SWEEP_AT_ONCE: usize = 64;

/// Bounds of a [`FlowTable`].
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Records of one NIC (NSG-26).
    pub per_nic: usize,
    /// Records in all.
    pub total: usize,
}

impl Default for FlowLimits {
    /// Azure's limit for a NIC, and two such NICs in all: about 112 MB when full.
    fn default() -> Self {
        Self { per_nic: 500_000, total: 1_000_000 }
    }
}

/// No room for another record: the new flow is refused, established ones are unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Packets as on a wire, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// A record as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// The direction of the packet that made it.
    pub admitted: Direction,
    pub last: Timestamp,
    /// From the guest.
    pub sent: Traffic,
    /// To the guest.
    pub received: Traffic,
}

/// Records of admitted flows, shared by all workers.
#[derive(Debug)]
pub struct FlowTable {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    hasher: RandomState,
    limits: FlowLimits,
    records: AtomicUsize,
    by_nic: Box<[AtomicU32]>,
    /// The shard where the next expiry starts, so that a small budget reaches all of them in turn.
    sweeping: AtomicUsize,
}

impl FlowTable {
    pub fn new(limits: FlowLimits) -> Self {
        let hasher = RandomState::default();
        let buckets = (2 * limits.total / SHARDS).next_power_of_two();
        let shard = || CachePadded::new(Mutex::new(Shard::new(buckets, hasher.clone())));
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher,
            limits,
            records: AtomicUsize::new(0),
            by_nic: std::iter::repeat_with(AtomicU32::default).take(COUNTED_NICS).collect(),
            sweeping: AtomicUsize::new(0),
        }
    }

    /// Whether a packet follows a record of this NIC (NSG-21): its own direction and tuple, or the opposite direction
    /// and the mirrored tuple. Refreshes the record's idle time and counts the packet.
    #[inline]
    pub fn follow(&self, nic: NicId, direction: Direction, tuple: &Tuple, traffic: Traffic, now: Timestamp) -> bool {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let Some(record) = shard.find(&key, hash).filter(|record| !record.lapsed(now)) else { return false };
        record.touch(direction, traffic, now);
        true
    }

    /// Keeps room for one more record of this NIC, so that a leg that needs two gets both or none.
    pub fn reserve(&self, nic: NicId) -> Result<Room<'_>, TableFull> {
        let within = |count: usize, limit: usize| (count < limit).then_some(()).ok_or(TableFull);
        let room = Room { table: self, nic };
        // Both are counted before either is judged: dropping `room` gives both back.
        let total = self.records.fetch_add(1, Relaxed);
        let of_nic = self.count_of(nic).fetch_add(1, Relaxed);
        within(total, self.limits.total)?;
        within(of_nic as usize, self.limits.per_nic)?;
        Ok(room)
    }

    /// The record that a packet would follow, untouched.
    pub fn find(&self, nic: NicId, direction: Direction, tuple: &Tuple, now: Timestamp) -> Option<FlowRecord> {
        let key = FlowKey::new(nic, direction, tuple);
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let record = shard.find(&key, hash).filter(|record| !record.lapsed(now))?;
        let &mut Record { admitted, last, sent, received, .. } = record;
        Some(FlowRecord { admitted, last, sent, received })
    }

    /// Ends idle records, looking at no more than `budget`; returns how many ended. Call a few times a second: what a
    /// small budget leaves over, the next call goes on with.
    pub fn expire(&self, now: Timestamp, budget: usize) -> usize {
        let start = self.sweeping.load(Relaxed);
        let mut left = budget;
        let mut ended = 0;
        for index in (start..start + SHARDS).map(|index| index % SHARDS) {
            self.sweeping.store(index, Relaxed);
            ended += self.expire_shard(&self.shards[index], now, &mut left);
            if left == 0 {
                break;
            }
        }
        ended
    }

    /// Records held, those lapsed but not swept yet included.
    pub fn len(&self) -> usize {
        self.records.load(Relaxed)
    }

    /// Records of one NIC, with those of NICs that share its count: 0 only if it has none.
    pub fn len_of(&self, nic: NicId) -> usize {
        self.count_of(nic).load(Relaxed) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn expire_shard(&self, shard: &Mutex<Shard>, now: Timestamp, left: &mut usize) -> usize {
        let mut ended = 0;
        while *left > 0 {
            let mut held = lock(shard);
            for _ in 0..SWEEP_AT_ONCE.min(*left) {
                match held.sweep(now) {
                    Sweep::Ended(record) => {
                        self.release(record.key.nic());
                        ended += 1;
                    }
                    Sweep::Kept => {}
                    Sweep::Done => return ended,
                }
                *left -= 1;
            }
        }
        ended
    }

    fn release(&self, nic: NicId) {
        self.records.fetch_sub(1, Relaxed);
        self.count_of(nic).fetch_sub(1, Relaxed);
    }

    fn count_of(&self, nic: NicId) -> &AtomicU32 {
        &self.by_nic[nic.0 as usize % COUNTED_NICS]
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(hash >> (u64::BITS - SHARDS.ilog2())) as usize])
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
    /// Makes the record of a flow whose first packet is this; a record that another worker made meanwhile is refreshed.
    pub fn admit(self, direction: Direction, tuple: &Tuple, timeout_secs: u32, traffic: Traffic, now: Timestamp) {
        let key = FlowKey::new(self.nic, direction, tuple);
        let hash = self.table.hasher.hash_one(key);
        let mut shard = self.table.shard(hash);
        let fresh = Record::new(key, direction, timeout_secs, now);
        if let Some(record) = shard.find(&key, hash) {
            if record.lapsed(now) {
                // In place: it keeps its links, and its timer comes up early at worst.
                *record = Record { chain: record.chain, timer: record.timer, ..fresh };
            }
            record.touch(direction, traffic, now);
            return;
        }
        let mut record = fresh;
        record.touch(direction, traffic, now);
        shard.insert(record, hash, now);
        drop(shard);
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.table.release(self.nic);
    }
}

/// Nothing that can panic runs under the lock, so a poisoned one is sound.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
