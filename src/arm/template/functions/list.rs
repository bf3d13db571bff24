//! Functions on lists and objects; some take texts too.

use crate::arm::{Key, Node, Value};

use super::super::machine::{Outcome, fault};
use super::arguments::{Arguments, equal, integer, kind, plain};
use super::text::concatenated;

/// Azure's own limit for `range`.
const LONGEST_RANGE: usize = 10_000;

pub(super) fn call(name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    Some(match name {
        "concat" => concat(given),
        "array" => given.count(1, 1).and_then(|()| {
            let node = given.get(0)?;
            Ok(if let Value::List(_) = node.value { node.value.clone() } else { Value::List(vec![node.clone()]) })
        }),
        "createarray" => Ok(Value::List(given.values.to_vec())),
        "createobject" => object(given),
        "length" => given.count(1, 1).and_then(|()| length(given)),
        "empty" => given.count(1, 1).and_then(|()| {
            Ok(Value::Bool(
                matches!(given.get(0)?.value, Value::Null)
                    || matches!(length(given)?, Value::Number(it) if it.as_i64() == Some(0)),
            ))
        }),
        "contains" => given.count(2, 2).and_then(|()| contains(given)),
        "first" => end(given, <[Node]>::first, |text| text.chars().next()),
        "last" => end(given, <[Node]>::last, |text| text.chars().next_back()),
        "take" => part(given, true),
        "skip" => part(given, false),
        "range" => range(given),
        "union" => union(given),
        "intersection" => intersection(given),
        "indexof" | "lastindexof" => position(given),
        "flatten" => given.count(1, 1).and_then(|()| {
            let items = given
                .list(0)?
                .iter()
                .flat_map(|item| if let Value::List(items) = &item.value { items.clone() } else { vec![item.clone()] });
            Ok(Value::List(items.collect()))
        }),
        "items" => items(given),
        "objectkeys" => given.count(1, 1).and_then(|()| {
            let keys = given
                .object(0)?
                .iter()
                .map(|(key, _)| Node { at: key.at.clone(), value: Value::Text(key.text.clone()) });
            Ok(Value::List(keys.collect()))
        }),
        "shallowmerge" => given.count(1, 1).and_then(|()| {
            let mut merged = Vec::new();
            given.list(0)?.iter().for_each(|item| merge(&mut merged, item.entries(), false));
            Ok(Value::Object(merged))
        }),
        "tryget" => given.count(2, usize::MAX).and_then(|()| try_get(given)),
        "indexfromend" | "tryindexfromend" => given.count(2, 2).and_then(|()| {
            let (items, back) = (given.list(0)?, given.size(1)?);
            let node = items.len().checked_sub(back).and_then(|at| items.get(at));
            match node {
                Some(node) => Ok(node.value.clone()),
                None if name == "tryindexfromend" => Ok(Value::Null),
                None => Err(fault(format!("The list has no item {back} from its end"))),
            }
        }),
        "coalesce" => {
            let found = given.values.iter().find(|node| node.value != Value::Null);
            Ok(found.map_or(Value::Null, |node| node.value.clone()))
        }
        "join" => given.count(2, 2).and_then(|()| {
            let parts: Vec<_> = given.list(0)?.iter().filter_map(plain).collect();
            Ok(Value::Text(parts.join(given.text(1)?)))
        }),
        _ => return None,
    })
}

fn concat(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(1, usize::MAX)?;
    let Value::List(_) = given.get(0)?.value else { return concatenated(given) };
    let mut whole = Vec::new();
    for at in 0..given.values.len() {
        whole.extend_from_slice(given.list(at)?);
    }
    Ok(Value::List(whole))
}

fn object(given: &Arguments<'_>) -> Outcome<Value> {
    let mut entries = Vec::new();
    for (at, pair) in given.values.chunks(2).enumerate() {
        let [_, value] = pair else { return Err(fault("`createObject` has a key without a value")) };
        entries.push((Key::new(given.at, given.plain(at * 2)?), value.clone()));
    }
    Ok(Value::Object(entries))
}

fn length(given: &Arguments<'_>) -> Outcome<Value> {
    let node = given.get(0)?;
    let length = match &node.value {
        Value::List(items) => items.len(),
        Value::Object(entries) => entries.len(),
        Value::Text(text) => text.chars().count(),
        _ => {
            return Err(fault(format!(
                "`{}` takes a text, a list or an object, and this is {}",
                given.name,
                kind(node)
            )));
        }
    };
    Ok(Value::Number(length.into()))
}

fn contains(given: &Arguments<'_>) -> Outcome<Value> {
    let (container, item) = (given.get(0)?, given.get(1)?);
    Ok(Value::Bool(match &container.value {
        Value::List(items) => items.iter().any(|one| equal(one, item)),
        Value::Object(_) => container.get(&given.plain(1)?).is_some(),
        Value::Text(text) => text.contains(&given.plain(1)?),
        _ => {
            return Err(fault(format!(
                "`contains` takes a text, a list or an object, and this is {}",
                kind(container)
            )));
        }
    }))
}

