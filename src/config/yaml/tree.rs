//! YAML text to a tree: every node and key has its site.
//!
//! The tree is built from the parser's events rather than by a loader, because a topology file needs what loaders hide:
//! the locations of keys, every duplicate key at once, and bounds on size, depth and the expansion of aliases. Values
//! stay text; the reader decides what a scalar means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::diagnostic::{At, Location, Report, Spanned, Step, clip};

/// With Azure's limits on route tables (LIM-15) there may be 80,000 routes, of some 100 bytes.
const MAX_BYTES: usize = 12 << 20;
const MAX_DEPTH: usize = 32;
/// Nodes in the tree, with those that aliases repeat: ten for each of as many routes.
const MAX_NODES: usize = 800_000;

#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub at: At,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    Null,
    /// `plain` if it was not quoted, so that it may be a number or a boolean.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// What it is, for messages.
    pub(in crate::config) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Parses the one document of `text`. On broken YAML the report has one error that says where and why.
pub(in crate::config) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let start = report.site(Location { line: 1, column: 1, len: 1 }, None, Step::Root);
    if text.len() > MAX_BYTES {
        report
            .error(start, format!("the file has {} bytes", text.len()))
            .expected(format!("at most {MAX_BYTES} bytes"));
        return None;
    }
    let mut builder = Builder::new(report, end_of(text));
    builder.read(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?;
    Some(builder.root.unwrap_or(Node { at: start, value: Value::Null }))
}

/// A piece of a file that means the same wherever it stands, and how many nodes it has.
pub(in crate::config) struct Piece {
    pub node: Node,
    pub nodes: usize,
}

/// Parses the rest of a file, with its longest lists empty. None if it is not certain that this gives the same
/// as the whole file would.
pub(in crate::config) fn parse_rest(text: &str, whole: &str, report: &mut Report) -> Option<Piece> {
    report.site(Location { line: 1, column: 1, len: 1 }, None, Step::Root);
    let mut builder = Builder::new(report, end_of(whole));
    builder.read(text).ok()?;
    let nodes = builder.nodes;
    builder.root.filter(|_| builder.anchors.is_empty()).map(|node| Piece { node, nodes })
}

/// Parses one item of a list at the top of a file, from its dash to the next one. None if it may depend on what stands
/// around it, or cannot be read.
pub(in crate::config) fn parse_item(text: &str, report: &mut Report) -> Option<Piece> {
    let mut builder = Builder { of_item: true, ..Builder::new(report, end_of(text)) };
    builder.read(text).ok()?;
    let nodes = builder.nodes - 1;
    let alone = builder.anchors.is_empty() && !builder.leans;
    match builder.root?.value {
        Value::List(items) if alone && items.len() == 1 => Some(Piece { node: items.into_iter().next()?, nodes }),
        Value::List(_) | Value::Map(_) | Value::Scalar { .. } | Value::Null => None,
    }
}

/// Whether a file of so many bytes and nodes is within bounds.
pub(in crate::config) fn fits(bytes: usize, nodes: usize) -> bool {
    bytes <= MAX_BYTES && nodes <= MAX_NODES
}

/// The tree cannot be completed; the report says why.
struct Stop;

struct Builder<'a> {
    report: &'a mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    end: Location,
    /// The text is an item of a list that is the root's.
    of_item: bool,
    /// There is a value with a location or an extent that depends on what follows it: one that is missing, or a
    /// block of text.
    leans: bool,
}

/// A collection that is still open.
struct Open {
    at: At,
    start: Marker,
    anchor: usize,
    filled: Filled,
}

enum Filled {
    List(Vec<Node>),
    Map { entries: Vec<(Spanned<String>, Node)>, seen: HashMap<String, At>, key: Option<Spanned<String>> },
}

impl<'a> Builder<'a> {
    fn new(report: &'a mut Report, end: Location) -> Self {
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self { report, open, anchors, nodes: 0, root: None, end, of_item: false, leans: false }
    }

