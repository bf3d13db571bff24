//! Files that a topology names, read from where it is.

use std::fs;
use std::path::Path;

/// Reads files whose relative paths count from the topology's directory; one that was piped in counts as here.
pub fn beside(topology: &Path) -> impl Fn(&Path) -> Result<String, String> {
    let directory = topology.parent().map(Path::to_owned).unwrap_or_default();
    move |file| fs::read_to_string(directory.join(file)).map_err(|error| error.to_string())
}
