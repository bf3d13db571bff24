//! What becomes of each property: one table a type, beside the code that converts the type.
//!
//! One idea: a property that no table names is reported. So what Azure adds to a type is seen here first, and nothing of a
//! document disappears without a word. Keys compare in any case, and `"80"` and `"false"` are values as good as `80`.

use crate::arm::notes::NoteKind;
use crate::arm::{Key, Node, Value};

use super::Converter;
use super::text::{Map, Out};

/// A property and what becomes of it.
pub(super) type Row = (&'static str, Use);

/// The properties of one kind of object.
pub(super) struct Table {
    /// For messages: `a subnet`.
    pub what: &'static str,
    pub rows: &'static [Row],
}

#[derive(Clone, Copy)]
pub(super) enum Use {
    /// Stands in the file as it is: a word, a number, a range.
    Copy,
    /// One of these words, which Azure takes in any case; another one stands as it is.
    Word(&'static [&'static str]),
    /// The same, unless it is what the file takes for granted.
    Unless(&'static str),
    /// A boolean, where it is not what the file takes for granted.
    Flag(bool),
    /// The name of what an id names.
    Ref,
    /// The names of what a list of ids names.
    Refs,
    /// The same of application security groups: one that was not given is made up, for a rule without its group would be
    /// a rule for all.
    Groups,
    /// A list of words, if there are any.
    Words,
    /// A list of objects with names.
    Each(&'static Table),
    /// An object.
    Inside(&'static Table),
    /// The code beside the table reads it.
    Taken,
    /// The same of an object or a list of objects, which have no more than these properties.
    Read(&'static Table),
    /// Says nothing about a packet's way.
    Cosmetic,
    /// Not emulated, and harmless as long as it is one of these.
    Harmless(&'static [&'static str]),
    /// Not emulated.
    Gap,
}

/// Keys of any resource that say nothing about a packet's way.
const ENVELOPE: [&str; 30] = [
    "id",
    "name",
    "type",
    "etag",
    "apiVersion",
    "location",
    "tags",
    "dependsOn",
    "provisioningState",
    "resourceGuid",
    "zones",
    "resourceGroup",
    "subscriptionId",
    "tenantId",
    "systemData",
    "managedBy",
    "kind",
    "identity",
    "plan",
    "extendedLocation",
    "comments",
    "condition",
    "copy",
    "scope",
    "metadata",
    "properties",
    "createdTime",
    "changedTime",
    "timeCreated",
    "resources",
];

/// A property of an object, which stands in it (as `az` prints it) or in its `properties` (as ARM has it).
pub(super) fn property<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let inner = || node.get("properties").and_then(|inner| inner.get(key));
    node.get(key).or_else(inner).filter(|found| !matches!(found.value, Value::Null))
}

/// The property at the end of a way.
pub(super) fn deep<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| property(node, key))
}

/// The objects or words of a list.
pub(super) fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    property(node, key).map_or(&[], Node::items)
}

/// A single value as text; empty ones are none.
pub(super) fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::List(_) | Value::Object(_) => None,
    }
}

/// The text of a property.
pub(super) fn text(node: &Node, key: &str) -> Option<String> {
    property(node, key).and_then(scalar)
}

pub(super) fn flag(node: &Node, key: &str) -> Option<bool> {
    let text = text(node, key)?.to_ascii_lowercase();
    matches!(text.as_str(), "true" | "false").then(|| text == "true")
}

/// Whether two words are one.
pub(super) fn is(node: &Node, key: &str, word: &str) -> bool {
    text(node, key).is_some_and(|text| text.eq_ignore_ascii_case(word))
}

/// The id of what is named: `{id: …}`, or the id itself.
pub(super) fn id_of(node: &Node) -> Option<&str> {
    node.get("id").unwrap_or(node).text().map(str::trim).filter(|id| id.starts_with('/'))
}

/// The id in a property.
pub(super) fn reference<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    property(node, key).and_then(id_of)
}