    fn read(&mut self, text: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((Event::StreamEnd, _)) => break,
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => {
                    let at = self.report.site(self.location(*error.marker(), 1), None, Step::Root);
                    self.report
                        .error(at, format!("this is not valid YAML: {}", error.info()))
                        .help("the cause often stands just before: a bracket, a quote, a colon or the indentation");
                    return Err(Stop);
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag {
                    return self.stop(span, &format!("the tag `{tag}`"), "plain YAML without tags");
                }
                self.scalar(text, style, anchor, span)
            }
            Event::SequenceStart(_, Some(tag)) | Event::MappingStart(_, Some(tag)) => {
                self.stop(span, &format!("the tag `{tag}`"), "plain YAML without tags")
            }
            Event::SequenceStart(anchor, None) => self.start(anchor, span, Filled::List(Vec::new())),
            Event::MappingStart(anchor, None) => {
                self.start(anchor, span, Filled::Map { entries: Vec::new(), seen: HashMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentStart(_) if self.root.is_some() => self.stop(span, "a second document", "one document"),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, anchor: usize, span: Span) -> Result<(), Stop> {
        let plain = style == ScalarStyle::Plain;
        let location = self.location(span.start, span.len());
        if let Some(Open { at: parent, filled: Filled::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
            let text = text.into_owned();
            let site = self.report.site(location, Some(*parent), Step::Key(text.clone()));
            *key = Some(Spanned { value: text, at: site });
            return Ok(());
        }
        let at = self.child(span, span.len());
        let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
        self.leans |= (plain && text.is_empty()) || matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let value = if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } };
        self.put(Node { at, value }, anchor, span)
    }

    fn start(&mut self, anchor: usize, span: Span, filled: Filled) -> Result<(), Stop> {
        if self.open.len() + usize::from(self.of_item) == MAX_DEPTH {
            return self.stop(span, "nesting this deep", &format!("at most {MAX_DEPTH} levels"));
        }
        if self.awaits_key() {
            return self.stop(span, "a collection as a key", "a word");
        }
        let at = self.child(span, 1);
        self.open.push(Open { at, start: span.start, anchor, filled });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Stop> {
        let Some(Open { at, start, anchor, filled }) = self.open.pop() else { return Ok(()) };
        if span.end.line() == start.line() && span.end.index() > start.index() {
            let len = span.end.index() - start.index();
            self.report.set_location(at, Location { len, ..self.report.location(at) });
        }
        let value = match filled {
            Filled::List(items) => Value::List(items),
            Filled::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Node { at, value }, anchor, span)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        if self.awaits_key() {
            return self.stop(span, "an alias as a key", "a word");
        }
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return self.stop(span, "an alias inside its own anchor", "an anchor that ended before");
        };
        self.nodes += size(&node);
        self.put(node, 0, span)
    }

    /// Puts a complete node where it belongs: into the collection that is open, or at the root.
    fn put(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Stop> {
        self.nodes += 1;
        if anchor != 0 {
            self.nodes += size(&node);
            self.anchors.insert(anchor, node.clone());
        }
        if self.nodes > MAX_NODES {
            let expected = format!("at most {MAX_NODES}, with what aliases repeat");
            return self.stop(span, "this many values", &expected);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.filled {
            Filled::List(items) => items.push(node),
            Filled::Map { entries, seen, key } => {
                let key = key.take().expect("a value follows its key: `scalar`, `start` and `alias` see to it");
                match seen.entry(key.value.clone()) {
                    Entry::Vacant(free) => {
                        free.insert(key.at);
                        entries.push((key, node));
                    }
                    Entry::Occupied(first) => {
                        let line = self.report.location(*first.get()).line;
                        let message = format!("the key `{}` stands twice in this mapping", clip(&key.value));
                        self.report.error(key.at, message).help(format!("the first is on line {line}; remove one"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The parser puts what is missing at the end beyond it; the end of the last line is where a reader looks.
    fn location(&self, mark: Marker, len: usize) -> Location {
        let location = Location { line: mark.line().max(1), column: mark.col() + 1, len: len.max(1) };
        if location.line > self.end.line { self.end } else { location }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { filled: Filled::Map { key: None, .. }, .. }))
    }

    /// The site of the node that starts here.
    fn child(&mut self, span: Span, len: usize) -> At {
        let (parent, step) = match self.open.last() {
            None => (None, Step::Root),
            // Where the list is, and which of its items this is, knows the file.
            Some(_) if self.of_item && self.open.len() == 1 => (None, Step::Root),
            Some(Open { at, filled: Filled::List(items), .. }) => (Some(*at), Step::Item(items.len())),
            Some(Open { at, filled: Filled::Map { key, .. }, .. }) => {
                (Some(*at), key.as_ref().map_or(Step::Root, |key| Step::Key(key.value.clone())))
            }
        };
        self.report.site(self.location(span.start, len), parent, step)
    }

    fn stop(&mut self, span: Span, found: &str, expected: &str) -> Result<(), Stop> {
        let at = self.child(span, span.len());
        self.report.error(at, format!("a topology file cannot have {found}")).expected(expected);
        Err(Stop)
    }
}

/// Just behind the last line.
fn end_of(text: &str) -> Location {
    let column = text.lines().last().map_or(1, |line| line.chars().count() + 1);
    Location { line: text.lines().count().max(1), column, len: 1 }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Null | Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|(_, value)| size(value)).sum(),
    }
}
