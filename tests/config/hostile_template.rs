//! Templates that are damaged or mean harm: each ends with a mistake that can be printed, for bounded work and memory.

use std::fmt::Write as _;

use proptest::prelude::*;
use vnet::arm::parse_json;
use vnet::arm::template::{self, Context, MOST_WORK};

use crate::template::{json, no_file, of};

/// The evaluator stops soon after its budget is spent. A value that it makes then is the last of one list.
const MOST: usize = MOST_WORK + MOST_WORK / 10;
/// What is refused at once costs no more than to read it.
const LITTLE: usize = 20_000;

/// With one mistake that says why, and for no more than so much work. Time and memory follow from the work: a value that is
/// made has a bounded size.
fn refused(document: &str, words: &str, most: usize) {
    let context = Context::new(&no_file);
    let outcome = parse_json(&"main.json".into(), document)
        .map_err(|mistake| vec![mistake])
        .and_then(|node| template::evaluate(&node, &context));
    let mistakes = outcome.map(|evaluated| evaluated.resources.len()).expect_err("a mistake");
    assert!(mistakes.iter().any(|mistake| mistake.message.contains(words)), "{words}: {}", mistakes[0]);
    let work = context.work.get();
    assert!(work <= most, "{words} cost {work}");
}

#[test]
fn no_template_exhausts_time_or_memory() {
    let resource = |extra: &str| of(&format!(r#""resources": [{{"type": "A.B/c", "name": "x", {extra}}}]"#));
    refused(
        &resource(r#""copy": {"name": "c", "count": 1000000000}"#),
        "A `copy` makes 0 to 800 copies, and its count is 1000000000.",
        LITTLE,
    );
    refused(&"{\"a\":".repeat(1_000), "nested more than", 0);
    let function = |body: &str| {
        of(&format!(
            r#""functions": [{{"namespace": "f", "members": {{"g": {{"parameters": [], "output": {{"value": "{body}"}}}},
            "h": {{"parameters": [], "output": {{"value": "[f.g()]"}}}}}}}}], "resources": [], "outputs": {{"o": {{"value": "[f.g()]"}}}}"#
        ))
    };
    refused(&function("[f.g()]"), "The function `f.g` calls itself", LITTLE);
    refused(&function("[f.h()]"), "calls itself", LITTLE);
    // Each variable is twice the one before.
    let mut doubling = String::new();
    let mut lists = String::new();
    for at in 1..64 {
        let before = at - 1;
        write!(doubling, r#""v{at}": "[concat(variables('v{before}'), variables('v{before}'))]","#).unwrap();
        write!(lists, r#""v{at}": ["[variables('v{before}')]", "[variables('v{before}')]"],"#).unwrap();
    }
    let of_variables = |variables: &str| {
        of(&format!(
            r#""variables": {{{variables} "v0": "0123456789"}}, "resources": [], "outputs": {{"o": {{"value": "[variables('v63')]"}}}}"#
        ))
    };
    refused(&of_variables(&doubling), "The text that it makes is longer than", MOST);
    refused(&of_variables(&lists), "The template makes more than", MOST);
    let inner = r#"{"copy": [{"name": "p", "count": 800, "input": {"copy": [{"name": "q", "count": 800, "input": {"copy": [{"name": "r", "count": 800, "input": "x"}]}}]}}]}"#;
    refused(&resource(&format!(r#""properties": {inner}"#)), "The template makes more than", MOST);
    // A long chain is deep, whichever end is asked for first.
    let mut chain = String::new();
    for at in 1..5_000 {
        write!(chain, r#""v{at}": ["[variables('v{}')]"],"#, at - 1).unwrap();
    }
    let chain =
        |outputs: &str| of(&format!(r#""variables": {{{chain} "v0": 1}}, "resources": [], "outputs": {{{outputs}}}"#));
    refused(&chain(r#""o": {"value": "[variables('v4999')]"}"#), "Values use each other more than", MOST);
    let upwards: Vec<_> = (0..200).map(|at| format!(r#""o{at}": {{"value": "[variables('v{at}')]"}}"#)).collect();
    refused(&chain(&upwards.join(",")), "has more than 100 levels", MOST);
    refused(
        &of(&format!(r#""resources": [], "outputs": {{"o": {{"value": "[{}]"}}}}"#, "not(".repeat(5_000))),
        "nested more than 48 deep",
        LITTLE,
    );
}

/// It is longer than what the program takes, and would be evaluated for bounded work all the same.
#[test]
fn a_template_of_five_megabytes_costs_bounded_work() {
    let mut resources = String::new();
    while resources.len() < 5_000_000 {
        write!(
            resources,
            r#"{{"type": "A.B/c", "name": "[concat('x', '{}')]", "properties": {{"a": ["[parameters('p')]"]}}}},"#,
            resources.len()
        )
        .unwrap();
    }
    let text =
        of(&format!(r#""parameters": {{"p": {{"type": "int", "defaultValue": 1}}}}, "resources": [{resources}]"#));
    assert!(text.len() > template::LARGEST, "the program refuses it");
    let context = Context::new(&no_file);
    let outcome = template::evaluate(&json(&text), &context);
    assert!(outcome.is_ok() || outcome.is_err_and(|mistakes| mistakes.len() == 1));
    assert!((LITTLE..=MOST).contains(&context.work.get()), "{}", context.work.get());
}

/// A template that uses all there is, for damage.
fn whole() -> String {
    of(&format!(
        r#""parameters": {{"a": {{"type": "string", "defaultValue": "x"}}, "n": {{"type": "int"}}}}, "variables": {{"v": "[parameters('a')]", "w": ["[variables('v')]"]}}, {}"#,
        r#""resources": [{"type": "A.B/c", "name": "[concat('x', copyIndex())]", "copy": {"name": "c", "count": 2}, "properties": {"z": "[reference('y').z[0].w]",
            "copy": [{"name": "p", "count": "[parameters('n')]", "input": "[if(equals(copyIndex('p'), 0), 'a', variables('w')[0])]"}]}},
            {"type": "A.B/c", "name": "y", "condition": "[not(false())]", "resources": [{"type": "d", "name": "e"}]},
            {"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"template": {"resources": [], "outputs": {"o": {"value": "[format('{0:D2}', 5)]"}}}}}],
        "outputs": {"o": {"value": "[map(range(0, 3), lambda('i', add(lambdaVariables('i'), 1)))]"}, "p": {"value": "[cidrSubnet('10.0.0.0/8', 16, 3)]"}}"#
    ))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Damaged templates end as resources or as mistakes that can be printed.
    #[test]
    fn damage_never_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..24_usize, prop::char::range(' ', '~')), 1..6)) {
        let mut text: Vec<char> = whole().chars().collect();
        for (at, cut, letter) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, [letter]);
            if text.is_empty() { break; }
        }
        let text: String = text.into_iter().collect();
        if let Ok(node) = parse_json(&"main.json".into(), &text)
            && let Err(mistakes) = template::evaluate(&node, &Context::new(&no_file))
        {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|mistake| mistake.to_string().starts_with("main.json:")));
        }
    }
}
