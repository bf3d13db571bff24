//! Flows as `vnet flows` shows them: the records that several interfaces have of one flow, in one place.
//!
//! One idea: records belong together where their two ends are the same once each interface's own end is replaced by its
//! translated address on the far side. The record shown is that of the interface that began the flow, as far as it has one.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::daemon::api::protocol::FlowRow;

/// A flow, as one interface has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownFlow {
    #[serde(flatten)]
    pub(super) first: FlowRow,
    /// The other interfaces that have a record of it: `b1/eth0`, or `b1/eth0 as 10.0.0.5:8080` where it has another address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) also_at: Vec<String>,
}

/// Flows as they come, page by page.
pub(super) struct ShownFlows {
    /// Every record is a flow of its own.
    both: bool,
    /// The records of each, in the order they came.
    flows: Vec<Vec<FlowRow>>,
    known: HashMap<Ends, usize>,
}

/// Both ends of a flow with its protocol, the lower end first.
type Ends = (String, [SocketAddr; 2]);

impl ShownFlows {
    pub(super) fn new(both: bool) -> Self {
        Self { both, flows: Vec::new(), known: HashMap::new() }
    }

    pub(super) fn extend(&mut self, rows: Vec<FlowRow>) {
        for row in rows {
            let new = self.flows.len();
            let at = if self.both { new } else { *self.known.entry(ends(&row)).or_insert(new) };
            if at == new {
                self.flows.push(Vec::new());
            }
            self.flows[at].push(row);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn shown(self) -> Vec<ShownFlow> {
        self.flows.into_iter().filter_map(together).collect()
    }
}

/// The records of one flow as one.
fn together(mut rows: Vec<FlowRow>) -> Option<ShownFlow> {
    let forwards = |row: &FlowRow| rows.iter().any(|other| other.node == row.node && other.direction != row.direction);
    let began = |row: &FlowRow| row.direction == "Outbound" && !forwards(row);
    let ended = |row: &FlowRow| row.direction == "Inbound" && !forwards(row);
    let first = rows.iter().position(began).or_else(|| rows.iter().position(ended)).unwrap_or(0);
    let mut first = (!rows.is_empty()).then(|| rows.swap_remove(first))?;
    rows.sort_by_key(|row| (row.direction == "Inbound", row.node.clone(), row.nic.clone()));
    let mut also_at: Vec<String> = Vec::new();
    for row in rows {
        let place = seen_at(&row, &first);
        if !also_at.contains(&place) {
            also_at.push(place);
        }
        if row.access == "Deny" && first.access != "Deny" {
            // Ended there by `flushConnection`.
            (first.access, first.rules) = (row.access, row.rules);
            first.denied_at = Some(format!("{}/{}", row.node, row.nic));
        } else if first.denied_at.is_none() {
            let rules = row.rules.into_iter().filter(|rule| !first.rules.contains(rule)).collect::<Vec<_>>();
            first.rules.extend(rules);
        }
    }
    Some(ShownFlow { first, also_at })
}

fn seen_at(row: &FlowRow, first: &FlowRow) -> String {
    let place = format!("{}/{}", row.node, row.nic);
    let known = [source(first), destination(first)];
    let own = if row.direction == "Inbound" { destination(row) } else { source(row) };
    if known.contains(&own) { place } else { format!("{place} as {own}") }
}

fn source(row: &FlowRow) -> SocketAddr {
    SocketAddr::new(row.source_address, row.source_port)
}

fn destination(row: &FlowRow) -> SocketAddr {
    SocketAddr::new(row.destination_address, row.destination_port)
}

/// As the flow is between its two ends.
fn ends(row: &FlowRow) -> Ends {
    let (mut source, mut destination) = (source(row), destination(row));
    let own = if row.direction == "Inbound" { &mut destination } else { &mut source };
    if let (Some(address), Some(port)) = (row.translated_address, row.translated_port) {
        *own = SocketAddr::new(address, port);
    }
    (row.protocol.clone(), [source.min(destination), source.max(destination)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::IpAddr;

    use super::*;

    fn row(node: &str, direction: &str, source: &str, destination: &str) -> FlowRow {
        let end = |end: &str| end.parse::<SocketAddr>().unwrap();
        let (source, destination) = (end(source), end(destination));
        FlowRow {
            node: node.to_owned(),
            nic: "eth0".to_owned(),
            direction: direction.to_owned(),
            protocol: "Tcp".to_owned(),
            source_address: source.ip(),
            source_port: source.port(),
            destination_address: destination.ip(),
            destination_port: destination.port(),
            state: "Established".to_owned(),
            access: "Allow".to_owned(),
            denied_at: None,
            translated_address: None,
            translated_port: None,
            age_seconds: 1.0,
            idle_seconds: 1.0,
            packets_sent: 1,
            bytes_sent: 1,
            packets_received: 1,
            bytes_received: 1,
            rules: vec![format!("{node} rule")],
        }
    }

    fn shown(rows: Vec<FlowRow>, both: bool) -> Vec<(String, String, Vec<String>)> {
        let mut flows = ShownFlows::new(both);
        for row in rows {
            flows.extend(vec![row]);
        }
        let shown = flows.shown().into_iter();
        shown.map(|flow| (flow.first.node, flow.also_at.join(", "), flow.first.rules)).collect()
    }

    #[test]
    fn nsg_21_a_flow_is_shown_once_by_the_interface_that_began_it() {
        let (client, server) = ("10.0.0.4:1000", "10.1.0.4:80");
        let way = [("db", "Inbound"), ("nva", "Outbound"), ("nva", "Inbound"), ("web", "Outbound")];
        let rows = || way.iter().map(|(node, direction)| row(node, direction, client, server)).collect::<Vec<_>>();
        let rules = |nodes: &[&str]| nodes.iter().map(|node| format!("{node} rule")).collect::<Vec<_>>();
        let once = ("web".to_owned(), "nva/eth0, db/eth0".to_owned(), rules(&["web", "nva", "db"]));
        assert_eq!(shown(rows(), false), [once]);
        assert_eq!(shown(rows(), true).len(), 4);
        let entered = ("db".to_owned(), "nva/eth0".to_owned(), rules(&["db", "nva"]));
        assert_eq!(shown(rows().into_iter().take(3).collect(), false), [entered], "it began outside");
        let other = row("web", "Outbound", "10.0.0.4:1001", server);
        assert_eq!(shown(rows().into_iter().chain([other]).collect(), false).len(), 2, "another port, another flow");
    }

    #[test]
    fn nsg_23_a_flow_that_was_ended_at_one_interface_is_denied_there() {
        let (client, server) = ("10.0.0.4:1000", "10.1.0.4:80");
        let ended = FlowRow { access: "Deny".to_owned(), ..row("db", "Inbound", client, server) };
        let mut flows = ShownFlows::new(false);
        flows.extend(vec![row("nva", "Inbound", client, server), ended, row("web", "Outbound", client, server)]);
        let [flow] = &flows.shown()[..] else { panic!("one flow") };
        let first = &flow.first;
        assert_eq!((first.node.as_str(), first.access.as_str()), ("web", "Deny"));
        assert_eq!((first.denied_at.as_deref(), &first.rules[..]), (Some("db/eth0"), &["db rule".to_owned()][..]));
        assert_eq!(flow.also_at, ["db/eth0", "nva/eth0"]);
    }

    #[test]
    fn lb_04_a_translated_flow_is_shown_once() {
        let translated = |row: FlowRow, (address, port): (&str, u16)| FlowRow {
            translated_address: Some(address.parse::<IpAddr>().unwrap()),
            translated_port: Some(port),
            ..row
        };
        let client = translated(row("web", "Outbound", "10.0.0.4:1000", "203.0.113.9:80"), ("203.0.113.7", 4000));
        let backend = translated(row("b1", "Inbound", "203.0.113.7:4000", "10.1.0.4:8080"), ("203.0.113.9", 80));
        let [(first, also, _)] = &shown(vec![backend, client], false)[..] else { panic!("two flows") };
        assert_eq!((first.as_str(), also.as_str()), ("web", "b1/eth0 as 10.1.0.4:8080"));
    }
}
