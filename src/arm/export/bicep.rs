//! A template as Bicep.
//!
//! Each resource has a symbol; an id of a resource of the template becomes its `.id`, so that Bicep itself knows the order.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Writes a template as a Bicep file.
pub fn bicep(template: &Value) -> String {
    let resources: Vec<&Value> = template["resources"].as_array().into_iter().flatten().collect();
    let symbols = symbols(&resources);
    let mut text = String::new();
    for (name, parameter) in template["parameters"].as_object().into_iter().flatten() {
        let is_secret = parameter["type"] == "securestring";
        let default = parameter["defaultValue"].as_str().map_or_else(String::new, |value| format!(" = '{value}'"));
        let _ = writeln!(text, "{}param {name} string{default}", if is_secret { "@secure()\n" } else { "" });
    }
    for resource in &resources {
        let (kind, name) = (word(&resource["type"]), word(&resource["name"]));
        let symbol = symbols.get(&own_id(resource)).cloned().unwrap_or_default();
        let _ = writeln!(text, "\nresource {symbol} '{kind}@{}' = {{", word(&resource["apiVersion"]));
        let parent = name.rsplit_once('/').zip(kind.rsplit_once('/'));
        let parent = parent.and_then(|((name, _), (kind, _))| symbols.get(&id(kind, name)));
        if let Some(parent) = parent {
            let _ = writeln!(text, "  parent: {parent}");
        }
        for (key, value) in resource.as_object().into_iter().flatten() {
            match key.as_str() {
                "type" | "apiVersion" => {}
                "name" => {
                    let own = if parent.is_some() { name.rsplit('/').next().unwrap_or_default() } else { name };
                    let _ = writeln!(text, "  name: {}", quoted(own));
                }
                "dependsOn" => depends(&mut text, value, parent, &symbols),
                _ => entry(&mut text, key, value, 2, &symbols),
            }
        }
        text.push_str("}\n");
    }
    text
}

/// What must be there first and is referred to nowhere else.
fn depends(text: &mut String, value: &Value, parent: Option<&String>, symbols: &HashMap<String, String>) {
    let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    let named: Vec<&String> = all.filter_map(|id| symbols.get(id)).filter(|symbol| Some(*symbol) != parent).collect();
    if !named.is_empty() {
        text.push_str("  dependsOn: [\n");
        for symbol in named {
            let _ = writeln!(text, "    {symbol}");
        }
        text.push_str("  ]\n");
    }
}

fn entry(text: &mut String, key: &str, value: &Value, indent: usize, symbols: &HashMap<String, String>) {
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    let key = if is_word { key.to_owned() } else { quoted(key) };
    let _ = write!(text, "{}{key}: ", " ".repeat(indent));
    self::value(text, value, indent, symbols);
    text.push('\n');
}

fn value(text: &mut String, value: &Value, indent: usize, symbols: &HashMap<String, String>) {
    let spaces = " ".repeat(indent);
    match value {
        Value::Object(entries) if entries.is_empty() => text.push_str("{}"),
        Value::Object(entries) => {
            text.push_str("{\n");
            for (key, value) in entries {
                entry(text, key, value, indent + 2, symbols);
            }
            let _ = write!(text, "{spaces}}}");
        }
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Array(items) => {
            text.push_str("[\n");
            for item in items {
                let _ = write!(text, "{spaces}  ");
                self::value(text, item, indent + 2, symbols);
                text.push('\n');
            }
            let _ = write!(text, "{spaces}]");
        }
        Value::String(written) => text.push_str(&expression(written, symbols)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

/// A text, or the expression that it stands for.
fn expression(written: &str, symbols: &HashMap<String, String>) -> String {
    if let Some(symbol) = symbols.get(written) {
        return format!("{symbol}.id");
    }
    let Some(inner) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return quoted(written) };
    match inner.strip_prefix("parameters('").and_then(|rest| rest.strip_suffix("')")) {
        Some(parameter) => parameter.to_owned(),
        // Bicep has a template's functions; its parameters are plain names.
        None => inner.replace("parameters('adminUsername')", "adminUsername"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace("${", "\\${"))
}

/// A name for each resource, by its id.
fn symbols(resources: &[&Value]) -> HashMap<String, String> {
    let mut symbols: HashMap<String, String> = HashMap::new();
    for resource in resources {
        let kind = word(&resource["type"]).rsplit('/').next().unwrap_or_default();
        let kind = kind.strip_suffix('s').unwrap_or(kind);
        let mut own: String = format!("{kind}_{}", word(&resource["name"]));
        own = own.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        while symbols.values().any(|known| *known == own) {
            own.push('_');
        }
        symbols.insert(own_id(resource), own);
    }
    symbols
}

fn own_id(resource: &Value) -> String {
    id(word(&resource["type"]), word(&resource["name"]))
}

fn id(kind: &str, name: &str) -> String {
    super::id(kind, &name.split('/').collect::<Vec<_>>())
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
