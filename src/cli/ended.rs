//! Programs of a lab that ended as soon as they were started, with what they said last.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::up::title;
use crate::control::client;
use crate::control::events::Happening;
use crate::control::protocol::{Request, Response};
use crate::lab::{self, Record};

/// A program that lives longer has started.
const AT_ONCE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(20);
/// Lines of its log that are shown, and the end of the log that they are looked for in.
const LINES: usize = 5;
const TAIL: u64 = 4096;
/// How a program ends that has nothing to complain of.
const FINE: &str = "exit status: 0";

/// A program that ended with an error.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndedProgram {
    node: String,
    command: String,
    status: String,
    last_lines: Vec<String>,
    log: PathBuf,
}

impl fmt::Display for EndedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of {} ended at once: {}", self.command, self.node, self.status)?;
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// The programs of a lab that ended with an error soon after packets flowed; waits as long as any of them may.
pub(super) fn at_once(lab: &Record, ready: Instant) -> Vec<EndedProgram> {
    if lab.programs.is_empty() {
        return Vec::new();
    }
    loop {
        let endings = endings(lab);
        let nodes: HashSet<_> = endings.iter().map(|(node, _)| node).collect();
        if nodes.len() == lab.programs.len() || ready.elapsed() >= AT_ONCE {
            return endings.into_iter().filter_map(|(node, status)| failed(lab, &node, status)).collect();
        }
        thread::sleep(GLANCE);
    }
}

/// By node, how its program ended. A lab that cannot be asked has none to tell of.
fn endings(lab: &Record) -> Vec<(String, String)> {
    let Ok(Response::Events(events)) = client::ask(&lab.socket, &Request::Events) else { return Vec::new() };
    let ended = events.into_iter().filter_map(|event| match event.happening {
        Happening::ProgramEnded { node, status, .. } => Some((node, status)),
        _ => None,
    });
    ended.collect()
}

fn failed(lab: &Record, node: &str, status: String) -> Option<EndedProgram> {
    let program = lab.programs.iter().find(|program| program.node == node).filter(|_| status != FINE)?;
    let last_lines = lab::last_lines(&program.log, LINES, TAIL);
    let (command, log) = (title(&program.command), program.log.clone());
    Some(EndedProgram { node: node.to_owned(), command, status, last_lines, log })
}
