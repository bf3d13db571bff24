//! One shard of the mappings: a slab in two hash tables, one for each side, and the wheel that expires them.
//!
//! It has all mappings of its destinations, so one lock is enough to choose a port that no other flow to the same
//! destination has. The sequence numbers that the ends expect next lie beside the mappings, only where resets will be
//! sent.

use std::num::NonZeroU32;

use crate::dataplane::state::flow::slab::{END, Link, Slab};
use crate::dataplane::state::flow::wheel::Wheel;
use crate::dataplane::{Direction, NicId, Signal, Timestamp};

use super::mapping::{Address, End, Mapping, Remote};
use super::vacancy::Vacancies;
use super::{Mapped, MappingSide, TcpSegment};

#[derive(Debug)]
pub(super) struct Shard<A> {
    by_private: Box<[Link]>,
    by_public: Box<[Link]>,
    mappings: Slab<Mapping<A>>,
    /// By mapping; as long as the last mapping that needs it.
    expected: Vec<Expected>,
    wheel: Wheel,
    pub(super) vacancies: Vacancies<A>,
}

/// The sequence number that each end of a connection expects next, by the direction in which that end sends. None is
/// stored as zero: a real zero, one number in four billion, gets lost.
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
    /// A mapping came up that is in use.
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

    /// The mapping that `fits` among those that a destination sees under a public port, expired ones included.
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

    /// Every mapping, expired ones included.
    pub(super) fn mappings(&self) -> impl Iterator<Item = &Mapping<A>> {
        self.mappings.slots()
    }

    /// Whether a public port serves a flow to any port of a destination's address.
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

    /// A packet uses a mapping.
    pub(super) fn touch(&mut self, link: Link, direction: Direction, segment: TcpSegment, now: Timestamp) -> Mapped {
        let mapping = &mut self.mappings[link];
        mapping.touch(direction, segment.signal, now);
        let (mapped, resets) = (mapping.mapped(), mapping.sort.resets());
        if resets && let Some(number) = segment.expects {
            self.expected[link as usize - 1].note(direction, number);
        }
        mapped
    }

    /// Seconds without a packet after which a mapping ends; None if it has ended.
    pub(super) fn idle_secs(&self, link: Link, now: Timestamp) -> Option<u16> {
        let mapping = &self.mappings[link];
        mapping.is_live(Signal::NONE, now).then(|| mapping.live_secs())
    }

    /// Packets that came from a side used a mapping elsewhere.
    pub(super) fn refresh(&mut self, link: Link, side: MappingSide, expects: Option<u32>, last: Timestamp) {
        let mapping = &mut self.mappings[link];
        let direction = mapping.direction(side);
        mapping.refresh(last);
        if mapping.sort.resets()
            && let Some(number) = expects
        {
            self.expected[link as usize - 1].note(direction, number);
        }
    }

    /// Adds a mapping for a packet that goes out, in front of its chains.
    pub(super) fn insert(
        &mut self,
        mut mapping: Mapping<A>,
        hashes: Hashes,
        (segment, now): (TcpSegment, Timestamp),
    ) -> Mapped {
        let (private, public) = (self.bucket(hashes.private), self.bucket(hashes.public));
        mapping.by_private = self.by_private[private];
        mapping.by_public = self.by_public[public];
        let link = self.mappings.insert(mapping);
        self.by_private[private] = link;
        self.by_public[public] = link;
        if mapping.sort.resets() {
            let slots = self.expected.len().max(link as usize);
            self.expected.resize(slots, Expected::default());
            self.expected[link as usize - 1] = Expected::default();
        }
        let mapped = self.touch(link, Direction::Outbound, segment, now);
        self.wheel.arm(&mut self.mappings, link, now);
        mapped
    }

    /// Checks the next mapping with a timer that has come up.
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

/// Removes a mapping from one of its chains.
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
