//! The mappings of one IP version: shards, each with its own lock.

use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;

use crate::dataplane::state::flow::slab::Link;
use crate::dataplane::state::lock::{Lock, Locked};
use crate::dataplane::{Direction, NicId, Signal, Timestamp};
use crate::wire::{Protocol, Tuple};

use super::mapping::{Address, End, Mapping, Remote};
use super::shard::{Hashes, Shard, Sweep};
use super::vacancy::{Range, Vacancies};
use super::{
    BalancedFlow, Counts, ExpiredConnection, Full, Held, Mapped, MappingBucket, MappingLookup, MappingSide, Outbound,
    PortsExhausted,
};

/// A power of two; many more than workers, so that two seldom need the same shard.
const SHARDS: usize = 64;
/// Ports drawn for one public address: with 50,000 in use all draws fail one time in ten million.
pub(super) const DRAWS: u32 = 64;
/// Draws among preallocated ports before they count as scarce. That is rare before half of them are taken, and nearly
/// certain after nine tenths.
const DRAWS_OF_FEW: u32 = 8;
/// Mappings looked at under one hold of a lock.
const SWEEP_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Family<A> {
    shards: Box<[CachePadded<Lock<Shard<A>>>]>,
    /// The shard where the next expiry starts.
    sweeping: AtomicUsize,
}

