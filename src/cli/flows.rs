//! `vnet flows`: the flows of a running lab, each once, or as every interface has a record of it.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use crate::daemon::api::protocol::{FlowChange, FlowFilter, FlowRow, Request, Response, Topic};
use crate::model::counted;

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::shown_flows::{ShownFlow, ShownFlows};
use super::table::Table;
use super::trace::time_of_day;

/// Show running flows, with the rules that let them pass
///
/// A flow is shown once, as seen by the interface that began it. Also At names the other interfaces that have a record
/// of it, and the rules are those of all. With NODE it is shown as NODE has it, with NODE's rules alone. A load balancer's
/// client and backend are one flow too. Sent is from the guest, received is to it. A flow with packets that the other
/// end's rule refuses shows as denied there; so does one that `flushConnection` has ended, until its idle time is over.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet flows\n  vnet flows web --protocol tcp --state established\n  \
                             vnet flows --state denied\n  vnet flows db/eth0 --port 5432 -f -o json")]
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
    /// Show every interface's own record, named after the direction of its first packet there
    #[arg(long)]
    both: bool,
    /// Go on with what happens until Ctrl-C: flows that begin, flows that end, with their final counters, and packets
    /// that rules refuse, at each interface; in json one object a line
    #[arg(short, long, conflicts_with = "limit")]
    follow: bool,
}

impl Flows {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let Self { node, address, port, protocol, state, limit, both, follow } = self;
        let filter = FlowFilter { node, address, port, protocol, state };
        if follow {
            return follow_all(context, filter);
        }
        let (flows, more) = ask(context, &filter, limit, both)?;
        if more {
            context.messages.note(&format!("more than {}: --limit shows more, a filter fewer", counted(limit, "flow")));
        }
        context.output.rows(&flows, &table(&flows))
    }
}

/// What runs, then what happens.
fn follow_all(context: &Context, filter: FlowFilter) -> Outcome {
    let mut following = context.follow(Topic::Flows { filter })?.until_interrupted()?;
    let mut heard = true;
    while heard {
        let news = match following.next()? {
            Some(Response::FlowChanges(news)) => news,
            Some(other) => return Err(unexpected(&other)),
            None => break,
        };
        if !news.changes.is_empty() {
            heard = context.output.more(&news.changes, &changes(&news.changes))?;
        }
        if news.missed > 0 {
            let missed = news.missed;
            context.messages.note(&format!(
                "{} not shown: events came faster than they could be printed",
                counted(missed, "event")
            ));
        }
    }
    Ok(Exit::Fine)
}

/// Page by page, and whether there are more than the limit.
fn ask(context: &Context, filter: &FlowFilter, limit: usize, both: bool) -> Result<(Vec<ShownFlow>, bool), Failure> {
    let mut flows = ShownFlows::new(both);
    let mut from = None;
    loop {
        let page = match context.ask(&Request::Flows { filter: filter.clone(), from })? {
            Response::Flows(page) => page,
            other => return Err(unexpected(&other)),
        };
        flows.extend(page.flows);
        let more = flows.len() > limit;
        from = page.next;
        if more || from.is_none() {
            let mut flows = flows.shown();
            flows.truncate(limit);
            return Ok((flows, more));
        }
    }
}

/// Where else a connection has a record; left out where no connection has one.
const ALSO_AT: usize = 7;

const COLUMNS: [&str; 15] = [
    "Node",
    "Interface",
    "Direction",
    "Protocol",
    "Source",
    "Destination",
    "Translated",
    "Also At",
    "State",
    "Access",
    "Age",
    "Idle",
    "Sent",
    "Received",
    "Rules",
];

fn table(flows: &[ShownFlow]) -> Table {
    let elsewhere = flows.iter().any(|flow| !flow.also_at.is_empty());
    let rows = flows.iter().map(|flow| cells(&flow.first, &flow.also_at));
    Table::matrix(shown(COLUMNS.map(str::to_owned), elsewhere), rows.map(|row| shown(row, elsewhere)).collect())
}

/// With what happened before each.
fn changes(rows: &[FlowChange]) -> Table {
    let columns = ["Time", "Event"].map(str::to_owned).into_iter().chain(shown(COLUMNS.map(str::to_owned), false));
    let happened = |row: &FlowChange| {
        let when = [time_of_day(&row.time).to_owned(), format!("{:?}", row.event)];
        when.into_iter().chain(shown(cells(&row.flow, &[]), false)).collect()
    };
    Table::matrix(columns.collect(), rows.iter().map(happened).collect())
}

/// A row with or without that column.
fn shown(row: [String; COLUMNS.len()], elsewhere: bool) -> Vec<String> {
    let is_shown = |(column, cell)| (elsewhere || column != ALSO_AT).then_some(cell);
    row.into_iter().enumerate().filter_map(is_shown).collect()
}

fn cells(row: &FlowRow, also_at: &[String]) -> [String; COLUMNS.len()] {
    let end = |address: IpAddr, port: u16| SocketAddr::new(address, port).to_string();
    let translated = row.translated_address.zip(row.translated_port).map(|(address, port)| end(address, port));
    let state = match &row.denied_at {
        Some(at) => format!("Denied at {at} by {}", row.rules.join(", ")),
        None => row.state.clone(),
    };
    [
        row.node.clone(),
        row.nic.clone(),
        row.direction.clone(),
        row.protocol.clone(),
        end(row.source_address, row.source_port),
        end(row.destination_address, row.destination_port),
        translated.unwrap_or_default(),
        also_at.join(", "),
        state,
        row.access.clone(),
        format!("{:.0} s", row.age_seconds),
        format!("{:.0} s", row.idle_seconds),
        format!("{} / {} B", row.packets_sent, row.bytes_sent),
        format!("{} / {} B", row.packets_received, row.bytes_received),
        row.rules.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_no_row_has_is_left_out() {
        let columns = |elsewhere| shown(COLUMNS.map(str::to_owned), elsewhere);
        assert_eq!(columns(true), COLUMNS);
        assert_eq!(columns(false).len(), COLUMNS.len() - 1);
        assert!(!columns(false).contains(&"Also At".to_owned()));
    }
}
