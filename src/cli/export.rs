//! `vnet export`: a topology file as a deployment template.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::arm::{self, Omission};
use crate::config::{self, Location};
use crate::model::counted;

use super::context::Context;
use super::failure::Failure;
use super::output::print;
use super::{Exit, Outcome, topology};

/// Write a topology file as an ARM template or as Bicep, for Azure to deploy
///
/// The template has the networks, gateways, balancers, rules and machines of the file, with their dependencies. A note says
/// what is not in it, and where: programs of machines, sites, the lab's own settings. `vnet import` of the result is the same network.
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
        let loaded = topology::load(&input, context)?;
        let exported = arm::export(&config::as_json(&input.text).map_err(Failure::usage)?);
        let text = match self.language {
            Language::Arm => serde_json::to_string_pretty(&exported.template).map_err(Failure::usage)? + "\n",
            Language::Bicep => arm::bicep(&exported.template),
        };
        print(&text)?;
        for (path, message, others) in grouped(&exported.omissions) {
            let (file, Location { line, column, .. }) = input.place_of(path, loaded.location(path));
            let others =
                if others == 0 { String::new() } else { format!("; and in {}", counted(others, "other place")) };
            context.messages.note(&format!("{file}:{line}:{column}: {message}{others}"));
        }
        Ok(Exit::Fine)
    }
}

/// Each message once: the first path, and how many others there are.
fn grouped(omissions: &[Omission]) -> Vec<(&str, &str, usize)> {
    let mut groups: Vec<(&str, &str, usize)> = Vec::new();
    for Omission { path, message } in omissions {
        match groups.iter_mut().find(|(_, known, _)| known == message) {
            Some((.., others)) => *others += 1,
            None => groups.push((path, message, 0)),
        }
    }
    groups
}
