//! Where pages lead: links, the summary, and the files that they name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::page::{self, Page, root};

/// What a page may name of the repository.
const PLACES: [&str; 9] = ["src/", "tests/", "config/", "scripts/", "benches/", "data/", "docs/", "examples/", "fuzz/"];

/// The texts and the targets of the links of a page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    Page::prose(text).flat_map(|(_, line)| line.split("](").skip(1)).map(|rest| rest.split(')').next().unwrap())
}

/// A path with its `..` followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves the repository", path.display()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in page::all() {
        for link in links(&page.text).filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => plain(&page.path.parent().unwrap().join(file)),
            };
            let found = root().join(&target).exists()
                && (heading.is_empty()
                    || Page::read(target.to_str().unwrap()).anchors().iter().any(|anchor| anchor == heading));
            if !found {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(seen > 500, "only {seen} links were found");
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

/// A book made of the pages has all of them, each once.
#[test]
fn the_summary_has_every_page() {
    let summary = Page::read("docs/SUMMARY.md");
    let listed: Vec<String> = links(&summary.text).map(|link| format!("docs/{link}")).collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), once.len(), "a page is listed twice");
    let pages = page::all().into_iter().map(|page| page.path.to_str().unwrap().to_owned());
    let pages: BTreeSet<_> = pages.filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md").collect();
    assert_eq!(once, pages);
}

/// Sources are named, not linked, so that a page reads the same in a book and beside the sources.
#[test]
fn files_that_pages_name_exist() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in page::ours() {
        for (number, line) in Page::prose(page.written()) {
            for code in line.split('`').skip(1).step_by(2) {
                let word = code.split_whitespace().next().unwrap_or_default();
                let named = PLACES.iter().any(|place| word.starts_with(place));
                if !named || word.contains(['*', '{', '<', '…']) || word.contains("NAME") {
                    continue;
                }
                seen += 1;
                if !root().join(word).exists() {
                    wrong.push(format!("{}:{number}: {word}", page.path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} files are named");
    assert!(wrong.is_empty(), "there are no such files:\n{}", wrong.join("\n"));
}

/// The map of modules heads the sources; the page on the architecture shows the same.
#[test]
fn the_map_of_modules_is_that_of_the_sources() {
    let sources = include_str!("../../src/lib.rs");
    let rows: Vec<_> = sources.lines().filter_map(|line| line.strip_prefix("//! |")).collect();
    assert!(rows.len() > 10, "{rows:?}");
    let page = Page::read("docs/internals/architecture.md");
    let shown: Vec<_> = page.text.lines().collect();
    for row in rows {
        let row = format!("|{}", row.replace("[`", "`").replace("`]", "`"));
        assert!(
            shown.contains(&row.as_str()),
            "docs/internals/architecture.md does not have the row of src/lib.rs:\n{row}"
        );
    }
}

/// Names of threads begin with the program's; what else does is no thread.
#[test]
fn every_thread_has_a_row() {
    const NO_THREAD: [&str; 1] = ["vnet-ip-forward-"];
    let name = Regex::new(r#""(vnet-[a-z-]+)"#).unwrap();
    let mut started = BTreeSet::new();
    visit(&root().join("src"), &mut |text| {
        started.extend(name.captures_iter(text).map(|found| found[1].to_owned()));
    });
    started.retain(|name| !NO_THREAD.contains(&name.as_str()));
    let page = Page::read("docs/internals/threads.md");
    let shown = Regex::new(r"`(vnet-[a-z-]+)[0-9]*`").unwrap();
    let shown: BTreeSet<_> = shown.captures_iter(&page.text).map(|found| found[1].to_owned()).collect();
    assert_eq!(shown, started, "docs/internals/threads.md, and the threads that the sources start");
}

/// All sources below a folder.
fn visit(folder: &Path, each: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else {
            each(&fs::read_to_string(path).unwrap());
        }
    }
}
