//! `vnet ls`: the labs that run here.

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::table::Table;
use crate::lab::{self, Base, Found};

/// List the labs that run here
#[derive(Debug, Args)]
pub(super) struct Ls {}

impl Ls {
    #[expect(clippy::unused_self, reason = "every subcommand is called alike")]
    pub(super) fn run(self, context: &Context) -> Outcome {
        let labs: Vec<Lab> = lab::all(&Base::detect()).into_iter().map(Lab::from).collect();
        let table = Table::new(&["Lab", "State", "Pid", "Nodes", "File"]).rows(labs.iter().map(|lab| {
            let pid = lab.pid.map_or_else(String::new, |pid| pid.to_string());
            let nodes = lab.nodes.len().to_string();
            [lab.name.clone(), lab.state.to_owned(), pid, nodes, lab.file.clone()]
        }));
        context.output.rows(&labs, &table)
    }
}

/// A row.
#[derive(Serialize)]
struct Lab {
    name: String,
    state: &'static str,
    /// None if what the lab wrote of itself is damaged.
    pid: Option<u32>,
    nodes: Vec<String>,
    file: String,
}

impl From<Found> for Lab {
    fn from(Found { name, record, runs }: Found) -> Self {
        // `vnet down` removes what a crashed one left.
        let state = if runs { "running" } else { "crashed" };
        let pid = record.as_ref().map(|record| record.daemon.pid);
        let (nodes, file) = record.map(|record| (record.nodes, record.file)).unwrap_or_default();
        Self { name, state, pid, nodes: nodes.into_iter().map(|node| node.name).collect(), file }
    }
}
