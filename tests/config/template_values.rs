//! Whole values that functions answer with: each key of an object, and what makes two of them equal.

use serde_json::{Value, json};
use vnet::arm::template::{self, Context};

use crate::template::{json as document, no_file, of};

/// The outputs of a template, by name.
fn outputs(sections: &str) -> Value {
    let evaluated = template::evaluate(&document(&of(sections)), &Context::new(&no_file));
    let evaluated = evaluated.unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    evaluated.outputs.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect()
}

fn value(expression: &str) -> Value {
    let expression = Value::from(format!("[{expression}]"));
    outputs(&format!(r#""resources": [], "outputs": {{"it": {{"value": {expression}}}}}"#))["it"].take()
}

#[test]
fn a_range_has_its_parts() {
    let four = json!({"network": "10.1.2.0", "netmask": "255.255.254.0", "broadcast": "10.1.3.255", "firstUsable": "10.1.2.1", "lastUsable": "10.1.3.254", "cidr": 23});
    assert_eq!(value("parseCidr('10.1.3.7/23')"), four);
    let six = json!({"network": "fd00:1::", "netmask": "ffff:ffff:ffff::", "firstUsable": "fd00:1::1", "lastUsable": "fd00:1:0:ffff:ffff:ffff:ffff:ffff", "cidr": 48});
    assert_eq!(value("parseCidr('fd00:1::/48')"), six);
}

#[test]
fn the_surroundings_have_azures_keys() {
    let environment = value("environment()");
    assert_eq!(environment["name"], "AzureCloud");
    assert_eq!(environment["suffixes"]["storage"], "core.windows.net");
    assert_eq!(environment["suffixes"]["acrLoginServer"], ".azurecr.io");
    assert_eq!(environment["authentication"]["loginEndpoint"], "https://login.microsoftonline.com/");
}

#[test]
fn a_full_reference_has_the_resource_around_its_properties() {
    let found = outputs(
        r#""resources": [{"type": "A.B/c", "apiVersion": "2024-01-01", "name": "x", "location": "westeurope", "tags": {"a": "b"}, "properties": {"p": [1]}}],
        "outputs": {"full": {"value": "[reference('x', '2024-01-01', 'Full')]"}, "part": {"value": "[reference('x')]"}}"#,
    );
    let (id, full) =
        ("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab/providers/A.B/c/x", &found["full"]);
    assert_eq!(found["part"], json!({"p": [1]}));
    assert_eq!(full["properties"], found["part"]);
    for (key, expected) in [
        ("id", json!(id)),
        ("resourceId", json!(id)),
        ("name", json!("x")),
        ("type", json!("A.B/c")),
        ("resourceGroupName", json!("lab")),
        ("subscriptionId", json!("00000000-0000-0000-0000-000000000000")),
        ("location", json!("westeurope")),
        ("tags", json!({"a": "b"})),
    ] {
        assert_eq!(full[key], expected, "{key}");
    }
}

#[test]
fn values_are_equal_part_by_part() {
    for (one, other, equal) in [
        ("createArray(1, 2)", "createArray(1, 2)", true),
        ("createArray(1, 2)", "createArray(1, 3)", false),
        ("createArray(1, 2)", "createArray(1)", false),
        ("createArray(1)", "createArray(1, 2)", false),
        ("createObject('a', 1, 'b', 2)", "createObject('b', 2, 'a', 1)", true),
        ("createObject('a', 1, 'b', 2)", "createObject('a', 1)", false),
        ("createObject('a', 1)", "createObject('a', 1, 'b', 2)", false),
        ("createObject('a', 1)", "createObject('b', 1)", false),
        ("createArray(createArray(1))", "createArray(createArray(2))", false),
        ("null()", "createArray()", false),
    ] {
        assert_eq!(value(&format!("equals({one}, {other})")), equal, "{one} and {other}");
    }
}

/// Of two loops in one property, the inner one counts, where the resource has none.
#[test]
fn an_index_without_a_name_is_the_resources_or_else_the_innermost() {
    let inner = r#"{"copy": [{"name": "p", "count": 2, "input": {"copy": [{"name": "q", "count": 3, "input": "[copyIndex()]"}]}}]}"#;
    let found = outputs(&format!(
        r#""variables": {inner}, "resources": [], "outputs": {{"it": {{"value": "[variables('p')]"}}}}"#
    ));
    assert_eq!(found["it"], json!([{"q": [0, 1, 2]}, {"q": [0, 1, 2]}]));
    let found = outputs(&format!(
        r#""resources": [{{"type": "A.B/c", "apiVersion": "1", "name": "[concat('x', copyIndex())]", "copy": {{"name": "c", "count": 2}}, "properties": {inner}}}],
        "outputs": {{"it": {{"value": "[reference('x1').p]"}}}}"#
    ));
    assert_eq!(found["it"], json!([{"q": [1, 1, 1]}, {"q": [1, 1, 1]}]));
}

/// A parameter file may say null: of a parameter that may be it, that is the value; of another it says nothing.
#[test]
fn null_is_the_value_of_a_parameter_that_may_be_null() {
    let sections = r#""parameters": {"may": {"type": "string", "nullable": true, "defaultValue": "a"}, "must": {"type": "string", "defaultValue": "b"}},
        "resources": [], "outputs": {"all": {"value": "[createArray(parameters('may'), parameters('must'))]"}}"#;
    let given = document(r#"{"parameters": {"may": {"value": null}, "must": {"value": null}}}"#);
    let parameters = template::parameters_of(&given).expect("a parameter file");
    let evaluated = template::evaluate(&document(&of(sections)), &Context { parameters, ..Context::new(&no_file) });
    let evaluated = evaluated.unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    assert_eq!(evaluated.outputs[0].1.to_json(), json!([null, "b"]));
}

/// Without its brackets.
#[test]
fn an_expression_has_at_most_24576_characters() {
    let with = |length: usize| {
        let expression = format!("[length('{}')]", "x".repeat(length - "length('')".len()));
        let sections = format!(r#""resources": [], "outputs": {{"it": {{"value": "{expression}"}}}}"#);
        template::evaluate(&document(&of(&sections)), &Context::new(&no_file))
    };
    assert_eq!(with(24_576).unwrap().outputs[0].1.to_json(), 24_576 - "length('')".len());
    assert!(with(24_577).is_err_and(|mistakes| mistakes[0].message.contains("24576")));
}

/// A key in brackets is a member as one behind a dot, of what only Azure knows, too.
#[test]
fn a_member_may_stand_in_brackets() {
    let found = outputs(
        r#""resources": [{"type": "Microsoft.Network/publicIPAddresses", "apiVersion": "1", "name": "ip", "properties": {"dnsSettings": {"fqdn": "a.b"}}}],
        "outputs": {"known": {"value": "[reference('ip')['dnsSettings']['fqdn']]"},
            "dot": {"value": "[reference('ip').ipAddress]"}, "brackets": {"value": "[reference('ip')['ipAddress']]"}}"#,
    );
    assert_eq!(found["known"], "a.b");
    for key in ["dot", "brackets"] {
        assert!(found[key].as_str().unwrap().parse::<std::net::Ipv4Addr>().is_ok(), "{key}: {}", found[key]);
    }
}

/// As they come with what is pasted from a web page.
#[test]
fn blanks_of_other_kinds_are_blanks() {
    let found = document("\u{feff}{\u{a0}\u{a0}\"a\":\u{feff}1,\u{a0}\"b\"\u{a0}: [\u{a0}]}");
    assert_eq!(found.to_json(), json!({"a": 1, "b": []}));
    let place = found.entries().iter().map(|(key, _)| (key.at.line, key.at.column)).collect::<Vec<_>>();
    assert_eq!(place, [(1, 4), (1, 12)]);
}

/// A name that is made up is as long as the parameter's limits say.
#[test]
fn what_is_made_up_has_a_length_within_the_limits() {
    let name = |limits: &str| {
        let sections = format!(
            r#""parameters": {{"p": {{"type": "string", {limits}}}}}, "resources": [], "outputs": {{"it": {{"value": "[parameters('p')]"}}}}"#
        );
        outputs(&sections)["it"].as_str().unwrap().len()
    };
    assert_eq!(name(r#""maxLength": 1"#), 1);
    assert_eq!(name(r#""minLength": 9"#), 9);
    assert_eq!(name(r#""minLength": 3, "maxLength": 3"#), 3);
}
