//! Port mappings: which public address and port stand for a flow that its sender has under an address of its own.
//!
//! One idea: a port is mapped for one destination, so flows to other destinations share it (SNAT-05), and everything about
//! one destination lies in one shard under one short lock: finding a mapping from either side, and choosing a port that no
//! other flow there has. A port is drawn at random and drawn again if it is taken: with no more than 50,000 of 64,512 in
//! use for a destination (NAT-02) five draws are enough on average, and a bound on them makes it constant time. Ports that
//! a load balancer gives a backend for itself are used to the last one: where draws fail, the few that it has are gone
//! through in their order.
//!
//! Memory: 48 bytes a mapping and 8 for its two buckets; 8 more where both ends of connections are to be told of their end. Like flow records, mappings live in blocks that are kept, so a
//! warm table allocates nothing. TCP and UDP over IPv4 only: Azure maps nothing else.

mod mapping;
mod shard;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use self::mapping::{End, Mapping, Remote};
use self::shard::{Hashes, Shard, Sweep};
use super::{Direction, NicId, Signal, Timestamp};
use crate::wire::{Packet, Protocol, Tuple};

/// Power of two; many more than workers, so that two seldom meet.
const SHARDS: usize = 64;
/// The first port that is mapped: 64,512 of them (NAT-02).
const FIRST_PORT: u16 = 1024;
/// Ports drawn for one public address: the last one fails one time in ten million where 50,000 are in use.
const DRAWS: u32 = 64;
/// Destinations that fall together share a count of their flows.
const COUNTED: usize = 1 << 16;
/// NICs that fall together share a count of their pinned flows.
const PINNED: usize = 1 << 10;
/// Mappings looked at under one hold of a lock.
const SWEEP_AT_ONCE: usize = 64;
/// Connections whose two ends are told in one pass: as many segments as a worker forwards in a few milliseconds.
const TELLINGS: usize = 512;

/// Bounds of a [`NatTable`].
#[derive(Clone, Copy, Debug)]
pub struct NatLimits {
    /// Mappings in all: fewer than Azure's 2 million of one NAT gateway.
    pub total: usize,
    /// Of one public address to one destination (NAT-02).
    pub per_destination: u32,
}

impl Default for NatLimits {
    /// About 56 MB when full, or 64.
    fn default() -> Self {
        Self { total: 1_000_000, per_destination: 50_000 }
    }
}

/// Public addresses that flows share by ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPool {
    /// Never empty.
    pub ports: Box<[Ports]>,
    /// Nobody else has these ports, so they may be used to the last one; and one of UDP serves one flow to each address
    /// (SNAT-05).
    pub preallocated: bool,
    /// Idle time after which a TCP mapping ends.
    pub tcp_idle_secs: u16,
    /// Who is told that a TCP mapping has ended.
    pub told: Told,
}

/// Who hears by a reset that a TCP flow was idle for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nobody,
    /// A sender that goes on with it (NAT-04).
    WhoGoesOn,
    /// Both ends at once, and whoever goes on all the same (LB-25).
    BothEnds,
}

/// Some ports of a public address, in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub address: Ipv4Addr,
    pub first: u16,
    pub count: u16,
}

impl Ports {
    /// As many as a NAT gateway has of an address (NAT-02).
    pub const fn all(address: Ipv4Addr) -> Self {
        Self { address, first: FIRST_PORT, count: u16::MAX - FIRST_PORT + 1 }
    }

    fn end(self, nth: u16) -> End {
        End { address: self.address, port: self.first + nth }
    }
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    pub nic: NicId,
    /// As its sender has it.
    pub flow: &'a Tuple,
    pub pool: &'a PortPool,
    pub said: Said,
    pub now: Timestamp,
}

/// What a packet says of its TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub signal: Signal,
    /// What its sender expects next, if it says so.
    pub expects: Option<u32>,
}

impl Said {
    /// Nothing: no TCP.
    pub const NOTHING: Self = Self { signal: Signal::NONE, expects: None };

    #[inline]
    pub fn by(packet: &Packet<'_>) -> Self {
        Self { signal: Signal::of(packet), expects: packet.acknowledges() }
    }
}

/// A flow to a load balancer that goes to one backend from now on.
#[derive(Clone, Copy, Debug)]
pub struct Pin<'a> {
    pub nic: NicId,
    /// As the balancer's side sends it.
    pub outside: &'a Tuple,
    /// What the backend has in place of the balancer's address and port.
    pub private: (IpAddr, u16),
    /// Idle time after which it ends.
    pub idle_secs: u16,
    /// Both ends are told then (LB-25).
    pub told: bool,
    pub said: Said,
    pub now: Timestamp,
}

