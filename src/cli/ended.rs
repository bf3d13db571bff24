//! Programs of a lab that ended with an error, with the last lines that they printed.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use serde::Serialize;

use crate::daemon::api::client;
use crate::daemon::api::protocol::{ProgramStatus, Request, Response};
use crate::lab::{self, Record};

/// A program that lives longer has started.
const AT_ONCE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(20);
/// Lines of its log that are shown, and the end of the log that they are looked for in.
const LINES: usize = 5;
const TAIL: u64 = 4096;

/// A program that ended with an error.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndedProgram {
    pub(super) node: String,
    command: String,
    status: String,
    pub(super) last_lines: Vec<String>,
    log: PathBuf,
}

impl EndedProgram {
    /// None for one that runs, or has ended without an error.
    pub(super) fn of(program: ProgramStatus) -> Option<Self> {
        let ProgramStatus { node, command, ended, failed, log } = program;
        let status = ended.filter(|_| failed)?;
        Some(Self { node, command, status, last_lines: lab::last_lines(&log, LINES, TAIL), log })
    }

    /// Without its last lines.
    pub(super) fn in_one_line(&self) -> String {
        format!("`{}` of {} ended: {}", self.command, self.node, self.status)
    }
}

impl fmt::Display for EndedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.in_one_line())?;
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// The programs of a lab that ended with an error soon after packets flowed; waits as long as any of them may.
pub(super) fn at_once(lab: &Record, ready: Instant) -> Vec<EndedProgram> {
    while ready.elapsed() < AT_ONCE && programs(lab).iter().any(|program| program.ended.is_none()) {
        thread::sleep(GLANCE);
    }
    until_now(lab)
}

/// Those that have ended with an error.
pub(super) fn until_now(lab: &Record) -> Vec<EndedProgram> {
    programs(lab).into_iter().filter_map(EndedProgram::of).collect()
}

/// A lab that cannot be asked has none to tell of.
pub(super) fn programs(lab: &Record) -> Vec<ProgramStatus> {
    match client::ask(&lab.socket, &Request::Programs) {
        Ok(Response::Programs(programs)) => programs,
        _ => Vec::new(),
    }
}
