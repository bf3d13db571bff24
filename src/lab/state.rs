//! Where a lab's things stand: one directory a lab, which one process at a time claims.
//!
//! One idea: the directory's lock is held by the living daemon, so that two never make the same lab, and `lab.json` in
//! it says who that is and how its nodes are entered. What else was made is the journal's business.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{During, Error, Result};
use super::journal::Journal;
use crate::sys::caps::{self, CapabilitySet};
use crate::sys::process::{self, ProcessId};
use crate::sys::{files, netns};

/// How long another process may take to start or end a lab.
const PATIENCE: Duration = Duration::from_secs(10);

/// In a lab's directory, beside its socket.
const APPLIED: &str = "applied.yaml";

/// The directory of all labs of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub dir: PathBuf,
    /// Whether labs live in a user namespace of their own.
    pub rootless: bool,
}

impl Base {
    /// Root's labs are the machine's, anybody else's are their own.
    pub fn detect() -> Self {
        let powers = caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
        if powers && files::is_writable(Path::new("/run")) {
            return Self::of_root();
        }
        let dir = match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir).join("vnet"),
            _ => format!("/tmp/vnet-{}", process::user()).into(),
        };
        Self { dir, rootless: true }
    }

    /// The machine's labs.
    pub(super) fn of_root() -> Self {
        Self { dir: "/run/vnet".into(), rootless: false }
    }

    /// The names of all labs that have a directory, running or not.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    pub(super) fn lab(&self, name: &str) -> LabDir {
        LabDir { path: self.dir.join(name), base: self.clone(), name: name.to_owned() }
    }

    /// Makes the directory, private to its user; refuses one that somebody else prepared in /tmp.
    fn prepare(&self) -> Result<()> {
        let mode = if self.rootless { 0o700 } else { 0o755 };
        let created = DirBuilder::new().recursive(true).mode(mode).create(&self.dir);
        created.during(|| format!("cannot make {}", self.dir.display()))?;
        let found = fs::symlink_metadata(&self.dir).during(|| format!("cannot read {}", self.dir.display()))?;
        let open_to_others = self.rootless && found.mode() & 0o077 != 0;
        if !found.is_dir() || found.uid() != process::user() || open_to_others {
            return Err(Error::UnsafeDirectory { path: self.dir.clone() });
        }
        Ok(())
    }
}

/// One lab's directory.
#[derive(Clone, Debug)]
pub(super) struct LabDir {
    pub(super) path: PathBuf,
    base: Base,
    name: String,
}

impl LabDir {
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The topology file as it was applied.
    pub(super) fn applied(&self) -> PathBuf {
        self.path.join(APPLIED)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("daemon.log")
    }

    pub(super) fn program_log(&self, node: &str) -> PathBuf {
        self.path.join(format!("{node}.log"))
    }

    pub(super) fn hosts(&self) -> PathBuf {
        self.path.join("hosts")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal.json")
    }

    /// Where the namespace of a node has its name.
    pub(super) fn namespace(&self, node: &str) -> PathBuf {
        if self.base.rootless {
            self.path.join(format!("{node}.netns"))
        } else {
            netns::name_path(&format!("{}-{node}", self.name))
        }
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("lab.json")
    }

    pub(super) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record_path()).ok()?).ok()
    }

    /// Replaces the record whole: a reader sees the old one or the new one.
    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        let draft = self.path.join("lab.json.new");
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::other);
        let written =
            text.and_then(|text| fs::write(&draft, text)).and_then(|()| fs::rename(&draft, self.record_path()));
        written.during(|| format!("cannot write {}", self.record_path().display()))
    }

    /// Becomes the one process that makes or cleans this lab. What an earlier one left is undone first.
    pub(super) fn claim(&self) -> Result<Claim> {
        let lock = self.lock()?;
        let cannot = || format!("cannot use {}", self.path.display());
        Journal::undo(&self.journal()).during(cannot)?;
        for entry in fs::read_dir(&self.path).during(cannot)? {
            fs::remove_file(entry.during(cannot)?.path()).during(cannot)?;
        }
        let journal = Journal::begin(&self.journal()).during(cannot)?;
        Ok(Claim { dir: self.clone(), journal, _lock: lock })
    }

    /// Makes the directory if need be and locks it.
    fn lock(&self) -> Result<File> {
        let cannot = || format!("cannot use {}", self.path.display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.base.prepare()?;
            match DirBuilder::new().mode(0o755).create(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Another lab was the last one, and took the directory of all labs with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                created => created.during(cannot)?,
            }
            let dir = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.during(cannot)?,
            };
            match dir.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error).during(cannot),
                Err(TryLockError::WouldBlock) => match self.record() {
                    Some(record) if record.is_running() => {
                        return Err(Error::RunsAlready { lab: self.name.clone(), pid: record.daemon.pid });
                    }
                    // It is being started or ended. A killed daemon holds the lock until its last thread is gone.
                    _ if Instant::now() > deadline => return Err(Error::Busy { lab: self.name.clone() }),
                    _ => {
                        thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                },
            }
            // Whoever held the lock before may have removed the directory: then this is a lock on nothing.
            let ours = dir.metadata().during(cannot)?;
            if fs::metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
                return Ok(dir);
            }
        }
    }
}

/// A lab's directory, locked, with the journal of what is being made.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) dir: LabDir,
    pub(super) journal: Journal,
    _lock: File,
}

impl Claim {
    /// Undoes everything made under this claim, and removes the directory.
    pub(super) fn clean(self) -> Result<()> {
        let path = &self.dir.path;
        Journal::undo(&self.dir.journal()).during(|| "cannot clean up".into())?;
        fs::remove_dir_all(path).during(|| format!("cannot remove {}", path.display()))?;
        // The directory of all labs goes with the last of them.
        let _ = fs::remove_dir(&self.dir.base.dir);
        Ok(())
    }
}

/// What others need to know of a running lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub lab: String,
    pub daemon: ProcessId,
    /// The topology file as it was given.
    pub file: String,
    /// Seconds since 1970.
    pub since: u64,
    pub rootless: bool,
    pub socket: PathBuf,
    pub hosts: PathBuf,
    pub nodes: Vec<RecordedNode>,
    /// Started with the lab's privileges.
    pub programs: Vec<RecordedProgram>,
}

/// A program of the file, and where its output goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedProgram {
    pub node: String,
    pub command: Vec<String>,
    pub log: PathBuf,
}

/// A node and the path of its namespace, as the daemon sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedNode {
    pub name: String,
    pub namespace: PathBuf,
}

impl RecordedNode {
    /// As `ip netns` names it, or its path.
    pub fn name_of_namespace(&self) -> String {
        let path = self.namespace.strip_prefix(netns::NAMES).unwrap_or(&self.namespace);
        path.display().to_string()
    }
}

impl Record {
    pub fn is_running(&self) -> bool {
        self.daemon.is_alive()
    }

    /// The topology as it was applied.
    pub fn topology(&self) -> io::Result<String> {
        fs::read_to_string(self.socket.with_file_name(APPLIED))
    }
}
