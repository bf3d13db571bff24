//! `vnet reach`: which nodes reach which, as a matrix, and what a changed file opens and closes.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::analysis::{self, Difference, Pair, Probe, Query, Shift, Verdict};
use crate::compile::Compiled;
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::{self, Base};
use crate::model::Network;

use super::ask::unexpected;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::input;
use super::output::Output;
use super::table::Table;
use super::{Outcome, by_packets, topology};

/// Show which nodes reach which, there and back
///
/// Every node asks every other, with a ping or on one port, through the pipeline that forwards. With --diff, compares a
/// changed file, on every port that the rules of either tell apart, and exits with 1 if anything differs.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet reach\n  vnet reach web hub/nva dc\n  vnet reach --port 443 -t config/nsg-tiers.yaml\n  \
    vnet reach --diff changed.yaml\n  vnet reach -t old.yaml --diff new.yaml -o json"
)]
pub(super) struct Reach {
    /// Only these: a machine, a site, a gateway, or VNET/SUBNET for a machine that would be there
    #[arg(value_name = "NODE", num_args = 0..)]
    nodes: Vec<String>,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Ask on this port instead of by ping: PORT for TCP, PORT/udp for UDP
    #[arg(short, long, value_name = "PORT[/PROTO]")]
    port: Option<Probe>,
    /// Show what this file would open, close and send another way; it may be a template, a dump or a plan, too
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
}

impl Reach {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let Some(file) = &self.diff else {
            let mut reach = self.ask(Some(self.port.unwrap_or(Probe::Ping)), BTreeSet::new(), context)?;
            if self.topology.is_none() {
                settle_pairs(&mut reach, context);
            }
            return context.output.text(&reach, &rows(&reach), || matrix(&reach, &context.output));
        };
        let changed = topology::compiled(file, context)?;
        let boundaries = analysis::boundaries(&changed.0);
        let before = match self.before(file, context)? {
            Some(before) => of(&before, &self.nodes, &analysis::traffic(&before.0, self.port, boundaries))?,
            None => self.ask(self.port, boundaries, context)?,
        };
        let after = of(&changed, &self.nodes, &before.traffic)?;
        let differences = analysis::differences(&before, &after);
        let table = shifts(&differences, before.traffic.len());
        let text = || match differences.len() {
            0 => "no difference\n".to_owned(),
            _ => context.output.render(&table),
        };
        context.output.text(&differences, &table, text)?;
        Ok(if differences.is_empty() { Exit::Fine } else { Exit::No })
    }

    /// What is there before a Terraform plan, which says both, where nothing else is given to compare it with.
    fn before(&self, file: &Path, context: &Context) -> Result<Option<(Network, Compiled)>, Failure> {
        if self.topology.is_some() || context.given.is_some() {
            return Ok(None);
        }
        input::before(file, context)?.map(|before| topology::compiled_input(&before, context)).transpose()
    }

    /// The running lab's answer, or that of the file it was given instead.
    fn ask(
        &self,
        probe: Option<Probe>,
        boundaries: BTreeSet<u16>,
        context: &Context,
    ) -> Result<analysis::Reach, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::Reach { probe, boundaries, nodes: self.nodes.clone() })? {
                Response::Reach(reach) => Ok(reach),
                other => Err(unexpected(&other)),
            };
        };
        let topology = topology::compiled(file as &Path, context)?;
        of(&topology, &self.nodes, &analysis::traffic(&topology.0, probe, boundaries))
    }
}

/// Asks real packets where guests have rules of their own. What cannot be asked stays open.
fn settle_pairs(reach: &mut analysis::Reach, context: &Context) {
    let mut open: Vec<&mut Pair> = reach.pairs.iter_mut().filter(|pair| !pair.guest_rules.is_empty()).collect();
    let query = |pair: &&mut Pair| {
        let query = analysis::parse_query(&pair.source, &pair.destination).ok()?;
        Some(Query { probe: pair.traffic.probe, ..query })
    };
    open.retain(|pair| query(pair).is_some());
    let queries: Vec<Query> = open.iter().filter_map(query).collect();
    if queries.is_empty() {
        return;
    }
    let lab = lab::pick(&Base::detect(), context.lab.as_deref()).map_err(Failure::from);
    match lab.and_then(|lab| by_packets::settle(&queries, &lab, context)) {
        Ok(settled) => open.into_iter().zip(settled).for_each(|(pair, settled)| {
            if let Ok(settled) = settled {
                pair.settle(settled);
            }
        }),
        Err(failure) => context.messages.warning(&format!("no real packets could settle it: {}", failure.message)),
    }
}

fn of(
    (network, compiled): &(Network, Compiled),
    nodes: &[String],
    traffic: &[analysis::Traffic],
) -> Result<analysis::Reach, Failure> {
    let reach = match nodes {
        [] => analysis::reach(network, compiled, traffic),
        some => analysis::reach_among(network, compiled, some, traffic),
    };
    reach.map_err(Failure::usage)
}

