//! Route servers: what appliances advertise by BGP becomes routes of virtual networks (ARS-01).
//!
//! One idea: a route server forwards no packets. It is in a RouteServerSubnet for its BGP sessions alone.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{BgpSettings, Network, PublicIpIx, SubnetIx, VirtualNetworkGateway, VnetIx};

/// The AS number of every route server, and the default of gateways (ARS-01, BGP-01).
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
    pub public: Option<PublicIpIx>,
    /// The gateways of its virtual network and appliances learn each other's routes (ARS-06).
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
    /// The name of the subnet that it stands in.
    pub const SUBNET: &str = "RouteServerSubnet";

    /// The first two addresses of a RouteServerSubnet that Azure gives away.
    pub fn instances_in(range: Ipv4Net) -> [IpAddr; 2] {
        [4, 5].map(|n| Ipv4Addr::from_bits(range.network().to_bits() + n).into())
    }

    /// An instance as people call it: the second by a number.
    pub fn instance_name(&self, instance: usize) -> String {
        if instance == 0 { self.name.clone() } else { format!("{}#{}", self.name, instance + 1) }
    }
}

impl Network {
    pub fn route_server(&self, server: RouteServerIx) -> &RouteServer {
        &self.route_servers[server.0]
    }

    /// The route server in a virtual network (ARS-01).
    pub fn route_server_of(&self, vnet: VnetIx) -> Option<RouteServerIx> {
        self.route_servers.iter().position(|server| server.subnet.vnet == vnet).map(RouteServerIx)
    }

    /// The route server that gives a virtual network routes: its own, or that of the peer with its gateways (ARS-05).
    pub fn route_server_in_use(&self, vnet: VnetIx) -> Option<RouteServerIx> {
        self.route_server_of(vnet).or_else(|| self.route_server_of(self.lender(vnet)?))
    }

    /// The address space that a route server advertises to appliances: its virtual network's, and that of the virtual
    /// networks that use it (ARS-05).
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
