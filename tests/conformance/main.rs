//! Azure's scenarios: each YAML file here is a test, run with real packets through the built binary.
//!
//! `README.md` beside this file has the language that scenarios are written in. A file is read into typed steps first,
//! so that a misspelt step is an error and not a step that never fails; then it gets a lab of its own, and the steps are
//! taken in order. Nothing here looks inside: what is known comes from the commands and from the guests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bgp;
mod commands;
mod expect;
mod flow_log;
mod patch;
mod probe;
mod raw;
mod runner;
mod scenario;
mod sight;
mod stage;
mod watch;

// The lab under test, shared with `netns` and `soak`.
#[path = "../support/capture.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod capture;
#[path = "../support/lab.rs"]
#[allow(dead_code, reason = "shared with other tests, which use the rest")]
mod lab;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::scenario::Scenario;

/// Why something could not be tried, or does not hold.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Scenarios that run at the same time: they wait more than they work.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let listing = arguments.list;
    let permitted = listing || lab::permitted();
    let mut trials: Vec<Trial> = scenarios().into_iter().map(|file| trial(file, permitted)).collect();
    trials.extend(runner::tests(permitted));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every scenario file, by name.
fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    files
}

/// A file that cannot be read as a scenario fails, with or without root.
fn trial(file: PathBuf, permitted: bool) -> Trial {
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    match Scenario::parse(&fs::read_to_string(&file).unwrap()) {
        Err(error) => Trial::test(name, move || Err(Failed::from(format!("{}: {error}", file.display())))),
        Ok(scenario) => Trial::test(name, move || stage::perform(&scenario).map_err(|error| error.to_string().into()))
            .with_ignored_flag(!permitted),
    }
}
