//! The results of a run as data: what `-o json` prints and the other formats are made from.

use std::time::Duration;

use serde::Serialize;

use crate::analysis::{Explanation, Fix, Forecast, Observed, Problem, ProblemKind, Query};
use crate::cli::ended::EndedProgram;
use crate::cli::table::Table;
use crate::model::{Network, Question, TestCase, TestSeverity, Verdict, counted};

use super::said::Answers;

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
    /// Those that failed and are warnings alone.
    pub(super) warnings: usize,
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
    /// Told where a failure does not fail the run.
    #[serde(skip_serializing_if = "is_error")]
    pub(super) severity: TestSeverity,
    /// The key of its question: `reach`, `http`.
    pub(super) kind: &'static str,
    pub(super) from: String,
    /// `db:443`, `db:53/udp`, or `db` for a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    pub(super) expect: Words,
    pub(super) model: Option<ModelAnswer>,
    pub(super) packets: Option<Packets>,
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

/// What serde asks of a field that is mostly left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_error(severity: &TestSeverity) -> bool {
    *severity == TestSeverity::Error
}

/// A verdict, or what is expected or said in words.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Words {
    Verdict(Verdict),
    Text(String),
}

/// What the model says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ModelAnswer {
    Forecast(Box<Forecast>),
    Text { answer: String },
}

/// What real packets did, or the running lab says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Packets {
    Observed(Observed),
    Text { answer: String },
}

impl Tested {
    /// Not asked yet.
    pub(super) fn of(network: &Network, case: &TestCase) -> Self {
        let (from, to) = match case.ends() {
            Some(ends) => {
                let (from, to) = Query::of(network, ends).spelled();
                (from, Some(to))
            }
            None => (case.question.place(network), None),
        };
        Self {
            name: case.name.clone(),
            passed: false,
            skipped: None,
            severity: case.conduct.severity,
            kind: case.question.kind(),
            from,
            to,
            expect: case.reach().map_or_else(|| Words::Text(String::new()), |reach| Words::Verdict(reach.expect)),
            model: None,
            packets: None,
            problems: Vec::new(),
            cause: None,
            fix: None,
            notes: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// With the model's answer, not yet compared with what is expected.
    pub(super) fn foretold(
        network: &Network,
        case: &TestCase,
        forecast: Result<Forecast, String>,
        explanation: Option<Explanation>,
    ) -> Self {
        let (forecast, problems) = match forecast {
            Ok(forecast) => (Some(forecast), Vec::new()),
            Err(text) => (None, vec![Problem { kind: ProblemKind::Unasked, text }]),
        };
        let (reason, fix) = explanation.map(|explanation| (explanation.cause, explanation.fix)).unwrap_or_default();
        let model = forecast.map(|forecast| ModelAnswer::Forecast(Box::new(forecast)));
        Self { model, problems, cause: reason, fix, ..Self::of(network, case) }
    }

    /// Keeps both answers.
    pub(super) fn take(&mut self, answers: &Answers) {
        self.expect = Words::Text(answers.expected.clone());
        self.model = answers.model.said().map(|said| ModelAnswer::Text { answer: said.text.clone() });
        let seen = answers.seen.as_ref().and_then(|seen| seen.as_ref().ok());
        self.packets = seen.map(|said| Packets::Text { answer: said.text.clone() });
    }

    /// Where the model says that packets go.
    pub(super) fn forecast(&self) -> Option<&Forecast> {
        match self.model.as_ref()? {
            ModelAnswer::Forecast(forecast) => Some(forecast),
            ModelAnswer::Text { .. } => None,
        }
    }

    /// A failure that does not fail the run.
    pub(super) fn is_warning(&self) -> bool {
        self.severity == TestSeverity::Warning && !self.problems.is_empty()
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
        let warnings = tests.iter().filter(|test| test.is_warning()).count();
        let failed = tests.len() - passed - skipped - warnings;
        Self { name: name.to_owned(), lab, passed, failed, warnings, skipped, tests, programs }
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
        let warnings =
            if self.warnings == 0 { String::new() } else { format!(", {}", counted(self.warnings, "warning")) };
        let programs = match self.programs.len() {
            0 => String::new(),
            1 => ", 1 program failed".to_owned(),
            several => format!(", {several} programs failed"),
        };
        let summary = format!(
            "{}: {} passed, {} failed{warnings}{skipped}{programs}, {how}",
            self.name, self.passed, self.failed
        );
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
                (None, false) if test.is_warning() => "warning",
                (None, false) => "not ok",
            };
            [result.to_owned(), test.name.clone(), test.skipped.clone().unwrap_or_else(|| test.message())]
        });
        Table::new(&["Result", "Test", "Message"]).rows(tests.chain(programs))
    }
}

impl Question {
    /// Where it is asked, of those that are not about packets.
    fn place(&self, network: &Network) -> String {
        match self {
            Self::Dns(test) => network.vm(test.on).name.clone(),
            Self::Exec(test) => test.on.clone(),
            Self::Routes(test) => {
                let (vnet, subnet) = (network.vnet(test.on.vnet), network.subnet(test.on));
                format!("{}/{}", vnet.name, subnet.name)
            }
            Self::Rules(test) => test.on.clone(),
            Self::Bgp(test) => test.on.clone(),
            Self::Reach(_)
            | Self::Http(_)
            | Self::Flows(_)
            | Self::Latency(_)
            | Self::Throughput(_)
            | Self::During(_) => String::new(),
        }
    }
}
