//! One shard of the mappings: a slab that hangs in two hash tables, one for each side, and the wheel that ends them.
//!
//! It has the mappings of some destinations whole, so that one lock is enough to choose a port that no other flow to the
//! same destination has.

use super::mapping::{End, Mapping, Remote};
use crate::dataplane::flow::slab::{END, Link, Slab};
use crate::dataplane::flow::wheel::Wheel;
use crate::dataplane::{NicId, Timestamp};

#[derive(Debug)]
pub(super) struct Shard {
    by_private: Box<[Link]>,
    by_public: Box<[Link]>,
    mappings: Slab<Mapping>,
    wheel: Wheel,
}

/// What a sweep did.
pub(super) enum Sweep {
    Ended(Mapping),
    /// One came up that is in use.
    Kept,
    /// Nothing more to look at now.
    Done,
}

/// The two hashes of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Hashes {
    pub(super) private: u64,
    pub(super) public: u64,
}

impl Shard {
    /// `buckets` is a power of two, about the number of mappings that may come.
    pub(super) fn new(buckets: usize) -> Self {
        assert!(buckets.is_power_of_two());
        let empty = || vec![END; buckets].into();
        Self { by_private: empty(), by_public: empty(), mappings: Slab::new(), wheel: Wheel::new() }
    }

    /// A sender's mapping that `fits`.
    pub(super) fn outbound(
        &mut self,
        (nic, private, remote): (NicId, End, Remote),
        hash: u64,
        fits: impl Fn(&Mapping) -> bool,
    ) -> Option<&mut Mapping> {
        let mut link = self.by_private[self.bucket(hash)];
        while link != END {
            let mapping = &self.mappings[link];
            if (mapping.nic, mapping.private, mapping.remote) == (nic, private, remote) && fits(mapping) {
                return Some(&mut self.mappings[link]);
            }
            link = mapping.by_private;
        }
        None
    }

    /// The mapping that `fits` of those that a destination sees under a public port, ones whose time is over included.
    pub(super) fn inbound(
        &mut self,
        (public, remote): (End, Remote),
        hash: u64,
        fits: impl Fn(&Mapping) -> bool,
    ) -> Option<&mut Mapping> {
        let mut link = self.by_public[self.bucket(hash)];
        while link != END {
            let mapping = &self.mappings[link];
            if (mapping.public, mapping.remote) == (public, remote) && fits(mapping) {
                return Some(&mut self.mappings[link]);
            }
            link = mapping.by_public;
        }
        None
    }

    /// Every mapping, those whose time is over included.
    pub(super) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.slots()
    }

    /// Whether a public port serves a flow to a destination's address, whatever its port there.
    pub(super) fn has_towards(&self, public: End, remote: Remote, hash: u64) -> bool {
        let mut link = self.by_public[self.bucket(hash)];
        while link != END {
            let mapping = &self.mappings[link];
            if mapping.public == public && mapping.remote.place() == remote.place() {
                return true;
            }
            link = mapping.by_public;
        }
        false
    }

    /// Adds a mapping, before those of the same sides.
    pub(super) fn insert(&mut self, mut mapping: Mapping, hashes: Hashes, now: Timestamp) {
        let (private, public) = (self.bucket(hashes.private), self.bucket(hashes.public));
        mapping.by_private = self.by_private[private];
        mapping.by_public = self.by_public[public];
        let link = self.mappings.insert(mapping);
        self.by_private[private] = link;
        self.by_public[public] = link;
        self.wheel.arm(&mut self.mappings, link, now);
    }

    /// Looks at one mapping whose timer has come up.
    pub(super) fn sweep(&mut self, now: Timestamp, hashes: impl Fn(&Mapping) -> Hashes) -> Sweep {
        let Some(link) = self.wheel.pop(&mut self.mappings, now) else { return Sweep::Done };
        let mapping = self.mappings[link];
        if mapping.is_held(now) {
            self.wheel.arm(&mut self.mappings, link, now);
            return Sweep::Kept;
        }
        let hashes = hashes(&mapping);
        let (private, public) = (self.bucket(hashes.private), self.bucket(hashes.public));
        unchain(&mut self.by_private[private], &mut self.mappings, link, |mapping| &mut mapping.by_private);
        unchain(&mut self.by_public[public], &mut self.mappings, link, |mapping| &mut mapping.by_public);
        self.mappings.remove(link);
        Sweep::Ended(mapping)
    }

    const fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.by_private.len() - 1)
    }
}

/// Takes a mapping out of one of its chains.
fn unchain(head: &mut Link, mappings: &mut Slab<Mapping>, gone: Link, chain: impl Fn(&mut Mapping) -> &mut Link) {
    let after = *chain(&mut mappings[gone]);
    if *head == gone {
        *head = after;
        return;
    }
    let mut link = *head;
    while *chain(&mut mappings[link]) != gone {
        link = *chain(&mut mappings[link]);
    }
    *chain(&mut mappings[link]) = after;
}