/// No entries.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Converter<'_> {
    /// What the file says of an object, by its table. What the table does not know is reported.
    pub(super) fn object(&mut self, node: &Node, table: &'static Table) -> Map {
        let inner = node.get("properties").map_or(&[][..], Node::entries);
        let mut found = vec![None; table.rows.len()];
        for (key, value) in node.entries().iter().chain(inner).filter(|(_, value)| !is_empty(value)) {
            if let Some(row) = self.account(key, value, table) {
                found[row].get_or_insert(value);
            }
        }
        let mut map = Map::new();
        for ((key, used), value) in table.rows.iter().zip(found) {
            if let Some(out) = value.and_then(|value| self.value(value, *used)) {
                map.push(((*key).to_owned(), out));
            }
        }
        map
    }

    /// The row of a property. What is not emulated is reported, and what is not known.
    fn account(&mut self, key: &Key, value: &Node, table: &'static Table) -> Option<usize> {
        let what = table.what;
        let row = table.rows.iter().position(|(known, _)| known.eq_ignore_ascii_case(&key.text));
        match row.map(|row| table.rows[row]) {
            None if ENVELOPE.iter().any(|known| known.eq_ignore_ascii_case(&key.text)) => {}
            None => {
                let message = format!("`{}` is not known here as a property of {what}: it is left out", key.text);
                self.note(&key.at, NoteKind::Unknown, message);
            }
            Some((known, Use::Gap)) => {
                self.note(&key.at, NoteKind::NotEmulated, format!("`{known}` of {what} is not emulated"));
            }
            Some((known, Use::Harmless(words))) => {
                let says = scalar(value).unwrap_or_default();
                if !words.iter().any(|word| word.eq_ignore_ascii_case(&says)) {
                    self.note(&key.at, NoteKind::NotEmulated, format!("`{known}` of {what} is not emulated"));
                }
            }
            Some(_) => {}
        }
        row
    }

    fn value(&mut self, node: &Node, used: Use) -> Option<Out> {
        let out = match used {
            Use::Copy => Out::scalar(scalar(node)?),
            Use::Word(words) => {
                let written = scalar(node)?;
                let known = words.iter().find(|word| word.eq_ignore_ascii_case(&written));
                Out::scalar(known.map_or(written, |word| (*word).to_owned()))
            }
            Use::Unless(word) => Out::scalar(scalar(node).filter(|text| !text.eq_ignore_ascii_case(word))?),
            Use::Flag(default) => {
                let says = scalar(node)?.to_ascii_lowercase();
                (says != default.to_string()).then(|| Out::scalar(says))?
            }
            Use::Ref => self.named(node)?,
            Use::Refs => {
                let names: Vec<_> = node.items().iter().filter_map(|item| self.named(item)).collect();
                (!names.is_empty()).then(|| Out::list(names))?
            }
            Use::Groups => {
                let names: Vec<_> = node.items().iter().filter_map(|item| self.group(item)).collect();
                (!names.is_empty()).then(|| Out::list(names))?
            }
            Use::Words => Out::list(words(node)),
            Use::Each(table) => {
                let items = node.items().iter().map(|item| self.item(item, table)).collect::<Vec<_>>();
                (!items.is_empty()).then(|| Out::list(items))?
            }
            Use::Inside(table) => {
                let map = self.object(node, table);
                (!map.is_empty()).then(|| Out::map(map))?
            }
            Use::Read(table) => {
                for item in one_or_all(node) {
                    self.object(item, table);
                }
                return None;
            }
            Use::Taken | Use::Cosmetic | Use::Harmless(_) | Use::Gap => return None,
        };
        Some(out.at(&node.at))
    }

    /// An object of a list, its name first.
    pub(super) fn item(&mut self, node: &Node, table: &'static Table) -> Out {
        let mut map = vec![("name".to_owned(), self.child_name(node))];
        map.extend(self.object(node, table));
        Out::map(map).at(&node.at)
    }

    /// The name in the file of what is referred to; what is not among the resources is left out and reported.
    pub(super) fn named(&mut self, node: &Node) -> Option<Out> {
        let id = id_of(node)?;
        let name = self.reference(id);
        if name.is_none() {
            let message = format!("`{id}` is not among the resources: the reference is left out");
            self.note(&node.at, NoteKind::NotRead, message);
        }
        Some(Out::scalar(name?).at(&node.at))
    }
}

/// The items of a list, or the one that is no list.
fn one_or_all(node: &Node) -> &[Node] {
    if matches!(node.value, Value::List(_)) { node.items() } else { std::slice::from_ref(node) }
}

/// The words of a list, or the one word.
pub(super) fn words(node: &Node) -> Vec<Out> {
    one_or_all(node).iter().filter_map(|item| Some(Out::scalar(scalar(item)?).at(&item.at))).collect()
}
