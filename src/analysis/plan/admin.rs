//! Network managers among the objects of a plan.

use crate::model::{Network, NetworkManager, RuleCollection};

use super::objects::{Object, list, rule_properties};

pub(super) fn of(network: &Network) -> Vec<Object> {
    let mut all = Vec::new();
    for manager in &network.network_managers {
        all.push(Object { kind: "networkManagers", name: manager.name.clone(), properties: Vec::new() });
        for group in &manager.network_groups {
            let members: Vec<_> = group.static_members.iter().map(|vnet| &network.vnet(*vnet).name).collect();
            all.push(Object {
                kind: "networkGroups",
                name: format!("{}/{}", manager.name, group.name),
                properties: vec![("staticMembers", list(&members))],
            });
        }
        for configuration in &manager.security_admin_configurations {
            let name = format!("{}/{}", manager.name, configuration.name);
            let (kind, properties) = ("securityAdminConfigurations", Vec::new());
            all.push(Object { kind, name: name.clone(), properties });
            for collection in &configuration.rule_collections {
                all.extend(rule_collection(network, manager, &name, collection));
            }
        }
    }
    all
}

fn rule_collection(
    network: &Network,
    manager: &NetworkManager,
    configuration: &str,
    collection: &RuleCollection,
) -> Vec<Object> {
    let name = format!("{configuration}/{}", collection.name);
    let groups: Vec<_> =
        collection.applies_to_groups.iter().map(|group| &manager.network_groups[*group].name).collect();
    let rules = collection.rules.iter().map(|rule| Object {
        kind: "rules",
        name: format!("{name}/{}", rule.name),
        properties: rule_properties(network, rule),
    });
    let rules: Vec<_> = rules.collect();
    let own = Object { kind: "ruleCollections", name, properties: vec![("appliesToGroups", list(&groups))] };
    [own].into_iter().chain(rules).collect()
}
