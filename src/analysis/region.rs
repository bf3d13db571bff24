//! The packets that a rule matches, as sets that can be subtracted.
//!
//! One idea: packets are points, and a rule is a few blocks (products of one set for each field). A block minus a block
//! is at most five blocks. So "is anything left for this rule?" has an exact answer. The address family is part of the
//! protocol's number here, and a protocol without ports has all of them (NSG-07).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::compile::EffectiveRule;
use crate::dataplane::{AclRule, Action, ProtocolMatch};
use crate::wire::Protocol;

/// With more pieces than this a rule counts as reachable.
const MAX_BLOCKS: usize = 2_000;
/// The same for the ranges in them; a service tag has thousands: 32 MB.
const MAX_RANGES: usize = 1_000_000;

/// Carried by the fabric (FAB-06); those with ports first.
const PROTOCOLS: [Protocol; 5] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ESP, Protocol::AH];
const WITH_PORTS: usize = 2;

/// What one rule matches.
pub(super) struct Region<'a> {
    rule: &'a EffectiveRule,
    blocks: Vec<Block>,
}

/// Regions, computed once for each list of addresses that rules share.
#[derive(Default)]
pub(super) struct Regions {
    /// By the list's address in memory, IPv4 and IPv6; the list is kept, so that its address is not reused.
    known: HashMap<*const IpNet, (Arc<[IpNet]>, [Ranges; 2])>,
}

impl Regions {
    pub(super) fn of<'a>(&mut self, rules: &'a [EffectiveRule]) -> Vec<Region<'a>> {
        rules.iter().map(|rule| Region { rule, blocks: self.blocks(&rule.matches) }).collect()
    }

    /// A rule's packets: by family, and separately for protocols with and without ports.
    fn blocks(&mut self, rule: &AclRule) -> Vec<Block> {
        let all = 0..=u16::MAX;
        let restricted = !(rule.src_ports.contains(&all) && rule.dst_ports.contains(&all));
        let ports = |ranges: &[std::ops::RangeInclusive<u16>]| {
            Ranges::of(ranges.iter().map(|range| (u128::from(*range.start()), u128::from(*range.end()))))
        };
        let mut blocks = Vec::new();
        for ((ipv4, src), dst) in
            [true, false].into_iter().zip(self.addresses(&rule.src)).zip(self.addresses(&rule.dst))
        {
            let (with, without) = (protocols(rule.protocol, ipv4, true), protocols(rule.protocol, ipv4, false));
            blocks.push(Block([with, ports(&rule.src_ports), ports(&rule.dst_ports), src.clone(), dst.clone()]));
            if !restricted {
                let any = ports(std::slice::from_ref(&all));
                blocks.push(Block([without, any.clone(), any, src, dst]));
            }
        }
        blocks.retain(|block| !block.0.iter().any(Ranges::is_empty));
        blocks
    }

    fn addresses(&mut self, list: &Arc<[IpNet]>) -> [Ranges; 2] {
        let of = |ipv4| Ranges::of(list.iter().filter_map(|prefix| range(prefix, ipv4)));
        let known = self.known.entry(list.as_ptr()).or_insert_with(|| (list.clone(), [of(true), of(false)]));
        known.1.clone()
    }
}

/// The rules that together match all packets of `rule`; None if some packet reaches it, or if it matches nothing.
pub(super) fn cover<'a>(earlier: &[Region<'a>], rule: &Region<'_>) -> Option<Vec<&'a EffectiveRule>> {
    cover_after(&[], earlier, rule)
}

/// The same after admin rules: packets that they allow reach the rules after them, packets that they deny or always
/// allow do not (ADM-01).
pub(super) fn cover_after<'a>(
    admin: &[Region<'a>],
    earlier: &[Region<'a>],
    rule: &Region<'_>,
) -> Option<Vec<&'a EffectiveRule>> {
    let mut left = rule.blocks.clone();
    let mut covering = Vec::new();
    if left.is_empty() {
        return None;
    }
    let mut passed = Vec::new();
    for admin in admin {
        let taken = &admin.blocks;
        let common: Vec<_> = left.iter().flat_map(|left| taken.iter().filter_map(|taken| left.and(taken))).collect();
        if common.is_empty() {
            continue;
        }
        match admin.rule.matches.action {
            Action::Allow => passed.extend(common),
            Action::AlwaysAllow | Action::Deny => covering.push(admin.rule),
        }
        left = minus(left, taken);
        if too_many(left.iter().chain(&passed)) {
            return None;
        }
    }
    left.extend(passed);
    if left.is_empty() {
        return Some(covering);
    }
    for earlier in earlier {
        let taken = &earlier.blocks;
        if !taken.iter().any(|taken| left.iter().any(|left| left.meets(taken))) {
            continue;
        }
        covering.push(earlier.rule);
        left = minus(left, taken);
        if left.is_empty() {
            return Some(covering);
        }
        if too_many(left.iter()) {
            return None;
        }
    }
    None
}

