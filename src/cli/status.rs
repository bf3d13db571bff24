//! `vnet status`: one lab in detail.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Show a lab: its daemon, its nodes, their interfaces and addresses
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The lab; by default the one that runs
    name: Option<String>,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let lab = self.name.as_ref().or(context.lab.as_ref());
        Err(Failure::new(Exit::NoDaemon, format_args!("no lab {lab:?} runs")))
    }
}
