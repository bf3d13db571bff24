//! ARM documents: templates, dumps and plans into resources, and resources into a topology file.
//!
//! One idea: whatever the input was, a template, the output of `az`, Resource Graph or Terraform, it becomes a list of
//! [`Resource`]s with Azure's own ids, types and properties. What comes after knows only these.

mod convert;
pub mod dump;
mod export;
pub mod json;
mod mistake;
mod notes;
mod resource;
pub mod store;
pub mod template;
pub mod terraform;
mod tree;

pub use convert::text::Origins;
pub use convert::{LISTS, Options, Refused, Topology, convert};
pub use export::{Export, Omission, bicep, export};
pub use json::{SECOND as SECOND_DOCUMENT, parse as parse_json};
pub use mistake::Mistake;
pub use notes::{Counts, Note, NoteKind, Summary};
pub use resource::{Resource, ResourceId};
pub use store::{Source, Store};
pub use tree::{Key, Node, Place, Value};
