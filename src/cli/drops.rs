//! `vnet drops`: what was dropped, where and why.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};

use crate::daemon::api::protocol::{DropCount, DroppedFlow, Request, Response, Topic};

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::listing::{self, Listing};
use super::table::Table;

/// Show what was dropped, for each interface, reason and destination
///
/// A drop counts at the interface the packet came from. The fabric drops silently, as Azure's does: this is the place
/// to look when a guest sees only timeouts. `By` is the interface and the rule that refused the packets, or the
/// network that has used its share of the flow table. Details are kept of about the last thousand flows; a row without a destination counts the others. `RoutingLoop` is no drop: it
/// counts packets that come back to an interface that they left.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet drops\n  vnet drops --by flow\n  vnet drops -f -o json")]
pub(super) struct Drops {
    /// Go on with what changes, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
    /// Show what is harmless, too: what guests' kernels say by themselves
    #[arg(short, long)]
    all: bool,
    /// What divides rows, beside interface and reason
    #[arg(long, value_enum, default_value_t = By::Destination)]
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Destination,
    Flow,
}

impl Drops {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let by_flow = self.by == By::Flow;
        let topic = self.follow.then_some(Topic::Drops { by_flow });
        let asked = (&Request::Drops { by_flow }, topic);
        listing::print_those(context, asked, |row: &DropCount| self.all || !row.harmless)
    }
}

impl Listing for DropCount {
    fn rows(answer: Response) -> Result<Vec<Self>, Failure> {
        match answer {
            Response::Drops(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    fn table(rows: &[Self]) -> Table {
        const COLUMNS: [&str; 9] =
            ["Node", "Interface", "Reason", "Packets", "Protocol", "Source", "Destination", "By", "Explanation"];
        Table::new(&COLUMNS).rows(rows.iter().map(|row| {
            let [protocol, source, destination, by] = row.flow.as_ref().map_or_else(Default::default, cells);
            let [node, nic, reason, explanation] =
                [&row.node, &row.nic, &row.reason, &row.explanation].map(Clone::clone);
            [node, nic, reason, row.packets.to_string(), protocol, source, destination, by, explanation]
        }))
    }
}

fn cells(flow: &DroppedFlow) -> [String; 4] {
    let has_ports = matches!(flow.protocol.as_str(), "Tcp" | "Udp");
    let end = |address: IpAddr, port: Option<u16>| match port {
        Some(port) if has_ports => SocketAddr::new(address, port).to_string(),
        Some(_) | None => address.to_string(),
    };
    let source = flow.source_address.map(|address| end(address, flow.source_port));
    // An echo's identifier stands in the place of its ports.
    let identifier = flow.source_port.filter(|id| *id > 0 && !has_ports).map(|id| format!(" id {id}"));
    let source = source.map(|source| source + &identifier.unwrap_or_default());
    let by = [flow.by.as_deref(), flow.rule.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let destination = end(flow.destination_address, Some(flow.destination_port));
    [flow.protocol.clone(), source.unwrap_or_default(), destination, by]
}
