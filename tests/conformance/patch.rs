//! Changes of a topology: a mapping is merged, anything else replaces, null removes.
//!
//! One idea on top of that: a mapping over a list speaks of its elements by their names, or by number where they have
//! none. A new name appends.

use serde_json::{Map, Value};

/// Merges a patch into what it is about.
pub(crate) fn merge(into: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return Ok(());
    };
    match into {
        Value::Array(list) => changes.iter().try_for_each(|(name, change)| merge_element(list, name, change)),
        Value::Object(members) => changes.iter().try_for_each(|(key, change)| merge_member(members, key, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            *into = patch.clone();
            Ok(())
        }
    }
}

fn merge_member(members: &mut Map<String, Value>, key: &str, change: &Value) -> Result<(), String> {
    match (members.get_mut(key), change) {
        (None, Value::Null) => Err(format!("there is no `{key}` to remove")),
        (Some(_), Value::Null) => {
            members.remove(key);
            Ok(())
        }
        (Some(member), _) => merge(member, change),
        (None, _) => {
            members.insert(key.to_owned(), change.clone());
            Ok(())
        }
    }
}

fn merge_element(list: &mut Vec<Value>, name: &str, change: &Value) -> Result<(), String> {
    let named = list.iter().position(|element| element.get("name").is_some_and(|found| found == name));
    let at = named.or_else(|| name.parse().ok().filter(|&index| index < list.len()));
    match (at, change) {
        (Some(at), Value::Null) => {
            list.remove(at);
            Ok(())
        }
        (Some(at), _) => merge(&mut list[at], change),
        (None, Value::Object(members)) => {
            let mut element = members.clone();
            element.insert("name".to_owned(), name.into());
            list.push(Value::Object(element));
            Ok(())
        }
        (None, _) => Err(format!("the list has no element `{name}`")),
    }
}
