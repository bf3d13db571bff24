//! A user namespace of one's own: how everything works without root.
//!
//! One idea: inside, the caller is root over the network and mount namespaces made there, and over no others. Only a
//! single-threaded process may enter one. Ids other than the caller's own stay unmapped.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags, getegid, geteuid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

/// Moves the process into a new user namespace with its own view of mounts, as root there.
pub fn enter_new() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    super::unshare::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    // user_namespaces(7): without this an unprivileged process may not write gid_map.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Moves the process into the user and mount namespaces of another one of the same user, as root there.
pub fn join(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let wanted = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    Ok(move_into_thread_name_spaces(process.as_fd(), wanted)?)
}
