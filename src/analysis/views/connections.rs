//! Connections of gateways and their tunnels' status, with ARM's words (DIAG-12).

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::{CircuitIx, Connection, ConnectionIx, ConnectionStatus, Network, Remote, Side};

/// One tunnel: a connection of an active-active gateway has two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRow {
    pub name: String,
    pub virtual_network_gateway: String,
    /// The remote: a local network gateway, another gateway, a circuit or a point-to-site client.
    pub remote: String,
    /// `IPsec`, `Vnet2Vnet`, `ExpressRoute` or `VPNClient`.
    pub connection_type: String,
    pub enable_bgp: bool,
    pub connection_status: ConnectionStatus,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All tunnels, in file order.
pub fn connections(network: &Network, compiled: &Compiled) -> Vec<ConnectionRow> {
    let all = (0..).map(ConnectionIx).zip(&network.connections);
    all.map(|(at, connection)| row(network, compiled, at, connection)).collect()
}

/// Why a circuit carries nothing: both its links are down (ER-02). None if one is up.
pub(super) fn links_down(network: &Network, compiled: &Compiled, circuit: CircuitIx) -> Option<String> {
    let absence = |side| compiled.learned().link_absence(network, circuit, side);
    let [primary, secondary] = Side::BOTH.map(absence);
    let (absence, _) = primary.zip(secondary)?;
    Some(format!("both links of {} are down: {absence}", network.circuit(circuit).name))
}

pub(in crate::analysis) fn row(
    network: &Network,
    compiled: &Compiled,
    at: ConnectionIx,
    connection: &Connection,
) -> ConnectionRow {
    let gateway = network.gateway(connection.gateway);
    let (kind, remote) = match connection.remote {
        Remote::Local(local) => ("IPsec", &network.local_gateway(local).name),
        Remote::Gateway(far) => ("Vnet2Vnet", &network.gateway(far).name),
        Remote::Circuit(circuit) => ("ExpressRoute", &network.circuit(circuit).name),
        Remote::Client(client) => ("VPNClient", &network.site(client).name),
    };
    let circuit = if let Remote::Circuit(circuit) = connection.remote { Some(circuit) } else { None };
    let links = || links_down(network, compiled, circuit?);
    let reason = compiled.learned().why_down(network, at).or_else(links);
    ConnectionRow {
        name: connection.name.clone(),
        virtual_network_gateway: gateway.name.clone(),
        remote: remote.clone(),
        connection_type: kind.to_owned(),
        enable_bgp: connection.enable_bgp,
        connection_status: if reason.is_none() { ConnectionStatus::Connected } else { ConnectionStatus::NotConnected },
        reason,
    }
}
