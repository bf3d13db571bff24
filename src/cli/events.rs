//! `vnet events`: what happened to the lab.

use clap::Args;

use crate::daemon::api::protocol::{Request, Response, Topic};
use crate::daemon::events::Event;

use super::Outcome;
use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::listing::{self, Listing};
use super::table::Table;
use super::trace::time_of_day;

/// Show what happened to the lab: changes, peerings, machines, devices, programs, BGP
///
/// The last 1024 events are kept. Their numbers rise by one: a gap means that events came faster than they were read.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet events\n  vnet events -f -o json")]
pub(super) struct Events {
    /// Go on with what happens, until Ctrl-C; in json one object a line
    #[arg(short, long)]
    follow: bool,
}

impl Events {
    pub(super) fn run(self, context: &Context) -> Outcome {
        listing::print::<Event>(context, (&Request::Events, self.follow.then_some(Topic::Events)))
    }
}

impl Listing for Event {
    fn rows(answer: Response) -> Result<Vec<Self>, Failure> {
        match answer {
            Response::Events(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    fn table(rows: &[Self]) -> Table {
        Table::new(&["Time", "Event", "Object", "Detail"]).rows(rows.iter().map(|row| {
            let happening = &row.happening;
            [time_of_day(&row.time).to_owned(), happening.name().to_owned(), happening.object(), happening.to_string()]
        }))
    }
}
