//! `vnet up`: start a lab from a topology file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::consent::Consent;
use super::context::Context;
use super::ended::{self, EndedProgram};
use super::failure::Failure;
use super::finding::{Finding, findings};
use super::output::print;
use super::{Exit, Outcome, topology};
use crate::lab::{self, Record, RecordedProgram};
use crate::model::{Sandbox, counted};

/// Nodes that are listed by name.
const NAMED_MAX: usize = 20;

/// Start a lab from a topology file
///
/// A namespace for each machine, a device for each interface, a router between them. Returns when packets flow, and
/// prints warnings as `validate` does: valid, but probably not what you intended. Without FILE it takes the one
/// `*.vnet.yaml` in this directory.
/// `-l NAME` gives the lab another name than the file's. If a program of the file ends at once with an error, its last
/// lines are printed: exit code 3.
///
/// A file with programs or firewall rules of guests needs your consent. At a terminal `up` shows what would run and asks.
/// It remembers a yes, as `vnet trust` does.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet up config/hub-spoke.yaml\n  vnet up && vnet status\n  vnet up -l second lab.vnet.yaml"
)]
pub(super) struct Up {
    /// The topology file, or what `import` takes: a template, a dump or a plan
    file: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

impl Up {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let file = self.file.map_or_else(the_one_here, Ok)?;
        let input = topology::read(&file, context)?;
        // A file that is made has its mistakes and warnings shown in what it was made from, and here alone. So has a pipe,
        // which cannot be read twice.
        let is_piped = file == Path::new("-");
        let text = (is_piped || input.imported().is_some()).then_some(input.text.as_str());
        if text.is_some() {
            topology::parse(&input, context)?;
        }
        let name = if is_piped { Path::new(&input.name) } else { &file };
        let policy = self.consent.settle_input(&input, context)?;
        let started = Instant::now();
        let lab = lab::start_daemon(name, text, context.name()?, policy, &context.messages.options())?;
        let took = started.elapsed();
        let ready = Instant::now();
        if !context.output.is_data() {
            announce(&lab, took, context)?;
        }
        // Packets do not wait for warnings.
        let doubts = topology::doubts_of(&input);
        let ended = ended::at_once(&lab, ready);
        if context.output.is_data() {
            context.output.data(&Started::new(&lab, took, findings(&input, &doubts), &ended))?;
        } else {
            topology::show(&doubts, &input, &context.messages);
            for program in &ended {
                context.messages.warning(&program.to_string());
            }
        }
        Ok(if ended.is_empty() { Exit::Fine } else { Exit::Warnings })
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
    /// In their sandboxes, or with the lab's privileges: each says which.
    programs: &'a [RecordedProgram],
    /// Programs that ended soon with an error.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    failed: &'a [EndedProgram],
    findings: Vec<Finding<'a>>,
}

impl<'a> Started<'a> {
    fn new(lab: &'a Record, took: Duration, findings: Vec<Finding<'a>>, failed: &'a [EndedProgram]) -> Self {
        let nodes = lab.nodes.iter().map(|node| node.name.as_str()).collect();
        Self { lab: &lab.lab, seconds: took.as_secs_f64(), nodes, programs: &lab.programs, failed, findings }
    }
}

/// Says that packets flow, and what code of the file runs.
pub(super) fn announce(lab: &Record, took: Duration, context: &Context) -> Result<(), Failure> {
    if lab.after_crash {
        context.messages.note(&format!("lab {} had crashed; what it left behind was removed first", lab.lab));
    }
    print(&format!("lab {} is up in {:.2} s: {}\n", lab.lab, took.as_secs_f64(), nodes(lab)))?;
    for program in &lab.programs {
        let (command, log) = (program.in_one_line(), program.log.display());
        let rights = match program.sandbox {
            Sandbox::Machine => "in its sandbox",
            Sandbox::None => "with the lab's privileges",
        };
        context.messages.note(&format!("{} runs `{command}` {rights}; output in {log}", program.node));
    }
    Ok(())
}

/// By name where they are few.
fn nodes(lab: &Record) -> String {
    if lab.nodes.is_empty() {
        return "no machine is in it".to_owned();
    }
    if lab.nodes.len() <= NAMED_MAX {
        let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
        return names.join(", ");
    }
    let machines = lab.nodes.iter().filter(|node| node.machine).count();
    match lab.nodes.len() - machines {
        0 => counted(machines, "machine"),
        others => format!("{}, {}", counted(machines, "machine"), counted(others, "other node")),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lab(machines: usize, others: usize) -> Record {
        let node = |number: usize| {
            let machine = number < machines;
            json!({"name": format!("n{number}"), "machine": machine, "namespace": "/nowhere", "resolver": null, "devices": {}})
        };
        let nodes: Vec<_> = (0..machines + others).map(node).collect();
        serde_json::from_value(json!({
            "lab": "lab", "daemon": {"pid": 1, "start_time": 1}, "file": "lab.yaml", "since": 0, "rootless": false,
            "socket": "/nowhere", "hosts": "/nowhere", "nodes": nodes, "addresses": {}, "programs": []
        }))
        .expect("a record")
    }

    #[test]
    fn few_nodes_are_named_and_many_are_counted() {
        assert_eq!(nodes(&lab(0, 0)), "no machine is in it");
        assert_eq!(nodes(&lab(2, 1)), "n0, n1, n2");
        let twenty = nodes(&lab(15, 5));
        assert!(twenty.starts_with("n0, n1, ") && twenty.ends_with(", n19"), "{twenty}");
        assert_eq!(nodes(&lab(21, 0)), "21 machines");
        assert_eq!(nodes(&lab(20, 1)), "20 machines, 1 other node");
        assert_eq!(nodes(&lab(1, 20)), "1 machine, 20 other nodes");
    }
}
