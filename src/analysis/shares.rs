//! Where flows of one question go, one by one: which machine gets each, and past which machines.

use crate::compile::Compiled;
use crate::model::Network;

use super::query::names::Names;
use super::query::{EPHEMERAL, Query, resolve};
use super::walk::round_trip::RoundTrip;
use super::walk::{Outcome, ScratchFlows};

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The machine that it arrives at, if it does.
    pub to: Option<String>,
    /// Those that forward it there.
    pub via: Vec<String>,
}

/// Flows that differ in their source ports alone. Every backend counts as healthy.
pub fn shares(network: &Network, compiled: &Compiled, query: &Query, count: u16) -> Result<Vec<Share>, String> {
    let ends = resolve(network, compiled, query)?;
    let names = Names { network, compiled };
    let mut scratch = ScratchFlows::new();
    let share = |port| {
        let trip = RoundTrip::take(names, &mut scratch, &ends, query.probe, port);
        let to = match trip.forward.outcome {
            Outcome::Delivered(nic) => Some(names.node(nic)),
            _ => None,
        };
        Share { to, via: names.via(&trip.forward) }
    };
    Ok((EPHEMERAL..EPHEMERAL.saturating_add(count)).map(share).collect())
}
