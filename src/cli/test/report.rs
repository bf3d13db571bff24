//! The results of a run as data: what `-o json` prints and the other formats are made from.

use std::time::Duration;

use serde::Serialize;

use crate::analysis::{Explanation, Fix, Forecast, Observed, Problem, ProblemKind, Query};
use crate::cli::ended::EndedProgram;
use crate::cli::table::Table;
use crate::model::{TestCase, Verdict};

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The topology's.
    pub(super) name: String,
    /// Where real packets were sent; None if the model alone was asked.
    pub(super) lab: Option<String>,
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Those that only real packets can answer, where none were sent.
    pub(super) skipped: usize,
    pub(super) tests: Vec<Tested>,
    /// Programs of the file that failed: each counts as a failure.
    #[serde(rename = "failedPrograms", skip_serializing_if = "Vec::is_empty")]
    pub(super) programs: Vec<EndedProgram>,
}

/// One test.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tested {
    pub(super) name: String,
    pub(super) passed: bool,
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    pub(super) from: String,
    /// `db:443`, `db:53/udp`, or `db` for a ping.
    pub(super) to: String,
    pub(super) expect: Verdict,
    #[serde(rename = "model")]
    pub(super) forecast: Option<Forecast>,
    #[serde(rename = "packets")]
    pub(super) observed: Option<Observed>,
    pub(super) problems: Vec<Problem>,
    /// Why the model says that it is blocked, where it should not be.
    pub(super) cause: Option<String>,
    pub(super) fix: Option<Fix>,
    pub(super) notes: Vec<String>,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(super) took: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Tested {
    /// With the model's answer, not yet judged.
    pub(super) fn foretold(
        wanted: &TestCase,
        query: &Query,
        forecast: Result<Forecast, String>,
        explanation: Option<Explanation>,
    ) -> Self {
        let (from, to) = query.spelled();
        let (forecast, problems) = match forecast {
            Ok(forecast) => (Some(forecast), Vec::new()),
            Err(text) => (None, vec![Problem { kind: ProblemKind::Unasked, text }]),
        };
        let (cause, fix) = explanation.map(|explanation| (explanation.cause, explanation.fix)).unwrap_or_default();
        Self {
            name: wanted.name.clone(),
            passed: false,
            skipped: None,
            from,
            to,
            expect: wanted.expect,
            forecast,
            observed: None,
            problems,
            cause,
            fix,
            notes: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// All that speaks against it, in one line.
    pub(super) fn message(&self) -> String {
        self.problems.iter().map(|problem| problem.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Cause and fix, a line each.
    pub(super) fn advice(&self) -> Vec<String> {
        let cause = self.cause.iter().map(|cause| format!("cause: {cause}"));
        let fix = self.fix.iter().map(|fix| format!("fix: {}", fix.text));
        let changes = self.fix.iter().flat_map(|fix| &fix.changes).map(|change| match &change.value {
            Some(value) => format!("  {}: {value}", change.path),
            None => format!("  remove {}", change.path),
        });
        cause.chain(fix).chain(changes).collect()
    }
}

impl Report {
    pub(super) fn new(name: &str, lab: Option<String>, mut tests: Vec<Tested>, programs: Vec<EndedProgram>) -> Self {
        for test in &mut tests {
            if !test.problems.is_empty() {
                test.skipped = None;
            }
            test.passed = test.problems.is_empty() && test.skipped.is_none();
        }
        let passed = tests.iter().filter(|test| test.passed).count();
        let skipped = tests.iter().filter(|test| test.skipped.is_some()).count();
        let failed = tests.len() - passed - skipped;
        Self { name: name.to_owned(), lab, passed, failed, skipped, tests, programs }
    }

    pub(super) fn is_fine(&self) -> bool {
        self.failed == 0 && self.programs.is_empty()
    }

    pub(super) fn summary(&self) -> String {
        let how = match &self.lab {
            Some(lab) => &format!("in the model and with real packets in lab {lab}"),
            None => "in the model alone",
        };
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} skipped", self.skipped) };
        let programs = match self.programs.len() {
            0 => String::new(),
            1 => ", 1 program failed".to_owned(),
            several => format!(", {several} programs failed"),
        };
        let summary =
            format!("{}: {} passed, {} failed{skipped}{programs}, {how}", self.name, self.passed, self.failed);
        let defects = self.tests.iter().flat_map(|test| &test.problems);
        let defects = defects.filter(|problem| problem.kind == ProblemKind::Defect).count();
        if defects == 0 {
            return summary;
        }
        let show = if defects == 1 { "1 test shows" } else { &format!("{defects} tests show") };
        format!(
            "{summary}\n      {show} the model to differ from real packets: \
             a defect of vnet, unless a guest filters or changes packets"
        )
    }

    pub(super) fn table(&self) -> Table {
        let programs = self
            .programs
            .iter()
            .map(|program| ["not ok".to_owned(), format!("program of {}", program.node), program.in_one_line()]);
        let tests = self.tests.iter().map(|test| {
            let result = match (&test.skipped, test.passed) {
                (Some(_), _) => "skipped",
                (None, true) => "ok",
                (None, false) => "not ok",
            };
            [result.to_owned(), test.name.clone(), test.skipped.clone().unwrap_or_else(|| test.message())]
        });
        Table::new(&["Result", "Test", "Message"]).rows(tests.chain(programs))
    }
}
