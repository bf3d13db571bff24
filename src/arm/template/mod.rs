//! Deployment templates to resources: the template language, without Azure.
//!
//! Parameters without a value get one that is made up, and `reference` answers from the template itself; what was made up
//! is noted. The result is the resources that Azure would be asked for, each with its id. Files are read through the
//! caller alone, and never the network.

mod addresses;
mod call;
mod deployment;
mod evaluate;
mod expression;
mod functions;
mod id;
mod lambda;
mod link;
mod machine;
mod made_up;
mod parameters;
mod reference;
mod scope;
mod surroundings;
mod unique;

use std::cell::Cell;
use std::sync::Arc;

use super::{Key, Mistake, Node, Note, Resource};

pub use addresses::circuit_of_cloud;
pub use machine::MOST_WORK;
pub use parameters::parameters_of;

/// The longest template that Azure takes, in bytes.
pub const LARGEST: usize = 4 * 1024 * 1024;

/// The name and the text of a file; or why there is none.
pub type File = Result<(Arc<str>, String), String>;

/// What a deployment is given from outside.
pub struct Context<'a> {
    /// Values from parameter files and the command line, the later winning.
    pub parameters: Vec<(String, Node)>,
    /// Reads a linked file: the relative link, and the name of the file that it stands in.
    pub files: &'a dyn Fn(&str, &str) -> File,
    pub subscription: String,
    pub tenant: String,
    pub resource_group: String,
    pub location: String,
    pub deployment: String,
    /// What the last evaluation cost: how many values it made, texts counted by length. See [`MOST_WORK`].
    pub work: Cell<usize>,
}

/// What a template deploys.
#[derive(Debug)]
pub struct Evaluated {
    pub resources: Vec<Resource>,
    pub outputs: Vec<(Key, Node)>,
    /// What was made up, and which files were not read.
    pub notes: Vec<Note>,
}

impl<'a> Context<'a> {
    /// A deployment without parameters, in a subscription and a resource group of our own.
    pub fn new(files: &'a dyn Fn(&str, &str) -> File) -> Self {
        Self {
            parameters: Vec::new(),
            files,
            subscription: "00000000-0000-0000-0000-000000000000".to_owned(),
            tenant: "11111111-1111-1111-1111-111111111111".to_owned(),
            resource_group: "lab".to_owned(),
            location: "eastus".to_owned(),
            deployment: "lab".to_owned(),
            work: Cell::new(0),
        }
    }
}

/// Whether a document is a deployment template.
pub fn is_template(document: &Node) -> bool {
    let schema = document.get("$schema").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    schema.contains("deploymenttemplate.json")
        || (document.get("resources").is_some() && document.get("contentVersion").is_some())
}

/// The resources and outputs of a template; or all its mistakes.
pub fn evaluate(document: &Node, context: &Context<'_>) -> Result<Evaluated, Vec<Mistake>> {
    deployment::evaluate(document, context)
}
