//! The pages, and what the tests read of their Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// What begins the part of a page that is written by a test.
pub(crate) const GENERATED: &str = "<!-- generated: UPDATE_GOLDEN=1 cargo test --test docs -->\n";

/// One page.
pub(crate) struct Page {
    /// From the root of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        Self { path: path.into(), text: fs::read_to_string(root().join(path)).unwrap() }
    }

    /// What people wrote of it.
    pub(crate) fn written(&self) -> &str {
        self.text.split(GENERATED).next().unwrap()
    }

    /// The lines outside of code blocks and comments, each with its number.
    pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
        let (mut code, mut comment) = (false, false);
        (1..).zip(text.lines()).filter(move |(_, line)| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            comment |= line.contains("<!--");
            let inside = code || fence || comment;
            comment &= !line.contains("-->");
            !inside
        })
    }

    /// The code blocks: what they are said to be, the number of their first line, their lines.
    pub(crate) fn blocks(&self) -> Vec<(&str, usize, Vec<&str>)> {
        let (mut blocks, mut open) = (Vec::new(), None);
        for (number, line) in (1..).zip(self.text.lines()) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(kind), None) => open = Some((kind, number + 1, Vec::new())),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some((_, _, lines))) => lines.push(line),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code block has no end", self.path.display());
        blocks
    }

    /// The names that its headings have in links.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = Self::prose(&self.text).filter(|(_, line)| line.starts_with('#'));
        let word = |c: char| match c {
            ' ' | '-' => Some('-'),
            _ => (c.is_alphanumeric() || c == '_').then(|| c.to_ascii_lowercase()),
        };
        headings.map(|(_, line)| line.trim_start_matches('#').trim().chars().filter_map(word).collect()).collect()
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents that people read first, and all pages below `docs`.
pub(crate) fn all() -> Vec<Page> {
    let mut paths = vec![];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        paths.extend(is_page(&name).then_some(name));
    }
    collect("docs", &mut paths);
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Those that are not the rules.
pub(crate) fn ours() -> impl Iterator<Item = Page> {
    all().into_iter().filter(|page| !page.path.starts_with("docs/rules"))
}

fn collect(folder: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            collect(&path, paths);
        } else if is_page(&path) {
            paths.push(path);
        }
    }
}

fn is_page(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}
