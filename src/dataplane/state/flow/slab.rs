//! Records in memory: numbered slots that are reused and never moved.
//!
//! One idea: memory grows by whole blocks of [`BLOCK`] records when a shard first needs them, and is kept. So a warm
//! table allocates nothing, and an idle one stays small. The lists of records (hash chains, timer slots, free slots)
//! are links inside the records, so no list allocates either.

use std::ops::{Index, IndexMut};

use crate::dataplane::Timestamp;

/// A slot's number plus one; zero ends a list, so that zeroed memory is a list of empty lists.
pub(in crate::dataplane) type Link = u32;
/// The end of a list.
pub(in crate::dataplane) const END: Link = 0;

/// Records allocated at a time: 28 KiB of flow records.
const BLOCK: usize = 256;

/// An entry of a slab: it carries the links of the lists that it is in.
pub(in crate::dataplane) trait Entry {
    /// The next entry of its chain, or the next free slot.
    fn chain(&mut self) -> &mut Link;
    /// The next entry in the same timer slot.
    fn timer(&mut self) -> &mut Link;
    /// When to check whether it has expired.
    fn next_look(&self, now: Timestamp) -> Timestamp;
    /// Marks its slot as free.
    fn end(&mut self);
}

/// Numbered records.
#[derive(Debug)]
pub(in crate::dataplane) struct Slab<T> {
    blocks: Vec<Vec<T>>,
    free: Link,
}

impl<T: Entry> Slab<T> {
    pub(in crate::dataplane) const fn new() -> Self {
        Self { blocks: Vec::new(), free: END }
    }

    pub(in crate::dataplane) fn insert(&mut self, record: T) -> Link {
        if self.free != END {
            let link = self.free;
            self.free = *self[link].chain();
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

    /// All slots, free ones included. A slot never moves.
    pub(in crate::dataplane) fn slots(&self) -> impl ExactSizeIterator<Item = &T> {
        let count = self.blocks.iter().map(Vec::len).sum::<usize>();
        (0..count).map(|slot| &self[slot as Link + 1])
    }

    /// Frees a slot; the caller has taken it out of its chain and its timer list.
    pub(in crate::dataplane) fn remove(&mut self, link: Link) {
        self[link].end();
        *self[link].chain() = self.free;
        self.free = link;
    }
}

impl<T> Index<Link> for Slab<T> {
    type Output = T;

    fn index(&self, link: Link) -> &T {
        let slot = link as usize - 1;
        &self.blocks[slot / BLOCK][slot % BLOCK]
    }
}

impl<T> IndexMut<Link> for Slab<T> {
    fn index_mut(&mut self, link: Link) -> &mut T {
        let slot = link as usize - 1;
        &mut self.blocks[slot / BLOCK][slot % BLOCK]
    }
}
