//! A test's verdict: what the file expects, what the model says and what real packets did, compared with each other.
//!
//! One idea: a test fails if its expectation is wrong, and also if the model disagrees with real packets; it reports
//! which. The second is a defect of the model, or of a guest that does more than its kernel's forwarding.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::model::{Network, ReachTest, Verdict, VmIx};

use super::prediction::Forecast;
use super::walk::branches::Branch;

/// What real packets did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    pub verdict: Verdict,
    /// The machines that were seen forwarding the packet, in order; None where capturing was not possible.
    pub via: Option<Vec<String>>,
    pub via_return: Option<Vec<String>>,
    /// Where a packet that passed guests' rules, or its answer, was seen last, unless it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
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
    /// Another path than the file expects.
    Way,
    /// Another rule decided than the file expects.
    Rule,
    /// The model and real packets disagree.
    Defect,
    /// The test could not run.
    Unasked,
    /// The test passes without the thing that it shows, too.
    Idle,
}

/// All problems of a test; empty if it passes.
pub fn judge(
    network: &Network,
    (test, packets_only): (&ReachTest, bool),
    forecast: &Forecast,
    observed: Option<&Observed>,
) -> Vec<Problem> {
    let packets_decide = packets_decide(packets_only, forecast);
    if packets_decide && observed.is_none() {
        // Without packets the verdict is unknown.
        return Vec::new();
    }
    let case = Case { network, test, packets_only, forecast, observed, packets_decide };
    let about_packets = if case.differs_in_verdict() { None } else { case.other_way() };
    about_packets.into_iter().chain(case.verdict()).chain(case.ways()).chain(case.rule()).collect()
}

/// Whether only real packets can give the verdict: guests on the path have rules of their own, or the file asks for it.
pub fn packets_decide(packets_only: bool, forecast: &Forecast) -> bool {
    packets_only || !forecast.guest_rules.is_empty()
}

struct Case<'a> {
    network: &'a Network,
    test: &'a ReachTest,
    packets_only: bool,
    forecast: &'a Forecast,
    observed: Option<&'a Observed>,
    /// Whether the packets' answer replaces the model's.
    packets_decide: bool,
}

