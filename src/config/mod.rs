//! Topology files: YAML text to a [`Network`], with every mistake at once, each with its place and its fix.
//!
//! Three steps, each a module: `yaml` knows YAML and locations, `schema` is the document, `validate` turns names into
//! indices and checks Azure's rules. A [`Diagnostic`] is data and can draw itself over the source. Nothing here reads a
//! file, [`Files`] are handed in, or looks at the system: whether a namespace exists is not a file's mistake.

mod incremental;
mod schema;
mod service_tags;
mod validate;
mod without;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use crate::model::{Existing, Network, UpdateError, update_errors};

use schema::{Document, Lists};
use yaml::diagnostic::{Locations, Report};
use yaml::tree::{self, Value};
use yaml::values;

pub use incremental::Memory;
pub use service_tags::{is_service_tag, service_tags_text};
pub use without::{Without, load_without};
pub use yaml::diagnostic::{Diagnostic, Errors, Location, SOURCE_WIDTH, Severity};

/// A valid file: the network, and the warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub network: Network,
    pub warnings: Vec<Diagnostic>,
    /// For [`follow`] and [`load_next`].
    pub memory: Memory,
    locations: Locations,
}

impl Loaded {
    /// Checks that Azure would accept the file as an update of the running network.
    pub fn check_update(&self, running: &Network) -> Result<(), Errors> {
        let errors: Vec<_> = update_errors(running, &self.network).iter().map(|error| self.refused(error)).collect();
        if errors.is_empty() { Ok(()) } else { Err(Errors(errors)) }
    }

    fn refused(&self, error: &UpdateError) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: error.code(),
            rule: Some(error.rule()),
            message: error.to_string(),
            path: error.path().to_owned(),
            location: self.location(error.path()),
            expected: None,
            help: Some(error.help()),
        }
    }

    /// The location of a value, by its path in the model such as `virtualNetworks[0].subnets[1].routeTable`; for what
    /// the file leaves out, where it would stand.
    pub fn location(&self, path: &str) -> Location {
        self.locations.find(path)
    }
}

/// The text of a file that a topology names, or why there is none. A relative path counts from the topology's
/// directory.
pub type Files<'a> = &'a dyn Fn(Named<'_>) -> Result<String, String>;

/// A file that a topology names, by what it is for.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// A list of service tags: in the topology's directory, or below it.
    ServiceTags(&'a Path),
    /// Packet filter rules of a guest: in the topology's directory, or below it.
    Nftables(&'a Path),
}

/// For a topology that is alone.
pub fn no_files(_: Named<'_>) -> Result<String, String> {
    Err("there are no other files here".to_owned())
}

/// Reads a topology that names no other file. `file` is its name, for the lab's name where the text has none.
pub fn load(text: &str, file: &str) -> Result<Loaded, Errors> {
    load_with(text, file, &Existing::default(), &no_files)
}

/// Reads a topology with the files beside it, for a lab that may run: a dynamic address that is allocated already
/// stays, and an overlap with a peer is reported as a change to a range.
pub fn load_with(text: &str, file: &str, existing: &Existing, files: Files<'_>) -> Result<Loaded, Errors> {
    load_next(text, file, existing, files, &Memory::default())
}

/// The name of a topology's lab, even if the rest has errors; none if the name cannot be read.
pub fn lab_name(text: &str, file: &str) -> Option<String> {
    let mut report = Report::default();
    let node = tree::parse(text, &mut report)?;
    let document = schema::document(&node, Lists::default(), &mut report)?;
    Some(validate::lab_name(&document, file, &mut report))
}

/// The JSON Schema of topology files, made from the readers that decode them.
pub fn json_schema() -> serde_json::Value {
    yaml::shape::schema(|node, report| schema::document(node, Lists::default(), report))
}

/// A file's values as JSON, whether they are a valid topology or not.
pub fn as_json(text: &str) -> Result<serde_json::Value, Errors> {
    let mut report = Report::default();
    let node = tree::parse(text, &mut report);
    report.into_result()?;
    Ok(node.map_or(serde_json::Value::Null, |node| node.json()))
}

/// Whether a lab can have this name.
pub fn is_lab_name(name: &str) -> bool {
    values::is_dns_label(name, 32)
}

/// The same for the next version of a file: `earlier` holds the items that need not be read again.
pub fn load_next(
    text: &str,
    file: &str,
    existing: &Existing,
    files: Files<'_>,
    earlier: &Memory,
) -> Result<Loaded, Errors> {
    let context = Context { file, existing, files };
    incremental::load(text, context, earlier).unwrap_or_else(|| {
        let mut report = Report::default();
        let document = whole_document(text, &mut report);
        Ok(with_all_warnings(check(document, report, context)?, text))
    })
}

/// With the warnings about the whole text, which no item of it gives.
fn with_all_warnings(mut loaded: Loaded, text: &str) -> Loaded {
    loaded.warnings.extend(without::warnings(text, &loaded.network));
    Diagnostic::sort(&mut loaded.warnings);
    loaded
}

/// The next version of the file that a running network followed from.
pub struct Next<'a> {
    pub text: &'a str,
    /// Its name, for the lab's name where the text has none.
    pub file: &'a str,
    pub running: &'a Arc<Network>,
    pub files: Files<'a>,
    /// What was read of the file's last version.
    pub earlier: &'a Memory,
}

/// The network that takes the running one's place, and what to remember of its file. `accept` makes it of what the file
/// says: it refuses what cannot follow, and carries over what the running network has. Where nothing but routes
/// has changed, the running network gets these, and there is nothing to accept.
pub fn follow<E>(
    next: &Next<'_>,
    accept: impl FnOnce(Result<Loaded, Errors>) -> Result<Network, E>,
) -> Result<(Network, Memory), E> {
    let Next { text, file, running, files, earlier } = *next;
    if let Some(rerouted) = incremental::reroute(text, running, earlier) {
        return Ok(rerouted);
    }
    let mut loaded = load_next(text, file, &Existing::of(running), files, earlier);
    let memory = loaded.as_mut().map(|loaded| std::mem::take(&mut loaded.memory)).unwrap_or_default();
    Ok((accept(loaded)?, memory))
}

/// What a load takes besides the text.
#[derive(Clone, Copy)]
struct Context<'a> {
    file: &'a str,
    existing: &'a Existing,
    files: Files<'a>,
}

/// Checks a document and makes its network. Without a document the report holds the errors.
fn check(document: Option<Document>, mut report: Report, context: Context<'_>) -> Result<Loaded, Errors> {
    let Context { file, existing, files } = context;
    let network = document.map(|document| validate::network(document, file, existing, files, &mut report));
    let (warnings, locations) = report.into_result()?;
    let network = network.expect("a report without errors has a network");
    Ok(Loaded { network, warnings, memory: Memory::default(), locations })
}

/// Reads all of a file.
fn whole_document(text: &str, report: &mut Report) -> Option<Document> {
    let node = tree::parse(text, report)?;
    if matches!(node.value, Value::Null) {
        report.error(node.at, "the file is empty").expected("a topology, beginning with `virtualNetworks:`");
        return None;
    }
    schema::document(&node, Lists::default(), report)
}
