//! Reads the files that a topology names; relative paths count from the topology's directory.

use std::io;
use std::path::Path;

use crate::config::Named;
use crate::sys::files;

/// The longest topology, in bytes: one as large as Azure's limits allow fits several times.
pub const LARGEST_TOPOLOGY: u64 = 8 << 20;
/// Azure's list of service tags has 5 MB.
const LARGEST: u64 = 32 << 20;
/// Packet filter rules of a guest.
const LARGEST_RULES: u64 = 1 << 20;

/// Reads files by paths relative to the topology's directory; for one that was piped in, to the current directory.
pub fn beside(topology: &Path) -> impl Fn(Named<'_>) -> Result<String, String> {
    let directory = topology.parent().map(Path::to_owned).unwrap_or_default();
    move |named| match named {
        Named::ServiceTags(file) => read_inside(&directory, file, LARGEST),
        Named::Nftables(file) => read_inside(&directory, file, LARGEST_RULES),
    }
}

/// A regular file in a directory or below it, which no link leads out of.
pub fn read_inside(directory: &Path, file: &Path, limit: u64) -> Result<String, String> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let real = || Ok((here.canonicalize()?, here.join(file).canonicalize()?));
    let (directory, path) = real().map_err(|error: io::Error| error.to_string())?;
    if !path.starts_with(&directory) {
        return Err("it is outside the topology's directory, by its path or by a symbolic link".to_owned());
    }
    files::read_regular(&path, limit).map_err(|error| error.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_read_below_the_topologys_directory_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let lab = dir.path().join("lab");
        fs::create_dir_all(lab.join("rules")).unwrap();
        for (file, text) in [("lab/rules/web.nft", "rules"), ("lab/tags.json", "tags"), ("secret", "no")] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        symlink("../secret", lab.join("link")).unwrap();
        let topology = lab.join("lab.yaml");
        let read = beside(&topology);
        assert_eq!(read(Named::Nftables(Path::new("rules/web.nft"))), Ok("rules".to_owned()));
        assert_eq!(read(Named::ServiceTags(Path::new("tags.json"))), Ok("tags".to_owned()));
        let outside = "it is outside the topology's directory, by its path or by a symbolic link";
        for path in ["../secret", "link", "/etc/hostname"] {
            assert_eq!(read(Named::ServiceTags(Path::new(path))), Err(outside.to_owned()), "{path}");
        }
        assert!(read(Named::ServiceTags(Path::new("none"))).is_err());
        assert_eq!(read_inside(&lab, Path::new("tags.json"), 4), Ok("tags".to_owned()));
        assert!(read_inside(&lab, Path::new("tags.json"), 3).is_err(), "longer than that");
        assert!(read_inside(Path::new(""), Path::new("Cargo.toml"), 1 << 20).is_ok(), "the current directory");
    }
}
