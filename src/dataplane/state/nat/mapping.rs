//! One mapping: a flow as its sender sends it, and the public address and port that the Internet sees.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dataplane::state::flow::slab::{END, Entry, Link};
use crate::dataplane::state::flow::tcp::Connection;
use crate::dataplane::{Direction, FlowState, NicId, Signal, Timestamp};
use crate::wire::{Protocol, Tuple};

use super::shard::Expected;
use super::{BalancedFlow, ExpiredConnection, IdleReset, Mapped, MappingSide, Outbound};

/// NAT-04: the idle time of UDP; the pool's is for TCP.
const UDP_IDLE_SECS: u16 = 240;
/// NAT-04: the hold-down, in which a port serves no other flow to the same destination.
const HOLD_FIN_SECS: u16 = 65;
const HOLD_RST_SECS: u16 = 16;
const HOLD_HALF_OPEN_SECS: u16 = 30;
const HOLD_UDP_SECS: u16 = 65;

/// An address of one family: a mapping has one type of address only, so mappings over IPv4 stay small.
pub(super) trait Address: Copy + Debug + Eq + Hash + Into<IpAddr> {
    /// None for an address of the other family.
    fn of(address: IpAddr) -> Option<Self>;
}

impl Address for Ipv4Addr {
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for Ipv6Addr {
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}

/// A flow's destination, the same for both directions of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remote<A> {
    pub(super) address: A,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

/// An address and port of the near side: the sender's own, or the public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End<A> {
    pub(super) address: A,
    pub(super) port: u16,
}

/// 48 bytes over IPv4, and 88 over IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping<A> {
    last: Timestamp,
    pub(super) nic: NicId,
    pub(super) private: End<A>,
    pub(super) public: End<A>,
    pub(super) remote: Remote<A>,
    idle_secs: u16,
    connection: Connection,
    pub(super) sort: Sort,
    /// The next mapping with the same hash of the private side, or the next free slot.
    pub(super) by_private: Link,
    /// The next mapping with the same hash of the public side.
    pub(super) by_public: Link,
    timer: Link,
}

/// The kind of a mapping, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort(u8);

impl Sort {
    const BALANCED: u8 = 1;
    const RESETS: u8 = 2;

    const fn new(balanced: bool, resets: bool) -> Self {
        Self(if balanced { Self::BALANCED } else { 0 } | if resets { Self::RESETS } else { 0 })
    }

    /// A flow to a load balancer: the client outside opens it, and its port was not allocated.
    pub(super) const fn is_balanced(self) -> bool {
        self.0 & Self::BALANCED != 0
    }

    /// Both ends get a reset when it expires (LB-25).
    pub(super) const fn resets(self) -> bool {
        self.0 & Self::RESETS != 0
    }
}

impl<A: Address> Remote<A> {
    /// The destination of a packet that leaves, or of the mirrored tuple of one that enters. None for the other family,
    /// and for protocols other than TCP and UDP, which have no port mappings (NAT-02, SNAT-08).
    pub(super) fn of(tuple: &Tuple) -> Option<Self> {
        let (Some(address), Protocol::TCP | Protocol::UDP) = (A::of(tuple.dst), tuple.protocol) else { return None };
        Some(Self { address, port: tuple.dst_port, protocol: tuple.protocol })
    }
}

impl<A: Address> Remote<A> {
    /// The same, and for an echo over IPv4. The identifier belongs to the near side: the far side repeats it and has
    /// none of its own.
    pub(super) fn with_echoes(tuple: &Tuple) -> Option<Self> {
        let echo = |address| Self { address, port: 0, protocol: Protocol::ICMP };
        if tuple.protocol == Protocol::ICMP { A::of(tuple.dst).map(echo) } else { Self::of(tuple) }
    }

    /// The part that decides conflicts. All UDP ports of one address are one: a port that serves one of them is taken
    /// for the others.
    pub(super) fn place(self) -> Self {
        let port = if self.protocol == Protocol::UDP { 0 } else { self.port };
        Self { port, ..self }
    }
}

impl<A: Address> End<A> {
    /// The source of a tuple.
    pub(super) fn of(tuple: &Tuple) -> Option<Self> {
        Some(Self { address: A::of(tuple.src)?, port: tuple.src_port })
    }
}

impl<A: Address> Mapping<A> {
    pub(super) fn new(flow: &Outbound<'_>, private: End<A>, remote: Remote<A>, public: End<A>) -> Self {
        let sort = Sort::new(false, flow.pool.idle_reset == IdleReset::BothEnds);
        let sides = (private, remote, public);
        Self::between(flow.nic, sides, (sort, flow.pool.tcp_idle_secs), flow.now)
    }