/// A connection that was open and idle until its mapping ended, and whose ends are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parted {
    pub mapped: Mapped,
    /// Whom the near end speaks with.
    pub remote: (IpAddr, u16),
    /// What the near end expects next of the far one, if it ever said so.
    pub near_expects: Option<u32>,
    pub far_expects: Option<u32>,
}

/// There is no room for another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The two sides of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub nic: NicId,
    pub private: (IpAddr, u16),
    pub public: (IpAddr, u16),
}

/// No port is free for this destination, or no room for another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortsExhausted;

/// All mappings, shared by all workers.
#[derive(Debug)]
pub struct NatTable {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    hasher: RandomState,
    limits: NatLimits,
    mappings: AtomicUsize,
    by_destination: Box<[AtomicU32]>,
    /// By NIC; some fall together.
    pins: Box<[AtomicU32]>,
    draws: AtomicU32,
    /// The shard where the next expiry starts.
    sweeping: AtomicUsize,
}

impl NatTable {
    pub fn new(limits: NatLimits) -> Self {
        let buckets = (limits.total / SHARDS).next_power_of_two();
        let shard = || CachePadded::new(Mutex::new(Shard::new(buckets)));
        let counted = limits.total.next_power_of_two().min(COUNTED);
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::default(),
            limits,
            mappings: AtomicUsize::new(0),
            pins: std::iter::repeat_with(AtomicU32::default).take(PINNED).collect(),
            by_destination: std::iter::repeat_with(AtomicU32::default).take(counted).collect(),
            draws: AtomicU32::new(0),
            sweeping: AtomicUsize::new(0),
        }
    }

    /// The mapping that a packet of a sender's flow goes by, if there is one that `is_ours` by its public address.
    /// Refreshes it.
    pub fn leave(
        &self,
        nic: NicId,
        flow: &Tuple,
        said: Said,
        now: Timestamp,
        is_ours: impl Fn(IpAddr) -> bool,
    ) -> Option<Mapped> {
        let (private, remote) = (End::of(flow)?, Remote::of(flow)?);
        let mut shard = self.shard(remote);
        let fits = |mapping: &Mapping| {
            !mapping.sort.is_pinned() && mapping.is_live(said.signal, now) && is_ours(mapping.public.address.into())
        };
        let mapping = shard.outbound((nic, private, remote), self.private_hash(nic, private, remote), fits)?;
        Some(shard.touch(mapping, Direction::Outbound, said, now))
    }

    /// Whose flow a packet from the Internet belongs to; `flow` is the mirrored tuple, as the flow's own packets leave.
    /// Refreshes the mapping.
    pub fn enter(&self, flow: &Tuple, said: Said, now: Timestamp) -> Option<Mapped> {
        let (public, remote) = (End::of(flow)?, Remote::of(flow)?);
        let mut shard = self.shard(remote);
        // Whoever answers cannot begin a flow: what looks like it is only late.
        let fits = |mapping: &Mapping| mapping.is_live(Signal::NONE, now) && !mapping.sort.is_pinned();
        let mapping = shard.inbound((public, remote), self.public_hash(public, remote), fits)?;
        Some(shard.touch(mapping, Direction::Inbound, said, now))
    }

    /// Maps a flow that has no mapping to a port of its pool. None for what has no ports to map.
    pub fn open(&self, outbound: &Outbound<'_>) -> Option<Result<Mapped, PortsExhausted>> {
        let (private, remote) = (End::of(outbound.flow)?, Remote::of(outbound.flow)?);
        Some(self.map(outbound, private, remote))
    }

    /// Who has the flow of a packet to a load balancer, if that mapping `fits`; `outside` is the flow as the balancer's side
    /// sends it. Refreshes it.
    pub fn pinned(
        &self,
        outside: &Tuple,
        said: Said,
        now: Timestamp,
        fits: impl Fn(&Mapped) -> bool,
    ) -> Option<Mapped> {
        let (public, remote) = (End::of(outside)?, Remote::of(outside)?);
        let mut shard = self.shard(remote);
        let fits = |mapping: &Mapping| {
            mapping.sort.is_pinned() && mapping.is_live(said.signal, now) && fits(&mapping.mapped())
        };
        let mapping = shard.inbound((public, remote), self.public_hash(public, remote), fits)?;
        Some(shard.touch(mapping, Direction::Outbound, said, now))
    }

    /// Whose answer a backend's packet is, if that mapping `fits`. Refreshes it.
    pub fn answered(
        &self,
        nic: NicId,
        flow: &Tuple,
        said: Said,
        now: Timestamp,
        fits: impl Fn(&Mapped) -> bool,
    ) -> Option<Mapped> {
        let (private, remote) = (End::of(flow)?, Remote::of(flow)?);
        let mut shard = self.shard(remote);
        let fits = |mapping: &Mapping| {
            mapping.sort.is_pinned() && mapping.is_live(Signal::NONE, now) && fits(&mapping.mapped())
        };
        let mapping = shard.outbound((nic, private, remote), self.private_hash(nic, private, remote), fits)?;
        Some(shard.touch(mapping, Direction::Inbound, said, now))
    }

    /// Has a flow to a load balancer stay where it is. What no port is mapped of has none.
    pub fn pin(&self, pin: &Pin<'_>) -> Result<(), Full> {
        let (Some(public), Some(remote)) = (End::of(pin.outside), Remote::of(pin.outside)) else { return Ok(()) };
        let (IpAddr::V4(address), port) = pin.private else { return Ok(()) };
        let private = End { address, port };
        if self.mappings.fetch_add(1, Relaxed) >= self.limits.total {
            self.mappings.fetch_sub(1, Relaxed);
            return Err(Full);
        }
        self.pins_of(pin.nic).fetch_add(1, Relaxed);
        let mapping = Mapping::pinned(pin, private, remote, public);
        let hashes =
            Hashes { private: self.private_hash(pin.nic, private, remote), public: self.public_hash(public, remote) };
        self.shard(remote).insert(mapping, hashes, (pin.said, pin.now));
        Ok(())
    }

    /// Whether a NIC may be the backend of a flow: never no where it is.
    #[inline]
    pub fn has_pins(&self, nic: NicId) -> bool {
        self.pins_of(nic).load(Relaxed) > 0
    }

    /// Ends mappings whose time is over, looking at no more than `budget`; returns how many ended. Each connection whose
    /// ends are to be told goes to `tell`, no more than `TELLINGS` of them: the rest ends in a later pass. Call a few
    /// times a second.
    pub fn expire(&self, now: Timestamp, budget: usize, mut tell: impl FnMut(&Parted)) -> usize {
        let start = self.sweeping.load(Relaxed);
        let (mut left, mut ended, mut told) = (budget, 0, 0);
        for index in (start..start + SHARDS).map(|index| index % SHARDS) {
            self.sweeping.store(index, Relaxed);
            while left > 0 && told < TELLINGS {
                match self.sweep_some(&self.shards[index], now, &mut left, &mut ended) {
                    Swept::All => break,
                    Swept::Some => {}
                    // Nobody is told under the lock.
                    Swept::UpTo(parted) => {
                        tell(&parted);
                        told += 1;
                    }
                }
            }
            if left == 0 || told == TELLINGS {
                break;
            }
        }
        ended
    }

    /// Shows every flow to a load balancer that is alive: who has it, and as what the balancer's side sends it. Holds up
    /// whoever forwards for as long as it looks at a shard, so it is for questions of people.
    pub fn look_at_pins(&self, now: Timestamp, mut look: impl FnMut(&Mapped, Protocol)) {
        for shard in &self.shards {
            let shard = lock(shard);
            // A free slot's mapping has lapsed.
            let alive =
                shard.mappings().filter(|mapping| mapping.sort.is_pinned() && mapping.is_live(Signal::NONE, now));
            alive.for_each(|mapping| look(&mapping.mapped(), mapping.remote.protocol));
        }
    }

    /// Mappings held, those whose port only rests included.
    pub fn len(&self) -> usize {
        self.mappings.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn map(&self, outbound: &Outbound<'_>, private: End, remote: Remote) -> Result<Mapped, PortsExhausted> {
        if self.mappings.fetch_add(1, Relaxed) >= self.limits.total {
            self.mappings.fetch_sub(1, Relaxed);
            return Err(PortsExhausted);
        }
        let seed = self.draws.fetch_add(1, Relaxed);
        let mut random = self.hasher.hash_one((seed, outbound.nic, private));
        let pool = outbound.pool;
        let first = (random >> 48) as usize % pool.ports.len();
        let mut shard = self.shard(remote);
        for nth in 0..pool.ports.len() {
            let ports = pool.ports[(first + nth) % pool.ports.len()];
            let count = self.count_of(ports.address, remote);
            if !pool.preallocated && count.load(Relaxed) >= self.limits.per_destination {
                continue;
            }
            let is_free = |public| self.is_free(&shard, public, remote, pool.preallocated);
            let Some(public) = draw(ports, pool.preallocated, &mut random, is_free) else { continue };
            count.fetch_add(1, Relaxed);
            let mapping = Mapping::new(outbound, private, remote, public);
            let hashes = Hashes {
                private: self.private_hash(outbound.nic, private, remote),
                public: self.public_hash(public, remote),
            };
            return Ok(shard.insert(mapping, hashes, (outbound.said, outbound.now)));
        }
        self.mappings.fetch_sub(1, Relaxed);
        Err(PortsExhausted)
    }

    /// Whether nobody has a port towards a destination; of preallocated ports for UDP, towards anything at its address.
    /// One whose time is over is taken until it is swept.
    fn is_free(&self, shard: &Shard, public: End, remote: Remote, preallocated: bool) -> bool {
        let hash = self.public_hash(public, remote);
        if preallocated && remote.protocol == Protocol::UDP {
            return !shard.has_towards(public, remote, hash);
        }
        shard.inbound((public, remote), hash, |_| true).is_none()
    }

    /// Under one hold of the lock, and no further than to somebody who is to be told.
    fn sweep_some(&self, shard: &Mutex<Shard>, now: Timestamp, left: &mut usize, ended: &mut usize) -> Swept {
        let mut shard = lock(shard);
        for _ in 0..SWEEP_AT_ONCE.min(*left) {
            *left -= 1;
            let hashes = |mapping: &Mapping| Hashes {
                private: self.private_hash(mapping.nic, mapping.private, mapping.remote),
                public: self.public_hash(mapping.public, mapping.remote),
            };
            match shard.sweep(now, hashes) {
                Sweep::Ended(mapping, expected) => {
                    self.mappings.fetch_sub(1, Relaxed);
                    let counter = if mapping.sort.is_pinned() {
                        self.pins_of(mapping.nic)
                    } else {
                        self.count_of(mapping.public.address, mapping.remote)
                    };
                    counter.fetch_sub(1, Relaxed);
                    *ended += 1;
                    if let Some(parted) = mapping.parted(expected) {
                        return Swept::UpTo(parted);
                    }
                }
                Sweep::Kept => {}
                Sweep::Done => return Swept::All,
            }
        }
        Swept::Some
    }

    fn private_hash(&self, nic: NicId, private: End, remote: Remote) -> u64 {
        self.hasher.hash_one((nic, private, remote))
    }

    /// The same for all ports of UDP at one address, which then lie in one chain.
    fn public_hash(&self, public: End, remote: Remote) -> u64 {
        self.hasher.hash_one((public, remote.place()))
    }

    #[inline]
    fn pins_of(&self, nic: NicId) -> &AtomicU32 {
        &self.pins[nic.0 as usize % PINNED]
    }

    fn count_of(&self, public: Ipv4Addr, remote: Remote) -> &AtomicU32 {
        &self.by_destination[self.hasher.hash_one((public, remote)) as usize % self.by_destination.len()]
    }

    fn shard(&self, remote: Remote) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(remote.place()) as usize % SHARDS])
    }
}

/// How far a sweep of one shard came.
enum Swept {
    All,
    Some,
    UpTo(Parted),
}

/// A port that is free: drawn at random; of preallocated ones, where draws fail, the next one there is.
fn draw(ports: Ports, preallocated: bool, random: &mut u64, mut is_free: impl FnMut(End) -> bool) -> Option<End> {
    let nth = |random: u64| (((random >> 32) * u64::from(ports.count)) >> 32) as u16;
    let drawn = (0..DRAWS).find_map(|_| {
        *random = next_random(*random);
        Some(ports.end(nth(*random))).filter(|end| is_free(*end))
    });
    drawn.or_else(|| {
        let all = (0..ports.count).filter(|_| preallocated);
        all.map(|nth| ports.end(nth)).find(|end| is_free(*end))
    })
}

/// The next of a sequence that only has to look random (xorshift, Marsaglia 2003).
const fn next_random(mut state: u64) -> u64 {
    state |= 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// Nothing that can panic runs under the lock, so a poisoned one is sound.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
