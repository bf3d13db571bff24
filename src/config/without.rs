//! The topology of a file without what one of its tests shows, so that the test can be seen to fail.
//!
//! The edited topology has that test alone: others may name what is gone. It is checked like any file, because a test
//! proves nothing in a network that Azure would refuse.

use crate::model::{Existing, Network};

use super::schema::test_case::{TestCase, test_case};
use super::yaml::diagnostic::{At, Diagnostic, Report};
use super::yaml::tree::{self, Node, Value};
use super::{Context, Errors, Files, Lists, Loaded, check as check_document, schema};

/// A topology without one thing.
pub struct Without {
    pub loaded: Loaded,
    /// As YAML.
    pub text: String,
}

/// Reads a file without what its test number `index` shows.
pub fn load_without(text: &str, file: &str, files: Files<'_>, index: usize) -> Result<Without, Errors> {
    let mut report = Report::default();
    let root = tree::parse(text, &mut report).and_then(|mut root| {
        let mut node = test_of(&root, index)?;
        let case = test_case(&node, &mut report)?;
        edit(&mut root, &case, Report::error, &mut report);
        forget(&mut node, &case);
        if let Value::Map(entries) = &mut root.value
            && let Some((_, tests)) = entries.iter_mut().find(|(key, _)| key.value == "tests")
        {
            tests.value = Value::List(vec![node]);
        }
        Some(root)
    });
    let text = root.as_ref().map(|root| root.json().to_string()).unwrap_or_default();
    let document = root.and_then(|root| schema::document(&root, Lists::default(), &mut report));
    let existing = Existing::default();
    let loaded = check_document(document, report, Context { file, existing: &existing, files })?;
    Ok(Without { loaded, text })
}

/// The warning about paths that lead nowhere: the network is good all the same.
pub(super) fn warnings(text: &str, network: &Network) -> Vec<Diagnostic> {
    if network.tests.iter().all(|test| test.without.is_empty()) {
        return Vec::new();
    }
    let mut report = Report::default();
    let Some(root) = tree::parse(text, &mut report) else { return Vec::new() };
    for index in 0..network.tests.len() {
        let mut edited = root.clone();
        let case = test_of(&edited, index).and_then(|node| test_case(&node, &mut report));
        if let Some(case) = case {
            edit(&mut edited, &case, Report::warning, &mut report);
        }
    }
    report.into_result().map_or_else(|errors| errors.0, |(warnings, _)| warnings)
}

fn test_of(root: &Node, index: usize) -> Option<Node> {
    let Value::Map(entries) = &root.value else { return None };
    let Value::List(tests) = &entries.iter().find(|(key, _)| key.value == "tests")?.1.value else { return None };
    tests.get(index).cloned()
}

/// The edits are made. A test whose rule is taken out asks for the verdict alone: no other rule has that name.
fn forget(node: &mut Node, test: &TestCase) {
    let rule = test.rule.as_ref().map(|rule| rule.value[1].as_str());
    let rule = rule.map(|rule| rule.rsplit('/').next().unwrap_or(rule));
    let removed = test.without.iter().filter(|edit| edit.value.is_none());
    let is_removed = removed.filter_map(|edit| edit.path.value.rsplit('/').next()).any(|name| Some(name) == rule);
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|(key, _)| key.value != "without" && !(is_removed && key.value == "rule"));
    }
}

/// How a path that leads nowhere is reported.
type Say = fn(&mut Report, At, String) -> &mut Diagnostic;

fn edit(root: &mut Node, test: &TestCase, say: Say, report: &mut Report) {
    for edit in &test.without {
        if let Err(missing) = edit.make(root) {
            let diagnostic = say(report, edit.path.at, missing.message);
            diagnostic.expected("a path of keys and names, such as `virtualNetworks/hub/subnets/app/routeTable`");
            if let Some(help) = missing.help {
                diagnostic.help(help);
            }
        }
    }
}
