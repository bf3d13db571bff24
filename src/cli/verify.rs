//! `vnet explain --verify`: a real packet asks the same question, and the router tells what it decided on it.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::analysis::{self, Filter, Forecast, Host, Probe, Query, QueryEnd, Sighting, Verification};
use crate::daemon::api::client::{self, Following, Received};
use crate::daemon::api::protocol::{Request, Response, Topic};
use crate::dataplane::Side;
use crate::lab::traffic::{self as trials, Outcome, Trial};
use crate::lab::{self, Record};
use crate::model::{Masquerade, Network, Verdict, counted};
use crate::wire::Protocol;

use super::ask::unexpected;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::topology;
use super::trial::trial;

/// How long the router may take to tell what it saw.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the packet that a question is about, and compares.
pub(super) fn verify(query: &Query, lab: &Record, context: &Context) -> Result<Verification, Failure> {
    let forecast = forecast(query, lab)?;
    let (_, loaded) = topology::applied(lab, context)?;
    let names_interface = !matches!(query.source, QueryEnd::Node { nic: None, .. });
    let expecting = forecast.verdict != Verdict::Blocked;
    let trial = trial(&loaded.network, &forecast, query.probe, names_interface, expecting).map_err(Failure::usage)?;
    let mut following =
        client::follow(&lab.socket, Topic::Trace { filter: filter(query, &forecast, &loaded.network).to_string() })?;
    // The first answer says that no packet is overlooked from now on.
    heard(&mut following)?;
    lab::join(lab)?;
    let outcome = send(lab, &loaded.network, &trial)?;
    following.enough();
    let mut seen: Vec<Sighting> = Vec::new();
    let mut missed = 0;
    while let Some(Response::Traced(traced)) = heard(&mut following)? {
        seen.extend(traced.packets);
        missed += traced.missed;
    }
    if let Some(note) = &outcome.note {
        context.messages.note(note);
    }
    if missed > 0 {
        context.messages.warning(&format!(
            "{} not seen: packets came faster than they could be printed",
            counted(missed, "packet")
        ));
    }
    let from: BTreeSet<&String> = seen.iter().map(|leg| &leg.nic).collect();
    let from = from.into_iter().cloned().collect();
    let request = Request::Retrace { query: query.clone(), source_port: outcome.source_port, seen: from };
    match client::ask(&lab.socket, &request)? {
        Response::Retraced(foretold) => Ok(analysis::verify(&foretold, &seen, outcome.arrived)),
        other => Err(unexpected(&other)),
    }
}

/// The next answer; None at the end.
fn heard(following: &mut Following) -> Result<Option<Response>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match following.next(PATIENCE)? {
            Received::Answer(answer) => return Ok(Some(answer)),
            Received::End => return Ok(None),
            Received::Nothing => {}
        }
    }
    Err(Failure::new(Exit::NoDaemon, "the daemon does not tell what it saw"))
}

/// What the model says of a question.
pub(super) fn forecast(query: &Query, lab: &Record) -> Result<Forecast, Failure> {
    match client::ask(&lab.socket, &Request::Forecast(vec![query.clone()]))? {
        Response::Forecast(mut answers) if answers.len() == 1 => answers.remove(0).map_err(Failure::usage),
        other => Err(unexpected(&other)),
    }
}

fn send(lab: &Record, network: &Network, trial: &Trial) -> Result<Outcome, Failure> {
    let outcomes = trials::run(lab, network, std::slice::from_ref(trial), &AtomicBool::new(false))?;
    let outcome = outcomes.into_iter().next().expect("an outcome for each trial");
    Ok(outcome?)
}

/// The probe's packets and their answers, and little else.
fn filter(query: &Query, forecast: &Forecast, network: &Network) -> Filter {
    let host = |address| Filter::Host(Side::Either, Host::Address(address));
    let (src, dst) = (forecast.from.address, forecast.to.address);
    let port = |port| Filter::Port(Side::Either, port, port);
    // Behind a guest that masquerades the packet has another source.
    let masked = network.virtual_machines.iter().any(|vm| vm.guest_masquerade != Masquerade::Off);
    let mut parts = if masked { vec![host(dst)] } else { vec![host(src), host(dst)] };
    match query.probe {
        Probe::Ping => parts.push(Filter::Protocol(if dst.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 })),
        Probe::Tcp(number) => parts.extend([Filter::Protocol(Protocol::TCP), port(number)]),
        Probe::Udp(number) => parts.extend([Filter::Protocol(Protocol::UDP), port(number)]),
    }
    Filter::All(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;

    fn network(guest: &str) -> Network {
        let text = format!(
            "
name: two
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
virtualMachines:
  - {{name: a, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: b, {guest}networkInterfaces: [{{subnet: v/s}}]}}
"
        );
        config::load(&text, "two.yaml").map_err(|errors| format!("{errors:?}")).expect("it is valid").network
    }

    /// Both ends and the protocol; where a guest gives the packet another source, without that.
    #[test]
    fn the_packets_that_are_looked_for_are_those_of_the_probe() {
        let (plain, masked) = (network(""), network("guest: {forwarding: true, masquerade: all}, "));
        let [four, six] = [["10.1.1.4", "10.1.1.5"], ["fd00::4", "fd00::5"]];
        for (network, [src, dst], probe, expected) in [
            (&plain, four, Probe::Ping, "host 10.1.1.4 and host 10.1.1.5 and icmp"),
            (&plain, six, Probe::Ping, "host fd00::4 and host fd00::5 and icmp6"),
            (&plain, four, Probe::Tcp(443), "host 10.1.1.4 and host 10.1.1.5 and tcp and port 443"),
            (&plain, four, Probe::Udp(53), "host 10.1.1.4 and host 10.1.1.5 and udp and port 53"),
            (&masked, four, Probe::Udp(53), "host 10.1.1.5 and udp and port 53"),
        ] {
            let forecast = json!({
                "verdict": Verdict::Reachable, "dropped": null, "from": {"address": src, "attachment": null},
                "to": {"address": dst, "attachment": null}, "via": [], "viaReturn": [], "rulings": []
            });
            let forecast: Forecast = serde_json::from_value(forecast).expect("a forecast");
            let [source, destination] = [src, dst].map(|end| QueryEnd::Address(end.parse().expect("an address")));
            let query = Query { source, destination, probe };
            assert_eq!(filter(&query, &forecast, network).to_string(), expected);
        }
    }
}
