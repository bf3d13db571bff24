//! `vnet counters`: packets and bytes of each interface.

use clap::Args;

use crate::daemon::api::protocol::{InterfaceCounters, Request, Response, Topic};

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::listing::{self, Listing};
use super::table::Table;

/// Show packets and bytes of each interface
///
/// Sent and received as the machine sees it; in json, `rx` is what it sent and `tx` what it received. Packets are counted as on a wire: a segmented packet counts as its
/// segments. Drops leave out what is harmless, as `vnet drops` does without `--all`; in json,
/// `harmlessDrops` is that part of them.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet counters\n  vnet counters -f -o json")]
pub(super) struct Counters {
    /// Go on with what changes, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Counters {
    pub(super) fn run(self, context: &Context) -> Outcome {
        listing::print::<InterfaceCounters>(context, (&Request::Counters, self.follow.then_some(Topic::Counters)))
    }
}

impl Listing for InterfaceCounters {
    fn rows(answer: Response) -> Result<Vec<Self>, Failure> {
        match answer {
            Response::Counters(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    fn table(rows: &[Self]) -> Table {
        const COLUMNS: &[&str] =
            &["Node", "Interface", "Sent", "Sent Bytes", "Received", "Received Bytes", "Drops", "State"];
        Table::new(COLUMNS).rows(rows.iter().map(|row| {
            let [rx_packets, rx_bytes, tx_packets, tx_bytes, drops] =
                [row.rx_packets, row.rx_bytes, row.tx_packets, row.tx_bytes, row.drops - row.harmless_drops]
                    .map(|n| n.to_string());
            let state = if row.alive { "up" } else { "gone" };
            let (node, nic) = (row.node.clone(), row.nic.clone());
            [node, nic, rx_packets, rx_bytes, tx_packets, tx_bytes, drops, state.to_owned()]
        }))
    }
}
