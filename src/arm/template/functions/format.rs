//! Composite formats: `format('web{0:D2}', 7)`.

use crate::arm::{Node, Value};

use super::super::machine::{LONGEST_TEXT, Outcome, fault};
use super::arguments::{Arguments, integer};
use super::text::written;

pub(super) fn format(given: &Arguments<'_>) -> Outcome<String> {
    given.count(1, usize::MAX)?;
    let mut rest = given.text(0)?;
    let mut made = String::new();
    while let Some(at) = rest.find(['{', '}']) {
        made.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            made.push_str(brace);
            rest = after;
        } else if brace == "{" {
            let (hole, after) = rest.split_once('}').ok_or_else(|| fault("`format` has a `{` without `}`"))?;
            made.push_str(&filled(given, hole)?);
            rest = after;
        } else {
            return Err(fault("`format` has a `}` without `{`"));
        }
        if made.len() > LONGEST_TEXT {
            return Err(fault(format!("The text that it makes is longer than {LONGEST_TEXT} bytes")));
        }
    }
    Ok(made + rest)
}

/// `index[,width][:form]`
fn filled(given: &Arguments<'_>, hole: &str) -> Outcome<String> {
    let (place, form) = hole.split_once(':').unwrap_or((hole, ""));
    let (index, width) = place.split_once(',').unwrap_or((place, "0"));
    let index: usize =
        index.trim().parse().map_err(|_| fault(format!("`{{{hole}}}` of `format` does not name an argument")))?;
    let node = given.values.get(index.saturating_add(1));
    let node = node.ok_or_else(|| fault(format!("`format` has no argument for `{{{hole}}}`")))?;
    let width: i32 = width.trim().parse().unwrap_or(0);
    let text = formed(node, form);
    let padding = (width.unsigned_abs() as usize).min(LONGEST_TEXT).saturating_sub(text.chars().count());
    let padding = " ".repeat(padding);
    Ok(if width < 0 { text + &padding } else { padding + &text })
}

fn formed(node: &Node, form: &str) -> String {
    let (Some(number), Value::Number(_)) = (integer(node), &node.value) else { return written(node) };
    let (kind, digits) = form.split_at(form.chars().next().map_or(0, char::len_utf8));
    let digits = digits.parse::<usize>().unwrap_or(0).min(100);
    let sign = if number < 0 { "-" } else { "" };
    match kind {
        "D" | "d" => format!("{sign}{:0digits$}", number.unsigned_abs()),
        "X" => format!("{number:0digits$X}"),
        "x" => format!("{number:0digits$x}"),
        "0" if form.bytes().all(|byte| byte == b'0') => {
            format!("{sign}{:0width$}", number.unsigned_abs(), width = form.len().min(100))
        }
        _ => number.to_string(),
    }
}
