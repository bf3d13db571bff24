//! A lab's life as commands see it, with records in a directory of the test's own and no lab.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::lab::tests::{network, record};
use crate::model::Network;
use crate::sys::process;

/// Labs of a user without root, in a directory that goes with it.
struct Labs {
    _dir: TempDir,
    base: Base,
}

impl Labs {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let base = Base { dir: dir.path().join("vnet"), rootless: true };
        fs::create_dir(&base.dir).unwrap();
        fs::set_permissions(&base.dir, Permissions::from_mode(0o700)).unwrap();
        Self { _dir: dir, base }
    }

    fn with(self, name: &str, daemon: ProcessId) -> Self {
        fs::create_dir(self.base.dir.join(name)).unwrap();
        let record = Record { lab: name.to_owned(), daemon, ..record(Vec::new()) };
        self.base.lab(name).write_record(&record).unwrap();
        self
    }

    fn damaged(self, name: &str) -> Self {
        fs::create_dir(self.base.dir.join(name)).unwrap();
        fs::write(self.base.dir.join(name).join("lab.json"), "{").unwrap();
        self
    }

    fn picked(&self, name: Option<&str>) -> String {
        match pick(&self.base, name) {
            Ok(record) => record.lab,
            Err(error) => error.to_string(),
        }
    }
}

fn here() -> ProcessId {
    ProcessId::current().unwrap()
}

fn gone() -> ProcessId {
    ProcessId { start_time: 1, ..here() }
}

/// No other lab of this machine has it.
fn unique(what: &str) -> String {
    format!("{what}{}", process::own_id())
}

#[test]
fn the_only_lab_that_runs_is_meant_and_of_several_one_is_named() {
    let one = Labs::new().with("one", here()).with("left", gone());
    assert_eq!(one.picked(None), "one");
    assert_eq!(one.picked(Some("one")), "one");
    let crashed =
        "lab left has crashed: its daemon is gone; `vnet up` starts it anew, `vnet down left` removes what it left";
    assert_eq!(one.picked(Some("left")), crashed);
    assert_eq!(one.picked(Some("no-such-lab")), "lab no-such-lab does not run; running: one");
    let two = one.with("two", here());
    assert_eq!(two.picked(None), "several labs run (one, two): choose one with -l LAB");
    assert_eq!(two.picked(Some("two")), "two");
    assert_eq!(two.picked(Some("no-such-lab")), "lab no-such-lab does not run; running: one, two");
    let none = Labs::new().with("left", gone());
    assert_eq!(none.picked(None), crashed);
    assert_eq!(Labs::new().picked(Some("no-such-lab")), "lab no-such-lab does not run; no lab does");
}

#[test]
fn a_lab_with_a_damaged_record_runs_if_something_listens() {
    let labs = Labs::new().damaged("bad");
    let runs = |labs: &Labs| all(&labs.base).iter().map(|lab| (lab.name.clone(), lab.runs)).collect::<Vec<_>>();
    assert_eq!(runs(&labs), [("bad".to_owned(), false)]);
    assert!(super::labs(&labs.base).is_empty());
    let listener = UnixListener::bind(labs.base.dir.join("bad/control.sock")).unwrap();
    assert_eq!(runs(&labs), [("bad".to_owned(), true)]);
    let damaged = "lab bad cannot be found: its state file is damaged; `vnet down bad` ends it";
    assert_eq!(labs.picked(Some("bad")), damaged);
    drop(listener);
}

#[test]
fn down_ends_the_daemon_that_is_recorded_and_removes_the_directory() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let daemon = ProcessId::of(child.id()).unwrap();
    let (run, left) = (unique("run"), unique("left"));
    let labs = Labs::new().with(&run, daemon).with(&left, gone());
    let ended = down(&labs.base, &run);
    let _ = child.kill();
    assert_eq!(child.wait().unwrap().signal(), Some(15), "it was asked to end");
    assert_eq!(ended.unwrap().unwrap().ended, Ended::Stopped);
    assert!(!labs.base.dir.join(&run).exists());
    let cleaned = down(&labs.base, &left).unwrap().unwrap();
    assert_eq!((cleaned.ended, cleaned.ignored), (Ended::Cleaned, Vec::new()));
    assert!(!labs.base.dir.exists(), "the last lab takes it along");
    assert!(down(&labs.base, &left).unwrap().is_none());
}

