//! `vnet shell`: a shell in a node's namespace.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Open a shell in a machine of the lab
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// The machine
    node: String,
}

impl Shell {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::NoDaemon, format_args!("cannot open a shell in {}: no lab runs", self.node)))
    }
}
