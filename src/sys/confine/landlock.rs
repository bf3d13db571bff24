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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Without a filter of calls: what a thread could do if its list let it.
    #[test]
    fn plain_files_alone_are_made_and_in_these_directories_alone() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (own, other) = (ours.path().to_owned(), theirs.path().to_owned());
        fs::write(other.join("file"), "text").unwrap();
        let tries = move || {
            allow_only(std::slice::from_ref(&own)).unwrap();
            fs::create_dir(own.join("directory")).unwrap();
            fs::write(own.join("directory/file"), "text").unwrap();
            let refused = [
                symlink(&other, own.join("link")).err(),
                UnixListener::bind(own.join("socket")).err(),
                fs::hard_link(own.join("directory/file"), own.join("linked")).err(),
                fs::rename(own.join("directory/file"), own.join("moved")).err(),
                fs::read(other.join("file")).err(),
                fs::write(other.join("file"), "two").err(),
                fs::write(other.join("new"), "two").err(),
                fs::read_dir(&other).err(),
                std::process::Command::new("/bin/true").status().err(),
            ];
            refused.map(|error| error.map_or(io::ErrorKind::Other, |error| error.kind()))
        };
        let kinds = thread::spawn(tries).join().unwrap();
        // A file does not change its directory where none of the two may take it: link(2) and rename(2) say EXDEV.
        let (denied, crosses) = (io::ErrorKind::PermissionDenied, io::ErrorKind::CrossesDevices);
        assert_eq!(kinds, [denied, denied, crosses, crosses, denied, denied, denied, denied, denied]);
        assert_eq!(fs::read_dir(ours.path()).unwrap().count(), 1);
    }
}
