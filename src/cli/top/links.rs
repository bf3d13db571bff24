//! What connects machines and networks: tunnels, circuits, peerings, sessions and probes, and which of them are down.

use crate::analysis::{BackendRow, CircuitRow, ConnectionRow, HealthState, PeeringRow};
use crate::bgp::topology::{PeerRow, PeerState};
use crate::daemon::api::protocol::Status;
use crate::model::{ConnectionStatus, PeeringState};

use super::app::{Column, Row};

/// A link, or something else that can be down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    kind: &'static str,
    name: String,
    pub(super) up: bool,
    why: String,
    /// The machine that Enter opens.
    node: Option<String>,
}

impl Link {
    fn new(kind: &'static str, name: impl Into<String>, up: bool, why: Option<&str>) -> Self {
        Self { kind, name: name.into(), up, why: why.unwrap_or_default().to_owned(), node: None }
    }

    pub(super) fn row(&self) -> Row {
        let state = if self.up { "up" } else { "down" };
        let cells = [state, self.kind, &self.name, &self.why].map(|cell| Column::Text(cell.to_owned()));
        Row { node: self.node.clone(), ..Row::new(&format!("{} {}", self.kind, self.name), cells.into()) }
    }

    /// In a sentence, for what is down.
    pub(super) fn sentence(&self) -> String {
        let Self { kind, name, why, .. } = self;
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        format!("{kind} {name} is down{why}")
    }

    pub(super) fn of_connection(row: &ConnectionRow) -> Self {
        let up = row.connection_status != ConnectionStatus::NotConnected;
        let kind = if row.connection_type == "ExpressRoute" { "connection" } else { "tunnel" };
        Self::new(kind, &row.name, up, row.reason.as_deref())
    }

    pub(super) fn of_circuit(row: &CircuitRow) -> impl Iterator<Item = Self> {
        let links = row.links.iter().map(|link| {
            Self::new("circuit link", format!("{}/{}", row.name, link.name), link.up, link.reason.as_deref())
        });
        let reach = row.connections.iter().map(|reach| {
            let up = reach.circuit_connection_status == "Connected";
            Self::new("Global Reach", format!("{}/{}", row.name, reach.name), up, reach.reason.as_deref())
        });
        links.chain(reach)
    }

    pub(super) fn of_peering(row: &PeeringRow) -> Self {
        let (up, state) = (row.peering_state == PeeringState::Connected, format!("{:?}", row.peering_state));
        Self::new("peering", format!("{}/{}", row.virtual_network.id, row.name), up, Some(&state))
    }

    pub(super) fn of_session(row: &PeerRow) -> Self {
        let name = format!("{} to {}", row.node, row.neighbor);
        Self::new("BGP session", name, row.state == PeerState::Connected, row.last_error.as_deref())
    }

    /// None for a backend without a probe: nothing says that it is down.
    pub(super) fn of_backend(row: &BackendRow) -> Option<Self> {
        let probe = row.probe.as_ref()?;
        let name = format!("{}/{probe} of {}", row.load_balancer, row.backend);
        let node = row.backend.split('/').next().map(str::to_owned);
        let up = row.health == HealthState::Up;
        Some(Self { node, ..Self::new("probe", name, up, (!up).then_some(row.reason.as_str())) })
    }

