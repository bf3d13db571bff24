//! A test's verdict: what the file expects, what the model says, and what real packets did, held against each other.
//!
//! One idea: an expectation is one thing and the model's agreement with reality another. A test fails for either, and
//! says for which; the second is a defect of the model, or of a guest that does more than its kernel's forwarding.

use serde::Serialize;

use super::forecast::Forecast;
use crate::model::{Network, TestCase, Verdict, VmIx};

/// What real packets did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    pub verdict: Verdict,
    /// The machines that were seen forwarding the packet, in order; None where nobody could look.
    pub via: Option<Vec<String>>,
    pub via_return: Option<Vec<String>>,
}

/// Why a test fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// Reachable or blocked, unlike what the file expects.
    Verdict,
    /// By another way than the file expects.
    Way,
    /// By another rule than the file expects.
    Rule,
    /// The model and real packets disagree.
    Defect,
    /// It could not be asked.
    Unasked,
}

/// Everything that speaks against a test; empty if it passes.
pub fn judge(network: &Network, test: &TestCase, forecast: &Forecast, observed: Option<&Observed>) -> Vec<Problem> {
    let case = Case { network, test, forecast };
    let mut problems: Vec<Problem> = observed.and_then(|observed| case.disagreement(observed)).into_iter().collect();
    problems.extend(case.verdict());
    problems.extend(case.ways());
    problems.extend(case.rule());
    problems
}

struct Case<'a> {
    network: &'a Network,
    test: &'a TestCase,
    forecast: &'a Forecast,
}

impl Case<'_> {
    fn disagreement(&self, observed: &Observed) -> Option<Problem> {
        let forecast = self.forecast;
        let defect = |text| Some(Problem { kind: ProblemKind::Defect, text });
        if observed.verdict != forecast.verdict {
            return defect(format!(
                "the model and the packets disagree: the model says {}, the packets say {}",
                self.foretold(),
                observed.verdict
            ));
        }
        let ways = [("there", &forecast.via, &observed.via), ("back", &forecast.via_return, &observed.via_return)];
        let (which, foretold, seen) = ways.into_iter().find_map(|(which, foretold, seen)| {
            seen.as_ref().filter(|seen| *seen != foretold).map(|seen| (which, foretold, seen))
        })?;
        let text = format!(
            "the model and the packets disagree about the way {which}: the model says {}, the packets went {}",
            way(foretold),
            way(seen)
        );
        defect(text)
    }

    fn verdict(&self) -> Option<Problem> {
        let Case { test, forecast, .. } = self;
        let text = || format!("expected {}, but {}", test.expect, self.foretold());
        (test.expect != forecast.verdict).then(|| Problem { kind: ProblemKind::Verdict, text: text() })
    }

    /// The verdict, and what the packet ends with.
    fn foretold(&self) -> String {
        let Forecast { verdict, dropped, .. } = self.forecast;
        let reason = dropped.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{verdict}{reason}")
    }

    fn ways(&self) -> Vec<Problem> {
        let Case { test, forecast, .. } = self;
        let mut texts = Vec::new();
        for (wanted, taken, what) in
            [(&test.via, &forecast.via, "packet"), (&test.via_return, &forecast.via_return, "answer")]
        {
            let wanted = self.names(wanted);
            let mut rest = taken.iter();
            // In order: each is looked for behind the one before it.
            if !wanted.iter().all(|machine| rest.any(|taken| taken == machine)) {
                texts.push(format!("expected the {what} to go {}, but it goes {}", way(&wanted), way(taken)));
            }
            for machine in self.names(&test.not_via).into_iter().filter(|machine| taken.contains(machine)) {
                texts.push(format!("expected the {what} not to pass {machine}, but it goes {}", way(taken)));
            }
        }
        texts.into_iter().map(|text| Problem { kind: ProblemKind::Way, text }).collect()
    }

    /// What denied a blocked packet, or was among those that let a reachable one through.
    fn rule(&self) -> Option<Problem> {
        let wanted = self.test.rule.as_ref()?;
        let denies = self.forecast.verdict == Verdict::Blocked;
        let deciding: Vec<_> = self.forecast.rulings.iter().filter(|ruling| ruling.allow != denies).collect();
        if deciding.iter().any(|ruling| ruling.rule == *wanted) {
            return None;
        }
        let found: Vec<_> = deciding.iter().map(|ruling| ruling.object.as_str()).collect();
        let found = if found.is_empty() { "no rule does".to_owned() } else { found.join("; ") };
        let text = format!("expected {wanted} to decide, but: {found}");
        Some(Problem { kind: ProblemKind::Rule, text })
    }

    fn names(&self, machines: &[VmIx]) -> Vec<String> {
        machines.iter().map(|vm| self.network.vm(*vm).name.clone()).collect()
    }
}

fn way(machines: &[String]) -> String {
    if machines.is_empty() { "past no machine".to_owned() } else { format!("via {}", machines.join(", ")) }
}
