//! Security rules that no packet reaches, because earlier ones match all that they match.
//!
//! A rule counts only where it is used, and only if it is dead wherever it is used: a tag means other addresses elsewhere.

use std::collections::BTreeMap;

use crate::compile::EffectiveRule;
use crate::dataplane::AclId;
use crate::diag::names::Names;
use crate::diag::yaml_path;
use crate::model::NsgIx;

use super::Finding;
use super::region::cover;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    // By security group and rule: the rules that cover it, or None where a packet can come to it.
    let mut verdicts: BTreeMap<(NsgIx, usize), Option<Vec<String>>> = BTreeMap::new();
    for acl in (0..names.compiled.snapshot.acls.len() as u32).map(AclId) {
        let rules = names.compiled.effective_rules(acl);
        for (i, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.matches.custom) {
            let Some(at) = index(names, rule) else { continue };
            let verdict = verdicts.entry((rule.rule.nsg, at)).or_insert_with(|| Some(Vec::new()));
            if verdict.is_some() {
                *verdict = cover(&rules[..i], rule)
                    .map(|covering| covering.into_iter().map(|rule| short(&rule.rule.name).to_owned()).collect());
            }
        }
    }
    let dead = verdicts.into_iter().filter_map(|(place, covering)| Some((place, covering?)));
    dead.map(|((nsg, at), covering)| finding(names, nsg, at, &covering)).collect()
}

fn finding(names: Names<'_>, nsg: NsgIx, at: usize, covering: &[String]) -> Finding {
    let group = &names.network.network_security_groups[nsg.0];
    let by = covering.join(", ");
    Finding {
        code: "unreachable-rule",
        rule: "NSG-02",
        message: format!(
            "no packet reaches rule {} of {}: {by} before it {} all that it matches",
            group.rules[at].name,
            group.name,
            if covering.len() == 1 { "matches" } else { "match" },
        ),
        path: format!("{}.securityRules[{at}]", yaml_path::nsg(nsg)),
        help: format!("remove it, or give it a lower priority number than {by}"),
    }
}

/// Where the rule stands in the file.
fn index(names: Names<'_>, rule: &EffectiveRule) -> Option<usize> {
    let rules = &names.network.network_security_groups[rule.rule.nsg.0].rules;
    rules.iter().position(|candidate| candidate.name == short(&rule.rule.name))
}

fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}