fn end(given: &Arguments<'_>, item: fn(&[Node]) -> Option<&Node>, letter: fn(&str) -> Option<char>) -> Outcome<Value> {
    given.count(1, 1)?;
    match &given.get(0)?.value {
        Value::List(items) => Ok(item(items).map_or(Value::Null, |node| node.value.clone())),
        _ => Ok(Value::Text(letter(&given.plain(0)?).map(String::from).unwrap_or_default())),
    }
}

/// `take` and `skip`. A number below 0 is 0.
fn part(given: &Arguments<'_>, take: bool) -> Outcome<Value> {
    given.count(2, 2)?;
    let count = usize::try_from(given.integer(1)?).unwrap_or(0);
    Ok(match (&given.get(0)?.value, take) {
        (Value::List(items), true) => Value::List(items.iter().take(count).cloned().collect()),
        (Value::List(items), false) => Value::List(items.iter().skip(count).cloned().collect()),
        (_, true) => Value::Text(given.plain(0)?.chars().take(count).collect()),
        (_, false) => Value::Text(given.plain(0)?.chars().skip(count).collect()),
    })
}

fn range(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 2)?;
    let (start, count) = (given.integer(0)?, given.size(1)?);
    if count > LONGEST_RANGE {
        return Err(fault(format!("`range` makes at most {LONGEST_RANGE} numbers, and {count} are asked for")));
    }
    let numbers = (start..).take(count).map(|number| given.node(Value::Number(number.into())));
    Ok(Value::List(numbers.collect()))
}

/// Objects are merged into each other, the later wins; of lists every value stays once.
fn union(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(1, usize::MAX)?;
    if let Value::Object(_) = given.get(0)?.value {
        let mut merged = Vec::new();
        for at in 0..given.values.len() {
            merge(&mut merged, given.object(at)?, true);
        }
        return Ok(Value::Object(merged));
    }
    let mut whole: Vec<Node> = Vec::new();
    for at in 0..given.values.len() {
        for item in given.list(at)? {
            if whole.len() > LONGEST_RANGE {
                return Err(fault(format!("`union` makes a list of more than {LONGEST_RANGE} items")));
            }
            if !whole.iter().any(|one| equal(one, item)) {
                whole.push(item.clone());
            }
        }
    }
    Ok(Value::List(whole))
}

fn merge(into: &mut Vec<(Key, Node)>, from: &[(Key, Node)], deep: bool) {
    for (key, node) in from {
        let known = into.iter_mut().find(|(known, _)| known.text.eq_ignore_ascii_case(&key.text));
        match known {
            None => into.push((key.clone(), node.clone())),
            Some((_, old)) => match (&mut old.value, &node.value) {
                (Value::Object(old), Value::Object(new)) if deep => merge(old, new, deep),
                _ => *old = node.clone(),
            },
        }
    }
}

fn intersection(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, usize::MAX)?;
    let others = &given.values[1..];
    Ok(match &given.get(0)?.value {
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .filter(|(key, node)| others.iter().all(|other| other.get(&key.text).is_some_and(|it| equal(it, node))))
                .cloned()
                .collect(),
        ),
        _ => Value::List(
            given
                .list(0)?
                .iter()
                .filter(|item| others.iter().all(|other| other.items().iter().any(|it| equal(it, item))))
                .cloned()
                .collect(),
        ),
    })
}

fn position(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 2)?;
    let (items, wanted) = (given.list(0)?, given.get(1)?);
    let at = match given.name.to_ascii_lowercase().as_str() {
        "indexof" => items.iter().position(|item| equal(item, wanted)),
        _ => items.iter().rposition(|item| equal(item, wanted)),
    };
    Ok(index(at))
}

/// A position, or -1.
pub(super) fn index(at: Option<usize>) -> Value {
    Value::Number(at.map_or_else(|| (-1).into(), Into::into))
}

/// An object as a list of `{key, value}`, by key.
fn items(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(1, 1)?;
    let mut entries: Vec<_> = given.object(0)?.iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.text.cmp(&other.text));
    let pair = |(key, node): &(Key, Node)| {
        let name = Node { at: key.at.clone(), value: Value::Text(key.text.clone()) };
        given.node(Value::Object(vec![(Key::new(&key.at, "key"), name), (Key::new(&node.at, "value"), node.clone())]))
    };
    Ok(Value::List(entries.into_iter().map(pair).collect()))
}

fn try_get(given: &Arguments<'_>) -> Outcome<Value> {
    let mut node = given.get(0)?;
    for at in 1..given.values.len() {
        let step = given.get(at)?;
        let part = match &node.value {
            Value::List(items) => integer(step).and_then(|at| usize::try_from(at).ok()).and_then(|at| items.get(at)),
            _ => plain(step).and_then(|name| node.get(&name)),
        };
        let Some(part) = part else { return Ok(Value::Null) };
        node = part;
    }
    Ok(node.value.clone())
}
