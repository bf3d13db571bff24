//! Packets that a rule of an NSG or of an administrator denied.

use std::net::IpAddr;

use crate::analysis::change::{Change, Edit, Flow, unused};
use crate::analysis::region::{Regions, cover};
use crate::analysis::walk::{Denial, Leg};
use crate::compile::{EffectiveRule, RuleOwner, RuleRef, connected};
use crate::dataplane::{Acl, Action, Direction};
use crate::model::{
    Access, CloudIx, FirewallCategory, FirewallPolicy, FirewallRule, FirewallService, PortRange, RouteSource,
    SecurityProtocol, VnetIx,
};

use super::{Case, Diagnosis};

/// Priorities from here on belong to default rules (NSG-06).
const DEFAULT_RULES: u16 = 65000;

impl Case<'_> {
    pub(super) fn denied(&self, leg: &Leg, denial: Denial) -> Diagnosis {
        let rule = self.names.compiled.rule(denial.acl, denial.rule);
        let own = self.names.vnet(denial.nic);
        // Rules match private addresses (NSG-05).
        let seen = &self.walk.last;
        let other = match denial.direction {
            Direction::Inbound => seen.src,
            Direction::Outbound => seen.dst,
        };
        if rule.priority >= DEFAULT_RULES
            && let Some(diagnosis) = self.outside_tag(leg, denial, own, other)
        {
            return diagnosis;
        }
        let verb = if rule.priority >= DEFAULT_RULES { "no rule allows" } else { "a rule denies" };
        let object = self.names.rule(denial.nic, denial.place, denial.acl, denial.rule);
        let cause = format!("{object}: {verb} {} from {} to {}", self.seen(), seen.src, seen.dst);
        if let Some((says, text, edit)) = self.behind_denial(denial) {
            return Diagnosis::with_fix(format!("{cause}; {says}"), text, edit);
        }
        Diagnosis::of(cause, self.allowed(denial))
    }

    /// A new rule that allows this flow, before the one that denied it.
    fn allowed(&self, denial: Denial) -> Option<(String, Edit)> {
        let rule = self.names.compiled.rule(denial.acl, denial.rule);
        let seen = &self.walk.last;
        let flow = Flow { src: seen.src, dst: seen.dst, probe: self.seen(), answering: self.request.is_some() };
        let mut edit = self.edit();
        let is_added = match rule.owner {
            RuleOwner::Nsg(nsg) => edit.allow(nsg, denial.direction, rule.priority, &flow),
            RuleOwner::Collection(at) => edit.permit(at, denial.direction, rule.priority, &flow),
            RuleOwner::Firewall { .. } => false,
        };
        let place = self.list_of_rules(rule.owner)?;
        is_added.then(|| (format!("add an allow rule to {place}, before {}", rule.name), edit))
    }

    /// A rule allows this flow, but the one that denied it comes first and matches all that it allows: such a rule has
    /// no effect, so the order is the mistake. A rule that allows more than that has an exception before it on purpose.
    fn behind_denial(&self, denial: Denial) -> Option<(String, String, Edit)> {
        let rules = self.names.compiled.effective_rules(denial.acl).get(denial.rule as usize..)?;
        let (denying, after) = rules.split_first()?;
        let mut regions = Regions::default();
        let is_behind = |one: &&EffectiveRule| {
            let covered = cover(&regions.of(std::slice::from_ref(denying)), &regions.of(std::slice::from_ref(*one))[0]);
            covered.is_some()
        };
        let same_list = after.iter().filter(|one| one.matches.custom && one.rule.owner == denying.rule.owner);
        let allowing = same_list.filter(|one| one.matches.action != Action::Deny && self.is_matched(one));
        let behind = allowing.into_iter().find(is_behind)?;
        let (denying, behind) = (&denying.rule, &behind.rule);
        let mut edit = self.edit();
        let priority = edit.advance(behind.owner, self.names.rule_index(behind)?, denying.priority)?;
        let own_name = |rule: &RuleRef| rule.name.rsplit('/').next().unwrap_or_default().to_owned();
        let (later, first) = (own_name(behind), own_name(denying));
        let says = format!("rule {later} allows it, but comes later (priority {})", behind.priority);
        let place = self.list_of_rules(behind.owner)?;
        let text = format!("give rule {later} of {place} priority {priority}, before {first}");
        Some((says, text, edit))
    }

    fn is_matched(&self, rule: &EffectiveRule) -> bool {
        Acl::new(vec![rule.matches.clone()]).classify(&self.walk.last).is_some()
    }

    fn list_of_rules(&self, owner: RuleOwner) -> Option<String> {
        match owner {
            RuleOwner::Nsg(nsg) => Some(format!("NSG {}", self.names.network.network_security_groups[nsg.0].name)),
            RuleOwner::Collection(at) => {
                Some(format!("rule collection {}", self.names.network.rule_collection(at).name))
            }
            RuleOwner::Firewall { .. } => None,
        }
    }

    /// The rule of a private cloud's firewall, and where the file has it.
    pub(super) fn denied_in_cloud(&self, denial: Denial) -> Diagnosis {
        let rule = self.names.compiled.rule(denial.acl, denial.rule);
        let object = self.names.rule(denial.nic, denial.place, denial.acl, denial.rule);
        let seen = &self.walk.last;
        let way = match denial.direction {
            Direction::Inbound => "IN",
            Direction::Outbound => "OUT",
        };
        let cause = format!(
            "{object}: it drops {} from {} to {}, direction {way}: a rule that allows it must come before {} (AVS-12)",
            self.seen(),
            seen.src,
            seen.dst,
            rule.name
        );
        let RuleOwner::Firewall { cloud, policy: Some(place) } = rule.owner else {
            return Diagnosis::without_fix(cause);
        };
        let flow = Flow { src: seen.src, dst: seen.dst, probe: self.seen(), answering: self.request.is_some() };
        let mut edit = self.edit();
        match edit.permit_in_cloud(cloud, place, &flow) {
            Some(policy) => {
                Diagnosis::with_fix(cause, format!("add a policy with a rule that allows it, before {policy}"), edit)
            }
            None => Diagnosis::without_fix(cause),
        }
    }

    /// A default rule denies what is not in tag(VirtualNetwork): is a peering the cause?
    fn outside_tag(&self, leg: &Leg, denial: Denial, own: VnetIx, other: IpAddr) -> Option<Diagnosis> {
        let Some(home) = self.home(other) else { return self.without_way(leg, denial) };
        if home == own {
            return None;
        }
        if let Some(link) = connected(self.names.network, own).find(|link| link.remote == home) {
            if !link.allow_virtual_network_access {
                let shut = self.access_off(own, home);
                if !self.is_shut_on_purpose(denial, home) {
                    return Some(shut);
                }
                return Some(Diagnosis::of(shut.cause.clone(), self.allowed(denial)).or(shut));
            }
            return self.not_joined(self.names.subnet(denial.nic), home, other);
        }
        if denial.direction == Direction::Inbound || self.routed_by(denial, other) == Some(RouteSource::User) {
            return None;
        }
        Some(self.apart(leg))
    }

    /// The destination is at a site or in a private cloud, and no gateway's route leads there. The tag follows those
    /// routes (TAG-06), so the missing way is the cause.
    fn without_way(&self, leg: &Leg, denial: Denial) -> Option<Diagnosis> {
        let dst = self.walk.last.dst;
        let is_missing = denial.direction == Direction::Outbound && dst == self.walk.dst && self.is_outside();
        let by_system = matches!(self.routed_by(denial, dst), None | Some(RouteSource::Default));
        (is_missing && by_system).then(|| self.unlearned_there(leg))
    }

    /// The source of the route to an address, in the subnet where a packet was denied.
    fn routed_by(&self, denial: Denial, address: IpAddr) -> Option<RouteSource> {
        let fib = self.names.compiled.fib(self.names.subnet(denial.nic));
        let route = self.names.compiled.snapshot.fibs[fib.0 as usize].lpm.lookup(address)?;
        Some(self.names.compiled.route(fib, route).source)
    }

    /// Whether rules for the peer's own addresses, these ones among them, say what may pass a link that is shut
    /// (PEER-22). Such a link is not opened for the rest.
    fn is_shut_on_purpose(&self, denial: Denial, peer: VnetIx) -> bool {
        let (seen, peer) = (&self.walk.last, self.names.network.vnet(peer));
        self.names.compiled.effective_rules(denial.acl).iter().any(|one| {
            let (src, dst) = (&one.matches.src, &one.matches.dst);
            let theirs = match denial.direction {
                Direction::Inbound => src,
                Direction::Outbound => dst,
            };
            let is_for_peer = theirs.iter().all(|range| peer.address_space.iter().any(|own| own.contains(range)));
            let is_for_these =
                src.iter().any(|range| range.contains(&seen.src)) && dst.iter().any(|range| range.contains(&seen.dst));
            one.matches.custom && one.matches.action != Action::Deny && is_for_peer && is_for_these
        })
    }
}

