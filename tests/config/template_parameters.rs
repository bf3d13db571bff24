//! Parameters of a template: what is a value of them, given or not.

use serde_json::{Value, json as value};
use vnet::arm::template::{self, Context, Evaluated, parameters_of};
use vnet::arm::{Mistake, parse_json};

use crate::template::{json, no_file, of};

/// A template that returns each of its parameters.
fn evaluated(parameters: &Value, definitions: &Value, given: &str) -> Result<Evaluated, Vec<Mistake>> {
    let names = parameters.as_object().unwrap().keys();
    let outputs: Value =
        names.map(|name| (name.clone(), value!({"value": format!("[parameters('{name}')]")}))).collect();
    let sections = format!(
        r#""languageVersion": "2.0", "definitions": {definitions}, "parameters": {parameters}, "resources": {{}}, "outputs": {outputs}"#
    );
    let given = parse_json(&"given.json".into(), given).unwrap();
    let context = Context { parameters: parameters_of(&given).unwrap_or_default(), ..Context::new(&no_file) };
    template::evaluate(&json(&of(&sections)), &context)
}

fn outputs(parameters: &Value, definitions: &Value, given: &str) -> Value {
    let evaluated = evaluated(parameters, definitions, given).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    assert!(evaluated.notes.is_empty(), "{:#?}", evaluated.notes);
    evaluated.outputs.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect()
}

fn refused(parameters: &Value, given: &str) -> String {
    let mistakes = evaluated(parameters, &value!({}), given).map(|_| ()).expect_err("a mistake");
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    let expected = mistakes[0].expected.clone().unwrap_or_default();
    format!("{} {expected}", mistakes[0].message)
}

/// What Bicep writes for `param x string?`, and for types of its own.
#[test]
fn nothing_is_a_value_of_what_may_be_null() {
    let definitions = value!({
        "name": {"type": "string", "nullable": true, "minLength": 2},
        "other": {"$ref": "#/definitions/name"},
        "sure": {"type": "string", "defaultValue": "from the definition"},
        "round": {"$ref": "#/definitions/round", "nullable": true},
    });
    let parameters = value!({
        "text": {"type": "string", "nullable": true},
        "list": {"type": "array", "nullable": true},
        "number": {"type": "int", "nullable": true, "minValue": 5},
        "flag": {"type": "bool", "nullable": true},
        "named": {"$ref": "#/definitions/name"},
        "twice": {"$ref": "#/definitions/other"},
        "round": {"$ref": "#/definitions/round"},
        "own": {"$ref": "#/definitions/name", "defaultValue": "own"},
        "sure": {"$ref": "#/definitions/sure"},
    });
    let nothing = outputs(&parameters, &definitions, "{}");
    let expected = value!({"text": null, "list": null, "number": null, "flag": null, "named": null, "twice": null, "round": null,
        "own": "own", "sure": "from the definition"});
    assert_eq!(nothing, expected);
    let given =
        r#"{"text": {"value": "a"}, "number": {"value": null}, "list": {"value": [1]}, "twice": {"value": "bc"}}"#;
    let given = outputs(&parameters, &definitions, given);
    assert_eq!(
        [&given["text"], &given["number"], &given["list"], &given["twice"]],
        [&value!("a"), &value!(null), &value!([1]), &value!("bc")]
    );
    // What is said of a definition is said of the parameter.
    let mistakes =
        evaluated(&parameters, &definitions, r#"{"twice": {"value": "b"}}"#).map(|_| ()).expect_err("too short");
    assert_eq!(mistakes[0].message, "The length of the parameter `twice` is 1.");
}

#[test]
fn nested_templates_may_leave_out_what_may_be_null() {
    let sections = r##""resources": [{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {
        "expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"given": {"value": null}},
        "template": {"definitions": {"o": {"type": "object", "nullable": true}}, "parameters": {"given": {"type": "string", "nullable": true}, "left": {"$ref": "#/definitions/o"}},
            "resources": [{"type": "A.B/c", "name": "[coalesce(parameters('given'), 'inner')]", "properties": "[parameters('left')]"}]}}}]"##;
    let evaluated = template::evaluate(&json(&of(sections)), &Context::new(&no_file)).unwrap();
    assert_eq!(evaluated.resources[0].name, "inner");
    assert_eq!(evaluated.resources[0].body.to_json(), value!({"properties": null}));
    assert!(evaluated.notes.is_empty(), "{:#?}", evaluated.notes);
}