impl<A: Address> Family<A> {
    /// Creates the shards, with buckets for this many mappings.
    pub(super) fn new(mappings: usize) -> Self {
        // One to two mappings a bucket when full.
        let buckets = 1 << (mappings / SHARDS).max(1).ilog2();
        let shard = || CachePadded::new(Lock::new(Shard::new(buckets)));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), sweeping: AtomicUsize::new(0) }
    }

    pub(super) fn leave(
        &self,
        nic: NicId,
        lookup: &MappingLookup<'_>,
        is_ours: impl Fn(&Mapped) -> bool,
    ) -> Option<Mapped> {
        let fits = |mapping: &Mapping<A>| !mapping.sort.is_balanced() && is_ours(&mapping.mapped());
        self.inside(nic, lookup, Direction::Outbound, fits)
    }

    pub(super) fn enter(&self, lookup: &MappingLookup<'_>) -> Option<Mapped> {
        self.outside(lookup, Direction::Inbound, |mapping| !mapping.sort.is_balanced())
    }

    pub(super) fn balanced(&self, lookup: &MappingLookup<'_>, fits: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        let fits = |mapping: &Mapping<A>| mapping.sort.is_balanced() && fits(&mapping.mapped());
        self.outside(lookup, Direction::Outbound, fits)
    }

    pub(super) fn answered(
        &self,
        nic: NicId,
        lookup: &MappingLookup<'_>,
        fits: impl Fn(&Mapped) -> bool,
    ) -> Option<Mapped> {
        let fits = |mapping: &Mapping<A>| mapping.sort.is_balanced() && fits(&mapping.mapped());
        self.inside(nic, lookup, Direction::Inbound, fits)
    }

    fn inside(
        &self,
        nic: NicId,
        lookup: &MappingLookup<'_>,
        direction: Direction,
        fits: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<Mapped> {
        let (private, remote) = (End::of(lookup.flow)?, Remote::with_echoes(lookup.flow)?);
        let mut shard = self.shards[usize::from(lookup.bucket.shard)].lock();
        let fits = |mapping: &Mapping<A>| mapping.is_live(lookup.opening(direction), lookup.now) && fits(mapping);
        let mapping = shard.outbound((nic, private, remote), lookup.bucket.hash, fits)?;
        Some(shard.touch(mapping, direction, lookup.segment, lookup.now))
    }

    fn outside(
        &self,
        lookup: &MappingLookup<'_>,
        direction: Direction,
        fits: impl Fn(&Mapping<A>) -> bool,
    ) -> Option<Mapped> {
        let (public, remote) = (End::of(lookup.flow)?, Remote::with_echoes(lookup.flow)?);
        let mut shard = self.shards[usize::from(lookup.bucket.shard)].lock();
        let fits = |mapping: &Mapping<A>| mapping.is_live(lookup.opening(direction), lookup.now) && fits(mapping);
        let mapping = shard.inbound((public, remote), lookup.bucket.hash, fits)?;
        Some(shard.touch(mapping, direction, lookup.segment, lookup.now))
    }

    pub(super) fn open(&self, counts: &Counts, outbound: &Outbound<'_>) -> Option<Result<Mapped, PortsExhausted>> {
        let of = if outbound.pool.echoes { Remote::with_echoes } else { Remote::of };
        let (private, remote) = (End::of(outbound.flow)?, of(outbound.flow)?);
        let ours = outbound.pool.ports.first().is_some_and(|ports| A::of(ports.address).is_some());
        ours.then(|| self.map(counts, outbound, private, remote))
    }

    pub(super) fn map_balanced(&self, counts: &Counts, flow: &BalancedFlow<'_>) -> Result<(), Full> {
        let (Some(public), Some(remote)) = (End::of(flow.outside), Remote::of(flow.outside)) else { return Ok(()) };
        let Some(address) = A::of(flow.private.0) else { return Ok(()) };
        let private = End { address, port: flow.private.1 };
        if !counts.admit(flow.nic) {
            return Err(Full);
        }
        counts.balanced_of(flow.nic).fetch_add(1, Relaxed);
        let hashes = Hashes {
            private: private_hash(counts, flow.nic, private, remote),
            public: public_hash(counts, public, remote),
        };
        let mapping = Mapping::balanced(flow, private, remote, public);
        self.shard(counts, remote).insert(mapping, hashes, (flow.segment, flow.now));
        Ok(())
    }

    /// See [`NatTable::idle_secs`](super::NatTable::idle_secs).
    pub(super) fn idle_secs(&self, side: MappingSide, mapped: &Mapped, lookup: &MappingLookup<'_>) -> Option<u16> {
        let (shard, link) = self.known(side, mapped, lookup)?;
        shard.idle_secs(link, lookup.now)
    }

    /// See [`NatTable::refresh`](super::NatTable::refresh).
    pub(super) fn refresh(&self, side: MappingSide, mapped: &Mapped, lookup: &MappingLookup<'_>) -> bool {
        let Some((mut shard, link)) = self.known(side, mapped, lookup) else { return false };
        shard.refresh(link, side, lookup.segment.expects, lookup.now);
        true
    }

    /// The mapping with these sides, whatever its state.
    fn known(
        &self,
        side: MappingSide,
        mapped: &Mapped,
        lookup: &MappingLookup<'_>,
    ) -> Option<(Locked<'_, Shard<A>>, Link)> {
        let (end, remote) = (End::of(lookup.flow)?, Remote::with_echoes(lookup.flow)?);
        let shard = self.shards[usize::from(lookup.bucket.shard)].lock();
        let fits = |mapping: &Mapping<A>| mapping.mapped() == *mapped;
        let link = match side {
            MappingSide::Inside => shard.outbound((mapped.nic, end, remote), lookup.bucket.hash, fits),
            MappingSide::Outside | MappingSide::Through => shard.inbound((end, remote), lookup.bucket.hash, fits),
        };
        link.map(|link| (shard, link))
    }

    /// Stops early when `tell` returns false: enough resets for one pass.
    pub(super) fn expire(
        &self,
        counts: &Counts,
        now: Timestamp,
        budget: usize,
        tell: &mut impl FnMut(&ExpiredConnection) -> bool,
    ) -> usize {
        let start = self.sweeping.load(Relaxed);
        let (mut left, mut ended) = (budget, 0);
        for index in (start..start + SHARDS).map(|index| index % SHARDS) {
            self.sweeping.store(index, Relaxed);
            while left > 0 {
                match sweep_some(counts, &self.shards[index], now, &mut left, &mut ended) {
                    Swept::All => break,
                    Swept::Some => {}
                    // The lock is not held here.
                    Swept::UpTo(expired) if tell(&expired) => {}
                    Swept::UpTo(_) => return ended,
                }
            }
            if left == 0 {
                break;
            }
        }
        ended
    }

    pub(super) fn look(&self, now: Timestamp, look: &mut impl FnMut(&Held)) {
        for shard in &self.shards {
            let shard = shard.lock();
            // A free slot's mapping has lapsed.
            for mapping in shard.mappings().filter(|mapping| mapping.is_live(Signal::NONE, now)) {
                let (protocol, balanced) = (mapping.remote.protocol, mapping.sort.is_balanced());
                let remote = (mapping.remote.address.into(), mapping.remote.port);
                look(&Held { mapped: mapping.mapped(), remote, protocol, balanced });
            }
        }
    }

    fn map(
        &self,
        counts: &Counts,
        outbound: &Outbound<'_>,
        private: End<A>,
        remote: Remote<A>,
    ) -> Result<Mapped, PortsExhausted> {
        if !counts.admit(outbound.nic) {
            return Err(PortsExhausted);
        }
        let mut random = counts.random((outbound.nic, private));
        let pool = outbound.pool;
        let first = (random >> 48) as usize % pool.ports.len();
        let mut shard = self.shard(counts, remote);
        for nth in 0..pool.ports.len() {
            let ports = pool.ports[(first + nth) % pool.ports.len()];
            let Some(address) = A::of(ports.address) else { continue };
            let count = counts.count_of((address, remote));
            if !pool.preallocated && count.load(Relaxed) >= counts.limits.per_destination {
                continue;
            }
            let range = Range { address, first: ports.first, count: ports.count };
            let port = if pool.preallocated {
                take(counts, &mut shard, range, remote, &mut random)
            } else {
                draw(range, DRAWS, &mut random, |port| is_free(counts, &shard, End { address, port }, remote, false))
            };
            let Some(port) = port else { continue };
            count.fetch_add(1, Relaxed);
            let public = End { address, port };
            let mapping = Mapping::new(outbound, private, remote, public);
            let hashes = Hashes {
                private: private_hash(counts, outbound.nic, private, remote),
                public: public_hash(counts, public, remote),
            };
            return Ok(shard.insert(mapping, hashes, (outbound.segment, outbound.now)));
        }
        counts.dismiss(outbound.nic);
        Err(PortsExhausted)
    }

    /// Whether no destination is short of ports.
    #[cfg(test)]
    pub(super) fn is_at_ease(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().vacancies.is_empty())
    }

    fn shard(&self, counts: &Counts, remote: Remote<A>) -> Locked<'_, Shard<A>> {
        self.shards[usize::from(shard_of(counts, remote))].lock()
    }
}

