//! Why rules decided as they did: which nearly matched, which came too late, and which ranges a tag has here.
//!
//! One idea: `process` has decided by one rule; the list that holds the rule is compared with the packet again, only to
//! describe it. Nothing here decides.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::analysis::query::names::{Names, address_field};
use crate::analysis::walk::Walk;
use crate::analysis::walk::masquerade::GuestStep;
use crate::analysis::walk::round_trip::RoundTrip;
use crate::compile::{EffectiveRule, connected, written_addresses};
use crate::dataplane::{AclId, Action, Admission, Direction, NicId, PacketEnd, ProtocolMatch, Step};
use crate::model::{self, AddressPrefix, RouteNextHop, ServiceTag, SubnetIx};
use crate::wire::{Protocol, Tuple};

use super::fixes::overridden_routes::OverriddenRoute;

/// Rules listed for one denial.
const LISTED: usize = 4;
/// Priorities from here on belong to default rules (NSG-06).
const DEFAULT_RULES: u16 = 65000;

/// The reasons for a round trip's rule decisions, request first.
pub(in crate::analysis) fn reasons(names: Names<'_>, trip: &RoundTrip) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for walk in trip.walks() {
        for evaluation in evaluations(names, walk) {
            reasons.extend(evaluation.denial());
            reasons.extend(evaluation.widened_tag());
        }
        // Only the sender's own routes: an appliance's traffic usually uses the peering on purpose.
        reasons.extend(OverriddenRoute::of_sender(names, walk).map(|lost| lost.steered(walk.dst)));
    }
    let mut seen = std::collections::HashSet::new();
    reasons.retain(|reason| seen.insert(reason.clone()));
    reasons
}

/// A packet at a list of rules, and the rule that decided.
struct Evaluation<'a> {
    names: Names<'a>,
    nic: NicId,
    direction: Direction,
    acl: AclId,
    rule: usize,
    allow: bool,
    packet: Tuple,
}

/// Every rule decision on a packet's path, with the packet as the rules saw it.
fn evaluations<'a>(names: Names<'a>, walk: &Walk) -> Vec<Evaluation<'a>> {
    let mut packet = walk.first;
    let mut all = Vec::new();
    for leg in &walk.legs {
        match leg.guest {
            GuestStep::Unchanged => {}
            GuestStep::Masked(own) => packet.src = own,
            GuestStep::Restored(to) => packet.dst = to,
        }
        for step in &leg.steps {
            match *step {
                Step::Translate(translation) => match translation.end {
                    PacketEnd::Source => (packet.src, packet.src_port) = translation.to,
                    PacketEnd::Destination => (packet.dst, packet.dst_port) = translation.to,
                },
                Step::Admit { nic, direction, admission: Admission::Rule { acl, rule, allow, .. } } => {
                    all.push(Evaluation { names, nic, direction, acl, rule: rule as usize, allow, packet });
                }
                _ => {}
            }
        }
    }
    all
}

