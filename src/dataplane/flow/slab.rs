//! Flow records in memory: numbered slots that are reused, never moved.
//!
//! One idea: memory grows by whole blocks of [`BLOCK`] records when a shard first needs them and is kept, so that a warm
//! table allocates nothing and a quiet one stays small. The lists that records hang in (hash chains, timer slots, free
//! slots) are links inside the records: no list allocates either.

use std::ops::{Index, IndexMut};

use super::record::Record;

/// A slot's number plus one; zero ends a list, so that zeroed memory is a list of empty lists.
pub(super) type Link = u32;
/// The end of a list.
pub(super) const END: Link = 0;

/// Records allocated at a time: 28 KiB.
const BLOCK: usize = 256;

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

    /// All slots, free ones included; those there are now keep their place.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = &Record> {
        let count = self.blocks.iter().map(Vec::len).sum::<usize>();
        (0..count).map(|slot| &self[slot as Link + 1])
    }

    /// Frees a slot; the caller has taken it out of its chain and its timer list.
    pub(super) fn remove(&mut self, link: Link) {
        self[link].end();
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
