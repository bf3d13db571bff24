//! Whole values that functions answer with: each key of an object, and what makes two of them equal.

use serde_json::{Value, json};
use vnet::arm::Node;
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

#[test]
fn values_at_the_edges_of_what_functions_take() {
    for (expression, expected) in [
        ("startsWith('Network', 'NET')", json!(true)),
        ("startsWith('Network', 'work')", json!(false)),
        ("endsWith('Network', 'WORK')", json!(true)),
        ("endsWith('Network', 'net')", json!(false)),
        ("cidrSubnet('::/0', 0, 0)", json!("::/0")),
        ("cidrSubnet('0.0.0.0/0', 32, 4294967295)", json!("255.255.255.255/32")),
        ("length(range(0, 10000))", json!(10_000)),
        ("bool(0)", json!(false)),
        ("bool(2)", json!(true)),
        ("int(json('8e15'))", json!(8_000_000_000_000_000_i64)),
        ("format('{0:000}|{1:000}|{2:000}', 7, 0, -7)", json!("007|000|-007")),
        ("format('{0:D2}|{1:D2}', 0, -1)", json!("00|-01")),
        // The last day of the four hundred years from one leap day of a full century to the next.
        ("dateTimeAdd('2000-02-28T00:00:00Z', 'P1D')", json!("2000-02-29 00:00:00Z")),
        ("dateTimeAdd('2000-02-29T00:00:00Z', 'P1D')", json!("2000-03-01 00:00:00Z")),
        ("resourceGroup().properties.provisioningState", json!("Succeeded")),
        ("resourceGroup().tags", json!({})),
        ("indexOf(range(0, 9000), 8999)", json!(8_999)),
        ("contains(range(0, 9000), 9000)", json!(false)),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

/// What only Azure knows is made up by its name, and said.
#[test]
fn what_is_made_up_is_said() {
    let sections = r#""parameters": {"firstSubnetPrefix": {"type": "string"}, "secondSubnetPrefix": {"type": "string"}, "maybe": {"type": "string", "nullable": true}},
        "resources": [], "outputs": {
        "one": {"value": "[parameters('firstSubnetPrefix')]"}, "two": {"value": "[parameters('secondSubnetPrefix')]"},
        "maybe": {"value": "[coalesce(parameters('maybe'), 'nothing')]"},
        "public": {"value": "[reference('p')['ipAddress']]"}, "second": {"value": "[reference('q').ipAddress]"}, "lost": {"value": "[first(reference('p').list)]"}}"#;
    let evaluated = template::evaluate(&document(&of(sections)), &Context::new(&no_file)).unwrap();
    let found: Value = evaluated.outputs.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect();
    assert_eq!([&found["one"], &found["two"]], ["10.0.1.0/24", "10.0.2.0/24"]);
    assert_eq!([&found["public"], &found["second"]], ["203.0.113.1", "203.0.113.2"]);
    assert_eq!(found["maybe"], "nothing");
    let said: Vec<_> = evaluated.notes.iter().map(|note| note.message.as_str()).collect();
    for words in [
        "The parameter `firstSubnetPrefix` has no value, so `10.0.1.0/24` was made up.",
        "`p` is not in the template: what it has was made up where needed.",
        "so `203.0.113.1` was made up.",
    ] {
        assert!(said.iter().any(|message| message.ends_with(words)), "{words}: {said:#?}");
    }
    assert!(said.iter().all(|message| !message.contains("`maybe`")), "{said:#?}");
}

/// A loop in a loop of the same name hides it.
#[test]
fn the_innermost_loop_of_a_name_counts() {
    let found = outputs(
        r#""resources": [{"type": "A.B/c", "name": "[concat('c', copyIndex())]", "copy": {"name": "x", "count": 2},
            "properties": {"copy": [{"name": "x", "count": 3, "input": "[copyIndex('x')]"}]}}],
        "outputs": {"it": {"value": "[reference('c1').x]"}}"#,
    );
    assert_eq!(found["it"], json!([0, 1, 2]));
}

