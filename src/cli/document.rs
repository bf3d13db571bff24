//! The files that an import is given: what each of them is, and what may be read besides.
//!
//! A template may link to others. They are read from its own directory and below, never from elsewhere and never from the
//! network.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use crate::arm::{self, Mistake, Node, Note, Place, Resource, Source, Store, Value, template, terraform};
use crate::lab::{LARGEST_TOPOLOGY, read_inside};
use crate::sys::files;

use super::failure::Failure;
use super::input::read_text;

/// The longest document, in bytes. `az` prints 10 KB of a virtual network and its machine.
const LARGEST: u64 = 64 << 20;
/// Files of a directory that are read.
const READ: [&str; 3] = ["json", "jsonc", "bicep"];

/// What a command says besides the files.
#[derive(Default)]
pub(super) struct Choices {
    /// What is there before a Terraform plan, instead of what it leads to.
    pub before: bool,
    /// `NAME=VALUE`, or files of parameters.
    pub parameters: Vec<String>,
}

/// What a file is.
enum Kind {
    Topology,
    Dump(Node),
    Template(Node),
    Terraform(Node),
    /// Values for a template's parameters.
    Parameters(Parameters),
    /// Called JSON, and it cannot be read as that; or a template that is too long.
    Broken(Mistake),
}

struct Document {
    name: Arc<str>,
    text: String,
    kind: Kind,
}

/// The files of one import.
pub(super) struct Documents {
    all: Vec<Document>,
    given: Vec<PathBuf>,
    /// The texts of files that were read besides, by name.
    linked: RefCell<HashMap<Arc<str>, String>>,
}

/// Values by name.
type Parameters = Vec<(String, Node)>;

/// Resources, and what was made up on the way to them.
type Gathered = (Vec<(Source, Resource)>, Vec<Note>);

