//! `vnet capture`: packets in a file that Wireshark reads, each with what was decided on it.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::analysis;
use crate::daemon::api::protocol::{self, Response, Topic};
use crate::model::counted;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::trace::seconds;
use super::{Exit, Outcome};

/// Write packets to a capture file, each with the rule, the route and the verdict as its comment
///
/// The file is pcapng, with an interface for each interface of a machine. Dropped packets are in it, with the reason.
/// A packet stands at its sender's interface as it was sent; where only its receiver is captured, as it arrived. The
/// router never waits: packets that find no room are counted in the file's statistics.
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Capture {
    /// Machines and interfaces, with commas between them; then which of their packets
    #[arg(value_name = "NODE[/NIC],… [FILTER]", num_args = 0..)]
    what: Vec<String>,
    /// Every interface: then all words are the filter
    #[arg(long)]
    all: bool,
    /// The file; - for stdout, which is the default where it is no terminal
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after this many packets; exit code 1 if the time is up before
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Bytes to keep of a packet
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(64..=262_144))]
    snap: u32,
    /// Cut super-packets into the packets that they are on a wire; without, they are whole
    #[arg(long)]
    cut: bool,
}

const AFTER_HELP: &str = "\
FILTER is the language of `vnet trace`: `vnet trace --help` has all of it.

Examples:
  vnet capture web -w web.pcapng
  vnet capture web,db/eth0 tcp port 443 -w - | tshark -r -
  vnet capture --all -w - | wireshark -k -i -
  vnet capture --all dropped -w drops.pcapng --duration 10";

impl Capture {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (nodes, words) = self.asked()?;
        analysis::parse_filter(&words)?;
        let filter = whole(&nodes, &words);
        analysis::parse_filter(&filter)?;
        self.check_terminal()?;
        let mut sink = None;
        let wanted = protocol::Capture { nodes, filter, count: self.count, snap: self.snap, cut: self.cut };
        let deadline = self.duration.map(|time| Instant::now() + time);
        let mut following = context.follow(Topic::Capture(wanted))?.until(deadline).until_interrupted()?;
        let (mut packets, mut missed, mut full, mut end) = (0, 0, false, Vec::new());
        while !full {
            let captured = match following.next()? {
                Some(Response::Captured(captured)) => captured,
                Some(other) => return Err(unexpected(&other)),
                None => break,
            };
            (full, missed) = (captured.full, captured.missed);
            packets += captured.packets;
            end = captured.end;
            // What is refused leaves the file that is there.
            let sink = match &mut sink {
                Some(sink) => sink,
                None => sink.insert(self.sink()?),
            };
            if !written(sink, &captured.bytes)? {
                return Ok(Exit::Fine);
            }
        }
        if let Some(sink) = &mut sink {
            written(sink, &end)?;
        }
        let lost = if missed > 0 { format!(", {missed} found no room") } else { String::new() };
        context.messages.note(&format!("{} captured{lost}", counted(packets, "packet")));
        Ok(if self.count.is_some_and(|count| packets < count) { Exit::No } else { Exit::Fine })
    }

    /// The machines and interfaces, and the filter.
    fn asked(&self) -> Result<(Vec<String>, String), Failure> {
        if self.all {
            return Ok((Vec::new(), self.what.join(" ")));
        }
        let Some((nodes, filter)) = self.what.split_first() else {
            return Err(Failure::usage("which machines? Expected NODE, NODE/NIC or several with commas between them")
                .help("`vnet capture web,db -w file.pcapng`, or `--all` for every interface"));
        };
        let nodes = nodes.split(',').filter(|node| !node.is_empty()).map(str::to_owned).collect();
        Ok((nodes, filter.join(" ")))
    }

    fn check_terminal(&self) -> Result<(), Failure> {
        if self.write.is_none() && io::stdout().is_terminal() {
            return Err(Failure::usage("a capture file is no text for a terminal")
                .help("`-w FILE` writes it to a file, `-w - | tshark -r -` reads it at once"));
        }
        Ok(())
    }

    fn sink(&self) -> Result<Box<dyn Write>, Failure> {
        match self.write.as_deref().filter(|file| *file != Path::new("-")) {
            None => Ok(Box::new(io::stdout())),
            Some(file) => match File::create(file) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => {
                    Err(Failure::new(Exit::Unavailable, format_args!("cannot write {}: {error}", file.display())))
                }
            },
        }
    }
}

/// The filter that also asks for the machines.
fn whole(nodes: &[String], filter: &str) -> String {
    let places =
        nodes.iter().map(|node| if node.contains('/') { format!("nic {node}") } else { format!("node {node}") });
    let places = places.collect::<Vec<_>>().join(" or ");
    match (places.is_empty(), filter.is_empty()) {
        (true, _) => filter.to_owned(),
        (false, true) => places,
        (false, false) => format!("({places}) and ({filter})"),
    }
}

/// False once there is no reader.
fn written(sink: &mut dyn Write, bytes: &[u8]) -> Result<bool, Failure> {
    match sink.write_all(bytes).and_then(|()| sink.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Unavailable, format_args!("cannot write the capture: {error}"))),
    }
}
