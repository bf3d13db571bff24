//! What each thread of the daemon may still do once it runs.
//!
//! One idea: a thread has a role, and a role is a row of one table: the capabilities that it keeps, the system calls that
//! it makes ([`calls`]), and the files that it opens. A thread takes its role before it reads a byte that comes from
//! outside, and cannot leave it. Threads share memory: this limits what they ask of the kernel, and isolates no memory.

mod calls;
mod filter;
mod kernel;
mod landlock;
mod starter;

use std::io;
use std::path::PathBuf;

use super::caps::{self, CapabilitySet};
use kernel::Blocked;

pub use filter::{Enforcement, SWITCH, install_of_programs};
pub use starter::{Thread, begin as start_starter, run as on_starter, spawn};

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Forwards packets.
    Worker,
    /// Speaks with other machines: BGP, DNS, metadata, probes.
    Service,
    /// Answers clients of the control socket, and waits for signals and devices.
    Control,
    /// Writes flow logs in these directories, and no other file.
    FlowLogs(Vec<PathBuf>),
    /// Hands flows to the kernel's cache, and reads it.
    FlowCache,
    /// Sets learned routes in guests' kernels.
    Routes,
    /// Counts firewall rules in guests' namespaces.
    Lookout,
    /// Makes changes of the lab: namespaces, devices, addresses.
    Changes,
}

impl Role {
    /// Every role, with its name in documents.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("worker", Self::Worker),
        ("service", Self::Service),
        ("control", Self::Control),
        ("flow-logs", Self::FlowLogs(Vec::new())),
        ("flow-cache", Self::FlowCache),
        ("routes", Self::Routes),
        ("lookout", Self::Lookout),
        ("changes", Self::Changes),
    ];

    /// What it keeps, of what the thread has.
    pub const fn capabilities(&self) -> CapabilitySet {
        match self {
            Self::Worker | Self::Service | Self::Control | Self::FlowLogs(_) | Self::FlowCache => {
                CapabilitySet::empty()
            }
            Self::Routes => CapabilitySet::NET_ADMIN,
            Self::Lookout => CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN),
            // KILL ends programs that became another user. SYS_PTRACE finds the processes in a machine that goes.
            Self::Changes => CapabilitySet::NET_ADMIN
                .union(CapabilitySet::SYS_ADMIN)
                .union(CapabilitySet::KILL)
                .union(CapabilitySet::SYS_PTRACE),
        }
    }

    /// The numbers of the system calls that it makes.
    pub fn calls(&self) -> Vec<i64> {
        calls::allowed(self)
    }

    /// The directories in which it may open files; None where that is not limited: threads with such a limit cannot
    /// mount, and namespaces are opened by paths that a user may choose.
    fn directories(&self) -> Option<&[PathBuf]> {
        match self {
            Self::Worker | Self::Service | Self::Control | Self::FlowCache => Some(&[]),
            Self::FlowLogs(directories) => Some(directories),
            Self::Routes | Self::Lookout | Self::Changes => None,
        }
    }
}

