//! A topology without one thing: the edits that a test's `without:` names, made to the tree of the file.
//!
//! One idea: the tree is edited, not the text. Every value that stays keeps its site, so what is wrong with the edited
//! topology is shown where the file has it. A path goes down by keys, and into lists by the elements' names.

use serde_json::{Map, Value as Json, json};

use super::decode::{mismatch, truth};
use super::diagnostic::{At, Report, Spanned, clip, nearest};
use super::shape::{Object, Shape};
use super::tree::{Node, Value};

/// One change: a new value at a path, or none where something goes.
pub(in crate::config) struct Edit {
    /// `virtualNetworks/hub/virtualNetworkPeerings/hub-spoke`.
    pub path: Spanned<String>,
    pub value: Option<Node>,
}

/// Why an edit cannot be made.
pub(in crate::config) struct Missing {
    pub message: String,
    pub help: Option<String>,
}

/// A path, a list of paths, or paths with the values that they get instead.
pub(in crate::config) fn edits(node: &Node, report: &mut Report) -> Option<Vec<Edit>> {
    if report.accepts(|| form(&node.value)) {
        return None;
    }
    let edits = match &node.value {
        Value::Scalar { text, .. } => vec![Some(removal(text, node.at))],
        Value::List(items) if !items.is_empty() => items
            .iter()
            .map(|item| match &item.value {
                Value::Scalar { text, .. } => Some(removal(text, item.at)),
                Value::Null | Value::List(_) | Value::Map(_) => None,
            })
            .collect(),
        Value::Map(entries) if !entries.is_empty() => entries
            .iter()
            .map(|(path, value)| {
                let value = Some(value).filter(|value| !matches!(value.value, Value::Null));
                Some(Edit { path: path.clone(), value: value.cloned() })
            })
            .collect(),
        Value::Null | Value::List(_) | Value::Map(_) => vec![None],
    };
    let edits: Option<Vec<Edit>> = edits.into_iter().collect();
    if edits.is_none() {
        let expected = "a path such as `routeTables/via-nva`, a list of paths, or a mapping of paths to values";
        mismatch(node, report, "a change of the topology", expected);
    }
    edits
}

fn form(sample: &Value) -> Shape {
    match sample {
        Value::List(_) => Shape::List(vec![Shape::Text]),
        Value::Map(_) => Shape::Object(Object { what: "a change of the topology", fields: Vec::new() }),
        Value::Null | Value::Scalar { .. } => Shape::Text,
    }
}

fn removal(path: &str, at: At) -> Edit {
    Edit { path: Spanned { value: path.to_owned(), at }, value: None }
}

impl Edit {
    /// Changes the tree of a file.
    pub(in crate::config) fn make(&self, root: &mut Node) -> Result<(), Missing> {
        let (parents, last) = match self.path.value.rsplit_once('/') {
            Some((parents, last)) => (parents.split('/').collect(), last),
            None => (Vec::new(), self.path.value.as_str()),
        };
        let mut node = root;
        for step in parents {
            node = child(node, step)?;
        }
        match (position(&node.value, last), self.value.clone()) {
            (Some(_), Some(value)) => {
                let old = child(node, last)?;
                *old = value.named(old.name().cloned());
                Ok(())
            }
            (Some(index), None) => {
                remove(node, index);
                Ok(())
            }
            (None, Some(value)) => self.add(node, last, value),
            (None, None) => Err(missing(node, last)),
        }
    }

    /// A key that was not there, or an element at the end.
    fn add(&self, node: &mut Node, step: &str, value: Node) -> Result<(), Missing> {
        let Spanned { at, .. } = self.path;
        let name = Node { at, value: Value::Scalar { text: step.to_owned(), plain: false } };
        match &mut node.value {
            Value::Map(entries) => entries.push((Spanned { value: step.to_owned(), at }, value)),
            Value::List(items) => items.push(value.named(Some(name))),
            Value::Null | Value::Scalar { .. } => return Err(missing(node, step)),
        }
        Ok(())
    }
}

impl Node {
    /// The value of its key `name`.
    fn name(&self) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.value == "name").map(|(_, name)| name)
    }

    /// The same with a name, if it can have one and has none.
    fn named(mut self, name: Option<Self>) -> Self {
        let has_name = self.name().is_some();
        if let (Value::Map(entries), Some(name), false) = (&mut self.value, name, has_name) {
            entries.push((Spanned { value: "name".to_owned(), at: name.at }, name));
        }
        self
    }

    fn is(&self, word: &str) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if text.eq_ignore_ascii_case(word))
    }

    /// As JSON, which is YAML too.
    pub(in crate::config) fn json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Scalar { text, plain: true } => {
                let number = text.parse::<i64>().ok().map(Json::from);
                number.or_else(|| truth(text).map(Json::from)).unwrap_or_else(|| json!(text))
            }
            Value::Scalar { text, plain: false } => json!(text),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => Json::Object(
                entries.iter().map(|(key, value)| (key.value.clone(), value.json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The number of a key, or of an element by its name or number.
fn position(value: &Value, step: &str) -> Option<usize> {
    match value {
        Value::Map(entries) => entries.iter().position(|(key, _)| key.value == step),
        Value::List(items) => {
            let named = items.iter().position(|item| item.is(step) || item.name().is_some_and(|name| name.is(step)));
            named.or_else(|| step.parse().ok().filter(|index| *index < items.len()))
        }
        Value::Null | Value::Scalar { .. } => None,
    }
}

fn child<'a>(node: &'a mut Node, step: &str) -> Result<&'a mut Node, Missing> {
    let absent = missing(node, step);
    let index = position(&node.value, step);
    let found = match &mut node.value {
        Value::Map(entries) => index.and_then(|index| entries.get_mut(index)).map(|(_, value)| value),
        Value::List(items) => index.and_then(|index| items.get_mut(index)),
        Value::Null | Value::Scalar { .. } => None,
    };
    found.ok_or(absent)
}

fn remove(node: &mut Node, index: usize) {
    match &mut node.value {
        Value::Map(entries) => drop(entries.remove(index)),
        Value::List(items) => drop(items.remove(index)),
        Value::Null | Value::Scalar { .. } => {}
    }
}

fn missing(node: &Node, step: &str) -> Missing {
    let known: Vec<&str> = match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, _)| key.value.as_str()).collect(),
        Value::List(items) => items.iter().filter_map(|item| item.name().unwrap_or(item).scalar()).collect(),
        Value::Null | Value::Scalar { .. } => Vec::new(),
    };
    let help = nearest(step, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    let listed = (!known.is_empty() && known.len() <= 8).then(|| format!("there is: {}", known.join(", ")));
    Missing {
        message: format!("`without` leads nowhere: the topology has no `{}` there", clip(step)),
        help: help.or(listed),
    }
}

impl Node {
    fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}
