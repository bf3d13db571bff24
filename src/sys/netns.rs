//! Network namespaces: made, named, opened and entered in-process.
//!
//! One idea: a namespace is an open file. It lives while a descriptor holds it, a process runs in it, or a name is
//! bound to it. Entering it concerns the calling thread only, so work inside one is a scoped thread. Names are bind
//! mounts as iproute2 makes them, so that `ip netns` shows them. What happens inside is not decided here.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::confine::{self, Role};
use super::files;

/// What stands for the calling thread's own.
pub const CURRENT: &str = "/proc/thread-self/ns/net";
/// Where iproute2 keeps the names.
pub const NAMES: &str = "/run/netns";

/// A network namespace, held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// Makes a namespace that nothing but this value holds.
    pub fn create() -> io::Result<Self> {
        scoped(|| {
            super::unshare::unshare(UnshareFlags::NEWNET)?;
            Self::current()
        })?
    }

    /// The calling thread's namespace.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new(CURRENT))
    }

    /// Opens a namespace by the path of a file that stands for one.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Opens a namespace that `ip netns` knows by this name.
    pub fn named(name: &str) -> io::Result<Self> {
        Self::open(&name_path(name))
    }

    /// Opens the namespace a process runs in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Another handle of the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Gives the namespace a name in the file system; fails if the path exists.
    pub fn bind(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
        let bound = rustix::mount::mount_bind(format!("/proc/self/fd/{}", self.file.as_raw_fd()), path);
        bound.map_err(|error| {
            // The empty file stands for nothing without its mount.
            let _ = fs::remove_file(path);
            error.into()
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs a function inside the namespace, on a thread of its own.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        scoped(|| self.enter().map(|()| f()))?
    }

    /// Starts a thread that stays inside, in a role. What `begin` makes there is what it runs with; returns once that is
    /// made, or why it was not.
    pub fn spawn<P>(
        &self,
        name: &str,
        role: Role,
        begin: impl FnOnce() -> io::Result<P> + Send + 'static,
        run: impl FnOnce(P) + Send + 'static,
    ) -> io::Result<confine::Thread> {
        let namespace = self.try_clone()?;
        let begin = move || namespace.enter().and_then(|()| begin());
        confine::spawn(name, role, begin, run)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Where `ip netns` has this name.
pub fn name_path(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

/// Removes a name that [`Netns::bind`] made; succeeds if it is gone already.
pub fn unbind(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // INVAL: nothing is mounted on it. PERM: a user's mounts went with their namespace, and the file is left.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes [`NAMES`] what iproute2 makes it: a shared mount, so that a name removed here is removed in every mount
/// namespace that holds a copy of it.
pub fn prepare_names() -> io::Result<()> {
    match files::make_directory(Path::new(NAMES), 0o755) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // As iproute2 does: two at once would each put a mount on it.
    let dir = File::open(NAMES)?;
    dir.lock()?;
    let share = || rustix::mount::mount_change(NAMES, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    match share() {
        // Not a mount point yet.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(NAMES, NAMES)?;
            Ok(share()?)
        }
        done => Ok(done?),
    }
}

/// Which namespace it is, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.device, self.inode)
    }
}

/// The namespace that a path stands for; none if it stands for none.
pub fn identity(path: &Path) -> Option<Identity> {
    // nsfs files are regular files on a file system with its own magic number.
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let stat = rustix::fs::stat(path).ok().filter(|stat| FileType::from_raw_mode(stat.st_mode).is_file())?;
    let bound = rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type.cast_unsigned() == NSFS_MAGIC);
    bound.then_some(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// A namespace that is held open to recognise it. The kernel gives the number of one that is gone to the next one.
#[derive(Debug)]
pub struct Recognised {
    identity: Identity,
    /// None where this process may open no more files.
    _held: Option<Netns>,
}

impl Recognised {
    /// The namespace that a path stands for; none if it stands for none.
    pub fn at(path: &Path) -> Option<Self> {
        // Nothing else is opened: a pipe would wait.
        let named = identity(path)?;
        let held = Netns::open(path).ok();
        let opened = held.as_ref().map(|held| format!("/proc/self/fd/{}", held.file.as_raw_fd()));
        let identity = opened.map_or(Some(named), |opened| identity(Path::new(&opened)))?;
        Some(Self { identity, _held: held })
    }

    pub fn is(&self, other: Identity) -> bool {
        self.identity == other
    }
}

/// The namespace that this is: the calling thread's, one that has a name, or one that a process runs in.
pub fn find(wanted: Identity) -> Option<Netns> {
    all().find_map(|path| Netns::open(&path).ok().filter(|_| identity(&path) == Some(wanted)))
}

/// The paths of files that stand for namespaces, several for some of these.
pub(super) fn all() -> impl Iterator<Item = PathBuf> {
    let entries = |dir| fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let processes = entries("/proc").map(|process| process.join("ns/net"));
    iter::once(PathBuf::from(CURRENT)).chain(entries(NAMES)).chain(processes)
}

/// Runs a function on a thread of its own and hands back its value or its panic.
fn scoped<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    let mut value = None;
    on_thread(Box::new(|| value = Some(f())))?;
    value.ok_or_else(|| io::Error::other("the thread inside the namespace has ended early"))
}

/// The same without the value: threads are started by dozens of functions, and this is compiled once.
fn on_thread(work: Box<dyn FnOnce() + Send + '_>) -> io::Result<()> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("vnet-netns".into()).spawn_scoped(scope, work)?;
        worker.join().map_err(|_| io::Error::other("the thread inside the namespace panicked"))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::caps;
    use super::super::netlink::Netlink;
    use super::*;

    #[test]
    fn a_namespace_has_its_own_devices_and_routes() {
        if !caps::permit_namespaces() {
            return;
        }
        let ns = Netns::create().unwrap();
        ns.run(|| {
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap();
            netlink.up(lo).unwrap();
            netlink.add_address(lo, "10.1.1.4/24".parse().unwrap()).unwrap();
            netlink.add_address(lo, "fd00::4/64".parse().unwrap()).unwrap();
            for ipv6 in [false, true] {
                assert!(!netlink.has_default_route(ipv6).unwrap());
                netlink.add_default_device(lo, ipv6).unwrap();
                assert!(netlink.has_default_route(ipv6).unwrap());
            }
            assert_eq!(netlink.link("eth0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        })
        .unwrap();
    }

    #[test]
    fn no_other_namespace_is_taken_for_one_that_is_recognised() {
        if !caps::permit_namespaces() {
            return;
        }
        let path = |ns: &Netns| format!("/proc/self/fd/{}", ns.file.as_raw_fd());
        let identity_of = |ns: &Netns| identity(Path::new(&path(ns))).unwrap();
        let gone = Netns::create().unwrap();
        let recognised = Recognised::at(Path::new(&path(&gone))).unwrap();
        assert!(recognised.is(identity_of(&gone)));
        drop(gone);
        // Without it the kernel gives the number to one of the next, when it has taken down the one that had it.
        for _ in 0..50 {
            assert!(!recognised.is(identity_of(&Netns::create().unwrap())));
        }
    }

    #[test]
    fn a_name_comes_and_goes() {
        if !caps::permit_namespaces() {
            return;
        }
        // In a mount namespace of its own, so that nothing is left when it fails.
        scoped(|| {
            super::super::mount::private_view().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("web");
            Netns::create().unwrap().bind(&path).unwrap();
            assert!(identity(&path).is_some_and(|it| identity(&path) == Some(it)));
            assert_ne!(identity(&path), identity(Path::new("/proc/self/ns/net")));
            assert!(Netns::create().unwrap().bind(&path).is_err(), "a name is taken once");
            Netns::open(&path).unwrap().run(|| ()).unwrap();
            unbind(&path).unwrap();
            unbind(&path).unwrap();
            assert!(!path.exists());
            fs::write(&path, "").unwrap();
            assert_eq!(identity(&path), None, "a file that nothing is bound to");
        })
        .unwrap();
    }
}