fn minus(left: Vec<Block>, taken: &[Block]) -> Vec<Block> {
    taken.iter().fold(left, |left, taken| left.into_iter().flat_map(|block| block.minus(taken)).collect())
}

fn too_many<'a>(blocks: impl Iterator<Item = &'a Block> + Clone) -> bool {
    let ranges = blocks.clone().flat_map(|block| &block.0).map(|ranges| ranges.0.len());
    blocks.count() > MAX_BLOCKS || ranges.sum::<usize>() > MAX_RANGES
}

/// Protocol, source ports, destination ports, source, destination: the short ones first. None of them empty.
#[derive(Clone)]
struct Block([Ranges; 5]);

impl Block {
    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a.meets(b))
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let common: [Ranges; 5] = std::array::from_fn(|field| self.0[field].and(&other.0[field]));
        (!common.iter().any(Ranges::is_empty)).then_some(Self(common))
    }

    /// The rest: for each field the part outside of the other's, with the fields before it inside.
    fn minus(mut self, other: &Self) -> Vec<Self> {
        if !self.meets(other) {
            return vec![self];
        }
        let mut left = Vec::new();
        for (field, theirs) in other.0.iter().enumerate() {
            let outside = self.0[field].minus(theirs);
            if !outside.is_empty() {
                let mut block = self.clone();
                block.0[field] = outside;
                left.push(block);
            }
            self.0[field] = self.0[field].and(theirs);
        }
        left
    }
}

/// Protocols as numbers, different for each family.
fn protocols(matched: ProtocolMatch, ipv4: bool, with_ports: bool) -> Ranges {
    let covers = |protocol: Protocol| match matched {
        ProtocolMatch::Any => true,
        ProtocolMatch::Icmp => protocol == Protocol::ICMP,
        ProtocolMatch::Only(only) => only == protocol,
    };
    let numbers =
        PROTOCOLS.iter().enumerate().filter(|(i, protocol)| (*i < WITH_PORTS) == with_ports && covers(**protocol));
    let offset = if ipv4 { 0 } else { PROTOCOLS.len() };
    Ranges::of(numbers.map(|(i, _)| ((i + offset) as u128, (i + offset) as u128)))
}

fn range(prefix: &IpNet, ipv4: bool) -> Option<(u128, u128)> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    (prefix.addr().is_ipv4() == ipv4).then(|| (bits(prefix.network()), bits(prefix.broadcast())))
}

/// A set of numbers: inclusive ranges, sorted and disjoint. Blocks share them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges(Arc<[(u128, u128)]>);

impl Ranges {
    fn of(ranges: impl Iterator<Item = (u128, u128)>) -> Self {
        let mut sorted: Vec<_> = ranges.collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        // The first that ends at or after it is the only one that may meet it and begin first.
        let meets = |&(first, last): &(u128, u128)| {
            many.0.get(many.0.partition_point(|(_, end)| *end < first)).is_some_and(|(start, _)| *start <= last)
        };
        few.0.iter().any(meets)
    }

