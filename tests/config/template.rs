//! Deployment templates: what they deploy, and what is said of their mistakes.

use vnet::arm::template::{self, Context, Evaluated, File};
use vnet::arm::{Mistake, Node, Note, NoteKind, parse_json};

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab";

pub(crate) fn json(text: &str) -> Node {
    parse_json(&"main.json".into(), text).unwrap_or_else(|mistake| panic!("{mistake}"))
}

pub(crate) fn no_file(link: &str, _: &str) -> File {
    Err(format!("there is no {link}"))
}

/// A template of these sections.
pub(crate) fn of(sections: &str) -> String {
    format!(
        r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0", {sections}}}"#
    )
}

fn evaluate(sections: &str) -> Result<Evaluated, Vec<Mistake>> {
    template::evaluate(&json(&of(sections)), &Context::new(&no_file))
}

fn said(sections: &str) -> Vec<String> {
    let mistakes = evaluate(sections).map(|evaluated| evaluated.resources).expect_err("mistakes");
    mistakes.iter().map(ToString::to_string).collect()
}

/// The value of one expression.
fn value(expression: &str) -> serde_json::Value {
    let text = serde_json::Value::from(format!("[{expression}]"));
    let evaluated = evaluate(&format!(r#""resources": [], "outputs": {{"it": {{"value": {text}}}}}"#));
    match evaluated {
        Ok(evaluated) => evaluated.outputs[0].1.to_json(),
        Err(mistakes) => panic!("{expression}: {}", mistakes[0]),
    }
}

fn fails(expression: &str) -> String {
    let text = serde_json::Value::from(format!("[{expression}]"));
    let mistakes = said(&format!(r#""resources": [], "outputs": {{"it": {{"value": {text}}}}}"#));
    mistakes[0].split_once(": ").unwrap().1.to_owned()
}

fn outputs(evaluated: &Evaluated) -> serde_json::Value {
    evaluated.outputs.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect()
}

fn names(evaluated: &Evaluated) -> Vec<&str> {
    evaluated.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn noted(notes: &[Note], words: &str) -> bool {
    notes.iter().any(|note| note.message.contains(words))
}

#[test]
fn functions_return_what_is_documented() {
    let cases: &[(&str, serde_json::Value)] = &[
        ("concat('a', 1, true())", "a1True".into()),
        ("concat(createArray(1), createArray('b'))", serde_json::json!([1, "b"])),
        ("toUpper(substring('network', 3, 2))", "WO".into()),
        ("substring('network', 3, 4)", "work".into()),
        ("substring('network', 7)", "".into()),
        ("padLeft('7', 3, '0')", "007".into()),
        ("split('a,b;c', createArray(',', ';'))", serde_json::json!(["a", "b", "c"])),
        ("join(createArray('a', 'b'), '-')", "a-b".into()),
        ("format('{0}-{1:D3}-{{{2}}}', 'a', 7, true())", "a-007-{True}".into()),
        ("replace('10.0.0.0', '.', '-')", "10-0-0-0".into()),
        ("indexOf('VNet', 'net')", 1.into()),
        ("lastIndexOf('abcb', 'B')", 3.into()),
        ("if(equals(1, 1), 'yes', fail())", "yes".into()),
        ("or(false(), not(false()))", true.into()),
        ("and(true(), equals('a', 'A'))", false.into()),
        ("add(mul(2, 3), mod(7, 4))", 9.into()),
        ("div(-7, 2)", (-3).into()),
        ("max(createArray(1, 9, 3))", 9.into()),
        ("length(createObject('a', 1, 'b', 2))", 2.into()),
        ("contains(createObject('Key', 1), 'kEY')", true.into()),
        ("union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2))).a.y", 2.into()),
        ("intersection(createArray(1, 2, 3), createArray(3, 1))", serde_json::json!([1, 3])),
        ("take(range(5, 3), 2)", serde_json::json!([5, 6])),
        ("skip('network', 3)", "work".into()),
        ("empty(json('null'))", true.into()),
        ("coalesce(null(), 'b')", "b".into()),
        ("json('{\"a\": [1, 2]}').a[1]", 2.into()),
        ("string(createObject('a', 1))", r#"{"a":1}"#.into()),
        ("base64ToString(base64('hub'))", "hub".into()),
        ("uriComponentToString(uriComponent('a b/c'))", "a b/c".into()),
        ("uri('https://a.example/x/', 'y.json')", "https://a.example/x/y.json".into()),
        ("uniqueString('hello', 'world')", "a7wkljktk6wne".into()),
        ("cidrSubnet('10.1.0.0/16', 24, 3)", "10.1.3.0/24".into()),
        ("cidrHost('10.1.3.0/24', 3)", "10.1.3.4".into()),
        ("parseCidr('10.1.3.0/24').lastUsable", "10.1.3.254".into()),
        ("dateTimeAdd(utcNow('u'), 'P1D', 'yyyy-MM-dd')", "2026-01-02".into()),
        ("map(createArray(1, 2), lambda('n', mul(lambdaVariables('n'), 10)))", serde_json::json!([10, 20])),
        ("filter(range(0, 5), lambda('n', greater(lambdaVariables('n'), 2)))", serde_json::json!([3, 4])),
        ("reduce(range(1, 4), 0, lambda('sum', 'n', add(lambdaVariables('sum'), lambdaVariables('n'))))", 10.into()),
        (
            "sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))",
            serde_json::json!([1, 2, 3]),
        ),
        ("toObject(createArray('x'), lambda('k', concat('key_', lambdaVariables('k')))).key_x", "x".into()),
        ("groupBy(createArray('ab', 'ac', 'b'), lambda('k', first(lambdaVariables('k')))).a[1]", "ac".into()),
        ("items(createObject('b', 1, 'a', 2))[0].key", "a".into()),
        ("tryGet(createObject('a', createArray(1)), 'a', 4)", serde_json::Value::Null),
        ("bool('TRUE')", true.into()),
        ("float('2.5')", 2.5.into()),
        ("int('2.9')", 2.into()),
        ("contains('network', 'two')", true.into()),
        ("contains('network', 'Two')", false.into()),
        ("concat(format('{0,4}', 'a'), format('{0,-3}|', 'b'), format('{0,0}', 'c'))", "   ab  |c".into()),
        ("skip(createArray(1, 2, 3), 1)", serde_json::json!([2, 3])),
        ("take('network', -1)", "".into()),
        ("skip(createArray(1, 2), -1)", serde_json::json!([1, 2])),
        ("flatten(createArray(createArray(1), createArray(2, 3)))", serde_json::json!([1, 2, 3])),
        ("shallowMerge(createArray(createObject('a', 1), createObject('b', 2)))", serde_json::json!({"a": 1, "b": 2})),
        ("union(createArray(1, 2), createArray(2, 3))", serde_json::json!([1, 2, 3])),
        ("indexOf(createArray('a', 'b'), 'z')", (-1).into()),
        ("indexOf(createArray('a', 'b'), 'b')", 1.into()),
        ("contains(createArray('a', 'b'), 'b')", true.into()),
        ("uri('https://a.example', 'y.json')", "https://a.example/y.json".into()),
        ("uri('a/b', 'y.json')", "a/y.json".into()),
        ("cidrSubnet('10.1.0.0/24', 24, 0)", "10.1.0.0/24".into()),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope')", serde_json::json!(["1"])),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope', 2)", serde_json::json!(["1", "2"])),
        ("resourceGroup().tags", serde_json::json!({})),
        ("providers('Microsoft.Compute', 'virtualMachines').apiVersions[0]", "2024-05-01".into()),
        ("providers('Microsoft.Compute').resourceTypes[0].apiVersions[0]", "2024-05-01".into()),
        ("int('42')", 42.into()),
    ];
    for (expression, expected) in cases {
        assert_eq!(value(expression), *expected, "{expression}");
    }
}

/// The argument that settles it is the last to be evaluated.
#[test]
fn and_and_or_end_early() {
    let cases: [(&str, serde_json::Value); 4] = [
        ("or(false(), false())", false.into()),
        ("or(true(), fail())", true.into()),
        ("and(true(), true())", true.into()),
        ("and(false(), fail())", false.into()),
    ];
    for (expression, expected) in cases {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn functions_refuse_what_is_out_of_their_range() {
    for (expression, words) in [
        ("substring('network', 3, 9)", "asks for 9 characters from 3 on, and the text has 7"),
        ("substring('network', 6, 2)", "asks for 2 characters from 6 on, and the text has 7"),
        ("first()", "0 are given"),
        ("add(1, json('1.5'))", "`add`"),
        ("cidrSubnet('10.1.0.0/16', 17, 2)", "has no subnet 2"),
        ("cidrSubnet('10.1.0.0/16', 16, 1)", "has no subnet 1"),
    ] {
        let said = fails(expression);
        assert!(said.contains(words), "{expression}: {said}");
    }
}

#[test]
fn ids_are_azures() {
    let id = |path: &str| serde_json::Value::from(format!("{GROUP}/providers/Microsoft.Network/{path}"));
    assert_eq!(
        value("resourceId('Microsoft.Network/virtualNetworks/subnets', 'a', 'b')"),
        id("virtualNetworks/a/subnets/b")
    );
    assert_eq!(value("resourceId('Microsoft.Network/virtualNetworks/', 'a')"), id("virtualNetworks/a"));
    assert_eq!(value("resourceGroup().id"), GROUP);
    let other = value("resourceId('0000', 'rg', 'Microsoft.Network/routeTables', 't')");
    assert_eq!(other, "/subscriptions/0000/resourceGroups/rg/providers/Microsoft.Network/routeTables/t");
    assert_eq!(
        value("extensionResourceId('/a/b', 'Microsoft.Authorization/locks', 'l')"),
        "/a/b/providers/Microsoft.Authorization/locks/l"
    );
    assert_eq!(value("tenantResourceId('A.B/c', 'd')"), "/providers/A.B/c/d");
    assert!(
        fails("resourceId('Microsoft.Network/virtualNetworks', 'a', 'b')")
            .starts_with("The type `Microsoft.Network/virtualNetworks` needs 1 names, and there are 2")
    );
}

#[test]
fn a_mistake_names_its_place_and_its_expression() {
    let template = "\"variables\": {\n\"a\": \"[concat(variables('b'), nope('x'))]\", \"b\": \"1\"},\n\
                    \"resources\": [], \"outputs\": {\"o\": {\"value\": \"[variables('a')]\"}, \"p\": {\"value\": \"[add(1, 'x')]\"}}";
    assert_eq!(
        said(template),
        [
            "main.json:3:6: There is no function `nope`, in `[concat(variables('b'), nope('x'))]`.",
            "main.json:4:81: Argument 2 of `add` must be a whole number, and it is a text, in `[add(1, 'x')]`.",
        ]
    );
    assert_eq!(fails("parameters('size')"), "There is no parameter `size`, in `[parameters('size')]`.");
    assert_eq!(
        fails("concat('a'"),
        "The expression is not well formed: `,` or `)` is expected at character 11, and the end is there, in `[concat('a']`."
    );
    assert_eq!(fails("createArray(1)[1]"), "A list of 1 items has no item 1, in `[createArray(1)[1]]`.");
    assert_eq!(fails("resourceGroup().nmae"), "The object has no property `nmae`, in `[resourceGroup().nmae]`.");
    assert_eq!(fails("copyIndex()"), "`copyIndex` stands outside of a `copy`, in `[copyIndex()]`.");
    assert_eq!(
        fails("fail('Too many machines')"),
        "The template fails: Too many machines, in `[fail('Too many machines')]`."
    );
    assert_eq!(fails("div(1, 0)"), "`div` of 1 and 0 is no number of 64 bits, in `[div(1, 0)]`.");
}

#[test]
fn a_variable_that_uses_itself_is_a_mistake() {
    let cycle = r#""variables": {"a": "[variables('b')]", "b": "[variables('a')]"}, "resources": [],
        "outputs": {"o": {"value": "[variables('a')]"}}"#;
    assert!(said(cycle)[0].contains("`a` uses itself, in `[variables('a')]`."), "{:?}", said(cycle));
}

#[test]
fn parameters_come_from_outside_and_else_are_made_up() {
    let sections = r#""parameters": {
            "count": {"type": "int"}, "prefix": {"type": "string", "defaultValue": "[concat('10.', parameters('count'), '.0.0/16')]"},
            "sku": {"type": "string", "allowedValues": ["Standard", "Basic"]}, "password": {"type": "securestring"}},
        "resources": [], "outputs": {"all": {"value": "[createArray(parameters('count'), parameters('prefix'), parameters('sku'))]"},
            "secret": {"value": "[parameters('password')]"}}"#;
    let evaluated = evaluate(sections).unwrap();
    assert_eq!(outputs(&evaluated)["all"], serde_json::json!([1, "10.1.0.0/16", "Standard"]));
    assert!(noted(&evaluated.notes, "The parameter `password` has no value, so a secret was made up."));

    let document = json(&of(sections));
    let given = json(
        r#"{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "parameters": {"COUNT": {"value": "7"}, "sku": {"value": "basic"}, "password": {"reference": {"secretName": "x"}}}}"#,
    );
    let with = |parameters: &Node| {
        let parameters = template::parameters_of(parameters).expect("a parameter file");
        template::evaluate(&document, &Context { parameters, ..Context::new(&no_file) })
    };
    assert_eq!(outputs(&with(&given).unwrap())["all"], serde_json::json!([7, "10.7.0.0/16", "basic"]));
    let wrong = json(r#"{"parameters": {"sku": {"value": "Gold"}, "cuont": {"value": 1}, "count": {"value": "x"}}}"#);
    let mistakes: Vec<_> = with(&wrong).expect_err("mistakes").iter().map(ToString::to_string).collect();
    assert_eq!(
        mistakes,
        [
            "main.json:1:62: The template main.json has no parameter `cuont`.",
            "main.json:1:85: The value of the parameter `count` is not of its type, `int`.",
            "main.json:1:34: The parameter `sku` must not be `Gold`.",
        ]
    );
    assert!(template::is_template(&document) && !template::is_template(&given));
    assert!(template::parameters_of(&document).is_none());
}

/// What Bicep makes of a type of the user's own is a reference in place of `type`.
#[test]
fn a_parameter_of_a_type_with_a_name_has_its_value() {
    let sections = r##""definitions": {"range": {"type": "string"}},
        "parameters": {"p": {"$ref": "#/definitions/range"}}, "resources": [], "outputs": {"o": {"value": "[parameters('p')]"}}"##;
    let parameters = template::parameters_of(&json(r#"{"parameters": {"p": {"value": "10.4.0.0/16"}}}"#)).unwrap();
    let evaluated = template::evaluate(&json(&of(sections)), &Context { parameters, ..Context::new(&no_file) });
    assert_eq!(outputs(&evaluated.unwrap())["o"], "10.4.0.0/16");
}

/// Devices on-premises have an address each, and a name is no address.
#[test]
fn what_is_made_up_fits_its_name() {
    let names = ["localGatewayIpAddress", "otherGateway_gatewayIpAddress", "privateIPAddress", "publicIPAddressName"];
    let declared: Vec<_> = names.iter().map(|name| format!("\"{name}\": {{\"type\": \"string\"}}")).collect();
    let read: Vec<_> = names.iter().map(|name| format!("parameters('{name}')")).collect();
    let sections = format!(
        r#""parameters": {{{}}}, "resources": [], "outputs": {{"all": {{"value": "[createArray({})]"}}}}"#,
        declared.join(", "),
        read.join(", ")
    );
    let made = outputs(&evaluate(&sections).unwrap());
    assert_eq!(made["all"], serde_json::json!(["203.0.113.1", "203.0.113.2", "10.0.0.4", "publicIPAddressName"]));
}

/// The bounds of values that are given, and of what is taken without one. A secret is not shown.
#[test]
fn parameters_keep_their_bounds() {
    let declared = |bounds: &str| format!(r#""parameters": {{"p": {{{bounds}}}}}, "resources": []"#);
    let given = |bounds: &str, value: &str| {
        let parameters = template::parameters_of(&json(&format!(r#"{{"parameters": {{"p": {{"value": {value}}}}}}}"#)));
        let context = Context { parameters: parameters.expect("a parameter file"), ..Context::new(&no_file) };
        let evaluated = template::evaluate(&json(&of(&declared(bounds))), &context);
        evaluated.err().map(|mistakes| (mistakes[0].message.clone(), mistakes[0].expected.clone().unwrap_or_default()))
    };
    let int = r#""type": "int", "minValue": 2, "maxValue": 4"#;
    let text = r#""type": "securestring", "minLength": 2, "maxLength": 4"#;
    let list = r#""type": "array", "minLength": 1, "maxLength": 2"#;
    for (bounds, value, message, expected) in [
        (int, "1", "The value of the parameter `p` is 1.", "a value of at least 2"),
        (int, "\"5\"", "The value of the parameter `p` is 5.", "a value of at most 4"),
        (text, "\"a\"", "The length of the parameter `p` is 1.", "a length of at least 2"),
        (text, "\"secret\"", "The length of the parameter `p` is 6.", "a length of at most 4"),
        (list, "[]", "The length of the parameter `p` is 0.", "a length of at least 1"),
        (list, "[1, 2, 3]", "The length of the parameter `p` is 3.", "a length of at most 2"),
    ] {
        assert_eq!(given(bounds, value), Some((message.to_owned(), expected.to_owned())), "{bounds}: {value}");
    }
    for (bounds, value) in
        [(int, "2"), (int, "4"), (text, "\"ab\""), (text, "\"abcd\""), (list, "[1]"), (list, "[1, 2]")]
    {
        assert_eq!(given(bounds, value), None, "{bounds}: {value}");
    }
    // Published files of parameters leave these to be generated.
    assert_eq!(given(text, "\"GEN-UNIQUE\""), None);
    let read =
        r#""parameters": {"p": {"type": "string"}}, "resources": [], "outputs": {"o": {"value": "[parameters('p')]"}}"#;
    let parameters = template::parameters_of(&json(r#"{"parameters": {"p": {"value": "GEN-UNIQUE-8"}}}"#)).unwrap();
    let evaluated = template::evaluate(&json(&of(read)), &Context { parameters, ..Context::new(&no_file) });
    assert_eq!(outputs(&evaluated.unwrap())["o"], "pxxxxxxx");
}

/// Azure takes a resource once in a template; conditions, nested templates and what exists may name it again.
#[test]
fn a_resource_is_defined_once() {
    let network = |more: &str| format!(r#"{{"type": "Microsoft.Network/virtualNetworks", "name": "hub"{more}}}"#);
    let nested = format!(
        r#"{{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {{"template": {{"resources": [{}]}}}}}}"#,
        network("")
    );
    let both = |other: &str| format!("\"resources\": [{},\n{other}]", network(""));
    for (other, said_twice) in [
        (network(r#", "apiVersion": "2020-01-01""#), true),
        (network("").replace("hub", "HUB"), true),
        (network(r#", "condition": false"#), false),
        (network(r#", "existing": true"#), false),
        (network(r#", "resourceGroup": "other""#), false),
        (nested, false),
    ] {
        let mistakes = evaluate(&both(&other)).err().unwrap_or_default();
        assert_eq!(!mistakes.is_empty(), said_twice, "{other}: {mistakes:?}");
        if let Some(mistake) = mistakes.first() {
            assert_eq!(mistake.at.line, 3, "{mistake}");
            assert!(mistake.message.contains("twice: the first is at main.json:2:"), "{mistake}");
        }
    }
    let copied = network(r#", "copy": {"name": "c", "count": 2}"#);
    assert!(said(&format!("\"resources\": [{copied}]"))[0].contains("twice: each turn of its `copy` makes it"));
}

#[test]
fn what_is_the_same_each_time_is_noted() {
    let sections = r#""resources": [], "outputs": {"o": {"value": "[concat(utcNow(), newGuid())]"}}"#;
    let notes = evaluate(sections).unwrap().notes;
    assert!(
        noted(&notes, "`newGuid` returns the same value each time") && noted(&notes, "`utcNow` returns 2026-01-01")
    );
}

/// Without a name the loop of the resource is meant, also where another is around the expression.
#[test]
fn a_loop_in_a_loop_has_an_index_of_its_own() {
    let sections = r#""resources": [{"type": "A.B/c", "apiVersion": "2024-01-01", "name": "[concat('r', copyIndex())]",
        "copy": {"name": "outer", "count": 2}, "properties": {"copy": [{"name": "items", "count": 3,
            "input": "[format('{0}-{1}', copyIndex(), copyIndex('items'))]"}]}}]"#;
    let evaluated = evaluate(sections).unwrap();
    assert_eq!(names(&evaluated), ["r0", "r1"]);
    let items = |at: usize| evaluated.resources[at].body.to_json()["properties"]["items"].clone();
    assert_eq!(items(0), serde_json::json!(["0-0", "0-1", "0-2"]));
    assert_eq!(items(1), serde_json::json!(["1-0", "1-1", "1-2"]));
}

#[test]
fn copies_of_everything() {
    let evaluated = evaluate(
        r#""variables": {
            "copy": [{"name": "ports", "count": 3, "input": "[add(80, copyIndex('ports'))]"}],
            "inner": {"copy": [{"name": "names", "count": 2, "input": {"name": "[concat('n', copyIndex('names', 1))]"}}], "other": true}},
        "resources": [{"type": "Microsoft.Network/virtualNetworks", "apiVersion": "1", "name": "[concat('vnet', copyIndex(1))]",
            "copy": {"name": "vnets", "count": 2}, "condition": "[less(copyIndex(), 5)]",
            "properties": {"copy": [{"name": "subnets", "count": 2, "input": {
                "name": "[format('s{0}', copyIndex('subnets'))]",
                "properties": {"addressPrefix": "[cidrSubnet(format('10.{0}.0.0/16', copyIndex()), 24, copyIndex('subnets'))]"}}}]}},
            {"type": "Microsoft.Network/routeTables", "name": "none", "condition": false},
            {"type": "Microsoft.Network/routeTables", "name": "zero", "copy": {"name": "c", "count": 0}}],
        "outputs": {"ports": {"value": "[variables('ports')]"}, "inner": {"value": "[variables('inner')]"},
            "ids": {"copy": {"count": 2, "input": "[concat('id', copyIndex())]"}}, "no": {"condition": false, "value": 1}}"#,
    )
    .unwrap();
    assert_eq!(
        outputs(&evaluated),
        serde_json::json!({"ports": [80, 81, 82], "inner": {"names": [{"name": "n1"}, {"name": "n2"}], "other": true}, "ids": ["id0", "id1"]})
    );
    assert_eq!(names(&evaluated), ["vnet1", "vnet2"]);
    let second = evaluated.resources[1].body.to_json();
    assert_eq!(
        second["properties"]["subnets"][1],
        serde_json::json!({"name": "s1", "properties": {"addressPrefix": "10.1.1.0/24"}})
    );
    assert!(second.get("copy").is_none() && second.get("condition").is_none() && second.get("apiVersion").is_none());
}

#[test]
fn children_have_their_full_type_name_and_id() {
    let evaluated = evaluate(
        r#""resources": [{"type": "Microsoft.Network/virtualNetworks", "name": "hub", "location": "[resourceGroup().location]",
            "resources": [{"type": "subnets", "name": "a"}, {"type": "providers/locks", "name": "Microsoft.Authorization/l"}]},
            {"type": "Microsoft.Network/virtualNetworks/subnets", "name": "hub/b"},
            {"type": "Microsoft.Authorization/locks", "name": "m", "scope": "Microsoft.Network/virtualNetworks/hub"}]"#,
    )
    .unwrap();
    let hub = format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/hub");
    let ids: Vec<_> = evaluated.resources.iter().map(|resource| resource.id.as_str()).collect();
    let lock = format!("{hub}/providers/Microsoft.Authorization/locks/l");
    assert_eq!(ids[..4], [hub.as_str(), &format!("{hub}/subnets/a"), &lock, &format!("{hub}/subnets/b")]);
    assert!(ids[4].ends_with("/virtualNetworks/hub/providers/Microsoft.Authorization/locks/m"));
    assert_eq!(evaluated.resources[1].kind, "Microsoft.Network/virtualNetworks/subnets");
    assert_eq!(evaluated.resources[1].name, "hub/a");
    assert_eq!(evaluated.resources[0].body.to_json(), serde_json::json!({"location": "eastus"}));
}

#[test]
fn references_answer_from_the_template_and_else_say_so() {
    let evaluated = evaluate(
        r#""resources": [
            {"type": "Microsoft.Network/localNetworkGateways", "name": "site",
                "properties": {"gatewayIpAddress": "[reference('ip').ipAddress]"}},
            {"type": "Microsoft.Network/publicIPAddresses", "name": "ip", "sku": {"name": "Standard"}},
            {"type": "Microsoft.Network/virtualNetworks", "name": "hub", "properties": {"subnets": [{"name": "a", "properties": {"addressPrefix": "10.0.0.0/24"}}]}}],
        "outputs": {
            "prefix": {"value": "[reference(resourceId('Microsoft.Network/virtualNetworks', 'hub'), '1').subnets[0].properties.addressPrefix]"},
            "id": {"value": "[reference('hub').subnets[0].id]"},
            "sku": {"value": "[reference('ip', '1', 'Full').sku.name]"},
            "key": {"value": "[listKeys('x', '1').keys[0].value]"},
            "away": {"value": "[first(reference('/subscriptions/s/x').hosts).fqdn]"}}"#,
    )
    .unwrap();
    let found = outputs(&evaluated);
    assert_eq!(found["prefix"], "10.0.0.0/24");
    assert_eq!(found["id"], format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/hub/subnets/a"));
    assert_eq!(found["sku"], "Standard");
    assert!(noted(&evaluated.notes, "`listKeys` returns secrets that were made up."));
    assert!(noted(&evaluated.notes, "`/subscriptions/s/x` is not in the template"));
    // The address that the site was told is the one that the public address has.
    let [site, ip, _] = &evaluated.resources[..] else { panic!("three resources") };
    assert_eq!(site.body.to_json()["properties"]["gatewayIpAddress"], "203.0.113.1");
    assert_eq!(ip.body.to_json()["properties"]["ipAddress"], "203.0.113.1");
    let cycle = r#""resources": [{"type": "A.B/c", "name": "x", "properties": "[reference('y')]"}, {"type": "A.B/c", "name": "y", "properties": "[reference('x')]"}]"#;
    assert!(said(cycle)[0].contains("The resource `x` refers to itself"), "{:?}", said(cycle));
}

const NESTED: &str = r#""parameters": {"name": {"type": "string", "defaultValue": "outer"}},
    "resources": [
        {"type": "Microsoft.Resources/deployments", "name": "first", "properties": {SCOPE
            "parameters": {"name": {"value": "[concat(parameters('name'), '-inner')]"}},
            "template": {"parameters": {"name": {"type": "string"}}, "resources": [{"type": "Microsoft.Network/routeTables", "name": "[parameters('name')]"}],
                "outputs": {"made": {"type": "string", "value": "[parameters('name')]"}}}}},
        {"type": "Microsoft.Network/virtualNetworks", "name": "[concat('v-', parameters('name'))]",
            "tags": {"from": "[reference('first').outputs.made.value]"}}]"#;

#[test]
fn an_interface_gets_the_address_that_a_route_was_told() {
    let evaluated = evaluate(
        r#""resources": [
            {"type": "Microsoft.Network/routeTables", "name": "t", "properties": {"routes": [{"name": "r", "properties": {
                "nextHopIpAddress": "[reference(resourceId('Microsoft.Network/networkInterfaces', 'nva')).ipConfigurations[0].properties.privateIPAddress]"}}]}},
            {"type": "Microsoft.Network/networkInterfaces", "name": "nva", "properties": {"ipConfigurations": [{"name": "c", "properties": {
                "privateIPAllocationMethod": "Dynamic", "subnet": {"id": "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]"}}}]}},
            {"type": "Microsoft.Network/virtualNetworks", "name": "v", "properties": {"subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.7.0/24"}}]}}],
        "outputs": {"same": {"value": "[reference('nva', '1', 'full').properties.ipConfigurations[0].properties.privateIPAddress]"}}"#,
    )
    .unwrap();
    let route =
        evaluated.resources[0].body.to_json()["properties"]["routes"][0]["properties"]["nextHopIpAddress"].clone();
    assert_eq!(route, "10.0.7.254");
    let interface = evaluated.resources[1].body.to_json()["properties"]["ipConfigurations"][0]["properties"].clone();
    assert_eq!((&interface["privateIPAddress"], &interface["privateIPAllocationMethod"]), (&route, &"Static".into()));
    assert_eq!(outputs(&evaluated)["same"], route);
}

#[test]
fn nested_templates_have_their_own_names_only_in_an_inner_scope() {
    let inner = evaluate(&NESTED.replace("SCOPE", r#""expressionEvaluationOptions": {"scope": "inner"},"#)).unwrap();
    assert_eq!(names(&inner), ["outer-inner", "v-outer"]);
    assert_eq!(inner.resources[1].body.to_json()["tags"]["from"], "outer-inner");
    let outer = evaluate(&NESTED.replace("SCOPE", "")).unwrap();
    assert_eq!(names(&outer), ["outer", "v-outer"]);
    let group = evaluate(
        r#""resources": [{"type": "Microsoft.Resources/deployments", "name": "d", "resourceGroup": "other", "properties": {
            "expressionEvaluationOptions": {"scope": "inner"}, "template": {"resources": [
                {"type": "Microsoft.Network/routeTables", "name": "[resourceGroup().name]"}]}}}]"#,
    );
    assert!(
        group.unwrap().resources[0]
            .id
            .as_str()
            .ends_with("/resourceGroups/other/providers/Microsoft.Network/routeTables/other")
    );
}

#[test]
fn what_bicep_compiles_to() {
    let evaluated = evaluate(
        r#""languageVersion": "2.0", "metadata": {"_generator": {"name": "bicep", "version": "0.30"}},
        "functions": [{"namespace": "__bicep", "members": {"twice": {"parameters": [{"type": "string", "name": "x"}],
            "output": {"type": "string", "value": "[format('{0}{0}', parameters('x'))]"}}}}],
        "resources": {
            "old": {"existing": true, "type": "Microsoft.Network/virtualNetworks", "apiVersion": "1", "name": "there"},
            "tables": {"copy": {"name": "tables", "count": "[length(range(0, 2))]"}, "type": "Microsoft.Network/routeTables", "apiVersion": "1",
                "name": "[format('{0}-{1}', __bicep.twice('t'), range(0, 2)[copyIndex()])]", "properties": {"n": "[copyIndex()]"}},
            "module": {"type": "Microsoft.Resources/deployments", "apiVersion": "1", "name": "m", "properties": {
                "expressionEvaluationOptions": {"scope": "inner"}, "mode": "Incremental",
                "parameters": {"n": {"value": "[reference('tables[1]').n]"}},
                "template": {"languageVersion": "2.0", "contentVersion": "1.0.0.0", "parameters": {"n": {"type": "int"}},
                    "resources": {"t": {"type": "Microsoft.Network/virtualNetworks", "name": "[format('v{0}', parameters('n'))]"}},
                    "outputs": {"id": {"type": "string", "value": "[resourceId('Microsoft.Network/virtualNetworks', format('v{0}', parameters('n')))]"}}}},
                "dependsOn": ["tables", "old"]}},
        "outputs": {"id": {"value": "[reference('module').outputs.id.value]"}, "info": {"value": "[resourceInfo('old').id]"}}"#,
    )
    .unwrap();
    assert_eq!(names(&evaluated), ["there", "tt-0", "tt-1", "v1"]);
    assert!(evaluated.resources[0].existing && !evaluated.resources[1].existing);
    let network = |name: &str| format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/{name}");
    assert_eq!(outputs(&evaluated), serde_json::json!({"id": network("v1"), "info": network("there")}));
}

/// Links that were asked for, each with the file that it is in.
type Asked = Vec<(String, String)>;

/// A template with one link, and the files that were asked for.
fn linked(link: &str) -> (Result<Evaluated, Vec<Mistake>>, Asked) {
    let asked = std::cell::RefCell::new(Vec::new());
    let files = |link: &str, from: &str| {
        asked.borrow_mut().push((link.to_owned(), from.to_owned()));
        match link {
            "nested/net.json" => Ok((
                "nested/net.json".into(),
                r#"{"resources": [{"type": "Microsoft.Network/virtualNetworks", "name": "linked"}], "outputs": {"o": {"value": 5}}}"#.to_owned(),
            )),
            // Another file of the same name is meant; this one would lead to itself.
            "main.json" => Ok(("./main.json".into(), "{}".to_owned())),
            _ => Err("no such file".to_owned()),
        }
    };
    let sections = format!(
        r#""resources": [{{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {{"templateLink": {{{link}}}}}}}],
        "outputs": {{"o": {{"value": "[reference('d').outputs.o.value]"}}}}"#
    );
    let evaluated = template::evaluate(&json(&of(&sections)), &Context::new(&files));
    (evaluated, asked.into_inner())
}

#[test]
fn links_are_read_from_the_directory_alone() {
    for link in [
        r#""relativePath": "nested/net.json""#,
        r#""uri": "[uri(deployment().properties.templateLink.uri, 'nested/net.json')]""#,
        r#""uri": "https://raw.example/a/b/nested/net.json?token=1""#,
    ] {
        let (evaluated, _) = linked(link);
        let evaluated = evaluated.unwrap_or_else(|mistakes| panic!("{link}: {}", mistakes[0]));
        assert_eq!(names(&evaluated), ["linked"], "{link}");
        assert_eq!(outputs(&evaluated)["o"], 5);
    }
    for link in ["https://raw.example/a/other.json", "https://raw.example/a/main.json"] {
        let (elsewhere, asked) = linked(&format!(r#""uri": "{link}""#));
        let notes = elsewhere.unwrap().notes;
        assert!(noted(&notes, "Nothing is read from the network"), "{link}");
        assert!(notes.iter().any(|note| note.kind == NoteKind::NotRead), "{link}");
        assert!(asked.iter().all(|(link, _)| !link.contains("://") && !link.contains("..")));
    }
    for link in [
        r#""relativePath": "../secret.json""#,
        r#""relativePath": "nested/../../secret.json""#,
        r#""relativePath": "..\\secret.json""#,
        r#""relativePath": "/etc/passwd""#,
        r#""uri": "file:///etc/passwd""#,
        r#""uri": "https://raw.example/a/../../../secret.json""#,
    ] {
        let (evaluated, asked) = linked(link);
        let mistake = evaluated.expect_err("a mistake").remove(0).to_string();
        assert!(mistake.contains("leads out of the template's directory."), "{mistake}");
        assert!(asked.is_empty(), "{link} asked for {asked:?}");
    }
    let (missing, _) = linked(r#""relativePath": "none.json""#);
    assert!(
        missing.expect_err("a mistake")[0]
            .to_string()
            .contains("The linked file `none.json` cannot be read: no such file.")
    );
}
