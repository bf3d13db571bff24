//! `vnet explain`: a packet's path there and back, step by step.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use anstyle::AnsiColor;
use clap::Args;
use serde::Serialize;

use crate::analysis::{
    self, Branch, Explanation, Fix, FollowedFlow, LiveExplanation, PacketResult, Verdict, Verification,
};
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::{self, Base};
use crate::model::counted;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use super::{Exit, Outcome, by_packets, hops, topology, verify};

/// Show the path of a packet, there and back
///
/// Names each hop, and the route or rule that decides. If it does not get there, names the cause and the smallest fix.
/// Where a guest on the way has firewall rules of its own, a real packet settles it in a running lab; with --live it
/// depends on the guest, as with a file that gives it such rules (`guest: {nftables: …}`). Exit code 0 reachable, 1
/// blocked in either direction, 3 reachable with warnings, or for some flows only, or where a guest's own rules decide.
///
/// SRC and DST are a node, NODE/NIC or an address; a gateway or one of its instances; or VNET/SUBNET, for a machine
/// that would be there. With :PORT it asks for TCP, with :PORT/udp for UDP, without for ICMP echo. An IPv6 address with
/// a port goes in brackets.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet explain web db\n  vnet explain web db:443\n  \
    vnet explain web '[fd00::4]:53/udp'\n  vnet explain web db:443 --verify\n  vnet explain web db:443 --live\n  vnet explain web db:443 -t config/hub-spoke.yaml")]
pub(super) struct Explain {
    /// Where the packet comes from
    #[arg(value_name = "SRC")]
    source: String,
    /// Where it goes
    #[arg(value_name = "DST[:PORT[/PROTO]]")]
    destination: String,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Send a real packet of that kind through the lab, and compare what it met; exit code 1 if they differ
    #[arg(long, conflicts_with = "topology")]
    verify: bool,
    /// Follow the flow of that kind that was used last, by its records, instead of a new one; changes nothing
    #[arg(long, conflicts_with_all = ["topology", "verify"])]
    live: bool,
}

