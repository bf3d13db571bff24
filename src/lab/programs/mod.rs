//! The programs that a file starts in its machines once packets flow.

pub mod check;
pub(super) mod exec;
pub(super) mod processes;
pub mod settled;
mod turns;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::Sandbox;
use crate::sys::confine::on_starter;
use crate::sys::files;
use crate::sys::limits;
use crate::sys::pid_namespace::{self, PidNamespace};
use crate::sys::process::{self, ProcessId, Signal};
use crate::sys::sandbox::confine;

use super::error::{During, Result};
use super::journal::record::{Record, RecordedProgram};
use super::journal::state::LabDir;
use super::journal::{Journal, Made};
use exec::{Entrance, Node, RESOLVER, enter, environment};
use processes::GRACE;

/// A program that was started.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) node: String,
    command: String,
    child: Child,
    leader: ProcessId,
}

impl Program {
    /// Starts a machine's program, the leader of a process group of its own.
    pub(super) fn start(
        program: &RecordedProgram,
        record: &Record,
        dir: &LabDir,
        journal: &mut Journal,
    ) -> Result<Self> {
        let RecordedProgram { node, command, sandbox, .. } = program;
        let child = spawn(Node::find(record, node)?, command, *sandbox, dir)?;
        let leader = ProcessId::of(child.id());
        let noted = leader.and_then(|leader| journal.note(Made::Program(leader)).map(|()| leader));
        let leader = noted.during(|| "cannot write the journal".into())?;
        Ok(Self { node: node.clone(), command: command.join(" "), child, leader })
    }

    /// The exit status, reported once.
    fn ended(&mut self) -> Option<Ending> {
        let status = self.child.try_wait().ok()??;
        Some(Ending { node: self.node.clone(), command: self.command.clone(), status })
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) node: String,
    pub(super) command: String,
    pub(super) status: ExitStatus,
}

fn spawn(node: Node<'_>, command: &[String], sandbox: Sandbox, dir: &LabDir) -> Result<Child> {
    let (program, arguments) = command.split_first().expect("only machines with a program are started");
    let name = &node.node.name;
    let cannot = || format!("cannot run `{program}` in {name}");
    let log = files::create(&dir.program_log(name), files::OWN).during(cannot)?;
    let (directory, entrance) = (node.lab.directory.clone(), Entrance::from(node));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&directory).envs(environment(&entrance)).process_group(0);
    command.stdin(Stdio::null()).stdout(log.try_clone().during(cannot)?).stderr(log);
    limits::usual_open_files(&mut command);
    // A child is born into the namespaces of the thread that makes it, and has no more rights than that.
    let spawn = move || -> Result<io::Result<Child>> {
        enter(&entrance)?;
        if sandbox == Sandbox::None {
            return Ok(command.spawn());
        }
        let cannot = || format!("cannot confine the program of {}", entrance.name());
        // Let go of once the program is in there.
        let _processes = PidNamespace::begin().during(cannot)?;
        confine(&[&*directory, Path::new(RESOLVER)]).during(cannot)?;
        Ok(command.spawn())
    };
    on_starter(spawn).during(cannot)??.during(cannot)
}

/// Asks all programs to end, and insists on it after a while.
pub(super) fn stop(mut programs: Vec<Program>, journal: &mut Journal) {
    let leaders: Vec<_> = programs.iter().map(|program| program.leader).collect();
    for leader in &leaders {
        let _ = process::signal_group(*leader, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while !programs.is_empty() && Instant::now() < deadline {
        reap(&mut programs);
        thread::sleep(Duration::from_millis(2));
    }
    // Members of the groups that are left, the leaders included.
    for leader in &leaders {
        let _ = process::signal_group(*leader, Signal::KILL);
    }
    for program in &mut programs {
        let _ = program.child.wait();
    }
    for leader in leaders {
        // One that is still in the journal is found to be gone by the next reader.
        let _ = journal.remove(&Made::Program(leader));
    }
}

/// Reaps what ended; returns how each did.
pub(super) fn reap(programs: &mut Vec<Program>) -> Vec<Ending> {
    let mut endings = Vec::new();
    programs.retain_mut(|program| {
        let ended = program.ended();
        let runs = ended.is_none();
        endings.extend(ended);
        runs
    });
    pid_namespace::reap();
    endings
}

/// The last lines of a program's log, from so many bytes of its end.
pub fn last_lines(log: &Path, count: usize, tail: u64) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
        files::read_bounded(file.take(tail), tail)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_told_from_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&log, 2, 100), ["two", "three"]);
        assert_eq!(last_lines(&log, 9, 100), ["one", "two", "three"]);
        assert_eq!(last_lines(&log, 9, 8), ["o", "three"], "so many bytes of the end");
        assert_eq!(last_lines(&dir.path().join("none"), 9, 9), [""; 0]);
    }

    /// A program that ends when it is asked to is waited for no longer than that takes; one in five on a busy machine.
    #[test]
    fn programs_that_end_are_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(&dir.path().join("journal")).unwrap();
        let mut took = || {
            let child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
            let leader = ProcessId::of(child.id()).unwrap();
            let begun = Instant::now();
            stop(vec![Program { node: "web".to_owned(), command: "sleep".to_owned(), child, leader }], &mut journal);
            assert!(!leader.is_alive());
            begun.elapsed()
        };
        assert!((0..5).any(|_| took() < GRACE));
    }
}
