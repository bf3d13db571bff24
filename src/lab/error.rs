//! Why a lab could not be made, found or entered, in words a user can act on.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::model::PeeringError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("lab {lab} runs already (pid {pid}); `vnet down {lab}` ends it")]
    RunsAlready { lab: String, pid: u32 },
    #[error("another process is starting or ending lab {lab}")]
    Busy { lab: String },
    #[error("{path} belongs to another user or is open to others: expected a directory of yours with mode 0700")]
    UnsafeDirectory { path: PathBuf },
    /// The file does not follow from how the peerings stood when the lab's daemon crashed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Peering(Vec<PeeringError>),
    #[error("{0}")]
    NotPermitted(String),
    /// A sentence for each container that gets no device.
    #[error("{}", .0.join("\n"))]
    Containers(Vec<String>),
    /// A sentence for each of the system's limits.
    #[error("{file} asks for more than this system has:\n  {}", .too_much.join("\n  "))]
    TooMuch { file: String, too_much: Vec<String> },
    #[error("{0}")]
    NoLab(String),
    #[error("several labs run ({}): choose one with -l LAB", .0.join(", "))]
    SeveralLabs(Vec<String>),
    #[error("lab {lab} has no node {node}; it has {}", .nodes.join(", "))]
    NoNode { lab: String, node: String, nodes: Vec<String> },
    #[error("machine {0} is stopped: there is no way into it; `powerState: running` and `vnet apply` start it")]
    Stopped(String),
    #[error("the lab is ending: nothing was changed")]
    Ending,
    #[error("{}", taken(path, owner.as_deref()))]
    NameTaken { path: PathBuf, owner: Option<String> },
    #[error("lab {0} has ended meanwhile")]
    Ended(String),
    #[error("cannot run {program}: {error}")]
    Program { program: String, error: io::Error },
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    /// Packets that a lab was asked to carry did not come through.
    #[error("{what}: {error}")]
    NoAnswer { what: String, error: io::Error },
    /// The daemon has printed the reason on its own standard error.
    #[error("the daemon did not start")]
    NotStarted(Option<u8>),
}

/// The owner of the name that a namespace was to have.
fn taken(path: &Path, owner: Option<&str>) -> String {
    let (path, name) = (path.display(), path.file_name().unwrap_or_default().display());
    match owner {
        Some(lab) => {
            format!("cannot make namespace {path}: lab {lab} has one of that name; give one of the two another name")
        }
        None => format!(
            "cannot make namespace {path}: it is there, and not by vnet; `ip netns delete {name}` removes it, \
             or give the lab another name"
        ),
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Adds what was being done when the kernel refused.
pub(super) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;

    /// The same of what waits for packets through the lab: silence and refusals are answers.
    fn through_the_lab(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::System { what: what(), error })
    }

    fn through_the_lab(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| match error.kind() {
            ErrorKind::TimedOut
            | ErrorKind::WouldBlock
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable => Error::NoAnswer { what: what(), error },
            _ => Error::System { what: what(), error },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what waited for packets takes silence for an answer: a thread that the system refuses is none.
    #[test]
    fn silence_is_an_answer_of_the_lab_and_a_shortage_of_the_system_is_none() {
        let failed = |kind: ErrorKind| io::Result::<()>::Err(kind.into());
        let what = || "it".to_owned();
        let answers = [ErrorKind::TimedOut, ErrorKind::WouldBlock, ErrorKind::ConnectionRefused];
        for kind in answers {
            assert!(matches!(failed(kind).through_the_lab(what), Err(Error::NoAnswer { .. })), "{kind}");
            assert!(matches!(failed(kind).during(what), Err(Error::System { .. })), "{kind}");
        }
        assert!(matches!(failed(ErrorKind::PermissionDenied).through_the_lab(what), Err(Error::System { .. })));
    }
}
