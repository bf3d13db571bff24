//! Files that a topology names, read from where it is.

use std::path::Path;

use crate::sys::files;

/// The longest topology, in bytes: one as large as Azure's limits allow fits several times.
pub const LARGEST_TOPOLOGY: u64 = 8 << 20;
/// Azure's list of service tags has 5 MB.
const LARGEST: u64 = 32 << 20;

/// Reads files whose relative paths count from the topology's directory; one that was piped in counts as here.
pub fn beside(topology: &Path) -> impl Fn(&Path) -> Result<String, String> {
    let directory = topology.parent().map(Path::to_owned).unwrap_or_default();
    move |file| files::read_text(&directory.join(file), LARGEST).map_err(|error| error.to_string())
}
