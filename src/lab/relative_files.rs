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
