//! `vnet schema`: a JSON Schema of topology files, for editors.

use clap::Args;

use super::output::print;
use super::{Exit, Outcome};
use crate::config::json_schema;

/// Print a JSON Schema (draft 2020-12) of topology files, for editors
///
/// It is made from the readers that decode a file, so it has every key that they know. What a schema cannot say (references,
/// ranges that overlap, Azure's refusals) is for `vnet validate`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  vnet schema > vnet.schema.json

Then the first line of a topology file tells a YAML language server about it:
  # yaml-language-server: $schema=vnet.schema.json")]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn run() -> Outcome {
        print(&format!("{:#}\n", json_schema()))?;
        Ok(Exit::Fine)
    }
}
