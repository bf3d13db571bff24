//! Any deployment template: it ends as resources, or as mistakes that can be printed. Links stay in the directory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vnet::arm::template::{Context, File, evaluate, is_template, parameters_of};
use vnet::arm::{Node, parse_json};

/// Each link that may be followed leads to the same small template.
fn linked(link: &str, _: &str) -> File {
    assert_ne!(link.split(['/', '\\']).next(), Some(".."), "{link} leads out");
    Ok((
        "nested/linked.json".into(),
        r#"{"resources": [], "outputs": {"o": {"value": "[resourceGroup().id]"}}}"#.to_owned(),
    ))
}

fuzz_target!(|text: &str| {
    let Ok(document) = parse_json(&"fuzz.json".into(), text) else { return };
    is_template(&document);
    let parameters = document.get("given").and_then(parameters_of).unwrap_or_default();
    match evaluate(&document, &Context { parameters, ..Context::new(&linked) }) {
        Ok(evaluated) => {
            drop(evaluated.resources.iter().map(|resource| Node::to_json(&resource.body)).collect::<Vec<_>>())
        }
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty())),
    }
});
