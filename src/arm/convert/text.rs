//! The text of a topology file, laid out as a person would: short objects on one line, long ones below each other.
//!
//! [`Out`] is the file as a tree whose values know the place that they came from. Writing it gives the text and, for each
//! path such as `virtualNetworks[0].subnets[1].routeTable`, that place: so a mistake in the text can be shown in the source.

use std::collections::HashMap;
use std::fmt::Write as _;

use foldhash::fast::RandomState;

use crate::arm::Place;

/// A line is not longer than this, if it can be broken.
const WIDTH: usize = 120;

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::arm) struct Out {
    pub value: Value,
    /// Where it was read from; none for what follows from elsewhere.
    pub at: Option<Place>,
    /// What the reader of the file should know.
    pub comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::arm) enum Value {
    Scalar(String),
    List(Vec<Out>),
    Map(Map),
}

/// The keys of an object, in order.
pub(in crate::arm) type Map = Vec<(String, Out)>;

/// Where the values of a text came from, by their paths in the topology.
#[derive(Clone, Debug, Default)]
pub struct Origins(HashMap<String, Place, RandomState>);

impl Origins {
    /// The place of a value, or of the nearest object around it that has one.
    pub fn find(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

impl Out {
    pub(in crate::arm) fn scalar(value: impl Into<String>) -> Self {
        Self { value: Value::Scalar(value.into()), at: None, comment: None }
    }

    pub(in crate::arm) fn list(items: Vec<Self>) -> Self {
        Self { value: Value::List(items), at: None, comment: None }
    }

    pub(in crate::arm) fn map(entries: Map) -> Self {
        Self { value: Value::Map(entries), at: None, comment: None }
    }

    pub(in crate::arm) fn at(mut self, at: &Place) -> Self {
        self.at = Some(at.clone());
        self
    }

    pub(in crate::arm) fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// On one line, unless there are comments in it.
    fn flow(&self) -> Option<String> {
        let inner = match &self.value {
            Value::Scalar(text) => return Some(scalar(text)),
            Value::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(Self::part).collect();
                format!("[{}]", items?.join(", "))
            }
            Value::Map(entries) => {
                let entries: Option<Vec<_>> =
                    entries.iter().map(|(key, value)| Some(format!("{key}: {}", value.part()?))).collect();
                format!("{{{}}}", entries?.join(", "))
            }
        };
        (inner.len() <= 4 * WIDTH).then_some(inner)
    }

    fn part(&self) -> Option<String> {
        if self.comment.is_some() { None } else { self.flow() }
    }
}

/// Writes a file: its head is a comment.
pub(in crate::arm) fn write(head: &[String], file: &Out) -> (String, Origins) {
    let mut writer = Writer { text: String::new(), origins: Origins::default(), path: String::new() };
    for line in head {
        let _ = writeln!(writer.text, "# {line}");
    }
    if let Value::Map(entries) = &file.value {
        for (key, value) in entries {
            if matches!(value.value, Value::List(_) | Value::Map(_)) && !writer.text.is_empty() {
                writer.text.push('\n');
            }
            writer.entry(key, value, 0);
        }
    }
    (writer.text, writer.origins)
}

struct Writer {
    text: String,
    origins: Origins,
    path: String,
}

impl Writer {
    fn entry(&mut self, key: &str, value: &Out, indent: usize) {
        self.remark(value, indent);
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let spaces = " ".repeat(indent);
        let fits = value.flow().filter(|flow| indent + key.len() + 2 + flow.len() <= WIDTH);
        let objects =
            matches!(&value.value, Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))));
        match (&value.value, fits) {
            (_, Some(flow)) if !objects => {
                self.note(value);
                let _ = writeln!(self.text, "{spaces}{key}: {flow}");
            }
            (Value::Scalar(text), _) => {
                self.note(value);
                let _ = writeln!(self.text, "{spaces}{key}: {}", scalar(text));
            }
            (Value::List(_) | Value::Map(_), _) => {
                let _ = writeln!(self.text, "{spaces}{key}:");
                self.block(value, indent + 2);
            }
        }
        self.path.truncate(before);
    }

    fn block(&mut self, value: &Out, indent: usize) {
        self.place(value);
        match &value.value {
            Value::Map(entries) => entries.iter().for_each(|(key, value)| self.entry(key, value, indent)),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let before = self.path.len();
                    let _ = write!(self.path, "[{index}]");
                    self.item(item, indent);
                    self.path.truncate(before);
                }
            }
            Value::Scalar(_) => {}
        }
    }

    fn item(&mut self, item: &Out, indent: usize) {
        self.remark(item, indent);
        let spaces = " ".repeat(indent);
        let fits = item.flow().filter(|flow| indent + 2 + flow.len() <= WIDTH);
        match (&item.value, fits) {
            (_, Some(flow)) => {
                self.note(item);
                let _ = writeln!(self.text, "{spaces}- {flow}");
            }
            (Value::Map(entries), None) if !entries.is_empty() => {
                // The first key stands behind the dash.
                let start = self.text.len();
                self.block(item, indent + 2);
                let written = self.text.split_off(start);
                let first = written.trim_start_matches(' ');
                let (comments, rest) = comments_before(first, indent + 2);
                self.text.push_str(&comments);
                let _ = write!(self.text, "{spaces}- {rest}");
            }
            (Value::Scalar(text), None) => {
                self.note(item);
                let _ = writeln!(self.text, "{spaces}- {}", scalar(text));
            }
            (Value::List(_) | Value::Map(_), None) => {
                let _ = writeln!(self.text, "{spaces}-");
                self.block(item, indent + 2);
            }
        }
    }

    fn remark(&mut self, value: &Out, indent: usize) {
        if let Some(comment) = &value.comment {
            let _ = writeln!(self.text, "{}# {comment}", " ".repeat(indent));
        }
    }

    /// Takes down where a value and all in it came from.
    fn note(&mut self, value: &Out) {
        self.place(value);
        let before = self.path.len();
        match &value.value {
            Value::Scalar(_) => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let _ = write!(self.path, "[{index}]");
                    self.note(item);
                    self.path.truncate(before);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    if before > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(key);
                    self.note(value);
                    self.path.truncate(before);
                }
            }
        }
    }

    fn place(&mut self, value: &Out) {
        if let Some(at) = &value.at {
            self.origins.0.insert(self.path.clone(), at.clone());
        }
    }
}

