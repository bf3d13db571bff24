//! Tests of speed (`latency`, `throughput`), with the loads of `vnet bench`.

use std::time::Duration;

use crate::analysis::Forecast;
use crate::cli::failure::Failure;
use crate::lab::Record;
use crate::lab::traffic::bench::{Course, RoundTrips, Transfer};
use crate::model::{BitRate, LatencyTest, TestCase, ThroughputTest};

use super::report::Tested;
use super::said::{Answers, Foretold, Said, reached};
use super::session::Session;

/// How long is measured.
const SPAN: Duration = Duration::from_secs(1);

impl Session<'_> {
    pub(super) fn latency(
        &self,
        case: &TestCase,
        wanted: &LatencyTest,
        tested: &mut Tested,
    ) -> Result<Answers, Failure> {
        let below = wanted.below.map(|limit| format!("less than {}", millis(limit)));
        let p99 = wanted.p99.map(|limit| format!("1 of 100 above {} at most", millis(limit)));
        let expected = below.into_iter().chain(p99).collect::<Vec<_>>().join(", ");
        let forecast = self.foretell(&wanted.ends, tested)?;
        let model = Foretold::reaching(&forecast, case.packets_only);
        let said = |measured: RoundTrips| {
            let RoundTrips { median, p99, count, .. } = measured;
            let holds = wanted.below.is_none_or(|limit| median < limit) && wanted.p99.is_none_or(|limit| p99 <= limit);
            let text = format!("{}, 1 of 100 above {}", millis(median), millis(p99));
            Said { holds: holds && count > 0, text, fact: Some(reached(true)) }
        };
        let seen = self.measured(&model, &forecast, |course| course.round_trips(SPAN).map(said));
        Ok(Answers { expected, model, seen })
    }

    pub(super) fn throughput(
        &self,
        case: &TestCase,
        wanted: &ThroughputTest,
        tested: &mut Tested,
    ) -> Result<Answers, Failure> {
        let expected = format!("more than {}", wanted.above);
        let forecast = self.foretell(&wanted.ends, tested)?;
        let model = Foretold::reaching(&forecast, case.packets_only);
        let said = |transfer: Transfer| {
            let rate = rate(transfer);
            Said { holds: rate > wanted.above, text: rate.to_string(), fact: Some(reached(true)) }
        };
        let seen = self.measured(&model, &forecast, |course| course.tcp(1, SPAN).map(said));
        Ok(Answers { expected, model, seen })
    }

    /// Nothing is measured where nothing arrives.
    fn measured(
        &self,
        model: &Foretold,
        forecast: &Result<Forecast, String>,
        measure: impl FnOnce(&Course) -> Result<Said, crate::lab::Error>,
    ) -> Option<Result<Said, String>> {
        let lab = self.ground?;
        if model.said().is_some_and(|said| !said.holds) {
            return None;
        }
        let course = forecast.as_ref().map_err(String::clone).and_then(|forecast| self.course(lab, forecast));
        // What breaks off did not get through.
        let failed =
            |error: crate::lab::Error| Said { holds: false, text: error.to_string(), fact: Some(reached(false)) };
        Some(course.map(|course| measure(&course).unwrap_or_else(failed)))
    }

    fn course(&self, lab: &Record, forecast: &Forecast) -> Result<Course, String> {
        let attachments = self.network.attachments();
        let find = |index: Option<usize>| index.and_then(|index| attachments.get(index).copied());
        let no_machine = "both ends must be machines: a load needs a receiver";
        let (from, to) =
            (find(forecast.from.attachment).ok_or(no_machine)?, find(forecast.to.attachment).ok_or(no_machine)?);
        Course::open(lab, self.network, from, to, forecast.to.address).map_err(|error| error.to_string())
    }
}

fn rate(Transfer { bytes, took }: Transfer) -> BitRate {
    let micros = took.as_micros().max(1);
    BitRate(u64::try_from(u128::from(bytes) * 8_000_000 / micros).unwrap_or(u64::MAX))
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
