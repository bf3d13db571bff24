//! Values for what only Azure or the user knows, so that a template loads without them. Each is noted.

use std::rc::Rc;

use crate::arm::{Node, Place, Value};

use super::functions::{integer, written};
use super::machine::Machine;
use super::unique;

/// What the names of address ranges have in them.
const RANGES: &[&str] = &[
    "addressprefix",
    "subnetprefix",
    "vnetprefix",
    "networkprefix",
    "cidr",
    "addressspace",
    "addressrange",
    "iprange",
];

/// A value for a parameter without one: an allowed one, or one that its type and its name suggest.
pub(super) fn parameter(machine: &Machine<'_>, name: &str, declared: &Node) -> Node {
    let value = suggested(machine, name, declared);
    let node = Node { at: declared.at.clone(), value };
    let kind = declared.get("type").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    let shown = if kind.starts_with("secure") { "a secret".to_owned() } else { format!("`{:.80}`", written(&node)) };
    machine.note(&declared.at, format!("The parameter `{name}` has no value, so {shown} was made up."));
    node
}

fn suggested(machine: &Machine<'_>, name: &str, declared: &Node) -> Value {
    if let Some(allowed) = declared.get("allowedValues").and_then(|allowed| allowed.items().first()) {
        return allowed.value.clone();
    }
    let kind = declared.get("type").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "int" => Value::Number(declared.get("minValue").and_then(integer).unwrap_or(1).into()),
        "bool" => Value::Bool(false),
        "array" => Value::List(Vec::new()),
        "object" | "secureobject" => Value::Object(Vec::new()),
        _ => Value::Text(text(machine, name, declared)),
    }
}

fn text(machine: &Machine<'_>, name: &str, declared: &Node) -> String {
    let lower = name.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let made = if is(RANGES) && !is(&["name"]) {
        if is(&["subnet"]) { machine.next_subnet() } else { "10.0.0.0/16".to_owned() }
    } else if lower.ends_with("gatewayipaddress") {
        // A device on-premises: two of them are not one.
        machine.next_public()
    } else if is(&["ipaddress", "privateip"]) && !is(&["name"]) {
        "10.0.0.4".to_owned()
    } else if lower == "location" || is(&["region"]) {
        machine.context.location.clone()
    } else {
        name.to_owned()
    };
    let size = |key: &str| declared.get(key).and_then(integer).and_then(|size| usize::try_from(size).ok());
    let least = size("minLength").unwrap_or(0).min(100);
    let filled = made + &"x".repeat(least.saturating_sub(name.len()));
    filled.chars().take(size("maxLength").unwrap_or(usize::MAX).max(1)).collect()
}

/// A value that Azure would know once the resource runs. The last property's name says of what kind it is.
pub(super) fn runtime(machine: &Machine<'_>, shown: &str, member: &str, at: &Place) -> Rc<Node> {
    let lower = member.to_ascii_lowercase();
    let stable = unique::unique(shown);
    let text = match lower.as_str() {
        "ipaddress" => machine.next_public(),
        "privateipaddress" => "10.0.0.4".to_owned(),
        "provisioningstate" => "Succeeded".to_owned(),
        "fqdn" | "hostname" | "defaulthostname" => format!("{stable}.{}.cloudapp.azure.com", machine.context.location),
        "principalid" | "tenantid" | "clientid" | "objectid" | "customerid" => unique::guid(shown),
        _ if lower.ends_with("uri") || lower.ends_with("endpoint") || lower == "blob" || lower == "file" => {
            format!("https://{stable}.blob.core.windows.net/")
        }
        _ => format!("made-up-{stable}"),
    };
    machine.note(at, format!("Only Azure knows `{shown:.160}`, so `{text}` was made up."));
    Rc::new(Node { at: at.clone(), value: Value::Text(text) })
}
