//! ExpressRoute circuits with ARM's field names: provider state, links, authorizations and Global Reach.

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::{CircuitIx, Network, Side};

use super::connections::{self, ConnectionRow, row as connection};
use super::private_clouds::{self, PrivateCloudRow};

/// One circuit; a private cloud's own one too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitRow {
    pub name: String,
    pub service_provider_provisioning_state: String,
    /// The state of its private peering: `Enabled`, `Disabled`, or `None` without one.
    pub state: String,
    pub links: Vec<LinkRow>,
    /// Connections of gateways to it.
    #[serde(default)]
    pub virtual_network_connections: Vec<ConnectionRow>,
    pub authorizations: Vec<AuthorizationRow>,
    /// Circuits that Global Reach connects it with.
    pub connections: Vec<ReachRow>,
    /// The private cloud that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_cloud: Option<PrivateCloudRow>,
}

/// One of a circuit's two links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    pub name: String,
    pub side: Side,
    pub up: bool,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An authorization of the circuit (ER-10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationRow {
    pub name: String,
    /// `Available` or `InUse`.
    pub authorization_use_status: String,
}

/// A Global Reach connection (GR-02).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachRow {
    pub name: String,
    /// The other circuit.
    pub peer: String,
    /// `Connected` or `Disconnected`.
    pub circuit_connection_status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All circuits in file order; those of private clouds last.
pub fn circuits(network: &Network, compiled: &Compiled) -> Vec<CircuitRow> {
    network.circuits().map(|(ix, _)| row(network, compiled, ix)).collect()
}

fn row(network: &Network, compiled: &Compiled, ix: CircuitIx) -> CircuitRow {
    let circuit = network.circuit(ix);
    let state = circuit.peering.as_ref().map_or("None", |peering| if peering.enabled { "Enabled" } else { "Disabled" });
    let authorizations = circuit.authorizations.iter().map(|one| AuthorizationRow {
        name: one.name.clone(),
        authorization_use_status: if network.is_in_use(ix, one) { "InUse" } else { "Available" }.to_owned(),
    });
    let connections = circuit.reach.iter().map(|reach| {
        let fault = network.reach_fault(ix, reach).map(|fault| fault.to_string());
        let links = |end| connections::links_down(network, compiled, end);
        let reason = fault.or_else(|| [ix, reach.peer].into_iter().find_map(links));
        ReachRow {
            name: reach.name.clone(),
            peer: network.circuit(reach.peer).name.clone(),
            circuit_connection_status: if reason.is_none() { "Connected" } else { "Disconnected" }.to_owned(),
            reason,
        }
    });
    let gateways = network.connections_to(ix).map(|(at, one)| connection(network, compiled, at, one));
    CircuitRow {
        name: circuit.name.clone(),
        service_provider_provisioning_state: format!("{:?}", circuit.provider_state),
        state: state.to_owned(),
        links: Side::BOTH.map(|side| link(network, compiled, ix, side)).into(),
        virtual_network_connections: gateways.collect(),
        authorizations: authorizations.collect(),
        connections: connections.collect(),
        private_cloud: private_clouds::of_circuit(network, ix),
    }
}

fn link(network: &Network, compiled: &Compiled, ix: CircuitIx, side: Side) -> LinkRow {
    let name = network.circuit_link_name(ix, side);
    let failed = compiled.learned().link_absence(network, ix, side).map(|absence| absence.to_string());
    let unconnected = network.customer(ix).is_none().then(|| "no site or private cloud is connected to it".to_owned());
    let reason = network.circuit_fault(ix).map(|fault| fault.to_string()).or(failed).or(unconnected);
    LinkRow { name, side, up: reason.is_none(), reason }
}
