//! The programs that a file starts in its machines once packets flow.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{During, Result};
use super::exec::{Node, enter, environment};
use super::journal::{GRACE, Journal, Made};
use super::state::{LabDir, Record};
use crate::model::Network;
use crate::sys::process::{self, ProcessId, Signal};

/// A program that was started.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) node: String,
    command: String,
    child: Child,
}

impl Program {
    /// Starts the programs of all machines that have one, each leading a process group of its own.
    pub(super) fn start_all(
        network: &Network,
        record: &Record,
        dir: &LabDir,
        journal: &mut Journal,
    ) -> Result<Vec<Self>> {
        let machines = network.virtual_machines.iter().filter(|vm| !vm.run.is_empty());
        machines
            .map(|vm| {
                let program = Self::start(Node::find(record, &vm.name)?, &vm.run, dir)?;
                let leader = ProcessId::of(program.child.id());
                let noted = leader.and_then(|leader| journal.note(Made::Program(leader)));
                noted.during(|| "cannot write the journal".into())?;
                Ok(program)
            })
            .collect()
    }

    /// How it ended, once: `node: command: exit status`.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("{}: `{}` ended: {status}", self.node, self.command))
    }

    fn start(node: Node<'_>, command: &[String], dir: &LabDir) -> Result<Self> {
        let (program, arguments) = command.split_first().expect("only machines with a program are started");
        let spawn = || -> Result<io::Result<Child>> {
            enter(node)?;
            Ok(File::create(dir.program_log(&node.node.name)).and_then(|log| {
                Command::new(program)
                    .args(arguments)
                    .envs(environment(node))
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .process_group(0)
                    .spawn()
            }))
        };
        // A child is born into the namespaces of the thread that makes it.
        let spawned = thread::scope(|scope| scope.spawn(spawn).join()).expect("entering a node does not panic")?;
        let child = spawned.during(|| format!("cannot run `{program}` in {}", node.node.name))?;
        Ok(Self { node: node.node.name.clone(), command: command.join(" "), child })
    }
}

/// Asks all programs to end, and insists on it after a while.
pub(super) fn stop(mut programs: Vec<Program>) {
    let leaders: Vec<_> = programs.iter().filter_map(|program| ProcessId::of(program.child.id()).ok()).collect();
    for leader in &leaders {
        let _ = process::signal_group(*leader, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while !programs.is_empty() && Instant::now() < deadline {
        reap(&mut programs);
        thread::sleep(Duration::from_millis(2));
    }
    // Whoever is left of the groups, the leaders included.
    for leader in leaders {
        let _ = process::signal_group(leader, Signal::KILL);
    }
    for program in &mut programs {
        let _ = program.child.wait();
    }
}

/// Reaps what ended; returns how each did.
pub(super) fn reap(programs: &mut Vec<Program>) -> Vec<String> {
    let mut endings = Vec::new();
    programs.retain_mut(|program| {
        let ended = program.ended();
        let runs = ended.is_none();
        endings.extend(ended);
        runs
    });
    endings
}
