//! Network managers and their security admin rules (ADM-01, ADM-02).

use std::collections::HashMap;

use crate::config::schema::admin;
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::values::AddressField;
use crate::model::{
    AddressPrefix, AdminRule, NetworkGroup, NetworkManager, PortRange, RuleCollection, SecurityAdminConfiguration,
};

use super::Scope;
use super::names::{Names, or_unnamed};
use super::tags::Tags;

pub(super) fn network_managers(
    managers: &[admin::NetworkManager],
    scope: &Scope,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Vec<NetworkManager> {
    Names::of("network manager", managers.iter().map(|manager| &manager.name), report);
    managers.iter().map(|manager| network_manager(manager, scope, tags, report)).collect()
}

fn network_manager(
    manager: &admin::NetworkManager,
    scope: &Scope,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> NetworkManager {
    let groups = Names::of("network group", manager.network_groups.iter().map(|group| &group.name), report);
    let configurations = &manager.configurations;
    Names::of("security admin configuration", configurations.iter().map(|own| &own.name), report);
    if let Some(second) = configurations.get(1) {
        report
            .error(
                second.at,
                format!("network manager `{}` deploys another configuration already", or_unnamed(&manager.name)),
            )
            .rule("ADM-02")
            .expected("one security admin configuration: a region takes no more from one manager")
            .help("put its rule collections into the first");
    }
    NetworkManager {
        name: or_unnamed(&manager.name),
        network_groups: manager.network_groups.iter().map(|group| network_group(group, scope, report)).collect(),
        security_admin_configurations: configurations
            .iter()
            .map(|own| configuration(own, &groups, tags, report))
            .collect(),
    }
}

fn network_group(group: &admin::NetworkGroup, scope: &Scope, report: &mut Report) -> NetworkGroup {
    let mut static_members: Vec<_> =
        group.static_members.iter().filter_map(|member| scope.vnet(member, report)).collect();
    static_members.sort_unstable();
    static_members.dedup();
    NetworkGroup { name: or_unnamed(&group.name), static_members }
}

fn configuration(
    configuration: &admin::Configuration,
    groups: &Names,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> SecurityAdminConfiguration {
    let collections = &configuration.rule_collections;
    Names::of("rule collection", collections.iter().map(|collection| &collection.name), report);
    SecurityAdminConfiguration {
        name: or_unnamed(&configuration.name),
        rule_collections: collections.iter().map(|own| rule_collection(own, groups, tags, report)).collect(),
    }
}

fn rule_collection(
    collection: &admin::RuleCollection,
    groups: &Names,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> RuleCollection {
    let name = or_unnamed(&collection.name);
    Names::of("security admin rule", collection.rules.iter().map(|rule| &rule.name), report);
    if collection.applies_to_groups.is_empty() {
        report
            .error(collection.at, format!("rule collection `{name}` applies to no group"))
            .rule("ADM-02")
            .expected("`appliesToGroups: [GROUP]`, of the manager's `networkGroups`");
    }
    let mut priorities = HashMap::new();
    for rule in &collection.rules {
        let Some(priority) = &rule.priority else { continue };
        if let Some(first) = priorities.insert(priority.value, or_unnamed(&rule.name)) {
            report
                .error(priority.at, format!("rule `{first}` of `{name}` has priority {} already", priority.value))
                .rule("ADM-02")
                .expected("every priority once in a collection");
        }
    }
    RuleCollection {
        applies_to_groups: collection.applies_to_groups.iter().filter_map(|group| groups.find(group, report)).collect(),
        rules: collection.rules.iter().filter_map(|rule| admin_rule(rule, tags, report)).collect(),
        name,
    }
}

fn admin_rule(rule: &admin::AdminRule, tags: &mut Tags<'_>, report: &mut Report) -> Option<AdminRule> {
    let mut addresses = |fields: &[Spanned<AddressField>]| {
        if fields.is_empty() { Some(vec![AddressPrefix::Any]) } else { tags.addresses(fields, report) }
    };
    let (source, destination) = (addresses(&rule.sources), addresses(&rule.destinations));
    Some(AdminRule {
        name: or_unnamed(&rule.name),
        priority: rule.priority.as_ref()?.value,
        direction: rule.direction.as_ref()?.value,
        access: rule.access.as_ref()?.value,
        protocol: rule.protocol.as_ref()?.value,
        source: source?,
        source_ports: values(&rule.source_ports, PortRange::ALL),
        destination: destination?,
        destination_ports: values(&rule.destination_ports, PortRange::ALL),
    })
}

/// An empty list means all.
fn values<T: Copy>(field: &[Spanned<T>], everything: T) -> Vec<T> {
    if field.is_empty() { vec![everything] } else { field.iter().map(|item| item.value).collect() }
}
