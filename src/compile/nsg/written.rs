//! An effective rule's address fields as the file has them, before tags and groups were expanded.

use ipnet::{IpNet, Ipv4Net};

use crate::compile::{RuleOwner, RuleRef};
use crate::model::{AddressPrefix, Direction, Network, SecurityRule};

use super::default_rules;

/// Source and destination of a rule, found by its names.
pub fn written_addresses(
    network: &Network,
    rule: &RuleRef,
    direction: Direction,
) -> Option<(Vec<AddressPrefix>, Vec<AddressPrefix>)> {
    let (_, name) = rule.name.rsplit_once('/')?;
    match rule.owner {
        RuleOwner::Nsg(_) if rule.name.starts_with("defaultSecurityRules/") => {
            addresses(&default_rules(direction), name, direction)
        }
        RuleOwner::Nsg(nsg) => addresses(&network.network_security_groups[nsg.0].rules, name, direction),
        RuleOwner::Collection(at) => addresses(&network.rule_collection(at).rules, name, direction),
        RuleOwner::Firewall { policy: None, .. } => Some((vec![AddressPrefix::Any], vec![AddressPrefix::Any])),
        RuleOwner::Firewall { cloud, policy: Some(policy) } => {
            let mut rules = network.cloud(cloud).firewall.rules();
            let (_, rule) = rules.find(|(of, rule)| of.place == policy && rule.name == name)?;
            Some((ranges(rule.sources.as_deref()), ranges(rule.destinations.as_deref())))
        }
    }
}

/// The ranges of a distributed firewall's rule. None means every address.
fn ranges(ranges: Option<&[Ipv4Net]>) -> Vec<AddressPrefix> {
    ranges.map_or_else(
        || vec![AddressPrefix::Any],
        |ranges| ranges.iter().map(|range| AddressPrefix::Prefix(IpNet::V4(*range))).collect(),
    )
}

fn addresses<A>(
    rules: &[SecurityRule<A>],
    name: &str,
    direction: Direction,
) -> Option<(Vec<AddressPrefix>, Vec<AddressPrefix>)> {
    let found = rules.iter().find(|rule| rule.direction == direction && rule.name == name)?;
    Some((found.source.clone(), found.destination.clone()))
}
