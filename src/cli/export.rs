//! `vnet export`: a topology file as a deployment template.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::arm;

use super::context::Context;
use super::failure::Failure;
use super::output::print;
use super::{Exit, Outcome, topology};

/// Write a topology file as an ARM template or as Bicep, for Azure to deploy
///
/// The template has the networks, gateways, balancers, rules and machines of the file, with their dependencies. A note says
/// what is not in it: programs of machines, sites, the lab's own settings. `vnet import` of the result is the same network.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet export arm lab.vnet.yaml > azuredeploy.json\n  \
    vnet export bicep lab.vnet.yaml > main.bicep")]
pub(super) struct Export {
    /// What to write
    #[arg(value_enum)]
    language: Language,
    /// The topology file, or what `import` takes; - for stdin
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// An ARM template, as JSON
    Arm,
    Bicep,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let input = topology::read(&self.file, context)?;
        topology::load(&input, context)?;
        let exported = arm::export(&input.text).map_err(Failure::usage)?;
        let text = match self.language {
            Language::Arm => serde_json::to_string_pretty(&exported.template).map_err(Failure::usage)? + "\n",
            Language::Bicep => arm::bicep(&exported.template),
        };
        print(&text)?;
        exported.notes.iter().for_each(|note| context.messages.note(note));
        Ok(Exit::Fine)
    }
}
