//! `vnet flows`: the flow records of a running lab.

use std::collections::HashMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use crate::control::protocol::{FlowFilter, FlowRow, Request, Response};

/// How often flows that are followed are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Show running flows, with the rules that let them pass
///
/// Each interface has its own record of a flow, named after the direction of its first packet. Sent is from the guest,
/// received is to it. A flow that `flushConnection` has ended shows as denied as long as packets of it come.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet flows\n  vnet flows web --protocol tcp --state established\n  \
                             vnet flows db/eth0 --port 5432 -f -o json")]
pub(super) struct Flows {
    /// A machine, `MACHINE/INTERFACE`, or a VNet that hangs on one TUN
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// At either end
    #[arg(long)]
    address: Option<IpAddr>,
    /// At either end; of a ping, its identifier
    #[arg(long)]
    port: Option<u16>,
    /// tcp, udp, icmp, icmpv6, esp, ah or a number
    #[arg(long)]
    protocol: Option<String>,
    /// A word of the column State, such as established
    #[arg(long)]
    state: Option<String>,
    /// Show no more than this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Go on every second with flows that are new or had packets, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Flows {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let Self { node, address, port, protocol, state, limit, follow } = self;
        let filter = FlowFilter { node, address, port, protocol, state };
        let (rows, more) = ask(context, &filter, limit)?;
        if more {
            context.messages.note(&format!("more than {limit} flows: --limit shows more, a filter fewer"));
        }
        if !follow {
            return context.output.rows(&rows, &table(&rows));
        }
        let mut heard = context.output.more(&rows, &table(&rows))?;
        let mut known: HashMap<_, _> = rows.iter().map(|row| (key(row), progress(row))).collect();
        while heard {
            thread::sleep(LOOK);
            let (rows, _) = ask(context, &filter, limit)?;
            let now: HashMap<_, _> = rows.iter().map(|row| (key(row), progress(row))).collect();
            let news: Vec<FlowRow> =
                rows.into_iter().filter(|row| known.get(&key(row)) != Some(&progress(row))).collect();
            if !news.is_empty() {
                heard = context.output.more(&news, &table(&news))?;
            }
            known = now;
        }
        Ok(Exit::Fine)
    }
}

/// Page by page, and whether there are more than the limit.
fn ask(context: &Context, filter: &FlowFilter, limit: usize) -> Result<(Vec<FlowRow>, bool), Failure> {
    let mut rows: Vec<FlowRow> = Vec::new();
    let mut from = None;
    loop {
        let page = match context.ask(&Request::Flows { filter: filter.clone(), from })? {
            Response::Flows(page) => page,
            other => return Err(unexpected(&other)),
        };
        rows.extend(page.flows);
        let more = rows.len() > limit;
        rows.truncate(limit);
        from = page.next;
        if more || from.is_none() {
            return Ok((rows, more));
        }
    }
}

/// What makes it the same flow.
fn key(row: &FlowRow) -> (String, String, String, String, (IpAddr, u16), (IpAddr, u16)) {
    let (source, destination) =
        ((row.source_address, row.source_port), (row.destination_address, row.destination_port));
    (row.node.clone(), row.nic.clone(), row.direction.clone(), row.protocol.clone(), source, destination)
}

/// What a packet changes.
fn progress(row: &FlowRow) -> (String, u64, u64) {
    (row.state.clone() + &row.access, row.packets_sent, row.packets_received)
}

fn table(rows: &[FlowRow]) -> Table {
    const COLUMNS: &[&str] = &[
        "Node",
        "Interface",
        "Direction",
        "Protocol",
        "Source",
        "Destination",
        "State",
        "Access",
        "Age",
        "Idle",
        "Sent",
        "Received",
        "Rules",
    ];
    let end = |address: IpAddr, port: u16| match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    };
    Table::new(COLUMNS).rows(rows.iter().map(|row| {
        [
            row.node.clone(),
            row.nic.clone(),
            row.direction.clone(),
            row.protocol.clone(),
            end(row.source_address, row.source_port),
            end(row.destination_address, row.destination_port),
            row.state.clone(),
            row.access.clone(),
            format!("{:.0} s", row.age_seconds),
            format!("{:.0} s", row.idle_seconds),
            format!("{} / {} B", row.packets_sent, row.bytes_sent),
            format!("{} / {} B", row.packets_received, row.bytes_received),
            row.rules.join(", "),
        ]
    }))
}
