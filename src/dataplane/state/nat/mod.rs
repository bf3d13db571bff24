//! Port mappings (NAT): which public address and port a flow uses in place of its sender's own.
//!
//! One idea: a port is mapped for one destination, so flows to other destinations share it (SNAT-05). All mappings to
//! one destination lie in one shard under one short lock. That lock is enough to find a mapping from either side, and
//! to choose a port that is free there. A port is drawn at random, and drawn again if it is taken. With at most 50,000
//! of 64,512 in use for a destination (NAT-02), five draws are enough on average, and a bound on them makes it constant
//! time. Ports preallocated to one backend are used to the last one, in constant time as well: where draws fail,
//! `vacancy` keeps track of ports that may be free.
//!
//! Memory: 48 bytes a mapping over IPv4, 88 over IPv6, and 8 for its two buckets; 8 more where both ends of a
//! connection get a reset. Like flow records, mappings live in blocks that are kept, so a warm table allocates nothing.
//! Only TCP and UDP are mapped, as in Azure on the way to the Internet; a VPN gateway's pools also map echoes.

mod family;
mod followed;
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

pub use followed::{FollowedMapping, MappingSide};

use family::{Family, bucket_inside, bucket_outside};

/// The first port that is mapped: 64,512 of them (NAT-02).
const FIRST_PORT: u16 = 1024;
/// The protocols whose flows are mapped; of ICMP, the echoes.
pub const MAPPED: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP];

/// Counters of flows by destination; destinations with the same hash share one.
const COUNTED: usize = 1 << 16;
/// Counters of mappings by NIC; NICs with the same slot share one.
const COUNTED_NICS: usize = 1 << 10;
/// One NIC's mappings are at most this many times the free ones, as for flow records: no NIC takes the last quarter.
const TIMES_FREE: usize = 3;
/// Connections reset in one pass: as many segments as a worker forwards in a few milliseconds.
const RESETS_AT_ONCE: usize = 512;

/// Bounds of a [`NatTable`].
#[derive(Clone, Copy, Debug)]
pub struct NatLimits {
    /// Mappings in all: fewer than Azure's 2 million of one NAT gateway.
    pub total: usize,
    /// Mappings of one public address to one destination (NAT-02).
    pub per_destination: u32,
}

impl Default for NatLimits {
    /// About 84 MB when full, or 96 if all need resets.
    fn default() -> Self {
        Self { total: 1_500_000, per_destination: 50_000 }
    }
}

/// Public addresses with ports that flows share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPool {
    /// Never empty; of one IP version.
    pub ports: Box<[Ports]>,
    /// No other pool has these ports, so they may be used to the last one. A UDP port serves one flow to each address
    /// (SNAT-05).
    pub preallocated: bool,
    /// Echoes use the pool too, by their identifiers (VPN-15); otherwise only TCP and UDP do (NAT-02).
    pub echoes: bool,
    /// Idle time after which a TCP mapping ends.
    pub tcp_idle_secs: u16,
    /// Which ends get a reset when a TCP mapping has expired.
    pub idle_reset: IdleReset,
}

/// When the ends of an idle TCP flow get a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleReset {
    None,
    /// The sender of the next packet gets one (NAT-04).
    OnNextPacket,
    /// Both ends get one when the mapping expires, and so does the sender of a later packet (LB-25).
    BothEnds,
}

/// A range of ports of a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub address: IpAddr,
    pub first: u16,
    pub count: u16,
}

impl Ports {
    /// All ports that a NAT gateway uses of an address (NAT-02).
    pub const fn all(address: IpAddr) -> Self {
        Self { address, first: FIRST_PORT, count: u16::MAX - FIRST_PORT + 1 }
    }
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    pub nic: NicId,
    /// The flow as its sender sends it.
    pub flow: &'a Tuple,
    pub pool: &'a PortPool,
    pub segment: TcpSegment,
    pub now: Timestamp,
}

/// What a packet's TCP header says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment {
    pub signal: Signal,
    /// The sequence number that its sender expects next, if it acknowledges one.
    pub expects: Option<u32>,
}

impl TcpSegment {
    /// Of a packet that is not TCP.
    pub const NONE: Self = Self { signal: Signal::NONE, expects: None };

