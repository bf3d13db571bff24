//! A lab's life as commands see it: start, list, choose, end.

pub(super) mod apply;
pub mod daemon;
mod events;
mod failover;
pub(super) mod flow_logs;
mod link_state;
mod notify;
mod programs;
#[cfg(test)]
mod tests;
mod unwritten;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::model::RunPolicy;
use crate::sys::limits;
use crate::sys::netns::{self, Netns};
use crate::sys::process::{ProcessId, Signal};

use super::error::{During, Error, Result};
use super::journal::record::Record;
use super::journal::state::{Base, LabDir};
use super::namespaces::mark;
use super::programs::processes::{Residents, VARIABLE};

/// Tells a daemon that its caller has shown the warnings of the file.
const DOUBTS_SHOWN: &str = "--doubts-shown";
/// How long a daemon may take to remove what it made.
const GRACE: Duration = Duration::from_secs(10);

/// How a lab ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its daemon was asked to and did.
    Stopped,
    /// Its daemon was gone already; what it left behind was removed.
    Cleaned,
}

/// What came of ending a lab.
#[derive(Clone, Debug)]
pub struct Down {
    pub ended: Ended,
    /// Files in its directory that were ignored.
    pub ignored: Vec<String>,
}

/// A lab that has a directory.
#[derive(Clone, Debug)]
pub struct Found {
    pub name: String,
    /// None if it is damaged.
    pub record: Option<Record>,
    pub runs: bool,
}

/// Starts a daemon in the background and returns when packets flow. The topology is `file`, or `text` if given; the
/// daemon prints errors in it on our standard error. Of a `text`, the caller has shown the warnings.
pub fn start_daemon(
    file: &Path,
    text: Option<&str>,
    name: Option<&str>,
    policy: RunPolicy,
    options: &[&str],
) -> Result<Record> {
    let shown = text.map(|_| DOUBTS_SHOWN);
    spawn_daemon(file, text, name, options, &consent(policy).into_iter().chain(shown).collect::<Vec<_>>())
}

/// The same for a copy that runs beside the file's own lab: its caller has shown the file's warnings.
pub fn start_copy(file: &Path, text: &str, name: &str, policy: RunPolicy, options: &[&str]) -> Result<Record> {
    spawn_daemon(file, Some(text), Some(name), options, &[&consent(policy)[..], &[DOUBTS_SHOWN]].concat())
}

fn consent(policy: RunPolicy) -> Vec<&'static str> {
    match policy {
        RunPolicy::Always => vec!["--allow-run"],
        RunPolicy::Agreed => Vec::new(),
        RunPolicy::Never => vec!["--no-run"],
    }
}

fn spawn_daemon(
    file: &Path,
    text: Option<&str>,
    name: Option<&str>,
    options: &[&str],
    run_options: &[&str],
) -> Result<Record> {
    let cannot = || "cannot start the daemon".to_owned();
    let mut child = Command::new(std::env::current_exe().during(cannot)?)
        .args(options)
        .args(["run", "--lab-daemon"])
        .args(run_options)
        .args(text.map(|_| [OsStr::new("--as"), file.as_os_str()]).into_iter().flatten())
        .args(name.map(|name| ["--lab", name]).into_iter().flatten())
        // A lab that is started inside another one is not a program of that.
        .env_remove(VARIABLE)
        .arg(if text.is_some() { Path::new("-") } else { file })
        .stdin(if text.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .during(cannot)?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), text) {
        // A daemon that ends early prints the reason itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).during(cannot)?;
    }
    if let Ok(record) = serde_json::from_slice(line.as_bytes()) {
        return Ok(record);
    }
    // It ended before it was ready.
    let status = child.wait().during(cannot)?;
    Err(Error::NotStarted(status.code().and_then(|code| u8::try_from(code).ok())))
}

/// All labs that run, and those that left something behind after their daemon ended, as far as they can be read.
pub fn labs(base: &Base) -> Vec<Record> {
    base.names().iter().filter_map(|name| base.lab(name).record()).collect()
}

/// The same with those that cannot be read.
pub fn all(base: &Base) -> Vec<Found> {
    let names = base.names().into_iter();
    let found = names.map(|name| {
        let (dir, record) = (base.lab(&name), base.lab(&name).record());
        let runs = record.as_ref().map_or_else(|| dir.listener().is_some(), Record::is_running);
        Found { name, record, runs }
    });
    found.collect()
}