impl Documents {
    /// Reads files and directories; `-` is stdin.
    pub(super) fn read(given: &[PathBuf]) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for path in given {
            if path.is_dir() {
                for file in files_of(path)? {
                    all.push(Document::read(&file)?);
                }
            } else {
                all.push(Document::read(path)?);
            }
        }
        Ok(Self { all, given: given.to_vec(), linked: RefCell::default() })
    }

    /// Whether it is one topology file, which needs no import.
    pub(super) fn is_topology(&self) -> bool {
        matches!(&self.all[..], [Document { kind: Kind::Topology, .. }])
    }

    /// Its name and text.
    pub(super) fn into_topology(mut self) -> Result<(String, String), Failure> {
        let one = self.all.pop().ok_or_else(|| Failure::usage("no file is given"))?;
        Ok((one.name.to_string(), one.text))
    }

    /// Whether it is one Terraform plan, which says what is before it, too.
    pub(super) fn is_plan(&self) -> bool {
        match &self.all[..] {
            [Document { kind: Kind::Terraform(node), .. }] => node.get("prior_state").is_some(),
            _ => false,
        }
    }

    /// What to call all of them.
    pub(super) fn name(&self) -> String {
        let names: Vec<_> = self.given.iter().map(|path| path.display().to_string()).collect();
        names.join(" ").replace('-', if self.given == [Path::new("-")] { "stdin" } else { "-" })
    }

    /// The lab's name: the file's, or its directory's where the file's name says nothing.
    pub(super) fn lab_name(&self) -> Option<String> {
        const COMMON: [&str; 7] = ["azuredeploy", "main", "maintemplate", "template", "plan", "stdin", "-"];
        let first = self.given.first()?;
        let stem = first.file_stem()?.to_string_lossy().into_owned();
        let is_common = COMMON.contains(&stem.to_lowercase().as_str());
        let directory = || {
            let path = fs::canonicalize(first).ok()?;
            path.parent()?.file_name().map(|name| name.to_string_lossy().into_owned())
        };
        Some(if is_common { directory().unwrap_or(stem) } else { stem })
    }

    /// The head of the topology file.
    pub(super) fn head(&self) -> Vec<String> {
        vec![format!("Made by `vnet import` from {}.", self.name())]
    }

    /// The text of a file that was read.
    pub(super) fn text(&self, file: &str) -> Option<String> {
        let given = self.all.iter().find(|document| &*document.name == file).map(|document| document.text.clone());
        given.or_else(|| self.linked.borrow().get(file).cloned())
    }

    pub(super) fn into_texts(self) -> HashMap<Arc<str>, String> {
        let given = self.all.into_iter().map(|document| (document.name, document.text));
        given.chain(self.linked.into_inner()).collect()
    }

    /// The resources of all documents. They are moved out of these: dumps are large.
    pub(super) fn store(&mut self, choices: &Choices) -> Result<(Store, Vec<Note>), Vec<Mistake>> {
        let mut parameters = Vec::new();
        for document in &self.all {
            if let Kind::Parameters(values) = &document.kind {
                parameters.extend(values.iter().cloned());
            }
        }
        let (chosen, has_file) = self.chosen(&choices.parameters)?;
        parameters.extend(chosen);
        let (mut all, mut mistakes) = (Gathered::default(), Vec::new());
        let kinds: Vec<_> = self.all.iter_mut().map(|one| mem::replace(&mut one.kind, Kind::Topology)).collect();
        for (document, kind) in self.all.iter().zip(kinds) {
            let found = match kind {
                Kind::Topology => Err(vec![document.refused("this is no ARM document")]),
                Kind::Broken(mistake) => Err(vec![mistake]),
                Kind::Parameters(_) => continue,
                Kind::Dump(node) => arm::dump::read(node).map(|(read, notes)| (of(Source::Dump, read), notes)),
                Kind::Template(node) => self.evaluate(document, &node, &parameters, has_file),
                Kind::Terraform(node) => planned(document, &node, choices.before),
            };
            match found {
                Ok((resources, notes)) => {
                    all.0.extend(resources);
                    all.1.extend(notes);
                }
                Err(more) => mistakes.extend(more),
            }
        }
        if mistakes.is_empty() { Ok((Store::of(all.0), all.1)) } else { Err(mistakes) }
    }

    /// A template's resources. The parameters beside it are taken, unless the command names others.
    fn evaluate(
        &self,
        document: &Document,
        node: &Node,
        parameters: &[(String, Node)],
        has_file: bool,
    ) -> Result<Gathered, Vec<Mistake>> {
        let path = Path::new(&*document.name);
        let root = path.parent().map(Path::to_owned).unwrap_or_default();
        let read = |link: &str, from: &str| self.linked(&root, link, from);
        let mut context = template::Context::new(&read);
        if !has_file {
            let beside = path.with_extension("parameters.json");
            let name: Arc<str> = Arc::from(beside.display().to_string());
            match read_inside(&root, Path::new(beside.file_name().unwrap_or_default()), template::LARGEST as u64) {
                Ok(text) => context.parameters = self.parameters(name, text)?,
                Err(_) if beside.symlink_metadata().is_err() => {}
                Err(error) => {
                    let at = Place { file: Arc::clone(&document.name), line: 1, column: 1 };
                    let message = format!("cannot read its parameters, {name}: {error}");
                    let help = Some("`--parameters FILE` takes them from elsewhere".to_owned());
                    return Err(vec![Mistake { at, message, expected: None, help }]);
                }
            }
        }
        context.parameters.extend(parameters.iter().cloned());
        let evaluated = template::evaluate(node, &context)?;
        Ok((of(Source::Template, evaluated.resources), evaluated.notes))
    }

    /// What `--parameters` says, and whether it names a file.
    fn chosen(&self, arguments: &[String]) -> Result<(Parameters, bool), Vec<Mistake>> {
        let (mut all, mut has_file) = (Vec::new(), false);
        let place = || Place { file: Arc::from("--parameters"), line: 1, column: 1 };
        for one in arguments {
            if let Some((name, value)) = one.split_once('=').filter(|(name, _)| !Path::new(name).exists()) {
                all.push((name.to_owned(), Node { at: place(), value: arm::Value::Text(value.to_owned()) }));
                continue;
            }
            let file = one.trim_start_matches('@');
            if is_bicepparam(Path::new(file)) {
                let message = format!("{file} is Bicep, and a file of parameters is JSON");
                let help = Some(how_to_build(Path::new(file)));
                return Err(vec![Mistake { at: place(), message, expected: None, help }]);
            }
            let text = files::read_text(Path::new(file), template::LARGEST as u64).map_err(|error| {
                let message = format!("cannot read {file}: {error}");
                let expected = Some("NAME=VALUE, or a file of parameters".to_owned());
                vec![Mistake { at: place(), message, expected, help: None }]
            })?;
            all.extend(self.parameters(Arc::from(file), text)?);
            has_file = true;
        }
        Ok((all, has_file))
    }

    fn parameters(&self, name: Arc<str>, text: String) -> Result<Parameters, Vec<Mistake>> {
        let node = arm::parse_json(&name, &text).map_err(|mistake| vec![mistake]);
        self.linked.borrow_mut().insert(name, text);
        let node = node?;
        template::parameters_of(&node).ok_or_else(|| {
            let message = "this is no file of parameters".to_owned();
            let expected = Some("an object with `parameters`, each with a `value`".to_owned());
            vec![Mistake { at: node.at.clone(), message, expected, help: None }]
        })
    }

    /// A file that a template links to: a regular one in the template's directory or below, which no symbolic link leads
    /// out of.
    fn linked(&self, root: &Path, link: &str, from: &str) -> template::File {
        let here =
            |directory: &Path| if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() };
        let base = Path::new(from).parent().map(here).unwrap_or_default();
        let path = base.join(link);
        let real = || Ok::<_, std::io::Error>((here(root).canonicalize()?, path.canonicalize()?));
        let (inside, file) = real().map_err(|error| error.to_string())?;
        if !file.starts_with(&inside) {
            return Err("it is outside the directory of the template".to_owned());
        }
        let text = files::read_regular(&file, template::LARGEST as u64).map_err(|error| error.to_string())?;
        let name: Arc<str> = Arc::from(path.display().to_string());
        self.linked.borrow_mut().insert(Arc::clone(&name), text.clone());
        Ok((name, text))
    }
}

