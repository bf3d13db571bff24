//! Topologies and the texts that they must give: each file below this folder is a test by its own name, so that
//! `cargo test vpn-15` finds it.
//!
//! Beside a file is its twin, the expected text. The first lines of a file name the rules that it proves. `UPDATE_GOLDEN=1`
//! rewrites the twins; read the diff. Functions with `#[test]` do not run here: this program makes its own list of tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compile;
mod config;
mod explain;
mod export;
#[path = "../support/golden.rs"]
mod golden;
mod graph;
mod import;
mod lint;
mod masks;
mod plan;
mod speakers;
mod text;
mod update;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Fails by panicking where a file is not as its twin says.
type Check = fn(&Path);

/// The name of each kind of test, the files, and what checks one of them.
const KINDS: [(&str, &str, &str, Check); 15] = [
    ("compile", "tests/golden/compile", "yaml", compile::check),
    ("compile", "config", "yaml", compile::check),
    ("config", "tests/golden/config", "yaml", config::check),
    ("explain", "config", "yaml", explain::check),
    ("explain", "tests/golden/explain", "yaml", explain::check),
    ("export", "tests/golden/export", "yaml", export::check),
    ("graph", "config", "yaml", graph::check),
    ("import", "tests/golden/import", "json", import::check),
    ("lint", "tests/golden/lint", "yaml", lint::check),
    ("plan", "config", "yaml", plan::check),
    ("plan", "tests/golden/export", "yaml", plan::check),
    ("speakers", "config", "yaml", speakers::check),
    ("speakers", "tests/golden/speakers", "yaml", speakers::check),
    ("text", "config", "yaml", text::check),
    ("update", "tests/golden/update", "yaml", update::check),
];

fn main() -> ExitCode {
    let trials = KINDS.into_iter().flat_map(|(kind, folder, extension, check)| {
        files(folder, extension).into_iter().map(move |file| {
            let name = format!("{kind}/{}", file.file_stem().unwrap().display());
            Trial::test(name, move || {
                check(&file);
                Ok(())
            })
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// The topologies or documents of a folder, sorted. Parameters stand beside their template.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == extension)).collect();
    files.retain(|file| !file.to_string_lossy().ends_with(".parameters.json"));
    files.sort();
    assert!(!files.is_empty(), "no {extension} file in {folder}");
    files
}
