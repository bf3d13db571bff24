//! `vnet run`: the router in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Run the router in the foreground: for systemd, containers and namespaces of your own
///
/// With `attach:` in the file, VNets and interfaces hang on namespaces that exist already. Prints one line on stdout
/// when packets flow, and tells systemd. SIGINT and SIGTERM end it; it removes what it made.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  ip netns add left; ip netns add right\n  vnet run config/two-vnets.yaml")]
pub(super) struct Run {
    /// The topology file
    file: PathBuf,
    /// Run as the daemon of a lab that `up` starts
    #[arg(long = "lab-daemon", hide = true)]
    lab_daemon: bool,
}

impl Run {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        let what = if self.lab_daemon { "a lab's daemon" } else { "the router" };
        Err(Failure::new(Exit::Unavailable, format_args!("cannot run {what} for {}", self.file.display())))
    }
}
