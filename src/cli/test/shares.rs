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
            let look = |open: &Connections| seen(lab, &open.ports).map(|machines| (machines, open.failed));
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

/// Machines that have a record of a connection from one of these ports.
fn seen(lab: &Record, ports: &[u16]) -> Result<Machines, String> {
    let filter = FlowFilter { protocol: Some("tcp".to_owned()), ..FlowFilter::default() };
    let (mut machines, mut from) = (Machines::new(), None);
    loop {
        match client::ask(&lab.socket, &Request::Flows { filter: filter.clone(), from }) {
            Ok(Response::Flows(page)) => {
                let ours = page.flows.into_iter().filter(|row| is_one_of(ports, row));
                machines.extend(ours.map(|row| row.node));
                from = page.next;
            }
            Ok(_) => return Err("the daemon lists no flows".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        if from.is_none() {
            return Ok(machines);
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

    /// Backends where the address is a balancer's, machines on the way elsewhere, and of both those that the test names.
    #[test]
    fn what_counts_is_what_the_flows_are_shared_over() {
        let machines = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Machines>();
        let way = |to: &str, via: &str| Share { to: Some(to.to_owned()), via: vec![via.to_owned()] };
        let shares = [way("b1", "n1"), way("b2", "n2")];
        let met = machines(&["web", "n1", "n2", "b1", "b2"]);
        for (over, backends, foretold, seen) in [
            (&[][..], true, &["b1", "b2"][..], &["web", "b1", "b2"][..]),
            (&[], false, &["n1", "n2"], &["n1", "n2", "b2"]),
            (&["n1", "b2"], true, &["n1", "b2"], &["n1", "b2"]),
            (&["n1", "b2"], false, &["n1", "b2"], &["n1", "b2"]),
        ] {
            let (over, ends, ways) = (machines(over), machines(&["web", "b1"]), machines(&["n1", "n2"]));
            let counted = Counted { over, backends, ends, ways };
            assert_eq!(counted.foretold(&shares), machines(foretold));
            assert_eq!(counted.seen(met.clone()), machines(seen));
        }
    }

    #[test]
    fn flows_are_at_so_many_machines_or_more() {
        let wanted = FlowsTest { at_least: 2, ..flows_test() };
        let said = |names: &[&str]| {
            let said = Said::of_shares(&wanted, &names.iter().map(|name| (*name).to_owned()).collect());
            (said.holds, said.text)
        };
        assert_eq!(said(&[]), (false, "flows at no machine".to_owned()));
        assert_eq!(said(&["a"]), (false, "flows at a alone".to_owned()));
        assert_eq!(said(&["a", "b"]), (true, "flows at 2 machines: a, b".to_owned()));
        assert_eq!(said(&["a", "b", "c"]), (true, "flows at 3 machines: a, b, c".to_owned()));
    }

    fn flows_test() -> FlowsTest {
        let network = crate::cli::test::tests::network("{from: web, to: db, port: 80, flows: 1}");
        match &network.tests[0].question {
            crate::model::Question::Flows(test) => test.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Page by page, until there is none.
    #[test]
    fn all_pages_are_looked_at() {
        let lab = crate::cli::test::tests::Lab::answering(|number, request| {
            let Request::Flows { filter, from } = request else { panic!("{request:?}") };
            assert_eq!(filter.protocol.as_deref(), Some("tcp"));
            let next = [Some(7), Some(9), None].get(number).copied().flatten();
            assert_eq!(*from, number.checked_sub(1).map(|before| [7, 9][before]));
            let row = row(&format!("machine-{number}"), 7, "Inbound", "Established");
            serde_json::json!({"flows": {"flows": [row], "next": next}})
        });
        let all = ["machine-0", "machine-1", "machine-2"].map(str::to_owned).into();
        assert_eq!(seen(&lab.record, &[7]), Ok(all));
        let other = crate::cli::test::tests::Lab::answering(|_, _| serde_json::json!("stopping"));
        assert_eq!(seen(&other.record, &[7]), Err("the daemon lists no flows".to_owned()));
    }

    fn row(node: &str, port: u16, direction: &str, state: &str) -> serde_json::Value {
        serde_json::json!({
            "node": node, "nic": "eth0", "direction": direction, "protocol": "Tcp", "sourceAddress": "10.0.1.6",
            "sourcePort": port, "destinationAddress": "10.0.1.4", "destinationPort": 8080, "state": state,
            "access": "Allow", "ageSeconds": 1.0, "idleSeconds": 1.0, "packetsSent": 1, "bytesSent": 1,
            "packetsReceived": 1, "bytesReceived": 1, "rules": [],
        })
    }

    #[test]
    fn an_earlier_connection_from_the_same_port_is_another() {
        let row = |port: u16, direction: &str, state: &str| -> FlowRow {
            serde_json::from_value(row("web", port, direction, state)).unwrap()
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
