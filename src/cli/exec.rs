//! `vnet exec`: run a program in a node's namespace.

use std::ffi::OsString;

use clap::Args;

use super::context::Context;
use super::{Outcome, labs};
use crate::lab::{self, Node};

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
    pub(super) fn run(self, context: &Context) -> Outcome {
        let lab = labs::running(context)?;
        let (program, arguments) = self.command.split_first().expect("clap requires a program");
        // The program takes this process over: its end is vnet's, signals included.
        match lab::execute(Node::find(&lab, &self.node)?, program, arguments)? {}
    }
}
