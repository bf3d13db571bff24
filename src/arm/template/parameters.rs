//! Values for parameters: parameter files, the form that a declaration asks for, and names that are not declared.

use crate::arm::{Key, Mistake, Node, Value, json};

use super::functions::{boolean, equal, integer, plain};

/// The names and values of a parameter file, or nothing if the document is not one.
pub fn parameters_of(document: &Node) -> Option<Vec<(String, Node)>> {
    let schema = document.get("$schema").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    let Some(parameters) = document.get("parameters") else {
        // `az` takes the parameters alone, too.
        let is_one = |node: &Node| ["value", "reference"].iter().any(|key| node.get(key).is_some());
        let is_bare = document.entries().iter().all(|(_, node)| is_one(node)) && !document.entries().is_empty();
        return is_bare.then(|| values(document));
    };
    if !schema.contains("deploymentparameters.json")
        && (document.get("resources").is_some() || parameters.entries().is_empty())
    {
        return None;
    }
    Some(values(parameters))
}

/// Of `{"name": {"value": …}}`. A reference to a vault has no value, so that one is made up later.
pub(super) fn values(parameters: &Node) -> Vec<(String, Node)> {
    let value = |(key, node): &(Key, Node)| node.get("value").map(|value| (key.text.clone(), value.clone()));
    parameters.entries().iter().filter_map(value).collect()
}

/// Placeholders in parameter files of published templates: a value is generated for them at deployment.
const TO_BE_GENERATED: [&str; 4] = ["GEN-UNIQUE", "GEN-PASSWORD", "GEN-SSH-PUB-KEY", "GEN-GUID"];

/// How many declarations may refer to each other.
const MOST_DEFINITIONS: usize = 8;

/// The length of what `uniqueString` makes, too.
const UNIQUE: usize = 13;

/// Whether it is a secret, whose value may come from a vault.
pub(super) fn is_secret(declared: &Node) -> bool {
    let kind = declared.get("type").and_then(Node::text).unwrap_or_default();
    kind.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("secure"))
}

/// A default that is no expression, which is checked whether it is used or not.
pub(super) fn literal_default(declared: &Node) -> Option<&Node> {
    let is_literal = |node: &&Node| match &node.value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::Text(text) => !text.starts_with('['),
        Value::Null | Value::List(_) | Value::Object(_) => false,
    };
    declared.get("defaultValue").filter(is_literal).filter(|_| !is_secret(declared))
}

/// The value in the declared form; None for an unknown value.
pub(super) fn fitted(key: &Key, declared: &Node, value: &Node) -> Result<Option<Node>, Mistake> {
    if value.value == Value::Null {
        return Ok(is_nullable(declared).then(|| value.clone()));
    }
    if value.text().is_some_and(|text| TO_BE_GENERATED.iter().any(|known| text.starts_with(known))) {
        return Ok(generated(key, value));
    }
    let value = coerced(declared, value.clone());
    let kind = declared.get("type").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    let fits = match kind.as_str() {
        "int" => matches!(value.value, Value::Number(_)),
        "bool" => matches!(value.value, Value::Bool(_)),
        "string" | "securestring" => matches!(value.value, Value::Text(_)),
        "array" => matches!(value.value, Value::List(_)),
        "object" | "secureobject" => matches!(value.value, Value::Object(_)),
        _ => true,
    };
    if !fits {
        let message = format!("The value of the parameter `{}` is not of its type, `{kind}`.", key.text);
        return Err(Mistake::new(&value.at, message).expecting(format!("a value of the type `{kind}`")));
    }
    let allowed = declared.get("allowedValues").map(Node::items).unwrap_or_default();
    let known = |one: &Node| {
        equal(one, &value) || one.text().zip(value.text()).is_some_and(|(one, it)| one.eq_ignore_ascii_case(it))
    };
    if !allowed.is_empty() && !matches!(value.value, Value::List(_)) && !allowed.iter().any(known) {
        let allowed: Vec<_> = allowed.iter().take(20).filter_map(plain).collect();
        let shown = plain(&value).unwrap_or_default();
        let message = format!("The parameter `{}` must not be `{shown:.60}`.", key.text);
        return Err(Mistake::new(&value.at, message).expecting(format!("one of {}", allowed.join(", "))));
    }
    within(key, declared, &value)?;
    Ok(Some(value))
}

/// `GEN-UNIQUE-8` says how long the value is to be, and `GEN-UNIQUE` that it is long enough; of the others nothing is
/// known.
fn generated(key: &Key, value: &Node) -> Option<Node> {
    let length: usize = match value.text()?.strip_prefix("GEN-UNIQUE")? {
        "" => UNIQUE,
        length => length.strip_prefix('-')?.parse().ok().filter(|length| *length <= 100)?,
    };
    let text = key.text.chars().chain(std::iter::repeat('x')).take(length).collect();
    Some(Node { at: value.at.clone(), value: Value::Text(text) })
}

