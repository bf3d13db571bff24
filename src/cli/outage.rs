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
    context.output.text(&outage, &table(&outage), || text(&outage))?;
    outage.warnings.iter().for_each(|warning| context.messages.warning(warning));
    Ok(if outage.warnings.is_empty() { Exit::Fine } else { Exit::Warnings })
}

fn text(outage: &Outage) -> String {
    let Outage { lab, what, seconds, down, detours, .. } = outage;
    let mut text = String::new();
    let _ = match seconds {
        0 => writeln!(text, "lab {lab}: {what}: back now"),
        _ => writeln!(text, "lab {lab}: {what}: away for {seconds} s"),
    };
    if !down.is_empty() {
        let _ = writeln!(text, "down until then: {}", down.join(", "));
    }
    for detour in detours {
        let _ = match &detour.by[..] {
            [] => writeln!(text, "{}: nothing leads there until then", detour.to),
            by => writeln!(text, "{}: flows move to {}", detour.to, by.join(", ")),
        };
    }
    text
}

fn table(outage: &Outage) -> Table {
    let detours = outage.detours.iter().map(|detour| [outage.what.clone(), detour.to.clone(), detour.by.join(",")]);
    Table::new(&["Away", "To", "By"]).rows(detours)
}