    /// What is wrong with the lab itself.
    pub(super) fn of_lab(status: &Status) -> impl Iterator<Item = Self> {
        let alerts = status.alerts.iter().map(|alert| Self::new("router", &status.name, false, Some(alert)));
        let failed = status.programs.iter().filter(|program| program.failed).map(|program| {
            let name = format!("{} of {}", program.command, program.node);
            Self { node: Some(program.node.clone()), ..Self::new("program", name, false, program.ended.as_deref()) }
        });
        alerts.chain(failed)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn row<T: DeserializeOwned>(base: &Value, changes: &Value) -> T {
        let mut row = base.clone();
        row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(row).unwrap()
    }

    /// What it is, its name, whether it is up, and why not.
    fn told(links: impl IntoIterator<Item = Link>) -> Vec<String> {
        links
            .into_iter()
            .map(|link| if link.up { format!("{} {}", link.kind, link.name) } else { link.sentence() })
            .collect()
    }

    #[test]
    fn a_connection_is_a_tunnel_unless_it_leads_to_a_circuit() {
        let base = json!({"name": "c", "virtualNetworkGateway": "gw", "remote": "site", "connectionType": "IPsec", "enableBgp": true,
                          "connectionStatus": "Connected"});
        let of = |changes| told([Link::of_connection(&row(&base, &changes))]).remove(0);
        assert_eq!(of(json!({})), "tunnel c");
        assert_eq!(of(json!({"connectionType": "ExpressRoute"})), "connection c");
        let down = json!({"connectionStatus": "NotConnected", "reason": "no key"});
        assert_eq!(of(down), "tunnel c is down: no key");
    }

    #[test]
    fn a_circuit_has_its_links_and_its_global_reach() {
        let link =
            |name: &str, up: bool| json!({"name": name, "side": name, "up": up, "reason": (!up).then_some("cut")});
        let reach = |name: &str, status: &str| json!({"name": name, "peer": "p", "circuitConnectionStatus": status});
        let circuit: CircuitRow = serde_json::from_value(json!({
            "name": "er", "serviceProviderProvisioningState": "Provisioned", "state": "Enabled", "authorizations": [],
            "links": [link("primary", true), link("secondary", false)],
            "connections": [reach("near", "Connected"), reach("far", "Disconnected")],
        }))
        .unwrap();
        let wanted = [
            "circuit link er/primary",
            "circuit link er/secondary is down: cut",
            "Global Reach er/near",
            "Global Reach er/far is down",
        ];
        assert_eq!(told(Link::of_circuit(&circuit)), wanted);
    }

    #[test]
    fn a_session_is_up_once_it_is_connected() {
        let base = json!({"node": "gw", "connection": "c", "localAddress": "10.0.0.1", "neighbor": "10.0.0.2", "asn": 1,
                          "state": "Connected", "connectedDuration": "0", "routesReceived": 0, "messagesSent": null,
                          "messagesReceived": null});
        let of = |changes| told([Link::of_session(&row(&base, &changes))]).remove(0);
        assert_eq!(of(json!({})), "BGP session gw to 10.0.0.2");
        assert_eq!(of(json!({"state": "Connecting"})), "BGP session gw to 10.0.0.2 is down");
        assert_eq!(of(json!({"state": "Idle", "lastError": "refused"})), "BGP session gw to 10.0.0.2 is down: refused");
    }

    #[test]
    fn a_backend_is_down_where_its_probe_says_so() {
        let base = json!({"loadBalancer": "lb", "rule": "r", "frontend": "f", "backendPool": "p", "backend": "web/eth0",
                          "address": "10.0.1.4", "probe": "alive", "health": "Up", "reason": "answered", "eligible": true});
        let link = Link::of_backend(&row(&base, &json!({}))).unwrap();
        assert_eq!(
            (link.up, link.why.as_str(), link.node.as_deref()),
            (true, "", Some("web")),
            "no reason for what is well"
        );
        let down = row(&base, &json!({"health": "Down", "reason": "refused"}));
        assert_eq!(told(Link::of_backend(&down)), ["probe lb/alive of web/eth0 is down: refused"]);
        assert_eq!(Link::of_backend(&row(&base, &json!({"probe": null, "health": "Down"}))), None);
    }

    #[test]
    fn what_is_wrong_with_the_lab_is_down() {
        let program = |failed: bool, ended: Option<&str>| json!({"node": "web", "command": "nginx", "ended": ended, "failed": failed, "log": "/l"});
        let status: Status = serde_json::from_value(json!({
            "name": "lab", "file": "f", "pid": 1, "uptimeSeconds": 1, "generation": 1, "workers": 1, "offload": "tcp", "flows": 0,
            "alerts": ["a worker has ended"], "nodes": [],
            "programs": [program(false, None), program(true, Some("exit code 1")), program(false, Some("exit code 0"))],
        })).unwrap();
        let links: Vec<_> = Link::of_lab(&status).collect();
        assert_eq!(links.iter().map(|link| link.node.as_deref()).collect::<Vec<_>>(), [None, Some("web")]);
        assert_eq!(
            told(links),
            ["router lab is down: a worker has ended", "program nginx of web is down: exit code 1"]
        );
    }
}
