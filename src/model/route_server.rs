//! Route servers: what appliances tell by BGP becomes the routes of virtual networks (ARS-01).
//!
//! One idea: a route server takes part in no packet's way. It stands in a RouteServerSubnet only to be spoken with.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{BgpSettings, Network, SubnetIx, VirtualNetworkGateway, VnetIx};

/// Of every route server, and of gateways unless they are told otherwise (ARS-01, BGP-01).
pub const AZURE_ASN: u32 = 65515;

/// Index of a route server in [`Network::route_servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteServerIx(pub usize);

/// A route server: two instances, both at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteServer {
    pub name: String,
    /// Its `RouteServerSubnet`.
    pub subnet: SubnetIx,
    pub instances: [IpAddr; 2],
    /// Gateways of its virtual network, and appliances, hear of each other (ARS-06).
    pub branch_to_branch: bool,
    pub preference: RoutingPreference,
    pub connections: Vec<BgpConnection>,
}

/// The kind of route preferred for one prefix: ARM's `hubRoutingPreference`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingPreference {
    /// A circuit's, before those of a VPN and of appliances.
    #[default]
    ExpressRoute,
    /// Those of a VPN and of appliances, before a circuit's.
    VpnGateway,
    /// The shortest AS path; of equal ones a circuit's.
    AsPath,
}

/// An appliance that both instances speak BGP with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpConnection {
    pub name: String,
    pub peer: BgpSettings,
}

impl RouteServer {
    /// An instance as people call it: the second by a number.
    pub fn instance_name(&self, instance: usize) -> String {
        if instance == 0 { self.name.clone() } else { format!("{}#{}", self.name, instance + 1) }
    }
}

impl Network {
    pub fn route_server(&self, server: RouteServerIx) -> &RouteServer {
        &self.route_servers[server.0]
    }

    /// The route server that stands in a virtual network (ARS-01).
    pub fn route_server_of(&self, vnet: VnetIx) -> Option<RouteServerIx> {
        self.route_servers.iter().position(|server| server.subnet.vnet == vnet).map(RouteServerIx)
    }

    /// The route server that gives a virtual network routes: its own, or that of the peer with its gateways (ARS-05).
    pub fn route_server_in_use(&self, vnet: VnetIx) -> Option<RouteServerIx> {
        self.route_server_of(vnet).or_else(|| self.route_server_of(self.lender(vnet)?))
    }

    /// What a route server tells appliances is in Azure: the space of its virtual network, and of those that use it
    /// (ARS-05).
    pub fn route_server_space(&self, server: RouteServerIx) -> Vec<IpNet> {
        let vnets = (0..self.virtual_networks.len()).map(VnetIx);
        let using = vnets.filter(|vnet| self.route_server_in_use(*vnet) == Some(server));
        using.flat_map(|vnet| self.vnet(vnet).address_space.iter().copied()).collect()
    }

    /// The route server that a gateway exchanges routes with (ARS-06).
    pub fn route_server_beside(&self, gateway: &VirtualNetworkGateway) -> Option<&RouteServer> {
        let server = self.route_server(self.route_server_of(gateway.subnet.vnet)?);
        server.branch_to_branch.then_some(server)
    }
}
