//! Pages of the reference that are written from the program: commands, drop reasons, lints, exit codes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command as Process;

use clap::{Arg, Command};
use serde_json::Value;
use vnet::dataplane::DropReason;

use crate::golden;
use crate::page::{GENERATED, Page, root};

/// The written part of a page stays; what follows the mark is this text.
pub(crate) fn check(path: &str, generated: &str) {
    let page = Page::read(path);
    assert!(page.text.contains(GENERATED), "{path} has no line `{}`", GENERATED.trim());
    golden::check(&root().join(path), &format!("{}{GENERATED}\n{generated}", page.written()));
}

/// As it may stand in a cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Ids of rules lead to their texts.
pub(crate) fn with_links(text: &str) -> String {
    let known = |word: &str| vnet::azure::rule(word).map(|rule| rule.id.as_str());
    let mut linked = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let id = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match known(id).filter(|known| *known == id) {
            Some(id) => {
                let lower = id.to_ascii_lowercase();
                let family = lower.split('-').next().unwrap();
                write!(linked, "[{id}](../rules/{family}.md#{lower}){}", &word[id.len()..]).unwrap();
            }
            None => linked.push_str(word),
        }
    }
    linked
}

#[test]
fn drop_reasons_are_as_declared() {
    let mut text = String::from("| reason | what happened, and where to look |\n|---|---|\n");
    for reason in DropReason::ALL {
        writeln!(text, "| `{reason}` | {} |", with_links(&cell(reason.explanation()))).unwrap();
    }
    check("docs/reference/drop-reasons.md", &text);
}

/// One finding of each lint, of the files that prove it.
#[test]
fn lints_are_those_that_the_program_has() {
    let mut found: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let mut files: Vec<_> =
        fs::read_dir(root().join("tests/golden/lint")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        for finding in findings(&file) {
            let code = finding["code"].as_str().unwrap().to_owned();
            found.entry(code).or_insert_with(|| (name.clone(), finding));
        }
    }
    let mut text = String::new();
    for (code, (file, finding)) in found {
        let [rule, message, help] = ["rule", "message", "help"].map(|key| finding[key].as_str().unwrap_or_default());
        writeln!(text, "## {code}\n\n| | |\n|---|---|").unwrap();
        writeln!(text, "| rule | {} |", with_links(rule)).unwrap();
        writeln!(text, "| for example | {} |", with_links(&cell(message))).unwrap();
        writeln!(text, "| what to do | {} |", cell(help)).unwrap();
        writeln!(text, "| seen in | `tests/golden/lint/{file}` |\n").unwrap();
    }
    check("docs/reference/lints.md", &(text.trim_end().to_owned() + "\n"));
}

/// What `validate` says of a file.
pub(crate) fn findings(file: &Path) -> Vec<Value> {
    let mut vnet = Process::new(env!("CARGO_BIN_EXE_vnet"));
    let output = vnet.args(["validate", "-o", "json"]).arg(file).current_dir(root()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `vnet --help` documents them; that is where they are taken from.
#[test]
fn exit_codes_are_those_of_the_help() {
    let help = vnet::cli::command().get_after_long_help().unwrap().to_string();
    let section = help.split("Exit codes:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let mut text = String::from("| code | means |\n|--:|---|\n");
    let mut last = String::new();
    for line in section.lines().map(str::trim) {
        match line.split_once("  ") {
            Some((code, meaning)) => writeln!(text, "| {code} | {} |", cell(meaning)).unwrap(),
            None => writeln!(last, "\n{line}").unwrap(),
        }
    }
    assert_eq!(text.lines().count(), 2 + 6, "{text}");
    check("docs/reference/exit-codes.md", &(text + &last));
}

#[test]
fn commands_are_those_of_the_command_line() {
    let mut command = vnet::cli::command();
    command.build();
    let mut text = String::from("## Options of all commands\n\n");
    arguments(&mut text, command.get_arguments().filter(|argument| argument.is_global_set()));
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(&mut text, subcommand, "vnet");
    }
    check("docs/reference/commands.md", &(text.trim_end().to_owned() + "\n"));
}

fn describe(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    writeln!(text, "## {name}\n").unwrap();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    writeln!(text, "{}.\n", escaped(first.trim_end_matches('.'))).unwrap();
    if !rest.is_empty() {
        writeln!(text, "{}\n", escaped(rest)).unwrap();
    }
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "```text\n{}\n```\n", usage.trim_start_matches("Usage: ")).unwrap();
    arguments(
        text,
        command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help"),
    );
    if let Some(after) = command.get_after_long_help() {
        writeln!(text, "```text\n{after}\n```\n").unwrap();
    }
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(text, subcommand, &name);
    }
}

