//! Application security groups without effect: rules that name groups without members, and groups that no rule names.

use crate::analysis::yaml_path;
use crate::model::{AddressPrefix, AsgIx, Network, NsgIx};

use super::Finding;

pub(super) fn findings(network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (nsg, rule) in rules(network) {
        let written = &network.network_security_groups[nsg.0].rules[rule];
        let fields = [
            ("sourceApplicationSecurityGroups", &written.source),
            ("destinationApplicationSecurityGroups", &written.destination),
        ];
        let empty = fields.into_iter().find(|(_, field)| {
            let mut groups = field.iter().filter_map(AddressPrefix::group).peekable();
            groups.peek().is_some()
                && groups.all(|group| network.application_security_groups[group.0].members.is_empty())
        });
        let Some((key, field)) = empty else { continue };
        let names: Vec<_> = field
            .iter()
            .filter_map(AddressPrefix::group)
            .map(|group| network.application_security_groups[group.0].name.as_str())
            .collect();
        let group = names.join(", ");
        findings.push(Finding {
            code: "empty-application-group",
            rule: "ASG-05",
            message: format!(
                "no packet matches rule {}: no interface is in application security group {group}",
                written.name
            ),
            path: format!("{}.securityRules[{rule}].{key}", yaml_path::nsg(nsg)),
            help: format!("give the interfaces that are meant `applicationSecurityGroups: [{group}]`"),
        });
    }
    findings.extend(unnamed(network));
    findings
}

/// Groups with members that no rule of any security group names.
fn unnamed(network: &Network) -> impl Iterator<Item = Finding> {
    let is_named = |group: AsgIx| {
        rules(network).any(|(nsg, rule)| {
            let rule = &network.network_security_groups[nsg.0].rules[rule];
            rule.source.iter().chain(&rule.destination).any(|field| field.group() == Some(group))
        })
    };
    let groups = network.application_security_groups.iter().enumerate();
    groups.filter(move |(i, _)| !is_named(AsgIx(*i))).map(|(i, group)| Finding {
        code: "unused-application-group",
        rule: "ASG-04",
        message: format!(
            "no security rule names application security group {}: being in it changes nothing",
            group.name
        ),
        path: format!("applicationSecurityGroups[{i}]"),
        help: format!("name {} in a rule, or remove it", group.name),
    })
}

fn rules(network: &Network) -> impl Iterator<Item = (NsgIx, usize)> {
    let nsgs = network.network_security_groups.iter().enumerate();
    nsgs.flat_map(|(nsg, group)| (0..group.rules.len()).map(move |rule| (NsgIx(nsg), rule)))
}
