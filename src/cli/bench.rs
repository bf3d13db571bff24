//! `vnet bench`: how fast packets go between two nodes of a lab, with a load of our own.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::analysis;
use crate::lab::traffic::bench::{Connects, Course, Datagrams, RoundTrips, Stream, Transfer};
use crate::lab::{self, Record};
use crate::model::{Attachment, counted};

use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, labs, topology, verify};

/// Measure throughput, datagrams, latency and connections from one machine to another
///
/// Real packets by ordinary sockets in both machines; no program is needed there. Load, guests and router share this
/// computer's processors, so compare runs, and stop what else runs.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet bench web db\n  vnet bench web db --only tcp --streams 4 --seconds 10\n  \
    vnet bench web db --only udp --size 1400 --flows 16 --rate 100000 -o json"
)]
pub(super) struct Bench {
    /// The sender: NODE or NODE/NIC
    #[arg(value_name = "SRC")]
    source: String,
    /// The receiver: NODE, NODE/NIC or an address
    #[arg(value_name = "DST")]
    destination: String,
    /// These loads only
    #[arg(long, value_name = "LOADS", value_enum, value_delimiter = ',')]
    only: Vec<Load>,
    /// How long each load goes on
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// TCP connections at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    streams: u16,
    /// Payload of a UDP datagram, in bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1472))]
    size: u16,
    /// UDP ports to send from, which take turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    flows: u16,
    /// UDP datagrams a second, instead of as many as go
    #[arg(long)]
    rate: Option<u32>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Bulk data
    Tcp,
    /// Datagrams, and how many are lost
    Udp,
    /// Round trips of a small datagram
    Latency,
    /// TCP connections, one after another
    Connects,
}