    #[inline]
    pub fn of(packet: &Packet<'_>) -> Self {
        Self { signal: Signal::of(packet), expects: packet.acknowledges() }
    }
}

/// The shard and hash under which a flow's mapping is found from one side, valid as long as the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingBucket {
    shard: u8,
    hash: u32,
}

/// A lookup of a packet's mapping.
#[derive(Clone, Copy, Debug)]
pub struct MappingLookup<'a> {
    /// The flow as the near side sends it: from inside with the NIC's own address and port, from outside with the
    /// public ones.
    pub flow: &'a Tuple,
    /// Where to look, from the same side.
    pub bucket: MappingBucket,
    pub segment: TcpSegment,
    pub now: Timestamp,
}

impl MappingLookup<'_> {
    /// The signal that may start a new connection: only the opening side's. A SYN from the answering side is only late.
    const fn opening(&self, direction: Direction) -> Signal {
        match direction {
            Direction::Outbound => self.segment.signal,
            Direction::Inbound => Signal::NONE,
        }
    }
}

/// A new flow to a load balancer, and the backend that it is mapped to.
#[derive(Clone, Copy, Debug)]
pub struct BalancedFlow<'a> {
    pub nic: NicId,
    /// The flow as the balancer's side sends it.
    pub outside: &'a Tuple,
    /// The backend's address and port in place of the balancer's.
    pub private: (IpAddr, u16),
    /// Idle time after which the mapping expires.
    pub idle_secs: u16,
    /// Both ends get a reset then (LB-25).
    pub resets: bool,
    pub segment: TcpSegment,
    pub now: Timestamp,
}

/// An open connection after its mapping expired: its ends get a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredConnection {
    pub mapped: Mapped,
    /// The far end.
    pub remote: (IpAddr, u16),
    /// The sequence number that the near end expects next, if it ever acknowledged one.
    pub near_expects: Option<u32>,
    pub far_expects: Option<u32>,
}

/// The table has no room for another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The two sides of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub nic: NicId,
    pub private: (IpAddr, u16),
    pub public: (IpAddr, u16),
}

/// A mapping as `look` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub mapped: Mapped,
    /// The far end.
    pub remote: (IpAddr, u16),
    pub protocol: Protocol,
    /// It is a flow to a load balancer, so its public port was not allocated.
    pub balanced: bool,
}

