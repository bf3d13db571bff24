//! One shard of the flow table: a hash table with chains through the records, and the wheel that ends them.
//!
//! Chains instead of open addressing, because the slab exists anyway. Removing a record leaves nothing behind, so the
//! table never rehashes, and a bucket is four bytes that cost no memory until first used. With one bucket a record when
//! full, chains are nearly always short. It knows no limits and no lock.
//!
//! To make room, a clock hand goes round the slots and removes unanswered records. The oldest come first, as slots are
//! filled in turn. A slot freed early is still in the wheel, so it is kept apart from free ones until its timer comes
//! up.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::dataplane::Timestamp;

use super::key::FlowKey;
use super::record::Record;
use super::slab::{END, Entry, Link, Slab};
use super::wheel::Wheel;

#[derive(Debug)]
pub(super) struct Shard {
    buckets: Box<[Link]>,
    records: Slab<Record>,
    wheel: Wheel,
    hasher: RandomState,
    /// Slots of records that were pushed out.
    vacated: Link,
    /// The clock hand: the next slot to try when room is needed.
    hand: usize,
}

/// What a sweep did.
pub(super) enum Sweep {
    /// This record expired.
    Ended(Record),
    /// A record came up that is in use; its timer is set again.
    Kept,
    /// Nothing more to look at now.
    Done,
}

impl Shard {
    /// `buckets` is a power of two, about the number of records that may come.
    pub(super) fn new(buckets: usize, hasher: RandomState) -> Self {
        assert!(buckets.is_power_of_two());
        Self {
            buckets: vec![END; buckets].into(),
            records: Slab::new(),
            wheel: Wheel::new(),
            hasher,
            vacated: END,
            hand: 0,
        }
    }

    /// The record with this key, expired ones included.
    #[expect(clippy::inline_always, reason = "every packet calls it twice; the compiler would not inline it")]
    #[inline(always)]
    pub(super) fn find(&mut self, key: &FlowKey, hash: u64) -> Option<&mut Record> {
        let mut link = self.buckets[self.bucket(hash)];
        while link != END {
            if self.records[link].key == *key {
                return Some(&mut self.records[link]);
            }
            link = self.records[link].chain;
        }
        None
    }

    /// Adds a record; its key must be new.
    pub(super) fn insert(&mut self, mut record: Record, hash: u64, now: Timestamp) {
        let bucket = self.bucket(hash);
        record.chain = self.buckets[bucket];
        let (link, hangs) = self.place(record);
        self.buckets[bucket] = link;
        if !hangs {
            self.wheel.arm(&mut self.records, link, now);
        }
    }

    /// Stores a record; returns its slot, and whether that slot is still in the wheel. Then it comes up with the timer
    /// of the record before it: early, or late, when no packet follows it any more.
    fn place(&mut self, mut record: Record) -> (Link, bool) {
        if self.vacated == END {
            return (self.records.insert(record), false);
        }
        let link = self.vacated;
        let before = &mut self.records[link];
        self.vacated = before.chain;
        record.timer = before.timer;
        let hangs = before.is_pushed_out();
        *before = record;
        (link, hangs)
    }

    /// Removes a record that `gives_way`, trying at most `looks` slots.
    pub(super) fn push_out(&mut self, looks: usize, gives_way: impl Fn(&Record) -> bool) -> Option<Record> {
        let slots = self.records.slots().len();
        for _ in 0..looks.min(slots) {
            let link = self.hand as Link + 1;
            self.hand = (self.hand + 1) % slots;
            if gives_way(&self.records[link]) {
                self.unchain(link);
                let gone = self.records[link];
                self.records[link].push_out(self.vacated);
                self.vacated = link;
                return Some(gone);
            }
        }
        None
    }

    /// Every slot, free ones included.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.slots()
    }

    /// Checks the next record with a timer that has come up.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Sweep {
        let Some(link) = self.wheel.pop(&mut self.records, now) else { return Sweep::Done };
        if self.records[link].is_pushed_out() {
            self.records[link].end();
            return Sweep::Kept;
        }
        if !self.records[link].lapsed(now) {
            self.wheel.arm(&mut self.records, link, now);
            return Sweep::Kept;
        }
        self.unchain(link);
        let ended = self.records[link];
        self.records.remove(link);
        Sweep::Ended(ended)
    }

    fn unchain(&mut self, gone: Link) {
        let bucket = self.bucket(self.hasher.hash_one(self.records[gone].key));
        let after = self.records[gone].chain;
        let mut link = self.buckets[bucket];
        if link == gone {
            self.buckets[bucket] = after;
            return;
        }
        while self.records[link].chain != gone {
            link = self.records[link].chain;
        }
        self.records[link].chain = after;
    }

    /// The low bits of the hash; the high ones chose the shard.
    const fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }
}
