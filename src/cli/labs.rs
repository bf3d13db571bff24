//! What the commands around a lab's life share: choosing one, and turning its errors into exit codes.

use std::io::ErrorKind;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::lab::{self, Base, Error, Record};
use crate::model::PeeringError;

/// The lab meant by `-l`, or the only one that runs.
pub(super) fn running(context: &Context) -> Result<Record, Failure> {
    Ok(lab::pick(&Base::detect(), context.lab.as_deref())?)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Peering(errors) => {
                return Self::new(Exit::Usage, &error).help(format_args!(
                    "{}; `vnet down` forgets how the peerings of a crashed lab stood",
                    errors.first().map(PeeringError::help).unwrap_or_default()
                ));
            }
            Error::RunsAlready { .. }
            | Error::Busy { .. }
            | Error::SeveralLabs(_)
            | Error::NoNode { .. }
            | Error::NameTaken { .. }
            | Error::Stopped(_) => Exit::Usage,
            Error::NoLab(_) | Error::Ending | Error::Ended(_) => Exit::NoDaemon,
            Error::NoAnswer { .. } => Exit::No,
            // As a shell has it: 127 not found, 126 found but not executable.
            Error::Program { error, .. } => Exit::Program(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }),
            // It printed on our standard error what went wrong.
            Error::NotStarted(Some(code)) => return Self::new(Exit::Program(*code), ""),
            Error::UnsafeDirectory { .. }
            | Error::NotPermitted(_)
            | Error::Containers(_)
            | Error::TooMuch { .. }
            | Error::System { .. }
            | Error::NotStarted(None) => Exit::Unavailable,
        };
        Self::new(exit, error)
    }
}
