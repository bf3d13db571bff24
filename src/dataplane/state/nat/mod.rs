//! Port mappings: which public address and port stand for a flow that its sender has under an address of its own.
//!
//! One idea: a port is mapped for one destination, so flows to other destinations share it (SNAT-05), and everything about
//! one destination lies in one shard under one short lock: finding a mapping from either side, and choosing a port that no
//! other flow there has. A port is drawn at random and drawn again if it is taken: with no more than 50,000 of 64,512 in
//! use for a destination (NAT-02) five draws are enough on average, and a bound on them makes it constant time. Ports that
//! a load balancer gives a backend for itself are used to the last one, in constant time as well: where draws fail it is
//! kept which may be free.
//!
//! Memory: 48 bytes a mapping over IPv4, 88 over IPv6, and 8 for its two buckets; 8 more where both ends of connections are
//! to be told of their end. Like flow records, mappings live in blocks that are kept, so a warm table allocates nothing.
//! TCP and UDP only, which is all that Azure maps on the way to the Internet; a VPN gateway's pools have echoes too.

mod family;
mod mapping;
mod shard;
#[cfg(test)]
mod tests;
mod vacancy;

use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use foldhash::quality::RandomState;

use crate::dataplane::{Direction, NicId, Signal, Timestamp};
use crate::wire::{Packet, Protocol, Tuple};

use family::{Family, place_inside, place_outside};

/// The first port that is mapped: 64,512 of them (NAT-02).
const FIRST_PORT: u16 = 1024;
/// Destinations that fall together share a count of their flows.
const COUNTED: usize = 1 << 16;
/// NICs that fall together share counts of their mappings.
const COUNTED_NICS: usize = 1 << 10;
/// One NIC's mappings are at most so many times the free ones, as flow records are: none takes the last quarter.
const TIMES_FREE: usize = 3;
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
    /// About 84 MB when full, or 96.
    fn default() -> Self {
        Self { total: 1_500_000, per_destination: 50_000 }
    }
}

/// Public addresses that flows share by ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPool {
    /// Never empty; of one IP version.
    pub ports: Box<[Ports]>,
    /// Nobody else has these ports, so they may be used to the last one; and one of UDP serves one flow to each address
    /// (SNAT-05).
    pub preallocated: bool,
    /// Echoes share them too, by their identifiers (VPN-15); otherwise TCP and UDP alone do (NAT-02).
    pub echoes: bool,
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
    pub address: IpAddr,
    pub first: u16,
    pub count: u16,
}

impl Ports {
    /// As many as a NAT gateway has of an address (NAT-02).
    pub const fn all(address: IpAddr) -> Self {
        Self { address, first: FIRST_PORT, count: u16::MAX - FIRST_PORT + 1 }
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

/// Where a flow's mapping is if there is one, from one side of it: for as long as its table is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    shard: u8,
    hash: u32,
}

/// A packet that asks for its mapping.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// As the near side sends it: from inside with the NIC's own address and port, from outside with those that stand for
    /// them.
    pub flow: &'a Tuple,
    /// The flow's, on the same side.
    pub at: Place,
    pub said: Said,
    pub now: Timestamp,
}

impl Asking<'_> {
    /// What says that a connection is a new one: whoever answers cannot begin any, and what looks like it is only late.
    const fn opening(&self, direction: Direction) -> Signal {
        match direction {
            Direction::Outbound => self.said.signal,
            Direction::Inbound => Signal::NONE,
        }
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

/// A mapping as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub mapped: Mapped,
    /// Whom the near end speaks with.
    pub remote: (IpAddr, u16),
    pub protocol: Protocol,
    /// Of a flow to a load balancer, whose port nobody gave away.
    pub pinned: bool,
}

/// No port is free for this destination, or no room for another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortsExhausted;

/// All mappings, shared by all workers.
#[derive(Debug)]
pub struct NatTable {
    v4: Family<Ipv4Addr>,
    v6: Family<Ipv6Addr>,
    counts: Counts,
}

impl NatTable {
    pub fn new(limits: NatLimits) -> Self {
        // Few labs have many flows over IPv6: a chain has some more of them.
        let (v4, v6) = (Family::new(limits.total), Family::new(limits.total / 8));
        Self { v4, v6, counts: Counts::new(limits) }
    }

