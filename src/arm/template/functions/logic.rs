//! Comparison, logic and arithmetic.

use std::cmp::Ordering;

use crate::arm::{Node, Value};

use super::super::machine::{Outcome, fault};
use super::arguments::{Arguments, boolean, equal, integer, kind, plain};

pub(super) fn call(name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    Some(match name {
        "equals" => two(given, equal),
        "not" => given.count(1, 1).and_then(|()| given.boolean(0)).map(|value| Value::Bool(!value)),
        "xor" => given.count(2, 2).and_then(|()| Ok(Value::Bool(given.boolean(0)? ^ given.boolean(1)?))),
        "less" => compared(given, &[Ordering::Less]),
        "lessorequals" => compared(given, &[Ordering::Less, Ordering::Equal]),
        "greater" => compared(given, &[Ordering::Greater]),
        "greaterorequals" => compared(given, &[Ordering::Greater, Ordering::Equal]),
        "true" => given.count(0, 0).map(|()| Value::Bool(true)),
        "false" => given.count(0, 0).map(|()| Value::Bool(false)),
        "null" => given.count(0, 0).map(|()| Value::Null),
        "fail" => given.count(1, 1).and_then(|()| {
            let said = plain(given.get(0)?).unwrap_or_default();
            Err(fault(format!("The template fails: {said:.400}")))
        }),
        "bool" => given.count(1, 1).and_then(|()| {
            let value = boolean(given.get(0)?);
            value.map(Value::Bool).ok_or_else(|| fault("Argument 1 of `bool` is neither true nor false"))
        }),
        "int" => given.count(1, 1).and_then(|()| truncated(given)),
        "float" => given.count(1, 1).and_then(|()| float(given)),
        "add" => arithmetic(given, i64::checked_add),
        "sub" => arithmetic(given, i64::checked_sub),
        "mul" => arithmetic(given, i64::checked_mul),
        "div" => arithmetic(given, i64::checked_div),
        "mod" => arithmetic(given, i64::checked_rem),
        "min" => extreme(given, i64::min),
        "max" => extreme(given, i64::max),
        _ => return None,
    })
}

fn two(given: &Arguments<'_>, holds: impl Fn(&Node, &Node) -> bool) -> Outcome<Value> {
    given.count(2, 2)?;
    Ok(Value::Bool(holds(given.get(0)?, given.get(1)?)))
}

/// Numbers by size, texts by their characters.
fn compared(given: &Arguments<'_>, wanted: &[Ordering]) -> Outcome<Value> {
    given.count(2, 2)?;
    let (one, other) = (given.get(0)?, given.get(1)?);
    let ordering = match (&one.value, &other.value) {
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) if !(one.is_i64() && other.is_i64()) => {
            one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal)
        }
        _ => given.integer(0)?.cmp(&given.integer(1)?),
    };
    Ok(Value::Bool(wanted.contains(&ordering)))
}

fn truncated(given: &Arguments<'_>) -> Outcome<Value> {
    let node = given.get(0)?;
    if let Some(number) = integer(node) {
        return Ok(Value::Number(number.into()));
    }
    let float = plain(node).and_then(|text| text.trim().parse::<f64>().ok()).filter(|float| float.abs() < 9e15);
    let float = float.ok_or_else(|| fault(format!("Argument 1 of `int` is {} that is no number", kind(node))))?;
    Ok(Value::Number((float as i64).into()))
}

fn float(given: &Arguments<'_>) -> Outcome<Value> {
    let number = plain(given.get(0)?).and_then(|text| text.trim().parse().ok()).and_then(serde_json::Number::from_f64);
    number.map(Value::Number).ok_or_else(|| fault("Argument 1 of `float` is no number"))
}

fn arithmetic(given: &Arguments<'_>, apply: fn(i64, i64) -> Option<i64>) -> Outcome<Value> {
    given.count(2, 2)?;
    let (one, other) = (given.integer(0)?, given.integer(1)?);
    let result = apply(one, other)
        .ok_or_else(|| fault(format!("`{}` of {one} and {other} is no number of 64 bits", given.name)))?;
    Ok(Value::Number(result.into()))
}

fn extreme(given: &Arguments<'_>, pick: fn(i64, i64) -> i64) -> Outcome<Value> {
    given.count(1, usize::MAX)?;
    let listed = match &given.get(0)?.value {
        Value::List(items) if given.values.len() == 1 => items.as_slice(),
        _ => given.values,
    };
    let inner = Arguments { values: listed, ..*given };
    let mut best = inner.integer(0)?;
    for at in 1..listed.len() {
        best = pick(best, inner.integer(at)?);
    }
    Ok(Value::Number(best.into()))
}