/// An explanation, and the real flow it is about or what a real packet says to it.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<FollowedFlow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (explanation, flow) = if self.live {
            let LiveExplanation { explanation, flow } = self.ask_live(context)?;
            (explanation, Some(flow))
        } else {
            (self.ask(context)?, None)
        };
        let mut explanation = explanation;
        let settles = !explanation.guest_rules.is_empty() && self.topology.is_none() && !self.live;
        // The packet's answer is the only one there is: nothing to compare it with.
        let verification = (self.verify && !settles).then(|| self.verify(context)).transpose()?;
        if settles {
            self.settle(&mut explanation, context);
        }
        let answer = Answer { explanation, flow, verification };
        context.output.text(&answer, &table(&answer.explanation), || text(&answer, &context.output))?;
        let Answer { explanation, verification, .. } = answer;
        if verification.is_some_and(|verification| !verification.agrees) {
            return Ok(Exit::No);
        }
        Ok(match explanation.verdict {
            Verdict::Blocked | Verdict::WrongHost => Exit::No,
            Verdict::Reachable if explanation.warnings.is_empty() => Exit::Fine,
            Verdict::Reachable | Verdict::Depends => Exit::Warnings,
        })
    }

    fn ask(&self, context: &Context) -> Result<Explanation, Failure> {
        let Self { source, destination, .. } = self;
        let Some(file) = &self.topology else {
            let request = Request::Explain { source: source.clone(), destination: destination.clone() };
            return match context.ask(&request)? {
                Response::Explanation(explanation) => Ok(*explanation),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(file, context)?;
        let query = analysis::parse_query(source, destination).map_err(Failure::usage)?;
        analysis::explain(&network, &compiled, &query, Instant::now()).map_err(Failure::usage)
    }

    fn ask_live(&self, context: &Context) -> Result<LiveExplanation, Failure> {
        let query = analysis::parse_query(&self.source, &self.destination).map_err(Failure::usage)?;
        match context.ask(&Request::ExplainLive(query))? {
            Response::LiveExplanation(answer) => Ok(*answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks a real packet where guests have rules of their own. What keeps it from being sent leaves the question open.
    fn settle(&self, explanation: &mut Explanation, context: &Context) {
        let settle = || -> Result<PacketResult, Failure> {
            let query = analysis::parse_query(&self.source, &self.destination).map_err(Failure::usage)?;
            let lab = lab::pick(&Base::detect(), context.lab.as_deref())?;
            let mut settled = by_packets::settle(&[query], &lab, context)?;
            settled.remove(0).map_err(Failure::usage)
        };
        match settle() {
            Ok(settled) => explanation.settle(settled),
            Err(failure) => context.messages.warning(&format!("no real packet could settle it: {}", failure.message)),
        }
    }

    fn verify(&self, context: &Context) -> Result<Verification, Failure> {
        let query = analysis::parse_query(&self.source, &self.destination).map_err(Failure::usage)?;
        verify::verify(&query, &lab::pick(&Base::detect(), context.lab.as_deref())?, context)
    }
}

fn text(answer: &Answer, output: &Output) -> String {
    let Answer { explanation, flow, verification } = answer;
    let mut text = format!("{} to {}, {}\n", explanation.source, explanation.destination, explanation.probe);
    if let Some(flow) = flow {
        let _ = writeln!(text, "{}", followed(flow));
    }
    let ways = [("There", Some(&explanation.forward)), ("Back", explanation.back.as_ref())];
    for (title, path) in ways.into_iter().filter_map(|(title, path)| Some((title, path?))) {
        let style = output.paint(AnsiColor::Cyan);
        let _ = writeln!(text, "\n{style}{title}{style:#}");
        hops::write(&mut text, &path.hops, output);
    }
    branches(&mut text, &explanation.branches, output);
    text.push('\n');
    let (colour, verdict) = match explanation.verdict {
        Verdict::Reachable => (AnsiColor::Green, "reachable"),
        Verdict::Blocked => (AnsiColor::Red, "blocked"),
        Verdict::WrongHost => (AnsiColor::Red, "wrong host"),
        Verdict::Depends if !explanation.guest_rules.is_empty() => (AnsiColor::Yellow, "depends on the guest"),
        Verdict::Depends => (AnsiColor::Yellow, "depends on the flow's hash"),
    };
    note(&mut text, output, colour, "verdict", verdict);
    for guest in &explanation.guest_rules {
        let message = format!("{guest}; this program does not evaluate them");
        note(&mut text, output, AnsiColor::Yellow, "guest", &message);
    }
    if let Some(settled) = &explanation.settled {
        note(&mut text, output, AnsiColor::Green, "settled", &by_a_packet(settled, &explanation.probe));
    }
    if let Some(cause) = &explanation.cause {
        note(&mut text, output, AnsiColor::Red, "cause", cause);
    }
    for reason in &explanation.reasons {
        note(&mut text, output, AnsiColor::Cyan, "why", reason);
    }
    if let Some(fix) = &explanation.fix {
        remedy(&mut text, output, fix);
    }
    for obstacle in &explanation.further {
        note(&mut text, output, AnsiColor::Red, "then", &obstacle.cause);
        if let Some(fix) = &obstacle.fix {
            remedy(&mut text, output, fix);
        }
    }
    for warning in &explanation.warnings {
        note(&mut text, output, AnsiColor::Yellow, "warning", warning);
    }
    if let Some(Verification { verdict, differences, source_port, .. }) = verification {
        if differences.is_empty() {
            let end = match verdict {
                Verdict::Reachable => "was answered",
                Verdict::WrongHost => "reached the other machine",
                Verdict::Blocked | Verdict::Depends => "was not answered",
            };
            let from = if explanation.probe == "ping" { "with identifier" } else { "from port" };
            let seen = format!("a real packet {from} {source_port} met the same decisions and {end}");
            note(&mut text, output, AnsiColor::Green, "verified", &seen);
        }
        for difference in differences {
            note(&mut text, output, AnsiColor::Red, "differs", difference);
        }
    }
    text
}

/// What a real packet did, in words.
fn by_a_packet(settled: &PacketResult, probe: &str) -> String {
    let from = if probe == "ping" { "with identifier" } else { "from port" };
    let end = match (settled.verdict, &settled.lost) {
        (Verdict::Reachable, _) => "was answered".to_owned(),
        (_, Some(lost)) => format!("was not answered: {}", lost.text),
        (_, None) => "was not answered".to_owned(),
    };
    let way = |way: &Option<Vec<String>>| way.as_ref().filter(|way| !way.is_empty()).map(|way| way.join(", "));
    let via = way(&settled.via).map(|via| format!(", there via {via}")).unwrap_or_default();
    let back = way(&settled.via_return).map(|via| format!(", back via {via}")).unwrap_or_default();
    format!("a real packet {from} {} {end}{via}{back}", settled.source_port)
}

/// Which record is followed.
fn followed(flow: &FollowedFlow) -> String {
    let seconds = |millis: u64| format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    let FollowedFlow { nic, source_port, age_ms, idle_ms, packets_sent, packets_received, flows } = flow;
    let (age, idle) = (seconds(*age_ms), seconds(*idle_ms));
    let of = if *flows > 1 { format!(", of {flows} the one used last") } else { String::new() };
    format!(
        "by the flow from port {source_port}{of}: on record at {nic} for {age}, last packet {idle} ago, \
         {} sent and {packets_received} received",
        counted(*packets_sent, "packet")
    )
}

/// The ways that flows take; a dozen of them say enough.
fn branches(text: &mut String, branches: &[Branch], output: &Output) {
    const SHOWN: usize = 12;
    if branches.is_empty() {
        return;
    }
    let style = output.paint(AnsiColor::Cyan);
    let _ = writeln!(text, "\n{style}Ways{style:#}, by the flow's hash: {}", branches.len());
    for branch in branches.iter().take(SHOWN) {
        let way =
            |way: &[String]| if way.is_empty() { "directly".to_owned() } else { format!("via {}", way.join(", ")) };
        let back = branch.via_return.as_ref().map(|back| format!(", back {}", way(back))).unwrap_or_default();
        let end = branch.dropped.as_deref().unwrap_or("arrives");
        let _ = writeln!(text, "  {}{back}: {end}, as from port {}", way(&branch.via), branch.source_port);
    }
    if branches.len() > SHOWN {
        let _ = writeln!(text, "  and {} more", branches.len() - SHOWN);
    }
}

fn remedy(text: &mut String, output: &Output, fix: &Fix) {
    note(text, output, AnsiColor::Green, "fix", &fix.text);
    // A verb that a link needs first, before the file is applied.
    for command in &fix.commands {
        let _ = writeln!(text, "         {command}");
    }
    for change in &fix.changes {
        let _ = match &change.value {
            Some(value) => writeln!(text, "         {}: {value}", change.path),
            None => writeln!(text, "         remove {}", change.path),
        };
    }
}

fn note(text: &mut String, output: &Output, colour: AnsiColor, word: &str, message: &str) {
    let style = output.paint(colour);
    let _ = writeln!(text, "{style}{word:<9}{style:#}{message}");
}

fn table(explanation: &Explanation) -> Table {
    let forward = explanation.forward.hops.iter().map(|hop| ("forward", hop));
    let back = explanation.back.iter().flat_map(|path| &path.hops).map(|hop| ("return", hop));
    let steps = forward.chain(back).flat_map(|(way, hop)| hop.steps.iter().map(move |step| (way, hop, step)));
    Table::new(&["Way", "Interface", "Step", "Text", "Object"]).rows(
        steps.map(|(way, hop, step)| {
            [way, &hop.nic, hops::word(step.what), &step.text, &step.object].map(str::to_owned)
        }),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::Format;

    /// Reports the port or identifier of a packet that took the same way; otherwise, each difference.
    #[test]
    fn what_a_real_packet_did_is_told_at_the_end() {
        let last = |probe: &str, verdict: &str, differences: &[&str]| {
            let explanation = json!({
                "source": "a", "destination": "b", "probe": probe, "verdict": "reachable", "cause": null, "fix": null,
                "forward": {"delivered": true, "dropped": null, "hops": []}, "return": null, "further": [], "warnings": [],
            });
            let verification = json!({
                "agrees": differences.is_empty(), "verdict": verdict, "sourcePort": 7, "differences": differences,
                "forward": [], "return": [],
            });
            let explanation = serde_json::from_value(explanation).unwrap();
            let verification = Some(serde_json::from_value(verification).unwrap());
            let text = text(&Answer { explanation, flow: None, verification }, &Output::new(Format::Table, false));
            text.split_once("verdict  reachable\n").unwrap().1.to_owned()
        };
        let met = |words: &str| format!("verified a real packet {words}\n");
        let port = "from port 7 met the same decisions and";
        assert_eq!(last("tcp/443", "reachable", &[]), met(&format!("{port} was answered")));
        assert_eq!(last("tcp/443", "blocked", &[]), met(&format!("{port} was not answered")));
        assert_eq!(last("tcp/443", "wrongHost", &[]), met(&format!("{port} reached the other machine")));
        assert_eq!(last("ping", "reachable", &[]), met("with identifier 7 met the same decisions and was answered"));
        assert_eq!(last("ping", "blocked", &["one", "two"]), "differs  one\ndiffers  two\n");
    }
}
