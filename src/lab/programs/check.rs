//! Runs a program in a node to its end, confined as the file's own programs are, and keeps what it says.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::{During, Result};
use crate::model::{Program, Sandbox};
use crate::sys::pid_namespace::{self, PidNamespace};
use crate::sys::process::{self, ProcessId, Signal};
use crate::sys::sandbox::confine;

use super::exec::{Entrance, Node, RESOLVER, enter, environment};

/// The part of its output that is kept.
const LONGEST: u64 = 64 << 10;
const GLANCE: Duration = Duration::from_millis(5);

/// What became of a program.
#[derive(Clone, Debug)]
pub struct Ran {
    /// None where it took too long, and was killed.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// In words: `exit code 1`, `signal 9`.
    pub fn ending(&self) -> String {
        match self.status {
            None => "it did not end in time".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "no exit code".to_owned(),
            },
        }
    }

    /// The exit code, if it ended with one.
    pub fn code(&self) -> Option<i32> {
        self.status?.code()
    }
}

/// Runs a program. The process must have joined the lab.
pub fn run(node: Node<'_>, program: &Program, limit: Duration, stop: &AtomicBool) -> Result<Ran> {
    let name = program.command.first().expect("a test runs a program");
    // What a thread changes about itself stays with it and its children.
    let started = thread::scope(|scope| scope.spawn(|| start(node, program)).join());
    let (mut child, processes) = started.expect("starting does not panic")?;
    let leader = ProcessId::of(child.id()).during(|| format!("cannot watch `{name}`"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + limit;
    thread::scope(|scope| {
        let out = scope.spawn(move || kept(out));
        let err = scope.spawn(move || kept(err));
        let status = loop {
            let ended = child.try_wait().during(|| format!("cannot wait for `{name}`"))?;
            if ended.is_some() || Instant::now() > deadline || stop.load(Ordering::Relaxed) {
                break ended;
            }
            thread::sleep(GLANCE);
        };
        // Whatever it has started and left behind ends with it, and lets go of the pipes.
        let _ = process::signal_group(leader, Signal::KILL);
        processes.into_iter().for_each(PidNamespace::end);
        let _ = child.wait();
        pid_namespace::reap();
        let text = |thread: thread::ScopedJoinHandle<'_, String>| thread.join().expect("reading does not panic");
        Ok(Ran { status, stdout: text(out), stderr: text(err) })
    })
}

/// Starts it, in its sandbox and with processes of its own unless it does without.
fn start(node: Node<'_>, Program { command, sandbox }: &Program) -> Result<(Child, Option<PidNamespace>)> {
    let (name, arguments) = command.split_first().expect("a test runs a program");
    let (directory, entrance) = (&node.lab.directory, Entrance::from(node));
    enter(&entrance)?;
    let mut processes = None;
    if *sandbox == Sandbox::Machine {
        let cannot = || format!("cannot confine `{name}` in {}", node.node.name);
        processes = Some(PidNamespace::begin().during(cannot)?);
        confine(&[directory, Path::new(RESOLVER)]).during(cannot)?;
    }
    let mut program = Command::new(name);
    program.args(arguments).current_dir(directory).envs(environment(&entrance)).process_group(0);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = program.spawn().during(|| format!("cannot run `{name}` in {}", node.node.name))?;
    Ok((child, processes))
}

/// The beginning of what comes; the rest is read and dropped, so that the program does not wait.
fn kept(from: Option<impl Read>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut beginning = Vec::new();
    // A pipe that breaks has said all.
    let _ = from.by_ref().take(LONGEST).read_to_end(&mut beginning);
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&beginning).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::lab::tests::{Place, node, record};

    const SOON: Duration = Duration::from_secs(20);

    /// Runs a script in a namespace, for so long at most.
    fn ran(place: &Place, script: &str, limit: Duration, stop: bool) -> (Ran, Duration) {
        let lab = record(vec![node("web", &place.path)]);
        let command = ["sh", "-c", script].map(str::to_owned).into();
        let program = Program { command, sandbox: Sandbox::None };
        let began = Instant::now();
        let ran = run(Node { lab: &lab, node: &lab.nodes[0] }, &program, limit, &AtomicBool::new(stop)).unwrap();
        (ran, began.elapsed())
    }

    #[test]
    fn a_program_ends_with_its_code_or_signal_and_what_it_said() {
        let Some(place) = Place::new() else { return };
        let of = |script: &str| ran(&place, script, SOON, false).0;
        let failed = of("echo \"$VNET_LAB $VNET_NODE\"; hostname; echo bad >&2; exit 3");
        assert_eq!((failed.code(), failed.ending().as_str()), (Some(3), "exit code 3"));
        assert_eq!((failed.stdout.as_str(), failed.stderr.as_str()), ("lab web\nweb\n", "bad\n"));
        let killed = of("kill -9 $$");
        assert_eq!((killed.code(), killed.ending().as_str()), (None, "signal 9"));
        let long = of("head -c 200000 /dev/zero; echo end >&2");
        assert_eq!((long.stdout.len(), long.stderr.as_str()), (LONGEST as usize, "end\n"), "it does not wait");
    }

    #[test]
    fn one_that_takes_too_long_is_killed_with_all_that_it_started() {
        let Some(place) = Place::new() else { return };
        // Enough for a busy machine to start a shell.
        let limit = Duration::from_secs(3);
        let (late, took) = ran(&place, "sleep 1000 & echo $!; sleep 1000", limit, false);
        assert!((limit..SOON).contains(&took), "{took:?}");
        assert_eq!((late.code(), late.ending().as_str()), (None, "it did not end in time"));
        let child: u32 = late.stdout.trim().parse().unwrap();
        // It lets go of the pipes a moment before it has ended.
        assert!(ProcessId::of(child).is_err() || ProcessId::of(child).unwrap().wait_end(SOON).unwrap());
        let (left, took) = ran(&place, "sleep 1000 & exit 0", SOON, false);
        assert!(left.code() == Some(0) && took < SOON, "what it left behind holds its output, and ends");
        let (stopped, took) = ran(&place, "sleep 1000", SOON, true);
        assert!(stopped.status.is_none() && took < SOON);
    }
}
