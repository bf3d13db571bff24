//! A record of what a lab made, written before it is made, so that a later process can undo it after a crash.
//!
//! One idea: one line a thing, in the order made; undoing reads them backwards. A thing that could not be made, or was
//! removed since, is crossed out, so that another owner's thing of that name is never removed. A half-written last
//! line names nothing made. A file with more lines crossed out than not is rewritten.

#[cfg(test)]
mod directory_tests;
pub(super) mod record;
pub(super) mod state;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{fmt, thread};

use serde::{Deserialize, Serialize};

use crate::sys::netns::Recognised;
use crate::sys::process::ProcessId;
use crate::sys::{files, netns};

use super::namespaces::egress::Egress;
use super::namespaces::taken::Taken;
use super::programs::processes::Residents;

/// Far more than the lines of the largest lab.
const LONGEST: u64 = 64 << 20;
/// A file with fewer lines is not worth writing anew.
const SHORT: usize = 100;
/// That remove names at the same time.
const THREADS: usize = 16;

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
    /// A program at a veth pair that stood before.
    Taken(Taken),
}

impl Made {
    /// What has to be gone before it.
    const fn step(&self) -> u8 {
        match self {
            Self::Program(_) | Self::Egress(_) | Self::Taken(_) => 0,
            Self::File(_) => 1,
            Self::Directory(_) => 2,
            Self::Namespace(_) => 3,
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(path) => write!(f, "namespace {}", path.display()),
            Self::File(path) | Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Program(leader) => write!(f, "process group {}", leader.pid),
            Self::Egress(egress) => write!(f, "{egress}"),
            Self::Taken(taken) => write!(f, "{taken}"),
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
    path: PathBuf,
    file: File,
    /// In the file.
    lines: usize,
    /// A line is missing in the file, or half there: it is written anew before anything else is made.
    torn: bool,
    /// What was made and stands, in that order.
    standing: Vec<Made>,
}

impl Journal {
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let file = files::create_new(path, files::OWN)?;
        Ok(Self { path: path.to_owned(), file, lines: 0, torn: false, standing: Vec::new() })
    }

    /// Writes a thing down and makes it. The path must be free: what is there already is not ours to undo.
    pub(super) fn make<T>(&mut self, thing: Made, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.write(&Line::Making(thing.clone()))?;
        let done = make();
        match done {
            Ok(_) => self.standing.push(thing),
            Err(_) => self.cross_out(&Line::Failed(thing)),
        }
        done
    }

    /// Records a thing that is known only once it exists: a process.
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
        let made = self.standing.split_off(mark.min(self.standing.len()));
        let mut result = Ok(());
        for (_, error) in self.undo_all(made) {
            result = result.and(Err(error));
        }
        result
    }

