//! Whether a value is what a JSON Schema says: the few keywords that the schemas here use, and none that is not understood.

use regex::Regex;
use serde_json::Value;

/// A file of a security group's log.
pub(crate) const NSG: &str = include_str!("nsg.schema.json");
/// A file of another log.
pub(crate) const FLOW: &str = include_str!("flow.schema.json");

/// Fails with the place of what does not fit.
pub(crate) fn check(schema: &str, value: &Value) {
    if let Err(error) = fits(&serde_json::from_str(schema).unwrap(), value, "$") {
        panic!("{error}\n{value:#}");
    }
}

pub(crate) fn accepts(schema: &str, value: &Value) -> bool {
    fits(&serde_json::from_str(schema).unwrap(), value, "$").is_ok()
}

fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "properties" | "items" => true,
            "type" => is_a(value, wanted.as_str().unwrap()),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => Regex::new(wanted.as_str().unwrap()).unwrap().is_match(value.as_str().unwrap_or_default()),
            "minItems" => value.as_array().is_some_and(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "required" => wanted.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                assert_eq!(wanted, false, "the only form that is understood");
                let known = schema["properties"].as_object().unwrap();
                value.as_object().is_some_and(|fields| fields.keys().all(|key| known.contains_key(key)))
            }
            _ => panic!("`{keyword}` is not understood"),
        };
        if !holds {
            return Err(format!("{at}: not {keyword} {wanted}"));
        }
    }
    let inner = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (key, schema) in inner {
        if let Some(value) = value.get(key) {
            fits(schema, value, &format!("{at}.{key}"))?;
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array()) {
        for (index, item) in items.iter().enumerate() {
            fits(schema, item, &format!("{at}[{index}]"))?;
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        _ => panic!("type `{kind}` is not understood"),
    }
}
