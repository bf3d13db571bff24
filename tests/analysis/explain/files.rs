//! Every file of the repository, every pair of its nodes: a fix that was tried can be written into the file, removes what it
//! was proposed for, opens no more than was asked, and closes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use serde_json::Value;
use vnet::analysis::{Explanation, Fix, Verdict, reach, traffic};

use super::applied::{File, closed, opened};
use super::{Learned, changes, compile, parse_query};

/// Fixes that must be met, or the files prove nothing.
const MET: usize = 60;

fn files() -> Vec<(String, File)> {
    let folders = ["config", "tests/golden/lint", "tests/conformance"].map(|folder| fs::read_dir(folder).unwrap());
    let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    let file = |text: String| {
        let mut file: Value = flat(File::parse(&text).0);
        match file.get_mut("topology") {
            Some(topology) => File(topology.take()),
            None => File(file),
        }
    };
    let all = paths.into_iter().map(|path| (path.display().to_string(), file(fs::read_to_string(path).unwrap())));
    // A name like `y` is another value to a program that reads a file as plain data.
    all.filter(|(_, file)| vnet::config::load(&file.0.to_string(), "file.yaml").is_ok()).collect()
}

/// Without ARM's `properties:`, so that paths of the model lead through the file.
fn flat(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(flat).collect(),
        Value::Object(mut members) => {
            if let Some(Value::Object(inside)) = members.remove("properties") {
                members.extend(inside);
            }
            Value::Object(members.into_iter().map(|(key, value)| (key, flat(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[test]
fn a_tried_fix_can_be_written_into_its_file_and_opens_no_more_than_was_asked() {
    let (mut met, mut wrong) = (0, Vec::new());
    for (name, file) in files() {
        let network = file.network();
        let compiled = compile(&network, &Learned::default(), 1);
        let ping = traffic(&network, Some(vnet::analysis::Probe::Ping), [].into());
        let Ok(matrix) = reach(&network, &compiled, &ping) else { continue };
        let mut tried = BTreeSet::new();
        for pair in matrix.pairs.iter().filter(|pair| pair.verdict != Verdict::Reachable) {
            for asked in [pair.destination.clone(), format!("{}:22", pair.destination)] {
                let Ok(query) = parse_query(&pair.source, &asked) else { continue };
                let Ok(answer) = vnet::analysis::explain(&network, &compiled, &query, Instant::now()) else { continue };
                let Some(fix) = answer.fix.clone().filter(|fix| fix.checked) else { continue };
                // A principal without the rights for it cannot make the change, even if it would fix the flow (PEER-41).
                let may = file.0.get("principal").is_none() || file.with(&fix).loads();
                if !may || !tried.insert(format!("{:?}", fix.changes)) {
                    continue;
                }
                met += 1;
                if let Err(error) = examine(&file, (&pair.source, &asked), &answer, &fix) {
                    wrong.push(format!(
                        "{name}, {} to {asked}: {error}\n    {:?}\n    {:?}",
                        pair.source,
                        answer.cause,
                        (&fix.text, changes(&fix))
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {met}\n{}", wrong.len(), wrong.join("\n"));
    assert!(met >= MET, "only {met} fixes");
}

fn examine(file: &File, (source, asked): (&str, &str), answer: &Explanation, fix: &Fix) -> Result<(), String> {
    let mended = file.with(fix);
    let after = mended.ask(source, asked);
    if after.cause == answer.cause {
        return Err("the obstacle is still there".to_owned());
    }
    let skewed = |answer: &Explanation| answer.warnings.iter().any(|warning| warning.starts_with("asymmetric"));
    if after.verdict == Verdict::Reachable && skewed(&after) {
        return Err(format!("{:?}", after.warnings));
    }
    let differences = file.differences(&mended, &[22]);
    let closed = closed(&differences);
    if !closed.is_empty() {
        return Err(format!("closes {closed:?}"));
    }
    let rule = fix.changes.iter().all(|change| change.path.contains("ules["));
    let route = fix.changes.iter().all(|change| {
        let table = change.path.starts_with("routeTables[") && change.path.ends_with(']');
        table || change.path.ends_with(".routeTable")
    });
    let destination = asked.trim_end_matches(":22");
    let port = if asked.ends_with(":22") { "tcp/22" } else { "ping" };
    // A rule is for one flow, a route for the networks of both ends and the appliances between them.
    let meant = |(from, to, traffic): &(String, String, String)| {
        let ends = [place(file, source), place(file, destination)];
        let near = |node: &String| ends.contains(&place(file, node)) || forwards(file, node);
        match (rule, route) {
            (true, _) => (from.as_str(), to.as_str(), traffic.as_str()) == (source, destination, port),
            (false, true) => near(from) && near(to),
            (false, false) => true,
        }
    };
    let wider: Vec<_> = opened(&differences).into_iter().filter(|pair| !meant(pair)).collect();
    if wider.is_empty() { Ok(()) } else { Err(format!("opens {wider:?}")) }
}

/// A machine's virtual network; another node's own name.
fn place(file: &File, node: &str) -> String {
    let subnet = machine(file, node).and_then(|machine| machine["networkInterfaces"][0]["subnet"].as_str());
    subnet.and_then(|subnet| subnet.split('/').next()).unwrap_or(node).to_owned()
}

fn forwards(file: &File, node: &str) -> bool {
    let nics = machine(file, node).and_then(|machine| machine["networkInterfaces"].as_array());
    nics.is_some_and(|nics| nics.iter().any(|nic| nic["enableIPForwarding"] == true))
}

fn machine<'a>(file: &'a File, node: &str) -> Option<&'a Value> {
    file.0["virtualMachines"].as_array()?.iter().find(|machine| machine["name"] == node)
}