    /// Undoes one thing that stands.
    pub(super) fn remove(&mut self, made: &Made) -> io::Result<()> {
        self.remove_all(std::slice::from_ref(made)).pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Undoes several things, the last first, and says which are left.
    pub(super) fn remove_all(&mut self, made: &[Made]) -> Vec<(Made, io::Error)> {
        let (gone, staying) = std::mem::take(&mut self.standing).into_iter().partition(|other| made.contains(other));
        self.standing = staying;
        self.undo_all(gone)
    }

    /// Leaves veth pairs as they were, of those that attachments took at these places. Returns the first failure.
    pub(super) fn give_back(&mut self, which: impl Fn(&(PathBuf, String)) -> bool) -> io::Result<()> {
        let is_wanted = |made: &&Made| matches!(made, Made::Taken(taken) if which(&taken.at));
        let taken: Vec<_> = self.standing.iter().filter(is_wanted).cloned().collect();
        self.remove_all(&taken).pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether an attachment has taken such a veth pair.
    pub(super) fn has_taken(&self, which: impl Fn(&Taken) -> bool) -> bool {
        self.standing.iter().any(|made| matches!(made, Made::Taken(taken) if which(taken)))
    }

    /// Crosses out what another process has removed.
    pub(super) fn forget(&mut self, made: &Made) {
        self.standing.retain(|other| other != made);
        self.cross_out(&Line::Removed(made.clone()));
    }

    /// Whether it was made here and stands.
    pub(super) fn has(&self, made: &Made) -> bool {
        self.standing.contains(made)
    }

    /// Writes what could not be written before, if there is room for it now.
    pub(super) fn mend(&mut self) {
        if self.torn {
            // Once more next time.
            let _ = self.write_anew();
        }
    }

    /// What cannot be removed stands still.
    fn undo_all(&mut self, made: Vec<Made>) -> Vec<(Made, io::Error)> {
        let left = undo(&made);
        for made in made {
            if left.iter().any(|(other, _)| *other == made) {
                self.standing.push(made);
            } else {
                self.cross_out(&Line::Removed(made));
            }
        }
        left
    }

    /// A line that names what is gone: where it cannot be written now, that is made good later.
    fn cross_out(&mut self, line: &Line) {
        let _ = self.write(line);
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        if self.torn || self.lines > SHORT + 2 * self.standing.len() {
            let anew = self.write_anew();
            if self.torn {
                anew?;
            }
        }
        let appended = self.file.write_all(&encode(line)?);
        self.torn = appended.is_err();
        self.lines += 1;
        appended
    }

    /// Rewrites the file with the remaining things. A reader finds the old file or the new one.
    fn write_anew(&mut self) -> io::Result<()> {
        let draft = self.path.with_extension("new");
        let mut file = files::create(&draft, files::OWN)?;
        let lines: io::Result<Vec<_>> = self.standing.iter().map(|made| encode(&Line::Making(made.clone()))).collect();
        file.write_all(&lines?.concat()).and_then(|()| fs::rename(&draft, &self.path)).inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })?;
        (self.file, self.lines, self.torn) = (file, self.standing.len(), false);
        Ok(())
    }

    /// What remains by a journal that an earlier process left, in the order made. Damaged lines name nothing.
    pub(super) fn read(path: &Path) -> io::Result<Vec<Made>> {
        let text = match files::read_own(path, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let mut standing: Vec<Made> = Vec::new();
        for line in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            match line {
                Line::Making(made) => standing.push(made),
                Line::Failed(made) | Line::Removed(made) => standing.retain(|other| *other != made),
            }
        }
        Ok(standing)
    }
}

fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// Undoes things; continues after a failure and returns what is left. Processes in a namespace end before its name
/// goes, and files go before their directory; things of one kind do not depend on each other.
pub(super) fn undo(made: &[Made]) -> Vec<(Made, io::Error)> {
    let mut residents = Residents::default();
    for made in made {
        match made {
            Made::Namespace(path) => residents.places.extend(Recognised::at(path)),
            Made::Program(leader) => residents.groups.push(*leader),
            Made::File(_) | Made::Directory(_) | Made::Egress(_) | Made::Taken(_) => {}
        }
    }
    let ended = residents.end();
    let mut latest_first: Vec<_> = made.iter().rev().collect();
    latest_first.sort_by_key(|made| made.step());
    let steps = latest_first.chunk_by(|made, next| made.step() == next.step());
    let mut left: Vec<_> = steps.flat_map(undo_together).collect();
    if let (Err(error), Some(first)) = (ended, made.first()) {
        left.push((first.clone(), error));
    }
    left
}

fn undo_each(made: &[&Made]) -> Vec<(Made, io::Error)> {
    made.iter().filter_map(|made| Some(((*made).clone(), undo_one(made).err()?))).collect()
}

/// The kernel waits for the disk with each file, for all processors with each name: together they share these waits.
fn undo_together(made: &[&Made]) -> Vec<(Made, io::Error)> {
    let shares: Vec<_> = made.chunks(made.len().div_ceil(THREADS).max(1)).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| undo_each(share))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("undoing does not panic")).collect()
    })
}

fn undo_one(made: &Made) -> io::Result<()> {
    match made {
        Made::Namespace(path) => netns::unbind(path),
        Made::File(path) => gone(fs::remove_file(path)),
        Made::Directory(path) => {
            let removed = unless_used(fs::remove_dir(path));
            let parent = path.parent().map_or(Ok(()), |parent| unless_used(fs::remove_dir(parent)));
            removed.and(parent)
        }
        // It has ended with all others.
        Made::Program(_) => Ok(()),
        Made::Egress(egress) => egress.undo(),
        Made::Taken(taken) => taken.undo(),
    }
}