pub(super) fn bucket_inside<A: Address>(counts: &Counts, nic: NicId, flow: &Tuple) -> Option<MappingBucket> {
    let (private, remote) = (End::<A>::of(flow)?, Remote::with_echoes(flow)?);
    Some(MappingBucket { shard: shard_of(counts, remote), hash: private_hash(counts, nic, private, remote) })
}

pub(super) fn bucket_outside<A: Address>(counts: &Counts, flow: &Tuple) -> Option<MappingBucket> {
    let (public, remote) = (End::<A>::of(flow)?, Remote::with_echoes(flow)?);
    Some(MappingBucket { shard: shard_of(counts, remote), hash: public_hash(counts, public, remote) })
}

fn shard_of<A: Address>(counts: &Counts, remote: Remote<A>) -> u8 {
    (counts.hash(remote.place()) % SHARDS as u64) as u8
}

/// Whether a port is free towards a destination. A preallocated UDP port must be free towards every port of that
/// address. The port of an expired mapping is taken until the mapping is swept.
fn is_free<A: Address>(
    counts: &Counts,
    shard: &Shard<A>,
    public: End<A>,
    remote: Remote<A>,
    preallocated: bool,
) -> bool {
    let hash = public_hash(counts, public, remote);
    if preallocated && remote.protocol == Protocol::UDP {
        return !shard.has_towards(public, remote, hash);
    }
    shard.inbound((public, remote), hash, |_| true).is_none()
}

