//! Limits of the template language: what is just within one is taken, and one more is refused.

use std::fmt::Write as _;

use vnet::arm::template::{self, Context, Evaluated, LARGEST, MOST_WORK};
use vnet::arm::{Mistake, Node, parse_json};

use crate::template::{json, no_file, of};

/// As long as a text may be.
const LONGEST_TEXT: usize = 1 << 20;

fn evaluated(sections: &str) -> Result<Evaluated, Vec<Mistake>> {
    template::evaluate(&json(&of(sections)), &Context::new(&no_file))
}

/// The first is taken, and the second is refused by these words.
fn bounds(taken: &str, refused: &str, words: &str) {
    if let Err(mistakes) = evaluated(taken) {
        panic!("{words}: {}", mistakes[0]);
    }
    let mistakes = evaluated(refused).map(|evaluated| evaluated.resources.len()).expect_err(words);
    assert!(mistakes.iter().any(|mistake| mistake.message.contains(words)), "{words}: {}", mistakes[0]);
}

/// Variables of which each has the one before in it, and the last of which is an output; all are, if they are asked upwards.
fn chain(inner: impl Fn(&str) -> String, last: usize, upwards: bool) -> String {
    let (mut variables, mut outputs) = (String::new(), String::new());
    for at in 1..=last {
        write!(variables, r#", "v{at}": {}"#, inner(&format!("[variables('v{}')]", at - 1))).unwrap();
    }
    for at in if upwards { 0..=last } else { last..=last } {
        write!(outputs, r#"{}"o{at}": {{"value": "[variables('v{at}')]"}}"#, if outputs.is_empty() { "" } else { "," })
            .unwrap();
    }
    format!(r#""variables": {{"v0": 1{variables}}}, "resources": [], "outputs": {{{outputs}}}"#)
}

#[test]
fn values_have_a_hundred_levels() {
    let list = |inner: &str| format!(r#"["{inner}"]"#);
    let object = |inner: &str| format!(r#"{{"k": "{inner}"}}"#);
    let words = "has more than 100 levels";
    bounds(&chain(list, 99, true), &chain(list, 100, true), words);
    bounds(&chain(object, 99, true), &chain(object, 100, true), words);
}

#[test]
fn variables_use_each_other_125_deep() {
    let same = |inner: &str| format!(r#""{inner}""#);
    let words = "Values use each other more than 250 deep";
    // A variable is one level, and the expression in it is another.
    bounds(&chain(same, 124, false), &chain(same, 125, false), words);
    assert!(evaluated(&chain(same, 1_000, true)).is_ok(), "each has only one to ask, when they are asked upwards");
}

#[test]
fn a_loop_makes_800_copies() {
    let copies = |count: usize| {
        format!(
            r#""resources": [{{"type": "A.B/c", "name": "[concat('x', copyIndex())]", "copy": {{"name": "c", "count": {count}}}}}]"#
        )
    };
    bounds(&copies(800), &copies(801), "A `copy` makes 0 to 800 copies, and its count is 801.");
    assert_eq!(evaluated(&copies(800)).unwrap().resources.len(), 800);
    assert_eq!(evaluated(&copies(0)).unwrap().resources.len(), 0);
}

#[test]
fn texts_have_a_megabyte() {
    // Sixteen bytes, doubled sixteen times.
    let mut variables = r#""v0": "0123456789abcdef""#.to_owned();
    for at in 1..=16 {
        write!(variables, r#", "v{at}": "[concat(variables('v{0}'), variables('v{0}'))]""#, at - 1).unwrap();
    }
    let output = |expression: &str| {
        format!(r#""variables": {{{variables}}}, "resources": [], "outputs": {{"o": {{"value": "[{expression}]"}}}}"#)
    };
    let words = "longer than 1048576 bytes";
    let whole = "variables('v16')";
    bounds(&output(&format!("concat({whole}, '')")), &output(&format!("concat({whole}, 'x')")), words);
    bounds(
        &output(&format!("format('{{0}}{{1}}', {whole}, '')")),
        &output(&format!("format('{{0}}{{1}}', {whole}, 'x')")),
        words,
    );
    let length = |expression: &str| match evaluated(&output(&format!("length({expression})"))) {
        Ok(evaluated) => evaluated.outputs[0].1.to_json(),
        Err(mistakes) => panic!("{}", mistakes[0]),
    };
    assert_eq!(length(&format!("concat({whole}, '')")), LONGEST_TEXT);
    assert_eq!(length("format('{0,2000000}{1}', 'a', '')"), LONGEST_TEXT, "a width that no text has");
}

#[test]
fn a_linked_file_has_four_megabytes() {
    let link = of(
        r#""resources": [{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"templateLink": {"relativePath": "net.json"}}}]"#,
    );
    let with = |length: usize| {
        let files = move |_: &str, _: &str| {
            let text = r#"{"resources": [{"type": "A.B/c", "name": "linked"}]}"#;
            Ok(("net.json".into(), text.to_owned() + &" ".repeat(length - text.len())))
        };
        template::evaluate(&json(&link), &Context::new(&files))
    };
    assert_eq!(with(LARGEST).unwrap_or_else(|mistakes| panic!("{}", mistakes[0])).resources.len(), 1);
    let mistakes = with(LARGEST + 1).map(|evaluated| evaluated.resources.len()).expect_err("too long");
    assert!(mistakes[0].message.contains("The linked file net.json is longer than 4194304 bytes."), "{}", mistakes[0]);
}

/// Directories are counted from the first template's.
#[test]
fn a_link_may_go_up_as_far_as_it_went_down() {
    let deployment = |link: &str| {
        format!(
            r#"{{"resources": [{{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {{"templateLink": {{"relativePath": "{link}"}}}}}}]}}"#
        )
    };
    let evaluate = |inner: &str| {
        let inner = deployment(inner);
        let files = move |link: &str, _: &str| match link {
            "a/b/net.json" => Ok(("./a/b/net.json".into(), inner.clone())),
            _ => Ok(("leaf.json".into(), r#"{"resources": [{"type": "A.B/c", "name": "leaf"}]}"#.to_owned())),
        };
        template::evaluate(&json(&deployment("a/b/net.json")), &Context::new(&files))
    };
    for inner in ["../../leaf.json", "../leaf.json", "./../x/../../leaf.json", "leaf.json", "..//../leaf.json"] {
        let evaluated = evaluate(inner).unwrap_or_else(|mistakes| panic!("{inner}: {}", mistakes[0]));
        assert_eq!(evaluated.resources[0].name, "leaf", "{inner}");
    }
    for inner in ["../../../leaf.json", "../../x/../../leaf.json"] {
        let mistake = evaluate(inner).map(|evaluated| evaluated.resources.len()).expect_err(inner).remove(0);
        assert!(mistake.message.contains("leads out of the template's directory."), "{inner}: {mistake}");
    }
}

/// The work of comparing the parts of two values with each other.
#[test]
fn comparing_large_values_costs_their_product() {
    let work = |expression: &str| {
        let entries: Vec<_> = (0..400).map(|at| format!(r#""k{at}": {{"a": {at}, "b": [{at}, 1]}}"#)).collect();
        let items: Vec<_> = (0..400).map(|at| format!("[{at}, 1]")).collect();
        let sections = format!(
            r#""variables": {{"o": {{{}}}, "l": [{}]}}, "resources": [], "outputs": {{"it": {{"value": "[{expression}]"}}}}"#,
            entries.join(","),
            items.join(",")
        );
        let context = Context::new(&no_file);
        let evaluated = template::evaluate(&json(&of(&sections)), &context);
        assert!(evaluated.is_ok(), "{expression}: {}", evaluated.unwrap_err()[0]);
        context.work.get()
    };
    let alone = ["o", "l"].map(|name| (name, work(&format!("length(variables('{name}'))"))));
    // Each object has 400 parts of five values, and each list 400 of three.
    for (expression, values, parts) in [
        ("equals(variables('o'), variables('o'))", 2 * (1 + 400 * 5), 400),
        ("union(variables('o'), variables('o'))", 2 * (1 + 400 * 5), 400),
        ("equals(variables('l'), variables('l'))", 2 * (1 + 400 * 3), 400),
        // One value with each item, which has two parts itself.
        ("indexOf(variables('l'), createArray(1, 2))", 4 + 400 * 3, 2),
        ("contains(variables('l'), createArray(1, 2))", 4 + 400 * 3, 2),
        ("length(intersection(variables('l'), variables('l')))", 2 * (1 + 400 * 3), 400),
    ] {
        let (_, alone) = alone.iter().find(|(name, _)| expression.contains(&format!("'{name}'"))).unwrap();
        let (cost, product) = (work(expression) - alone, values * parts / 64);
        assert!(
            (product / 2..product + 20_000).contains(&cost),
            "{expression} costs {cost}, and {product} are expected"
        );
    }
}

#[test]
fn numbers_of_arguments_are_told() {
    for (expression, words) in [
        ("array()", "`array` takes 1 argument, and 0 are given"),
        ("array(1, 2)", "`array` takes 1 argument, and 2 are given"),
        ("join('a')", "`join` takes 2 arguments, and 1 is given"),
        ("concat()", "`concat` takes at least 1 argument, and 0 are given"),
        ("substring('a')", "`substring` takes 2 to 3 arguments, and 1 is given"),
    ] {
        let sections = format!(r#""resources": [], "outputs": {{"it": {{"value": "[{expression}]"}}}}"#);
        let mistakes = evaluated(&sections).map(|evaluated| evaluated.outputs.len()).expect_err(expression);
        assert!(mistakes[0].message.contains(words), "{expression}: {}", mistakes[0]);
    }
}

#[test]
fn one_value_becomes_a_list_of_it() {
    let value = |expression: &str| -> serde_json::Value {
        let sections = format!(r#""resources": [], "outputs": {{"it": {{"value": "[{expression}]"}}}}"#);
        let outputs = evaluated(&sections).unwrap_or_else(|mistakes| panic!("{}", mistakes[0])).outputs;
        Node::to_json(&outputs[0].1)
    };
    assert_eq!(value("array('a')"), serde_json::json!(["a"]));
    assert_eq!(value("array(createArray(1, 2))"), serde_json::json!([1, 2]));
    assert_eq!(value("array(createObject('a', 1))"), serde_json::json!([{"a": 1}]));
    assert_eq!(value("createObject('a', 1, 'b', createObject('c', 2))"), serde_json::json!({"a": 1, "b": {"c": 2}}));
}

/// What is refused is not counted as done: a single call that would cost more than everything is refused for nothing.
#[test]
fn a_call_that_costs_too_much_is_refused_before_it_works() {
    let context = Context::new(&no_file);
    let sections = r#""variables": {"l": "[range(0, 9000)]"}, "resources": [],
        "outputs": {"it": {"value": "[intersection(variables('l'), range(1, 9000))]"}}"#;
    let mistakes = template::evaluate(&json(&of(sections)), &context).map(|_| ()).expect_err("too much");
    assert!(mistakes[0].message.contains("makes more than"), "{}", mistakes[0]);
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    let work = context.work.get();
    assert!((MOST_WORK..MOST_WORK + 1_000).contains(&work), "{work}");
    template::evaluate(&json(&of(r#""resources": []"#)), &context).unwrap();
    assert_eq!(context.work.get(), 0, "nothing was done");
}

#[test]
fn deployments_are_nested_eight_deep() {
    let nested = |levels: usize| {
        let mut template = r#"{"resources": [{"type": "A.B/c", "name": "inner"}]}"#.to_owned();
        for level in 0..levels {
            template = format!(
                r#"{{"resources": [{{"type": "Microsoft.Resources/deployments", "name": "d{level}", "properties": {{"template": {template}}}}}]}}"#
            );
        }
        let resources = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
        resources.to_owned()
    };
    bounds(&nested(8), &nested(9), "Deployments are nested more than 8 deep.");
}

#[test]
fn five_hundred_mistakes_are_told() {
    let outputs: Vec<_> = (0..600).map(|at| format!(r#""o{at}": {{"value": "[none{at}()]"}}"#)).collect();
    let sections = format!(r#""resources": [], "outputs": {{{}}}"#, outputs.join(", "));
    let mistakes = evaluated(&sections).map(|_| ()).expect_err("mistakes");
    assert_eq!(mistakes.len(), 500);
}

#[test]
fn a_generated_value_has_a_hundred_letters() {
    let value = |length: &str| {
        let given = parse_json(&"p.json".into(), &format!("\"GEN-UNIQUE-{length}\"")).unwrap();
        let context = Context { parameters: vec![("p".to_owned(), given)], ..Context::new(&no_file) };
        let sections = r#""parameters": {"p": {"type": "string"}}, "resources": [], "outputs": {"o": {"value": "[length(parameters('p'))]"}}"#;
        template::evaluate(&json(&of(sections)), &context).unwrap().outputs[0].1.to_json()
    };
    assert_eq!(value("100"), 100);
    assert_eq!(value("101"), 1, "one is made up by the name");
}

#[test]
fn the_form_of_a_date_has_a_hundred_letters() {
    let form = |length: usize| {
        format!(r#""resources": [], "outputs": {{"o": {{"value": "[utcNow('{}')]"}}}}"#, "y".repeat(length))
    };
    bounds(&form(100), &form(101), "The form of a date has more than 100 characters");
}

/// A deployment to a subscription, a management group or a tenant is in no resource group.
#[test]
fn only_a_deployment_to_a_group_has_one() {
    for (kind, taken) in [
        ("deploymentTemplate", true),
        ("subscriptionDeploymentTemplate", false),
        ("managementGroupDeploymentTemplate", false),
        ("tenantDeploymentTemplate", false),
    ] {
        let template = of(r#""resources": [], "outputs": {"o": {"value": "[resourceGroup().name]"}}"#)
            .replace("deploymentTemplate", kind);
        let evaluated = template::evaluate(&json(&template), &Context::new(&no_file));
        assert_eq!(evaluated.is_ok(), taken, "{kind}");
    }
}

/// A link is followed from the file that it stands in; of an address the longest path that is there counts.
#[test]
fn a_link_leads_to_the_nearest_file() {
    let files = |link: &str, from: &str| {
        let path = from.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/")) + link;
        let link = |to: &str| {
            format!(
                r#"{{"resources": [{{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {{"templateLink": {{{to}}}}}}}]}}"#
            )
        };
        let leaf = |name: &str| format!(r#"{{"resources": [{{"type": "A.B/c", "name": "{name}"}}]}}"#);
        let text = match path.as_str() {
            "nested/net.json" => link(r#""relativePath": "leaf.json""#),
            "nested/leaf.json" => leaf("near"),
            "leaf.json" | "net.json" => leaf("far"),
            _ => return Err(format!("there is no {path}")),
        };
        Ok((path.as_str().into(), text))
    };
    for link in [r#""relativePath": "nested/net.json""#, r#""uri": "https://raw.example/a/nested/net.json""#] {
        let sections = format!(
            r#""resources": [{{"type": "Microsoft.Resources/deployments", "name": "d", "properties": {{"templateLink": {{{link}}}}}}}]"#
        );
        let evaluated = template::evaluate(&json(&of(&sections)), &Context::new(&files)).unwrap();
        assert_eq!(evaluated.resources[0].name, "near", "{link}");
    }
}
