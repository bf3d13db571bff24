//! The state directory of a lab, which one process at a time claims.
//!
//! One idea: the living daemon holds the directory's lock, so that two never make the same lab. `lab.json` in it names
//! the daemon and tells how its nodes are entered. The journal has what else was made. Only its user may read or write
//! the directory, under any umask, and a file that another user may have written is ignored.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::config;
use crate::lab::error::{During, Error, Result};
use crate::lab::journal;
use crate::lab::namespaces::mark::{self, Mark};
use crate::lab::namespaces::{HOSTS, NETNS_ETC, RESOLVER};
use crate::lab::programs::processes::{self, Residents};
use crate::model::{Links, Network};
use crate::sys::caps::{self, CapabilitySet};
use crate::sys::netns::Recognised;
use crate::sys::process::{self, ProcessId};
use crate::sys::{files, netns, socket};

use super::record::Record;
use super::{Journal, Made};

/// How long another process may take to start or end a lab.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_WITH_THE_DEAD: Duration = Duration::from_secs(60);

/// In a lab's directory, beside its socket.
pub(in crate::lab) const APPLIED: &str = "applied.yaml";
/// How the peerings stand; the only thing that outlives a crash.
pub(in crate::lab) const LINKS: &str = "peerings.json";
pub(in crate::lab) const SERVICE_TAGS: &str = "service-tags.json";
/// The files of packet filter rules that it names.
pub(in crate::lab) const NFTABLES: &str = "nftables.json";
const RECORD: &str = "lab.json";
/// What names of namespaces end in, without root.
const NAMESPACE: &str = "netns";
const JOURNAL: &str = "journal.json";

/// The largest of these files has all of Azure's service tags.
const LONGEST: u64 = 64 << 20;

/// The directory of all labs of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub dir: PathBuf,
    /// Whether labs live in a user namespace of their own.
    pub rootless: bool,
}

impl Base {
    /// Root's labs belong to the machine, other users' labs to the user.
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
    pub(in crate::lab) fn of_root() -> Self {
        Self { dir: "/run/vnet".into(), rootless: false }
    }

    /// The names of all labs that have a directory, running or not. A directory that no lab has written in is none.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.entries();
        names.retain(|name| self.lab(name).exists());
        names.sort();
        names
    }

    /// The state directory of another user, if this user may not read its labs.
    pub(in crate::lab) fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    pub(in crate::lab) fn lab(&self, name: &str) -> LabDir {
        LabDir { path: self.dir.join(name), base: self.clone(), name: name.to_owned() }
    }

    /// Makes the directory, private to its user, with the same mode under any umask; refuses one that another user
    /// prepared in /tmp. The last of other labs may take it away at any time.
    fn prepare(&self) -> Result<()> {
        let mode = if self.rootless { 0o700 } else { 0o755 };
        let cannot = || format!("cannot make {}", self.dir.display());
        let above =
            self.dir.parent().map_or(Ok(()), |above| DirBuilder::new().recursive(true).mode(mode).create(above));
        match above.and_then(|()| files::make_directory(&self.dir, mode)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
            done => done.during(cannot)?,
        }
        let found = match fs::symlink_metadata(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.during(|| format!("cannot read {}", self.dir.display()))?,
        };
        let open_to_others = found.mode() & if self.rootless { 0o077 } else { 0o022 } != 0;
        if !found.is_dir() || found.uid() != process::user() || open_to_others {
            return Err(Error::UnsafeDirectory { path: self.dir.clone() });
        }
        Ok(())
    }
}

/// One lab's directory.
#[derive(Clone, Debug)]
pub(in crate::lab) struct LabDir {
    pub(in crate::lab) path: PathBuf,
    base: Base,
    name: String,
}

impl LabDir {
    pub(in crate::lab) fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The topology file as it was applied.
    pub(in crate::lab) fn applied(&self) -> PathBuf {
        self.path.join(APPLIED)
    }

    pub(in crate::lab) fn log(&self) -> PathBuf {
        self.path.join("daemon.log")
    }

    /// Where programs of machines write: a machine may have any of the other names here.
    fn programs(&self) -> PathBuf {
        self.path.join("programs")
    }

    pub(in crate::lab) fn program_log(&self, node: &str) -> PathBuf {
        self.programs().join(format!("{node}.log"))
    }

    /// A machine's packet filter rules as they were loaded last: no machine's name has a dot.
    pub(in crate::lab) fn rules(&self, node: &str) -> PathBuf {
        self.programs().join(format!("{node}.nftables"))
    }

    /// The output of `nft` about them.
    pub(in crate::lab) fn rules_log(&self, node: &str) -> PathBuf {
        self.programs().join(format!("{node}.nftables.log"))
    }

    fn links(&self) -> PathBuf {
        self.path.join(LINKS)
    }

