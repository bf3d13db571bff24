//! `vnet trace`: real packets, step by step.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use clap::Args;
use serde::Serialize;

use crate::analysis::{self, FilterError, Sighting};
use crate::daemon::api::protocol::{Response, Topic, Traced};
use crate::model::counted;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use super::{Exit, Outcome, hops};

/// Show real packets, step by step through the router
///
/// Each packet is shown once a leg: what it is, then the rules, the route and the peering that decide, as `explain`
/// words them, and whether it is delivered or why it is dropped. In json one object a line. Packets that come faster
/// than they can be printed are counted and left out; the router never waits.
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Trace {
    /// Which packets; all without
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// End after this many; exit code 1 if the time is up before
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Also show the time from the read of each packet to its write
    #[arg(long)]
    latency: bool,
    /// With --latency, show how the times spread instead of packets
    #[arg(long, requires = "latency")]
    summary: bool,
}

const AFTER_HELP: &str = "\
FILTER is a small language after tcpdump's:
  host ADDRESS|NODE, net PREFIX, port N|N-M    each with src or dst before it
  tcp, udp, icmp, icmp6, esp, ah, proto N, ip, ip6    `tcp port 443` is one term
  node NODE, nic NODE/NIC    the leg begins or ends there
  dropped, reason REASON    what became of it; `vnet drops` shows reasons
  and, or, not, parentheses    quote these; `and` and `or` do not mix without them

Examples:
  vnet trace
  vnet trace host web and tcp port 443
  vnet trace 'dropped and not (node nva or icmp)'
  vnet trace -c1 --timeout 5 -o json udp port 53
  vnet trace --latency --summary --timeout 10 tcp";

impl Trace {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let filter = self.filter.join(" ");
        analysis::parse_filter(&filter)?;
        let deadline = self.timeout.map(|time| Instant::now() + time);
        let mut following = context.follow(Topic::Trace { filter })?.until(deadline).until_interrupted()?;
        let mut left = self.count;
        let mut missed = 0;
        let mut times = Histogram::default();
        while left != Some(0) {
            let traced = match following.next()? {
                Some(Response::Traced(traced)) => traced,
                Some(other) => return Err(unexpected(&other)),
                None => break,
            };
            missed += traced.missed;
            let heard = self.show(traced, &mut left, &mut times, context)?;
            if !heard {
                break;
            }
        }
        if self.summary {
            times.print(&context.output)?;
        }
        if missed > 0 {
            context.messages.note(&format!("{} not shown in all", counted(missed, "packet")));
        }
        Ok(if left.is_some_and(|left| left > 0) { Exit::No } else { Exit::Fine })
    }

    /// Prints packets, no more than are left to show; false once stdout has no reader.
    fn show(
        &self,
        traced: Traced,
        left: &mut Option<u64>,
        times: &mut Histogram,
        context: &Context,
    ) -> Result<bool, Failure> {
        let Traced { mut packets, missed } = traced;
        if let Some(left) = left {
            packets.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= packets.len() as u64;
        }
        for packet in &packets {
            times.add(packet.latency_nanos);
        }
        let output = &context.output;
        let silent = packets.is_empty() || self.summary;
        let heard = silent || output.more_text(&packets, &table(&packets), || text(&packets, self.latency, output))?;
        if missed > 0 {
            context.messages.note(&format!(
                "{} not shown: packets came faster than they could be printed",
                counted(missed, "packet")
            ));
        }
        Ok(heard)
    }
}

fn text(packets: &[Sighting], latency: bool, output: &Output) -> String {
    let mut text = String::new();
    for sighting in packets {
        let style = output.paint(AnsiColor::Cyan);
        let took = if latency { format!("  {}", microseconds(sighting.latency_nanos)) } else { String::new() };
        let _ = writeln!(text, "{style}{}{style:#}  {}{took}", time_of_day(&sighting.time), words(sighting));
        hops::write(&mut text, &sighting.path.hops, output);
        text.push('\n');
    }
    text
}

fn microseconds(nanos: u64) -> String {
    format!("{}.{} µs", nanos / 1000, nanos % 1000 / 100)
}

/// How many packets took how long: a class for each power of two of a microsecond.
#[derive(Default)]
struct Histogram {
    /// By the number of binary digits of the microseconds.
    counts: [u64; 32],
}

/// A class of times.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Class {
    from_micros: u64,
    below_micros: u64,
    packets: u64,
}

impl Histogram {
    fn add(&mut self, nanos: u64) {
        let digits = u64::BITS - (nanos / 1000).leading_zeros();
        self.counts[(digits as usize).min(self.counts.len() - 1)] += 1;
    }

    /// From the first class with packets to the last.
    fn classes(&self) -> Vec<Class> {
        let used = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (self.counts.iter().position(used), self.counts.iter().rposition(used)) else {
            return Vec::new();
        };
        let class = |at: usize| Class {
            from_micros: if at == 0 { 0 } else { 1 << (at - 1) },
            below_micros: 1 << at,
            packets: self.counts[at],
        };
        (first..=last).map(class).collect()
    }

    fn print(&self, output: &Output) -> Outcome {
        const LONGEST: u64 = 40;
        let classes = self.classes();
        let most = classes.iter().map(|class| class.packets).max().unwrap_or(1);
        let table = Table::new(&["From", "Below", "Packets", "Share"]).rows(classes.iter().map(|class| {
            let bar = "#".repeat((class.packets * LONGEST).div_ceil(most) as usize);
            let of = |micros: u64| format!("{micros} µs");
            [of(class.from_micros), of(class.below_micros), class.packets.to_string(), bar]
        }));
        output.rows(&classes, &table)
    }
}

fn words(sighting: &Sighting) -> &str {
    sighting.packet.as_ref().map_or("bytes that are no IP packet", |packet| &packet.text)
}

pub(super) fn time_of_day(time: &str) -> &str {
    time.split_once('T').map_or(time, |(_, time)| time.trim_end_matches('Z'))
}

fn table(packets: &[Sighting]) -> Table {
    Table::new(&["Time", "Interface", "Packet", "Verdict"]).rows(packets.iter().map(|sighting| {
        let verdict = sighting.path.dropped.as_deref().unwrap_or("delivered");
        [&sighting.time, &sighting.nic, words(sighting), verdict].map(str::to_owned)
    }))
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| time.as_secs() < 1 << 32).ok_or_else(|| "expected a number of seconds".to_owned())
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        let failure = Self::usage(&error);
        match error.advice() {
            Some(advice) => failure.help(advice),
            None => failure,
        }
    }
}
