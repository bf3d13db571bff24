//! `vnet drops`: what was dropped, where and why.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Show what was dropped, for each interface and reason
///
/// A drop counts at the interface the packet came from. The fabric drops silently, as Azure's does: this is the place to
/// look when a guest sees only timeouts.
#[derive(Debug, Args)]
pub(super) struct Drops {
    /// Print again every second what changed, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Drops {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::NoDaemon, format_args!("no lab runs (follow: {})", self.follow)))
    }
}