/// A name is no path.
#[test]
fn down_of_what_is_no_name_does_nothing() {
    let labs = Labs::new().with(".hidden", gone());
    fs::create_dir(labs.base.dir.join("a")).unwrap();
    let labs = labs.with("a/b", gone());
    for name in [".hidden", "a/b", "../vnet/a/b", "a"] {
        assert!(down(&labs.base, name).unwrap().is_none(), "{name}");
    }
    assert!(labs.base.dir.join("a/b/lab.json").exists() && labs.base.dir.join(".hidden/lab.json").exists());
}

const LOGGED: &str = "
name: lab
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
flowLogs:
  - {name: flows, targetResourceId: virtualNetworks/v STORAGE}
";

fn logged(storage: &str) -> Network {
    network(&LOGGED.replace("STORAGE", storage))
}

#[test]
fn a_flow_log_goes_to_its_directory_beside_the_topology_or_to_the_labs_own() {
    let labs = Labs::new();
    let dir = labs.base.lab("x");
    let beside = labs.base.dir.join("topology");
    fs::create_dir(&beside).unwrap();
    let topology = beside.join("lab.yaml");
    let storage = |network: &Network, topology| flow_logs::storage(network, topology, &dir);
    assert_eq!(storage(&logged(""), Some(&topology)).unwrap(), [dir.flow_logs()]);
    assert!(dir.flow_logs().is_dir());
    let relative = logged(", storagePath: logs/v");
    assert_eq!(storage(&relative, Some(&topology)).unwrap(), [beside.join("logs/v")]);
    assert!(beside.join("logs/v").is_dir());
    let piped = storage(&relative, None).unwrap_err().to_string();
    assert_eq!(piped, "cannot keep flow log flows: storagePath logs/v is relative, and the topology was piped in");
    let off = logged(", storagePath: off, enabled: false");
    assert_eq!(storage(&off, Some(&topology)).unwrap(), [beside.join("off")]);
    assert!(!beside.join("off").exists(), "one that is off makes nothing");
}

#[test]
fn a_flow_log_that_a_link_would_lead_out_is_refused() {
    let labs = Labs::new();
    let dir = labs.base.lab("x");
    let beside = labs.base.dir.join("topology");
    fs::create_dir(&beside).unwrap();
    let topology = beside.join("lab.yaml");
    for (link, to) in [("out", "../elsewhere"), ("nowhere", "../no/such"), ("in", "inside")] {
        symlink(to, beside.join(link)).unwrap();
    }
    for dir in [beside.join("inside"), labs.base.dir.join("elsewhere")] {
        fs::create_dir(dir).unwrap();
    }
    for (path, fits) in [("out", false), ("out/more", false), ("nowhere/x", false), ("in/x", true)] {
        let stored = flow_logs::storage(&logged(&format!(", storagePath: {path}")), Some(&topology), &dir);
        assert_eq!(stored.is_ok(), fits, "{path}");
        if let Err(error) = stored {
            assert!(error.to_string().contains("a symbolic link leads out of the topology's directory"), "{error}");
        }
    }
    assert!(!labs.base.dir.join("elsewhere/more").exists() && !labs.base.dir.join("no").exists());
    assert!(beside.join("inside/x").is_dir());
}

#[test]
fn a_flow_log_below_a_file_has_nowhere_to_go() {
    let labs = Labs::new();
    let topology = labs.base.dir.join("lab.yaml");
    fs::write(labs.base.dir.join("file"), "").unwrap();
    let unfit = |path: &str| flow_logs::unfit_storage(&logged(&format!(", storagePath: {path}")), &topology);
    assert_eq!(unfit("file/logs"), [(0, labs.base.dir.join("file"))]);
    assert!(unfit("new/logs").is_empty() && unfit(".").is_empty());
    assert!(flow_logs::unfit_storage(&logged(""), &topology).is_empty());
}

#[test]
fn a_daemon_is_told_whether_programs_may_run() {
    let told = [RunPolicy::Always, RunPolicy::Agreed, RunPolicy::Never].map(consent);
    assert_eq!(told, [vec!["--allow-run"], Vec::new(), vec!["--no-run"]]);
}
