//! `vnet rule`: the text behind an id that an error, a lint, a drop or `explain` cites.

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Exit, Outcome};
use crate::azure::{Family, Rule as AzureRule, families, rule};

/// Print Azure's rules as this program follows them: one by its id, a family, or all families
///
/// Errors, lints, drop reasons and `explain` cite rules by id. The same texts are in docs/rules.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet rule PEER-05\n  vnet rule peer\n  vnet rule -o json UDR-12 SYS-06a")]
pub(super) struct Rule {
    /// Ids (`PEER-05`) or families (`PEER`); without one, the families are listed
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

/// A rule for programs.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    text: &'a str,
    basis: &'a [String],
    sources: Vec<&'a str>,
}

impl Rule {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.ids.as_slice() {
            [] => list_families(context),
            [name] if family(name).is_some() => list_rules(family(name).into_iter(), context),
            names => print_rules(names, context),
        }
    }
}

fn list_families(context: &Context) -> Outcome {
    let count = |family: &Family| family.rules.len().to_string();
    let rows = families().iter().map(|family| [family.name.clone(), count(family), family.title.clone()]);
    let value: Vec<_> = families()
        .iter()
        .map(|f| serde_json::json!({"family": f.name, "title": f.title, "rules": f.rules.len()}))
        .collect();
    context.output.rows(&value, &Table::new(&["Family", "Rules", "Subject"]).rows(rows))
}

fn list_rules<'a>(families: impl Iterator<Item = &'a Family>, context: &Context) -> Outcome {
    let rules: Vec<_> = families.flat_map(|family| &family.rules).collect();
    let value: Vec<_> = rules.iter().map(|rule| row(rule)).collect();
    let rows = rules.iter().map(|rule| [rule.id.clone(), rule.first_sentence()]);
    context.output.rows(&value, &Table::new(&["Id", "Rule"]).rows(rows))
}

fn print_rules(names: &[String], context: &Context) -> Outcome {
    let found = names.iter().map(|name| rule(name).ok_or(name)).collect::<Vec<_>>();
    let unknown: Vec<_> = found.iter().filter_map(|found| found.err()).map(|name| format!("`{name}`")).collect();
    if !unknown.is_empty() {
        let noun = if unknown.len() == 1 { "is no rule" } else { "are no rules" };
        return Err(Failure::new(Exit::Usage, format_args!("{} {noun}", unknown.join(", ")))
            .help("`vnet rule` lists the families, `vnet rule PEER` the rules of one; an id is written like PEER-05"));
    }
    let rules: Vec<_> = found.into_iter().flatten().collect();
    let value: Vec<_> = rules.iter().map(|rule| row(rule)).collect();
    let table = Table::new(&["Id", "Rule"]).rows(rules.iter().map(|rule| [rule.id.clone(), rule.first_sentence()]));
    let text = || rules.iter().map(|rule| format!("{}\n{}\n", rule.id, rule.plain())).collect::<Vec<_>>().join("\n");
    context.output.text(&value, &table, text)
}

fn family(name: &str) -> Option<&'static Family> {
    families().iter().find(|family| family.name.eq_ignore_ascii_case(name))
}

fn row(rule: &AzureRule) -> Row<'_> {
    Row { id: &rule.id, text: &rule.text, basis: &rule.basis, sources: rule.sources() }
}
