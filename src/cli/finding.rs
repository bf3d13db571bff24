//! What is wrong or doubtful in a file, as data.

use serde::Serialize;

use super::input::Input;
use super::table::Table;
use crate::config::{Diagnostic, Location, Severity};

/// A diagnostic and its file.
#[derive(Serialize)]
pub(super) struct Finding<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: &'static str,
    /// Azure's error code, or the lint's name.
    code: Option<&'a str>,
    rule: Option<&'a str>,
    message: &'a str,
    path: &'a str,
    expected: Option<&'a str>,
    help: Option<&'a str>,
}

pub(super) fn findings<'a>(input: &'a Input, diagnostics: &'a [Diagnostic]) -> Vec<Finding<'a>> {
    let finding = |diagnostic: &'a Diagnostic| {
        let Diagnostic { severity, code, rule, message, path, location: _, expected, help } = diagnostic;
        let (file, Location { line, column, len: _ }) = input.place(diagnostic);
        Finding {
            file,
            line,
            column,
            severity: match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: *code,
            rule: *rule,
            message,
            path,
            expected: expected.as_deref(),
            help: help.as_deref(),
        }
    };
    diagnostics.iter().map(finding).collect()
}

pub(super) fn table(findings: &[Finding<'_>]) -> Table {
    let columns = &["File", "Line", "Column", "Severity", "Code", "Message", "Path"];
    Table::new(columns).rows(findings.iter().map(|finding| {
        let (line, column) = (finding.line.to_string(), finding.column.to_string());
        let code = finding.code.unwrap_or_default();
        [finding.file, &line, &column, finding.severity, code, finding.message, finding.path].map(str::to_owned)
    }))
}
