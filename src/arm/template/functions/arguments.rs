//! The arguments of a function, asked for by kind: a wrong one is a fault that names the function and the argument.
//!
//! Templates write numbers and booleans as texts; those are taken.

use crate::arm::{Key, Node, Place, Value};

use super::super::machine::{Fault, Outcome, fault};

/// A call whose arguments are evaluated.
pub(in crate::arm::template) struct Arguments<'a> {
    pub(in crate::arm::template) name: &'a str,
    pub(in crate::arm::template) at: &'a Place,
    pub(in crate::arm::template) values: &'a [Node],
}

impl<'a> Arguments<'a> {
    /// As many arguments as the function takes.
    pub(in crate::arm::template) fn count(&self, least: usize, most: usize) -> Outcome<()> {
        let given = self.values.len();
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let takes = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        let arguments = if most == 1 || (least, most) == (1, usize::MAX) { "argument" } else { "arguments" };
        let are = if given == 1 { "is" } else { "are" };
        Err(fault(format!("`{}` takes {takes} {arguments}, and {given} {are} given", self.name)))
    }

    pub(in crate::arm::template) fn get(&self, at: usize) -> Outcome<&'a Node> {
        self.values.get(at).ok_or_else(|| fault(format!("`{}` needs an argument {}", self.name, at + 1)))
    }

    fn wrong(&self, at: usize, expected: &str) -> Fault {
        let found = self.values.get(at).map_or("nothing", kind);
        fault(format!("Argument {} of `{}` must be {expected}, and it is {found}", at + 1, self.name))
    }

    pub(in crate::arm::template) fn text(&self, at: usize) -> Outcome<&'a str> {
        self.get(at)?.text().ok_or_else(|| self.wrong(at, "a text"))
    }

    /// A text, or a number or boolean as one.
    pub(in crate::arm::template) fn plain(&self, at: usize) -> Outcome<String> {
        plain(self.get(at)?).ok_or_else(|| self.wrong(at, "a text, a number or a boolean"))
    }

    pub(in crate::arm::template) fn integer(&self, at: usize) -> Outcome<i64> {
        integer(self.get(at)?).ok_or_else(|| self.wrong(at, "a whole number"))
    }

    /// A count or position in a text or list.
    pub(in crate::arm::template) fn size(&self, at: usize) -> Outcome<usize> {
        usize::try_from(self.integer(at)?).map_err(|_| self.wrong(at, "a whole number from 0 on"))
    }

    pub(in crate::arm::template) fn boolean(&self, at: usize) -> Outcome<bool> {
        boolean(self.get(at)?).ok_or_else(|| self.wrong(at, "true or false"))
    }

    pub(in crate::arm::template) fn list(&self, at: usize) -> Outcome<&'a [Node]> {
        match &self.get(at)?.value {
            Value::List(items) => Ok(items),
            _ => Err(self.wrong(at, "a list")),
        }
    }

    pub(in crate::arm::template) fn object(&self, at: usize) -> Outcome<&'a [(Key, Node)]> {
        match &self.get(at)?.value {
            Value::Object(entries) => Ok(entries),
            _ => Err(self.wrong(at, "an object")),
        }
    }

    /// A value at the place of the call.
    pub(in crate::arm::template) fn node(&self, value: Value) -> Node {
        Node { at: self.at.clone(), value }
    }
}

/// What a value is, for people.
pub(in crate::arm::template) fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(in crate::arm::template) fn plain(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
        Value::Null => Some(String::new()),
        _ => None,
    }
}

pub(in crate::arm::template) fn integer(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            Some(float as i64)
        }),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(in crate::arm::template) fn boolean(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The same value, wherever it stands. Keys have no case and no order; texts have case.
pub(in crate::arm::template) fn equal(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len()
                && ones.iter().all(|(key, node)| other.get(&key.text).is_some_and(|other| equal(node, other)))
        }
        (Value::List(ones), Value::List(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| equal(one, other))
        }
        (Value::Number(number), Value::Number(other)) => number.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}