    pub(super) fn balanced(flow: &BalancedFlow<'_>, private: End<A>, remote: Remote<A>, public: End<A>) -> Self {
        let sort = Sort::new(true, flow.resets);
        Self::between(flow.nic, (private, remote, public), (sort, flow.idle_secs), flow.now)
    }

    fn between(
        nic: NicId,
        (private, remote, public): (End<A>, Remote<A>, End<A>),
        (sort, idle_secs): (Sort, u16),
        now: Timestamp,
    ) -> Self {
        Self {
            last: now,
            nic,
            private,
            public,
            remote,
            idle_secs,
            connection: Connection::NONE,
            sort,
            by_private: END,
            by_public: END,
            timer: END,
        }
    }

    pub(super) fn touch(&mut self, direction: Direction, signal: Signal, now: Timestamp) {
        self.last = now;
        self.connection.note(direction, signal);
    }

    pub(super) fn refresh(&mut self, last: Timestamp) {
        self.last = self.last.max(last);
    }

    /// In which direction packets from a side go: outbound is from the end that opens.
    pub(super) fn direction(&self, side: MappingSide) -> Direction {
        if (side == MappingSide::Inside) == self.sort.is_balanced() { Direction::Inbound } else { Direction::Outbound }
    }

    /// The connection to reset, now that the mapping has expired: only an open one (LB-25).
    pub(super) fn expired_connection(&self, expected: Expected) -> Option<ExpiredConnection> {
        let open = self.connection.state(Direction::Outbound) == Some(FlowState::Established);
        // The far end opens a load balancer's flow.
        let (near, far) = if self.sort.is_balanced() {
            (Direction::Inbound, Direction::Outbound)
        } else {
            (Direction::Outbound, Direction::Inbound)
        };
        (open && self.sort.resets()).then(|| ExpiredConnection {
            mapped: self.mapped(),
            remote: (self.remote.address.into(), self.remote.port),
            near_expects: expected.by(near),
            far_expects: expected.by(far),
        })
    }

    /// Whether a packet of this flow still uses it.
    pub(super) fn is_live(&self, signal: Signal, now: Timestamp) -> bool {
        let reopened = signal.opens() && self.connection.is_closed();
        now <= after(self.last, self.live_secs()) && !reopened
    }

    /// Whether its port may not serve another flow to the same destination yet.
    pub(super) fn is_held(&self, now: Timestamp) -> bool {
        now <= self.held_until()
    }

    pub(super) fn mapped(&self) -> Mapped {
        Mapped {
            nic: self.nic,
            private: (self.private.address.into(), self.private.port),
            public: (self.public.address.into(), self.public.port),
        }
    }

    pub(super) fn live_secs(&self) -> u16 {
        match self.connection.state(Direction::Outbound) {
            None | Some(FlowState::Unanswered | FlowState::Answered) if self.sort.is_balanced() => self.idle_secs,
            None | Some(FlowState::Unanswered | FlowState::Answered) => UDP_IDLE_SECS,
            Some(FlowState::SynSent | FlowState::SynReceived) => HOLD_HALF_OPEN_SECS,
            Some(FlowState::Established | FlowState::Closing) => self.idle_secs,
            Some(FlowState::Closed) if self.connection.is_reset() => HOLD_RST_SECS,
            Some(FlowState::Closed) => HOLD_FIN_SECS,
        }
    }

    fn held_until(&self) -> Timestamp {
        let hold = if self.remote.protocol == Protocol::UDP { HOLD_UDP_SECS } else { 0 };
        after(self.last, self.live_secs().saturating_add(hold))
    }
}

impl<A: Address> Entry for Mapping<A> {
    fn chain(&mut self) -> &mut Link {
        &mut self.by_private
    }

    fn timer(&mut self) -> &mut Link {
        &mut self.timer
    }

    /// A connection that closes does not move its timer.
    fn next_look(&self, now: Timestamp) -> Timestamp {
        let until = self.held_until();
        if self.remote.protocol == Protocol::UDP { until } else { until.min(after(now, HOLD_RST_SECS)) }
    }

    fn end(&mut self) {}
}

const fn after(instant: Timestamp, secs: u16) -> Timestamp {
    Timestamp(instant.0.saturating_add(secs as u64 * 1_000_000_000))
}
