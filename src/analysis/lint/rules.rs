//! Security rules that no packet reaches, because earlier ones match all their packets.
//!
//! Only rules in use count, and only if they are unreachable wherever they are used: a tag has other addresses
//! elsewhere, and admin rules apply in some VNets only.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::query::names::{Names, short};
use crate::analysis::region::{Regions, cover_after};
use crate::analysis::yaml_path;
use crate::compile::RuleOwner;
use crate::dataplane::AclId;

use super::Finding;

/// What an admin rule's name begins with.
const ADMIN: &str = "ruleCollections/";

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    // By owner and rule: the rules that cover it, or None where a packet can reach it.
    let mut verdicts: BTreeMap<(RuleOwner, usize), Option<Vec<String>>> = BTreeMap::new();
    let mut regions = Regions::default();
    for (admin, acl) in lists(names) {
        let admin = regions.of(admin.map_or(&[], |admin| names.compiled.effective_rules(admin)));
        let rules = names.compiled.effective_rules(acl);
        let matched = regions.of(rules);
        for (i, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.matches.custom) {
            let Some(at) = names.rule_index(&rule.rule) else { continue };
            let verdict = verdicts.entry((rule.rule.owner, at)).or_insert_with(|| Some(Vec::new()));
            if verdict.is_some() {
                *verdict = cover_after(&admin, &matched[..i], &matched[i])
                    .map(|covering| covering.into_iter().map(|rule| rule.rule.name.clone()).collect());
            }
        }
    }
    let dead = verdicts.into_iter().filter_map(|(place, covering)| Some((place, covering?)));
    dead.map(|((owner, at), covering)| finding(names, owner, at, &covering)).collect()
}

/// Every list of rules in use, with the admin rules before it.
fn lists(names: Names<'_>) -> BTreeSet<(Option<AclId>, AclId)> {
    let filters = names.compiled.snapshot.nics.iter().flat_map(|nic| [nic.outbound, nic.inbound]);
    let lists = filters.flat_map(|filters| {
        let nsgs = [filters.nic, filters.subnet].map(|acl| acl.map(|acl| (filters.admin, acl)));
        [filters.admin.map(|admin| (None, admin))].into_iter().chain(nsgs)
    });
    lists.flatten().collect()
}

fn finding(names: Names<'_>, owner: RuleOwner, at: usize, covering: &[String]) -> Finding {
    let (rule, group, id) = match owner {
        RuleOwner::Nsg(nsg) => {
            let group = &names.network.network_security_groups[nsg.0];
            (&group.rules[at].name, &group.name, "NSG-02")
        }
        RuleOwner::Collection(collection) => {
            let collection = names.network.rule_collection(collection);
            (&collection.rules[at].name, &collection.name, "ADM-02")
        }
        RuleOwner::Firewall { cloud, policy } => {
            let policies = &names.network.cloud(cloud).firewall.policies;
            let policy = policies.iter().find(|one| Some(one.place) == policy).expect("a custom rule has a policy");
            (&policy.rules[at].name, &policy.name, "AVS-12")
        }
    };
    let overruled = covering.iter().any(|name| name.starts_with(ADMIN)) && matches!(owner, RuleOwner::Nsg(_));
    let by: Vec<_> =
        covering.iter().map(|name| if overruled && name.starts_with(ADMIN) { name } else { short(name) }).collect();
    let by = by.join(", ");
    let verb = if covering.len() == 1 { "matches" } else { "match" };
    Finding {
        code: "unreachable-rule",
        rule: if overruled { "ADM-01" } else { id },
        message: format!("no packet reaches rule {rule} of {group}: {by} before it {verb} all that it matches"),
        path: yaml_path::rule(owner, at),
        help: if overruled {
            "remove it, or have the administrators allow what it is for: that comes to the NSGs".to_owned()
        } else {
            match owner {
                RuleOwner::Firewall { .. } => format!("remove it, or put it before {by}"),
                RuleOwner::Nsg(_) | RuleOwner::Collection(_) => {
                    format!("remove it, or give it a lower priority number than {by}")
                }
            }
        },
    }
}
