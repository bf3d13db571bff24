//! `vnet demo`: the main job, shown in a second.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Start a ready-made lab and show packets going through it
///
/// A hub, two spokes and a network virtual appliance; as root or not. It stays up: the last lines say what to try next,
/// and `vnet down` ends it.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::Unavailable, "labs are not built into this binary"))
    }
}
