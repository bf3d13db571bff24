//! From Terraform's names and blocks to ARM's object, by a table of rules.

use crate::arm::{Key, Node, Place, Value};

/// How a value is written in ARM.
#[derive(Clone, Copy)]
pub(super) enum As {
    Same,
    /// A number or boolean the other way round.
    Not,
    /// `true` and `false` as words.
    Words(&'static str, &'static str),
    /// An ID as `{"id": …}`, and a list of IDs.
    Id,
    Ids,
    /// A text as a list of one.
    Listed,
    /// Each text as an object with this key.
    Keyed(&'static str),
    /// Blocks: the only one, or a list.
    One(&'static [Rule]),
    Each(&'static [Rule]),
}

/// An attribute of Terraform, its place in ARM's object, and how it is written there.
pub(super) type Rule = (&'static str, &'static str, As);

/// The object that the rules make of the values. What is null or empty is not set.
pub(super) fn shaped(values: &Node, rules: &[Rule]) -> Node {
    let mut object = Node { at: values.at.clone(), value: Value::Object(Vec::new()) };
    for (from, to, how) in rules {
        let Some(node) = values.get(from).filter(|node| !is_empty(node)) else { continue };
        if let Some(written) = written(node, *how) {
            set(&mut object, to, written);
        }
    }
    object
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

fn written(node: &Node, how: As) -> Option<Node> {
    let of = |value: Value| Some(Node { at: node.at.clone(), value });
    match how {
        As::Same => Some(node.clone()),
        As::Not => truth(node).and_then(|value| of(Value::Bool(!value))),
        As::Words(yes, no) => truth(node).and_then(|value| of(Value::Text(if value { yes } else { no }.to_owned()))),
        As::Id => Some(keyed(node, "id")),
        As::Ids => {
            of(Value::List(node.items().iter().filter(|item| !is_empty(item)).map(|item| keyed(item, "id")).collect()))
        }
        As::Listed => of(Value::List(vec![node.clone()])),
        As::Keyed(key) => of(Value::List(node.items().iter().map(|item| keyed(item, key)).collect())),
        As::One(rules) => match &node.value {
            Value::List(items) => items.first().map(|item| shaped(item, rules)),
            _ => Some(shaped(node, rules)),
        },
        As::Each(rules) => of(Value::List(node.items().iter().map(|item| shaped(item, rules)).collect())),
    }
}

fn truth(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// `{key: value}`
pub(super) fn keyed(node: &Node, key: &str) -> Node {
    Node { at: node.at.clone(), value: Value::Object(vec![(Key::new(&node.at, key), node.clone())]) }
}

pub(super) fn text(at: &Place, text: impl Into<String>) -> Node {
    Node { at: at.clone(), value: Value::Text(text.into()) }
}

/// Puts a value at `properties.dhcpOptions.dnsServers`; an object there is extended.
pub(super) fn set(object: &mut Node, path: &str, value: Node) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let at = value.at.clone();
    let part = part(object, first, &at);
    match (rest, &mut part.value, value.value) {
        (Some(rest), _, value) => set(part, rest, Node { at, value }),
        (None, Value::Object(old), Value::Object(new)) => {
            for (key, node) in new {
                old.retain(|(known, _)| known.text != key.text);
                old.push((key, node));
            }
        }
        (None, _, value) => *part = Node { at, value },
    }
}

/// Adds to a list, which may not be there yet.
pub(super) fn append(object: &mut Node, path: &str, value: Node) {
    let at = value.at.clone();
    let mut place = object;
    for key in path.split('.') {
        place = part(place, key, &at);
    }
    match &mut place.value {
        Value::List(items) if items.contains(&value) => {}
        Value::List(items) => items.push(value),
        other => *other = Value::List(vec![value]),
    }
}

/// The value of a key in any case; an empty object if there was none.
fn part<'n>(object: &'n mut Node, key: &str, at: &Place) -> &'n mut Node {
    if !matches!(object.value, Value::Object(_)) {
        object.value = Value::Object(Vec::new());
    }
    let Value::Object(entries) = &mut object.value else { unreachable!("it was made an object above") };
    let known = entries.iter().position(|(known, _)| known.text.eq_ignore_ascii_case(key));
    let place = known.unwrap_or_else(|| {
        entries.push((Key::new(at, key), Node { at: at.clone(), value: Value::Object(Vec::new()) }));
        entries.len() - 1
    });
    &mut entries[place].1
}