    fn and(&self, other: &Self) -> Self {
        if self.is(other) {
            return self.clone();
        }
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                both.push((first, last));
            }
            if x.1 < y.1 {
                a.next()
            } else {
                b.next()
            };
        }
        Self(both.into())
    }

    fn minus(&self, other: &Self) -> Self {
        if self.is(other) {
            return Self([].into());
        }
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for &(start, last) in &*self.0 {
            // The undecided part begins here; None once nothing is left.
            let mut first = Some(start);
            while let (Some(open), Some(&&(from, to))) = (first, holes.peek()) {
                if from > last {
                    break;
                }
                if to >= open {
                    if from > open {
                        left.push((open, from - 1));
                    }
                    first = (to < last).then(|| to + 1);
                }
                // It may reach into the next range, too.
                if to > last {
                    break;
                }
                holes.next();
            }
            left.extend(first.map(|first| (first, last)));
        }
        Self(left.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::ops::RangeInclusive;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::compile::{RuleOwner, RuleRef};
    use crate::dataplane::{Acl, Action, RuleId};
    use crate::model::NsgIx;
    use crate::wire::Tuple;

    const PREFIXES: [&str; 9] = [
        "0.0.0.0/0",
        "10.0.0.0/30",
        "10.0.0.0/31",
        "10.0.0.2/31",
        "10.0.0.1/32",
        "::/0",
        "fd00::/127",
        "fd00::1/128",
        "fd00::/128",
    ];
    const PORTS: [RangeInclusive<u16>; 6] = [0..=65535, 0..=79, 80..=80, 80..=90, 81..=65535, 1..=65535];

    fn rule() -> impl Strategy<Value = AclRule> {
        let matched = [
            ProtocolMatch::Any,
            ProtocolMatch::Icmp,
            ProtocolMatch::Only(Protocol::TCP),
            ProtocolMatch::Only(Protocol::UDP),
            ProtocolMatch::Only(Protocol::AH),
        ];
        let prefixes = || {
            let some = subsequence(PREFIXES.to_vec(), 1..=3);
            some.prop_map(|some| some.iter().map(|prefix| prefix.parse().unwrap()).collect::<Arc<[IpNet]>>())
        };
        let ports = || prop_oneof![2 => Just(vec![0..=65535]), 3 => subsequence(PORTS.to_vec(), 1..=2)];
        (select(matched.to_vec()), prefixes(), prefixes(), ports(), ports()).prop_map(
            |(protocol, src, dst, src_ports, dst_ports)| AclRule {
                protocol,
                src,
                dst,
                src_ports,
                dst_ports,
                action: Action::Allow,
                custom: true,
            },
        )
    }

    /// One packet of each kind that no rule above distinguishes.
    fn packets() -> Vec<Tuple> {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let four = addresses(&["10.0.0.0", "10.0.0.1", "10.0.0.2", "9.9.9.9"]);
        let six = addresses(&["fd00::", "fd00::1", "fd00::2"]);
        let ends = |all: &[IpAddr]| -> Vec<_> { all.iter().flat_map(|&a| all.iter().map(move |&b| (a, b))).collect() };
        let mut packets = Vec::new();
        for (src, dst) in [ends(&four), ends(&six)].concat() {
            let icmp = if src.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
            for protocol in [icmp, Protocol::AH, Protocol::ESP] {
                packets.push(Tuple { src, dst, protocol, src_port: 0, dst_port: 0 });
            }
            for protocol in [Protocol::TCP, Protocol::UDP] {
                for src_port in [0, 1, 80, 85, 91] {
                    for dst_port in [0, 1, 80, 85, 91] {
                        packets.push(Tuple { src, dst, protocol, src_port, dst_port });
                    }
                }
            }
        }
        packets
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// A rule is covered exactly when the classifier never gives it a packet that it would match alone.
        #[test]
        fn a_rule_is_covered_exactly_if_no_packet_comes_to_it(rules in vec(rule(), 2..6)) {
            let (effective, last) = (effective(&rules), rules.len() - 1);
            let alone = Acl::new(vec![rules[last].clone()]);
            let all = Acl::new(rules);
            let matches_any = packets().iter().any(|packet| alone.classify(packet).is_some());
            let reached = packets().iter().any(|packet| comes_to(&all, last, packet));
            let regions = Regions::default().of(&effective);
            let covered = cover(&regions[..last], &regions[last]).is_some();
            prop_assert_eq!(covered, matches_any && !reached);
        }

        /// ADM-01: with admin rules before it, only packets that they do not match or allow can come to a rule.
        #[test]
        fn a_rule_behind_admin_rules_is_covered_exactly_if_no_packet_comes_to_it(
            admin in vec((rule(), select(vec![Action::Deny, Action::Allow, Action::AlwaysAllow])), 1..4),
            rules in vec(rule(), 1..4),
        ) {
            let admin: Vec<_> = admin.into_iter().map(|(rule, action)| AclRule { action, ..rule }).collect();
            let (before, effective, last) = (effective(&admin), effective(&rules), rules.len() - 1);
            let alone = Acl::new(vec![rules[last].clone()]);
            let (admin, all) = (Acl::new(admin), Acl::new(rules));
            let goes_on = |packet: &Tuple| admin.classify(packet).is_none_or(|found| found.action == Action::Allow);
            let matches_any = packets().iter().any(|packet| alone.classify(packet).is_some());
            let reached = packets().iter().any(|packet| goes_on(packet) && comes_to(&all, last, packet));
            let mut regions = Regions::default();
            let (before, regions) = (regions.of(&before), regions.of(&effective));
            let covered = cover_after(&before, &regions[..last], &regions[last]).is_some();
            prop_assert_eq!(covered, matches_any && !reached);
        }
    }

    fn comes_to(acl: &Acl, rule: usize, packet: &Tuple) -> bool {
        acl.classify(packet).is_some_and(|found| found.rule as usize == rule)
    }

    fn effective(rules: &[AclRule]) -> Vec<EffectiveRule> {
        let rules = rules.iter().enumerate();
        rules
            .map(|(name, matches)| EffectiveRule {
                rule: RuleRef {
                    owner: RuleOwner::Nsg(NsgIx(0)),
                    name: name.to_string(),
                    priority: 100,
                    action: matches.action,
                    id: RuleId::new(0),
                },
                matches: matches.clone(),
            })
            .collect()
    }
}