    /// A packet of a NIC's flow, as the NIC sends the flow. None for what no port is mapped of.
    pub fn asking_inside<'a>(&self, nic: NicId, flow: &'a Tuple, said: Said, now: Timestamp) -> Option<Asking<'a>> {
        let at = if flow.src.is_ipv4() {
            place_inside::<Ipv4Addr>(&self.counts, nic, flow)
        } else {
            place_inside::<Ipv6Addr>(&self.counts, nic, flow)
        };
        Some(Asking { flow, at: at?, said, now })
    }

    /// The same of a flow as its far end sees it sent: from a public address, or a load balancer's.
    pub fn asking_outside<'a>(&self, flow: &'a Tuple, said: Said, now: Timestamp) -> Option<Asking<'a>> {
        let at = if flow.src.is_ipv4() {
            place_outside::<Ipv4Addr>(&self.counts, flow)
        } else {
            place_outside::<Ipv6Addr>(&self.counts, flow)
        };
        Some(Asking { flow, at: at?, said, now })
    }

    /// The mapping that a packet of a sender's flow goes by, if there is one that `is_ours`. Refreshes it.
    pub fn leave(&self, nic: NicId, asking: &Asking<'_>, is_ours: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if asking.flow.src.is_ipv4() {
            self.v4.leave(nic, asking, is_ours)
        } else {
            self.v6.leave(nic, asking, is_ours)
        }
    }

    /// Whose flow a packet from the Internet belongs to, which asks from outside. Refreshes the mapping.
    pub fn enter(&self, asking: &Asking<'_>) -> Option<Mapped> {
        if asking.flow.src.is_ipv4() { self.v4.enter(asking) } else { self.v6.enter(asking) }
    }

    /// Maps a flow that has no mapping to a port of its pool. None for what has no ports to map, and for a pool of the
    /// other IP version.
    pub fn open(&self, outbound: &Outbound<'_>) -> Option<Result<Mapped, PortsExhausted>> {
        if outbound.flow.src.is_ipv4() {
            self.v4.open(&self.counts, outbound)
        } else {
            self.v6.open(&self.counts, outbound)
        }
    }

    /// Who has the flow of a packet to a load balancer, which asks from outside, if that mapping `fits`. Refreshes it.
    pub fn pinned(&self, asking: &Asking<'_>, fits: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if asking.flow.src.is_ipv4() { self.v4.pinned(asking, fits) } else { self.v6.pinned(asking, fits) }
    }

    /// Whose answer a backend's packet is, if that mapping `fits`. Refreshes it.
    pub fn answered(&self, nic: NicId, asking: &Asking<'_>, fits: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if asking.flow.src.is_ipv4() {
            self.v4.answered(nic, asking, fits)
        } else {
            self.v6.answered(nic, asking, fits)
        }
    }

    /// Has a flow to a load balancer stay where it is. What no port is mapped of has none.
    pub fn pin(&self, pin: &Pin<'_>) -> Result<(), Full> {
        if pin.outside.src.is_ipv4() { self.v4.pin(&self.counts, pin) } else { self.v6.pin(&self.counts, pin) }
    }

    /// Whether a NIC may be the backend of a flow: never no where it is.
    #[inline]
    pub fn has_pins(&self, nic: NicId) -> bool {
        self.counts.pins_of(nic).load(Relaxed) > 0
    }

    /// Ends mappings whose time is over, looking at no more than `budget` of each IP version; returns how many ended. Each
    /// connection whose ends are to be told goes to `tell`, no more than `TELLINGS` of them: the rest ends in a later
    /// pass. Call a few times a second.
    pub fn expire(&self, now: Timestamp, budget: usize, mut tell: impl FnMut(&Parted)) -> usize {
        let (mut told, counts) = (0, &self.counts);
        let mut tell = |parted: &Parted| {
            tell(parted);
            told += 1;
            told < TELLINGS
        };
        self.v4.expire(counts, now, budget, &mut tell) + self.v6.expire(counts, now, budget, &mut tell)
    }

    /// Shows every mapping that is alive. Holds up whoever forwards for as long as it looks at a shard, so it is for
    /// questions of people.
    pub fn look(&self, now: Timestamp, mut look: impl FnMut(&Held)) {
        self.v4.look(now, &mut look);
        self.v6.look(now, &mut look);
    }

    /// Mappings held, those whose port only rests included.
    pub fn len(&self) -> usize {
        self.counts.mappings.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What mappings of all kinds are counted in, and hashed with.
#[derive(Debug)]
struct Counts {
    hasher: RandomState,
    limits: NatLimits,
    mappings: AtomicUsize,
    by_destination: Box<[AtomicU32]>,
    /// By NIC; some fall together.
    by_nic: Box<[AtomicU32]>,
    /// Those of flows to load balancers.
    pins: Box<[AtomicU32]>,
    draws: AtomicU32,
}

impl Counts {
    fn new(limits: NatLimits) -> Self {
        let counted = limits.total.next_power_of_two().min(COUNTED);
        Self {
            hasher: RandomState::default(),
            limits,
            mappings: AtomicUsize::new(0),
            by_destination: std::iter::repeat_with(AtomicU32::default).take(counted).collect(),
            by_nic: std::iter::repeat_with(AtomicU32::default).take(COUNTED_NICS).collect(),
            pins: std::iter::repeat_with(AtomicU32::default).take(COUNTED_NICS).collect(),
            draws: AtomicU32::new(0),
        }
    }

    /// One more mapping of a NIC, if there is room.
    fn admit(&self, nic: NicId) -> bool {
        let mappings = self.mappings.fetch_add(1, Relaxed) + 1;
        let of_nic = self.of(nic).fetch_add(1, Relaxed) as usize + 1;
        let fits = of_nic <= self.limits.total.saturating_sub(mappings).saturating_mul(TIMES_FREE);
        if !fits {
            self.dismiss(nic);
        }
        fits
    }

    fn dismiss(&self, nic: NicId) {
        self.mappings.fetch_sub(1, Relaxed);
        self.of(nic).fetch_sub(1, Relaxed);
    }

    fn of(&self, nic: NicId) -> &AtomicU32 {
        &self.by_nic[nic.0 as usize % COUNTED_NICS]
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.hasher.hash_one(what)
    }

    /// Other than any before it.
    fn random(&self, of: impl Hash) -> u64 {
        self.hash((self.draws.fetch_add(1, Relaxed), of))
    }

    #[inline]
    fn pins_of(&self, nic: NicId) -> &AtomicU32 {
        &self.pins[nic.0 as usize % COUNTED_NICS]
    }

    /// Flows that a public address has to one destination.
    fn count_of(&self, public_and_remote: impl Hash) -> &AtomicU32 {
        &self.by_destination[self.hash(public_and_remote) as usize % self.by_destination.len()]
    }
}
