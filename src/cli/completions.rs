//! `vnet completions`: a completion script for a shell.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::output::print;
use super::{Exit, Outcome};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  vnet completions bash > /etc/bash_completion.d/vnet")]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: Command) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "vnet", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine)
    }
}
