//! `vnet up`: start a lab from a topology file.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::finding::{Finding, findings};
use super::output::print;
use super::{Exit, Outcome, topology};
use crate::lab::{self, Record, RecordedProgram};

/// Start a lab from a topology file
///
/// A namespace for each machine, a TUN for each interface, a router between them. Returns when packets flow, and says what
/// in the file works and is hardly meant, as `validate` does. Without FILE it takes the one `*.vnet.yaml` in this directory.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet up config/hub-spoke.yaml\n  vnet up && vnet status")]
pub(super) struct Up {
    /// The topology file
    file: Option<PathBuf>,
}

impl Up {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let file = self.file.map_or_else(the_one_here, Ok)?;
        let started = Instant::now();
        let lab = lab::start_daemon(&file, None, &context.messages.options())?;
        let took = started.elapsed();
        if !context.output.is_data() {
            announce(&lab, took, context)?;
        }
        // Doubts do not keep anybody waiting for packets.
        let (text, name) = topology::read(&file)?;
        let doubts = topology::doubts_of(&text, &name);
        if context.output.is_data() {
            return context.output.data(&Started::new(&lab, took, findings(&name, &doubts)));
        }
        topology::show(&doubts, &text, &name, &context.messages);
        Ok(Exit::Fine)
    }
}

/// A lab that is up, as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started<'a> {
    lab: &'a str,
    /// From the call until packets flow.
    seconds: f64,
    nodes: Vec<&'a str>,
    /// They run with the lab's privileges.
    programs: &'a [RecordedProgram],
    findings: Vec<Finding<'a>>,
}

impl<'a> Started<'a> {
    fn new(lab: &'a Record, took: Duration, findings: Vec<Finding<'a>>) -> Self {
        let nodes = lab.nodes.iter().map(|node| node.name.as_str()).collect();
        Self { lab: &lab.lab, seconds: took.as_secs_f64(), nodes, programs: &lab.programs, findings }
    }
}

/// Says that packets flow, and what runs with the lab's privileges.
pub(super) fn announce(lab: &Record, took: Duration, context: &Context) -> Result<(), Failure> {
    let nodes: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    print(&format!("lab {} is up in {:.2} s: {}\n", lab.lab, took.as_secs_f64(), nodes.join(", ")))?;
    for program in &lab.programs {
        let (command, log) = (title(&program.command), program.log.display());
        context.messages.note(&format!("{} runs `{command}` with the lab's privileges; output in {log}", program.node));
    }
    Ok(())
}

/// A command in one line: a script is more than a message has room for.
fn title(command: &[String]) -> String {
    let words = command.iter().map(|word| match word.split_once('\n') {
        Some(_) => "…",
        None => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The one `*.vnet.yaml` of this directory.
fn the_one_here() -> Result<PathBuf, Failure> {
    let entries =
        fs::read_dir(".").map_err(|error| Failure::usage(format_args!("cannot read this directory: {error}")))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut found: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".vnet.yaml")).collect();
    found.sort();
    match &found[..] {
        [one] => Ok(one.into()),
        [] => Err(Failure::usage("no *.vnet.yaml in this directory").help("name the file: vnet up FILE")),
        several => {
            let names: Vec<_> = several.iter().map(|name| name.to_string_lossy()).collect();
            Err(Failure::usage(format_args!("several topologies here: {}", names.join(", ")))
                .help("name the file: vnet up FILE"))
        }
    }
}
