//! Results as JUnit XML, as CI systems read it.

use std::fmt::Write;

use crate::analysis::ProblemKind;

use super::report::{Report, Tested};

pub(super) fn render(report: &Report) -> String {
    let total: f64 = report.tests.iter().map(|test| test.took.as_secs_f64()).sum();
    let errors = report.tests.iter().filter(|test| is_error(test) && !test.is_warning()).count();
    let counts = format!(
        r#"tests="{}" failures="{}" errors="{errors}" skipped="{}" time="{total:.3}""#,
        report.tests.len() + report.programs.len(),
        report.failed - errors + report.programs.len(),
        report.skipped + report.warnings
    );
    let name = escape(&report.name);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite name=\"{name}\" {counts}>\n"
    );
    for test in &report.tests {
        case(&mut out, &name, test);
    }
    for program in &report.programs {
        let [node, message, body] = [&program.node, &program.in_one_line(), &program.to_string()].map(|it| escape(it));
        let _ = writeln!(
            out,
            "    <testcase classname=\"{name}\" name=\"program of {node}\" time=\"0.000\">\n      \
             <failure message=\"{message}\" type=\"program\">{body}</failure>\n    </testcase>"
        );
    }
    out + "  </testsuite>\n</testsuites>\n"
}

fn case(out: &mut String, suite: &str, test: &Tested) {
    let (name, seconds) = (escape(&test.name), test.took.as_secs_f64());
    let _ = write!(out, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{seconds:.3}\"");
    if test.passed {
        out.push_str("/>\n");
        return;
    }
    if let Some(why) = &test.skipped {
        let _ = writeln!(out, "><skipped message=\"{}\"/></testcase>", escape(why));
        return;
    }
    if test.is_warning() {
        let _ = writeln!(out, "><skipped message=\"warning: {}\"/></testcase>", escape(&test.message()));
        return;
    }
    let element = if is_error(test) { "error" } else { "failure" };
    let kind = test.problems.first().map_or("", |problem| kind(problem.kind));
    let lines: Vec<String> = test.problems.iter().map(|problem| problem.text.clone()).collect();
    let body = [lines, test.advice(), test.notes.clone()].concat().join("\n");
    let message = escape(&test.message());
    let body = escape(&body);
    let _ =
        writeln!(out, ">\n      <{element} message=\"{message}\" type=\"{kind}\">{body}</{element}>\n    </testcase>");
}

/// It was not answered, rather than answered badly.
fn is_error(test: &Tested) -> bool {
    test.problems.first().is_some_and(|problem| problem.kind == ProblemKind::Unasked)
}

fn kind(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Verdict => "verdict",
        ProblemKind::Way => "way",
        ProblemKind::Rule => "rule",
        ProblemKind::Defect => "defect",
        ProblemKind::Unasked => "unasked",
        ProblemKind::Idle => "idle",
    }
}

/// Text for content and attributes. XML 1.0 has no way to write most control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_document() {
        assert_eq!(escape("a<b> & \"c\"\u{1b}\n"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\n");
    }
}
