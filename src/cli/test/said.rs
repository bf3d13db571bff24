//! Two answers to one question, the model's and that of the running lab, against what the file expects.
//!
//! One idea: an answer is words for people and a fact for comparing. A test fails if the answer that counts is not what the
//! file expects, and also if the two facts differ.

use crate::analysis::{Forecast, Problem, ProblemKind};
use crate::model::Verdict;

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Whether it is what the file expects.
    pub(super) holds: bool,
    pub(super) text: String,
    /// What must be the same in both answers; None where they cannot be compared.
    pub(super) fact: Option<String>,
}

/// The model's answer.
#[derive(Clone, Debug)]
pub(super) enum Foretold {
    Says(Said),
    /// It holds as far as the model knows; the rest is for real packets.
    Partly(Said),
    /// The reason why it has none.
    Unknown(String),
}

/// Both answers. The lab's is an error where it could not be asked.
pub(super) struct Answers {
    pub(super) expected: String,
    pub(super) model: Foretold,
    pub(super) seen: Option<Result<Said, String>>,
}

/// What follows.
pub(super) enum Ruling {
    Passed,
    Failed(Problem),
    /// With the reason.
    Open(String),
}

impl Foretold {
    pub(super) fn said(&self) -> Option<&Said> {
        match self {
            Self::Says(said) | Self::Partly(said) => Some(said),
            Self::Unknown(_) => None,
        }
    }

    /// Whether packets arrive, from the answer to a question about that.
    pub(super) fn reaching(forecast: &Result<Forecast, String>, packets_only: bool) -> Self {
        let forecast = match forecast {
            _ if packets_only => return Self::Unknown("only real packets are to be asked".to_owned()),
            Ok(forecast) => forecast,
            Err(error) => return Self::Unknown(error.clone()),
        };
        if let Some(guest) = forecast.guest_rules.first() {
            return Self::Unknown(format!("{guest}, which the model does not evaluate"));
        }
        let text = match (&forecast.dropped, forecast.verdict) {
            (_, Verdict::Depends) => return Self::Unknown("it depends on the flow's hash".to_owned()),
            (Some(reason), verdict) => format!("{verdict} ({reason})"),
            (None, verdict) => verdict.to_string(),
        };
        let holds = forecast.verdict == Verdict::Reachable;
        Self::Partly(Said { holds, text, fact: Some(reached(holds)) })
    }
}

/// The fact that packets arrive, or that they do not.
pub(super) fn reached(arrived: bool) -> String {
    if arrived { "arrives" } else { "does not arrive" }.to_owned()
}

impl Answers {
    pub(super) fn ruling(&self) -> Ruling {
        let failed = |kind, text| Ruling::Failed(Problem { kind, text });
        let (expected, model) = (&self.expected, self.model.said());
        let seen = match &self.seen {
            Some(Err(error)) => return failed(ProblemKind::Unasked, error.clone()),
            Some(Ok(seen)) => Some(seen),
            None => None,
        };
        if let (Some(model), Some(seen)) = (model, seen)
            && let (Some(a), Some(b)) = (&model.fact, &seen.fact)
            && a != b
        {
            let text = format!(
                "the model and the lab disagree: the file expects {expected}, the model says {}, the lab says {}",
                model.text, seen.text
            );
            return failed(ProblemKind::Defect, text);
        }
        match (&self.model, seen) {
            (_, Some(seen)) if seen.holds => Ruling::Passed,
            (Foretold::Says(model), Some(seen)) if model.text == seen.text => failed(
                ProblemKind::Verdict,
                format!("expected {expected}, but the model and the lab say {}", seen.text),
            ),
            (_, Some(seen)) => {
                failed(ProblemKind::Verdict, format!("expected {expected}, but the lab says {}", seen.text))
            }
            (Foretold::Says(model) | Foretold::Partly(model), None) if !model.holds => {
                failed(ProblemKind::Verdict, format!("expected {expected}, but the model says {}", model.text))
            }
            (Foretold::Says(_), None) => Ruling::Passed,
            (Foretold::Partly(_), None) => Ruling::Open("the model knows a part, and real packets the rest".to_owned()),
            (Foretold::Unknown(why), None) => Ruling::Open(why.clone()),
        }
    }
}

/// The beginning of a text, in one line.
pub(super) fn beginning(text: &str) -> String {
    const SHOWN: usize = 80;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN).chain(['.', '.', '.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(holds: bool, fact: &str) -> Said {
        Said { holds, text: fact.to_owned(), fact: Some(fact.to_owned()) }
    }

    fn ruling(model: Foretold, seen: Option<Result<Said, String>>) -> String {
        match (Answers { expected: "x".to_owned(), model, seen }).ruling() {
            Ruling::Passed => "passed".to_owned(),
            Ruling::Failed(problem) => format!("{:?}: {}", problem.kind, problem.text),
            Ruling::Open(why) => format!("open: {why}"),
        }
    }

    #[test]
    fn a_text_of_a_line_is_shown_whole() {
        let line = "é".repeat(80);
        assert_eq!(beginning(&line), line);
        assert_eq!(beginning(&format!("{line}x")), format!("{line}..."));
        assert_eq!(beginning(" two\n lines "), "two lines");
    }

    #[test]
    fn an_answer_must_hold_and_both_must_agree() {
        use Foretold::{Partly, Says, Unknown};
        assert_eq!(ruling(Says(said(true, "a")), Some(Ok(said(true, "a")))), "passed");
        assert_eq!(ruling(Says(said(true, "a")), None), "passed");
        assert!(ruling(Says(said(true, "a")), Some(Ok(said(true, "b")))).starts_with("Defect: the model and the lab"));
        assert_eq!(
            ruling(Says(said(false, "a")), Some(Ok(said(false, "a")))),
            "Verdict: expected x, but the model and the lab say a"
        );
        assert_eq!(ruling(Partly(said(false, "a")), None), "Verdict: expected x, but the model says a");
        assert!(ruling(Partly(said(true, "a")), None).starts_with("open: "));
        assert_eq!(ruling(Partly(said(true, "a")), Some(Ok(said(true, "a")))), "passed");
        assert_eq!(ruling(Unknown("y".to_owned()), None), "open: y");
        assert_eq!(
            ruling(Unknown("y".to_owned()), Some(Ok(said(false, "b")))),
            "Verdict: expected x, but the lab says b"
        );
        assert_eq!(ruling(Says(said(true, "a")), Some(Err("no".to_owned()))), "Unasked: no");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(beginning(" a\n b "), "a b");
        assert_eq!(beginning(&"x".repeat(100)).len(), 83);
    }
}
