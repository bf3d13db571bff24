//! One NIC's record of one flow: it lets the flow's packets pass, or refuses them.

use std::ops::AddAssign;

use crate::dataplane::{Direction, NicId, Timestamp};
use crate::wire::Tuple;

use super::key::FlowKey;
use super::slab::{END, Entry, Link};
use super::tcp::{Connection, FlowState, Signal};
use super::terms::{Deciders, FlowTerms, RulesMark};

/// Seconds that a closed connection's record stays for late segments: a last ACK, a repeated FIN. Azure does not
/// document its own; Linux's conntrack waits as long after a reset (`nf_conntrack_tcp_timeout_close`).
pub(super) const LINGER_SECS: u16 = 10;

/// Nanoseconds of silence after which an unanswered flow may be pushed out: an answer takes less.
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

/// What a packet adds to its flow's record.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    pub traffic: Traffic,
    pub signal: Signal,
    /// Its TTL or hop limit.
    pub ttl: u8,
    pub at: Timestamp,
}

/// A record as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    pub nic: NicId,
    /// The direction of the packet that made it.
    pub admitted: Direction,
    /// Of that packet.
    pub tuple: Tuple,
    pub state: FlowState,
    /// A change of rules under `flushConnection` ended it: its packets are dropped (NSG-23).
    pub refused: bool,
    /// The rules that allowed it; of a refused flow, the rule that denied it.
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
    /// The next record in the same timer slot.
    pub(super) timer: Link,
    rules: Deciders,
    /// The rules that last decided on it, if its NIC has an NSG with `flushConnection`.
    judged_by: Option<RulesMark>,
    /// Its [`RecordState`] in the upper bits, its idle time in seconds in the lower.
    state_and_timeout: u16,
    connection: Connection,
    /// TTL of the guest's last packet.
    ttl: u8,
}

/// Bits of an idle time: 30 minutes are the longest (NSG-24).
const TIMEOUT_BITS: u32 = 13;
const TIMEOUT_MAX: u16 = (1 << TIMEOUT_BITS) - 1;

/// Whether it lets packets pass, and the direction of its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum RecordState {
    /// A free slot.
    Free,
    /// A free slot that is still in the wheel.
    PushedOut,
    AdmittedOutbound,
    AdmittedInbound,
    RefusedOutbound,
    RefusedInbound,
}

