//! The files that an import is given: what each of them is, and what may be read besides.
//!
//! A directory stands for the JSON files in it. Nothing else is read, and nothing comes from the network.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use crate::arm::{self, Mistake, Node, Note, Resource, Source, Store};

use super::failure::Failure;
use super::input::read_text;

/// Files of a directory that are read.
const READ: [&str; 3] = ["json", "jsonc", "bicep"];

/// What a file is.
enum Kind {
    Topology,
    Dump(Node),
    /// Called JSON, and it cannot be read as that.
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
}

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
        Ok(Self { all, given: given.to_vec() })
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

    pub(super) fn text(&self, file: &str) -> Option<&str> {
        self.all.iter().find(|document| &*document.name == file).map(|document| document.text.as_str())
    }

    pub(super) fn into_texts(self) -> HashMap<Arc<str>, String> {
        self.all.into_iter().map(|document| (document.name, document.text)).collect()
    }

    /// The resources of all documents.
    pub(super) fn store(&self) -> Result<(Store, Vec<Note>), Vec<Mistake>> {
        let (mut resources, mut mistakes) = (Vec::<(Source, Resource)>::new(), Vec::new());
        for document in &self.all {
            match &document.kind {
                Kind::Topology => mistakes.push(document.refused("this is no ARM document")),
                Kind::Broken(mistake) => mistakes.push(mistake.clone()),
                Kind::Dump(node) => match arm::dump::read(node) {
                    Ok(read) => resources.extend(read.into_iter().map(|resource| (Source::Dump, resource))),
                    Err(more) => mistakes.extend(more),
                },
            }
        }
        if mistakes.is_empty() { Ok((Store::of(resources), Vec::new())) } else { Err(mistakes) }
    }
}

impl Document {
    fn read(path: &Path) -> Result<Self, Failure> {
        if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("bicep")) {
            let text = compiled(path)?;
            let name = Arc::from(path.display().to_string());
            return Ok(Self::of(name, text, true));
        }
        let (text, name) = read_text(path)?;
        let is_json = path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("json"));
        Ok(Self::of(Arc::from(name), text, is_json))
    }

    /// What a text is. Only JSON can be an ARM document; YAML may look like it in its first letter.
    fn of(name: Arc<str>, text: String, is_json: bool) -> Self {
        let begins = text.trim_start_matches('\u{feff}').trim_start();
        let may_be = is_json || begins.starts_with(['{', '[']) || begins.starts_with("//") || begins.starts_with("/*");
        let kind = match may_be.then(|| arm::parse_json(&name, &text)) {
            Some(Ok(node)) if arm::dump::is_dump(&node) => Kind::Dump(node),
            Some(Err(mistake)) if is_json => Kind::Broken(mistake),
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
    if files.is_empty() {
        return Err(Failure::usage(format_args!("there is no JSON file in {}", directory.display())));
    }
    Ok(files)
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
