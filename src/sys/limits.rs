//! What the system lets this process have: open files, network namespaces, processes, memory.
//!
//! One idea: the number of open files is raised once, as far as this process may. Programs that it starts get back what it
//! had: some close every number below the limit, one by one, and others cannot count further than 1024.

#![expect(unsafe_code, reason = "a program is given its limit after fork(2)")]

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What may be used beside what is used now. None is unknown, or without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub open_files: Option<u64>,
    /// In all, of this user.
    pub namespaces: Option<u64>,
    /// Processes and threads of this control group.
    pub processes: Option<u64>,
    /// In bytes.
    pub memory: Option<u64>,
}

/// As it was when this process began.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process open as many files as it ever may.
pub fn raise_open_files() -> io::Result<()> {
    let before = *OPEN_FILES.get_or_init(|| getrlimit(Resource::Nofile));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before })?)
}

/// Has a program begin with as many open files as this process began with.
pub fn usual_open_files(command: &mut Command) {
    let Some(before) = OPEN_FILES.get().copied() else { return };
    // SAFETY: after fork(2) the child makes one system call with a value of its own.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, before)?)) };
}

impl Limits {
    /// As they are now. The process raises the first before.
    pub fn now() -> Self {
        Self {
            open_files: OPEN_FILES.get().and_then(|limit| limit.maximum),
            namespaces: number(Path::new("/proc/sys/user/max_net_namespaces")),
            processes: left_in_groups("pids.max", "pids.current"),
            memory: [available_memory(), left_in_groups("memory.max", "memory.current")].into_iter().flatten().min(),
        }
    }
}

/// `MemAvailable` of proc_meminfo(5).
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// The least that is left in a control group of this process and those around it: cgroups(7), version 2.
fn left_in_groups(limit: &str, used: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root =
        ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from).into_iter().find(|root| root.is_dir())?;
    left_in(&root.join(group), &root, (limit, used))
}

/// The least that is left in this directory of `root` and those around it.
fn left_in(own: &Path, root: &Path, (limit, used): (&str, &str)) -> Option<u64> {
    let groups = own.ancestors().take_while(|path| path.starts_with(root));
    groups.filter_map(|group| Some(number(&group.join(limit))?.saturating_sub(number(&group.join(used))?))).min()
}

/// None for `max`, too.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn programs_begin_with_the_number_of_files_that_the_process_had() {
        let before = getrlimit(Resource::Nofile);
        raise_open_files().unwrap();
        raise_open_files().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -Sn; ulimit -Hn"]);
        usual_open_files(&mut shell);
        let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        let numbers: Vec<_> = said.lines().map(|line| line.parse().ok()).collect();
        assert_eq!(numbers, [before.current, before.maximum]);
    }

    #[test]
    fn the_system_says_how_much_there_is() {
        raise_open_files().unwrap();
        let now = Limits::now();
        assert_eq!(now.open_files, getrlimit(Resource::Nofile).maximum);
        assert!(now.memory.is_some_and(|bytes| bytes > 1 << 20), "{now:?}");
    }
    /// A group has what its groups around leave it; what others use of theirs counts there.
    #[test]
    fn the_tightest_group_around_a_process_says_what_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("groups");
        let (around, own) = (root.join("around"), root.join("around/own"));
        std::fs::create_dir_all(&own).unwrap();
        let write = |group: &Path, limit: &str, used: &str| {
            std::fs::write(group.join("pids.max"), limit).unwrap();
            std::fs::write(group.join("pids.current"), used).unwrap();
        };
        let left = || left_in(&own, &root, ("pids.max", "pids.current"));
        assert_eq!(left(), None, "no group says anything");
        write(directory.path(), "1\n", "0\n");
        assert_eq!(left(), None, "that is no group");
        write(&own, "max\n", "7\n");
        assert_eq!(left(), None);
        write(&around, "100\n", "60\n");
        assert_eq!(left(), Some(40));
        write(&own, "10\n", "7\n");
        assert_eq!(left(), Some(3));
        write(&around, "100\n", "101\n");
        assert_eq!(left(), Some(0), "a limit may have been lowered since");
    }
}
