//! What is said of an expression that has no value, word for word.

use serde_json::Value;
use vnet::arm::template::{self, Context};

use crate::template::{json, no_file, of};

const MISTAKES: &[(&str, &str)] = &[
    ("array()", "`array` takes 1 argument, and 0 are given"),
    ("bool('x')", "Argument 1 of `bool` is neither true nor false"),
    ("int('x')", "Argument 1 of `int` is a text that is no number"),
    ("int(json('9e15'))", "Argument 1 of `int` is a number that is no number"),
    ("float('x')", "Argument 1 of `float` is no number"),
    ("concat()", "`concat` takes at least 1 argument, and 0 are given"),
    ("take('abc')", "`take` takes 2 arguments, and 1 is given"),
    ("take('abc', 'x')", "Argument 2 of `take` must be a whole number, and it is a text"),
    ("take('abc', 1, 2)", "`take` takes 2 arguments, and 3 are given"),
    ("first()", "`first` takes 1 argument, and 0 are given"),
    ("first(1, 2)", "`first` takes 1 argument, and 2 are given"),
    ("length(1)", "`length` takes a text, a list or an object, and this is a number"),
    ("contains(1, 2)", "`contains` takes a text, a list or an object, and this is a number"),
    (
        "contains('a', createArray())",
        "Argument 2 of `contains` must be a text, a number or a boolean, and it is a list",
    ),
    ("createObject('a')", "`createObject` has a key without a value"),
    (
        "createObject(createArray(), 1)",
        "Argument 1 of `createObject` must be a text, a number or a boolean, and it is a list",
    ),
    ("range(0, 10001)", "`range` makes at most 10000 numbers, and 10001 are asked for"),
    ("range(0, -1)", "Argument 2 of `range` must be a whole number from 0 on, and it is a number"),
    ("range('x', 1)", "Argument 1 of `range` must be a whole number, and it is a text"),
    ("indexFromEnd(createArray(1), 2)", "The list has no item 2 from its end"),
    ("cidrSubnet('x', 24, 0)", "`x` is not an address range such as 10.0.0.0/16"),
    ("cidrSubnet('10.0.0.0/16', 24, 256)", "10.0.0.0/16 has no subnet 256 with a prefix length of 24"),
    ("cidrSubnet('10.0.0.0/16', 33, 0)", "10.0.0.0/16 has no subnet 0 with a prefix length of 33"),
    ("cidrHost('10.0.0.0/30', 2)", "10.0.0.0/30 has no usable address 2"),
    ("cidrHost('10.0.0.0/16', -1)", "Argument 2 of `cidrHost` must be a whole number from 0 on, and it is a number"),
    ("parseCidr('10.0.0.0')", "`10.0.0.0` is not an address range such as 10.0.0.0/16"),
    ("dateTimeAdd('yesterday', 'P1D')", "`yesterday` is not a moment such as 2026-01-31T12:30:00Z"),
    ("dateTimeAdd('2026-01-01T00:00:00Z', '1D')", "`1D` is not a duration such as P1DT12H"),
    ("base64ToString('!')", "The text is not in base 64"),
    ("format('{0')", "`format` has a `{` without `}`"),
    ("format('0}')", "`format` has a `}` without `{`"),
    ("format('{x}', 1)", "`{x}` of `format` does not name an argument"),
    ("format('{1}', 1)", "`format` has no argument for `{1}`"),
    ("replace('a', '', 'b')", "Argument 2 of `replace` must not be empty"),
    ("json('{')", "The text of `json` is no JSON: The file ends in the middle of a value"),
    ("resourceId('x')", "`resourceId` needs a type such as Microsoft.Network/virtualNetworks"),
    ("resourceId('a', 'b', 'c', 'd/e')", "The type `d/e` needs 1 names, and there are 0"),
    ("resourceId('A.B/c')", "The type `A.B/c` needs 1 names, and there are 0"),
    ("map(1, lambda('x', 1))", "Argument 1 of `map` must be a list"),
    ("map(createArray(1), 1)", "A `lambda` with the names of its variables and an expression is expected"),
    ("map(createArray(1))", "A `lambda` with the names of its variables and an expression is expected"),
    ("reduce(createArray(1), 0)", "A `lambda` with the names of its variables and an expression is expected"),
    ("reduce(createArray(1))", "A `lambda` with the names of its variables and an expression is expected"),
    ("lambdaVariables('x')", "No `lambda` here has a variable `x`"),
    ("parameters('none')", "There is no parameter `none`"),
    ("parameters()", "`parameters` takes one argument"),
    ("parameters(1)", "There is no parameter `1`"),
    ("variables('none')", "There is no variable `none`"),
    ("copyIndex()", "`copyIndex` stands outside of a `copy`"),
    ("copyIndex('x')", "`copyIndex` stands outside the loop `x`"),
    ("if(1, 2)", "`if` takes three arguments"),
    ("if('x', 1, 2)", "Argument 1 of `if` must be true or false"),
    ("and('x')", "`and` and `or` take true or false"),
    ("not('x')", "Argument 1 of `not` must be true or false, and it is a text"),
    ("resourceInfo('none')", "The template has no resource `none`"),
    ("nothing()", "There is no function `nothing`"),
    ("substring('abc', 4)", "`substring` asks for 0 characters from 4 on, and the text has 3"),
    ("substring('abc', -1)", "Argument 2 of `substring` must be a whole number from 0 on, and it is a number"),
    ("join(1, ',')", "Argument 1 of `join` must be a list, and it is a number"),
    ("join(createArray(1))", "`join` takes 2 arguments, and 1 is given"),
    ("startsWith('a')", "`startsWith` takes 2 arguments, and 1 is given"),
    ("endsWith('a', 'b', 'c')", "`endsWith` takes 2 arguments, and 3 are given"),
    ("indexOf('a')", "`indexOf` takes 2 arguments, and 1 is given"),
    ("padLeft('a', 'b')", "Argument 2 of `padLeft` must be a whole number, and it is a text"),
    ("trim()", "`trim` takes 1 argument, and 0 are given"),
    ("toLower(createArray())", "Argument 1 of `toLower` must be a text, a number or a boolean, and it is a list"),
    ("add(1)", "`add` takes 2 arguments, and 1 is given"),
    ("add('x', 1)", "Argument 1 of `add` must be a whole number, and it is a text"),
    ("div(1, 0)", "`div` of 1 and 0 is no number of 64 bits"),
    ("mod(1, 0)", "`mod` of 1 and 0 is no number of 64 bits"),
    ("add(9223372036854775807, 1)", "`add` of 9223372036854775807 and 1 is no number of 64 bits"),
    ("mul(9223372036854775807, 2)", "`mul` of 9223372036854775807 and 2 is no number of 64 bits"),
    ("sub(-9223372036854775807, 2)", "`sub` of -9223372036854775807 and 2 is no number of 64 bits"),
    ("min()", "`min` takes at least 1 argument, and 0 are given"),
    ("max(createArray())", "`max` needs an argument 1"),
    ("max('x')", "Argument 1 of `max` must be a whole number, and it is a text"),
    ("less(1, 'x')", "Argument 2 of `less` must be a whole number, and it is a text"),
    ("greater('a')", "`greater` takes 2 arguments, and 1 is given"),
    ("equals(1)", "`equals` takes 2 arguments, and 1 is given"),
    ("utcNow(1)", "Argument 1 of `utcNow` must be a text, and it is a number"),
    ("utcNow('', '')", "`utcNow` takes 0 to 1 argument, and 2 are given"),
    ("union(createArray(1), createObject())", "Argument 2 of `union` must be a list, and it is an object"),
    ("union()", "`union` takes at least 1 argument, and 0 are given"),
    ("skip('abc')", "`skip` takes 2 arguments, and 1 is given"),
    ("last()", "`last` takes 1 argument, and 0 are given"),
    ("empty(1)", "`empty` takes a text, a list or an object, and this is a number"),
    ("empty()", "`empty` takes 1 argument, and 0 are given"),
    ("string()", "`string` takes 1 argument, and 0 are given"),
    ("items(1)", "Argument 1 of `items` must be an object, and it is a number"),
    ("objectKeys(1)", "Argument 1 of `objectKeys` must be an object, and it is a number"),
    ("toObject(createArray(1), 1)", "A `lambda` with the names of its variables and an expression is expected"),
    ("toObject(createArray(1), lambda('x', createArray()))", "A key must be a text"),
    ("groupBy(createArray(1), lambda('x', createArray()))", "A key must be a text"),
    ("shallowMerge(1)", "Argument 1 of `shallowMerge` must be a list, and it is a number"),
    ("flatten(1)", "Argument 1 of `flatten` must be a list, and it is a number"),
    ("deployment().nothing", "The object has no property `nothing`"),
    ("variables('none').x", "There is no variable `none`"),
    ("createObject('a', 1).b", "The object has no property `b`"),
    ("createArray(1)[1]", "A list of 1 items has no item 1"),
    ("createArray(1)['x']", "A list has no part that a text names"),
    ("createObject('a', 1)[createArray()]", "An object has no part that a list names"),
    ("1.x", "A number has no part that a text names"),
    ("tryGet(1)", "`tryGet` takes at least 2 arguments, and 1 is given"),
    ("uri('a')", "`uri` takes 2 arguments, and 1 is given"),
    ("uriComponent()", "`uriComponent` takes 1 argument, and 0 are given"),
    ("uniqueString()", "`uniqueString` takes at least 1 argument, and 0 are given"),
    ("guid()", "`guid` takes at least 1 argument, and 0 are given"),
    ("extensionResourceId('x')", "`extensionResourceId` needs a type such as Microsoft.Network/virtualNetworks"),
    ("subscriptionResourceId('x')", "`subscriptionResourceId` needs a type such as Microsoft.Network/virtualNetworks"),
    ("tenantResourceId()", "`tenantResourceId` needs a type such as Microsoft.Network/virtualNetworks"),
    (
        "managementGroupResourceId('x')",
        "`managementGroupResourceId` needs a type such as Microsoft.Network/virtualNetworks",
    ),
    ("f.g()", "There is no function `f.g`"),
    ("'a", "The expression is not well formed: a closing quote is expected at character 3, and the end is there"),
    (
        "a b",
        "The expression is not well formed: `(` after the name of a function is expected at character 3, and 'b' is there",
    ),
    (
        "a(",
        "The expression is not well formed: a function, a text in single quotes, or a number is expected at character 3, and the end is there",
    ),
    (
        "a(1,)",
        "The expression is not well formed: a function, a text in single quotes, or a number is expected at character 5, and ')' is there",
    ),
    (
        "a.b.",
        "The expression is not well formed: `(` after the name of a function is expected at character 4, and '.' is there",
    ),
    (
        "'a' 'b'",
        "The expression is not well formed: the end of the expression is expected at character 5, and '\\'' is there",
    ),
    (
        "99999999999999999999",
        "The expression is not well formed: a whole number of 64 bits is expected at character 1, and '9' is there",
    ),
];

fn said(expression: &str) -> String {
    let written = Value::from(format!("[{expression}]"));
    let sections = format!(r#""resources": [], "outputs": {{"it": {{"value": {written}}}}}"#);
    match template::evaluate(&json(&of(&sections)), &Context::new(&no_file)) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes[0].message.clone(),
    }
}

#[test]
fn each_mistake_is_named() {
    for (expression, message) in MISTAKES {
        assert_eq!(said(expression), format!("{message}, in `[{expression}]`."));
    }
}

/// Of a long expression only the beginning is shown.
#[test]
fn a_long_expression_is_cut() {
    let expression = |length: usize| format!("first(createArray(1), '{}')", "x".repeat(length));
    // With its brackets it has 27 characters besides.
    let (whole, cut) = (said(&expression(133)), said(&expression(134)));
    assert!(whole.ends_with(&format!("in `[{}]`.", expression(133))), "{whole}");
    let shown: String = format!("[{}]", expression(134)).chars().take(160).collect();
    assert!(cut.ends_with(&format!("in `{shown}…`.")), "{cut}");
}