/// Sources downwards, destinations across.
fn matrix(reach: &analysis::Reach, output: &Output) -> String {
    let traffic = reach.traffic.iter().map(ToString::to_string).collect();
    let columns = std::iter::once(traffic).chain(reach.nodes.iter().cloned()).collect();
    let mut pairs = reach.pairs.iter().peekable();
    let mut rows = Vec::with_capacity(reach.nodes.len());
    for source in &reach.nodes {
        let mut row = vec![source.clone()];
        for destination in &reach.nodes {
            // In the order of the nodes; a pair without an address family in common is not there.
            let pair = pairs.next_if(|pair| (&pair.source, &pair.destination) == (source, destination));
            row.push(pair.map_or_else(|| "-".to_owned(), cell));
        }
        rows.push(row);
    }
    let reachable = reach.pairs.iter().filter(|pair| pair.verdict == Verdict::Reachable).count();
    let legend = legend(&rows) + &guests(reach);
    format!(
        "{}\n{legend}{reachable} of {} reachable\n",
        output.render(&Table::matrix(columns, rows)),
        reach.pairs.len()
    )
}

/// The guests with rules of their own that decide, once each.
fn guests(reach: &analysis::Reach) -> String {
    let met = reach.pairs.iter().flat_map(|pair| &pair.guest_rules);
    let nodes =
        met.map(|guest| guest.node.as_str()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    if nodes.is_empty() {
        return String::new();
    }
    let settled =
        if reach.pairs.iter().any(|pair| pair.settled.is_some()) { "; *: settled by a real packet" } else { "" };
    format!("firewall rules of guests, which this program does not evaluate: {nodes}{settled}\n")
}

fn cell(pair: &Pair) -> String {
    if let Some(settled) = &pair.settled {
        return match (settled.verdict, settled.via.as_deref()) {
            (Verdict::Reachable, Some([]) | None) => "yes *".to_owned(),
            (Verdict::Reachable, Some(via)) => format!("via {} *", via.join(", ")),
            _ => "no *".to_owned(),
        };
    }
    if !pair.guest_rules.is_empty() {
        return "depends".to_owned();
    }
    match (pair.verdict, &pair.back) {
        (Verdict::Reachable, _) => match pair.ways_there()[..] {
            [[]] => "yes".to_owned(),
            ref ways if ways.len() <= 3 => {
                let ways = ways.iter().map(|way| if way.is_empty() { "directly".to_owned() } else { way.join(", ") });
                format!("via {}", ways.collect::<Vec<_>>().join(" or "))
            }
            ref ways => format!("{} ways", ways.len()),
        },
        (Verdict::Depends, _) => "depends".to_owned(),
        (Verdict::WrongHost, _) => "wrong host".to_owned(),
        (Verdict::Blocked, Some(_)) => "no answer".to_owned(),
        (Verdict::Blocked, None) => "no".to_owned(),
    }
}

/// Explains the words that occur.
fn legend(rows: &[Vec<String>]) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("yes", "there and back"),
        ("no", "the question is dropped"),
        ("no answer", "the answer is dropped"),
        ("wrong host", "delivered to another machine with that address"),
        ("depends", "some flows are dropped by their hash, or by a guest's own rules"),
    ];
    let occurs = |word: &str| rows.iter().any(|row| row[1..].iter().any(|cell| cell == word));
    WORDS
        .iter()
        .filter(|(word, _)| occurs(word))
        .fold(String::new(), |text, (word, meaning)| text + word + ": " + meaning + "    ")
}

fn rows(reach: &analysis::Reach) -> Table {
    Table::new(&["Source", "Destination", "Traffic", "Verdict", "Way"]).rows(reach.pairs.iter().map(|pair| {
        let verdict = pair.verdict.to_string();
        [pair.source.clone(), pair.destination.clone(), pair.traffic.to_string(), verdict, pair.to_string()]
    }))
}

/// One row for all traffic of a pair that fares alike; `asked` kinds of traffic are everything.
fn shifts(differences: &[Difference], asked: usize) -> Table {
    let mut groups: Vec<(&Difference, Vec<String>)> = Vec::new();
    for difference in differences {
        let traffic = difference.traffic.to_string();
        // A pair's differences stand together.
        let mut same = groups.iter_mut().rev().take_while(|(first, _)| same_pair(first, difference));
        match same.find(|(first, _)| fares_alike(first, difference)) {
            Some((_, all)) => all.push(traffic),
            None => groups.push((difference, vec![traffic])),
        }
    }
    Table::new(&["Change", "Source", "Destination", "Traffic", "Before", "After"]).rows(groups.into_iter().map(
        |(difference, traffic)| {
            let word = match difference.shift {
                Shift::Opens => "opens",
                Shift::Closes => "closes",
                Shift::Reroutes => "reroutes",
            };
            let everything = traffic.len() == asked && asked > 1;
            [
                word.to_owned(),
                difference.source.clone(),
                difference.destination.clone(),
                if everything { "everything".to_owned() } else { traffic.join(" ") },
                way(difference.before.as_ref()),
                way(difference.after.as_ref()),
            ]
        },
    ))
}

fn same_pair(a: &Difference, b: &Difference) -> bool {
    (&a.source, &a.destination) == (&b.source, &b.destination)
}

fn fares_alike(a: &Difference, b: &Difference) -> bool {
    let way = |difference: &Difference| (way(difference.before.as_ref()), way(difference.after.as_ref()));
    a.shift == b.shift && way(a) == way(b)
}

fn way(pair: Option<&impl Display>) -> String {
    pair.map_or_else(|| "no such node".to_owned(), ToString::to_string)
}
