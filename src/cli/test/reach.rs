//! Tests of reachability: asked of the model and of real packets, all at the same time.

use crate::analysis::{self, Forecast, Observed, Problem, ProblemKind, Query};
use crate::cli::failure::Failure;
use crate::cli::trial::trial as trial_of;
use crate::lab::Record;
use crate::lab::traffic::{self, Trial};
use crate::model::{Endpoint, ReachTest, TestCase, TestEnds, Verdict};

use super::report::{Packets, Tested};
use super::session::Session;

type Real = Result<traffic::Outcome, String>;
/// A test, and what it asks.
pub(super) type Case<'a> = (&'a TestCase, &'a ReachTest);

impl Session<'_> {
    /// Runs some tests. A test is run again if a guest's rules changed meanwhile.
    pub(super) fn reach(&self, cases: &[Case<'_>]) -> Result<Vec<Tested>, Failure> {
        let mut tested = self.ask(cases)?;
        let again = if self.ground.is_some() { self.outdated(cases, &tested)? } else { Vec::new() };
        if again.is_empty() {
            return Ok(tested);
        }
        let once_more: Vec<_> = again.iter().map(|index| cases[*index]).collect();
        for (index, mut answer) in again.into_iter().zip(self.ask(&once_more)?) {
            answer.notes.push("asked twice: firewall rules of guests changed meanwhile".to_owned());
            tested[index] = answer;
        }
        Ok(tested)
    }

    /// The tests that failed, if their packets meet other rules of guests by now.
    fn outdated(&self, cases: &[Case<'_>], tested: &[Tested]) -> Result<Vec<usize>, Failure> {
        let failed = tested.iter().enumerate().filter(|(_, answer)| !answer.problems.is_empty());
        let failed: Vec<_> = failed.filter_map(|(index, answer)| Some((index, answer.forecast()?))).collect();
        let query = |(index, _): &(usize, &Forecast)| Query::of(self.network, &cases[*index].1.ends);
        let now = self.model.forecast(&failed.iter().map(query).collect::<Vec<_>>())?;
        let differ =
            |now: Result<Forecast, String>, then: &Forecast| now.is_ok_and(|now| now.guest_rules != then.guest_rules);
        let compared = failed.into_iter().zip(now);
        Ok(compared.filter_map(|((index, then), now)| differ(now, then).then_some(index)).collect())
    }

    /// Asks these tests, first the model and then with packets.
    fn ask(&self, cases: &[Case<'_>]) -> Result<Vec<Tested>, Failure> {
        let queries: Vec<Query> = cases.iter().map(|(_, wanted)| Query::of(self.network, &wanted.ends)).collect();
        let forecasts = self.model.forecast(&queries)?;
        let mut tested: Vec<Tested> = Vec::new();
        for (((case, wanted), query), forecast) in cases.iter().copied().zip(&queries).zip(forecasts) {
            let unlike = |forecast: &Forecast| forecast.verdict != Verdict::Reachable;
            let blocked =
                forecast.as_ref().is_ok_and(|it| unlike(it) && !analysis::packets_decide(case.packets_only, it));
            let explanation =
                if wanted.expect == Verdict::Reachable && blocked { self.model.explain(query) } else { None };
            tested.push(Tested::foretold(self.network, case, forecast, explanation));
        }
        let real = self.ground.map(|lab| self.send(lab, (cases, &tested))).transpose()?;
        let mut real = real.into_iter().flatten();
        for (case, tested) in cases.iter().zip(&mut tested) {
            self.judge(*case, tested, real.next());
        }
        Ok(tested)
    }

    /// What real packets do, test by test.
    fn send(&self, lab: &Record, (cases, tested): (&[Case<'_>], &[Tested])) -> Result<Vec<Real>, Failure> {
        let asked = cases.iter().zip(tested);
        let trials: Vec<Result<Trial, String>> = asked.map(|(case, tested)| self.trial(*case, tested)).collect();
        let good: Vec<Trial> = trials.iter().filter_map(|trial| trial.clone().ok()).collect();
        let mut outcomes = traffic::run(lab, self.network, &good, self.stop)?.into_iter();
        let next = |trial: Result<Trial, String>| {
            trial?;
            let outcome = outcomes.next().expect("an outcome for each trial");
            outcome.map_err(|error| error.to_string())
        };
        Ok(trials.into_iter().map(next).collect())
    }

    fn trial(&self, (case, wanted): Case<'_>, tested: &Tested) -> Result<Trial, String> {
        let forecast = tested.forecast().ok_or("the model has no answer")?;
        let packets_decide = analysis::packets_decide(case.packets_only, forecast);
        let is_blocked = |verdict| verdict == Verdict::Blocked;
        // An answer that neither expects is waited for a shorter time.
        let expecting = !(is_blocked(wanted.expect) && (packets_decide || is_blocked(forecast.verdict)));
        let trial = self.trial_between(case, &wanted.ends, forecast, expecting)?;
        Ok(Trial { follow: packets_decide, ..trial })
    }

    /// Real packets between two ends.
    pub(super) fn trial_between(
        &self,
        case: &TestCase,
        ends: &TestEnds,
        forecast: &Forecast,
        expecting: bool,
    ) -> Result<Trial, String> {
        let names_interface = match ends.from {
            Endpoint::Vm(_) | Endpoint::Internet | Endpoint::Outside(_) => false,
            Endpoint::Nic(_) | Endpoint::Address(_) => true,
        };
        let trial = trial_of(self.network, forecast, ends.probe, names_interface, expecting)?;
        Ok(Trial { patience: case.conduct.timeout.unwrap_or(trial.patience), ..trial })
    }

    fn judge(&self, (case, wanted): Case<'_>, tested: &mut Tested, real: Option<Real>) {
        // Without a forecast the test has its problem already.
        let Some(forecast) = tested.forecast().cloned() else { return };
        let observed = match real {
            None => None,
            Some(Err(text)) => {
                tested.problems.push(Problem { kind: ProblemKind::Unasked, text });
                None
            }
            Some(Ok(outcome)) => {
                tested.took = outcome.took;
                tested.notes.extend(outcome.note);
                if outcome.via.is_none() {
                    tested.notes.push("not every packet could be looked at: the way is the model's answer".to_owned());
                }
                let verdict = match (outcome.elsewhere, outcome.arrived) {
                    (true, _) => Verdict::WrongHost,
                    (false, true) => Verdict::Reachable,
                    (false, false) => Verdict::Blocked,
                };
                let lost = outcome.last_seen.map(|last| last.text);
                Some(Observed { verdict, via: outcome.via, via_return: outcome.via_return, lost })
            }
        };
        let guests = forecast.guest_rules.iter().map(|guest| format!("{guest}: the packets' answer counts"));
        if analysis::packets_decide(case.packets_only, &forecast) && self.ground.is_none() {
            let guests = forecast.guest_rules.iter().map(|guest| format!("{guest}, which the model does not evaluate"));
            let guests = guests.collect::<Vec<_>>().join("; ");
            tested.skipped =
                Some(if guests.is_empty() { "only real packets are to be asked".to_owned() } else { guests });
        } else {
            tested.notes.extend(guests);
        }
        let asked = (wanted, case.packets_only);
        tested.problems.extend(analysis::judge(self.network, asked, &forecast, observed.as_ref()));
        tested.packets = observed.map(Packets::Observed);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::cli::test::tests::{met, network};
    use crate::lab::traffic::{LastSeen, Outcome};

    /// What packets did, in the words of a verdict, and what is worth a note.
    #[test]
    fn what_packets_did_is_compared_with_the_model() {
        let network = network("{from: web, to: db, expect: reachable}, {from: web, to: 10.0.2.99, expect: blocked}");
        let stop = AtomicBool::new(false);
        let session = Session::of_model(&network, None, &stop);
        let judged = |test: usize, guests: &[&str], change: &dyn Fn(&mut Outcome)| {
            let case = &network.tests[test];
            let query = Query::of(&network, case.ends().unwrap());
            let mut forecast = session.model.forecast(&[query]).ok().unwrap().remove(0).unwrap();
            forecast.guest_rules = guests.iter().map(|node| met(node)).collect();
            let mut tested = Tested::foretold(&network, case, Ok(forecast), None);
            let mut outcome = Outcome {
                arrived: true,
                elsewhere: false,
                via: Some(Vec::new()),
                via_return: Some(Vec::new()),
                source_port: 1,
                took: Duration::from_millis(7),
                note: None,
                last_seen: None,
            };
            change(&mut outcome);
            session.judge((case, case.reach().unwrap()), &mut tested, Some(Ok(outcome)));
            let Some(Packets::Observed(observed)) = &tested.packets else { panic!("nothing was seen") };
            assert_eq!(tested.took, Duration::from_millis(7));
            (observed.verdict, tested.message(), tested.notes)
        };
        assert_eq!(judged(0, &[], &|_| {}), (Verdict::Reachable, String::new(), vec![]));
        let (verdict, message, _) = judged(0, &[], &|outcome| outcome.arrived = false);
        assert_eq!(verdict, Verdict::Blocked);
        assert!(message.contains("the model") && message.contains("blocked"), "{message}");
        let (verdict, message, _) = judged(0, &[], &|outcome| outcome.elsewhere = true);
        assert_eq!(verdict, Verdict::WrongHost);
        assert!(!message.is_empty());
        let unseen = "not every packet could be looked at: the way is the model's answer";
        let (_, message, notes) =
            judged(0, &[], &|outcome| (outcome.via, outcome.note) = (None, Some("a second try".to_owned())));
        assert_eq!((message.as_str(), notes), ("", vec!["a second try".to_owned(), unseen.to_owned()]));
        let (verdict, message, _) = judged(1, &[], &|outcome| outcome.arrived = false);
        assert_eq!((verdict, message.as_str()), (Verdict::Blocked, ""));
        // Where a guest has rules of its own, the packets decide, and the output says where they were lost.
        let (_, message, _) = judged(0, &["db"], &|outcome| {
            let text = "db saw it last".to_owned();
            outcome.arrived = false;
            outcome.last_seen = Some(LastSeen { at: None, sent_on: false, text });
        });
        assert!(message.contains("db saw it last"), "{message}");
    }

    /// The test waits for a shorter time if it expects no answer.
    #[test]
    fn packets_are_waited_for_where_an_answer_is_expected() {
        let network = network(
            "{from: web, to: db, expect: reachable}, {from: web, to: db, expect: blocked}, {from: web, to: 10.0.2.99, expect: blocked}, \
             {from: web, to: db, expect: blocked, packetsOnly: true}, {from: web/eth0, to: db, expect: reachable, timeout: 9s}",
        );
        let stop = AtomicBool::new(false);
        let session = Session::of_model(&network, None, &stop);
        let trials = network.tests.iter().map(|case| {
            let query = Query::of(&network, case.ends().unwrap());
            let forecast = session.model.forecast(&[query]).ok().unwrap().remove(0);
            let tested = Tested::foretold(&network, case, forecast, None);
            let trial = session.trial((case, case.reach().unwrap()), &tested).unwrap();
            (trial.patience.as_secs(), trial.follow, trial.bind.map(|address| address.to_string()))
        });
        let wanted = [
            (3, false, None),
            (3, false, None),
            (1, false, None),
            (1, true, None),
            (9, false, Some("10.0.1.4".to_owned())),
        ];
        assert_eq!(trials.collect::<Vec<_>>(), wanted);
    }
}
