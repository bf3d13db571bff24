//! What is wrong with a file, and where.
//!
//! A [`Diagnostic`] is data; [`Diagnostic::render`] draws it over the source line with a caret. [`Report`] collects
//! them while a file is read, so that one run shows every mistake. Sites (a location and the way to it) are numbered
//! once by the YAML reader; everything later carries only the number, [`At`].

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::counted;

use super::shape::Shape;

/// More than this is noise: the rest shows up once these are mended.
const MAX_DIAGNOSTICS: usize = 1_000;
/// How many names are looked through for the one that was meant.
const MAX_CANDIDATES: usize = 1_000;
/// How much of a long source line is shown.
pub const SOURCE_WIDTH: usize = 140;

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Azure's error code.
    pub code: Option<&'static str>,
    /// The rule's id in the semantics document.
    pub rule: Option<&'static str>,
    pub message: String,
    /// The path to the value, like `virtualNetworks[0].subnets[1].addressPrefix`; empty for the whole file.
    pub path: String,
    pub location: Location,
    pub expected: Option<String>,
    pub help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// A location in the text: line and column count from one, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub line: usize,
    pub column: usize,
    pub len: usize,
}

/// Every error of one file, sorted by location. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Diagnostic>);

impl Errors {
    /// All of them as text for people, with a line that counts them at the end.
    pub fn render(&self, text: &str, file: &str, colour: bool) -> String {
        let mut out: String = self.0.iter().map(|diagnostic| diagnostic.render(text, file, colour) + "\n").collect();
        let errors = self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        let _ = writeln!(out, "{}: {}", printable(file), counted(errors, "error"));
        out
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            let Location { line, column, .. } = diagnostic.location;
            write!(f, "{separator}{line}:{column}: {}", printable(&diagnostic.message))?;
        }
        Ok(())
    }
}

impl Error for Errors {}

impl Diagnostic {
    /// By location; those at one place keep their order.
    pub fn sort(all: &mut [Self]) {
        all.sort_by_key(|diagnostic| diagnostic.location);
    }

    /// `file:line:column: error[Code]: message`, the source line with a caret, then path, expectation and help.
    pub fn render(&self, text: &str, file: &str, colour: bool) -> String {
        let line = text.lines().nth(self.location.line - 1);
        self.render_line((line.unwrap_or_default(), 1), file, colour)
    }

    /// The same of a line that is known from some column on.
    pub fn render_line(&self, (source, from): (&str, usize), file: &str, colour: bool) -> String {
        let paint = Paint { colour };
        let Location { line, column, len } = self.location;
        let (label, style) = match self.severity {
            Severity::Error => ("error", RED),
            Severity::Warning => ("warning", YELLOW),
        };
        let code = self.code.map_or_else(String::new, |code| format!("[{code}]"));
        let rule = self.rule.map_or_else(String::new, |rule| format!(" ({rule})"));
        let head = paint.wrap(style, &format!("{label}{code}"));
        let message = paint.wrap(BOLD, &format!("{}{rule}", printable(&self.message)));
        let mut out = format!("{}:{line}:{column}: {head}: {message}\n", printable(file));

        let gutter = line.to_string().len();
        if !source.trim().is_empty() {
            let (source, column) = window(source, from, column);
            let room = source.chars().count().saturating_sub(column - 1).max(1);
            let caret = paint.wrap(style, &"^".repeat(len.clamp(1, room)));
            let _ = writeln!(out, "{:gutter$} |", "");
            let _ = writeln!(out, "{line} | {}", printable(source.trim_end()));
            let _ = writeln!(out, "{:gutter$} | {:indent$}{caret}", "", "", indent = column - 1);
        }
        let notes = [
            ("at", Some(&self.path).filter(|path| !path.is_empty())),
            ("expected", self.expected.as_ref()),
            ("help", self.help.as_ref()),
        ];
        for (label, note) in notes {
            if let Some(note) = note {
                let label = paint.wrap(BOLD, label);
                let _ = writeln!(out, "{:gutter$} = {label}: {}", "", printable(note));
            }
        }
        out
    }

    pub(in crate::config) fn code(&mut self, code: &'static str) -> &mut Self {
        self.code = Some(code);
        self
    }

    pub(in crate::config) fn rule(&mut self, rule: &'static str) -> &mut Self {
        self.rule = Some(rule);
        self
    }

    pub(in crate::config) fn expected(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = Some(expected.into());
        self
    }