impl<'a> Evaluation<'a> {
    fn rules(&self) -> &'a [EffectiveRule] {
        self.names.compiled.effective_rules(self.acl)
    }

    /// Rules that nearly allowed a denied packet.
    fn denial(&self) -> Vec<String> {
        if self.allow {
            return Vec::new();
        }
        let (before, from) = self.rules().split_at(self.rule);
        let allows = |rule: &&EffectiveRule| rule.rule.action != Action::Deny && !self.is_for_probes(rule);
        let near = before.iter().filter(allows).filter_map(|rule| {
            let mut missed = self.missed(rule);
            (missed.len() == 1).then(|| format!("rule {} {}", name(rule), missed.remove(0)))
        });
        let Some((deny, later)) = from.split_first() else { return Vec::new() };
        let late = later.iter().filter(allows).filter(|rule| rule.rule.priority < DEFAULT_RULES);
        let late = late.filter(|rule| self.missed(rule).is_empty()).map(|rule| {
            let (own, other) = (rule.rule.priority, deny.rule.priority);
            format!("rule {} would allow it: priority {own} after deny {} at {other}", name(rule), name(deny))
        });
        near.chain(late).take(LISTED).collect()
    }

    /// The conditions of a rule that the packet does not match.
    fn missed(&self, rule: &EffectiveRule) -> Vec<String> {
        let (packet, matches) = (&self.packet, &rule.matches);
        let mut missed = Vec::new();
        let has_protocol = match matches.protocol {
            ProtocolMatch::Any => true,
            ProtocolMatch::Icmp => matches!(packet.protocol, Protocol::ICMP | Protocol::ICMPV6),
            ProtocolMatch::Only(protocol) => packet.protocol == protocol,
        };
        if !has_protocol {
            missed.push(format!("is {} only", protocol(matches.protocol)));
        }
        let written = written_addresses(self.names.network, &rule.rule, model_direction(self.direction));
        let (source, destination) = written.unwrap_or_default();
        for (prefixes, address, written, what) in
            [(&matches.src, packet.src, source, "source"), (&matches.dst, packet.dst, destination, "destination")]
        {
            if !prefixes.iter().any(|prefix| prefix.contains(&address)) {
                missed.push(self.not_among(&written, address, what));
            }
        }
        // A packet without ports misses a rule with ports by its protocol already.
        if has_protocol {
            let sides =
                [(&matches.src_ports, packet.src_port, "source port"), (&matches.dst_ports, packet.dst_port, "port")];
            let missing = sides.into_iter().filter(|(ranges, port, _)| !self.has_port(ranges, *port));
            missed.extend(missing.map(|(ranges, _, what)| format!("is for {what} {}", ports(ranges))));
        }
        missed
    }

    fn has_port(&self, ranges: &[RangeInclusive<u16>], port: u16) -> bool {
        let any = ranges.contains(&(0..=u16::MAX));
        let carries = matches!(self.packet.protocol, Protocol::TCP | Protocol::UDP);
        any || (carries && ranges.iter().any(|range| range.contains(&port)))
    }

    /// `is for source 10.9.0.0/16, and 10.1.0.4 is not in it`; for a tag also why the address is not in it here.
    fn not_among(&self, written: &[AddressPrefix], address: IpAddr, what: &str) -> String {
        let fields: Vec<_> = written.iter().map(|field| address_field(self.names.network, field)).collect();
        let text = format!("is for {what} {}, and {address} is not in it", fields.join(", "));
        let internet = written.contains(&AddressPrefix::Tag(ServiceTag::Internet));
        match self.widening(address).filter(|_| internet) {
            Some(widening) => format!("{text}: {widening}"),
            None => text,
        }
    }

    /// Whether a rule is for the load balancer's probes, which no question is about.
    fn is_for_probes(&self, rule: &EffectiveRule) -> bool {
        let written = written_addresses(self.names.network, &rule.rule, model_direction(self.direction));
        written.is_some_and(|(source, _)| source == [AddressPrefix::Tag(ServiceTag::AzureLoadBalancer)])
    }

    /// For a deciding rule that names the virtual network: whether only a route puts the address into that tag.
    fn widened_tag(&self) -> Option<String> {
        let rule = &self.rules()[self.rule];
        let (source, destination) = written_addresses(self.names.network, &rule.rule, model_direction(self.direction))?;
        let tag = AddressPrefix::Tag(ServiceTag::VirtualNetwork);
        let sides = [(source, self.packet.src), (destination, self.packet.dst)];
        let mut named = sides.into_iter().filter(|(written, _)| written.contains(&tag));
        let widening = named.find_map(|(_, address)| self.widening(address))?;
        Some(format!("rule {} matches: {widening}", name(rule)))
    }

    /// ``VirtualNetwork` is 0.0.0.0/0 here because of route default in table spoke-routes` (TAG-06).
    fn widening(&self, address: IpAddr) -> Option<String> {
        let network = self.names.network;
        let subnet: SubnetIx = self.names.home(self.nic)?;
        let peers = connected(network, subnet.vnet).filter(|link| link.allow_virtual_network_access);
        let peers = peers.flat_map(|link| &link.remote_address_space);
        let holds = |prefix: &IpNet| prefix.contains(&address);
        if network.vnet(subnet.vnet).address_space.iter().chain(peers).any(holds) {
            return None;
        }
        let table = &network.route_tables[network.subnet(subnet).route_table?.0];
        let leading = table.routes.iter().filter(|route| match route.next_hop {
            RouteNextHop::VirtualAppliance(_)
            | RouteNextHop::VirtualApplianceEcmp(_)
            | RouteNextHop::VirtualNetworkGateway
            | RouteNextHop::VnetLocal => true,
            RouteNextHop::Internet | RouteNextHop::None => false,
        });
        let widening = leading.filter_map(|route| Some((route.prefix().filter(holds)?, &route.name)));
        let (prefix, route) = widening.min_by_key(|(prefix, _)| prefix.prefix_len())?;
        Some(format!("`VirtualNetwork` is {prefix} here because of route {route} in table {} (TAG-06)", table.name))
    }
}

/// The rule's name without its list.
fn name(rule: &EffectiveRule) -> &str {
    rule.rule.name.rsplit_once('/').map_or(&rule.rule.name, |(_, name)| name)
}

fn protocol(protocol: ProtocolMatch) -> String {
    match protocol {
        ProtocolMatch::Any => "any protocol".to_owned(),
        ProtocolMatch::Icmp => "Icmp".to_owned(),
        ProtocolMatch::Only(Protocol::TCP) => "Tcp".to_owned(),
        ProtocolMatch::Only(Protocol::UDP) => "Udp".to_owned(),
        ProtocolMatch::Only(Protocol::ESP) => "Esp".to_owned(),
        ProtocolMatch::Only(Protocol::AH) => "Ah".to_owned(),
        ProtocolMatch::Only(Protocol(number)) => format!("protocol {number}"),
    }
}

fn ports(ranges: &[RangeInclusive<u16>]) -> String {
    let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

fn model_direction(direction: Direction) -> model::Direction {
    match direction {
        Direction::Inbound => model::Direction::Inbound,
        Direction::Outbound => model::Direction::Outbound,
    }
}