impl<'a> Case<'a> {
    /// The packets' answer, where it replaces the model's.
    fn decided(&self) -> Option<&'a Observed> {
        self.observed.filter(|_| self.packets_decide)
    }

    /// Whether the model and the packets disagree on whether it arrives.
    fn differs_in_verdict(&self) -> bool {
        let (foretold, Some(observed)) = (self.forecast.verdict, self.observed) else { return false };
        // Where the answer goes to another machine, the asking one gets none.
        let astray = [foretold, observed.verdict] == [Verdict::WrongHost, Verdict::Blocked];
        // Where flows get different verdicts, the packets were only one of them.
        !self.packets_decide && observed.verdict != foretold && foretold != Verdict::Depends && !astray
    }

    /// The problem that packets took another path than the model's.
    fn other_way(&self) -> Option<Problem> {
        let observed = self.observed.filter(|_| !self.packets_decide)?;
        let arrived = observed.verdict == Verdict::Reachable;
        let possible: Vec<_> = self.courses().into_iter().filter(|course| course.arrives == arrived).collect();
        let differing = possible.iter().map(|course| course.unlike(observed)).collect::<Option<Vec<_>>>()?;
        let (which, foretold, seen) = differing.into_iter().next()?;
        let text = format!(
            "the model and the packets disagree about the way {which}: the model says {}, the packets went {}",
            way(foretold),
            way(seen)
        );
        Some(Problem { kind: ProblemKind::Defect, text })
    }

    /// The paths that the packet may take.
    fn courses(&self) -> Vec<Course<'_>> {
        if let Some(Observed { verdict, via, via_return, .. }) = self.decided() {
            let course = |(via, via_return)| Course { arrives: *verdict == Verdict::Reachable, via, via_return };
            return via.as_deref().zip(via_return.as_deref()).map(course).into_iter().collect();
        }
        let Forecast { dropped, via, via_return, branches, .. } = self.forecast;
        if branches.is_empty() {
            return vec![Course { arrives: dropped.is_none(), via, via_return }];
        }
        let course = |branch| {
            let Branch { dropped, via, via_return, .. }: &Branch = branch;
            Course { arrives: dropped.is_none(), via, via_return: via_return.as_deref().unwrap_or_default() }
        };
        branches.iter().map(course).collect()
    }

    /// Expectation, model and packets, where these differ.
    fn verdict(&self) -> Option<Problem> {
        let Case { test: ReachTest { expect, .. }, forecast, observed, .. } = self;
        let counts = self.decided().map_or(forecast.verdict, |observed| observed.verdict);
        let defect = self.differs_in_verdict();
        if counts == *expect && !defect {
            return None;
        }
        let model = self.foretold();
        let text = match observed {
            None => format!("the file expects {expect}, but the model says {model}"),
            Some(Observed { verdict, lost, .. }) if self.packets_decide => {
                let lost = lost.as_ref().map(|lost| format!(": {lost}")).unwrap_or_default();
                format!("the file expects {expect}, the packets say {verdict}{lost}; the model says {model}")
            }
            Some(observed) if observed.verdict == forecast.verdict => {
                format!("the file expects {expect}, but the model and the packets say {model}")
            }
            Some(Observed { verdict, .. }) => {
                let disagree = if defect { "the model and the packets disagree: " } else { "" };
                format!("{disagree}the file expects {expect}, the model says {model}, the packets say {verdict}")
            }
        };
        Some(Problem { kind: if defect { ProblemKind::Defect } else { ProblemKind::Verdict }, text })
    }

    /// The model's verdict, and the reason of a drop.
    fn foretold(&self) -> String {
        let Forecast { verdict, dropped, branches, .. } = self.forecast;
        match verdict {
            Verdict::Reachable => verdict.to_string(),
            Verdict::Blocked | Verdict::WrongHost => {
                format!("{verdict} ({})", dropped.as_deref().unwrap_or_default())
            }
            Verdict::Depends if !self.forecast.guest_rules.is_empty() => {
                let guests: Vec<_> = self.forecast.guest_rules.iter().map(|guest| guest.node.as_str()).collect();
                format!("that the firewall rules of {} decide", guests.join(", "))
            }
            Verdict::Depends => {
                let reasons: BTreeSet<_> = branches.iter().filter_map(|branch| branch.dropped.as_deref()).collect();
                format!(
                    "it depends on the flow's hash: of {} ways {} the others end with {}",
                    branches.len(),
                    match branches.iter().filter(|branch| branch.dropped.is_none()).count() {
                        1 => "1 arrives,".to_owned(),
                        several => format!("{several} arrive,"),
                    },
                    Vec::from_iter(reasons).join(" or ")
                )
            }
        }
    }

    fn ways(&self) -> Vec<Problem> {
        let (test, courses) = (self.test, self.courses());
        let who =
            |rest: &str| if courses.len() > 1 { format!("a flow may go {rest}") } else { format!("it goes {rest}") };
        let mut texts = Vec::new();
        for course in &courses {
            for (wanted, taken, what) in
                [(&test.via, course.via, "packet"), (&test.via_return, course.via_return, "answer")]
            {
                let wanted = self.names(wanted);
                let mut rest = taken.iter();
                // In order: each is searched after the one before it.
                if !wanted.iter().all(|machine| rest.any(|taken| taken == machine)) {
                    texts.push(format!("expected the {what} to go {}, but {}", way(&wanted), who(&way(taken))));
                }
                for machine in self.names(&test.not_via).into_iter().filter(|machine| taken.contains(machine)) {
                    texts.push(format!("expected the {what} not to pass {machine}, but {}", who(&way(taken))));
                }
            }
        }
        let mut seen = HashSet::new();
        texts.retain(|text| seen.insert(text.clone()));
        texts.into_iter().map(|text| Problem { kind: ProblemKind::Way, text }).collect()
    }

    /// The rule that denied a blocked packet, or the rules that let a reachable one through.
    fn rule(&self) -> Option<Problem> {
        let wanted = self.test.rule.as_ref().filter(|_| !self.packets_only)?;
        let verdict = self.decided().map_or(self.forecast.verdict, |decided| decided.verdict);
        let denies = verdict == Verdict::Blocked;
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

/// One path that the packet may take.
struct Course<'a> {
    arrives: bool,
    via: &'a [String],
    via_return: &'a [String],
}

impl<'a> Course<'a> {
    /// The direction in which packets took another path, the model's path and the path seen.
    fn unlike<'b>(&self, observed: &'b Observed) -> Option<(&'static str, &'a [String], &'b [String])> {
        let ways = [("there", self.via, &observed.via), ("back", self.via_return, &observed.via_return)];
        ways.into_iter().find_map(|(which, foretold, seen)| {
            seen.as_deref().filter(|seen| *seen != foretold).map(|seen| (which, foretold, seen))
        })
    }
}

fn way(machines: &[String]) -> String {
    if machines.is_empty() { "past no machine".to_owned() } else { format!("via {}", machines.join(", ")) }
}
