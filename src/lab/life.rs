//! A lab's life as commands see it: started, listed, chosen, ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::{During, Error, Result};
use super::record::Record;
use super::state::Base;
use crate::sys::process::Signal;

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

/// Starts a daemon in the background and returns when packets flow. The topology is `file`, or `text` if given; what is
/// wrong with it the daemon says on our standard error.
pub fn start_daemon(file: &Path, text: Option<&str>, options: &[&str]) -> Result<Record> {
    spawn_daemon(file, text, None, options)
}

/// The same under another name than the file's, so that it can run beside the file's own lab.
pub fn start_copy(file: &Path, text: &str, name: &str, options: &[&str]) -> Result<Record> {
    spawn_daemon(file, Some(text), Some(name), options)
}

fn spawn_daemon(file: &Path, text: Option<&str>, name: Option<&str>, options: &[&str]) -> Result<Record> {
    let cannot = || "cannot start the daemon".to_owned();
    let mut child = Command::new(std::env::current_exe().during(cannot)?)
        .args(options)
        .args(["run", "--lab-daemon"])
        .args(text.map(|_| [OsStr::new("--as"), file.as_os_str()]).into_iter().flatten())
        .args(name.map(|name| ["--lab-name", name]).into_iter().flatten())
        .arg(if text.is_some() { Path::new("-") } else { file })
        .stdin(if text.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .during(cannot)?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), text) {
        // A daemon that ends early says why itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).during(cannot)?;
    }
    if let Ok(record) = serde_json::from_str(&line) {
        return Ok(record);
    }
    // It ended before it was ready.
    let status = child.wait().during(cannot)?;
    Err(Error::NotStarted(status.code().and_then(|code| u8::try_from(code).ok())))
}

/// All labs that run, and those whose daemon is gone but whose remains are not.
pub fn labs(base: &Base) -> Vec<Record> {
    base.names().iter().filter_map(|name| base.lab(name).record()).collect()
}

/// The running lab of that name, or the only one that runs.
pub fn pick(base: &Base, name: Option<&str>) -> Result<Record> {
    let mut running: Vec<_> = labs(base).into_iter().filter(Record::is_running).collect();
    let names = || running.iter().map(|lab| lab.lab.clone()).collect::<Vec<_>>();
    match (name, running.len()) {
        (Some(name), _) => {
            let names = names();
            let found = running.into_iter().find(|lab| lab.lab == name);
            found.ok_or_else(|| {
                Error::NoLab(if names.is_empty() {
                    format!("lab {name} does not run; no lab does")
                } else {
                    format!("lab {name} does not run; running: {}", names.join(", "))
                })
            })
        }
        (None, 0) => Err(Error::NoLab(nobody_runs(base))),
        (None, 1) => Ok(running.remove(0)),
        (None, _) => Err(Error::SeveralLabs(names())),
    }
}

fn nobody_runs(base: &Base) -> String {
    let roots = labs(&Base::of_root());
    match roots.iter().find(|lab| base.rootless && lab.is_running()) {
        Some(lab) => format!("no lab of yours runs; root runs {}: try with sudo", lab.lab),
        None => "no lab runs; `vnet up` or `vnet demo` starts one".into(),
    }
}

/// Ends a lab: asks its daemon to, insists if need be, and removes what is left. None if there is no such lab.
pub fn down(base: &Base, name: &str) -> Result<Option<Ended>> {
    if !base.names().iter().any(|lab| lab == name) {
        return Ok(None);
    }
    let dir = base.lab(name);
    let mut ended = Ended::Cleaned;
    if let Some(daemon) = dir.record().map(|record| record.daemon) {
        let cannot = || format!("cannot end the daemon of lab {name} (pid {})", daemon.pid);
        if daemon.signal(Signal::TERM).during(cannot)? {
            ended = Ended::Stopped;
            if !daemon.wait_end(GRACE).during(cannot)? {
                daemon.signal(Signal::KILL).during(cannot)?;
                daemon.wait_end(GRACE).during(cannot)?;
            }
        }
    }
    if base.names().iter().any(|lab| lab == name) {
        dir.claim()?.clean()?;
    }
    Ok(Some(ended))
}
