//! Security rules as a classifier: the first rule that matches a tuple decides.
//!
//! What a rule's words mean for a packet is settled here and nowhere else: which packets have ports (NSG-07), what
//! `Any` and `Icmp` cover (NSG-08). Tags, application groups and directions were expanded by whoever built the rules.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::wire::{Protocol, Tuple};

/// An ordered list of rules, first match wins.
#[derive(Debug)]
pub struct Acl {
    rules: Vec<AclRule>,
}

/// One rule, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    pub protocol: ProtocolMatch,
    /// Any of these; empty matches nothing (a tag may expand to nothing).
    pub src: Vec<IpNet>,
    pub dst: Vec<IpNet>,
    /// Any of these; with `0..=65535` among them there is no restriction and packets without ports match too (NSG-07).
    pub src_ports: Vec<RangeInclusive<u16>>,
    pub dst_ports: Vec<RangeInclusive<u16>>,
    pub allow: bool,
    /// Written by the user, not a default rule (PEER-22).
    pub custom: bool,
}

/// Which protocols a rule matches (NSG-07, NSG-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolMatch {
    Any,
    /// ICMP and ICMPv6.
    Icmp,
    Only(Protocol),
}

/// What the first matching rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclMatch {
    /// Index in the rules the ACL was built from.
    pub rule: u32,
    pub allow: bool,
    pub custom: bool,
}

impl Acl {
    pub fn new(rules: Vec<AclRule>) -> Self {
        Self { rules }
    }

    /// The first rule that matches. NSGs end with deny-all default rules, so `None` only arises for a hand-made ACL.
    #[inline]
    pub fn classify(&self, tuple: &Tuple) -> Option<AclMatch> {
        let rule = self.rules.iter().position(|rule| rule.matches(tuple))?;
        let AclRule { allow, custom, .. } = self.rules[rule];
        Some(AclMatch { rule: rule as u32, allow, custom })
    }
}

impl AclRule {
    fn matches(&self, tuple: &Tuple) -> bool {
        self.protocol.matches(tuple.protocol)
            && ports_match(&self.dst_ports, tuple.protocol, tuple.dst_port)
            && ports_match(&self.src_ports, tuple.protocol, tuple.src_port)
            && contains(&self.dst, tuple.dst)
            && contains(&self.src, tuple.src)
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

fn ports_match(ranges: &[RangeInclusive<u16>], protocol: Protocol, port: u16) -> bool {
    if matches!(protocol, Protocol::TCP | Protocol::UDP) {
        ranges.iter().any(|range| range.contains(&port))
    } else {
        ranges.contains(&(0..=u16::MAX))
    }
}

fn contains(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}