    pub(in crate::config) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Help that proposes the nearest of `candidates` for `wrong`, if one is near.
    pub(in crate::config) fn did_you_mean<'a>(
        &mut self,
        wrong: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> &mut Self {
        if let Some(near) = nearest(wrong, candidates) {
            self.help(format!("did you mean `{near}`?"));
        }
        self
    }
}

/// A site: a location in the text and the path to it from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct At {
    part: PartId,
    site: u32,
}

/// What of a file was read as one: all of it, or an item of a list by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::config) struct PartId(pub usize);

/// A value and its site.
#[derive(Clone, Debug)]
pub(in crate::config) struct Spanned<T> {
    pub value: T,
    pub at: At,
}

/// One step from a node to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Step {
    Root,
    Key(String),
    Item(usize),
}

#[derive(Clone, Debug)]
pub(in crate::config) struct Site {
    location: Location,
    /// None for the root of its part.
    parent: Option<At>,
    step: Step,
}

/// The sites of one part. Its root is the last of those without a parent.
pub(in crate::config) type Sites = Arc<[Site]>;

/// An item that was read by itself, and where the file has it.
#[derive(Clone, Debug)]
struct Item {
    sites: Sites,
    list: At,
    index: usize,
    /// How many are before its first.
    lines: usize,
}

/// Collects what is wrong with one file.
#[derive(Debug, Default)]
pub(in crate::config) struct Report {
    locations: Locations,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    /// What readers say that they accept, where no file is read but a schema made.
    pub(super) shapes: Option<Vec<Shape>>,
}

impl Report {
    /// For an item that is read by itself.
    pub(in crate::config) fn of_part(part: PartId) -> Self {
        Self { locations: Locations { part, ..Locations::default() }, ..Self::default() }
    }

    pub(in crate::config) fn site(&mut self, location: Location, parent: Option<At>, step: Step) -> At {
        let Locations { part, sites, .. } = &mut self.locations;
        sites.push(Site { location, parent, step });
        At { part: *part, site: sites.len() as u32 - 1 }
    }

    /// Replaces a location by a more exact one, such as the full extent of a collection.
    pub(in crate::config) fn set_location(&mut self, at: At, location: Location) {
        self.locations.sites[at.site as usize].location = location;
    }

    pub(in crate::config) fn location(&self, at: At) -> Location {
        self.locations.of(at)
    }

    /// Takes in the sites of a list's item: `lines` is the number of lines before its text.
    pub(in crate::config) fn adopt(&mut self, part: PartId, sites: Sites, (list, index): (At, usize), lines: usize) {
        self.locations.items.insert(part, Item { sites, list, index, lines });
    }

    /// For readers that are asked what they accept.
    pub(super) fn of_shapes() -> Self {
        Self { shapes: Some(Vec::new()), ..Self::default() }
    }

    /// Takes note of what a reader accepts; whether a schema is made.
    pub(super) fn accepts(&mut self, shape: impl FnOnce() -> Shape) -> bool {
        self.shapes.as_mut().map(|shapes| shapes.push(shape())).is_some()
    }

    /// Whether there is nothing to say.
    pub(in crate::config) fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The sites of a part about which there is nothing to say.
    pub(in crate::config) fn into_sites(self) -> Option<Sites> {
        self.diagnostics.is_empty().then(|| self.locations.sites.into())
    }

    pub(in crate::config) fn error(&mut self, at: At, message: impl Into<String>) -> &mut Diagnostic {
        self.errors += 1;
        self.push(Severity::Error, at, message.into())
    }

    pub(in crate::config) fn warning(&mut self, at: At, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, at, message.into())
    }

    /// The warnings and all locations, or everything if there was an error; sorted by location.
    pub(in crate::config) fn into_result(mut self) -> Result<(Vec<Diagnostic>, Locations), Errors> {
        Diagnostic::sort(&mut self.diagnostics);
        if self.errors == 0 { Ok((self.diagnostics, self.locations)) } else { Err(Errors(self.diagnostics)) }
    }

    fn push(&mut self, severity: Severity, at: At, message: String) -> &mut Diagnostic {
        let location = self.location(at);
        let path = self.locations.path(at);
        let (code, rule, expected, help) = (None, None, None, None);
        self.diagnostics.truncate(MAX_DIAGNOSTICS);
        self.diagnostics.push(Diagnostic { severity, code, rule, message, path, location, expected, help });
        self.diagnostics.last_mut().expect("pushed in the line before")
    }
}

/// Every site of a file, for diagnostics of later steps.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Locations {
    part: PartId,
    sites: Vec<Site>,
    items: HashMap<PartId, Item, RandomState>,
}

