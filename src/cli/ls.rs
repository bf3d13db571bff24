//! `vnet ls`: the labs that run here.

use clap::Args;

use super::Outcome;
use super::context::Context;
use super::table::Table;

/// List the labs that run here
#[derive(Debug, Args)]
pub(super) struct Ls {}

impl Ls {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let labs: [(); 0] = [];
        context.output.rows(&labs, &Table::new(&["Lab", "State", "Pid", "Nodes", "File"]))
    }
}
