//! Any document that `vnet import` reads: a template, a dump or a Terraform plan.
//!
//! It ends as a topology's text that loads or is refused, or as mistakes that can be printed. Links stay in the directory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vnet::arm::template::{Context, File, evaluate, is_template, parameters_of};
use vnet::arm::{Mistake, Node, Options, Resource, Source, Store, convert, dump, parse_json, terraform};
use vnet::config;

/// Each link that may be followed leads to the same small template.
fn linked(link: &str, _: &str) -> File {
    assert_ne!(link.split(['/', '\\']).next(), Some(".."), "{link} leads out");
    Ok((
        "nested/linked.json".into(),
        r#"{"resources": [], "outputs": {"o": {"value": "[resourceGroup().id]"}}}"#.to_owned(),
    ))
}

fn resources(document: Node) -> Result<(Source, Vec<Resource>), Vec<Mistake>> {
    if is_template(&document) {
        let parameters = document.get("given").and_then(parameters_of).unwrap_or_default();
        let evaluated = evaluate(&document, &Context { parameters, ..Context::new(&linked) })?;
        evaluated.outputs.iter().for_each(|(_, value)| drop(value.to_json()));
        return Ok((Source::Template, evaluated.resources));
    }
    if terraform::is_terraform(&document) {
        return Ok((Source::Dump, terraform::read(&document)?.after));
    }
    Ok((Source::Dump, dump::read(document)?.0))
}

fn printed(mistakes: &[Mistake]) {
    assert!(!mistakes.is_empty(), "refused without a reason");
    assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
}

fuzz_target!(|text: &str| {
    let Ok(document) = parse_json(&"fuzz.json".into(), text) else { return };
    let (source, resources) = match resources(document) {
        Ok(read) => read,
        Err(mistakes) => return printed(&mistakes),
    };
    let store = Store::of(resources.into_iter().map(|resource| (source, resource)));
    let options = Options { input: "template.json", name: Some("fuzz"), head: &[], is_service_tag: &config::is_service_tag };
    match convert(&store, &options) {
        Ok(made) => {
            if let Err(errors) = config::load(&made.text, "fuzz.yaml") {
                assert!(!errors.to_string().is_empty());
            }
        }
        Err(refused) => printed(&[refused.mistake]),
    }
});