/// The running lab of that name, or the only one that runs.
pub fn pick(base: &Base, name: Option<&str>) -> Result<Record> {
    let mut running: Vec<_> = labs(base).into_iter().filter(Record::is_running).collect();
    let names = || running.iter().map(|lab| lab.lab.clone()).collect::<Vec<_>>();
    match (name, running.len()) {
        (Some(name), _) => running.into_iter().find(|lab| lab.lab == name).ok_or_else(|| no_lab(base, name)),
        (None, 0) => Err(Error::NoLab(no_lab_runs(base))),
        (None, 1) => Ok(running.remove(0)),
        (None, _) => Err(Error::SeveralLabs(names())),
    }
}

/// Why no lab of that name can be asked or ended, with those that can.
pub fn no_lab(base: &Base, name: &str) -> Error {
    let found = all(base);
    if let Some(left) = found.iter().find(|lab| lab.name == name) {
        return Error::NoLab(left.why_not());
    }
    if base.rootless && Base::of_root().entries().iter().any(|lab| lab == name) {
        return Error::NoLab(format!("no lab {name} of yours runs; root has one: try with sudo"));
    }
    let running: Vec<_> = found.iter().filter(|lab| lab.runs).map(|lab| lab.name.as_str()).collect();
    Error::NoLab(match &running[..] {
        [] => format!("lab {name} does not run; no lab does"),
        others => format!("lab {name} does not run; running: {}", others.join(", ")),
    })
}

impl Found {
    /// Why it cannot be asked.
    fn why_not(&self) -> String {
        let name = &self.name;
        if self.runs {
            format!("lab {name} cannot be found: its state file is damaged; `vnet down {name}` ends it")
        } else {
            format!(
                "lab {name} has crashed: its daemon is gone; `vnet up` starts it anew, `vnet down {name}` removes what it left"
            )
        }
    }
}

fn no_lab_runs(base: &Base) -> String {
    if let Some(left) = all(base).first() {
        return left.why_not();
    }
    // Which of them run is root's to know.
    match Base::of_root().entries().first().filter(|_| base.rootless) {
        Some(lab) => format!("no lab of yours runs; root has {lab}: try with sudo"),
        None => "no lab runs; `vnet up` or `vnet demo` starts one".into(),
    }
}

/// Ends a lab: asks its daemon to, kills it if need be, and removes what is left. None if there is no such lab.
pub fn down(base: &Base, name: &str) -> Result<Option<Down>> {
    let dir = base.lab(name);
    if name.contains('/') || name.starts_with('.') {
        return Ok(None);
    }
    let record = dir.record();
    let daemons = daemons(&dir, record.as_ref(), name);
    if !dir.exists() && daemons.is_empty() && !dir.has_remains() {
        return Ok(None);
    }
    // Their namespaces are known by name now and not later. Each is held open.
    limits::raise_open_files().during(|| "cannot raise the number of open files".into())?;
    let mut residents = record.as_ref().map_or_else(Residents::default, |record| dir.residents(record));
    residents.directory = base.rootless.then_some(&dir.path);
    let mut ended = Ended::Cleaned;
    for daemon in daemons {
        let cannot = || format!("cannot end the daemon of lab {name} (pid {})", daemon.pid);
        leave(&residents, daemon);
        if daemon.signal(Signal::TERM).during(cannot)? {
            ended = Ended::Stopped;
            if !daemon.wait_end(GRACE).during(cannot)? {
                daemon.signal(Signal::KILL).during(cannot)?;
                daemon.wait_end(GRACE).during(cannot)?;
            }
        }
    }
    residents.end().during(|| format!("cannot end what runs in lab {name}"))?;
    let mut ignored = Vec::new();
    if dir.exists() || dir.has_remains() {
        let mut claim = dir.claim()?;
        ignored = std::mem::take(&mut claim.ignored);
        claim.clean()?;
    }
    Ok(Some(Down { ended, ignored }))
}

/// The process that runs a lab: as recorded, or else the one that listens at its socket, or that made its namespaces.
fn daemons(dir: &LabDir, record: Option<&Record>, name: &str) -> Vec<ProcessId> {
    if let Some(record) = record {
        return vec![record.daemon];
    }
    let marked = mark::daemons(name);
    if marked.is_empty() { dir.listener().into_iter().collect() } else { marked }
}

/// A process that ends a lab from inside it leaves it first: everything in there ends.
fn leave(residents: &Residents<'_>, daemon: ProcessId) {
    let is_inside = netns::identity(Path::new(netns::CURRENT))
        .is_some_and(|here| residents.places.iter().any(|place| place.is(here)));
    if is_inside {
        // Where that is not possible this process ends with the others.
        let _ = Netns::of_process(daemon.pid).and_then(|outside| outside.enter());
    }
}
