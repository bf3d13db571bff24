//! `vnet validate`: a topology file's mistakes, all at once.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::table::Table;
use super::{Exit, Outcome, topology};
use crate::config::{Diagnostic, Errors, Loaded, Place, Severity};
use crate::model::Network;

/// Check a topology file against Azure's rules, and for what works but is hardly meant
///
/// Every mistake is shown at once, with its place, what was expected, and Azure's error code; in a file without mistakes,
/// every doubt, such as a loop, a one-sided chain or a rule that no packet reaches. Needs no root and changes nothing. Exit code 0 if the file is fine, 2 with errors, 3 with warnings only.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet validate lab.vnet.yaml\n  vnet validate -o json lab.vnet.yaml")]
pub(super) struct Validate {
    /// The topology file; - for stdin
    file: PathBuf,
}

/// A diagnostic as data.
#[derive(Serialize)]
struct Finding<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: &'static str,
    /// Azure's error code, or the lint's name.
    code: Option<&'a str>,
    rule: Option<&'a str>,
    message: &'a str,
    path: &'a str,
    expected: Option<&'a str>,
    help: Option<&'a str>,
}

impl Validate {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (text, file) = topology::read(&self.file)?;
        let output = &context.output;
        match topology::load_beside(&text, &file) {
            Ok(loaded) => {
                let warnings = doubts(&loaded);
                let findings = findings(&file, &warnings);
                let rendered = || {
                    let rendered = warnings.iter().map(|warning| warning.render(&text, &file, output.colour()) + "\n");
                    rendered.collect::<String>() + &verdict(&file, &loaded.network, warnings.len())
                };
                output.story(&findings, &table(&findings), rendered)?;
                Ok(if warnings.is_empty() { Exit::Fine } else { Exit::Warnings })
            }
            Err(errors) => {
                let Errors(diagnostics) = &errors;
                let findings = findings(&file, diagnostics);
                output.story(&findings, &table(&findings), || errors.render(&text, &file, output.colour()))?;
                Ok(Exit::Usage)
            }
        }
    }
}

/// What is doubtful about the file, then what is doubtful about the network, each in the file's order.
fn doubts(loaded: &Loaded) -> Vec<Diagnostic> {
    loaded.warnings.iter().cloned().chain(topology::doubts(loaded)).collect()
}

fn verdict(file: &str, network: &Network, warnings: usize) -> String {
    let opinion = match warnings {
        0 => "fine".to_owned(),
        1 => "1 warning".to_owned(),
        _ => format!("{warnings} warnings"),
    };
    let (vnets, machines) = (network.virtual_networks.len(), network.virtual_machines.len());
    format!("{file}: {opinion}; lab {}, virtual networks: {vnets}, machines: {machines}\n", network.name)
}

fn findings<'a>(file: &'a str, diagnostics: &'a [Diagnostic]) -> Vec<Finding<'a>> {
    let finding = |diagnostic: &'a Diagnostic| {
        let Diagnostic { severity, code, rule, message, path, place, expected, help } = diagnostic;
        let Place { line, column, len: _ } = *place;
        Finding {
            file,
            line,
            column,
            severity: match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: *code,
            rule: *rule,
            message,
            path,
            expected: expected.as_deref(),
            help: help.as_deref(),
        }
    };
    diagnostics.iter().map(finding).collect()
}

fn table(findings: &[Finding<'_>]) -> Table {
    let columns = &["File", "Line", "Column", "Severity", "Code", "Message", "Path"];
    Table::new(columns).rows(findings.iter().map(|finding| {
        let (line, column) = (finding.line.to_string(), finding.column.to_string());
        let code = finding.code.unwrap_or_default();
        [finding.file, &line, &column, finding.severity, code, finding.message, finding.path].map(str::to_owned)
    }))
}
