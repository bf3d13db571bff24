//! The terms of a NIC's flow records, and the numbers of rules in records and counters.

use std::num::NonZero;

use crate::dataplane::Direction;

/// The number of a security rule, stable as long as the network is up. NSG, direction and name determine it, not the
/// file's order, so counters and records outlive a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(NonZero<u32>);

impl RuleId {
    /// The n-th number, from zero.
    pub const fn new(index: u32) -> Self {
        Self(NonZero::<u32>::MIN.saturating_add(index))
    }

    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// The rules that let a flow pass: one for each NSG evaluated, in that order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deciders(pub [Option<RuleId>; 2]);

impl Deciders {
    /// A third one is not kept: a NIC has two NSGs at most (NSG-10).
    pub fn push(&mut self, rule: Option<RuleId>) {
        let Some(rule) = rule else { return };
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(rule);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = RuleId> {
        self.0.into_iter().flatten()
    }
}

impl FromIterator<RuleId> for Deciders {
    fn from_iter<I: IntoIterator<Item = RuleId>>(rules: I) -> Self {
        let mut deciders = Self::default();
        rules.into_iter().for_each(|rule| deciders.push(Some(rule)));
        deciders
    }
}

/// A group of records that are counted together: those of the NICs of one virtual network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(pub u16);

/// The terms of one NIC's flow records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTerms {
    /// Idle time after which a record ends, in seconds (NSG-24).
    pub timeout_secs: u16,
    /// The share that they count against, besides the NIC's own limit.
    pub share: Share,
    /// A TCP segment that follows no record must be a SYN (NSG-21, `tcpStateTracking`).
    pub strict_tcp: bool,
    /// Its [`FlowEvent`](super::FlowEvent)s are wanted.
    pub logged: bool,
    /// For flows admitted outbound and inbound: the set of rules of its NSGs with `flushConnection`. A record that
    /// other rules decided on is reviewed (NSG-23). None where no NSG has it.
    pub outbound_rules: Option<RulesMark>,
    pub inbound_rules: Option<RulesMark>,
}

/// Identifies a set of rules; equal sets have equal marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RulesMark(pub NonZero<u32>);

impl FlowTerms {
    #[inline]
    pub const fn rules(&self, admitted: Direction) -> Option<RulesMark> {
        match admitted {
            Direction::Outbound => self.outbound_rules,
            Direction::Inbound => self.inbound_rules,
        }
    }
}

impl Default for FlowTerms {
    /// Four minutes, and nothing else (NSG-24).
    fn default() -> Self {
        let (outbound_rules, inbound_rules) = (None, None);
        Self { timeout_secs: 240, share: Share(0), strict_tcp: false, logged: false, outbound_rules, inbound_rules }
    }
}
