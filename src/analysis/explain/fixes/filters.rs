//! Packets that a rule of an NSG or of an administrator denied.

use std::net::IpAddr;

use crate::analysis::change::{Change, Edit, Flow, unused};
use crate::analysis::walk::{Denial, Leg};
use crate::compile::{RuleOwner, connected};
use crate::dataplane::Direction;
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
        let flow = Flow { src: seen.src, dst: seen.dst, probe: self.seen(), answering: self.request.is_some() };
        let mut edit = self.edit();
        let place = match rule.owner {
            RuleOwner::Nsg(nsg) => edit.allow(nsg, denial.direction, rule.priority, &flow).then(|| {
                let nsg = &self.names.network.network_security_groups[nsg.0].name;
                format!("NSG {nsg}")
            }),
            RuleOwner::Collection(at) => edit.permit(at, denial.direction, rule.priority, &flow).then(|| {
                let collection = &self.names.network.rule_collection(at).name;
                format!("rule collection {collection}")
            }),
            RuleOwner::Firewall { .. } => None,
        };
        let Some(place) = place else { return Diagnosis::without_fix(cause) };
        Diagnosis::with_fix(cause, format!("add an allow rule to {place}, before {}", rule.name), edit)
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
        let home = self.home(other).filter(|home| *home != own)?;
        if let Some(link) = connected(self.names.network, own).find(|link| link.remote == home) {
            if !link.allow_virtual_network_access {
                return Some(self.access_off(own, home));
            }
            return self.not_joined(self.names.subnet(denial.nic), home, other);
        }
        let fib = self.names.compiled.fib(self.names.subnet(denial.nic));
        let lpm = &self.names.compiled.snapshot.fibs[fib.0 as usize].lpm;
        let routed_by_user =
            lpm.lookup(other).is_some_and(|route| self.names.compiled.route(fib, route).source == RouteSource::User);
        if denial.direction == Direction::Inbound || routed_by_user {
            return None;
        }
        Some(self.apart(leg))
    }
}

impl Edit {
    /// Allows one flow by a new policy, evaluated before the policy at this place, whose name is returned. None where
    /// no number and no category is left before it.
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