/// What was measured; none of what was not asked for.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    source: String,
    destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<Tcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp: Option<Udp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connects: Option<Rate>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tcp {
    streams: u16,
    bytes: u64,
    seconds: f64,
    bits_per_second: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Udp {
    size: u16,
    flows: u16,
    sent: u64,
    received: u64,
    seconds: f64,
    received_per_second: f64,
    lost_percent: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    round_trips: usize,
    lost: u32,
    p50_micros: f64,
    p99_micros: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rate {
    count: u32,
    per_second: f64,
}

impl Bench {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let lab = labs::running(context)?;
        let course = self.course(&lab, context)?;
        let answer = self.measure(&course)?;
        context.output.rows(&answer, &table(&answer))
    }

    /// The two ends, found as `explain` finds them.
    fn course(&self, lab: &Record, context: &Context) -> Result<Course, Failure> {
        let query = analysis::parse_query(&self.source, &self.destination).map_err(Failure::usage)?;
        let forecast = verify::forecast(&query, lab)?;
        let (_, loaded) = topology::applied(lab, context)?;
        let attachments = loaded.network.attachments();
        let attachment = |index: Option<usize>, text: &str| -> Result<Attachment, Failure> {
            let found = index.and_then(|index| attachments.get(index).copied());
            found.ok_or_else(|| Failure::usage(format_args!("{text} is no machine of lab {}", lab.lab)))
        };
        let from = attachment(forecast.from.attachment, &self.source)?;
        let to = attachment(forecast.to.attachment, &self.destination)?;
        lab::join(lab)?;
        Ok(Course::open(lab, &loaded.network, from, to, forecast.to.address)?)
    }

    fn measure(&self, course: &Course) -> Result<Answer, Failure> {
        let span = Duration::from_secs_f64(self.seconds);
        let wanted = |load| self.only.is_empty() || self.only.contains(&load);
        let mut answer =
            Answer { source: self.source.clone(), destination: self.destination.clone(), ..Answer::default() };
        if wanted(Load::Tcp) {
            answer.tcp = Some(self.tcp(course.tcp(self.streams.into(), span)?));
        }
        if wanted(Load::Udp) {
            let stream = Stream { size: self.size.into(), flows: self.flows.into(), rate: self.rate };
            answer.udp = Some(self.udp(course.udp(stream, span)?));
        }
        if wanted(Load::Latency) {
            answer.latency = Some(latency(course.round_trips(span)?));
        }
        if wanted(Load::Connects) {
            let Connects { count, took } = course.connects(span)?;
            answer.connects = Some(Rate { count, per_second: f64::from(count) / took.as_secs_f64() });
        }
        Ok(answer)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn tcp(&self, Transfer { bytes, took }: Transfer) -> Tcp {
        let seconds = took.as_secs_f64();
        Tcp { streams: self.streams, bytes, seconds, bits_per_second: bytes as f64 * 8.0 / seconds }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn udp(&self, Datagrams { sent, received, took }: Datagrams) -> Udp {
        let seconds = took.as_secs_f64();
        Udp {
            size: self.size,
            flows: self.flows,
            sent,
            received,
            seconds,
            received_per_second: received as f64 / seconds,
            lost_percent: 100.0 * sent.saturating_sub(received) as f64 / sent.max(1) as f64,
        }
    }
}

fn latency(RoundTrips { count, lost, median, p99 }: RoundTrips) -> Latency {
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    Latency { round_trips: count, lost, p50_micros: micros(median), p99_micros: micros(p99) }
}

fn table(answer: &Answer) -> Table {
    let tcp = answer.tcp.as_ref().map(|tcp| {
        [format!("TCP, {}", counted(tcp.streams, "stream")), format!("{:.2} Gbit/s", tcp.bits_per_second / 1e9)]
    });
    let udp = answer.udp.as_ref().map(|udp| {
        let load = format!("UDP, {}, {}", counted(udp.flows, "flow"), counted(udp.size, "byte"));
        [load, format!("{:.0} a second, {:.1} % lost", udp.received_per_second, udp.lost_percent)]
    });
    let latency = answer.latency.as_ref().map(|latency| {
        let Latency { lost, p50_micros, p99_micros, .. } = latency;
        let unanswered = if *lost > 0 { format!(", {lost} without an answer") } else { String::new() };
        ["Round trip".to_owned(), format!("{p50_micros:.0} us, 1 of 100 above {p99_micros:.0} us{unanswered}")]
    });
    let connects =
        answer.connects.as_ref().map(|rate| ["TCP connections".to_owned(), format!("{:.0} a second", rate.per_second)]);
    Table::new(&["Load", "Result"]).rows([tcp, udp, latency, connects].into_iter().flatten())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn bench(words: &str) -> Result<Bench, String> {
        let line = Line::try_parse_from(["bench", "web", "db"].into_iter().chain(words.split_whitespace()));
        line.map(|line| line.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_has_its_bounds() {
        let fine = |words: &str| bench(words).is_ok();
        for (option, least, most) in [("streams", 1, 256), ("size", 1, 1472), ("flows", 1, 1024)] {
            let of = |number: u32| fine(&format!("--{option} {number}"));
            assert_eq!([least - 1, least, most, most + 1].map(of), [false, true, true, false], "{option}");
        }
        let seconds =
            ["0.09", "0.1", "3600", "3600.1", "NaN", "soon"].map(|number| fine(&format!("--seconds {number}")));
        assert_eq!(seconds, [false, true, true, false, false, false]);
        let why = |number: &str| bench(&format!("--seconds {number}")).err().unwrap_or_default();
        assert!(why("soon").contains("not a number of seconds") && why("0").contains("from 0.1 to 3600"));
        let usual = bench("").expect("it needs no more");
        assert_eq!((usual.streams, usual.size, usual.flows, usual.rate, usual.only), (1, 64, 1, None, Vec::new()));
        let two = bench("--only udp,latency").expect("two loads").only;
        assert_eq!(two, [Load::Udp, Load::Latency]);
    }

    #[test]
    fn each_load_has_its_figures_and_its_words() {
        let bench = bench("--streams 2 --size 100 --flows 3").expect("a load");
        let took = Duration::from_millis(500);
        let rows = |answer: &Answer| table(answer).tab_separated();
        let mut answer = Answer { tcp: Some(bench.tcp(Transfer { bytes: 125_000_000, took })), ..Answer::default() };
        assert_eq!(rows(&answer), "TCP, 2 streams\t2.00 Gbit/s\n");
        answer.udp = Some(bench.udp(Datagrams { sent: 1000, received: 750, took }));
        answer.latency = Some(latency(RoundTrips {
            count: 9,
            lost: 0,
            median: Duration::from_micros(70),
            p99: Duration::from_micros(120),
        }));
        answer.connects = Some(Rate { count: 100, per_second: 200.0 });
        assert_eq!(
            rows(&answer),
            "TCP, 2 streams\t2.00 Gbit/s\nUDP, 3 flows, 100 bytes\t1500 a second, 25.0 % lost\n\
             Round trip\t70 us, 1 of 100 above 120 us\nTCP connections\t200 a second\n"
        );
        let lossy = Answer {
            latency: Some(latency(RoundTrips { count: 0, lost: 1, median: Duration::ZERO, p99: Duration::ZERO })),
            udp: Some(bench.udp(Datagrams { sent: 0, received: 0, took })),
            ..Answer::default()
        };
        assert_eq!(
            rows(&lossy),
            "UDP, 3 flows, 100 bytes\t0 a second, 0.0 % lost\n\
             Round trip\t0 us, 1 of 100 above 0 us, 1 without an answer\n"
        );
        // More than were sent: some came from a load before.
        assert!(
            rows(&Answer { udp: Some(bench.udp(Datagrams { sent: 1, received: 2, took })), ..Answer::default() })
                .contains(" 0.0 % lost")
        );
    }
}
