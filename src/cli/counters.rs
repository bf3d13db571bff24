//! `vnet counters`: packets and bytes of each interface.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Show packets and bytes of each interface
///
/// Tx is towards the guest, rx is from the guest. Packets are counted as on a wire: a segmented packet counts as its
/// segments.
#[derive(Debug, Args)]
pub(super) struct Counters {
    /// Print again every second, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Counters {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::NoDaemon, format_args!("no lab runs (follow: {})", self.follow)))
    }
}
