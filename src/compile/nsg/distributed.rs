//! The distributed firewall of a private cloud as a machine of it meets it (AVS-12).
//!
//! One idea: a rule with several services is several rows of one name and one number, so that the same lists and the same
//! counters serve as for an NSG. Below all policies is NSX-T's own rule, which allows everything.

use ipnet::IpNet;

use crate::compile::{EffectiveRule, ListedRule, RuleOwner, RuleRef};
use crate::dataplane::{AclRule, Action};
use crate::model::{CloudIx, Direction, DistributedFirewall, FirewallPolicy, FirewallRule, FirewallService, Network};

use super::rule_ids::RuleIds;
use super::{ports, protocol};

/// The rule below all others.
const DEFAULT_RULE: &str = "defaultSecurityRules/default-layer3-rule";

/// `securityPolicies/web-tier/https`.
fn name(policy: &FirewallPolicy, rule: &FirewallRule) -> String {
    format!("securityPolicies/{}/{}", policy.name, rule.name)
}

/// A cloud's rules in one direction, in the order of evaluation.
pub(super) fn listed(
    (cloud, firewall): (CloudIx, &DistributedFirewall),
    direction: Direction,
) -> impl Iterator<Item = ListedRule> {
    let own = firewall.rules().filter(move |(_, rule)| rule.faces(direction));
    let own = own.map(|(policy, rule)| (Some(policy.place), name(policy, rule)));
    let all = own.chain([(None, DEFAULT_RULE.to_owned())]);
    all.map(move |(policy, name)| ListedRule { owner: RuleOwner::Firewall { cloud, policy }, direction, name })
}

/// What packets in one direction meet at a machine, by its index among the cloud's segments.
pub(super) fn rules(
    network: &Network,
    ids: &RuleIds,
    (cloud, machine): (CloudIx, usize),
    direction: Direction,
) -> Vec<EffectiveRule> {
    let reference = |policy: Option<&FirewallPolicy>, name: String, priority: usize, action| {
        let owner = RuleOwner::Firewall { cloud, policy: policy.map(|policy| policy.place) };
        let id = ids.of(owner, direction, &name);
        RuleRef { owner, name, priority: u16::try_from(priority).unwrap_or(u16::MAX), action, id }
    };
    let all = network.cloud(cloud).firewall.rules();
    let own = all.filter(|(_, rule)| rule.applies_to(machine, direction));
    let mut rows: Vec<_> = (1..)
        .zip(own)
        .flat_map(|(priority, (policy, rule))| {
            let reference = reference(Some(policy), name(policy, rule), priority, rule.action.into());
            matches(rule).into_iter().map(move |matches| EffectiveRule { rule: reference.clone(), matches })
        })
        .collect();
    let last = rows.last().map_or(1, |row| usize::from(row.rule.priority) + 1);
    rows.push(EffectiveRule {
        rule: reference(None, DEFAULT_RULE.to_owned(), last, Action::Allow),
        matches: AclRule { custom: false, action: Action::Allow, ..row((None, None), &FirewallService::any()) },
    });
    rows
}

/// One for each service of a rule.
fn matches(rule: &FirewallRule) -> Vec<AclRule> {
    let ranges = |ranges: &Option<Vec<ipnet::Ipv4Net>>| {
        ranges.as_ref().map(|ranges| ranges.iter().copied().map(IpNet::V4).collect::<Vec<_>>())
    };
    let (sources, destinations) = (ranges(&rule.sources), ranges(&rule.destinations));
    let any = [FirewallService::any()];
    let services = rule.services.as_deref().unwrap_or(&any).iter();
    let of =
        |service| AclRule { action: rule.action.into(), ..row((sources.as_deref(), destinations.as_deref()), service) };
    services.map(of).collect()
}

fn row((sources, destinations): (Option<&[IpNet]>, Option<&[IpNet]>), service: &FirewallService) -> AclRule {
    let everything = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
    AclRule {
        protocol: protocol(service.protocol),
        src: sources.unwrap_or(&everything).into(),
        dst: destinations.unwrap_or(&everything).into(),
        src_ports: ports(&service.source_ports),
        dst_ports: ports(&service.destination_ports),
        action: Action::Deny,
        custom: true,
    }
}