fn private_hash<A: Address>(counts: &Counts, nic: NicId, private: End<A>, remote: Remote<A>) -> u32 {
    counts.hash((nic, private, remote)) as u32
}

/// The same for all UDP ports of one address, so that their mappings lie in one chain.
fn public_hash<A: Address>(counts: &Counts, public: End<A>, remote: Remote<A>) -> u32 {
    counts.hash((public, remote.place())) as u32
}

/// How far a sweep of one shard came.
enum Swept {
    All,
    Some,
    UpTo(ExpiredConnection),
}

/// Sweeps under one hold of the lock, and returns early with a connection to reset.
fn sweep_some<A: Address>(
    counts: &Counts,
    shard: &Lock<Shard<A>>,
    now: Timestamp,
    left: &mut usize,
    ended: &mut usize,
) -> Swept {
    let mut shard = shard.lock();
    for _ in 0..SWEEP_AT_ONCE.min(*left) {
        *left -= 1;
        let hashes = |mapping: &Mapping<A>| Hashes {
            private: private_hash(counts, mapping.nic, mapping.private, mapping.remote),
            public: public_hash(counts, mapping.public, mapping.remote),
        };
        match shard.sweep(now, hashes) {
            Sweep::Ended(mapping, expected) => {
                counts.dismiss(mapping.nic);
                let counter = if mapping.sort.is_balanced() {
                    counts.balanced_of(mapping.nic)
                } else {
                    counts.count_of((mapping.public.address, mapping.remote))
                };
                counter.fetch_sub(1, Relaxed);
                *ended += 1;
                if let Some(expired) = mapping.expired_connection(expected) {
                    return Swept::UpTo(expired);
                }
            }
            Sweep::Kept => {}
            Sweep::Done => return Swept::All,
        }
    }
    Swept::Some
}

/// Takes a free preallocated port, to the last that there is.
fn take<A: Address>(
    counts: &Counts,
    shard: &mut Shard<A>,
    range: Range<A>,
    remote: Remote<A>,
    random: &mut u64,
) -> Option<u16> {
    let mut vacancies = mem::replace(&mut shard.vacancies, Vacancies::new());
    let is_free = |port| is_free(counts, shard, End { address: range.address, port }, remote, true);
    let taken = choose(&mut vacancies, range, remote.place(), random, is_free);
    shard.vacancies = vacancies;
    taken
}

/// Draws at random while many ports are free; then takes one that the vacancies list.
pub(super) fn choose<A: Address>(
    vacancies: &mut Vacancies<A>,
    range: Range<A>,
    place: Remote<A>,
    random: &mut u64,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<u16> {
    if !vacancies.has(range, place) {
        if let Some(drawn) = draw(range, DRAWS_OF_FEW, random, &mut is_free) {
            return Some(drawn);
        }
        if !vacancies.begin(range, place) {
            return draw(range, DRAWS, random, is_free);
        }
    }
    *random = next_random(*random);
    vacancies.take(range, place, *random, is_free)
}

/// Draws a port at random up to `draws` times until it is free.
pub(super) fn draw<A: Address>(
    range: Range<A>,
    draws: u32,
    random: &mut u64,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<u16> {
    let nth = |random: u64| (((random >> 32) * u64::from(range.count)) >> 32) as u16 + range.first;
    (0..draws).find_map(|_| {
        *random = next_random(*random);
        Some(nth(*random)).filter(|port| is_free(*port))
    })
}

/// The next of a sequence that only has to look random (xorshift, Marsaglia 2003).
const fn next_random(mut state: u64) -> u64 {
    state |= 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}
