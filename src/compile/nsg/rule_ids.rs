//! The numbers of security rules.
//!
//! One idea: counters and flow records know a rule by a number that outlives a change of the file, so the owner of a
//! running network hands its numbers in; a file by itself is numbered in its order.

use std::collections::HashMap;

use crate::compile::RuleOwner;
use crate::dataplane::RuleId;
use crate::model::{Direction, Network, NsgIx, SecurityRule};

use super::{admin, default_rules, distributed, rule_name};

/// The numbers of one network's security rules, for all that [`listed_rules`] lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleIds(HashMap<ListedRule, RuleId>);

/// One rule of a network, as its number is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListedRule {
    pub owner: RuleOwner,
    pub direction: Direction,
    /// As [`RuleRef`](crate::compile::RuleRef) has it.
    pub name: String,
}

impl ListedRule {
    /// One that every security group or distributed firewall has (NSG-06, AVS-12).
    pub fn is_default(&self) -> bool {
        self.name.starts_with("defaultSecurityRules/")
    }
}

impl RuleIds {
    pub fn in_file_order(network: &Network) -> Self {
        listed_rules(network).zip((0..).map(RuleId::new)).collect()
    }

    pub(in crate::compile) fn of(&self, owner: RuleOwner, direction: Direction, name: &str) -> RuleId {
        let rule = ListedRule { owner, direction, name: name.to_owned() };
        *self.0.get(&rule).expect("every rule has a number")
    }
}

impl FromIterator<(ListedRule, RuleId)> for RuleIds {
    fn from_iter<I: IntoIterator<Item = (ListedRule, RuleId)>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

/// Every rule of a network that packets can meet: each group's own in file order and its default rules, then admin
/// rules, then those of distributed firewalls.
pub fn listed_rules(network: &Network) -> impl Iterator<Item = ListedRule> {
    let groups = network.network_security_groups.iter().enumerate();
    let of_groups = groups.flat_map(|(index, group)| {
        let owner = RuleOwner::Nsg(NsgIx(index));
        let listed = move |rule: &SecurityRule, custom| ListedRule {
            owner,
            direction: rule.direction,
            name: rule_name(rule, custom),
        };
        let defaults = [Direction::Inbound, Direction::Outbound].into_iter().flat_map(default_rules);
        group.rules.iter().map(move |rule| listed(rule, true)).chain(defaults.map(move |rule| listed(&rule, false)))
    });
    let of_managers = network.rule_collections().flat_map(move |(at, collection)| {
        collection.rules.iter().map(move |rule| ListedRule {
            owner: RuleOwner::Collection(at),
            direction: rule.direction,
            name: admin::name(network, at, rule),
        })
    });
    let both = [Direction::Inbound, Direction::Outbound];
    let of_clouds = network
        .distributed_firewalls()
        .flat_map(move |firewall| both.into_iter().flat_map(move |direction| distributed::listed(firewall, direction)));
    of_groups.chain(of_managers).chain(of_clouds)
}
