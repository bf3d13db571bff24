//! The exit codes, in one place. `vnet --help` documents them; scripts rely on them.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine,
    /// The answer is no: unreachable, blocked, different.
    No,
    /// Wrong usage, or a file with mistakes.
    Usage,
    /// Fine, but there are warnings.
    Warnings,
    /// A privilege or a kernel feature is missing, or something of the system is in the way.
    Unavailable,
    /// No such lab is running.
    NoDaemon,
    /// The exit code of the program that `exec` or `shell` ran.
    Program(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Warnings => 3,
            Exit::Unavailable => 4,
            Exit::NoDaemon => 5,
            Exit::Program(code) => code,
        })
    }
}
