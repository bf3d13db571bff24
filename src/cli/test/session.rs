//! One run over all tests: reachability at once, then one question after another, each with its own patience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::analysis::{Forecast, Query};
use crate::cli::failure::Failure;
use crate::lab::Record;
use crate::model::{Network, Question, TestCase, TestEnds};

use super::change::Changer;
use super::model::Model;
use super::report::Tested;
use super::said::Ruling;

/// Between a test that fails and its next attempt.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two looks at what may still come.
const GLANCE: Duration = Duration::from_millis(100);

/// One run over all tests.
pub(super) struct Session<'a> {
    pub(super) network: &'a Network,
    pub(super) model: Model<'a>,
    /// Where real packets go, in a lab that this process has joined; None asks the model alone.
    pub(super) ground: Option<&'a Record>,
    /// Applies other files; None where the lab is not to be changed.
    pub(super) changer: Option<Changer>,
    pub(super) stop: &'a AtomicBool,
}

impl<'a> Session<'a> {
    /// The model alone.
    pub(super) fn of_model(network: &'a Network, changer: Option<Changer>, stop: &'a AtomicBool) -> Self {
        Self { network, model: Model::of(network), ground: None, changer, stop }
    }

    pub(super) fn run(&self) -> Result<Vec<Tested>, Failure> {
        let tests = &self.network.tests;
        let plain = |test: &TestCase| test.conduct.skip.is_none() && test.conduct.after.is_zero();
        let together: Vec<_> = (0..tests.len()).filter(|index| plain(&tests[*index])).collect();
        let together = together.into_iter().filter_map(|index| Some((index, (&tests[index], tests[index].reach()?))));
        let (numbers, cases): (Vec<_>, Vec<_>) = together.unzip();
        let mut answers: Vec<Option<Tested>> = tests.iter().map(|_| None).collect();
        for (index, tested) in numbers.into_iter().zip(self.reach(&cases)?) {
            answers[index] = Some(tested);
        }
        tests.iter().zip(answers).map(|(case, answer)| self.until_it_passes(case, answer)).collect()
    }

    /// Asks a test as often as it allows. `answer` is that of its first attempt, if there was one.
    fn until_it_passes(&self, case: &TestCase, mut answer: Option<Tested>) -> Result<Tested, Failure> {
        if let Some(why) = &case.conduct.skip {
            return Ok(Tested { skipped: Some(why.clone()), ..Tested::of(self.network, case) });
        }
        // The model says the same again and again.
        let attempts = if self.ground.is_some() { case.conduct.retry + 1 } else { 1 };
        let done = u32::from(answer.is_some());
        for attempt in done..attempts {
            if answer.as_ref().is_some_and(|answer| answer.problems.is_empty()) {
                break;
            }
            if self.ground.is_some() {
                self.pause(if attempt == 0 { case.conduct.after } else { AGAIN });
            }
            let start = Instant::now();
            let mut tested = self.once(case)?;
            tested.took = tested.took.max(start.elapsed());
            if attempt > 0 && tested.problems.is_empty() {
                tested.notes.push(format!("passed at attempt {} of {attempts}", attempt + 1));
            }
            if attempt > 0 && attempt + 1 == attempts && !tested.problems.is_empty() {
                tested.notes.push(format!("failed in all of {attempts} attempts"));
            }
            answer = Some(tested);
        }
        Ok(answer.unwrap_or_else(|| Tested::of(self.network, case)))
    }

    fn once(&self, case: &TestCase) -> Result<Tested, Failure> {
        if let Some(reach) = case.reach() {
            let tested = self.reach(&[(case, reach)])?.pop();
            return Ok(tested.unwrap_or_else(|| Tested::of(self.network, case)));
        }
        // What others have to learn may come a little later.
        let deadline = Instant::now() + case.conduct.timeout.unwrap_or_default();
        loop {
            let tested = self.asked_once(case)?;
            let is_table = matches!(case.question, Question::Routes(_) | Question::Rules(_) | Question::Bgp(_));
            let waits = is_table && self.ground.is_some() && !tested.problems.is_empty();
            if !waits || Instant::now() >= deadline || self.is_stopped() {
                return Ok(tested);
            }
            self.pause(GLANCE);
        }
    }

    fn asked_once(&self, case: &TestCase) -> Result<Tested, Failure> {
        let mut tested = Tested::of(self.network, case);
        let answers = match &case.question {
            Question::Reach(_) => return Ok(tested),
            Question::Http(test) => self.http(case, test, &mut tested)?,
            Question::Dns(test) => self.dns(case, test),
            Question::Exec(test) => self.exec(case, test),
            Question::Routes(test) => self.routes(case, test, &mut tested)?,
            Question::Rules(test) => self.rules(case, test)?,
            Question::Bgp(test) => self.bgp(case, test)?,
            Question::Flows(test) => self.flows(case, test, &mut tested)?,
            Question::Latency(test) => self.latency(case, test, &mut tested)?,
            Question::Throughput(test) => self.throughput(case, test, &mut tested)?,
            Question::During(test) => self.during(case, test, &mut tested)?,
        };
        tested.take(&answers);
        match answers.ruling() {
            Ruling::Passed => {}
            Ruling::Failed(problem) => tested.problems.push(problem),
            Ruling::Open(why) => tested.skipped = Some(why),
        }
        if tested.problems.is_empty() {
            (tested.cause, tested.fix) = (None, None);
            tested.notes.clear();
        }
        Ok(tested)
    }

    /// The model's answer to whether packets arrive; why they do not is noted.
    pub(super) fn foretell(&self, ends: &TestEnds, tested: &mut Tested) -> Result<Result<Forecast, String>, Failure> {
        let query = Query::of(self.network, ends);
        let forecast = self.model.forecast(std::slice::from_ref(&query))?.pop();
        let forecast = forecast.unwrap_or_else(|| Err("the model has no answer".to_owned()));
        if forecast.as_ref().is_ok_and(|forecast| forecast.dropped.is_some())
            && let Some(explanation) = self.model.explain(&query)
        {
            (tested.cause, tested.fix) = (explanation.cause, explanation.fix);
        }
        Ok(forecast)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pause(&self, length: Duration) {
        let end = Instant::now() + length;
        while !self.is_stopped() && Instant::now() < end {
            thread::sleep(GLANCE.min(end.saturating_duration_since(Instant::now())));
        }
    }
}