/// Checks the bounds of a parameter: of a number its value, else how long the text or the list is.
fn within(key: &Key, declared: &Node, value: &Node) -> Result<(), Mistake> {
    let (size, least, most, what) = match &value.value {
        Value::Number(_) => (integer(value), "minValue", "maxValue", "value"),
        // Azure counts as .NET does.
        Value::Text(text) => (i64::try_from(text.encode_utf16().count()).ok(), "minLength", "maxLength", "length"),
        Value::List(items) => (i64::try_from(items.len()).ok(), "minLength", "maxLength", "length"),
        Value::Null | Value::Bool(_) | Value::Object(_) => return Ok(()),
    };
    let Some(size) = size else { return Ok(()) };
    let bound = |name: &str| declared.get(name).and_then(integer);
    let expected = match (bound(least), bound(most)) {
        (Some(least), _) if size < least => format!("a {what} of at least {least}"),
        (_, Some(most)) if size > most => format!("a {what} of at most {most}"),
        _ => return Ok(()),
    };
    Err(Mistake::new(&value.at, format!("The {what} of the parameter `{}` is {size}.", key.text)).expecting(expected))
}

/// Numbers, booleans, lists and objects may be written as texts, as they are on a command line.
pub(super) fn coerced(declared: &Node, node: Node) -> Node {
    let kind = declared.get("type").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    let value = match (kind.as_str(), &node.value) {
        ("int", Value::Text(_)) => integer(&node).map(|number| Value::Number(number.into())),
        ("bool", Value::Text(_)) => boolean(&node).map(Value::Bool),
        ("string" | "securestring", Value::Number(_) | Value::Bool(_)) => plain(&node).map(Value::Text),
        ("array" | "object" | "secureobject", Value::Text(text)) => {
            json::parse(&node.at.file, text).ok().map(|parsed| parsed.moved(&node.at).value)
        }
        _ => None,
    };
    Node { value: value.unwrap_or(node.value), at: node.at }
}

/// Whether nothing is a value of it, too.
pub(super) fn is_nullable(declared: &Node) -> bool {
    declared.get("nullable").and_then(boolean) == Some(true)
}

/// A parameter's declaration with what the definitions say that it refers to, as Bicep writes its own types.
pub(super) fn whole(template: &Node, declared: &Node) -> Node {
    let mut whole: Vec<(Key, Node)> = Vec::new();
    for (key, node) in definitions(template, declared).flat_map(Node::entries) {
        if whole.iter().all(|(known, _)| !known.text.eq_ignore_ascii_case(&key.text)) {
            whole.push((key.clone(), node.clone()));
        }
    }
    Node { at: declared.at.clone(), value: Value::Object(whole) }
}

/// A declaration, the definition that it refers to, the one that this refers to.
fn definitions<'t>(template: &'t Node, declared: &'t Node) -> impl Iterator<Item = &'t Node> {
    let next = |one: &&'t Node| {
        let name = one.get("$ref")?.text()?.strip_prefix("#/definitions/")?;
        template.get("definitions")?.get(name)
    };
    std::iter::successors(Some(declared), next).take(MOST_DEFINITIONS)
}

/// Whether a parameter has neither a value nor a default.
pub(super) fn lacks_values(given: &[(String, Node)], template: &Node) -> bool {
    let declared = template.get("parameters").map(Node::entries).unwrap_or_default();
    let lacks = |(key, node): &(Key, Node)| {
        node.get("defaultValue").is_none()
            && !definitions(template, node).any(is_nullable)
            && given.iter().all(|(name, _)| !name.eq_ignore_ascii_case(&key.text))
    };
    declared.iter().any(lacks)
}

/// Values for parameters that the template does not have.
pub(super) fn unknown(given: &[(String, Node)], template: &Node) -> Vec<Mistake> {
    let declared = template.get("parameters").map(Node::entries).unwrap_or_default();
    let names: Vec<_> = declared.iter().take(30).map(|(key, _)| key.text.as_str()).collect();
    let unknown = given.iter().filter(|(name, _)| declared.iter().all(|(key, _)| !key.text.eq_ignore_ascii_case(name)));
    let mistake = |(name, value): &(String, Node)| {
        let message = format!("The template {} has no parameter `{name:.80}`.", template.at.file);
        let mistake = Mistake::new(&value.at, message).helped("Leave the parameter out, or correct its name.");
        if names.is_empty() { mistake } else { mistake.expecting(format!("one of {}", names.join(", "))) }
    };
    unknown.map(mistake).collect()
}
