//! Waits until the programs of a file have finished starting: loaded rules, opened ports, forked.
//!
//! One idea: a program does not report that it is ready, but it shows that it is not. While one of its machine's
//! processes computes, or sleeps for a known time, more is to come, unless it goes round in a loop ([`super::turns`]).
//! Where nothing has changed for a while, the start is over. That is a guess about other people's programs, so the wait
//! has a limit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::lab::error::{During, Result};
use crate::lab::journal::record::Record;
use crate::lab::traffic::listeners::{self, Transport};
use crate::sys::netns::{self, Identity, Netns};
use crate::sys::packet_filter::{self, Rules};
use crate::sys::process::{self, Listed, ProcessId};

use super::exec::{Node, open};
use super::processes::place;
use super::turns::{Act, Turns};

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_millis(300);
/// How long programs may take; a process that sleeps longer than this sleeps for good.
const LONGEST: Duration = Duration::from_secs(10);
/// After this time the user is told what is waited for.
const SLOW: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(50);

/// A machine with a program.
struct Machine {
    name: String,
    namespace: Netns,
    identity: Identity,
    last: Option<Look>,
    turns: Turns,
    /// Since when it looks like this.
    since: Instant,
    /// So many looks in a row have found no process. A parent that ends just after it has forked is missed by one look: it is
    /// gone when it is read, and its child was not yet there when `/proc` was listed.
    empty: u32,
}

/// What its program has changed until now.
#[derive(PartialEq, Eq)]
struct Look {
    /// With the time that each has computed; without loops.
    processes: Vec<(ProcessId, u64)>,
    shown: Shown,
}

/// What others can see of it.
#[derive(PartialEq, Eq)]
struct Shown {
    listening: BTreeSet<(Transport, String)>,
    rules: Vec<Rules>,
}

/// Waits until every machine's programs have ended or are quiet. Returns the machines where that took too long. `tell`
/// gets the machines that are waited for, once, when it takes a while. Must be called from a thread that may enter the
/// lab's namespaces.
pub fn wait(lab: &Record, stop: &AtomicBool, tell: impl FnOnce(&[String])) -> Result<Vec<String>> {
    let machines: BTreeSet<&str> = lab.programs.iter().map(|program| program.node.as_str()).collect();
    let mut machines = machines.into_iter().map(|name| Machine::open(lab, name)).collect::<Result<Vec<_>>>()?;
    let (began, mut tell) = (Instant::now(), Some(tell));
    loop {
        look(&mut machines)?;
        // All at once: what one does may have another go on.
        let busy = machines.iter().filter(|machine| !machine.is_quiet());
        let busy: Vec<_> = busy.map(|machine| machine.name.clone()).collect();
        if busy.is_empty() || began.elapsed() >= LONGEST || stop.load(Ordering::Relaxed) {
            return Ok(busy);
        }
        if began.elapsed() >= SLOW
            && let Some(tell) = tell.take()
        {
            tell(&busy);
        }
        thread::sleep(GLANCE);
    }
}

fn look(machines: &mut [Machine]) -> Result<()> {
    let own = process::own_id();
    // An interactive shell is no part of the file.
    let programs = process::running().filter(|process| process.id.pid != own && !process.has_terminal);
    let programs: Vec<_> = programs.filter_map(|process| Some((place(process.id.pid)?, process))).collect();
    for machine in machines {
        let here = programs.iter().filter(|(place, _)| *place == machine.identity).map(|(_, process)| *process);
        let acts: Vec<Act> = here.map(act).collect();
        let cannot = || format!("cannot look at {}", machine.name);
        let shown = machine.namespace.run(Shown::here).and_then(|shown| shown).during(cannot)?;
        machine.note(&acts, shown);
    }
    Ok(())
}

fn act(process: Listed) -> Act {
    let pid = process.id.pid;
    let sleeps = process::sleeps_for(pid).is_some_and(|time| time <= LONGEST);
    Act { process, command: process::command(pid), asleep: process::waits(pid).filter(|_| sleeps) }
}

impl Machine {
    fn open(lab: &Record, name: &str) -> Result<Self> {
        let node = Node::find(lab, name)?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let identity = netns::identity(&node.node.namespace).ok_or_else(gone);
        let identity = identity.during(|| format!("cannot enter {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            namespace: open(node)?,
            identity,
            last: None,
            turns: Turns::default(),
            since: Instant::now(),
            empty: 0,
        })
    }

