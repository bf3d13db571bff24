//! What a node runs: `run` and `sandbox`, in every node that can have a program.

use crate::config::yaml::decode::{Fields, command, word};
use crate::model::{Program, Sandbox};

pub(super) fn program(f: &mut Fields<'_>) -> Program {
    let sandbox = word(&[("machine", Sandbox::Machine), ("none", Sandbox::None)]);
    Program {
        command: f.optional("run", command).map_or_else(Vec::new, |run| run.value),
        sandbox: f.optional("sandbox", sandbox).map_or(Sandbox::Machine, |sandbox| sandbox.value),
    }
}
