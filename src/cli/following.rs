//! Follows a running lab until stdout has no reader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::daemon::api::client::{self, Received};
use crate::daemon::api::protocol::{Response, Topic};
use crate::lab::{self, Base};
use crate::sys::files;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

/// How often to look whether stdout still has a reader while there is nothing to print.
const LOOK: Duration = Duration::from_millis(500);

/// What a lab has to tell.
pub(super) struct Following {
    lab: String,
    answers: client::Following,
    /// When to ask for the end.
    deadline: Option<Instant>,
    /// Ctrl-C was pressed, or `timeout` has ended it.
    interrupted: Arc<AtomicBool>,
    /// It was asked for.
    ending: bool,
}

impl Context {
    /// Follows the lab that `-l` names, or the only one that runs.
    pub(super) fn follow(&self, topic: Topic) -> Result<Following, Failure> {
        let lab = lab::pick(&Base::detect(), self.lab.as_deref())?;
        let answers = client::follow(&lab.socket, topic)?;
        Ok(Following { lab: lab.lab, answers, deadline: None, interrupted: Arc::default(), ending: false })
    }
}

impl Following {
    /// Asks for the end at this time.
    pub(super) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// Asks for the end at Ctrl-C, or as `timeout` asks for it; a second time ends the program.
    pub(super) fn until_interrupted(self) -> Result<Self, Failure> {
        let flag = &self.interrupted;
        for signal in [SIGINT, SIGTERM] {
            let armed = flag::register_conditional_default(signal, Arc::clone(flag))
                .and_then(|_| flag::register(signal, Arc::clone(flag)));
            armed.map_err(|error| Failure::new(Exit::Unavailable, error))?;
        }
        Ok(self)
    }

    /// Asks for the end now: what there is to tell still comes.
    fn enough(&mut self) {
        self.answers.enough();
        self.ending = true;
    }

    /// The next answer; None at an end that was asked for, or once stdout has no reader.
    pub(super) fn next(&mut self) -> Result<Option<Response>, Failure> {
        loop {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let over = left == Some(Duration::ZERO) || self.interrupted.load(Ordering::Relaxed);
            if over && !self.ending {
                self.enough();
            }
            let patience = left.filter(|_| !self.ending).map_or(LOOK, |left| left.min(LOOK));
            match self.answers.next(patience)? {
                Received::Answer(answer) => return Ok(Some(answer)),
                Received::Nothing if !files::has_reader(io::stdout()) => return Ok(None),
                Received::Nothing => {}
                Received::End if self.ending => return Ok(None),
                Received::End => return Err(Failure::new(Exit::NoDaemon, format_args!("lab {} has ended", self.lab))),
            }
        }
    }
}