impl Locations {
    /// The location of a path's value, or of the longest part of the path that the file has.
    pub(in crate::config) fn find(&self, path: &str) -> Location {
        let root = root(&self.sites).expect("the parser makes a site before it looks at the text");
        let mut at = At { part: self.part, site: root };
        for step in steps(path) {
            let wrapper = Step::Key("properties".to_owned());
            let child = self.child(at, &step);
            let Some(found) = child.or_else(|| self.child(self.child(at, &wrapper)?, &step)) else { break };
            at = found;
        }
        self.of(at)
    }

    fn of(&self, at: At) -> Location {
        let Location { line, column, len } = self.site(at).location;
        let before = self.items.get(&at.part).map_or(0, |item| item.lines);
        Location { line: before + line, column, len }
    }

    /// The way from the file's root.
    fn path(&self, at: At) -> String {
        let mut steps = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            let site = self.site(at);
            let item = self.items.get(&at.part).filter(|_| site.parent.is_none());
            steps.push(item.map_or_else(|| site.step.clone(), |item| Step::Item(item.index)));
            next = item.map_or(site.parent, |item| Some(item.list));
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            let dot = if path.is_empty() { "" } else { "." };
            let _ = match step {
                Step::Root => Ok(()),
                Step::Key(key) => write!(path, "{dot}{}", clip(&key)),
                Step::Item(index) => write!(path, "[{index}]"),
            };
        }
        path
    }

    /// A key has two sites, its own and its value's: the value's comes later, and its children hang on it.
    fn child(&self, parent: At, step: &Step) -> Option<At> {
        let mut sites = self.sites(parent.part).iter();
        let within = sites.rposition(|site| site.parent == Some(parent) && site.step == *step);
        let within = within.map(|site| At { part: parent.part, site: site as u32 });
        within.or_else(|| {
            let is_here = |item: &Item| item.list == parent && Step::Item(item.index) == *step;
            let (part, item) = self.items.iter().find(|(_, item)| is_here(item))?;
            Some(At { part: *part, site: root(&item.sites)? })
        })
    }

    fn site(&self, at: At) -> &Site {
        &self.sites(at.part)[at.site as usize]
    }

    fn sites(&self, part: PartId) -> &[Site] {
        if part == self.part { &self.sites } else { &self.items[&part].sites }
    }
}

fn root(sites: &[Site]) -> Option<u32> {
    sites.iter().rposition(|site| site.parent.is_none()).map(|root| root as u32)
}

/// `a[0].b` as its steps.
fn steps(path: &str) -> impl Iterator<Item = Step> {
    path.split(['.', '[']).filter(|word| !word.is_empty()).map(|word| {
        let index = word.strip_suffix(']').and_then(|index| index.parse().ok());
        index.map_or_else(|| Step::Key(word.to_owned()), Step::Item)
    })
}

/// The candidate that `wrong` was most likely meant to be.
pub(in crate::config) fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    if wrong.len() > 100 {
        return None;
    }
    let score = |candidate: &str| strsim::jaro_winkler(&wrong, &candidate.to_lowercase());
    let scored = candidates.into_iter().take(MAX_CANDIDATES).map(|candidate| (score(candidate), candidate));
    // 0.8 takes a swapped, lost or doubled letter and a lost plural, and leaves unrelated words alone.
    scored.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// A user's text as it may stand in a message: long ones are cut.
pub(in crate::config) fn clip(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX { text.to_owned() } else { text.chars().take(MAX - 1).collect::<String>() + "…" }
}

/// The part of a long line around `column`, and the column in it. The source begins at column `from`.
fn window(source: &str, from: usize, column: usize) -> (String, usize) {
    let skip = if column > SOURCE_WIDTH * 3 / 4 { column - SOURCE_WIDTH / 2 } else { 0 };
    let skip = skip.max(from - 1);
    (source.chars().skip(skip + 1 - from).take(SOURCE_WIDTH).collect(), column - skip)
}

/// A file's text must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BOLD: &str = "\x1b[1m";

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn wrap(self, style: &str, text: &str) -> String {
        if self.colour { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
impl Locations {
    /// Every path that a file has.
    pub(in crate::config) fn paths(&self) -> Vec<String> {
        let parts = [(self.part, &self.sites[..])].into_iter();
        let parts = parts.chain(self.items.iter().map(|(part, item)| (*part, &item.sites[..])));
        let ats = parts.flat_map(|(part, sites)| (0..sites.len() as u32).map(move |site| At { part, site }));
        ats.map(|at| self.path(at)).collect()
    }
}