    /// Where flow logs go that say nothing else: what is there outlives a crash.
    pub(in crate::lab) fn flow_logs(&self) -> PathBuf {
        self.path.join("flow-logs")
    }

    pub(in crate::lab) fn hosts(&self) -> PathBuf {
        self.path.join("hosts")
    }

    /// What a machine's resolver goes by.
    pub(in crate::lab) fn resolver(&self, machine: &str) -> PathBuf {
        self.path.join(format!("resolv.conf.{}", machine.to_lowercase()))
    }

    pub(in crate::lab) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Whether a lab has written here.
    pub(in crate::lab) fn exists(&self) -> bool {
        [RECORD, JOURNAL].iter().any(|file| self.path.join(file).exists())
    }

    /// The process that listens at the lab's socket.
    pub(in crate::lab) fn listener(&self) -> Option<ProcessId> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        ProcessId::of(socket::peer_process(&stream)?).ok()
    }

    /// Where the namespace of a node has its name.
    pub(in crate::lab) fn namespace(&self, node: &str) -> PathBuf {
        if self.base.rootless {
            self.path.join(format!("{node}.{NAMESPACE}"))
        } else {
            netns::name_path(&format!("{}-{node}", self.name))
        }
    }

    fn record_path(&self) -> PathBuf {
        self.path.join(RECORD)
    }

    /// What a daemon recorded about itself; None if it is damaged, or if another user may have written it.
    pub(in crate::lab) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&files::read_own(&self.record_path(), LONGEST).ok()?).ok()
    }

    pub(in crate::lab) fn write_record(&self, record: &Record) -> Result<()> {
        replace(&self.record_path(), &serde_json::to_vec_pretty(record).unwrap_or_default())
    }

    /// A topology, and what its network has of other files, from any source.
    pub(in crate::lab) fn write_applied(&self, text: &str, network: &Network) -> Result<()> {
        replace(&self.path.join(SERVICE_TAGS), config::service_tags_text(&network.service_tags).as_bytes())?;
        let rules = serde_json::to_vec(&network.nftables_files()).unwrap_or_default();
        replace(&self.path.join(NFTABLES), &rules)?;
        replace(&self.applied(), text.as_bytes())
    }

    pub(in crate::lab) fn write_links(&self, links: &Links) -> Result<()> {
        replace(&self.links(), &serde_json::to_vec(links).unwrap_or_default())
    }

    /// Becomes the one process that makes or cleans this lab. First undoes what an earlier one left; returns how its
    /// peerings were.
    pub(in crate::lab) fn claim(&self) -> Result<Claim> {
        let lock = self.lock()?;
        let cannot = || format!("cannot use {}", self.path.display());
        let (was_left, ignored) = (self.exists(), self.undo()?);
        let links = files::read_own(&self.links(), LONGEST).ok().and_then(|text| serde_json::from_slice(&text).ok());
        for entry in fs::read_dir(&self.path).during(cannot)? {
            let entry = entry.during(cannot)?;
            let path = entry.path();
            if path == self.links() || path == self.flow_logs() {
                continue;
            }
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.during(cannot)?;
        }
        files::make_directory(&self.programs(), 0o700).during(cannot)?;
        let journal = Journal::begin(&self.journal()).during(cannot)?;
        Ok(Claim { dir: self.clone(), journal, links, was_left, ignored, lock })
    }

    /// Undoes what an earlier daemon left: what its journal names and a lab of this name makes, and all that carries
    /// the lab's mark. Returns what was ignored.
    fn undo(&self) -> Result<Vec<String>> {
        let cannot = || format!("cannot remove what is left of lab {}", self.name);
        let mut ignored = Vec::new();
        let named = Journal::read(&self.journal()).unwrap_or_else(|error| {
            ignored.push(format!("{} is ignored: {error}", self.journal().display()));
            Vec::new()
        });
        let (ours, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|made| self.makes(made));
        let others = others.iter().filter(|made| !matches!(made, Made::Program(_)));
        ignored.extend(others.map(|made| format!("{made} is not the lab's and stays, though its journal names it")));
        let mut left = journal::undo(&ours);
        if self.base.rootless {
            Residents { directory: Some(&self.path), ..Residents::default() }.end().during(cannot)?;
        } else {
            self.wait_for_others()?;
            left.extend(journal::undo(&mark::remains(&self.name).during(cannot)?));
        }
        left.into_iter().next().map_or(Ok(()), |(_, error)| Err(error)).during(cannot)?;
        Ok(ignored)
    }

    /// Processes in the lab's own namespaces, as they are now.
    pub(in crate::lab) fn residents(&self, record: &Record) -> Residents<'static> {
        let paths = record.nodes.iter().map(|node| &node.namespace);
        let ours = paths.filter(|path| self.makes(&Made::Namespace((*path).clone())));
        Residents { places: ours.filter_map(|path| Recognised::at(path)).collect(), ..Residents::default() }
    }

    /// Whether anything outside the directory carries the lab's mark.
    pub(in crate::lab) fn has_remains(&self) -> bool {
        !self.base.rootless && mark::remains(&self.name).is_ok_and(|made| !made.is_empty())
    }

    /// Whether a lab of this name makes such things: nothing else a journal names is ours to remove.
    pub(super) fn makes(&self, made: &Made) -> bool {
        let is_named = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&format!("{}-", self.name)))
        };
        let is_files = |path: &Path| path.parent() == Some(Path::new(NETNS_ETC)) && is_named(path);
        match made {
            Made::Namespace(path) if self.base.rootless => {
                path.parent() == Some(&self.path) && path.extension().is_some_and(|extension| extension == NAMESPACE)
            }
            Made::Namespace(path) => {
                let is_ours = path.parent() == Some(Path::new(netns::NAMES)) && is_named(path);
                is_ours && Mark::read(path).is_none_or(|mark| mark.lab == self.name)
            }
            Made::File(path) => {
                let is_known = [HOSTS, RESOLVER].iter().any(|name| path.ends_with(name));
                is_known && path.parent().is_some_and(is_files)
            }
            Made::Directory(path) => is_files(path),
            // Without root, no other daemon's processes can be inspected, and signals reach the user's own alone.
            Made::Program(leader) => self.base.rootless || processes::is_of_lab(*leader, &self.name),
            Made::Egress(egress) => egress.is_of(&self.name),
            Made::Taken(taken) => taken.is_of(&self.name),
        }
    }

    /// A daemon notices that its directory was deleted, and ends.
    fn wait_for_others(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !mark::daemons(&self.name).is_empty() {
            if Instant::now() > deadline {
                return Err(Error::Busy { lab: self.name.clone() });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Makes the directory if need be and locks it.
    fn lock(&self) -> Result<File> {
        let cannot = || format!("cannot use {}", self.path.display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.base.prepare()?;
            match files::make_directory(&self.path, 0o700) {
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
                    // It is being started or ended. A killed daemon holds the lock until its last thread is gone, and the
                    // kernel takes 10 s for 500 of its devices.
                    Some(record) if record.daemon.is_there() && Instant::now() < deadline + PATIENCE_WITH_THE_DEAD => {
                        thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                    _ if Instant::now() > deadline => return Err(Error::Busy { lab: self.name.clone() }),
                    _ => {
                        thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                },
            }
            // The earlier holder of the lock may have removed the directory: then this lock protects nothing.
            if self.is(&dir) {
                if dir.metadata().during(cannot)?.uid() != process::user() {
                    return Err(Error::UnsafeDirectory { path: self.path.clone() });
                }
                dir.set_permissions(Permissions::from_mode(0o700)).during(cannot)?;
                return Ok(dir);
            }
        }
    }
}

impl LabDir {
    /// Whether an open directory is the one that has this path now.
    fn is(&self, dir: &File) -> bool {
        let same = |ours: fs::Metadata, now: fs::Metadata| (now.dev(), now.ino()) == (ours.dev(), ours.ino());
        dir.metadata().is_ok_and(|ours| fs::symlink_metadata(&self.path).is_ok_and(|now| same(ours, now)))
    }
}

/// A lab's directory, locked, with the journal of what is being made.
#[derive(Debug)]
pub(in crate::lab) struct Claim {
    pub(in crate::lab) dir: LabDir,
    pub(in crate::lab) journal: Journal,
    /// How the peerings stood when an earlier daemon crashed.
    pub(in crate::lab) links: Option<Links>,
    /// Whether an earlier daemon had left anything here.
    pub(in crate::lab) was_left: bool,
    /// What it left and was not believed.
    pub(in crate::lab) ignored: Vec<String>,
    lock: File,
}

impl Claim {
    /// Whether the directory is there still, with the socket that clients come by.
    pub(in crate::lab) fn stands(&self) -> bool {
        self.dir.is(&self.lock) && self.dir.socket().exists()
    }

    /// Undoes everything made under this claim, and removes the directory.
    pub(in crate::lab) fn clean(mut self) -> Result<()> {
        let path = &self.dir.path;
        self.journal.undo_beyond(0).during(|| "cannot clean up".into())?;
        if self.dir.is(&self.lock) {
            fs::remove_dir_all(path).during(|| format!("cannot remove {}", path.display()))?;
        }
        // The directory of all labs goes with the last of them.
        let _ = fs::remove_dir(&self.dir.base.dir);
        Ok(())
    }
}

/// Replaces a file whole: a reader sees the old one or the new one.
fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let written = files::create(&draft, files::OWN).and_then(|mut file| file.write_all(text));
    let written = written.and_then(|()| fs::rename(&draft, path)).inspect_err(|_| {
        // Half of it takes room that others need.
        let _ = fs::remove_file(&draft);
    });
    written.during(|| format!("cannot write {}", path.display()))
}
