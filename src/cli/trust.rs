//! `vnet trust`: consent to the code of a file, recorded.

use std::path::PathBuf;

use clap::Args;

use crate::lab::consent::{Code, directory_of};

use super::consent::text;
use super::context::Context;
use super::failure::Failure;
use super::output::print;
use super::{Exit, Outcome, topology};

/// Record that the code of a topology file may run
///
/// Prints the programs (`run:`) and firewall rules (`guest: {nftables: ..}`) of the file, and records your consent, so that
/// `up`, `apply`, `test` and `run` do not ask. The consent is for the file as it is now, with the files beside it that
/// its rules and programs name. After a change of one of them they ask again.
///
/// Consents are files in `~/.local/state/vnet/trusted`, or below XDG_STATE_HOME. Each user has their own.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  vnet trust lab.vnet.yaml && vnet up lab.vnet.yaml")]
pub(super) struct Trust {
    /// The topology file
    file: PathBuf,
}

impl Trust {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let input = topology::read(&self.file, context)?;
        let name = &input.name;
        let network = topology::load(&input, context)?.network;
        let Some(code) = Code::of(&network, &input.text, &directory_of(&self.file)) else {
            print(&format!("{name} runs no code: it needs no consent\n"))?;
            return Ok(Exit::Fine);
        };
        let text = text(&code, name);
        let path = code.agree(&text).map_err(|error| {
            Failure::new(Exit::Unavailable, format_args!("cannot record your consent: {error}"))
                .help("`--allow-run` runs it without a record")
        })?;
        print(&format!("{text}Your consent is recorded in {}\n", path.display()))?;
        Ok(Exit::Fine)
    }
}