/// Puts the calling thread into a role, for good; threads and programs that it starts inherit that.
pub fn enter(role: &Role) -> io::Result<()> {
    // The clock without a system call is found at its first use, in a file.
    super::clock::monotonic_nanos();
    super::process::own_id();
    caps::settle(role.capabilities())?;
    // The main thread handles signals. A handler's own calls would otherwise be needed in every list.
    kernel::block_signals(if *role == Role::Changes { Blocked::Faults } else { Blocked::All })?;
    if let Some(directories) = role.directories() {
        landlock::allow_only(directories)?;
    }
    filter::install(role)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs::{self, File};
    use std::net::{TcpListener, UdpSocket};
    use std::path::Path;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A list that grows is read again: what is new in it, and what it opens.
    #[test]
    fn the_lists_are_short() {
        let lengths = Role::NAMES.map(|(name, role)| (name, role.calls().len()));
        let expected = [
            ("worker", 14),
            ("service", 46),
            ("control", 40),
            ("flow-logs", 42),
            ("flow-cache", 16),
            ("routes", 31),
            ("lookout", 35),
            ("changes", 59),
        ];
        assert_eq!(lengths, expected);
    }

    /// What a thread in a role says; other threads are as they were.
    fn as_role<T: Send + 'static>(role: Role, f: impl FnOnce() -> T + Send + 'static) -> T {
        let said = spawn("role", role, || Ok(()), |()| f()).unwrap().join().unwrap();
        assert!(File::open("/proc/self/status").is_ok());
        said
    }

    /// Linux's numbers of the errors, or 0.
    fn errno<T>(result: io::Result<T>) -> i32 {
        result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
    }

    #[test]
    fn a_role_makes_its_calls_and_no_others() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = || errno(UdpSocket::bind("127.0.0.1:0"));
        assert_eq!(as_role(Role::Worker, datagrams), libc::EPERM);
        assert_eq!(as_role(Role::Control, datagrams), libc::EPERM);
        assert_eq!(as_role(Role::Service, datagrams), 0);
        assert_eq!(as_role(Role::Control, move || errno(server.set_nonblocking(true))), 0);
        let program = || errno(Command::new("/bin/true").status());
        for (name, role) in Role::NAMES {
            assert_ne!(as_role(role, program), 0, "{name} starts programs");
        }
        // What libraries ask for in passing fails otherwise: the kernel does not note it.
        assert_eq!(as_role(Role::Worker, || errno(File::open("/etc/passwd"))), libc::ENOMEM);
        let another = || errno(thread::Builder::new().spawn(|| ()));
        assert_eq!(as_role(Role::Worker, another), libc::EPERM);
        assert_eq!(as_role(Role::Control, another), 0);
        assert_eq!(as_role(Role::Worker, || std::hint::black_box(vec![1_u8; 300 << 10]).len()), 300 << 10);
    }

    #[test]
    fn a_role_opens_its_files_and_no_others() {
        let ours = tempfile::tempdir().unwrap();
        let theirs = tempfile::tempdir().unwrap();
        let file = ours.path().join("a/b");
        let outside = theirs.path().join("file");
        std::os::unix::fs::symlink(theirs.path(), ours.path().join("link")).unwrap();
        fs::write(&outside, "text").unwrap();
        let through = ours.path().join("link/new");
        let tries = move || {
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(&file, "one").unwrap();
            fs::rename(&file, file.with_file_name("c")).unwrap();
            let new = outside.with_file_name("new");
            let refused = [
                errno(fs::read(&outside)),
                errno(fs::write(&outside, "two")),
                errno(fs::write(&new, "two")),
                errno(fs::write(&through, "two")),
                errno(fs::remove_file(&outside)),
                errno(fs::create_dir(&new)),
                errno(fs::read("/etc/hostname")),
                errno(fs::read(Path::new("/proc/self/environ"))),
            ];
            assert_eq!(refused, [libc::EACCES; 8]);
        };
        as_role(Role::FlowLogs(vec![ours.path().to_owned()]), tries);
        assert_eq!(fs::read_to_string(ours.path().join("a/c")).unwrap(), "one");
        assert_eq!(fs::read_to_string(theirs.path().join("file")).unwrap(), "text");
        assert_eq!(fs::read_dir(theirs.path()).unwrap().count(), 1);
        let read = || fs::read("/etc/passwd").is_ok();
        assert!(!as_role(Role::Service, read) && !as_role(Role::Control, read) && !as_role(Role::Worker, read));
    }

    /// Landlock refuses what a gap in a list would let through.
    #[test]
    fn only_threads_that_open_namespaces_may_open_any_file() {
        let limited = Role::NAMES.into_iter().filter(|(_, role)| role.directories().is_some());
        let names: Vec<_> = limited.map(|(name, _)| name).collect();
        assert_eq!(names, ["worker", "service", "control", "flow-logs", "flow-cache"]);
    }

    #[test]
    fn a_thread_that_cannot_prepare_does_not_run() {
        let failed = spawn("role", Role::Worker, || Err::<(), _>(io::Error::other("no")), |()| unreachable!());
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }

    /// The main thread handles signals; those that make changes wait for programs, and take what is sent to them.
    #[test]
    fn a_role_takes_no_signals_but_those_who_make_changes_do() {
        let blocked = |role: Role| {
            let (tell, told) = mpsc::channel();
            let (end, ends) = mpsc::channel::<()>();
            let begin = || Ok(rustix::thread::gettid().as_raw_nonzero());
            let run = move |id| {
                tell.send(id).unwrap();
                let _ = ends.recv();
            };
            let thread = spawn("role", role, begin, run).unwrap();
            let status = fs::read_to_string(format!("/proc/self/task/{}/status", told.recv().unwrap())).unwrap();
            drop(end);
            thread.join().unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
            let mask = u64::from_str_radix(&mask, 16).unwrap();
            [libc::SIGTERM, libc::SIGINT, libc::SIGSEGV, libc::SIGBUS].map(|signal| mask >> (signal - 1) & 1 == 1)
        };
        assert_eq!(blocked(Role::Changes), [false, false, true, true]);
        for (name, role) in Role::NAMES {
            if role != Role::Changes {
                assert_eq!(blocked(role), [true; 4], "{name}");
            }
        }
    }
}
