//! Where a lab's flow logs go.
//!
//! Their directories are made before anything else of a change, while it can still be refused, by the thread that may
//! make them. The thread that writes flow logs has no capabilities.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::lab::error::{During, Result};
use crate::lab::journal::state::LabDir;
use crate::model::Network;

/// The storage path of each flow log, in their order. Those of enabled logs are there then. A relative one counts from
/// the topology's directory.
pub(in crate::lab) fn storage(network: &Network, topology: Option<&Path>, dir: &LabDir) -> Result<Vec<PathBuf>> {
    let paths = network.flow_logs.iter().map(|log| {
        let cannot = || format!("cannot keep flow log {}", log.name);
        let path = match (&log.storage_path, topology.and_then(Path::parent)) {
            (None, _) => dir.flow_logs(),
            (Some(path), _) if path.is_absolute() => path.clone(),
            (Some(path), Some(directory)) => directory.join(path),
            (Some(path), None) => {
                let piped = format!("storagePath {} is relative, and the topology was piped in", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, piped)).during(cannot);
            }
        };
        let directory = topology.and_then(Path::parent);
        if let Some(directory) = directory.filter(|_| log.outside().is_none() && log.storage_path.is_some()) {
            stays_inside(directory, &path).during(cannot)?;
        }
        if log.enabled {
            fs::create_dir_all(&path).during(|| format!("{}: cannot make {}", cannot(), path.display()))?;
        }
        Ok(path)
    });
    paths.collect()
}

/// Fails where a symbolic link leads out of the topology's directory: the path looks as if it did not.
fn stays_inside(directory: &Path, path: &Path) -> io::Result<()> {
    let directory = directory.canonicalize()?;
    // A link that leads nowhere is there, and a directory would be made at its end.
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(&directory);
    if there.canonicalize().is_ok_and(|there| there.starts_with(&directory)) {
        return Ok(());
    }
    let message = format!("storagePath {}: a symbolic link leads out of the topology's directory", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// The flow logs, by their number, with a storage path through something that is no directory, and what that is.
pub fn unfit_storage(network: &Network, topology: &Path) -> Vec<(usize, PathBuf)> {
    let directory = topology.parent().unwrap_or(Path::new(""));
    let paths = network.flow_logs.iter().enumerate();
    let unfit = paths.filter_map(|(log, flow_log)| {
        let path = directory.join(flow_log.storage_path.as_ref()?);
        let there = path.ancestors().find(|path| path.exists())?;
        (!there.is_dir()).then(|| (log, there.to_owned()))
    });
    unfit.collect()
}
