//! `vnet shell`: a shell in a node's namespace.

use std::env;

use clap::Args;

use super::context::Context;
use super::{Outcome, labs};
use crate::lab::{self, Node};

/// Open a shell in a machine of the lab
///
/// It is `$SHELL`; the host name, and so most prompts, are the machine's. `VNET_NODE` holds its name too, and
/// `VNET_NAMESPACE` the path of its namespace.
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// The machine
    node: String,
}

impl Shell {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let lab = labs::running(context)?;
        let node = Node::find(&lab, &self.node)?;
        let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
        context.messages.note(&format!("in {} of lab {}; `exit` leaves", node.node.name, lab.lab));
        match lab::execute(node, &shell, &[])? {}
    }
}
