//! One NIC's record of one flow: what lets its packets pass, or holds them up.

use std::ops::AddAssign;

use crate::dataplane::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

use super::key::FlowKey;
use super::slab::{END, Entry, Link};
use super::tcp::{Connection, FlowState, Signal};
use super::terms::{Deciders, FlowTerms, RulesMark};

/// Seconds that a closed connection's record stays for what is still under way: a last ACK, a repeated FIN. Azure does not
/// tell its own; Linux's conntrack waits as long after a reset (`nf_conntrack_tcp_timeout_close`).
pub(super) const LINGER_SECS: u16 = 10;

/// Nanoseconds after which a flow that nobody answered may be pushed out: an answer takes less.
const SILENCE: u64 = 1_000_000_000;

/// Packets as on a wire, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// What a packet brings to its flow's record.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    pub traffic: Traffic,
    pub signal: Signal,
    /// Hops that it has to go.
    pub ttl: u8,
    pub at: Timestamp,
}

/// A record as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    pub nic: NicId,
    /// The direction of the packet that made it.
    pub admitted: Direction,
    /// Of that packet.
    pub tuple: Tuple,
    pub state: FlowState,
    /// A change of rules under `flushConnection` has ended it: its packets are dropped (NSG-23).
    pub refused: bool,
    /// The rules that let it pass; of a refused one, the rule that did not.
    pub rules: Deciders,
    pub begun: Timestamp,
    pub last: Timestamp,
    /// From the guest.
    pub sent: Traffic,
    /// To the guest.
    pub received: Traffic,
}

/// 112 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) key: FlowKey,
    pub(super) last: Timestamp,
    begun: Timestamp,
    sent: Traffic,
    received: Traffic,
    /// The next record with the same hash, or the next free slot.
    pub(super) chain: Link,
    /// The next record that the timer looks at together with this one.
    pub(super) timer: Link,
    rules: Deciders,
    /// The rules that it was judged by, where its NIC flushes.
    judged_by: Option<RulesMark>,
    /// Its [`Standing`], and below that its idle time in seconds.
    standing_and_timeout: u16,
    connection: Connection,
    /// Hops that the guest's last packet had to go.
    ttl: u8,
}

/// Bits of an idle time: 30 minutes are the longest (NSG-24).
const TIMEOUT_BITS: u32 = 13;
const TIMEOUT_MAX: u16 = (1 << TIMEOUT_BITS) - 1;

/// Whether it lets pass, and which direction its first packet took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Standing {
    /// A free slot.
    Gone,
    /// A free slot that hangs in the wheel.
    PushedOut,
    AdmittedOutbound,
    AdmittedInbound,
    RefusedOutbound,
    RefusedInbound,
}

impl Standing {
    const fn new(admitted: Direction, refused: bool) -> Self {
        match (admitted, refused) {
            (Direction::Outbound, false) => Self::AdmittedOutbound,
            (Direction::Inbound, false) => Self::AdmittedInbound,
            (Direction::Outbound, true) => Self::RefusedOutbound,
            (Direction::Inbound, true) => Self::RefusedInbound,
        }
    }

    const fn with(self, timeout_secs: u16) -> u16 {
        let timeout_secs = if timeout_secs < TIMEOUT_MAX { timeout_secs } else { TIMEOUT_MAX };
        (self as u16) << TIMEOUT_BITS | timeout_secs
    }
}

/// How a packet stands to the record of its tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It follows the record and was counted (NSG-20).
    Passes,
    /// The same, with fewer hops to go than the packet before it had: perhaps it was here before (FAB-14).
    PassesWithFewerHops,
    /// The rules have changed since its flow, which was admitted in this direction, was judged (NSG-23): call
    /// [`FlowTable::review`](super::FlowTable::review).
    Outdated(Direction),
    /// It belongs to a flow that a review has refused, once admitted in this direction.
    Refused(Direction),
    /// There is none, or it gives way: rules decide.
    Nothing,
}

impl Record {
    /// A record without a packet yet.
    pub(super) const fn new(
        key: FlowKey,
        admitted: Direction,
        rules: Deciders,
        terms: &FlowTerms,
        now: Timestamp,
    ) -> Self {
        let none = Traffic { packets: 0, bytes: 0 };
        Self {
            key,
            last: now,
            begun: now,
            sent: none,
            received: none,
            chain: END,
            timer: END,
            rules,
            judged_by: terms.rules(admitted),
            standing_and_timeout: Standing::new(admitted, false).with(terms.timeout_secs),
            connection: Connection::NONE,
            ttl: 0,
        }
    }

    /// How a packet stands to this record; counts it if it follows.
    #[inline]
    pub(super) fn meet(&mut self, direction: Direction, passing: &Passing, terms: &FlowTerms) -> Follow {
        if self.gives_way(passing, terms) {
            return Follow::Nothing;
        }
        let admitted = self.admitted();
        let rules = terms.rules(admitted);
        if rules.is_some() && rules != self.judged_by {
            return Follow::Outdated(admitted);
        }
        let fewer_hops = direction == Direction::Outbound && passing.ttl < self.ttl;
        self.touch(direction, passing);
        if self.is_refused() {
            Follow::Refused(admitted)
        } else if fewer_hops {
            Follow::PassesWithFewerHops
        } else {
            Follow::Passes
        }
    }

