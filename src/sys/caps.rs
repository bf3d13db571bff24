//! Capabilities of the calling thread.
//!
//! One idea: Linux keeps them per thread and threads inherit them, so dropping them before a thread is made is enough.
//! Which are needed when is the caller's business.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// Whether the calling thread can use all of these.
pub fn has(wanted: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Gives up every capability but these, for this thread and those it makes from now on.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    let kept = kept & held.permitted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// The same, and the means of getting one back by executing a program.
pub fn settle(kept: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    keep(kept)
}

/// Gives up every capability, and the means of getting one back.
pub fn renounce() -> io::Result<()> {
    settle(CapabilitySet::empty())
}

/// Whether a test may make namespaces; where continuous integration runs, it must.
#[cfg(test)]
pub(crate) fn permit_namespaces() -> bool {
    let permitted = has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
    assert!(permitted || std::env::var("CI").is_err(), "not permitted to make namespaces");
    permitted
}
