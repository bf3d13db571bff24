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

use super::error::{During, Error, Result};
use super::journal::Journal;
use super::record::Record;
use crate::config;
use crate::model::{Links, Network};
use crate::sys::caps::{self, CapabilitySet};
use crate::sys::process;
use crate::sys::{files, netns};

/// How long another process may take to start or end a lab.
const PATIENCE: Duration = Duration::from_secs(10);

/// In a lab's directory, beside its socket.
pub(super) const APPLIED: &str = "applied.yaml";
/// How the peerings stand; the only thing that outlives a crash.
pub(super) const LINKS: &str = "peerings.json";
pub(super) const SERVICE_TAGS: &str = "service-tags.json";

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

    fn links(&self) -> PathBuf {
        self.path.join(LINKS)
    }

    /// Where flow logs go that say nothing else: what is there outlives a crash.
    pub(super) fn flow_logs(&self) -> PathBuf {
        self.path.join("flow-logs")
    }

    pub(super) fn hosts(&self) -> PathBuf {
        self.path.join("hosts")
    }

    /// What a machine's resolver goes by.
    pub(super) fn resolver(&self, machine: &str) -> PathBuf {
        self.path.join(format!("resolv.conf.{}", machine.to_lowercase()))
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

    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        replace(&self.record_path(), &serde_json::to_vec_pretty(record).unwrap_or_default())
    }

    /// A topology, and the service tags that its network has, wherever they came from.
    pub(super) fn write_applied(&self, text: &str, network: &Network) -> Result<()> {
        replace(&self.path.join(SERVICE_TAGS), config::service_tags_text(&network.service_tags).as_bytes())?;
        replace(&self.applied(), text.as_bytes())
    }

    pub(super) fn write_links(&self, links: &Links) -> Result<()> {
        replace(&self.links(), &serde_json::to_vec(links).unwrap_or_default())
    }

    /// Becomes the one process that makes or cleans this lab. What an earlier one left is undone first; how its peerings
    /// stood is told.
    pub(super) fn claim(&self) -> Result<Claim> {
        let lock = self.lock()?;
        let cannot = || format!("cannot use {}", self.path.display());
        Journal::undo(&self.journal()).during(cannot)?;
        let links = fs::read(self.links()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        for entry in fs::read_dir(&self.path).during(cannot)? {
            let path = entry.during(cannot)?.path();
            if path != self.links() && path != self.flow_logs() {
                fs::remove_file(path).during(cannot)?;
            }
        }
        let journal = Journal::begin(&self.journal()).during(cannot)?;
        Ok(Claim { dir: self.clone(), journal, links, _lock: lock })
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
    /// How the peerings stood when an earlier daemon crashed.
    pub(super) links: Option<Links>,
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

/// Replaces a file whole: a reader sees the old one or the new one.
fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, path));
    written.during(|| format!("cannot write {}", path.display()))
}
