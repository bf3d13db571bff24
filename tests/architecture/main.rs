//! The architecture, checked: which module may use which, where `unsafe`, printing and clocks live, which licences we
//! accept.
//!
//! It reads the sources as text with comments and strings blanked out. It does not follow re-exports: an arrow is the
//! name of a module behind `crate::`.

mod programs;
mod rules;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each module and those it may use. A new arrow is a design change: its own commit.
const ARROWS: &[(&str, &[&str])] = &[
    ("azure", &[]),
    ("wire", &[]),
    ("model", &[]),
    ("sys", &[]),
    ("arm", &["azure"]),
    ("config", &["azure", "model"]),
    ("dataplane", &["azure", "wire"]),
    // `wire` for protocol numbers alone: rules are matched on them.
    ("bgp", &["model", "sys"]),
    ("compile", &["azure", "model", "dataplane", "wire", "bgp"]),
    ("flow_log", &["azure", "model", "compile", "dataplane", "wire", "sys"]),
    ("analysis", &["azure", "flow_log", "model", "bgp", "compile", "dataplane", "wire"]),
    ("platform", &["azure", "model", "sys"]),
    ("worker", &["wire", "dataplane", "sys"]),
    ("daemon", &["azure", "wire", "model", "compile", "dataplane", "bgp", "analysis", "flow_log", "sys", "worker"]),
    ("lab", &["azure", "model", "config", "compile", "sys", "platform", "daemon"]),
    (
        "cli",
        &["azure", "wire", "model", "sys", "arm", "config", "dataplane", "bgp", "compile", "analysis", "daemon", "lab"],
    ),
];

/// What one part of a module alone may use of another module, by the start of its path.
const ONLY: &[(&str, &str, &str)] = &[
    ("bgp", "sys", "bgp/driver/"),
    // The blocks of a capture file, and packets as they are on a wire.
    ("daemon", "wire", "daemon/api/capture.rs"),
    ("bgp", "model", "bgp/topology/"),
    ("flow_log", "sys", "flow_log/files.rs"),
];

/// Parts of timeless modules that live in time: they run on sockets or write files.
const IN_TIME: &[&str] = &["bgp/driver/", "flow_log/files.rs"];

/// Time is an argument here.
const TIMELESS: &[&str] = &["arm", "wire", "model", "config", "dataplane", "compile", "bgp", "flow_log", "analysis"];

/// Permissive, with notice at most.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn modules_use_only_what_their_arrows_allow() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let modules: BTreeSet<_> = sources().iter().filter_map(|source| source.module.clone()).collect();
    assert_eq!(modules, ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect(), "every module has its arrows");
    let offences = offences(|source, line| {
        let module = source.module.as_deref()?;
        let foreign = crate_paths(line).into_iter().find(|used| {
            used != module && allowed.contains_key(used.as_str()) && !allowed[module].contains(&used.as_str())
        })?;
        Some(format!("`{module}` must not know `{foreign}`"))
    });
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn a_part_of_a_module_keeps_its_arrow_to_itself() {
    let offences = offences(|source, line| {
        let module = source.module.as_deref()?;
        let used = crate_paths(line);
        let theirs = |(owner, other, part): &&(&str, &str, &str)| {
            *owner == module && used.iter().any(|used| used == other) && !source.path.starts_with(part)
        };
        ONLY.iter().find(theirs).map(|(_, other, part)| format!("only {part} may know `{other}`"))
    });
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn unsafe_stays_in_sys() {
    let offences = offences(|source, line| {
        (source.module.as_deref() != Some("sys") && tokens(line).any(|token| token == "unsafe"))
            .then(|| "`unsafe` outside sys".to_owned())
    });
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Only `cli` prints; `main.rs` belongs to it.
#[test]
fn printing_stays_in_cli() {
    const PRINTING: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    let offences = offences(|source, line| {
        let prints = PRINTING.iter().find(|printing| calls(line, printing));
        prints
            .filter(|_| source.module.as_deref().is_some_and(|module| module != "cli"))
            .map(|call| format!("`{call}` outside cli"))
    });
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn pure_modules_never_ask_for_the_time() {
    let offences = offences(|source, line| {
        let asks = line.contains("Instant::now") || tokens(line).any(|token| token == "SystemTime");
        let timeless = !IN_TIME.iter().any(|part| source.path.starts_with(part));
        (asks && timeless && TIMELESS.contains(&source.module.as_deref()?))
            .then(|| "a clock in a pure module".to_owned())
    });
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn nothing_is_left_to_do() {
    const STUBS: &[&str] = &["todo!", "unimplemented!"];
    let offences = offences(|_, line| STUBS.iter().find(|stub| calls(line, stub)).map(|stub| format!("`{stub}`")));
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.module.is_some() && !source.text.starts_with("//!"))
        .map(|source| format!("{}: no head comment", source.path.display()))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// Of everything that is linked into the binary.
#[test]
fn every_dependency_is_permissively_licensed() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let linked = linked_packages(&metadata);
    assert!(linked.len() > 50, "the walk found the dependencies");
    let offences: Vec<_> = list(&metadata["packages"])
        .iter()
        .filter(|package| linked.contains(text(&package["id"])))
        .filter(|package| !package["license"].as_str().is_some_and(is_permissive))
        .map(|package| format!("{}: {}", text(&package["name"]), package["license"]))
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    assert!(is_permissive("MIT OR GPL-3.0"));
    assert!(is_permissive("MIT/Apache-2.0"));
    assert!(is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_permissive("MIT AND GPL-3.0"));
    assert!(!is_permissive("MPL-2.0"));
}

/// Conjunctions of alternatives; anything more deeply nested is judged too strictly, never too mildly.
fn is_permissive(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|clause| clause.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

/// The root's normal dependencies, theirs, and so on: no build scripts' and no tests'.
fn linked_packages(metadata: &Value) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut pending = vec![text(&metadata["resolve"]["root"])];
    let mut linked = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if linked.insert(id.to_owned()) {
            let normal = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            pending.extend(list(&nodes[id]["deps"]).iter().filter(normal).map(|dep| text(&dep["pkg"])));
        }
    }
    linked
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// One source file of the crate.
struct Source {
    path: PathBuf,
    /// None for `lib.rs` and `main.rs`.
    module: Option<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.clone()];
    let mut sources = vec![];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(path.read_dir().expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inner = path.strip_prefix(&root).expect("below src");
            let top = inner.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_owned();
            let module = Some(top).filter(|top| top != "lib" && top != "main");
            let text = std::fs::read_to_string(&path).expect("readable");
            sources.push(Source { path: inner.to_owned(), module, text });
        }
    }
    assert!(sources.len() > 20, "the walk found the sources");
    sources
}

/// Everything that `judge` says against a line of code, with its place.
fn offences(judge: impl Fn(&Source, &str) -> Option<String>) -> Vec<String> {
    let mut offences = vec![];
    for source in sources() {
        for (nth, line) in code(&source.text).lines().enumerate() {
            if let Some(offence) = judge(&source, line) {
                offences.push(format!("src/{}:{}: {offence}", source.path.display(), nth + 1));
            }
        }
    }
    offences
}

/// These programs list their tests themselves: a function with `#[test]` would never run there.
#[test]
fn every_test_function_runs() {
    for program in ["conformance", "golden"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(program);
        for path in folder.read_dir().expect("readable").map(|entry| entry.expect("readable").path()) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                assert!(!code(&text).contains("#[test]"), "{}: move the test to another program", path.display());
            }
        }
    }
}

fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty())
}

/// Whether the line calls this macro, not one with a longer name that ends alike.
fn calls(line: &str, mac: &str) -> bool {
    line.match_indices(mac).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The names right behind `crate::`, or in braces behind it. Formatted code breaks such braces only past 120 columns,
/// and no group has that many modules.
fn crate_paths(line: &str) -> Vec<String> {
    let mut names = vec![];
    for (at, prefix) in line.match_indices("crate::") {
        let rest = &line[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(tokens(rest).next().map(str::to_owned));
            continue;
        };
        let mut depth = 0;
        for part in group.split_inclusive(['{', '}', ',']) {
            if depth == 0 {
                names.extend(tokens(part).next().map(str::to_owned));
            }
            depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            if depth < 0 {
                break;
            }
        }
    }
    names
}

#[test]
fn paths_are_found_alone_and_in_groups() {
    assert_eq!(crate_paths("use crate::wire::{Packet, model};"), ["wire"]);
    assert_eq!(crate_paths("use crate::{wire::{self, Packet}, model};"), ["wire", "model"]);
    assert_eq!(crate_paths("f(crate::sys::now(), crate::lab::X)"), ["sys", "lab"]);
    assert_eq!(crate_paths("use std::fmt;"), [""; 0]);
}

/// The text with comments and the insides of strings and characters blanked, line by line as it was.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = literal_or_comment(rest);
        if skipped > 0 {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[skipped..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// How long a comment, string or character literal is that starts here; zero if none does.
fn literal_or_comment(rest: &str) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let raw_hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => until("*/", 2),
        [b'"', ..] => quoted(rest, '"'),
        [b'\'', b'\\', ..] => quoted(rest, '\''),
        // A lifetime has no closing quote two characters on.
        [b'\'', ..] if rest.chars().nth(2) == Some('\'') => quoted(rest, '\''),
        [b'r', ..] => match raw_hashes {
            Some(hashes) if rest[1 + hashes..].starts_with('"') => {
                until(&format!("\"{}", "#".repeat(hashes)), hashes + 2)
            }
            _ => 0,
        },
        _ => 0,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn comments_and_literals_are_blanked() {
    assert_eq!(code("a // unsafe\nb"), "a  \nb");
    assert_eq!(code(r#"f("un\"safe", 'x', '\'') + 'a"#), "f( ,  ,  ) + 'a");
    assert_eq!(code("r#\"un\"safe\n\"# + x /* y\n */"), "\n  + x \n ");
}
