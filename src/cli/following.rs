//! A running lab that goes on answering, until nobody reads what is printed.

use std::io;
use std::time::Duration;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::control::client::{self, Heard};
use crate::control::protocol::{Response, Topic};
use crate::lab::{self, Base};
use crate::sys::files;

/// How often to look whether stdout still has a reader while there is nothing to print.
const LOOK: Duration = Duration::from_millis(500);

/// What a lab has to tell.
pub(super) struct Following {
    lab: String,
    answers: client::Following,
}

impl Context {
    /// Follows the lab that `-l` names, or the only one that runs.
    pub(super) fn follow(&self, topic: Topic) -> Result<Following, Failure> {
        let lab = lab::pick(&Base::detect(), self.lab.as_deref())?;
        let answers = client::follow(&lab.socket, topic)?;
        Ok(Following { lab: lab.lab, answers })
    }
}

impl Following {
    /// The next answer; None once nobody would read it.
    pub(super) fn next(&mut self) -> Result<Option<Response>, Failure> {
        loop {
            match self.answers.next(LOOK)? {
                Heard::Answer(answer) => return Ok(Some(answer)),
                Heard::Nothing if !files::has_reader(io::stdout()) => return Ok(None),
                Heard::Nothing => {}
                Heard::End => return Err(Failure::new(Exit::NoDaemon, format_args!("lab {} has ended", self.lab))),
            }
        }
    }
}