/// A directory with other owners' things in it stays.
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
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn undo_left(path: &Path) {
        assert!(undo(&Journal::read(path).unwrap()).is_empty());
    }

    #[test]
    fn undoes_what_was_made_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("theirs"), "").unwrap();
        let mut journal = Journal::begin(&at("journal")).unwrap();
        journal.make(Made::Directory(at("etc")), || fs::create_dir(at("etc"))).unwrap();
        journal.make(Made::File(at("etc/hosts")), || fs::write(at("etc/hosts"), "")).unwrap();
        journal.make(Made::File(at("theirs")), || File::create_new(at("theirs"))).unwrap_err();
        // Damage is no reason to leave what the other lines name.
        journal.file.write_all(b"\xff\xfe\n{\"making\":{\"file\":").unwrap();

        undo_left(&at("journal"));
        undo_left(&at("journal"));
        assert!(!at("etc").exists());
        assert!(at("theirs").exists());
    }

    #[test]
    fn what_was_removed_meanwhile_is_not_undone() {
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

        // Another owner's now.
        fs::write(at("second"), "").unwrap();
        undo_left(&at("journal"));
        assert_eq!([at("first"), at("second"), at("third")].map(|path| path.exists()), [false, true, false]);
    }

    #[test]
    fn it_does_not_grow_with_what_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut journal = Journal::begin(&at("journal")).unwrap();
        journal.make(Made::File(at("stays")), || fs::write(at("stays"), "")).unwrap();
        for _ in 0..1000 {
            journal.make(Made::File(at("goes")), || fs::write(at("goes"), "")).unwrap();
            journal.remove(&Made::File(at("goes"))).unwrap();
        }
        let lines = fs::read_to_string(at("journal")).unwrap().lines().count();
        assert!(lines <= SHORT + 4, "{lines} lines for one thing that stands");
        assert_eq!(Journal::read(&at("journal")).unwrap(), [Made::File(at("stays"))]);
    }

    #[test]
    fn a_line_that_could_not_be_written_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut journal = Journal::begin(&at("journal")).unwrap();
        for name in ["first", "second"] {
            journal.make(Made::File(at(name)), || fs::write(at(name), "")).unwrap();
        }
        // As on a full disk.
        journal.file = File::options().write(true).open("/dev/full").unwrap();
        journal.remove(&Made::File(at("second"))).unwrap();
        assert!(journal.torn);
        journal.mend();
        assert_eq!(Journal::read(&at("journal")).unwrap(), [Made::File(at("first"))]);
        journal.file = File::options().write(true).open("/dev/full").unwrap();
        journal.make(Made::File(at("third")), || fs::write(at("third"), "")).unwrap_err();
        assert!(!at("third").exists(), "nothing is made that is not written down");
        journal.make(Made::File(at("third")), || fs::write(at("third"), "")).unwrap();
        assert_eq!(Journal::read(&at("journal")).unwrap(), ["first", "third"].map(|name| Made::File(at(name))));
    }

    /// Each prints a line once it ignores SIGTERM.
    fn deaf() -> (std::process::Child, ProcessId) {
        let script = "trap '' TERM; echo; while :; do sleep 1; done";
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let leader = ProcessId::of(child.id()).unwrap();
        (child, leader)
    }

    #[test]
    fn programs_that_ignore_sigterm_are_killed_together() {
        let (mut children, leaders): (Vec<_>, Vec<_>) = (0..3).map(|_| deaf()).unzip();
        // One that has ended and is not reaped is not waited for.
        let mut ended = Command::new("true").process_group(0).spawn().unwrap();
        let programs: Vec<_> =
            leaders.iter().copied().chain(ProcessId::of(ended.id()).ok()).map(Made::Program).collect();
        let start = Instant::now();
        let left = undo(&programs);
        let took = start.elapsed();
        let alive = leaders.iter().filter(|leader| leader.is_alive()).count();
        for child in children.iter_mut().chain([&mut ended]) {
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!(left.is_empty() && alive == 0, "{alive} of 3 live on, {left:?}");
        assert!(took < 2 * super::super::programs::processes::GRACE, "{took:?}: they have the same two seconds");
        assert!(took > Duration::from_secs(1), "{took:?}: they had time to end by themselves");
    }
}
