//! Results in the Test Anything Protocol, version 14: <https://testanything.org/tap-version-14-specification.html>.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::yaml;

use super::report::{ModelAnswer, Packets, Report, Tested, Words};

/// What stands below a test that failed.
#[derive(Serialize)]
struct Diagnostics<'a> {
    problems: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advice: Vec<String>,
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    expect: Words,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<Words>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'a str>,
}

/// What stands below a program that failed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgramFailure<'a> {
    problems: [String; 1],
    last_lines: Vec<&'a str>,
}

pub(super) fn render(report: &Report) -> String {
    let count = report.tests.len();
    let mut text = format!("TAP version 14\n1..{}\n", count + report.programs.len());
    for (index, test) in report.tests.iter().enumerate() {
        let (number, name) = (index + 1, description(&test.name));
        if let Some(why) = &test.skipped {
            let _ = writeln!(text, "ok {number} - {name} # SKIP {why}");
            continue;
        }
        let result = if test.passed { "ok" } else { "not ok" };
        // A failure that is to be known and fails nothing: a directive of TAP.
        let directive = if test.is_warning() { " # TODO a warning" } else { "" };
        let _ = writeln!(text, "{result} {number} - {name}{directive}");
        if test.passed {
            test.notes.iter().for_each(|note| text.extend(["# ", note, "\n"]));
        } else {
            text += &diagnostics(test);
        }
    }
    for (index, program) in report.programs.iter().enumerate() {
        let (number, name) = (count + index + 1, description(&program.node));
        let lines: Vec<&str> = program.last_lines.iter().map(String::as_str).collect();
        let failure = ProgramFailure { problems: [program.in_one_line()], last_lines: lines };
        let _ = writeln!(text, "not ok {number} - program of {name}");
        text += &block(&failure);
    }
    text
}

/// `#` begins a directive.
fn description(name: &str) -> String {
    name.replace('\\', "\\\\").replace('#', "\\#")
}

/// A YAML block, indented by two.
fn diagnostics(test: &Tested) -> String {
    let diagnostics = Diagnostics {
        problems: test.problems.iter().map(|problem| problem.text.as_str()).collect(),
        advice: test.advice(),
        from: &test.from,
        to: test.to.as_deref(),
        expect: test.expect.clone(),
        model: test.model.as_ref().map(|model| match model {
            ModelAnswer::Forecast(forecast) => Words::Verdict(forecast.verdict),
            ModelAnswer::Text { answer } => Words::Text(answer.clone()),
        }),
        packets: test.packets.as_ref().map(|packets| match packets {
            Packets::Observed(observed) => Words::Verdict(observed.verdict),
            Packets::Text { answer } => Words::Text(answer.clone()),
        }),
        notes: test.notes.iter().map(String::as_str).collect(),
    };
    block(&diagnostics)
}

fn block(diagnostics: &impl Serialize) -> String {
    // Words and lists of words can always be written.
    let yaml = yaml::to_string(diagnostics).unwrap_or_default();
    let lines = ["---"].into_iter().chain(yaml.lines()).chain(["..."]);
    lines.flat_map(|line| ["  ", line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_begin_a_directive() {
        assert_eq!(description(r"a \ b # TODO"), r"a \\ b \# TODO");
    }
}
