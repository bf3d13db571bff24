//! The one call that makes namespaces, made safe.

#![expect(unsafe_code, reason = "unshare(2)")]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread namespaces of its own.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // A split descriptor table would break every `OwnedFd` that crosses threads.
    assert!(!flags.contains(UnshareFlags::FILES), "descriptor tables are never unshared");
    // SAFETY: `unshare_unsafe` is unsafe for FILES alone, which the line above excludes.
    Ok(unsafe { unshare_unsafe(flags) }?)
}