/// What a plan leads to, or what is there before it; what a state has.
fn planned(document: &Document, node: &Node, before: bool) -> Result<Gathered, Vec<Mistake>> {
    let terraform::Plan { before: known, after, notes } = terraform::read(node)?;
    let resources = if before {
        known.ok_or_else(|| vec![document.refused("this is no Terraform plan: it does not say what was before")])?
    } else {
        after
    };
    Ok((of(Source::Dump, resources), notes))
}

fn of(source: Source, resources: Vec<Resource>) -> Vec<(Source, Resource)> {
    resources.into_iter().map(|resource| (source, resource)).collect()
}

impl Document {
    fn read(path: &Path) -> Result<Self, Failure> {
        if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("bicep")) {
            let text = compiled(path)?;
            let name = Arc::from(path.display().to_string());
            return Ok(Self::of(name, text, true));
        }
        if is_bicepparam(path) {
            let message = format!("{} is a Bicep file of parameters, not a topology", path.display());
            return Err(Failure::usage(message).help(how_to_build(path)));
        }
        let written = path.to_string_lossy();
        if written.contains('=') && !path.exists() {
            let message = format!("there is no file {written}");
            return Err(Failure::usage(message).help(format!("for a parameter's value: --parameters {written}")));
        }
        let (text, name) = read_text(path, LARGEST)?;
        let is_json = path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("json"));
        let document = Self::of(Arc::from(name), text, is_json);
        if matches!(document.kind, Kind::Topology) && document.text.len() as u64 > LARGEST_TOPOLOGY {
            let limit = LARGEST_TOPOLOGY >> 20;
            return Err(Failure::usage(format_args!("cannot read {}: it is larger than {limit} MiB", document.name)));
        }
        Ok(document)
    }

    /// What a text is. Only JSON can be an ARM document; YAML may look like it in its first letter.
    fn of(name: Arc<str>, text: String, is_json: bool) -> Self {
        let begins = text.trim_start_matches('\u{feff}').trim_start();
        let may_be = is_json
            || begins.trim_end() == "null"
            || begins.starts_with(['{', '['])
            || begins.starts_with("//")
            || begins.starts_with("/*");
        let kind = match may_be.then(|| arm::parse_json(&name, &text)) {
            _ if is_terraform_itself(&name, &text) => Kind::Broken(not_shown(&name)),
            Some(Ok(node)) if template::is_template(&node) && text.len() > template::LARGEST => {
                Kind::Broken(too_long(node.at))
            }
            Some(Ok(node)) if template::is_template(&node) => Kind::Template(node),
            Some(Ok(node)) if terraform::is_terraform(&node) => Kind::Terraform(node),
            Some(Ok(node)) if arm::dump::is_dump(&node) => Kind::Dump(node),
            Some(Ok(node)) if is_schema(&node) => {
                template::parameters_of(&node).map_or(Kind::Topology, Kind::Parameters)
            }
            Some(Ok(node)) if says_nothing(&node) => Kind::Broken(no_document(&node)),
            Some(Err(mistake)) if is_json || mistake.message == arm::SECOND_DOCUMENT => Kind::Broken(mistake),
            Some(_) | None => Kind::Topology,
        };
        Self { name, text, kind }
    }

    fn refused(&self, message: &str) -> Mistake {
        Mistake {
            at: arm::Place { file: Arc::clone(&self.name), line: 1, column: 1 },
            message: message.to_owned(),
            expected: Some("an ARM template, the output of `az … list -o json`, or `terraform show -json`".to_owned()),
            help: None,
        }
    }
}

/// A single value, which `az` prints where there is nothing, or an object without a key of a topology file.
fn says_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Object(_) => !node.entries().iter().any(|(key, _)| is_list(&key.text)),
        Value::List(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => true,
    }
}