/// Azure refuses a default that its own declaration does not allow, used or not.
#[test]
fn a_default_is_checked() {
    for (declared, words) in [
        (
            value!({"type": "string", "allowedValues": ["a", "b"], "defaultValue": "c"}),
            "The parameter `p` must not be `c`. one of a, b",
        ),
        (
            value!({"type": "string", "minLength": 3, "defaultValue": "ab"}),
            "The length of the parameter `p` is 2. a length of at least 3",
        ),
        (
            value!({"type": "int", "maxValue": 3, "defaultValue": 4}),
            "The value of the parameter `p` is 4. a value of at most 3",
        ),
        (
            value!({"type": "int", "defaultValue": "abc"}),
            "The value of the parameter `p` is not of its type, `int`. a value of the type `int`",
        ),
        (
            value!({"type": "bool", "defaultValue": 7.5}),
            "The value of the parameter `p` is not of its type, `bool`. a value of the type `bool`",
        ),
        (
            value!({"type": "string", "allowedValues": ["a"], "defaultValue": "[concat('b')]"}),
            "The parameter `p` must not be `b`. one of a",
        ),
    ] {
        assert_eq!(refused(&value!({"p": declared}), "{}"), words);
        // One that is given takes its place.
        if declared["type"] == "int" {
            assert_eq!(outputs(&value!({"p": declared}), &value!({}), r#"{"p": {"value": 2}}"#)["p"], 2);
        }
    }
    let unused = of(
        r#""parameters": {"p": {"type": "int", "defaultValue": "abc"}, "late": {"type": "int", "defaultValue": "[concat('x')]"}}, "resources": []"#,
    );
    let mistakes = template::evaluate(&json(&unused), &Context::new(&no_file)).map(|_| ()).expect_err("a mistake");
    assert_eq!(mistakes.len(), 1, "an expression that nothing uses is not evaluated: {mistakes:#?}");
    for (declared, expected) in [
        (value!({"type": "int", "defaultValue": "4"}), value!(4)),
        (value!({"type": "string", "allowedValues": ["Aa"], "defaultValue": "aA"}), value!("aA")),
        (value!({"type": "string", "defaultValue": "[[x]"}), value!("[x]")),
        // A secret may come from a vault, which its default says nothing of.
        (value!({"type": "secureString", "minLength": 1, "defaultValue": ""}), value!("")),
    ] {
        assert_eq!(outputs(&value!({"p": declared}), &value!({}), "{}")["p"], expected);
    }
}

#[test]
fn parameters_may_stand_alone() {
    let parameters = |text: &str| parameters_of(&parse_json(&"p.json".into(), text).unwrap()).map(|all| all.len());
    assert_eq!(parameters(r#"{"a": {"value": 1}, "b": {"reference": {}}}"#), Some(1));
    assert_eq!(parameters(r#"{"parameters": {"a": {"value": 1}}}"#), Some(1));
    for none in [r#"{"a": {"value": 1}, "b": 2}"#, r#"{"a": 1}"#, "{}", "[]", r#"{"parameters": {}}"#] {
        assert_eq!(parameters(none), None, "{none}");
    }
}

/// What is made up is as long as the declaration asks.
#[test]
fn what_is_made_up_fits() {
    let made = |declared: &Value| {
        let evaluated = evaluated(&value!({"pp": declared}), &value!({}), "{}").unwrap();
        evaluated.outputs[0].1.to_json()
    };
    for (declared, expected) in [
        (value!({"type": "string"}), "pp"),
        (value!({"type": "string", "maxLength": 1}), "p"),
        (value!({"type": "string", "minLength": 4}), "ppxx"),
        (value!({"type": "string", "allowedValues": ["b", "a"]}), "b"),
    ] {
        assert_eq!(made(&declared), expected, "{declared}");
    }
    for (declared, expected) in
        [(value!({"type": "int", "minValue": 7}), value!(7)), (value!({"type": "bool"}), value!(false))]
    {
        assert_eq!(made(&declared), expected, "{declared}");
    }
    // A number that nobody uses is checked, too.
    let unused = of(r#""parameters": {"p": {"type": "int", "maxValue": 3, "defaultValue": 4}}, "resources": []"#);
    assert!(template::evaluate(&json(&unused), &Context::new(&no_file)).is_err());
}

/// A nested template's parameters are its own: others that are given are named.
#[test]
fn a_nested_template_names_what_it_does_not_take() {
    let sections = r#""resources": [{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {
        "expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"more": {"value": 1}},
        "template": {"parameters": {"n": {"type": "int", "defaultValue": 2}}, "resources": []}}}]"#;
    let evaluated = template::evaluate(&json(&of(sections)), &Context::new(&no_file)).unwrap();
    let said: Vec<_> = evaluated.notes.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(said, ["The template main.json has no parameter `more`."]);
}

/// A name that the template does not have is a mistake only where a parameter lacks its value.
#[test]
fn a_misspelt_name_is_a_mistake_where_a_value_lacks() {
    let given = r#"{"pp": {"value": 1}}"#;
    assert!(refused(&value!({"p": {"type": "int"}}), given).contains("has no parameter `pp`"));
    let evaluated = evaluated(&value!({"p": {"type": "int", "nullable": true}}), &value!({}), given).unwrap();
    assert!(evaluated.notes.iter().any(|note| note.message.contains("has no parameter `pp`")));
}