impl RecordState {
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

/// What the record of a packet's tuple says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It follows the record and was counted (NSG-20).
    Passes,
    /// The same, with a lower TTL than the packet before: perhaps a loop (FAB-14).
    PassesWithFewerHops,
    /// The rules have changed since they decided on its flow, which was admitted in this direction (NSG-23): call
    /// [`FlowTable::review`](super::FlowTable::review).
    Outdated(Direction),
    /// A review refused its flow, which was admitted in this direction.
    Refused(Direction),
    /// There is none, or a new flow replaces it: the rules decide.
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
            state_and_timeout: RecordState::new(admitted, false).with(terms.timeout_secs),
            connection: Connection::NONE,
            ttl: 0,
        }
    }

    /// What this record says of a packet; counts the packet if it follows.
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
        if self.is_refused() {
            self.hear(direction, passing);
            return Follow::Refused(admitted);
        }
        let fewer_hops = direction == Direction::Outbound && passing.ttl < self.ttl;
        self.touch(direction, passing);
        if fewer_hops { Follow::PassesWithFewerHops } else { Follow::Passes }
    }

    /// Whether a packet starts a new flow that replaces this record.
    #[inline]
    pub(super) fn gives_way(&self, passing: &Passing, terms: &FlowTerms) -> bool {
        self.lapsed(passing.at)
            || passing.signal.opens() && (self.connection.is_closed() || self.is_refused() || passing.signal.renews())
            || self.is_refused() && terms.rules(self.admitted()).is_none()
    }

    /// Notes when a packet came and what it said.
    #[inline]
    pub(super) const fn hear(&mut self, direction: Direction, passing: &Passing) {
        self.last = passing.at;
        self.connection.note(direction, passing.signal);
    }

    /// The same of one that goes on, and counts it.
    #[inline]
    pub(super) fn touch(&mut self, direction: Direction, passing: &Passing) {
        self.hear(direction, passing);
        match direction {
            Direction::Outbound => {
                self.sent += passing.traffic;
                self.ttl = passing.ttl;
            }
            Direction::Inbound => self.received += passing.traffic,
        }
    }

    /// Counts packets that the kernel carried, the last of them at `last`. `signal` has the flags of all that it has carried so
    /// far, so those of former readings too.
    pub(super) fn count(&mut self, direction: Direction, traffic: Traffic, signal: Signal, last: Timestamp) {
        if last > self.last {
            self.last = last;
            self.connection.note(direction, signal);
        } else {
            self.connection.note_earlier(direction, signal);
        }
        match direction {
            Direction::Outbound => self.sent += traffic,
            Direction::Inbound => self.received += traffic,
        }
    }

    /// Its connection is over.
    pub(super) const fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// TTL of the guest's last packet.
    pub(super) const fn ttl(&self) -> u8 {
        self.ttl
    }

    pub(super) const fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Stores a review: which rules decided, and how. The record names the rules that let its flow pass, until others refuse it.
    pub(super) fn reevaluate(&mut self, by: Option<RulesMark>, verdict: Result<Deciders, Deciders>) {
        let was_refused = self.is_refused();
        self.judged_by = by;
        self.set_state(RecordState::new(self.admitted(), verdict.is_err()));
        self.rules = match verdict {
            Err(rules) => rules,
            Ok(rules) if was_refused => rules,
            Ok(_) => self.rules,
        };
    }

    /// Idle for longer than its timeout (NSG-24): no packet follows it, whether it was swept yet or not.
    #[inline]
    pub(super) const fn lapsed(&self, now: Timestamp) -> bool {
        now.0 > self.deadline().0
    }

    /// The last instant at which a packet may follow it.
    #[inline]
    pub(super) const fn deadline(&self) -> Timestamp {
        let timeout_secs = self.state_and_timeout & TIMEOUT_MAX;
        let closed = self.connection.is_closed() && timeout_secs > LINGER_SECS;
        let timeout_secs = if closed { LINGER_SECS } else { timeout_secs };
        Timestamp(self.last.0.saturating_add(timeout_secs as u64 * 1_000_000_000))
    }

    /// Whether it may be pushed out: it is unanswered and silent for a while, or expired.
    pub(super) fn gives_room(&self, now: Timestamp) -> bool {
        let answered = self.sent.packets > 0 && self.received.packets > 0;
        match self.state() {
            RecordState::Free | RecordState::PushedOut => false,
            RecordState::RefusedOutbound | RecordState::RefusedInbound => self.lapsed(now),
            RecordState::AdmittedOutbound | RecordState::AdmittedInbound => {
                self.lapsed(now) || !answered && now.0.saturating_sub(self.last.0) >= SILENCE
            }
        }
    }

    /// Frees its slot, which stays in the wheel; `next` is the next such slot.
    pub(super) const fn push_out(&mut self, next: Link) {
        self.set_state(RecordState::PushedOut);
        self.chain = next;
    }

    pub(super) const fn is_pushed_out(&self) -> bool {
        matches!(self.state(), RecordState::PushedOut)
    }

    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.state(), RecordState::RefusedOutbound | RecordState::RefusedInbound)
    }

    /// None for a free slot.
    pub(super) fn view(&self) -> Option<FlowRecord> {
        if matches!(self.state(), RecordState::Free | RecordState::PushedOut) {
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

    const fn state(&self) -> RecordState {
        match self.state_and_timeout >> TIMEOUT_BITS {
            0 => RecordState::Free,
            1 => RecordState::PushedOut,
            2 => RecordState::AdmittedOutbound,
            3 => RecordState::AdmittedInbound,
            4 => RecordState::RefusedOutbound,
            _ => RecordState::RefusedInbound,
        }
    }

    const fn set_state(&mut self, state: RecordState) {
        self.state_and_timeout = state.with(self.state_and_timeout & TIMEOUT_MAX);
    }

    const fn admitted(&self) -> Direction {
        match self.state() {
            RecordState::AdmittedInbound | RecordState::RefusedInbound => Direction::Inbound,
            // A free slot is in no chain, so its direction does not matter.
            RecordState::AdmittedOutbound
            | RecordState::RefusedOutbound
            | RecordState::Free
            | RecordState::PushedOut => Direction::Outbound,
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
        self.set_state(RecordState::Free);
    }
}
