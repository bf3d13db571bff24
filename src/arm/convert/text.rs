//! The text of a topology file, laid out as a person would: short objects on one line, long ones below each other.
//!
//! [`Out`] is the file as a tree whose values know the place that they came from. It stays beside the text, so that a mistake
//! in the text can be shown in the source.

use std::fmt::Write as _;

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

/// Where the values of a text came from: the tree that it was written from.
#[derive(Clone, Debug)]
pub struct Origins(Out);

impl Origins {
    /// The place of a value, by its path such as `virtualNetworks[0].subnets[1].routeTable`; or of the nearest object around
    /// it that has one.
    pub fn find(&self, path: &str) -> Option<&Place> {
        let (mut at, mut found) = (&self.0, None);
        for step in path.split(['.', '[']) {
            let inner = match &at.value {
                Value::Map(entries) => entries.iter().find(|(key, _)| key == step).map(|(_, inner)| inner),
                Value::List(items) => step.strip_suffix(']').and_then(|index| items.get(index.parse::<usize>().ok()?)),
                Value::Scalar(_) => None,
            };
            let Some(inner) = inner else { break };
            at = inner;
            found = inner.at.as_ref().or(found);
        }
        found
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

    /// Adds it on one line; not if it takes more than `room` bytes, or if there are comments in it. So a long list costs
    /// no more than a line of it.
    fn flow(&self, line: &mut String, room: usize) -> bool {
        let enough = match &self.value {
            Value::Scalar(text) => {
                scalar(line, text);
                true
            }
            Value::List(items) => {
                line.push('[');
                let mut parts = items.iter().enumerate();
                let enough = parts.all(|(index, item)| item.part(line, index, None, room));
                line.push(']');
                enough
            }
            Value::Map(entries) => {
                line.push('{');
                let mut parts = entries.iter().enumerate();
                let enough = parts.all(|(index, (key, value))| value.part(line, index, Some(key), room));
                line.push('}');
                enough
            }
        };
        enough && line.len() <= room
    }

    fn part(&self, line: &mut String, index: usize, key: Option<&String>, room: usize) -> bool {
        line.push_str(if index > 0 { ", " } else { "" });
        if let Some(key) = key {
            line.push_str(key);
            line.push_str(": ");
        }
        self.comment.is_none() && self.flow(line, room)
    }
}

/// Writes a file: its head is a comment.
pub(in crate::arm) fn write(head: &[String], file: Out) -> (String, Origins) {
    let mut writer = Writer { text: String::new() };
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
    (writer.text, Origins(file))
}

struct Writer {
    text: String,
}

impl Writer {
    fn entry(&mut self, key: &str, value: &Out, indent: usize) {
        self.remark(value, indent);
        self.spaces(indent);
        self.text.push_str(key);
        self.text.push(':');
        let objects =
            matches!(&value.value, Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))));
        if !objects && self.line(value, WIDTH.saturating_sub(indent + key.len() + 2)) {
            return;
        }
        self.text.push('\n');
        self.block(value, indent + 2);
    }

    /// Ends the line with a value, if it fits. A scalar has no other form.
    fn line(&mut self, value: &Out, room: usize) -> bool {
        let start = self.text.len();
        self.text.push(' ');
        let fits = match &value.value {
            Value::Scalar(text) => {
                scalar(&mut self.text, text);
                true
            }
            Value::List(_) | Value::Map(_) => value.flow(&mut self.text, start + 1 + room),
        };
        if fits {
            self.text.push('\n');
        } else {
            self.text.truncate(start);
        }
        fits
    }

    fn block(&mut self, value: &Out, indent: usize) {
        match &value.value {
            Value::Map(entries) => entries.iter().for_each(|(key, value)| self.entry(key, value, indent)),
            Value::List(items) => items.iter().for_each(|item| self.item(item, indent)),
            Value::Scalar(_) => {}
        }
    }

    fn item(&mut self, item: &Out, indent: usize) {
        self.remark(item, indent);
        self.spaces(indent);
        self.text.push('-');
        if self.line(item, WIDTH.saturating_sub(indent + 2)) {
            return;
        }
        match &item.value {
            Value::Map(entries) if !entries.is_empty() => {
                // The first key stands behind the dash.
                let start = self.text.len();
                self.block(item, indent + 2);
                let written = self.text.split_off(start);
                self.text.truncate(start - indent - 1);
                let first = written.trim_start_matches(' ');
                let (comments, rest) = comments_before(first, indent + 2);
                self.text.push_str(&comments);
                self.spaces(indent);
                let _ = write!(self.text, "- {rest}");
            }
            Value::List(_) | Value::Map(_) | Value::Scalar(_) => {
                self.text.push('\n');
                self.block(item, indent + 2);
            }
        }
    }

    fn remark(&mut self, value: &Out, indent: usize) {
        if let Some(comment) = &value.comment {
            self.spaces(indent);
            let _ = writeln!(self.text, "# {comment}");
        }
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
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

/// Adds a scalar as YAML has it, within quotes where it needs them.
fn scalar(line: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | ':' | '+' | '(' | ')');
    let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| plain(c) || c == ' ')
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !text.eq_ignore_ascii_case("null");
    if is_word {
        line.push_str(text);
    } else if text.chars().any(char::is_control) {
        let _ = write!(line, "{}", serde_json::Value::from(text));
    } else {
        let _ = write!(line, "'{}'", text.replace('\'', "''"));
    }
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
        let (text, origins) = write(&["From t.json".to_owned()], file);
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
            let mut line = String::new();
            scalar(&mut line, text);
            assert_eq!(line, written);
        }
    }
}
