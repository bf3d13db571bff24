//! Security rules as a classifier: the first rule that matches a tuple decides.
//!
//! What a rule means for a packet is decided here and nowhere else: which packets have ports (NSG-07), and what `Any`
//! and `Icmp` cover (NSG-08). Short lists are tried rule by rule, long ones by [`BitVector`]. The caller has already
//! resolved tags, application groups and directions.

mod bit_vector;

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::dataplane::RuleId;
use crate::wire::{Protocol, Tuple};

use bit_vector::BitVector;

/// An ordered list of rules, first match wins. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Acl {
    classifier: Classifier,
    /// By rule.
    outcomes: Arc<[AclMatch]>,
    flushes: bool,
    /// A rule restricts source ports.
    asks_src_ports: bool,
}

/// One rule, ready to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclRule {
    pub protocol: ProtocolMatch,
    /// Any of these; empty matches nothing (a tag may expand to nothing). Rules that name the same tag share its list.
    pub src: Arc<[IpNet]>,
    pub dst: Arc<[IpNet]>,
    /// Any of these; with `0..=65535` among them there is no restriction and packets without ports match too (NSG-07).
    pub src_ports: Vec<RangeInclusive<u16>>,
    pub dst_ports: Vec<RangeInclusive<u16>>,
    pub action: Action,
    /// Written by the user, not a default rule (PEER-22).
    pub custom: bool,
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Deny,
    /// Filters evaluated after it may still deny.
    Allow,
    /// No filter is evaluated after it (ADM-01).
    AlwaysAllow,
}

/// Which protocols a rule matches (NSG-07, NSG-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolMatch {
    Any,
    /// ICMP and ICMPv6.
    Icmp,
    Only(Protocol),
}

/// The outcome of the first matching rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclMatch {
    /// Index in the rules the ACL was built from.
    pub rule: u32,
    pub action: Action,
    pub custom: bool,
    /// Its number in counters and flow records.
    pub id: Option<RuleId>,
}

impl Acl {
    pub fn new(rules: Vec<AclRule>) -> Self {
        let outcome = |(rule, &AclRule { action, custom, .. })| AclMatch { rule, action, custom, id: None };
        let outcomes = (0..).zip(&rules).map(outcome).collect();
        let asks_src_ports = rules.iter().any(|rule| !rule.src_ports.contains(&(0..=u16::MAX)));
        Self { classifier: Classifier::new(rules), outcomes, flushes: false, asks_src_ports }
    }

    /// Gives its rules these numbers, in their order.
    #[must_use]
    pub fn numbered(mut self, ids: impl IntoIterator<Item = RuleId>) -> Self {
        let mut ids = ids.into_iter();
        self.outcomes = self.outcomes.iter().map(|outcome| AclMatch { id: ids.next(), ..*outcome }).collect();
        self
    }

    /// Marks it as part of an NSG with `flushConnection`: flows are reviewed when its rules change (NSG-23).
    #[must_use]
    pub fn flushing(mut self, flushes: bool) -> Self {
        self.flushes = flushes;
        self
    }

    pub fn flushes(&self) -> bool {
        self.flushes
    }

    /// Whether the first match may depend on the source port.
    pub fn asks_src_ports(&self) -> bool {
        self.asks_src_ports
    }

    /// A rule's number in counters and flow records.
    pub fn id(&self, rule: u32) -> Option<RuleId> {
        self.outcomes.get(rule as usize)?.id
    }

    /// The first rule that matches. NSGs end with deny-all default rules; admin rules may match nothing (ADM-03).
    #[inline]
    pub fn classify(&self, tuple: &Tuple) -> Option<AclMatch> {
        self.classifier.first_match(tuple).map(|rule| self.outcomes[rule])
    }

    /// How many rules it was built from.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Bytes held on the heap.
    pub fn memory(&self) -> usize {
        let classifier = match &self.classifier {
            Classifier::Linear(rules) => rules.iter().map(|rule| size_of::<AclRule>() + rule.memory()).sum(),
            Classifier::BitVector(bits) => size_of::<BitVector>() + bits.memory(),
        };
        classifier + size_of_val(&*self.outcomes)
    }
}

#[derive(Clone, Debug)]
enum Classifier {
    /// Every rule in order.
    Linear(Arc<[AclRule]>),
    BitVector(Arc<BitVector>),
}

impl Classifier {
    /// Prefixes and port ranges up to which trying every rule is as fast as five lookups. Measured: with four a rule,
    /// both take the same time at 25 rules.
    const LINEAR: usize = 100;

    fn new(rules: Vec<AclRule>) -> Self {
        let weight: usize = rules.iter().map(AclRule::weight).sum();
        if weight <= Self::LINEAR { Self::Linear(rules.into()) } else { Self::BitVector(BitVector::new(&rules).into()) }
    }

    #[inline]
    fn first_match(&self, tuple: &Tuple) -> Option<usize> {
        match self {
            Self::Linear(rules) => rules.iter().position(|rule| rule.matches(tuple)),
            Self::BitVector(bits) => bits.first_match(tuple),
        }
    }
}

impl AclRule {
    fn matches(&self, tuple: &Tuple) -> bool {
        self.protocol.matches(tuple.protocol) && self.matches_ports(tuple) && self.matches_addresses(tuple)
    }

    fn matches_ports(&self, tuple: &Tuple) -> bool {
        if has_ports(tuple.protocol) {
            self.dst_ports.iter().any(|range| range.contains(&tuple.dst_port))
                && self.src_ports.iter().any(|range| range.contains(&tuple.src_port))
        } else {
            !self.restricts_ports()
        }
    }

    fn restricts_ports(&self) -> bool {
        let all = 0..=u16::MAX;
        !(self.src_ports.contains(&all) && self.dst_ports.contains(&all))
    }

    fn matches_addresses(&self, tuple: &Tuple) -> bool {
        self.dst.iter().any(|prefix| prefix.contains(&tuple.dst))
            && self.src.iter().any(|prefix| prefix.contains(&tuple.src))
    }

    /// Entries of all its lists.
    fn weight(&self) -> usize {
        self.src.len() + self.dst.len() + self.src_ports.len() + self.dst_ports.len()
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.src)
            + size_of_val(&*self.dst)
            + size_of_val(&*self.src_ports)
            + size_of_val(&*self.dst_ports)
    }
}

impl Action {
    /// Whether it is not a deny.
    pub const fn allows(self) -> bool {
        match self {
            Self::Deny => false,
            Self::Allow | Self::AlwaysAllow => true,
        }
    }
}

impl ProtocolMatch {
    fn matches(self, protocol: Protocol) -> bool {
        match self {
            Self::Any => true,
            Self::Icmp => matches!(protocol, Protocol::ICMP | Protocol::ICMPV6),
            Self::Only(only) => only == protocol,
        }
    }
}

/// Whether a tuple's ports are ports: an ICMP echo has its identifier there, other protocols have zeros.
fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP)
}
