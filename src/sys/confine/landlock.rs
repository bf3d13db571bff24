//! Landlock: which files a thread may open from now on, as far as the kernel can check that.
//!
//! One idea: what is open stays open, and everything else is refused, but for what is below a few directories. A kernel
//! without Landlock refuses nothing; the list of system calls still holds there.

use std::io;
use std::path::PathBuf;

use landlock::{ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules};

/// The newest rights that are asked for; an older kernel knows fewer.
const RIGHTS: ABI = ABI::V5;

/// Lets the calling thread open, make and remove files below these directories alone.
pub(super) fn allow_only(directories: &[PathBuf]) -> io::Result<()> {
    let all = AccessFs::from_all(RIGHTS);
    let made = Ruleset::default().handle_access(all).and_then(Ruleset::create);
    let filled = made.and_then(|rules| rules.add_rules(path_beneath_rules(directories, files())));
    filled.and_then(landlock::RulesetCreated::restrict_self).map(drop).map_err(io::Error::other)
}

/// What keeping plain files takes.
fn files() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
}
