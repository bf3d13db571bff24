//! Appliances that a route server cannot lead packets to.

use std::net::IpAddr;

use crate::analysis::query::names::{Names, nic_name};
use crate::model::{Network, NicIx, RouteServer};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let network = names.network;
    let servers = network.route_servers.iter().enumerate();
    servers.flat_map(|(at, server)| of(network, server, &format!("routeServers[{at}]"))).collect()
}

fn of(network: &Network, server: &RouteServer, path: &str) -> Vec<Finding> {
    let finding = |(at, connection): (usize, &crate::model::BgpConnection)| {
        let address = connection.peer.address;
        let (message, help) = match owner(network, server, address) {
            None => (
                format!(
                    "no machine in reach has {address}, so no BGP session comes up with route server {}",
                    server.name
                ),
                "give the appliance this address, in the route server's virtual network or in a peer".to_owned(),
            ),
            Some(nic) if !network.nic(nic).enable_ip_forwarding => (
                format!(
                    "{} speaks with route server {}, and its interface may not forward what that leads to it",
                    nic_name(network, nic),
                    server.name
                ),
                "set `enableIPForwarding: true` on the interface".to_owned(),
            ),
            Some(_) => return None,
        };
        Some(Finding {
            code: "route-server-peer",
            rule: "ARS-02",
            message,
            path: format!("{path}.bgpConnections[{at}]"),
            help,
        })
    };
    server.connections.iter().enumerate().filter_map(finding).collect()
}

/// The interface that has an address in the route server's virtual network, or in a peer of it.
fn owner(network: &Network, server: &RouteServer, address: IpAddr) -> Option<NicIx> {
    let own = server.subnet.vnet;
    let near = |vnet| vnet == own || network.vnet(own).peerings.iter().any(|link| link.remote == vnet);
    let mut nics = network.network_interfaces.iter();
    nics.position(|nic| near(nic.subnet.vnet) && nic.addresses.contains(&address)).map(NicIx)
}
