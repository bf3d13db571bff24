//! Security rules as a classifier. (interface; bodies to come)
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::wire::{Protocol, Tuple};

/// An ordered list of rules, first match wins.
#[derive(Debug)]
pub struct Acl {}

/// One rule, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    pub protocol: ProtocolMatch,
    /// Any of these; empty matches nothing (a tag may expand to nothing).
    pub src: Vec<IpNet>,
    pub dst: Vec<IpNet>,
    /// Any of these; `[0..=65535]` is no restriction and also matches packets without ports (NSG-07).
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

#[allow(unused_variables, clippy::todo)]
impl Acl {
    pub fn new(rules: Vec<AclRule>) -> Self {
        todo!()
    }
    /// The first rule that matches. NSGs end with deny-all default rules, so `None` only arises for a hand-made ACL.
    pub fn classify(&self, tuple: &Tuple) -> Option<AclMatch> {
        todo!()
    }
}
