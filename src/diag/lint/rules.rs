//! Security rules that no packet reaches, because earlier ones match all that they match.
//!
//! A rule counts only where it is used, and only if it is dead wherever it is used: a tag means other addresses elsewhere.

use std::collections::BTreeMap;

use crate::compile::{EffectiveRule, RuleOwner};
use crate::dataplane::AclId;
use crate::diag::names::Names;
use crate::diag::yaml_path;

use super::Finding;
use super::region::cover;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    // By owner and rule: the rules that cover it, or None where a packet can come to it.
    let mut verdicts: BTreeMap<(RuleOwner, usize), Option<Vec<String>>> = BTreeMap::new();
    for acl in (0..names.compiled.snapshot.acls.len() as u32).map(AclId) {
        let rules = names.compiled.effective_rules(acl);
        for (i, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.matches.custom) {
            let Some(at) = index(names, rule) else { continue };
            let verdict = verdicts.entry((rule.rule.owner, at)).or_insert_with(|| Some(Vec::new()));
            if verdict.is_some() {
                *verdict = cover(&rules[..i], rule)
                    .map(|covering| covering.into_iter().map(|rule| short(&rule.rule.name).to_owned()).collect());
            }
        }
    }
    let dead = verdicts.into_iter().filter_map(|(place, covering)| Some((place, covering?)));
    dead.map(|((owner, at), covering)| finding(names, owner, at, &covering)).collect()
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
    };
    let by = covering.join(", ");
    let verb = if covering.len() == 1 { "matches" } else { "match" };
    Finding {
        code: "unreachable-rule",
        rule: id,
        message: format!("no packet reaches rule {rule} of {group}: {by} before it {verb} all that it matches"),
        path: yaml_path::rule(owner, at),
        help: format!("remove it, or give it a lower priority number than {by}"),
    }
}

/// Where the rule stands in the file.
fn index(names: Names<'_>, rule: &EffectiveRule) -> Option<usize> {
    let name = short(&rule.rule.name);
    match rule.rule.owner {
        RuleOwner::Nsg(nsg) => {
            names.network.network_security_groups[nsg.0].rules.iter().position(|candidate| candidate.name == name)
        }
        RuleOwner::Collection(at) => {
            // `COLLECTION/RULE`
            names.network.rule_collection(at).rules.iter().position(|candidate| candidate.name == short(name))
        }
    }
}

fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}
