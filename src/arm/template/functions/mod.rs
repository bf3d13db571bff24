//! The functions that need nothing but their arguments.
//!
//! Those that look at the deployment (`parameters`, `reference`, `resourceId`) are not here. Names have no case.

mod arguments;
mod cidr;
mod date;
mod encoding;
mod format;
mod list;
mod logic;
mod text;

use crate::arm::{Node, Value};

use super::machine::{Machine, Outcome};

pub(super) use arguments::{Arguments, boolean, equal, integer, kind, plain};
pub(super) use date::{NOW, shown as shown_date};
pub(super) use text::written;

/// The value of a call, or nothing if there is no such function.
pub(super) fn call(machine: &Machine<'_>, name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    if let Err(fault) = machine.charge(effort(name, given.values)) {
        return Some(Err(fault));
    }
    let made = text::call(name, given)
        .or_else(|| list::call(name, given))
        .or_else(|| logic::call(name, given))
        .or_else(|| cidr::call(name, given))
        .or_else(|| date::call(name, given))?;
    Some(made.and_then(|value| {
        let node = given.node(value);
        machine.keep(&node)?;
        Ok(node.value)
    }))
}

/// What a call costs beyond its result. Comparing the parts of two values with each other takes their product.
fn effort(name: &str, values: &[Node]) -> usize {
    let widest = |nodes: &[Node]| nodes.iter().map(parts).max().unwrap_or(0);
    let items = || values.iter().map(|node| widest(node.items())).max().unwrap_or(0);
    let compared = match name {
        "union" | "intersection" | "equals" | "shallowmerge" => widest(values).max(items()),
        // One value with each item of a list.
        "contains" | "indexof" | "lastindexof" => values.get(1).map_or(0, parts).max(items()),
        _ => 0,
    };
    let sizes: usize = values.iter().map(size).sum();
    let texts: usize = values.iter().filter_map(Node::text).map(|text| text.len() / 64).sum();
    texts + sizes.saturating_mul(compared) / 64
}

/// How many items or entries it has.
fn parts(node: &Node) -> usize {
    node.items().len() + node.entries().len()
}

fn size(node: &Node) -> usize {
    let inner = node.items().iter().map(size).sum::<usize>();
    1 + inner + node.entries().iter().map(|(_, node)| size(node)).sum::<usize>()
}