    /// Whether a packet is the first of a new flow, though there is a record of its tuple.
    #[inline]
    pub(super) fn gives_way(&self, passing: &Passing, terms: &FlowTerms) -> bool {
        self.lapsed(passing.at)
            || passing.signal.opens() && (self.connection.is_closed() || self.is_refused())
            || self.is_refused() && terms.rules(self.admitted()).is_none()
    }

    /// Takes note of a packet.
    #[inline]
    pub(super) fn touch(&mut self, direction: Direction, passing: &Passing) {
        self.last = passing.at;
        self.connection.note(direction, passing.signal);
        match direction {
            Direction::Outbound => {
                self.sent += passing.traffic;
                self.ttl = passing.ttl;
            }
            Direction::Inbound => self.received += passing.traffic,
        }
    }

    /// Stands by these rules from now on: refused by one of them, or not.
    pub(super) fn judge(&mut self, by: Option<RulesMark>, refused: Option<Deciders>) {
        self.judged_by = by;
        self.stand(Standing::new(self.admitted(), refused.is_some()));
        self.rules = refused.unwrap_or(self.rules);
    }

    /// Idle for longer than its timeout (NSG-24): no packet follows it any more, whether swept yet or not.
    #[inline]
    pub(super) const fn lapsed(&self, now: Timestamp) -> bool {
        now.0 > self.deadline().0
    }

    /// The last instant at which a packet may follow it.
    #[inline]
    pub(super) const fn deadline(&self) -> Timestamp {
        let timeout_secs = self.standing_and_timeout & TIMEOUT_MAX;
        let closed = self.connection.is_closed() && timeout_secs > LINGER_SECS;
        let timeout_secs = if closed { LINGER_SECS } else { timeout_secs };
        Timestamp(self.last.0.saturating_add(timeout_secs as u64 * 1_000_000_000))
    }

    /// Whether it makes room where there is none: nobody has answered, and nothing has come for a while; or its time is over.
    pub(super) fn gives_room(&self, now: Timestamp) -> bool {
        let answered = self.sent.packets > 0 && self.received.packets > 0;
        match self.standing() {
            Standing::Gone | Standing::PushedOut => false,
            Standing::RefusedOutbound | Standing::RefusedInbound => self.lapsed(now),
            Standing::AdmittedOutbound | Standing::AdmittedInbound => {
                self.lapsed(now) || !answered && now.0.saturating_sub(self.last.0) >= SILENCE
            }
        }
    }

    /// Frees its slot, which stays in the wheel, and is followed by another such.
    pub(super) const fn push_out(&mut self, next: Link) {
        self.stand(Standing::PushedOut);
        self.chain = next;
    }

    pub(super) const fn is_pushed_out(&self) -> bool {
        matches!(self.standing(), Standing::PushedOut)
    }

    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.standing(), Standing::RefusedOutbound | Standing::RefusedInbound)
    }

    /// None for a free slot.
    pub(super) fn view(&self) -> Option<FlowRecord> {
        if matches!(self.standing(), Standing::Gone | Standing::PushedOut) {
            return None;
        }
        let (admitted, refused) = (self.admitted(), self.is_refused());
        let &Self { key, last, begun, sent, received, rules, connection, .. } = self;
        let answered = sent.packets > 0 && received.packets > 0;
        let state = if answered { FlowState::Answered } else { FlowState::Unanswered };
        Some(FlowRecord {
            nic: key.nic(),
            admitted,
            tuple: key.tuple(admitted),
            state: connection.state(admitted).unwrap_or(state),
            refused,
            rules,
            begun,
            last,
            sent,
            received,
        })
    }

    const fn standing(&self) -> Standing {
        match self.standing_and_timeout >> TIMEOUT_BITS {
            0 => Standing::Gone,
            1 => Standing::PushedOut,
            2 => Standing::AdmittedOutbound,
            3 => Standing::AdmittedInbound,
            4 => Standing::RefusedOutbound,
            _ => Standing::RefusedInbound,
        }
    }

    const fn stand(&mut self, standing: Standing) {
        self.standing_and_timeout = standing.with(self.standing_and_timeout & TIMEOUT_MAX);
    }

    const fn admitted(&self) -> Direction {
        match self.standing() {
            Standing::AdmittedInbound | Standing::RefusedInbound => Direction::Inbound,
            // A free slot is in no chain, so nobody asks it.
            Standing::AdmittedOutbound | Standing::RefusedOutbound | Standing::Gone | Standing::PushedOut => {
                Direction::Outbound
            }
        }
    }
}

impl Entry for Record {
    #[inline]
    fn chain(&mut self) -> &mut Link {
        &mut self.chain
    }

    #[inline]
    fn timer(&mut self) -> &mut Link {
        &mut self.timer
    }

    /// A connection that closes does not move its timer.
    fn next_look(&self, now: Timestamp) -> Timestamp {
        let deadline = self.deadline();
        if self.connection == Connection::NONE {
            return deadline;
        }
        deadline.min(Timestamp(now.0.saturating_add(u64::from(LINGER_SECS) * 1_000_000_000)))
    }

    fn end(&mut self) {
        self.stand(Standing::Gone);
    }
}
