//! What `vnet gateway failover` and `vnet circuit fail` print: what is away, for how long, and where its flows go.

use std::fmt::Write;

use crate::daemon::api::protocol::{Change, Request, Response};
use crate::daemon::outage::Outage;

use super::ask::unexpected;
use super::context::Context;
use super::table::Table;
use super::{Exit, Outcome};

/// Has something go away, or come back, and says what came of it.
pub(super) fn happen(context: &Context, change: Change) -> Outcome {
    let outage = match context.ask(&Request::Change(change))? {
        Response::Outage(outage) => outage,
        other => return Err(unexpected(&other)),
    };
    context.output.story(&outage, &table(&outage), || story(&outage))?;
    outage.warnings.iter().for_each(|warning| context.messages.warning(warning));
    Ok(if outage.warnings.is_empty() { Exit::Fine } else { Exit::Warnings })
}

fn story(outage: &Outage) -> String {
    let Outage { lab, what, seconds, down, ways, .. } = outage;
    let mut text = String::new();
    let _ = match seconds {
        0 => writeln!(text, "lab {lab}: {what}: back now"),
        _ => writeln!(text, "lab {lab}: {what}: away for {seconds} s"),
    };
    if !down.is_empty() {
        let _ = writeln!(text, "down until then: {}", down.join(", "));
    }
    for way in ways {
        let _ = match &way.by[..] {
            [] => writeln!(text, "{}: nothing leads there until then", way.to),
            by => writeln!(text, "{}: flows move to {}", way.to, by.join(", ")),
        };
    }
    text
}

fn table(outage: &Outage) -> Table {
    let ways = outage.ways.iter().map(|way| [outage.what.clone(), way.to.clone(), way.by.join(",")]);
    Table::new(&["Away", "To", "By"]).rows(ways)
}
