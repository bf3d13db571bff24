//! `vnet validate`: a topology file's mistakes, all at once.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Check a topology file against Azure's rules
///
/// Every mistake is shown at once, with its place, what was expected, and Azure's error code. Needs no root and changes
/// nothing. Exit code 0 if the file is fine, 2 with errors, 3 with warnings only.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet validate lab.vnet.yaml\n  vnet validate -o json lab.vnet.yaml")]
pub(super) struct Validate {
    /// The topology file
    file: PathBuf,
}

impl Validate {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::Usage, format_args!("cannot check {}", self.file.display())))
    }
}
