//! A JSON document with the place of every value and key, for errors that say where.

use std::fmt;
use std::sync::Arc;

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub at: Place,
    pub value: Value,
}

/// A key of an object, in the case that it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub at: Place,
    pub text: String,
}

/// What a value is. An object keeps the order of its keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

impl Node {
    /// The value of a key, in any case: ARM compares names without it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Object(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name.text.eq_ignore_ascii_case(key)).map(|(_, node)| node)
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The entries of an object; none for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        if let Value::Object(entries) = &self.value { entries } else { &[] }
    }

    /// The value with all its parts at one place.
    #[must_use]
    pub fn moved(self, at: &Place) -> Self {
        let value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(|item| item.moved(at)).collect()),
            Value::Object(entries) => {
                Value::Object(entries.into_iter().map(|(key, node)| (Key::new(at, key.text), node.moved(at))).collect())
            }
            value => value,
        };
        Self { at: at.clone(), value }
    }

    /// The value without places, for printing and comparison.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(entries) => {
                let mut object = serde_json::Map::new();
                object.extend(entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())));
                object.into()
            }
        }
    }

    /// A value that stands, with all its parts, at one place.
    pub fn from_json(at: &Place, value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| Self::from_json(at, item)).collect()),
            Json::Object(entries) => Value::Object(
                entries.iter().map(|(text, node)| (Key::new(at, text), Self::from_json(at, node))).collect(),
            ),
        };
        Self { at: at.clone(), value }
    }
}

impl Key {
    pub fn new(at: &Place, text: impl Into<String>) -> Self {
        Self { at: at.clone(), text: text.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}
