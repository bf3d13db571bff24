//! Any expression of a template: it ends as a value, or as mistakes that can be printed, for bounded work.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vnet::arm::parse_json;
use vnet::arm::template::{Context, File, MOST_WORK, evaluate};

/// What expressions may ask for besides their own text.
const TEMPLATE: &str = r#"{
    "parameters": {"n": {"type": "int", "defaultValue": 3}, "s": {"type": "string", "defaultValue": "10.0.0.0/8"},
        "o": {"type": "object", "defaultValue": {"a": [1, "x", null], "b": {"c": true}}}},
    "variables": {"v": "[parameters('o').a]", "w": ["[variables('v')]", "[parameters('s')]"]},
    "functions": [{"namespace": "f", "members": {"g": {"parameters": [{"name": "x", "type": "string"}],
        "output": {"type": "string", "value": "[toUpper(parameters('x'))]"}}}}],
    "resources": [{"type": "Microsoft.Network/virtualNetworks", "name": "v",
        "properties": {"subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]}}],
    "outputs": {"o": {"value": EXPRESSION}}}"#;

fn no_file(link: &str, _: &str) -> File {
    Err(format!("there is no {link}"))
}

fuzz_target!(|expression: &str| {
    let quoted = serde_json::Value::from(format!("[{expression}]")).to_string();
    let text = TEMPLATE.replace("EXPRESSION", &quoted);
    let document = parse_json(&"fuzz.json".into(), &text).expect("a JSON string is well formed");
    let context = Context::new(&no_file);
    match evaluate(&document, &context) {
        Ok(evaluated) => evaluated.outputs.iter().for_each(|(_, value)| drop(value.to_json())),
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
        }
    }
    assert!(context.work.get() <= MOST_WORK + MOST_WORK / 10, "it costs {}", context.work.get());
});
