//! `vnet down`: end a lab and remove exactly what it made.

use clap::Args;

use super::context::Context;
use super::output::print;
use super::{Exit, Outcome};
use crate::lab::{self, Base, Down as Came, Ended, Error};

/// End a lab and remove everything it made
///
/// Every process in its machines ends too, also those that `exec` started. Works after a crash of the lab's daemon, and
/// after its directory was deleted. Without a name, exit code 0 if no lab runs; a named lab that does not run is an
/// error, exit code 5.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet down\n  vnet down hub-spoke\n  vnet down --all")]
pub(super) struct Down {
    /// The lab to end; by default the one that runs
    #[arg(conflicts_with = "all")]
    name: Option<String>,
    /// End every lab
    #[arg(long)]
    all: bool,
}

impl Down {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let base = Base::detect();
        let present = base.names();
        let named = self.name.as_ref().or(context.lab.as_ref());
        let chosen = match named {
            Some(name) => vec![name.clone()],
            None if self.all || present.len() < 2 => present,
            None => return Err(Error::SeveralLabs(present).into()),
        };
        if chosen.is_empty() {
            context.messages.note("no lab runs");
        }
        let mut exit = Exit::Fine;
        for name in chosen {
            let Some(Came { ended, ignored }) = lab::down(&base, &name)? else {
                match named {
                    Some(_) => return Err(lab::no_lab(&base, &name).into()),
                    // Another `down` was quicker.
                    None => continue,
                }
            };
            print(&match ended {
                Ended::Stopped => format!("lab {name} is down\n"),
                Ended::Cleaned => format!("lab {name} had crashed; what it left behind is removed\n"),
            })?;
            for what in ignored {
                context.messages.warning(&what);
                exit = Exit::Warnings;
            }
        }
        Ok(exit)
    }
}
