//! `vnet completions`: what a shell proposes. The script that a shell reads asks `vnet` itself at every TAB.
//!
//! One idea: an argument's name decides what is proposed for it. `NODE` is a machine of the lab that the command line
//! means, `LAB` a lab, `FILE` a topology file. A new command needs nothing of its own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Arg, Args, Command};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter};
use clap_complete::env::{CompleteEnv, Shells};

use super::output::print;
use super::{Exit, Failure, Outcome, topology};
use crate::lab::{self, Base};

/// What a shell sets when it asks.
const ASKED: &str = "COMPLETE";

/// Print a completion script for a shell
///
/// The shell then knows commands, options, labs, the machines of a lab or of a file, and topology files.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  vnet completions bash > /etc/bash_completion.d/vnet
  source <(vnet completions zsh)
  vnet completions fish > ~/.config/fish/completions/vnet.fish")]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let (shells, shell) = (Shells::builtins(), self.shell.to_string());
        let shell = shells.completer(&shell).expect("every shell that clap knows has a script");
        let mut script = Vec::new();
        let written = shell.write_registration(ASKED, "vnet", "vnet", "vnet", &mut script);
        written.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine)
    }
}

/// Answers a shell that asks for completions. False if none does.
pub(super) fn answered(command: fn() -> Command) -> Result<bool, clap::Error> {
    let directory = env::current_dir().ok();
    let definition = move || with_values(command());
    CompleteEnv::with_factory(definition).var(ASKED).bin("vnet").try_complete(env::args_os(), directory.as_deref())
}

/// The command line, with what to propose for each argument.
fn with_values(command: Command) -> Command {
    let of_labs = matches!(command.get_name(), "down" | "status");
    command.mut_args(|arg| with_value(arg, of_labs)).mut_subcommands(with_values)
}

fn with_value(arg: Arg, of_labs: bool) -> Arg {
    let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string).unwrap_or_default();
    match name.as_str() {
        "LAB" => arg.add(ArgValueCandidates::new(labs)),
        "NAME" if of_labs => arg.add(ArgValueCandidates::new(labs)),
        "FILE" => arg.add(ArgValueCompleter::new(PathCompleter::any().filter(is_topology))),
        "DIR" => arg.add(ArgValueCompleter::new(PathCompleter::dir())),
        "NODE" | "TARGET" | "SRC" => arg.add(ArgValueCandidates::new(machines)),
        name if name.starts_with("DST") => arg.add(ArgValueCandidates::new(machines)),
        _ => arg,
    }
}

fn is_topology(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn labs() -> Vec<CompletionCandidate> {
    let labs = lab::all(&Base::detect()).into_iter();
    let state = |runs| if runs { "running" } else { "crashed" };
    labs.map(|lab| CompletionCandidate::new(lab.name).help(Some(state(lab.runs).into()))).collect()
}

/// The machines of the file that `-t` names, else of the lab that is meant. None where that is not clear.
fn machines() -> Vec<CompletionCandidate> {
    let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let names = if let Some(file) = option(&words, "-t", "--topology") {
        in_file(&file)
    } else {
        let lab = option(&words, "-l", "--lab").or_else(|| env::var_os("VNET_LAB").filter(|lab| !lab.is_empty()));
        in_lab(lab.as_ref().and_then(|lab| lab.to_str()))
    };
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The value of an option: `-l x`, `-lx`, `--lab x` or `--lab=x`.
fn option(words: &[OsString], short: &str, long: &str) -> Option<OsString> {
    let joined = |word: &OsStr| {
        let word = word.to_str()?;
        let long = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        let short = word.strip_prefix(short).filter(|rest| !rest.is_empty());
        long.or(short).map(OsString::from)
    };
    // What is behind a bare `--` is for a program.
    let words: Vec<_> = words.iter().take_while(|word| *word != "--").collect();
    let value = |(at, word): (usize, &&OsString)| {
        if *word == short || *word == long { words.get(at + 1).map(|next| (*next).clone()) } else { joined(word) }
    };
    words.iter().enumerate().find_map(value)
}

fn in_lab(name: Option<&str>) -> Vec<String> {
    let record = lab::pick(&Base::detect(), name).ok();
    record.into_iter().flat_map(|record| record.nodes).map(|node| node.name).collect()
}

fn in_file(file: &OsStr) -> Vec<String> {
    let text = std::fs::read_to_string(file).ok();
    let loaded = text.and_then(|text| topology::load_beside(&text, &file.to_string_lossy()).ok());
    let machines = loaded.into_iter().flat_map(|loaded| loaded.network.virtual_machines);
    machines.map(|machine| machine.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_in_every_spelling() {
        let lab = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            option(&words, "-l", "--lab").and_then(|lab| lab.into_string().ok())
        };
        for line in ["vnet -l a exec", "vnet exec -la", "vnet --lab a exec", "vnet exec --lab=a web"] {
            assert_eq!(lab(line).as_deref(), Some("a"), "{line}");
        }
        for line in ["vnet exec web", "vnet exec web -- ls -l a", "vnet -l"] {
            assert_eq!(lab(line), None, "{line}");
        }
    }
}