/// The comments that stand before an item's first key, and the rest.
fn comments_before(written: &str, indent: usize) -> (String, String) {
    let mut comments = String::new();
    let mut rest = written;
    while rest.starts_with('#') {
        let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        comments.push_str(&" ".repeat(indent.saturating_sub(2)));
        comments.push_str(&rest[..end]);
        rest = rest[end..].trim_start_matches(' ');
    }
    (comments, rest.to_owned())
}

/// A scalar as YAML has it, within quotes where it needs them.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | ':' | '+' | '(' | ')');
    let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| plain(c) || c == ' ')
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !matches!(text.to_ascii_lowercase().as_str(), "null");
    if is_word {
        return text.to_owned();
    }
    if text.chars().any(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn place(line: u32) -> Place {
        Place { file: Arc::from("t.json"), line, column: 1 }
    }

    #[test]
    fn short_objects_are_on_a_line_and_every_value_knows_its_place() {
        let subnet = Out::map(vec![
            ("name".to_owned(), Out::scalar("app").at(&place(4))),
            ("addressPrefix".to_owned(), Out::scalar("10.0.1.0/24").at(&place(5))),
        ]);
        let vnet = Out::map(vec![
            ("name".to_owned(), Out::scalar("it's").at(&place(2)).comment("made up")),
            ("subnets".to_owned(), Out::list(vec![subnet.at(&place(3))])),
        ]);
        let file = Out::map(vec![("virtualNetworks".to_owned(), Out::list(vec![vnet.at(&place(1))]))]);
        let (text, origins) = write(&["From t.json".to_owned()], &file);
        let expected = "# From t.json\n\nvirtualNetworks:\n  # made up\n  - name: 'it''s'\n    subnets:\n      - {name: app, addressPrefix: 10.0.1.0/24}\n";
        assert_eq!(text, expected);
        let line = |path| origins.find(path).unwrap().line;
        assert_eq!(line("virtualNetworks[0].subnets[0].addressPrefix"), 5);
        assert_eq!(line("virtualNetworks[0].subnets[0].routeTable"), 3);
        assert_eq!(line("virtualNetworks[0].subnets"), 1);
        assert!(origins.find("tests[0]").is_none());
    }

    #[test]
    fn what_yaml_would_read_as_something_else_is_quoted() {
        for (text, written) in [
            ("*", "'*'"),
            ("", "''"),
            ("a b", "a b"),
            ("443", "443"),
            ("null", "'null'"),
            ("a: b", "'a: b'"),
            ("1\n2", "\"1\\n2\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }
}
