//! Short files, short functions: what is longer hides a second idea.

use std::path::{Path, PathBuf};

use regex::Regex;

/// Lines of a file.
const FILE: usize = 600;
/// Lines of a function, with its head.
const FUNCTION: usize = 80;

fn rust_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<_> = ["src", "tests", "benches"].map(|folder| root.join(folder)).into();
    let mut files = vec![];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(path.read_dir().expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    assert!(files.len() > 300, "the walk found the files");
    files
}

/// Of formatted code: a function ends at the brace that stands as far in as its head.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let head = Regex::new(r"^ *(?:pub(?:\([a-z:]+\))? |const |async |unsafe )*fn (\w+)").expect("a pattern");
    let mut found = vec![];
    for (start, line) in lines.iter().enumerate() {
        let Some(found_head) = head.captures(line) else { continue };
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let one_line = line.ends_with('}') || line.ends_with(';');
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |at| at + 1);
        found.push((found_head[1].to_owned(), if one_line { 1 } else { length }));
    }
    found
}

#[test]
fn functions_are_measured() {
    let text =
        "fn one() {}\n    pub(super) const fn three(\n        a: u8,\n    ) -> u8 {\n        a\n    }\nfn two() {\n}\n";
    let measured = functions(text);
    let expected = [("one", 1), ("three", 5), ("two", 2)].map(|(name, length)| (name.to_owned(), length));
    assert_eq!(measured, expected);
}

#[test]
fn files_and_functions_are_short() {
    let mut long = vec![];
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("readable");
        let (path, lines) = (path.display(), text.lines().count());
        long.extend((lines > FILE).then(|| format!("{path}: {lines} lines, at most {FILE}")));
        let functions = functions(&text).into_iter().filter(|(_, length)| *length > FUNCTION);
        long.extend(functions.map(|(name, length)| format!("{path}: `{name}` has {length} lines, at most {FUNCTION}")));
    }
    assert!(long.is_empty(), "what is the second idea in each?\n{}", long.join("\n"));
}
