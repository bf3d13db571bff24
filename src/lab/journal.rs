//! What a lab made, written down before it is made, so that it can be undone by whoever comes after a crash.
//!
//! One idea: one line a thing, in the order made; undoing reads them backwards. A thing that could not be made, or was
//! removed since, is crossed out, so that nobody else's thing of that name is ever removed. A half-written last line names
//! nothing made.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::egress::Egress;
use crate::sys::netns;
use crate::sys::process::{self, ProcessId, Signal};

/// How long a program may take to end after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Something outside the lab's own directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Made {
    /// A namespace's name.
    Namespace(PathBuf),
    File(PathBuf),
    /// Removed only when empty, and with it the one it is in, which labs share.
    Directory(PathBuf),
    /// A program's process group, by its leader.
    Program(ProcessId),
    /// A way out through the daemon's own namespace.
    Egress(Egress),
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(path) => write!(f, "namespace {}", path.display()),
            Self::File(path) | Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Program(leader) => write!(f, "process group {}", leader.pid),
            Self::Egress(egress) => write!(f, "{egress}"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Making(Made),
    Failed(Made),
    Removed(Made),
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// What was made and stands, in that order.
    standing: Vec<Made>,
}

impl Journal {
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create_new(path)?, standing: Vec::new() })
    }

    /// Writes a thing down and makes it. The path must be free: what is there already is not ours to undo.
    pub(super) fn make<T>(&mut self, thing: Made, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.write(&Line::Making(thing.clone()))?;
        let done = make();
        match done {
            Ok(_) => self.standing.push(thing),
            Err(_) => self.write(&Line::Failed(thing))?,
        }
        done
    }

    /// Writes down what is known only once it is there: a process.
    pub(super) fn note(&mut self, made: Made) -> io::Result<()> {
        self.standing.push(made.clone());
        self.write(&Line::Making(made))
    }

    /// How many things stand: to come back to with [`Self::undo_beyond`].
    pub(super) fn mark(&self) -> usize {
        self.standing.len()
    }

    /// Undoes what was made since a mark, latest first; goes on past a failure and returns the first.
    pub(super) fn undo_beyond(&mut self, mark: usize) -> io::Result<()> {
        let mut result = Ok(());
        while self.standing.len() > mark {
            let latest = self.standing.last().expect("there are more than the mark").clone();
            result = result.and(self.remove(&latest));
        }
        result
    }

    /// Undoes one thing. What could not be removed stays on the list of whoever undoes the journal later.
    pub(super) fn remove(&mut self, made: &Made) -> io::Result<()> {
        self.standing.retain(|other| other != made);
        undo(made)?;
        self.write(&Line::Removed(made.clone()))
    }

    /// Crosses out what somebody else has removed.
    pub(super) fn forget(&mut self, made: &Made) -> io::Result<()> {
        self.standing.retain(|other| other != made);
        self.write(&Line::Removed(made.clone()))
    }

    /// Whether it was made here and stands.
    pub(super) fn has(&self, made: &Made) -> bool {
        self.standing.contains(made)
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }

    /// Undoes everything a journal names, latest first; goes on past a failure and returns the first.
    pub(super) fn undo(path: &Path) -> io::Result<()> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let mut standing: Vec<Made> = Vec::new();
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Making(made) => standing.push(made),
                Line::Failed(made) | Line::Removed(made) => standing.retain(|other| *other != made),
            }
        }
        let mut result = Ok(());
        for made in standing.iter().rev() {
            result = result.and(undo(made));
        }
        result
    }
}

fn undo(made: &Made) -> io::Result<()> {
    match made {
        Made::Namespace(path) => netns::unbind(path),
        Made::File(path) => gone(fs::remove_file(path)),
        Made::Directory(path) => {
            let removed = unless_used(fs::remove_dir(path));
            let parent = path.parent().map_or(Ok(()), |parent| unless_used(fs::remove_dir(parent)));
            removed.and(parent)
        }
        Made::Program(leader) => end_group(*leader),
        Made::Egress(egress) => egress.undo(),
    }
}

/// Asks a process group to end, and insists after a while.
fn end_group(leader: ProcessId) -> io::Result<()> {
    let deadline = Instant::now() + GRACE;
    let mut alive = process::signal_group(leader, Signal::TERM)?;
    while alive && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        alive = process::group_exists(leader)?;
    }
    if alive {
        process::signal_group(leader, Signal::KILL)?;
    }
    Ok(())
}

/// Somebody else's things in it keep a directory.
fn unless_used(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => gone(other),
    }
}

/// Removing what is gone already is fine: that is what makes `down` work twice.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn undoes_what_was_made_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("theirs"), "").unwrap();
        let mut journal = Journal::begin(&at("journal")).unwrap();
        journal.make(Made::Directory(at("etc")), || fs::create_dir(at("etc"))).unwrap();
        journal.make(Made::File(at("etc/hosts")), || fs::write(at("etc/hosts"), "")).unwrap();
        journal.make(Made::File(at("theirs")), || File::create_new(at("theirs"))).unwrap_err();
        journal.file.write_all(b"{\"making\":{\"file\":").unwrap();

        Journal::undo(&at("journal")).unwrap();
        Journal::undo(&at("journal")).unwrap();
        assert!(!at("etc").exists());
        assert!(at("theirs").exists());
    }

    #[test]
    fn what_was_removed_meanwhile_is_nobodys_to_undo() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut journal = Journal::begin(&at("journal")).unwrap();
        let file = |name: &str| Made::File(at(name));
        for name in ["first", "second", "third"] {
            journal.make(file(name), || fs::write(at(name), "")).unwrap();
        }
        let mark = journal.mark();
        journal.make(file("fourth"), || fs::write(at("fourth"), "")).unwrap();
        journal.undo_beyond(mark).unwrap();
        assert!(!at("fourth").exists() && at("third").exists());
        journal.remove(&file("second")).unwrap();
        assert!(!journal.has(&file("second")) && journal.has(&file("third")));

        // Somebody else's now.
        fs::write(at("second"), "").unwrap();
        Journal::undo(&at("journal")).unwrap();
        assert_eq!([at("first"), at("second"), at("third")].map(|path| path.exists()), [false, true, false]);
    }
}