/// Whether a topology file has a list of this name.
fn is_list(key: &str) -> bool {
    arm::LISTS.iter().any(|list| list.eq_ignore_ascii_case(key))
}

fn no_document(node: &Node) -> Mistake {
    let error = node.get("error").map(|error| {
        let text = |key: &str| error.get(key).and_then(Node::text).unwrap_or_default();
        format!("this is an error that Azure returned, {}: {:.200}", text("code"), text("message"))
    });
    let single = (!matches!(node.value, Value::Object(_)))
        .then(|| "this is a single value, such as `null`, and says nothing of a network".to_owned());
    let message = error.or(single).unwrap_or_else(|| "this says nothing of a network".to_owned());
    Mistake {
        at: node.at.clone(),
        message,
        expected: Some("an object or a list of resources".to_owned()),
        help: Some("see what the program that made it says: a name or a resource group may be wrong".to_owned()),
    }
}

/// Whether a text is Terraform's configuration, a plan as it is written to a file, or the log of `terraform plan -json`.
fn is_terraform_itself(name: &str, text: &str) -> bool {
    let is_code = Path::new(name).extension().is_some_and(|kind| kind.eq_ignore_ascii_case("tf"));
    is_code || text.starts_with("PK") || text.trim_start().starts_with(r#"{"@level""#)
}

fn not_shown(name: &Arc<str>) -> Mistake {
    Mistake {
        at: Place { file: Arc::clone(name), line: 1, column: 1 },
        message: "this is not what `terraform show -json` prints".to_owned(),
        expected: Some("a plan or a state as JSON".to_owned()),
        help: Some(
            "terraform plan -out plan.tfplan, and then: terraform show -json plan.tfplan > plan.json".to_owned(),
        ),
    }
}

fn too_long(at: Place) -> Mistake {
    let limit = template::LARGEST >> 20;
    Mistake {
        at,
        message: format!("this template is longer than {limit} MiB"),
        expected: Some(format!("at most {limit} MiB, as Azure takes it")),
        help: Some("move parts of it to files that it links to, or deploy it and take a dump".to_owned()),
    }
}

/// Whether a document says what it is, as templates and files of parameters do.
fn is_schema(node: &Node) -> bool {
    node.get("$schema").is_some()
}

/// The documents of a directory, by name.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::usage(format_args!("cannot read {}: {error}", directory.display()));
    let entries = fs::read_dir(directory).map_err(failed)?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let known =
        |path: &PathBuf| path.extension().is_some_and(|kind| READ.iter().any(|known| kind.eq_ignore_ascii_case(known)));
    let is_parameters = |path: &PathBuf| path.to_string_lossy().to_lowercase().contains(".parameters");
    let mut files: Vec<_> = paths.filter(known).filter(|path| path.is_file() && !is_parameters(path)).collect();
    files.sort();
    let inside = directory.canonicalize().map_err(failed)?;
    let leads_out = |path: &&PathBuf| !path.canonicalize().is_ok_and(|file| file.starts_with(&inside));
    if let Some(link) = files.iter().find(leads_out) {
        let message = format!("{}: a symbolic link leads out of {}", link.display(), directory.display());
        return Err(Failure::usage(message).help("name the file that it leads to, or take the link away"));
    }
    if files.is_empty() {
        return Err(Failure::usage(format_args!("there is no JSON file in {}", directory.display())));
    }
    Ok(files)
}

fn is_bicepparam(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("bicepparam"))
}

fn how_to_build(path: &Path) -> String {
    let (path, json) = (path.display(), path.with_extension("json"));
    format!("make its JSON: bicep build-params {path}, then --parameters {}", json.display())
}

/// A Bicep file's template, by the `bicep` program.
fn compiled(path: &Path) -> Result<String, Failure> {
    let help = || {
        format!(
            "make the template elsewhere: bicep build {0} (or az bicep build -f {0}), then take its JSON",
            path.display()
        )
    };
    let program = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let Some(program) = program.map(|directory| directory.join("bicep")).find(|program| program.is_file()) else {
        let message = format!("{} is Bicep, and there is no `bicep` program on the path", path.display());
        return Err(Failure::usage(message).help(help()));
    };
    let made = Command::new(program).arg("build").arg("--stdout").arg(path).output();
    let made = made.map_err(|error| Failure::usage(format_args!("cannot run bicep: {error}")).help(help()))?;
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    if made.status.success() {
        return Ok(text);
    }
    Err(Failure::usage(format_args!("bicep: {}", String::from_utf8_lossy(&made.stderr).trim())))
}
