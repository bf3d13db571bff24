//! Questions to a running lab, and what their failure means to the user.

use crate::daemon::api::client::{self, ClientError};
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::{self, Base};

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

impl Context {
    /// Asks the lab that `-l` names, or the only one that runs.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        self.ask_lab(None, request)
    }

    /// Asks the lab of that name, or as [`Self::ask`] does.
    pub(super) fn ask_lab(&self, name: Option<&str>, request: &Request) -> Result<Response, Failure> {
        let lab = lab::pick(&Base::detect(), name.or(self.lab.as_deref()))?;
        Ok(client::ask(&lab.socket, request)?)
    }
}

/// An answer to another question: the daemon's fault.
pub(super) fn unexpected(response: &Response) -> Failure {
    Failure::new(Exit::NoDaemon, format_args!("the daemon answered something else: {response:?}"))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = |exit| Self::new(exit, &error);
        match &error {
            ClientError::Refused(refusal) => Self { help: refusal.help.clone(), ..failure(Exit::Usage) },
            ClientError::Failed(refusal) => Self { help: refusal.help.clone(), ..failure(Exit::Unavailable) },
            ClientError::NoDaemon(_) => failure(Exit::NoDaemon).help("`vnet ls` lists the labs, `vnet up` starts one"),
            ClientError::Denied(_) => {
                failure(Exit::Unavailable).help("ask as the user who started the lab, or as root")
            }
            ClientError::Version(_) => {
                failure(Exit::NoDaemon).help("`vnet down`, then `vnet up` again, with this vnet")
            }
            ClientError::Silent | ClientError::Garbled(_) | ClientError::Io(_) => failure(Exit::NoDaemon),
        }
    }
}