impl Edit {
    /// Adds a policy that allows one flow, before the policy at this place, and returns its name. None where no number
    /// and no category is left before it.
    fn permit_in_cloud(&mut self, at: CloudIx, place: usize, flow: &Flow) -> Option<String> {
        const LAST: u32 = 999_999;
        let policies = &mut self.network.private_clouds[at.0].firewall.policies;
        let before = policies.iter().position(|policy| policy.place == place)?;
        let FirewallPolicy { category, sequence_number, .. } = policies[before];
        let (category, sequence_number) = match sequence_number.checked_sub(1) {
            Some(number) => (category, number),
            None => (earlier(category)?, LAST),
        };
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else { return None };
        let (protocol, source_ports, destination_ports) = flow.ports();
        let name = unused(&flow.name(), || policies.iter().map(|policy| policy.name.as_str()));
        let port = |key: &str, range: PortRange| match range {
            PortRange::ALL => String::new(),
            PortRange { first, .. } => format!(", {key}: [{first}]"),
        };
        let service = match protocol {
            SecurityProtocol::Icmp => "ICMPv4-ALL".to_owned(),
            _ => format!(
                "{{protocol: {}{}{}}}",
                format!("{protocol:?}").to_uppercase(),
                port("sourcePorts", source_ports),
                port("destinationPorts", destination_ports)
            ),
        };
        let value = format!(
            "{{name: {name}, category: {category:?}, sequenceNumber: {sequence_number}, rules: [{{name: {name}, \
             sources: [{src}], destinations: [{dst}], services: [{service}], action: ALLOW}}]}}"
        );
        let rule = FirewallRule {
            name: name.clone(),
            sources: Some(vec![src.into()]),
            destinations: Some(vec![dst.into()]),
            services: Some(vec![FirewallService {
                protocol,
                source_ports: vec![source_ports],
                destination_ports: vec![destination_ports],
            }]),
            action: Access::Allow,
            direction: None,
            scope: None,
        };
        let (denying, end) = (policies[before].name.clone(), policies.len());
        policies.push(FirewallPolicy { name, place: end, category, sequence_number, rules: vec![rule] });
        policies.sort_by_key(|policy| (policy.category, policy.sequence_number));
        let path = format!("privateClouds[{}].distributedFirewall[{end}]", at.0);
        self.changes.push(Change { path, value: Some(value) });
        Some(denying)
    }
}

const fn earlier(category: FirewallCategory) -> Option<FirewallCategory> {
    match category {
        FirewallCategory::Emergency => None,
        FirewallCategory::Infrastructure => Some(FirewallCategory::Emergency),
        FirewallCategory::Environment => Some(FirewallCategory::Infrastructure),
        FirewallCategory::Application => Some(FirewallCategory::Environment),
    }
}
