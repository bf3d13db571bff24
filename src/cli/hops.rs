//! The interfaces that a packet visits and the decisions taken there, as people read them.

use std::fmt::Write;

use anstyle::AnsiColor;

use crate::analysis::{Hop, StepKind};

use super::output::Output;

/// An interface a line, its steps indented below it.
pub(super) fn write(text: &mut String, hops: &[Hop], output: &Output) {
    for hop in hops {
        let _ = writeln!(text, "  {}", hop.nic);
        // The hop's heading says that the packet arrives.
        for step in hop.steps.iter().filter(|step| step.what != StepKind::Arrive) {
            let style = colour(step.what).map(|colour| output.paint(colour)).unwrap_or_default();
            let word = word(step.what);
            let _ = writeln!(text, "    {style}{word:<9}{style:#}{}{}", step.text, object(hop, &step.object));
        }
    }
}

/// The object behind a step, where it is not the interface of this line.
fn object(hop: &Hop, object: &str) -> String {
    if object.strip_prefix("NIC ") == Some(&hop.nic) { String::new() } else { format!("  [{object}]") }
}

pub(super) fn word(what: StepKind) -> &'static str {
    match what {
        StepKind::Send => "send",
        StepKind::Filter => "filter",
        StepKind::Route => "route",
        StepKind::Peering => "peering",
        StepKind::Balance => "balance",
        StepKind::Translate => "nat",
        StepKind::Arrive => "arrive",
        StepKind::Forward => "forward",
        StepKind::Deliver => "deliver",
        StepKind::Drop => "drop",
    }
}

fn colour(what: StepKind) -> Option<AnsiColor> {
    match what {
        StepKind::Deliver => Some(AnsiColor::Green),
        StepKind::Drop => Some(AnsiColor::Red),
        StepKind::Send
        | StepKind::Filter
        | StepKind::Route
        | StepKind::Peering
        | StepKind::Balance
        | StepKind::Translate
        | StepKind::Arrive
        | StepKind::Forward => None,
    }
}
