//! `vnet validate`: a topology file's mistakes, all at once.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::finding::{findings, table};
use super::{Exit, Outcome, topology};
use crate::config::{Errors, Severity};
use crate::model::{Network, counted};

/// Check a topology file against Azure's rules, and for valid settings that are probably not intended
///
/// Every mistake is shown at once, with its place, what was expected, and Azure's error code; in a file without mistakes,
/// every doubt, such as a loop, a one-sided chain or a rule that no packet reaches. Needs no root and changes nothing. Exit code 0 if the file is fine, 2 with errors, 3 with warnings only.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet validate lab.vnet.yaml\n  vnet validate -o json lab.vnet.yaml")]
pub(super) struct Validate {
    /// The topology file, or what `import` takes: a template, a dump or a plan; - for stdin
    file: PathBuf,
}

impl Validate {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let input = topology::read(&self.file, context)?;
        let output = &context.output;
        match topology::load_beside(&input) {
            Ok(loaded) => {
                let warnings = topology::warnings(&loaded);
                let findings = findings(&input, &warnings);
                let rendered = || {
                    let rendered = warnings.iter().map(|warning| input.render(warning, output.colour()) + "\n");
                    rendered.collect::<String>() + &verdict(&input.name, &loaded.network, warnings.len())
                };
                output.text(&findings, &table(&findings), rendered)?;
                Ok(if warnings.is_empty() { Exit::Fine } else { Exit::Warnings })
            }
            Err(errors) => {
                let Errors(diagnostics) = &errors;
                let findings = findings(&input, diagnostics);
                let rendered = || {
                    let all: String = diagnostics.iter().map(|one| input.render(one, output.colour()) + "\n").collect();
                    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
                    format!("{all}{}: {}\n", input.name, counted(errors, "error"))
                };
                output.text(&findings, &table(&findings), rendered)?;
                Ok(Exit::Usage)
            }
        }
    }
}

fn verdict(file: &str, network: &Network, warnings: usize) -> String {
    let opinion = match warnings {
        0 => "fine".to_owned(),
        _ => counted(warnings, "warning"),
    };
    let (vnets, machines) = (network.virtual_networks.len(), network.virtual_machines.len());
    format!("{file}: {opinion}; lab {}, virtual networks: {vnets}, machines: {machines}\n", network.name)
}
