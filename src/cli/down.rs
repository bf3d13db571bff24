//! `vnet down`: end a lab and remove exactly what it made.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// End a lab and remove everything it made
///
/// Works after a crash of the lab's daemon too, and twice in a row.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet down\n  vnet down hub-spoke\n  vnet down --all")]
pub(super) struct Down {
    /// The lab to end; by default the one that runs
    #[arg(conflicts_with = "all")]
    name: Option<String>,
    /// End every lab
    #[arg(long)]
    all: bool,
}

impl Down {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let lab = self.name.as_ref().or(context.lab.as_ref());
        Err(Failure::new(Exit::NoDaemon, format_args!("no lab {lab:?} runs (all: {})", self.all)))
    }
}
