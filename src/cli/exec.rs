//! `vnet exec`: run a program in a node's namespace.

use std::ffi::OsString;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Run a program in a machine of the lab
///
/// The program sees the machine's interfaces, and every node of the lab by name. Its exit code is vnet's.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet exec web -- ping -c1 db\n  vnet exec db -- iperf3 -s")]
pub(super) struct Exec {
    /// The machine
    node: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        let message = format!("cannot run {:?} in {}: no lab runs", self.command, self.node);
        Err(Failure::new(Exit::NoDaemon, message))
    }
}