/// No port is free for this destination, or the table has no room for another mapping.
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
        // Few labs have many flows over IPv6, so its chains may be longer.
        let (v4, v6) = (Family::new(limits.total), Family::new(limits.total / 8));
        Self { v4, v6, counts: Counts::new(limits) }
    }

    /// A lookup from inside: the flow as the NIC sends it. None for a protocol without port mappings.
    pub fn lookup_inside<'a>(
        &self,
        nic: NicId,
        flow: &'a Tuple,
        segment: TcpSegment,
        now: Timestamp,
    ) -> Option<MappingLookup<'a>> {
        let bucket = if flow.src.is_ipv4() {
            bucket_inside::<Ipv4Addr>(&self.counts, nic, flow)
        } else {
            bucket_inside::<Ipv6Addr>(&self.counts, nic, flow)
        };
        Some(MappingLookup { flow, bucket: bucket?, segment, now })
    }

    /// The same from outside: the flow as its far end sees it, from a public or a load balancer's address.
    pub fn lookup_outside<'a>(
        &self,
        flow: &'a Tuple,
        segment: TcpSegment,
        now: Timestamp,
    ) -> Option<MappingLookup<'a>> {
        let bucket = if flow.src.is_ipv4() {
            bucket_outside::<Ipv4Addr>(&self.counts, flow)
        } else {
            bucket_outside::<Ipv6Addr>(&self.counts, flow)
        };
        Some(MappingLookup { flow, bucket: bucket?, segment, now })
    }

    /// The mapping of a sender's flow, if there is one that `is_ours`. Refreshes it.
    pub fn leave(&self, nic: NicId, lookup: &MappingLookup<'_>, is_ours: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if lookup.flow.src.is_ipv4() {
            self.v4.leave(nic, lookup, is_ours)
        } else {
            self.v6.leave(nic, lookup, is_ours)
        }
    }

    /// The mapping of a packet from the Internet, looked up from outside. Refreshes it.
    pub fn enter(&self, lookup: &MappingLookup<'_>) -> Option<Mapped> {
        if lookup.flow.src.is_ipv4() { self.v4.enter(lookup) } else { self.v6.enter(lookup) }
    }

    /// Maps a flow without a mapping to a port of its pool. None for a protocol without port mappings, and for a pool
    /// of the other IP version.
    pub fn open(&self, outbound: &Outbound<'_>) -> Option<Result<Mapped, PortsExhausted>> {
        if outbound.flow.src.is_ipv4() {
            self.v4.open(&self.counts, outbound)
        } else {
            self.v6.open(&self.counts, outbound)
        }
    }

    /// The mapping of a packet to a load balancer, looked up from outside, if it `fits`. Refreshes it.
    pub fn balanced(&self, lookup: &MappingLookup<'_>, fits: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if lookup.flow.src.is_ipv4() { self.v4.balanced(lookup, fits) } else { self.v6.balanced(lookup, fits) }
    }

    /// The mapping that a backend's packet answers, if it `fits`. Refreshes it.
    pub fn answered(&self, nic: NicId, lookup: &MappingLookup<'_>, fits: impl Fn(&Mapped) -> bool) -> Option<Mapped> {
        if lookup.flow.src.is_ipv4() {
            self.v4.answered(nic, lookup, fits)
        } else {
            self.v6.answered(nic, lookup, fits)
        }
    }

    /// Maps a flow to a load balancer to its backend. Does nothing for a protocol without port mappings.
    pub fn map_balanced(&self, flow: &BalancedFlow<'_>) -> Result<(), Full> {
        if flow.outside.src.is_ipv4() {
            self.v4.map_balanced(&self.counts, flow)
        } else {
            self.v6.map_balanced(&self.counts, flow)
        }
    }

    /// Whether a NIC may be the backend of a flow. It may be wrong one way only: true although the NIC has none.
    #[inline]
    pub fn has_balanced(&self, nic: NicId) -> bool {
        self.counts.balanced_of(nic).load(Relaxed) > 0
    }

    /// Removes expired mappings, looking at no more than `budget` of each IP version; returns how many it removed. Each
    /// connection to reset goes to `tell`, at most `RESETS_AT_ONCE` of them; the rest expires in a later
    /// pass. Call a few times a second.
    pub fn expire(&self, now: Timestamp, budget: usize, mut tell: impl FnMut(&ExpiredConnection)) -> usize {
        let (mut sent, counts) = (0, &self.counts);
        let mut tell = |expired: &ExpiredConnection| {
            tell(expired);
            sent += 1;
            sent < RESETS_AT_ONCE
        };
        self.v4.expire(counts, now, budget, &mut tell) + self.v6.expire(counts, now, budget, &mut tell)
    }

    /// Shows every live mapping. It holds up the workers while it reads a shard, so it is for questions of users only.
    pub fn look(&self, now: Timestamp, mut look: impl FnMut(&Held)) {
        self.v4.look(now, &mut look);
        self.v6.look(now, &mut look);
    }

    /// Mappings held, including those that only hold their port down.
    pub fn len(&self) -> usize {
        self.counts.mappings.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The counters of mappings of both IP versions, and the hasher.
#[derive(Debug)]
struct Counts {
    hasher: RandomState,
    limits: NatLimits,
    mappings: AtomicUsize,
    by_destination: Box<[AtomicU32]>,
    /// By NIC; some share a counter.
    by_nic: Box<[AtomicU32]>,
    /// Mappings of flows to load balancers, by NIC.
    balanced: Box<[AtomicU32]>,
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
            balanced: std::iter::repeat_with(AtomicU32::default).take(COUNTED_NICS).collect(),
            draws: AtomicU32::new(0),
        }
    }

    /// Counts one more mapping of a NIC, if there is room.
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

    /// A number unlike any before it.
    fn random(&self, of: impl Hash) -> u64 {
        self.hash((self.draws.fetch_add(1, Relaxed), of))
    }

    #[inline]
    fn balanced_of(&self, nic: NicId) -> &AtomicU32 {
        &self.balanced[nic.0 as usize % COUNTED_NICS]
    }

    /// The count of a public address's flows to one destination.
    fn count_of(&self, public_and_remote: impl Hash) -> &AtomicU32 {
        &self.by_destination[self.hash(public_and_remote) as usize % self.by_destination.len()]
    }
}
