//! The keys of topology files, as the program names them where one is unknown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::page::root;
use crate::reference::{check, findings};

/// A topology with an unknown key in every kind of object.
const UNKNOWN: &str = include_str!("unknown-keys.yaml");

#[test]
fn keys_are_those_that_the_program_reads() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.yaml");
    fs::write(&file, UNKNOWN).unwrap();
    let mut objects: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for finding in findings(&file) {
        let Some((object, _)) = finding["message"].as_str().unwrap().split_once(" has no key `unknown`") else {
            continue;
        };
        let expected = finding["expected"].as_str().unwrap().trim_start_matches("one of ");
        let keys = expected.split(", ").map(|key| format!("`{key}`")).collect();
        let path = finding["path"].as_str().unwrap().trim_end_matches("unknown").trim_end_matches('.');
        let place = path.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        objects.insert(place, (object.to_owned(), keys));
    }
    let nouns: Vec<_> = objects.values().map(|(object, _)| object.as_str()).collect();
    for noun in declared(&root().join("src/config")) {
        assert!(nouns.contains(&noun.as_str()), "unknown-keys.yaml has no unknown key in {noun}");
    }
    let mut text = String::from("| object | where | keys |\n|---|---|---|\n");
    for (place, (object, keys)) in &objects {
        let place = if place.is_empty() { "the file".to_owned() } else { format!("`{place}`") };
        writeln!(text, "| {object} | {place} | {} |", keys.join(", ")).unwrap();
    }
    check("docs/reference/topology-keys.md", &text);
    // What a switch does is told by hand, so that a new one could be left out.
    let page = fs::read_to_string(root().join("docs/reference/topology-keys.md")).unwrap();
    let (_, switches) = objects.values().find(|(object, _)| object == "the emulation").unwrap();
    for switch in switches {
        let told =
            |row: &str| row.split('|').nth(1).is_some_and(|keys| keys.split(", ").any(|key| key.trim() == switch));
        assert!(page.lines().any(told), "topology-keys.md does not say what {switch} does");
    }
}

/// What the sources call the objects that they read.
fn declared(folder: &Path) -> Vec<String> {
    let mut nouns = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nouns.extend(declared(&path));
        } else {
            let text = fs::read_to_string(path).unwrap();
            let quoted =
                text.split("record(node, report, \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            nouns.extend(quoted);
        }
    }
    nouns
}
