//! One shard of the mappings: a slab that hangs in two hash tables, one for each side, and the wheel that ends them.
//!
//! It has the mappings of some destinations whole, so that one lock is enough to choose a port that no other flow to the
//! same destination has. What the ends of a connection expect next lies beside its mapping, and only where somebody will be
//! told of the end.

use std::num::NonZeroU32;

use crate::dataplane::state::flow::slab::{END, Link, Slab};
use crate::dataplane::state::flow::wheel::Wheel;
use crate::dataplane::{Direction, NicId, Timestamp};

use super::mapping::{Address, End, Mapping, Remote};
use super::vacancy::Vacancies;
use super::{Mapped, Said};

#[derive(Debug)]
pub(super) struct Shard<A> {
    by_private: Box<[Link]>,
    by_public: Box<[Link]>,
    mappings: Slab<Mapping<A>>,
    /// By mapping; as long as the last that needs it.
    expected: Vec<Expected>,
    wheel: Wheel,
    pub(super) vacancies: Vacancies<A>,
}

/// What the ends of a connection expect next, each as it last said: who sends out, and who sends in. Zero is one number in
/// four billion, so it may stand for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    outbound: Option<NonZeroU32>,
    inbound: Option<NonZeroU32>,
}

impl Expected {
    fn note(&mut self, direction: Direction, number: u32) {
        match direction {
            Direction::Outbound => self.outbound = NonZeroU32::new(number),
            Direction::Inbound => self.inbound = NonZeroU32::new(number),
        }
    }

    pub(super) fn by(self, direction: Direction) -> Option<u32> {
        let number = match direction {
            Direction::Outbound => self.outbound,
            Direction::Inbound => self.inbound,
        };
        number.map(NonZeroU32::get)
    }
}

/// What a sweep did.
pub(super) enum Sweep<A> {
    Ended(Mapping<A>, Expected),
    /// One came up that is in use.
    Kept,
    /// Nothing more to look at now.
    Done,
}

/// The two hashes of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Hashes {
    pub(super) private: u32,
    pub(super) public: u32,
}

impl<A: Address> Shard<A> {
    /// `buckets` is a power of two, about the number of mappings that may come.
    pub(super) fn new(buckets: usize) -> Self {
        assert!(buckets.is_power_of_two());
        let empty = || vec![END; buckets].into();
        Self {
            by_private: empty(),
            by_public: empty(),
            mappings: Slab::new(),
            expected: Vec::new(),
            wheel: Wheel::new(),
            vacancies: Vacancies::new(),
        }
    }

    /// A sender's mapping that `fits`.
    pub(super) fn outbound(
        &self,
        (nic, private, remote): (NicId, End<A>, Remote<A>),
        hash: u32,
        fits: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<Link> {
        let mut link = self.by_private[self.bucket(hash)];
        while link != END {
            let mapping = &self.mappings[link];
            if (mapping.nic, mapping.private, mapping.remote) == (nic, private, remote) && fits(mapping) {
                return Some(link);
            }
            link = mapping.by_private;
        }
        None
    }

    /// The mapping that `fits` of those that a destination sees under a public port, ones whose time is over included.
    pub(super) fn inbound(
        &self,
        (public, remote): (End<A>, Remote<A>),
        hash: u32,
        fits: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<Link> {
        let mut link = self.by_public[self.bucket(hash)];
        while link != END {
            let mapping = &self.mappings[link];
            if (mapping.public, mapping.remote) == (public, remote) && fits(mapping) {
                return Some(link);
            }
            link = mapping.by_public;
        }
        None
    }

    /// Every mapping, those whose time is over included.
    pub(super) fn mappings(&self) -> impl Iterator<Item = &Mapping<A>> {
        self.mappings.slots()
    }

    /// Whether a public port serves a flow to a destination's address, whatever its port there.
    pub(super) fn has_towards(&self, public: End<A>, remote: Remote<A>, hash: u32) -> bool {
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

    /// A packet goes by a mapping.
    pub(super) fn touch(&mut self, link: Link, direction: Direction, said: Said, now: Timestamp) -> Mapped {
        let mapping = &mut self.mappings[link];
        mapping.touch(direction, said.signal, now);
        let (mapped, told) = (mapping.mapped(), mapping.sort.is_told());
        if told && let Some(number) = said.expects {
            self.expected[link as usize - 1].note(direction, number);
        }
        mapped
    }

    /// Adds a mapping, before those of the same sides, for a packet that goes out.
    pub(super) fn insert(&mut self, mut mapping: Mapping<A>, hashes: Hashes, (said, now): (Said, Timestamp)) -> Mapped {
        let (private, public) = (self.bucket(hashes.private), self.bucket(hashes.public));
        mapping.by_private = self.by_private[private];
        mapping.by_public = self.by_public[public];
        let link = self.mappings.insert(mapping);
        self.by_private[private] = link;
        self.by_public[public] = link;
        if mapping.sort.is_told() {
            let slots = self.expected.len().max(link as usize);
            self.expected.resize(slots, Expected::default());
            self.expected[link as usize - 1] = Expected::default();
        }
        let mapped = self.touch(link, Direction::Outbound, said, now);
        self.wheel.arm(&mut self.mappings, link, now);
        mapped
    }

    /// Looks at one mapping whose timer has come up.
    pub(super) fn sweep(&mut self, now: Timestamp, hashes: impl Fn(&Mapping<A>) -> Hashes) -> Sweep<A> {
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
        let (public, remote) = (mapping.public, mapping.remote);
        if !self.vacancies.is_empty() && !self.has_towards(public, remote, hashes.public) {
            self.vacancies.give(public, remote.place());
        }
        Sweep::Ended(mapping, self.expected.get(link as usize - 1).copied().unwrap_or_default())
    }

    const fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.by_private.len() - 1)
    }
}

/// Takes a mapping out of one of its chains.
fn unchain<A: Address>(
    head: &mut Link,
    mappings: &mut Slab<Mapping<A>>,
    gone: Link,
    chain: impl Fn(&mut Mapping<A>) -> &mut Link,
) {
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
