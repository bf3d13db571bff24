//! Flow records in memory: numbered slots that are reused, never moved.
//!
//! One idea: memory grows by whole blocks of [`BLOCK`] records when a shard first needs them and is kept, so that a warm
//! table allocates nothing and a quiet one stays small. The lists that records hang in (hash chains, timer slots, free
//! slots) are links inside the records: no list allocates either.

use std::ops::{Index, IndexMut};

use super::{Direction, FlowKey, Timestamp, Traffic};

/// A slot's number plus one; zero ends a list, so that zeroed memory is a list of empty lists.
pub(super) type Link = u32;
/// The end of a list.
pub(super) const END: Link = 0;

/// Records allocated at a time: 26 KiB.
const BLOCK: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) key: FlowKey,
    pub(super) timeout_secs: u32,
    pub(super) last: Timestamp,
    /// From the guest.
    pub(super) sent: Traffic,
    /// To the guest.
    pub(super) received: Traffic,
    /// The next record with the same hash, or the next free slot.
    pub(super) chain: Link,
    /// The next record that the timer looks at together with this one.
    pub(super) timer: Link,
    pub(super) admitted: Direction,
}

impl Record {
    /// A record without a packet yet.
    pub(super) const fn new(key: FlowKey, admitted: Direction, timeout_secs: u32, now: Timestamp) -> Self {
        let none = Traffic { packets: 0, bytes: 0 };
        Self { key, timeout_secs, last: now, sent: none, received: none, chain: END, timer: END, admitted }
    }

    /// Idle for longer than its timeout (NSG-24): no packet follows it any more, whether swept yet or not.
    pub(super) const fn lapsed(&self, now: Timestamp) -> bool {
        now.0 > self.deadline().0
    }

    /// The last instant at which a packet may follow it.
    pub(super) const fn deadline(&self) -> Timestamp {
        Timestamp(self.last.0.saturating_add(self.timeout_secs as u64 * 1_000_000_000))
    }

    /// Takes note of a packet that follows it.
    pub(super) fn touch(&mut self, direction: Direction, traffic: Traffic, now: Timestamp) {
        self.last = now;
        match direction {
            Direction::Outbound => self.sent += traffic,
            Direction::Inbound => self.received += traffic,
        }
    }
}

/// Numbered records.
#[derive(Debug)]
pub(super) struct Slab {
    blocks: Vec<Vec<Record>>,
    free: Link,
}

impl Slab {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), free: END }
    }

    pub(super) fn insert(&mut self, record: Record) -> Link {
        if self.free != END {
            let link = self.free;
            self.free = self[link].chain;
            self[link] = record;
            return link;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let full = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("a block with room was pushed above");
        block.push(record);
        (full + block.len()) as Link
    }

    /// Frees a slot; the caller has taken it out of its chain and its timer list.
    pub(super) fn remove(&mut self, link: Link) {
        self[link].chain = self.free;
        self.free = link;
    }
}

impl Index<Link> for Slab {
    type Output = Record;

    fn index(&self, link: Link) -> &Record {
        let slot = link as usize - 1;
        &self.blocks[slot / BLOCK][slot % BLOCK]
    }
}

impl IndexMut<Link> for Slab {
    fn index_mut(&mut self, link: Link) -> &mut Record {
        let slot = link as usize - 1;
        &mut self.blocks[slot / BLOCK][slot % BLOCK]
    }
}
