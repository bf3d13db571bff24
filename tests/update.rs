//! One topology in another's place: what Azure refuses, and what it lets pass.
//!
//! Every `tests/update/NAME.yaml` holds the topology that runs and, after a `---`, the one that is applied. Its twin
//! `NAME.stderr` has the refusal, and is empty where there is none. The first lines of a case name the rules that it
//! proves. `UPDATE_GOLDEN=1` rewrites the twins; read the diff.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::{env, fs};

use vnet::config::{load, load_with, no_files};
use vnet::model::Standing;

/// What is said to the second topology.
fn refusal(case: &str) -> String {
    let (before, after) = case.split_once("\n---\n").expect("a case has two topologies");
    let running =
        load(before, "lab.yaml").unwrap_or_else(|errors| panic!("{}", errors.render(before, "before", false)));
    let running = running.network;
    let wanted = load_with(after, "lab.yaml", &Standing::of(&running), &no_files);
    let refused = wanted.and_then(|wanted| wanted.check_update(&running)).err();
    refused.map_or_else(String::new, |errors| errors.render(after, "lab.yaml", false))
}

#[test]
fn every_case_is_refused_as_its_twin_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/update");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 10, "only {files:?}");
    let mut wrong = Vec::new();
    for path in files {
        let (actual, twin) = (refusal(&fs::read_to_string(&path).unwrap()), path.with_extension("stderr"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&twin, &actual).unwrap();
        } else if fs::read_to_string(&twin).ok().as_ref() != Some(&actual) {
            wrong.push(format!("--- {} gives, unlike its twin:\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites the twins", wrong.join("\n"));
}
