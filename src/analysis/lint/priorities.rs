//! Deny rules that leave no priority for an exception, and deny rules that stop health probes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::yaml_path;
use crate::azure::address::PLATFORM;
use crate::compile::RuleOwner;
use crate::model::{Access, AddressPrefix, Direction, Network, NsgIx, SecurityRule, ServiceTag};

use super::Finding;

/// The first priority that a user's rule may have (NSG-01).
const FIRST: u16 = 100;

pub(super) fn findings(network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, nsg) in network.network_security_groups.iter().enumerate() {
        let ix = NsgIx(index);
        for direction in [Direction::Inbound, Direction::Outbound] {
            let mut rules: Vec<_> =
                nsg.rules.iter().enumerate().filter(|(_, rule)| rule.direction == direction).collect();
            rules.sort_by_key(|(_, rule)| rule.priority);
            findings.extend(crowded(ix, &nsg.name, &rules));
        }
        let denials = nsg.rules.iter().enumerate().filter(|(_, rule)| stops_probes(rule));
        findings.extend(denials.map(|(at, rule)| probes(ix, &nsg.name, at, rule)));
    }
    findings
}

/// The first deny rule that has a rule on every priority before it.
fn crowded(ix: NsgIx, nsg: &str, rules: &[(usize, &SecurityRule)]) -> Option<Finding> {
    let run = rules.iter().zip(FIRST..).take_while(|((_, rule), priority)| rule.priority == *priority);
    let mut behind = run.map(|((at, rule), _)| (*at, *rule)).skip(1);
    let (at, rule) = behind.find(|(_, rule)| rule.access == Access::Deny)?;
    Some(Finding {
        code: "no-priority-left",
        rule: "NSG-02",
        message: format!(
            "no exception can be put before deny rule {} of {nsg}: each priority from {FIRST} to {} has a rule",
            rule.name, rule.priority
        ),
        path: format!("{}.priority", yaml_path::rule(RuleOwner::Nsg(ix), at)),
        help: "leave gaps, such as 100, 200, 300".to_owned(),
    })
}

/// A custom rule that denies the probes' source (NSG-31). A deny of everything is a usual last rule, and intended.
fn stops_probes(rule: &SecurityRule) -> bool {
    let platform = |field: &AddressPrefix| match field {
        AddressPrefix::Tag(ServiceTag::AzureLoadBalancer) => true,
        AddressPrefix::Prefix(prefix) => *prefix == IpNet::from(IpAddr::from(PLATFORM)),
        AddressPrefix::Any | AddressPrefix::Tag(_) | AddressPrefix::Group(_) => false,
    };
    rule.direction == Direction::Inbound && rule.access == Access::Deny && rule.source.iter().any(platform)
}

fn probes(ix: NsgIx, nsg: &str, at: usize, rule: &SecurityRule) -> Finding {
    Finding {
        code: "probes-denied",
        rule: "NSG-31",
        message: format!(
            "rule {} of {nsg} denies the platform's health probes: a load balancer marks backends with this group unhealthy",
            rule.name
        ),
        path: yaml_path::rule(RuleOwner::Nsg(ix), at),
        help: "remove it, or deny clients by their own addresses: a load balancer passes these on".to_owned(),
    }
}
