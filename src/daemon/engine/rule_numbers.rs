//! Numbers of the security rules of a running network, by their names.
//!
//! One idea: a rule is its group or manager, direction and name. Its other properties may change, and its number and
//! its hits stay. A rule that goes is remembered, since flow records that it admitted go on (NSG-22). Once many have
//! gone, those that no record mentions are forgotten and their numbers are free again.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::compile::{ListedRule, RuleIds, RuleOwner, listed_rules};
use crate::dataplane::RuleId;
use crate::model::{Direction, Network};

/// Rules that have gone and are remembered without asking whether any record speaks of them.
const REMEMBERED: usize = 4096;

/// A rule's names, as the file spells them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleLabel {
    /// The NSG, or the network manager.
    pub owner: String,
    pub direction: Direction,
    /// `securityRules/x`, `defaultSecurityRules/DenyAllInBound` or `ruleCollections/ssh/no-ssh`.
    pub name: String,
}

/// The numbers of one network's rules, and of those that have gone.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct RuleNumbers {
    /// By names compared as ARM compares them.
    ids: HashMap<Key, RuleId>,
    labels: HashMap<RuleId, RuleLabel>,
}

type Key = (Scope, Direction, String);

/// Where a rule's name is its own: a collection's name is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Nsg(String),
    /// And its configuration.
    Manager(String, String),
    /// A private cloud.
    Firewall(String),
}

/// The numbers of the network that takes the running one's place.
pub(in crate::daemon) struct NextRules {
    pub(in crate::daemon) numbers: RuleNumbers,
    pub(in crate::daemon) ids: RuleIds,
    /// Numbers that mean another rule now, or one for the first time: their hits begin at zero.
    pub(in crate::daemon) fresh: Vec<RuleId>,
}

impl RuleNumbers {
    /// Rules that stay keep their numbers, new ones get the lowest that are free. `spoken_of` lists the rules that
    /// records name.
    pub(in crate::daemon) fn next(&self, network: &Network, spoken_of: impl FnOnce() -> HashSet<RuleId>) -> NextRules {
        let listed: Vec<_> = listed_rules(network).map(|rule| (key(network, &rule), rule)).collect();
        let mut numbers = self.without_forgotten(&listed, spoken_of);
        let used: HashSet<RuleId> = numbers.ids.values().copied().collect();
        let mut free = (0..).map(RuleId::new).filter(|id| !used.contains(id));
        let mut fresh = Vec::new();
        let mut ids = Vec::with_capacity(listed.len());
        for (key, rule) in listed {
            let id = *numbers.ids.entry(key).or_insert_with(|| {
                let id = free.next().expect("there are more numbers than rules");
                fresh.push(id);
                id
            });
            let owner = owner(network, rule.owner).to_owned();
            numbers.labels.insert(id, RuleLabel { owner, direction: rule.direction, name: rule.name.clone() });
            ids.push((rule, id));
        }
        NextRules { ids: ids.into_iter().collect(), numbers, fresh }
    }

    pub(in crate::daemon) fn label(&self, id: RuleId) -> Option<&RuleLabel> {
        self.labels.get(&id)
    }

    /// The rules that a user wrote: all but the default rules, in the file's order.
    pub(in crate::daemon) fn written(&self, network: &Network) -> impl Iterator<Item = (RuleId, &RuleLabel)> {
        let written = listed_rules(network).filter(|rule| !rule.is_default());
        written.filter_map(move |rule| {
            let id = *self.ids.get(&key(network, &rule))?;
            Some((id, self.labels.get(&id)?))
        })
    }

    /// One more than the highest number.
    pub(in crate::daemon) fn end(&self) -> usize {
        self.labels.keys().map(|id| id.index() as usize + 1).max().unwrap_or(0)
    }

    fn without_forgotten(&self, listed: &[(Key, ListedRule)], spoken_of: impl FnOnce() -> HashSet<RuleId>) -> Self {
        let staying: HashSet<&Key> = listed.iter().map(|(key, _)| key).collect();
        let mut kept = self.clone();
        if self.ids.keys().filter(|key| !staying.contains(key)).count() > REMEMBERED {
            let spoken_of = spoken_of();
            kept.ids.retain(|key, id| staying.contains(key) || spoken_of.contains(id));
            let known: HashSet<RuleId> = kept.ids.values().copied().collect();
            kept.labels.retain(|id, _| known.contains(id));
        }
        kept
    }
}

fn key(network: &Network, rule: &ListedRule) -> Key {
    let scope = match rule.owner {
        RuleOwner::Nsg(nsg) => Scope::Nsg(network.network_security_groups[nsg.0].name.to_lowercase()),
        RuleOwner::Collection(at) => {
            let manager = &network.network_managers[at.manager];
            let configuration = &manager.security_admin_configurations[at.configuration];
            Scope::Manager(manager.name.to_lowercase(), configuration.name.to_lowercase())
        }
        RuleOwner::Firewall { cloud, .. } => Scope::Firewall(network.cloud(cloud).name.to_lowercase()),
    };
    (scope, rule.direction, rule.name.to_lowercase())
}

