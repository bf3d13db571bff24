//! Tests of how flows are shared out (`flows`): over backends of a balancer, or over appliances on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::analysis::{self, Forecast, Query, Share, Site};
use crate::cli::failure::Failure;
use crate::daemon::api::client;
use crate::daemon::api::protocol::{FlowFilter, FlowRow, Request, Response};
use crate::lab::Record;
use crate::lab::traffic::shares::{Connections, with_connections};
use crate::model::{Attachment, FlowsTest, TestCase, counted};

use super::report::Tested;
use super::said::{Answers, Foretold, Said};
use super::session::Session;

const PATIENCE: Duration = Duration::from_secs(3);
/// Flows that the model is asked about: as many as show every machine that may get one.
const ASKED: u16 = 256;

type Machines = BTreeSet<String>;

/// The machines that count, of those that a flow meets.
struct Counted {
    /// As the test names them.
    over: Machines,
    /// Where the address is a balancer's, those that answer; else those on the way.
    backends: bool,
    /// Neither sends nor is asked.
    ends: Machines,
    /// Those that the model knows on the way.
    ways: Machines,
}

impl Counted {
    fn foretold(&self, shares: &[Share]) -> Machines {
        let met = shares.iter().flat_map(|share| {
            let via = share.via.iter().filter(|_| !self.backends || !self.over.is_empty());
            share.to.iter().filter(|_| self.backends || !self.over.is_empty()).chain(via)
        });
        met.filter(|machine| self.over.is_empty() || self.over.contains(*machine)).cloned().collect()
    }

    fn seen(&self, machines: Machines) -> Machines {
        let counts = |machine: &String| match (self.over.is_empty(), self.backends) {
            (false, _) => self.over.contains(machine),
            (true, true) => !self.ways.contains(machine),
            (true, false) => !self.ends.contains(machine),
        };
        machines.into_iter().filter(counts).collect()
    }
}

impl Session<'_> {
    pub(super) fn flows(&self, case: &TestCase, wanted: &FlowsTest, tested: &mut Tested) -> Result<Answers, Failure> {
        let expected = format!("flows at {} or more", counted(wanted.at_least, "machine"));
        let forecast = self.foretell(&wanted.ends, tested)?;
        let query = Query::of(self.network, &wanted.ends);
        let shares = analysis::shares(self.network, self.model.compiled(), &query, ASKED).unwrap_or_default();
        let counted = self.counted(wanted, &forecast, &shares);
        let known = counted.foretold(&shares);
        let model = match &forecast {
            _ if case.packets_only => Foretold::Unknown("only real packets are to be asked".to_owned()),
            Err(why) => Foretold::Unknown(why.clone()),
            Ok(_) => Foretold::Says(Said::of_shares(wanted, &known)),
        };
        let Some(lab) = self.ground else { return Ok(Answers { expected, model, seen: None }) };
        let seen = || -> Result<Said, String> {
            let trial = self.trial_between(case, &wanted.ends, forecast.as_ref()?, true)?;
            let limit = case.conduct.timeout.unwrap_or(PATIENCE);
            let look = |connections: &Connections| seen(lab, connections);
            let looked = with_connections(lab, self.network, (&trial, wanted.count), limit, look);
            let (machines, failed) = looked.map_err(|error| error.to_string())??;
            let machines = counted.seen(machines);
            let mut said = Said::of_shares(wanted, &machines);
            if failed > 0 {
                said.text = format!("{}; {failed} of {} connections were not made", said.text, wanted.count);
            }
            // Chance decides which of the machines are seen: none may be another.
            let others: Vec<_> = machines.difference(&known).cloned().collect();
            said.fact = Some(others.join(", "));
            Ok(said)
        };
        Ok(Answers { expected, model, seen: Some(seen()) })
    }

    fn counted(&self, wanted: &FlowsTest, forecast: &Result<Forecast, String>, shares: &[Share]) -> Counted {
        let attachments = self.network.attachments();
        let name = |site: &Site| match attachments.get(site.attachment?) {
            Some(Attachment::Nic(nic)) => Some(self.network.vm(self.network.nic(*nic).virtual_machine).name.clone()),
            _ => None,
        };
        let sites = forecast.iter().flat_map(|forecast| [&forecast.from, &forecast.to]);
        Counted {
            over: wanted.over.iter().map(|vm| self.network.vm(*vm).name.clone()).collect(),
            backends: forecast.as_ref().is_ok_and(|forecast| forecast.to.attachment.is_none()),
            ends: sites.filter_map(name).collect(),
            ways: shares.iter().flat_map(|share| share.via.clone()).collect(),
        }
    }
}

/// Machines that have a record of the connections, and how many were not made.
fn seen(lab: &Record, connections: &Connections) -> Result<(Machines, usize), String> {
    let filter = FlowFilter { protocol: Some("tcp".to_owned()), ..FlowFilter::default() };
    let (mut machines, mut from) = (Machines::new(), None);
    loop {
        match client::ask(&lab.socket, &Request::Flows { filter: filter.clone(), from }) {
            Ok(Response::Flows(page)) => {
                let ours = page.flows.into_iter().filter(|row| is_one_of(&connections.ports, row));
                machines.extend(ours.map(|row| row.node));
                from = page.next;
            }
            Ok(_) => return Err("the daemon lists no flows".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        if from.is_none() {
            return Ok((machines, connections.failed));
        }
    }
}

/// Whether a record is of a connection that is open from one of these ports. An earlier one may have had the same port.
fn is_one_of(ports: &[u16], row: &FlowRow) -> bool {
    let is_open = !matches!(row.state.as_str(), "Closing" | "Closed");
    row.direction == "Inbound" && is_open && ports.contains(&row.source_port)
}

impl Said {
    fn of_shares(wanted: &FlowsTest, machines: &Machines) -> Self {
        let names = machines.iter().cloned().collect::<Vec<_>>().join(", ");
        let text = match machines.len() {
            0 => "flows at no machine".to_owned(),
            1 => format!("flows at {names} alone"),
            several => format!("flows at {several} machines: {names}"),
        };
        Self { holds: machines.len() >= wanted.at_least, text, fact: Some(String::new()) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_connection_from_the_same_port_is_another() {
        let row = |port: u16, direction: &str, state: &str| -> FlowRow {
            let row = serde_json::json!({
                "node": "web", "nic": "eth0", "direction": direction, "protocol": "Tcp", "sourceAddress": "10.0.1.6",
                "sourcePort": port, "destinationAddress": "10.0.1.4", "destinationPort": 8080, "state": state,
                "access": "Allow", "ageSeconds": 1.0, "idleSeconds": 1.0, "packetsSent": 1, "bytesSent": 1,
                "packetsReceived": 1, "bytesReceived": 1, "rules": [],
            });
            serde_json::from_value(row).unwrap()
        };
        let rows = [
            row(7, "Inbound", "Established"),
            row(7, "Inbound", "SynReceived"),
            row(7, "Inbound", "Closed"),
            row(7, "Inbound", "Closing"),
            row(7, "Outbound", "Established"),
            row(8, "Inbound", "Established"),
        ];
        assert_eq!(rows.map(|row| is_one_of(&[6, 7], &row)), [true, true, false, false, false, false]);
    }
}
