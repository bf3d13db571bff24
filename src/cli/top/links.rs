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