fn owner(network: &Network, owner: RuleOwner) -> &str {
    match owner {
        RuleOwner::Nsg(nsg) => &network.network_security_groups[nsg.0].name,
        RuleOwner::Collection(at) => &network.network_managers[at.manager].name,
        RuleOwner::Firewall { cloud, .. } => &network.cloud(cloud).name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Access, AddressPrefix, Emulation, Nsg, PortRange, SecurityProtocol, SecurityRule};

    /// One group with these inbound rules.
    fn network(rules: &[&str]) -> Network {
        let rule = |name: &&str| SecurityRule {
            name: (*name).to_owned(),
            priority: 100,
            direction: Direction::Inbound,
            access: Access::Allow,
            protocol: SecurityProtocol::Any,
            source: vec![AddressPrefix::Any],
            source_ports: vec![PortRange::ALL],
            destination: vec![AddressPrefix::Any],
            destination_ports: vec![PortRange::ALL],
        };
        let rules = rules.iter().map(rule).collect();
        Network {
            name: "lab".to_owned(),
            virtual_networks: Vec::new(),
            lost_links: Vec::new(),
            route_tables: Vec::new(),
            application_security_groups: Vec::new(),
            network_security_groups: vec![Nsg { name: "g".to_owned(), rules, flush_connection: false }],
            network_managers: Vec::new(),
            virtual_machines: Vec::new(),
            network_interfaces: Vec::new(),
            private_endpoints: Vec::new(),
            load_balancers: Vec::new(),
            public_ip_addresses: Vec::new(),
            public_ip_prefixes: Vec::new(),
            nat_gateways: Vec::new(),
            internet: None,
            virtual_network_gateways: vec![],
            local_network_gateways: vec![],
            connections: vec![],
            sites: vec![],
            express_route_circuits: vec![],
            private_clouds: vec![],
            route_servers: vec![],
            flow_logs: Vec::new(),
            service_tags: Vec::new(),
            emulation: Emulation::default(),
            dns_forwarders: Vec::new(),
            tests: Vec::new(),
        }
    }

    fn id(numbers: &RuleNumbers, name: &str) -> Option<RuleId> {
        numbers.ids.get(&(Scope::Nsg("g".to_owned()), Direction::Inbound, format!("securityrules/{name}"))).copied()
    }

    #[test]
    fn a_rule_keeps_its_number_wherever_the_file_has_it() {
        let first = RuleNumbers::default().next(&network(&["a", "b"]), HashSet::new).numbers;
        let next = first.next(&network(&["new", "B", "a"]), HashSet::new);
        assert_eq!(id(&next.numbers, "a"), id(&first, "a"));
        assert_eq!(id(&next.numbers, "b"), id(&first, "b"));
        assert_eq!(next.fresh, [id(&next.numbers, "new").expect("it is listed")]);
        assert_eq!(next.numbers.label(id(&first, "b").expect("it was listed")).expect("known").name, "securityRules/B");
        // The default rules have numbers, too: six of them.
        assert_eq!([RuleNumbers::default().end(), first.end(), next.numbers.end()], [0, 8, 9]);
    }

    #[test]
    fn nsg_22_a_rule_that_has_gone_is_remembered_and_comes_back_as_itself() {
        let first = RuleNumbers::default().next(&network(&["a", "b"]), HashSet::new).numbers;
        let gone = first.next(&network(&["b", "c"]), HashSet::new).numbers;
        let a = id(&first, "a").expect("it was listed");
        assert_eq!(gone.label(a).expect("records may name it").name, "securityRules/a");
        assert_ne!(id(&gone, "c"), Some(a));
        assert_eq!(id(&gone.next(&network(&["a"]), HashSet::new).numbers, "a"), Some(a));
    }

    #[test]
    fn when_many_have_gone_only_those_that_records_name_are_kept() {
        let mut numbers = RuleNumbers::default();
        let mut kept = None;
        for round in 0..8 {
            let names: Vec<String> = (0..1000).map(|n| format!("r{round}-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            numbers = numbers.next(&network(&names), || kept.into_iter().collect()).numbers;
            kept = kept.or(id(&numbers, "r0-7"));
        }
        assert!(numbers.labels.len() <= REMEMBERED + 1000 + 7, "{}", numbers.labels.len());
        assert_eq!(numbers.labels.len(), numbers.ids.len());
        assert_eq!(id(&numbers, "r0-7"), kept, "a record names it");
    }
}
