//! `vnet rules`: effective security rules, by the groups they come from.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use serde::Serialize;

use crate::analysis::{self, EffectiveGroup, RuleRow};
use crate::daemon::api::protocol::{Request, Response};
use crate::daemon::engine::RuleLabel;
use crate::model::Direction;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use super::{Outcome, stopped, topology};

/// Prefixes of a tag that people see; json has all.
const SHOWN: usize = 8;

const COLUMNS: [&str; 10] = [
    "Direction",
    "Priority",
    "Name",
    "Access",
    "Protocol",
    "Source",
    "Source Ports",
    "Destination",
    "Destination Ports",
    "Hits",
];

/// Show the effective security rules of a machine or an interface
///
/// Admin rules of network managers, then the NSG of the subnet, then the NSG of the interface, each with its default rules
/// and with what its tags mean there. In json the fields of `az network nic list-effective-nsg`. Hits say how often a
/// rule decided in a running lab, at all interfaces that have it: a flow's first packet, or each that is denied.
/// For a machine, its primary interface is used.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet rules web\n  vnet rules db2/eth0 -o json\n  \
    vnet rules db2 -t config/nsg-tiers.yaml\n  vnet rules db2 --unused\n  vnet rules --unused")]
pub(super) struct Rules {
    /// NODE, NODE/NIC or VNET/SUBNET; gateways and sites have none
    #[arg(value_name = "NODE", required_unless_present = "unused")]
    target: Option<String>,
    /// Those that have decided nothing since the lab is up or they were written, default rules apart: of NODE, or of the
    /// whole running lab
    #[arg(long, conflicts_with = "topology")]
    unused: bool,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

/// As ARM wraps it (DIAG-03).
#[derive(Serialize)]
struct EffectiveGroups {
    value: Vec<EffectiveGroup>,
}

impl Rules {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let Some(target) = &self.target else { return unused(context) };
        let mut value = self.ask(target, context)?;
        if self.unused {
            for group in &mut value {
                group.effective_security_rules.retain(is_unused);
            }
            value.retain(|group| !group.effective_security_rules.is_empty());
        }
        let groups = EffectiveGroups { value };
        let nothing =
            if self.unused { "no rule is unused\n" } else { "no NSG and no admin rules: everything is allowed\n" };
        context.output.text(&groups, &all(&groups.value), || match &groups.value[..] {
            [] => nothing.to_owned(),
            groups => text(groups, &context.output),
        })
    }

    fn ask(&self, target: &str, context: &Context) -> Result<Vec<EffectiveGroup>, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::Rules { target: target.to_owned() })? {
                Response::Rules(groups) => stopped::note(target, None, context).map(|()| groups),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(file, context)?;
        let groups = analysis::rules(&network, &compiled, target, |_| None).map_err(Failure::usage)?;
        stopped::note(target, Some(&network), context).map(|()| groups)
    }
}

/// Default rules are not there to be used.
fn is_unused(rule: &RuleRow) -> bool {
    rule.hits == Some(0) && !rule.name.starts_with("defaultSecurityRules/")
}

fn unused(context: &Context) -> Outcome {
    let rules = match context.ask(&Request::UnusedRules)? {
        Response::UnusedRules(rules) => rules,
        other => return Err(unexpected(&other)),
    };
    let cells = |rule: &RuleLabel| [rule.owner.clone(), direction(rule.direction).to_owned(), rule.name.clone()];
    let table = Table::new(&["Group", "Direction", "Name"]).rows(rules.iter().map(cells));
    context.output.rows(&rules, &table)
}

/// Each group under its own heading, and what its tags mean.
pub(super) fn text(groups: &[EffectiveGroup], output: &Output) -> String {
    let mut text = String::new();
    for group in groups {
        let separator = if text.is_empty() { "" } else { "\n" };
        let rules = &group.effective_security_rules;
        let table = Table::new(&COLUMNS).rows(rules.iter().map(cells));
        let _ = write!(text, "{separator}{}\n{}", heading(group), output.render(&table));
        for (tag, prefixes) in &group.tag_map {
            let _ = writeln!(text, "{tag} = {}", shortened(prefixes));
        }
    }
    text
}

/// All rows with their group in front, for tsv.
fn all(groups: &[EffectiveGroup]) -> Table {
    let columns = ["Group"].into_iter().chain(COLUMNS).map(str::to_owned).collect();
    let rows = groups.iter().flat_map(|group| {
        let row = |rule| [heading(group)].into_iter().chain(cells(rule)).collect();
        group.effective_security_rules.iter().map(row)
    });
    Table::matrix(columns, rows.collect())
}

/// `NSG app on subnet spoke1/app`.
fn heading(group: &EffectiveGroup) -> String {
    let places = &group.association;
    let place = [("subnet", &places.subnet), ("NIC", &places.network_interface)];
    let place = place.into_iter().find_map(|(kind, place)| Some(format!("{kind} {}", place.as_ref()?.id)));
    if let Some(cloud) = &places.private_cloud {
        return format!("Distributed firewall of private cloud {}", cloud.id);
    }
    match (&group.network_security_group, &places.network_manager, place) {
        (Some(nsg), _, Some(place)) => format!("NSG {} on {place}", nsg.id),
        (Some(nsg), _, None) => format!("NSG {}", nsg.id),
        (None, Some(manager), _) => format!("Admin rules of network manager {}", manager.id),
        (None, None, place) => place.unwrap_or_default(),
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    }
}

fn cells(rule: &RuleRow) -> [String; 10] {
    let ports = |ranges: &[String]| ranges.iter().map(|range| starred(range, "0-65535")).collect::<Vec<_>>().join(" ");
    let addresses =
        |prefixes: &[String]| prefixes.iter().map(|it| starred(it, "0.0.0.0/0")).collect::<Vec<_>>().join(" ");
    [
        direction(rule.direction).to_owned(),
        rule.priority.to_string(),
        rule.name.clone(),
        rule.access.clone(),
        rule.protocol.clone(),
        addresses(&rule.source_address_prefixes),
        ports(&rule.source_port_ranges),
        addresses(&rule.destination_address_prefixes),
        ports(&rule.destination_port_ranges),
        rule.hits.map(|hits| hits.to_string()).unwrap_or_default(),
    ]
}

/// `*` for everything; one port as one number.
fn starred<'a>(text: &'a str, everything: &str) -> &'a str {
    match text.split_once('-') {
        _ if text == everything => "*",
        Some((first, last)) if first == last => first,
        Some(_) | None => text,
    }
}

fn shortened(prefixes: &[IpNet]) -> String {
    let shown: Vec<_> = prefixes.iter().take(SHOWN).map(ToString::to_string).collect();
    match prefixes.len().saturating_sub(SHOWN) {
        0 => shown.join(" "),
        more => format!("{} and {more} more", shown.join(" ")),
    }
}