    fn note(&mut self, acts: &[Act], shown: Shown) {
        if self.last.as_ref().is_none_or(|last| last.shown != shown) {
            self.turns.forget();
        }
        self.turns.note(acts);
        let starting = self.turns.without_loops(acts);
        // It will do more without anything coming from outside.
        let goes_on = starting.iter().any(|act| act.process.is_busy || act.asleep.is_some());
        let processes = starting.iter().map(|act| (act.process.id, act.process.ticks)).collect();
        let look = Look { processes, shown };
        if goes_on || self.last.as_ref() != Some(&look) {
            self.since = Instant::now();
        }
        self.empty = if acts.is_empty() { self.empty + 1 } else { 0 };
        self.last = Some(look);
    }

    fn is_quiet(&self) -> bool {
        self.since.elapsed() >= QUIET || self.empty >= 2
    }
}

impl Shown {
    /// At the machine that the calling thread is in.
    fn here() -> io::Result<Self> {
        let mut rules = packet_filter::rules(None)?;
        rules.sort_by_key(|rules| (rules.hooks.clone(), rules.count, rules.ipv4, rules.ipv6));
        Ok(Self { listening: listeners::listening()?, rules })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::path::PathBuf;
    use std::process::{Child, Command};

    use super::*;
    use crate::lab::journal::record::RecordedProgram;
    use crate::lab::tests::{Place, node, record};
    use crate::model::Sandbox;

    /// Ends with its value.
    struct Running(Child);

    impl Running {
        fn in_there(place: &Place, script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Self(place.namespace.run(|| command.spawn().unwrap()).unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Waits for the program of a machine; who was told to be waited for, who is not ready, and how long that took.
    fn waited(place: &Place, stop: bool) -> (Vec<String>, Vec<String>, Duration) {
        let mut lab = record(vec![node("web", &place.path)]);
        let (command, log) = (vec!["sh".to_owned()], PathBuf::new());
        lab.programs = vec![RecordedProgram { node: "web".to_owned(), command, sandbox: Sandbox::None, log }];
        let (began, mut told) = (Instant::now(), Vec::new());
        let busy = wait(&lab, &AtomicBool::new(stop), |machines| told = machines.to_vec()).unwrap();
        (told, busy, began.elapsed())
    }

    #[test]
    fn where_nothing_runs_nothing_is_waited_for() {
        let Some(place) = Place::new() else { return };
        let (told, busy, took) = waited(&place, false);
        assert!(told.is_empty() && busy.is_empty());
        assert!(took >= GLANCE && took < LONGEST, "{took:?}: two looks");
    }

    #[test]
    fn a_program_that_sleeps_for_a_moment_is_waited_for_and_one_that_sleeps_for_good_is_not() {
        let Some(place) = Place::new() else { return };
        let _running = Running::in_there(&place, "sleep 1.5; exec sleep 1000");
        let (told, busy, took) = waited(&place, false);
        assert_eq!((told, busy), (vec!["web".to_owned()], Vec::new()));
        assert!((Duration::from_millis(1500)..LONGEST).contains(&took), "{took:?}");
        let (told, _, took) = waited(&place, false);
        assert!(told.is_empty() && took >= QUIET && took < LONGEST, "{took:?}");
    }

    /// Whether it waits longer for a machine that looks like this.
    fn is_waited_for(machine: &mut Machine, waits: u64, ports: &[u16]) -> bool {
        let before = machine.since;
        let id = ProcessId { pid: 10, start_time: 5 };
        let process = Listed { id, parent: 1, group: 1, has_terminal: false, is_busy: false, ticks: 0 };
        let listening = ports.iter().map(|port| (Transport::Tcp, port.to_string())).collect();
        machine.note(
            &[Act { process, command: b"sh".to_vec(), asleep: Some(waits) }],
            Shown { listening, rules: Vec::new() },
        );
        machine.since > before
    }

    #[test]
    fn a_loop_is_waited_for_again_once_others_see_a_change() {
        let Some(place) = Place::new() else { return };
        let mut machine = Machine::open(&record(vec![node("web", &place.path)]), "web").unwrap();
        let sleeps = [1, 2, 3, 4].map(|waits| is_waited_for(&mut machine, waits, &[]));
        assert_eq!(sleeps, [true, true, true, false], "the third sleep makes a loop, which is a change");
        let opened = [5, 6, 7, 8].map(|waits| is_waited_for(&mut machine, waits, &[80]));
        assert_eq!(opened, [true, true, true, false], "it may have been waiting for the port");
    }

    #[test]
    fn one_that_is_busy_is_named_when_waiting_is_stopped() {
        let Some(place) = Place::new() else { return };
        let _running = Running::in_there(&place, "while :; do :; done");
        let (told, busy, took) = waited(&place, true);
        assert_eq!((told, busy), (Vec::new(), vec!["web".to_owned()]));
        assert!(took < LONGEST);
    }
}
