//! Reading a topology file the way every command does: mistakes drawn over the source, on stderr.

use std::io::{self, Write};

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::{self, Diagnostic};
use crate::model::Network;

/// The network a file describes. Its mistakes and doubts are printed.
pub(super) fn parse(text: &str, name: &str, context: &Context) -> Result<Network, Failure> {
    let show = |diagnostics: &[Diagnostic]| {
        for diagnostic in diagnostics {
            // A stderr that is gone is nobody's problem.
            let _ = writeln!(io::stderr().lock(), "{}", diagnostic.render(text, name, context.messages.colour));
        }
    };
    match config::load(text, name) {
        Ok(loaded) => {
            show(&loaded.warnings);
            Ok(loaded.network)
        }
        Err(errors) => {
            show(&errors.0);
            Err(Failure::new(Exit::Usage, ""))
        }
    }
}