/// A table of arguments and options.
fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let rows: Vec<_> = arguments.filter(|argument| !argument.is_hide_set()).map(row).collect();
    if !rows.is_empty() {
        writeln!(text, "| argument | meaning |\n|---|---|\n{}\n", rows.join("\n")).unwrap();
    }
}

fn row(argument: &Arg) -> String {
    let value = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let mut names: Vec<String> = argument.get_short().map(|short| format!("-{short}")).into_iter().collect();
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let name = match (names.is_empty(), takes) {
        (true, _) => value,
        (false, true) => format!("{} {value}", names.join(", ")),
        (false, false) => names.join(", "),
    };
    let about = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = vec![cell(&escaped(&about))];
    let values: Vec<_> = argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes && !values.is_empty() {
        meaning.push(format!("One of {}", values.join(", ")));
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        meaning.push(format!("Default: `{}`", defaults.join(" ")));
    }
    meaning.retain(|part| !part.is_empty());
    format!("| `{}` | {} |", cell(&name), meaning.join(". "))
}

/// What Markdown would take for a mark, outside of code.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(n, part)| if n % 2 == 0 { part.replace('<', "&lt;") } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join("`")
}

/// Questions to files, each of which has an answer with most of its fields.
const QUESTIONS: [&str; 17] = [
    "routes web -t config/hub-spoke.yaml",
    "rules db2 -t config/nsg-tiers.yaml",
    "next-hop web db -t config/hub-spoke.yaml",
    "flow-verify db --direction inbound --protocol tcp --local 5432 --remote web:50000 -t config/nsg-tiers.yaml",
    "explain web db:443 -t config/hub-spoke.yaml",
    "explain web db:5432 -t config/nsg-tiers.yaml",
    "reach -t config/hub-spoke.yaml",
    "lb -t config/load-balancer.yaml",
    "snat -t config/public-load-balancer.yaml",
    "public-ips -t config/internet.yaml",
    "peering ls -t config/hub-spoke.yaml",
    "gateway connections -t config/site-to-site.yaml",
    "circuit ls -t config/private-cloud-full.yaml",
    "bgp learned hub-gw -t config/site-to-site-bgp.yaml",
    "validate tests/golden/lint/nic-03-not-forwarding.yaml",
    "test --model-only config/hub-spoke.yaml",
    "rule PEER-05",
];

#[test]
fn fields_are_those_of_answers() {
    let mut text = String::new();
    for question in QUESTIONS {
        let mut vnet = Process::new(env!("CARGO_BIN_EXE_vnet"));
        let arguments = question.split(' ').chain(["-o", "json"]);
        let output = vnet.args(arguments).current_dir(root()).env_remove("VNET_LAB").output().unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{question}: {error}"));
        let mut fields = Vec::new();
        collect(&answer, String::new(), &mut fields);
        let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
        assert!(!fields.is_empty(), "{question}");
        writeln!(text, "### vnet {}\n\n{}\n", question.split(" -t ").next().unwrap(), fields.join(", ")).unwrap();
    }
    check("docs/reference/json-output.md", &(text.trim_end().to_owned() + "\n"));
}

/// The ways to everything that is no object, each once.
fn collect(value: &Value, path: String, fields: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                collect(value, format!("{path}{dot}{key}"), fields);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                collect(item, format!("{path}[]"), fields);
            }
        }
        Value::Array(_) if path.is_empty() => {}
        Value::Array(_) => push(format!("{path}[]"), fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => push(path, fields),
    }
}

fn push(field: String, fields: &mut Vec<String>) {
    if !fields.contains(&field) {
        fields.push(field);
    }
}