/// A nested template without a scope of its own stands in the loop of its deployment.
#[test]
fn a_nested_template_is_in_the_loop_of_its_deployment() {
    let sections = r#""resources": [{"type": "Microsoft.Resources/deployments", "name": "[concat('d', copyIndex())]", "copy": {"name": "d", "count": 2},
        "properties": {"template": {"resources": [{"type": "A.B/c", "name": "[concat('c', copyIndex('d'))]"}],
            "outputs": {"o": {"value": "[copyIndex('d')]"}}}}}], "outputs": {"o": {"value": "[reference('d1').outputs.o.value]"}}"#;
    let evaluated = template::evaluate(&document(&of(sections)), &Context::new(&no_file)).unwrap();
    let names: Vec<_> = evaluated.resources.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["c0", "c1"]);
    assert_eq!(evaluated.outputs[0].1.to_json(), 1);
}

/// Private addresses that expressions read are taken from the end of the subnet, and never of the first four.
#[test]
fn addresses_that_are_read_are_of_the_subnet() {
    let nic = |name: &str| {
        format!(
            r#"{{"type": "Microsoft.Network/networkInterfaces", "name": "{name}", "properties": {{"ipConfigurations": [{{"name": "c", "properties": {{"privateIPAllocationMethod": "Dynamic",
            "subnet": {{"id": "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]"}}}}}}]}}}}"#
        )
    };
    let read = |name: &str| {
        format!(r#""{name}": {{"value": "[reference('{name}').ipConfigurations[0].properties.privateIPAddress]"}}"#)
    };
    let names = ["a", "b", "c", "d"];
    let sections = format!(
        r#""resources": [{{"type": "Microsoft.Network/virtualNetworks", "name": "v", "properties": {{"subnets": [{{"name": "s", "properties": {{"addressPrefix": "10.9.0.0/29"}}}}]}}}}, {}], "outputs": {{{}}}"#,
        names.map(nic).join(", "),
        names.map(read).join(", ")
    );
    let evaluated = template::evaluate(&document(&of(&sections)), &Context::new(&no_file)).unwrap();
    let found: Vec<_> = evaluated.outputs.iter().map(|(_, node)| node.to_json()).collect();
    assert_eq!(found[..3], ["10.9.0.6", "10.9.0.5", "10.9.0.4"]);
    assert_ne!(found[3], "10.9.0.3", "it is Azure's own");
    let body = &evaluated.resources[1].body;
    let inner = |node: &Node, key: &str| node.get("properties").unwrap().get(key).unwrap().clone();
    let configuration = inner(body, "ipConfigurations").items()[0].clone();
    assert_eq!(inner(&configuration, "privateIPAddress").text(), Some("10.9.0.6"));
    assert_eq!(inner(&configuration, "privateIPAllocationMethod").text(), Some("Static"));
}

#[test]
fn an_output_that_asks_for_what_is_made_up_may_fail() {
    let sections = r#""resources": [], "outputs": {"o": {"value": "[first(range(reference('x').number, 1))]"}}"#;
    let evaluated = template::evaluate(&document(&of(sections)), &Context::new(&no_file)).unwrap();
    assert!(evaluated.outputs.is_empty());
    let said = evaluated.notes.iter().find(|note| note.message.starts_with("The output `o` was left out. "));
    assert!(said.is_some_and(|note| note.message.contains("Argument 1 of `range`")), "{:#?}", evaluated.notes);
}

/// A resource within another is its child, unless its type is of another provider: it extends it then.
#[test]
fn a_resource_within_another_is_its_child_or_extends_it() {
    let sections = r#""resources": [{"type": "A.B/c", "name": "x", "resources": [
        {"type": "d", "name": "short"}, {"type": "A.B/c/d", "name": "x/full"}, {"type": "E.F/locks", "name": "lock"}]}]"#;
    let evaluated = template::evaluate(&document(&of(sections)), &Context::new(&no_file)).unwrap();
    let found = evaluated.resources.iter().map(|one| {
        (one.kind.as_str(), one.name.as_str(), one.id.as_str().split_once("/resourceGroups/lab").unwrap().1)
    });
    let expected = [
        ("A.B/c", "x", "/providers/A.B/c/x"),
        ("A.B/c/d", "x/short", "/providers/A.B/c/x/d/short"),
        ("A.B/c/d", "x/full", "/providers/A.B/c/x/d/full"),
        ("E.F/locks", "lock", "/providers/A.B/c/x/providers/E.F/locks/lock"),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}
