//! Questions that only real packets can answer, since guests on the way have rules of their own.

use std::sync::atomic::AtomicBool;

use crate::analysis::{Forecast, LastSeen, PacketResult, Query, QueryEnd};
use crate::daemon::api::client;
use crate::daemon::api::protocol::{Request, Response};
use crate::lab::traffic::{self as trials, Outcome, Trial};
use crate::lab::{self, Record};
use crate::model::{Network, Verdict};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::topology;
use super::trial::trial;

/// Questions to a daemon at a time: its requests are of a bounded length.
const QUESTIONS: usize = 100;

/// What a real packet does, question by question, or why none could be sent. Enters the lab's user namespace: nothing can be
/// asked of the daemon that is not asked before.
pub(super) fn settle(
    queries: &[Query],
    lab: &Record,
    context: &Context,
) -> Result<Vec<Result<PacketResult, String>>, Failure> {
    let mut forecasts = Vec::new();
    for queries in queries.chunks(QUESTIONS) {
        match client::ask(&lab.socket, &Request::Forecast(queries.to_vec()))? {
            Response::Forecast(more) => forecasts.extend(more),
            other => return Err(unexpected(&other)),
        }
    }
    let (_, loaded) = topology::applied(lab, context)?;
    let trials: Vec<Result<Trial, String>> =
        queries.iter().zip(forecasts).map(|(query, forecast)| trial_of(&loaded.network, query, &forecast?)).collect();
    let good: Vec<Trial> = trials.iter().filter_map(|trial| trial.clone().ok()).collect();
    lab::join(lab)?;
    let mut outcomes = trials::run(lab, &loaded.network, &good, &AtomicBool::new(false))?.into_iter();
    let next = |trial: Result<Trial, String>| {
        trial?;
        let outcome = outcomes.next().expect("an outcome for each trial");
        outcome.map(settled).map_err(|error| error.to_string())
    };
    Ok(trials.into_iter().map(next).collect())
}

fn trial_of(network: &Network, query: &Query, forecast: &Forecast) -> Result<Trial, String> {
    let names_interface = !matches!(query.source, QueryEnd::Node { nic: None, .. });
    let trial = trial(network, forecast, query.probe, names_interface, true)?;
    Ok(Trial { follow: true, ..trial })
}

fn settled(outcome: Outcome) -> PacketResult {
    let Outcome { via, via_return, source_port, last_seen, .. } = outcome;
    let verdict = match (outcome.elsewhere, outcome.arrived) {
        (true, _) => Verdict::WrongHost,
        (false, true) => Verdict::Reachable,
        (false, false) => Verdict::Blocked,
    };
    let lost = last_seen.map(|last| LastSeen { at: last.at, sent_on: last.sent_on, text: last.text });
    PacketResult { verdict, via, via_return, source_port, lost }
}
