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
        let said = |measured| Said::of_round_trips(wanted, measured);
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
        let said = |transfer| Said::of_transfer(wanted, transfer);
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

impl Said {
    fn of_round_trips(wanted: &LatencyTest, measured: RoundTrips) -> Self {
        let RoundTrips { median, p99, count, .. } = measured;
        let holds = wanted.below.is_none_or(|limit| median < limit) && wanted.p99.is_none_or(|limit| p99 <= limit);
        let text = format!("{}, 1 of 100 above {}", millis(median), millis(p99));
        Self { holds: holds && count > 0, text, fact: Some(reached(true)) }
    }

    fn of_transfer(wanted: &ThroughputTest, transfer: Transfer) -> Self {
        let rate = rate(transfer);
        Self { holds: rate > wanted.above, text: rate.to_string(), fact: Some(reached(true)) }
    }
}

fn rate(Transfer { bytes, took }: Transfer) -> BitRate {
    let micros = took.as_micros().max(1);
    BitRate(u64::try_from(u128::from(bytes) * 8_000_000 / micros).unwrap_or(u64::MAX))
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::test::tests::network;
    use crate::model::Question;

    #[test]
    fn a_latency_is_below_its_limit_and_one_of_a_hundred_at_its_own() {
        let said = |test: &str, (median, p99, count): (u64, u64, usize)| {
            let test = format!("{{from: web, to: db, latency: {test}}}");
            let Question::Latency(wanted) = network(&test).tests.remove(0).question else { panic!("{test}") };
            let (median, p99) = (Duration::from_micros(median), Duration::from_micros(p99));
            let said = Said::of_round_trips(&wanted, RoundTrips { count, lost: 0, median, p99 });
            assert_eq!(said.fact, Some(reached(true)));
            (said.holds, said.text)
        };
        let (both, last) = ("{below: 5ms, p99: 20ms}", "{p99: 20ms}");
        for (wanted, measured, holds, text) in [
            ("5ms", (4990, 99_000, 10), true, "4.99 ms, 1 of 100 above 99.00 ms"),
            ("5ms", (5000, 5000, 10), false, "5.00 ms, 1 of 100 above 5.00 ms"),
            (both, (1000, 20_000, 10), true, "1.00 ms, 1 of 100 above 20.00 ms"),
            (both, (1000, 20_010, 10), false, "1.00 ms, 1 of 100 above 20.01 ms"),
            (both, (6000, 7000, 10), false, "6.00 ms, 1 of 100 above 7.00 ms"),
            (last, (19_000, 20_000, 10), true, "19.00 ms, 1 of 100 above 20.00 ms"),
            (last, (1000, 20_010, 10), false, "1.00 ms, 1 of 100 above 20.01 ms"),
            (both, (0, 0, 0), false, "0.00 ms, 1 of 100 above 0.00 ms"),
        ] {
            assert_eq!(said(wanted, measured), (holds, text.to_owned()), "{wanted} {measured:?}");
        }
    }

    #[test]
    fn a_throughput_is_above_its_limit() {
        let Question::Throughput(wanted) = network("{from: web, to: db, throughput: 8Mbit/s}").tests.remove(0).question
        else {
            panic!("another test")
        };
        let said = |bytes, millis| {
            let said = Said::of_transfer(&wanted, Transfer { bytes, took: Duration::from_millis(millis) });
            (said.holds, said.text)
        };
        assert_eq!(said(1_000_000, 1000), (false, wanted.above.to_string()), "exactly as much");
        assert!(said(1_000_001, 1000).0 && !said(2_000_000, 2001).0);
        // What took no time at all is no division by zero.
        assert!(said(2, 0).0 && !said(0, 0).0);
    }
}
