//! A view of the file system and a host name of one's own, for a program that runs in a node.
//!
//! One idea: this does what `ip netns exec` does. The view is a copy that receives changes from outside and sends none
//! back.

use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::thread::UnshareFlags;

/// Gives the calling thread its own mounts and host name.
pub fn private_view() -> io::Result<()> {
    super::unshare::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS)?;
    // Downstream, not private: a namespace's name removed outside must go here too, or it would be kept alive.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Shows one file in place of another.
pub fn cover(target: &Path, source: &Path) -> io::Result<()> {
    Ok(mount_bind(source, target)?)
}

/// Shows the calling thread's network namespace in `/sys/class/net`.
pub fn fresh_sysfs() -> io::Result<()> {
    // Covered rather than replaced where something below /sys is locked (a user namespace).
    let _ = unmount("/sys", UnmountFlags::DETACH);
    Ok(mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None::<&std::ffi::CStr>)?)
}

pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}
