//! One shard of the flow table: a hash table with chains through the records, and the wheel that ends them.
//!
//! Chains instead of open addressing, because a slab is there anyway: taking a record out leaves nothing behind, so the
//! table never rehashes, and a bucket is four bytes that cost no memory until first used. With one bucket a record when
//! full, chains are shorter than that nearly always. It knows no limits and no lock.
//!
//! Who needs room has a hand go round the slots and take out records that nobody answered: those that lie there longest
//! come up first, as slots are filled in turn. A slot taken out before its time still hangs in the wheel, so it is kept
//! apart from free ones until that has come by.

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
    /// Slots whose records were pushed out.
    vacated: Link,
    /// The slot that is looked at next by who needs room.
    hand: usize,
}

/// What a sweep did.
pub(super) enum Sweep {
    /// This record's time was over.
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

    /// The record with this key, lapsed ones included.
    #[expect(clippy::inline_always, reason = "every packet asks twice; left alone, the compiler makes it a call")]
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

    /// Adds a record whose key is not there.
    pub(super) fn insert(&mut self, mut record: Record, hash: u64, now: Timestamp) {
        let bucket = self.bucket(hash);
        record.chain = self.buckets[bucket];
        let (link, hangs) = self.place(record);
        self.buckets[bucket] = link;
        if !hangs {
            self.wheel.arm(&mut self.records, link, now);
        }
    }

    /// Where it lies from now on, and whether it hangs in the wheel there. It comes up with the record before it then: early,
    /// or late, when no packet follows it any more.
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

    /// Takes out a record that `gives_way`, looking at no more than `looks` slots.
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

    /// Looks at one record whose timer has come up.
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

    /// The low bits; the table chose the shard by the high ones.
    const fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }
}
