//! `vnet up`: start a lab from a topology file.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Start a lab: a namespace for each machine, a TUN for each interface, a router between them
///
/// Returns when packets flow. Without FILE it takes the one `*.vnet.yaml` in this directory.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet up config/hub-spoke.yaml\n  vnet up && vnet status")]
pub(super) struct Up {
    /// The topology file
    file: Option<PathBuf>,
}

impl Up {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::Unavailable, format_args!("cannot start {:?}: labs are not built in", self.file)))
    }
}
