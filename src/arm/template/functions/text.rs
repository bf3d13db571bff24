//! Functions on texts.

use crate::arm::{Node, Value, json};

use super::super::machine::{LONGEST_TEXT, Outcome, fault};
use super::super::unique;
use super::arguments::{Arguments, plain};
use super::{encoding, format};

pub(super) fn call(name: &str, given: &Arguments<'_>) -> Option<Outcome<Value>> {
    let text = |made: String| Ok(Value::Text(made));
    Some(match name {
        "tolower" => one(given).and_then(|it| text(it.to_lowercase())),
        "toupper" => one(given).and_then(|it| text(it.to_uppercase())),
        "trim" => one(given).and_then(|it| text(it.trim().to_owned())),
        "string" => given.count(1, 1).and_then(|()| text(written(given.get(0)?))),
        "replace" => replaced(given),
        "split" => split(given),
        "substring" => substring(given),
        "padleft" => padded(given),
        "startswith" => found(given, |text, part| text.starts_with(part)),
        "endswith" => found(given, |text, part| text.ends_with(part)),
        "indexof" if given.values.first().is_some_and(|it| it.text().is_some()) => {
            position(given, |it, part| it.find(part))
        }
        "lastindexof" if given.values.first().is_some_and(|it| it.text().is_some()) => {
            position(given, |it, part| it.rfind(part))
        }
        "format" => format::format(given).and_then(text),
        "json" => parsed(given),
        "uniquestring" => joined(given).and_then(|it| text(unique::unique(&it))),
        "guid" => joined(given).and_then(|it| text(unique::guid(&it))),
        "uri" => given.count(2, 2).and_then(|()| text(encoding::join(given.text(0)?, given.text(1)?))),
        "uricomponent" => one(given).and_then(|it| text(encoding::percent(&it))),
        "uricomponenttostring" => one(given).and_then(|it| text(encoding::from_percent(&it))),
        "base64" => one(given).and_then(|it| text(encoding::base64(it.as_bytes()))),
        "base64tostring" => one(given).and_then(|it| encoding::from_base64(&it)).and_then(text),
        "base64tojson" => one(given).and_then(|it| encoding::from_base64(&it)).and_then(|it| read(given, &it)),
        "datauri" => one(given)
            .and_then(|it| text(format!("data:text/plain;charset=utf8;base64,{}", encoding::base64(it.as_bytes())))),
        "datauritostring" => one(given).and_then(|it| {
            let data = it.rsplit_once(',').map_or(it.as_str(), |(_, data)| data);
            if it.contains(";base64") {
                encoding::from_base64(data).and_then(text)
            } else {
                text(encoding::from_percent(data))
            }
        }),
        _ => return None,
    })
}

fn one(given: &Arguments<'_>) -> Outcome<String> {
    given.count(1, 1)?;
    given.plain(0)
}

/// A value as the function `string` writes it.
pub(in crate::arm::template) fn written(node: &Node) -> String {
    plain(node).unwrap_or_else(|| node.to_json().to_string())
}

/// Texts that are made must not be too long.
fn bounded(length: usize) -> Outcome<()> {
    if length > LONGEST_TEXT {
        return Err(fault(format!("The text that it makes is longer than {LONGEST_TEXT} bytes")));
    }
    Ok(())
}

/// Seeds of a hash.
fn joined(given: &Arguments<'_>) -> Outcome<String> {
    given.count(1, usize::MAX)?;
    let parts: Vec<_> = (0..given.values.len()).map(|at| given.plain(at)).collect::<Outcome<_>>()?;
    Ok(parts.join("-"))
}

/// Texts one after the other.
pub(super) fn concatenated(given: &Arguments<'_>) -> Outcome<Value> {
    let mut whole = String::new();
    for at in 0..given.values.len() {
        whole.push_str(&given.plain(at)?);
        bounded(whole.len())?;
    }
    Ok(Value::Text(whole))
}

fn replaced(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(3, 3)?;
    let (text, old, new) = (given.plain(0)?, given.plain(1)?, given.plain(2)?);
    if old.is_empty() {
        return Err(fault("Argument 2 of `replace` must not be empty"));
    }
    bounded(text.len() + (text.len() / old.len()).saturating_mul(new.len()))?;
    Ok(Value::Text(text.replace(&old, &new)))
}

fn split(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 2)?;
    let text = given.plain(0)?;
    let delimiters: Vec<String> = match &given.get(1)?.value {
        Value::List(items) => items.iter().filter_map(plain).collect(),
        _ => vec![given.plain(1)?],
    };
    let mut parts = vec![text];
    for delimiter in delimiters.iter().filter(|delimiter| !delimiter.is_empty()) {
        parts = parts.iter().flat_map(|part| part.split(delimiter.as_str()).map(str::to_owned)).collect();
    }
    Ok(Value::List(parts.into_iter().map(|part| given.node(Value::Text(part))).collect()))
}

fn substring(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 3)?;
    let text = given.plain(0)?;
    let length = text.chars().count();
    let start = given.size(1)?;
    let taken = if given.values.len() == 3 { given.size(2)? } else { length.saturating_sub(start) };
    if start > length || taken > length - start {
        return Err(fault(format!(
            "`substring` asks for {taken} characters from {start} on, and the text has {length}"
        )));
    }
    Ok(Value::Text(text.chars().skip(start).take(taken).collect()))
}

fn padded(given: &Arguments<'_>) -> Outcome<Value> {
    given.count(2, 3)?;
    let (text, width) = (given.plain(0)?, given.size(1)?);
    let filler = if given.values.len() == 3 { given.plain(2)? } else { " ".to_owned() };
    bounded(width.saturating_mul(4))?;
    let fill = filler.chars().next().unwrap_or(' ');
    let missing = width.saturating_sub(text.chars().count());
    Ok(Value::Text(std::iter::repeat_n(fill, missing).chain(text.chars()).collect()))
}

/// These comparisons ignore case.
fn found(given: &Arguments<'_>, holds: fn(&str, &str) -> bool) -> Outcome<Value> {
    given.count(2, 2)?;
    Ok(Value::Bool(holds(&given.plain(0)?.to_lowercase(), &given.plain(1)?.to_lowercase())))
}

fn position(given: &Arguments<'_>, find: fn(&str, &str) -> Option<usize>) -> Outcome<Value> {
    given.count(2, 2)?;
    let (text, part) = (given.plain(0)?.to_lowercase(), given.plain(1)?.to_lowercase());
    let at = find(&text, &part).map(|byte| text[..byte].chars().count());
    Ok(super::list::index(at))
}

fn parsed(given: &Arguments<'_>) -> Outcome<Value> {
    let text = one(given)?;
    read(given, &text)
}

fn read(given: &Arguments<'_>, text: &str) -> Outcome<Value> {
    let node = json::parse(&given.at.file, text).map_err(|mistake| {
        fault(format!("The text of `{}` is no JSON: {}", given.name, mistake.message.trim_end_matches('.')))
    })?;
    Ok(node.moved(given.at).value)
}
