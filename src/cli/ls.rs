//! `vnet ls`: the labs that run here.

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::context::Context;
use super::table::Table;
use crate::lab::{self, Base, Record};

/// List the labs that run here
#[derive(Debug, Args)]
pub(super) struct Ls {}

impl Ls {
    #[expect(clippy::unused_self, reason = "every subcommand is called alike")]
    pub(super) fn run(self, context: &Context) -> Outcome {
        let labs: Vec<Lab> = lab::labs(&Base::detect()).into_iter().map(Lab::from).collect();
        let table = Table::new(&["Lab", "State", "Pid", "Nodes", "File"]).rows(labs.iter().map(|lab| {
            let (pid, nodes) = (lab.pid.to_string(), lab.nodes.len().to_string());
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
    pid: u32,
    nodes: Vec<String>,
    file: String,
}

impl From<Record> for Lab {
    fn from(record: Record) -> Self {
        Self {
            // `vnet down` removes what a crashed one left.
            state: if record.is_running() { "running" } else { "crashed" },
            pid: record.daemon.pid,
            nodes: record.nodes.into_iter().map(|node| node.name).collect(),
            name: record.lab,
            file: record.file,
        }
    }
}
