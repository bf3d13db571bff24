//! `vnet drops`: what was dropped, where and why.

use clap::Args;

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::listing::{self, Listing};
use super::table::Table;
use crate::control::protocol::{DropCount, Request, Response, Topic};

/// Show what was dropped, for each interface and reason
///
/// A drop counts at the interface the packet came from. The fabric drops silently, as Azure's does: this is the place to
/// look when a guest sees only timeouts.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet drops\n  vnet drops -f -o json")]
pub(super) struct Drops {
    /// Go on with what changes, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Drops {
    pub(super) fn run(self, context: &Context) -> Outcome {
        listing::print::<DropCount>(context, self.follow)
    }
}

impl Listing for DropCount {
    const REQUEST: Request = Request::Drops;
    const TOPIC: Topic = Topic::Drops;

    fn rows(answer: Response) -> Result<Vec<Self>, Failure> {
        match answer {
            Response::Drops(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    fn table(rows: &[Self]) -> Table {
        Table::new(&["Node", "Interface", "Reason", "Packets", "Explanation"]).rows(rows.iter().map(|row| {
            [&row.node, &row.nic, &row.reason, &row.packets.to_string(), &row.explanation].map(String::clone)
        }))
    }
}
