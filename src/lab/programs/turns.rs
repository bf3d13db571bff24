//! Recognizes loops: what a machine's processes do again and again is no part of their start.
//!
//! One idea: a start does each thing once or twice. A process that starts the same command a third time, or falls asleep a
//! third time, goes round in a loop; neither it nor that command is waited for. Other commands that it has started are. A
//! change that others can see, such as a port, makes the count begin anew: the loop may have been waiting for it.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::sys::process::Listed;

/// So many times make a loop.
const OFTEN: usize = 3;

/// A process, and what tells about its turns.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) process: Listed,
    /// With its arguments.
    pub(super) command: Vec<u8>,
    /// For one that sleeps for a known time: how often it has waited until now.
    pub(super) asleep: Option<u64>,
}

/// What has been done since the last change that others can see.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By parent and command: when each child started.
    children: HashMap<(u32, Vec<u8>), BTreeSet<u64>>,
    /// By process: each of its sleeps.
    sleeps: HashMap<u32, BTreeSet<u64>>,
    loops: HashSet<u32>,
}

impl Turns {
    /// Takes note of what a look has found.
    pub(super) fn note(&mut self, acts: &[Act]) {
        let commands: HashMap<u32, &[u8]> = acts.iter().map(|act| (act.process.id.pid, &*act.command)).collect();
        for Act { process, command, asleep } in acts {
            let Listed { id, parent, .. } = *process;
            // A child has the command of its parent until it runs one of its own.
            if commands.get(&parent).is_some_and(|of_parent| of_parent != command) {
                let starts = self.children.entry((parent, command.clone())).or_default();
                starts.insert(id.start_time);
                if starts.len() >= OFTEN {
                    self.loops.insert(parent);
                }
            }
            if let Some(waits) = asleep {
                let sleeps = self.sleeps.entry(id.pid).or_default();
                sleeps.insert(*waits);
                if sleeps.len() >= OFTEN {
                    self.loops.insert(id.pid);
                }
            }
        }
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Without those that go round in a loop, and without the commands that they repeat.
    pub(super) fn without_loops<'a>(&self, acts: &'a [Act]) -> Vec<&'a Act> {
        let by_pid: HashMap<u32, &Act> = acts.iter().map(|act| (act.process.id.pid, act)).collect();
        let is_repeated = |act: &Act| {
            let starts = self.children.get(&(act.process.parent, act.command.clone()));
            starts.is_some_and(|starts| starts.len() >= OFTEN)
        };
        let is_looping = |act: &&Act| {
            let line = std::iter::successors(Some(*act), |act| by_pid.get(&act.process.parent).copied());
            // No line is longer than all; a number that was reused between two reads could close a circle.
            self.loops.contains(&act.process.id.pid) || line.take(acts.len()).any(is_repeated)
        };
        acts.iter().filter(|act| !is_looping(act)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::ProcessId;

    /// Process `pid` of `parent`, started at this time. Process 1 is outside.
    fn act(pid: u32, parent: u32, start_time: u64, command: &str, asleep: Option<u64>) -> Act {
        let id = ProcessId { pid, start_time };
        let process = Listed { id, parent, group: 1, has_terminal: false, is_busy: false, ticks: 0 };
        Act { process, command: command.into(), asleep }
    }

    fn pids(acts: &[&Act]) -> Vec<u32> {
        acts.iter().map(|act| act.process.id.pid).collect()
    }

    #[test]
    fn a_third_child_with_the_same_command_makes_a_loop_of_its_parent() {
        let mut turns = Turns::default();
        let shell = act(10, 1, 5, "sh start.sh", None);
        let server = act(11, 10, 5, "server", None);
        for turn in 0..2 {
            let acts = [shell.clone(), server.clone(), act(20, 10, 100 + turn, "sleep 1", Some(1))];
            // One process that is seen twice did not start twice.
            turns.note(&acts);
            turns.note(&acts);
            assert_eq!(pids(&turns.without_loops(&acts)), [10, 11, 20]);
        }
        let mut acts = vec![shell, server, act(22, 10, 102, "sleep 1", Some(1)), act(23, 22, 103, "date", None)];
        turns.note(&acts);
        assert_eq!(pids(&turns.without_loops(&acts)), [11], "another command of the same parent may still be starting");
        turns.forget();
        assert_eq!(turns.without_loops(&acts).len(), 4);
        // Of different commands each comes once.
        acts.extend((24..30).map(|pid| act(pid, 10, 100, &format!("ip address add 10.0.0.{pid}"), None)));
        turns.note(&acts);
        // And each is a copy of the shell at first.
        acts.extend((30..34).map(|pid| act(pid, 10, pid.into(), "sh start.sh", None)));
        turns.note(&acts);
        assert_eq!(turns.without_loops(&acts).len(), acts.len());
    }

    #[test]
    fn a_third_sleep_makes_a_loop() {
        let mut turns = Turns::default();
        let at = |waited| [act(10, 1, 5, "python3 watch.py", Some(waited)), act(11, 1, 5, "server", None)];
        for waited in [7, 7, 9, 9] {
            turns.note(&at(waited));
            assert_eq!(turns.without_loops(&at(waited)).len(), 2);
        }
        turns.note(&at(11));
        assert_eq!(pids(&turns.without_loops(&at(11))), [11]);
    }

    /// What the daemon starts for one machine after another says nothing about either.
    #[test]
    fn a_parent_outside_is_no_loop() {
        let mut turns = Turns::default();
        let acts: Vec<_> = (10..14).map(|pid| act(pid, 1, u64::from(pid), "server", None)).collect();
        turns.note(&acts);
        assert_eq!(turns.without_loops(&acts).len(), 4);
    }
}
