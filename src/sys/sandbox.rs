//! Confines the calling thread, and the program that it becomes or starts, to its network namespace and to files that it
//! may read.
//!
//! One idea: what a program could change outside is not in its view. Every mount is read-only there, temporary
//! directories and devices are its own, and few capabilities are left. Landlock keeps it from
//! signalling and tracing processes outside, a seccomp filter from its user's keys and terminals. The thread must have a view of its own already (`mount::private_view`).

#![expect(unsafe_code, reason = "mount_setattr(2), landlock(7)")]

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};
use rustix::thread::{
    CapabilitySet, UnshareFlags, clear_ambient_capability_set, remove_capability_from_bounding_set, set_no_new_privs,
};

use super::caps;

/// What a program may do to its own network, and to become a user with less power, as tcpdump and nginx do.
pub const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN);
/// Directories that a program has for itself, empty at its start.
const PRIVATE: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/var/lib"];
/// The devices that it sees.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];
/// Of the kernel's settings, those of its network.
const SETTINGS: &str = "/proc/sys/net";
/// Each private directory holds this much.
const SIZE: &CStr = c"mode=1777,size=256m";
const DEVICES_SIZE: &CStr = c"mode=755,size=1m";

/// Confines the calling thread for good. What is `kept` stays readable where a private directory would hide it.
pub fn confine(kept: &[&Path]) -> io::Result<()> {
    super::unshare::unshare(UnshareFlags::NEWIPC)?;
    let kept: Vec<_> = kept.iter().filter_map(|path| Kept::new(path)).collect();
    let settings = tree(Path::new(SETTINGS), OpenTreeFlags::empty());
    let devices = DEVICES.map(|name| (name, tree(&Path::new("/dev").join(name), OpenTreeFlags::empty())));
    read_only(CWD, c"/", 0)?;
    for path in PRIVATE.into_iter().filter(|path| Path::new(path).is_dir()) {
        temporary(Path::new(path), SIZE)?;
    }
    // A system that covers these settings itself does not let go of them.
    if let Ok(settings) = settings {
        let _ = attach(&settings, Path::new(SETTINGS));
    }
    let there = devices.into_iter().filter_map(|(name, device)| Some((name, device.ok()?)));
    make_devices(there)?;
    kept.iter().try_for_each(Kept::restore)?;
    set_no_new_privs(true)?;
    stay_among_own_processes();
    super::confine::install_of_programs()?;
    give_up_capabilities()
}

/// A file or directory that must not vanish.
struct Kept {
    path: PathBuf,
    tree: OwnedFd,
    is_dir: bool,
}

impl Kept {
    /// None where nothing private hides it, or where it is such a directory itself.
    fn new(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let is_hidden = PRIVATE.iter().any(|private| path.starts_with(private) && path != Path::new(private));
        if !is_hidden {
            return None;
        }
        let flags = OpenTreeFlags::AT_RECURSIVE;
        Some(Self { tree: tree(&path, flags).ok()?, is_dir: path.is_dir(), path })
    }

    fn restore(&self) -> io::Result<()> {
        if self.is_dir {
            fs::create_dir_all(&self.path)?;
        } else {
            make_file(&self.path)?;
        }
        read_only(self.tree.as_fd(), c"", libc::AT_EMPTY_PATH)?;
        attach(&self.tree, &self.path)
    }
}

/// A copy of what is mounted at a place, to be mounted at another.
fn tree(path: &Path, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let copy = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, copy | flags)?)
}

fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    Ok(move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn temporary(path: &Path, size: &CStr) -> io::Result<()> {
    Ok(mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, size)?)
}

fn make_file(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(path).map(drop)
}

/// Puts a directory of a few devices in place of the system's, which has disks and other users' terminals.
fn make_devices(devices: impl Iterator<Item = (&'static str, OwnedFd)>) -> io::Result<()> {
    let dev = Path::new("/dev");
    temporary(dev, DEVICES_SIZE)?;
    for (name, device) in devices {
        make_file(&dev.join(name))?;
        attach(&device, &dev.join(name))?;
    }
    let links = [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
    for (name, target) in links.into_iter().chain([("ptmx", "pts/ptmx")]) {
        symlink(target, dev.join(name))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    // Few programs need a terminal: one that does says so itself.
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let _ = mount("devpts", "/dev/pts", "devpts", flags, c"newinstance,ptmxmode=0666");
    temporary(Path::new("/dev/shm"), SIZE)
}

/// Makes all that is mounted at or below a place read-only, without set-user-ID programs.
fn read_only(at: impl AsFd, path: &CStr, flags: i32) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let (at, flags) = (at.as_fd().as_raw_fd(), flags | libc::AT_RECURSIVE);
    // SAFETY: `path` ends with a zero, and the kernel reads `attributes` by its size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the thread from signalling and tracing processes that it does not start, as far as the kernel can: to trace
/// takes Linux 5.13, to signal takes 6.12.
fn stay_among_own_processes() {
    const VERSION: u32 = 1;
    const MAKE_BLOCK: u64 = 1 << 11;
    const ABSTRACT_SOCKETS_AND_SIGNALS: u64 = 3;
    // SAFETY: with this flag the kernel reads no attribute.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0, VERSION) };
    // Handled rights of files and of ports, and scopes. Of files only what no program does: to make a block device.
    let (ruleset, length) = match version {
        ..1 => return,
        1..6 => ([MAKE_BLOCK, 0, 0], 1),
        6.. => ([0, 0, ABSTRACT_SOCKETS_AND_SIGNALS], 3),
    };
    // SAFETY: the kernel reads as many numbers of `ruleset` as the size says.
    let fd =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ruleset.as_ptr(), length * size_of::<u64>(), 0_u32) };
    let Ok(fd) = i32::try_from(fd) else { return };
    if fd >= 0 {
        // SAFETY: the kernel has just given this descriptor to this thread.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the call takes numbers alone.
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0_u32) };
    }
}

/// Gives up every other capability, and the means of getting one back.
fn give_up_capabilities() -> io::Result<()> {
    for capability in (CapabilitySet::all() - KEPT).iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Err(rustix::io::Errno::INVAL) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    caps::keep(KEPT)
}
