//! Point-to-site: computers that connect to a VPN gateway by themselves (VPN-42 to VPN-46).
//!
//! One idea: a client is a site of one computer with one address, which its gateway lends it from a pool. Its tunnel is
//! a connection of ARM's type `VPNClient`, which no file writes. Subnets have a route to the whole pool; only the
//! gateway knows the client behind each address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::programs::Program;
use super::{
    BgpLearned, Connection, ConnectionIx, ConnectionMode, GatewayIx, Learned, Network, Remote, Site, SiteIx,
    VirtualNetworkGateway,
};

/// ARM's `vpnClientConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPool {
    /// `vpnClientAddressPool.addressPrefixes`
    pub prefixes: Vec<IpNet>,
    /// `customRoutes.addressPrefixes`: what clients are told of besides (VPN-41).
    pub routes: Vec<IpNet>,
}

/// What a client and its gateway speak; each carries the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProtocol {
    OpenVpn,
    IkeV2,
    Sstp,
}

impl ClientPool {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(&address))
    }

    /// The addresses that clients may have: each range without its own address, its last, and the first, which the
    /// gateway keeps.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ranges = self.prefixes.iter().filter_map(|prefix| match prefix {
            IpNet::V4(range) => Some(*range),
            IpNet::V6(_) => None,
        });
        ranges.flat_map(|range| {
            let (first, last) = (range.network().to_bits() + 2, range.broadcast().to_bits());
            (first..last).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        })
    }
}

impl Site {
    /// A point-to-site client.
    pub fn client(name: String, gateway: GatewayIx, address: IpAddr, run: Program) -> Self {
        Self {
            name,
            client_of: Some(gateway),
            gateway_ip: None,
            circuits: Vec::new(),
            address_space: vec![address.into()],
            addresses: vec![address],
            bgp: None,
            advertises: Vec::new(),
            prepend: 0,
            tunnels: Vec::new(),
            routes: Vec::new(),
            shared_key: None,
            mode: ConnectionMode::Default,
            run,
            own_router: false,
        }
    }
}

impl Connection {
    /// The tunnel of a client, to one active instance of its gateway.
    pub fn of_client(name: String, gateway: GatewayIx, instance: usize, client: SiteIx) -> Self {
        Self {
            name,
            gateway,
            instance,
            remote: Remote::Client(client),
            shared_key: None,
            enable_bgp: false,
            mode: ConnectionMode::InitiatorOnly,
            policy_based: false,
            routing_weight: 0,
            authorization_key: None,
            nat_rules: Vec::new(),
        }
    }

    /// Whether it is a tunnel that the file has no connection for.
    pub const fn is_clients(&self) -> bool {
        matches!(self.remote, Remote::Client(_))
    }
}

impl VirtualNetworkGateway {
    /// The ranges that it lends to clients; none without `vpnClientConfiguration`.
    pub fn client_prefixes(&self) -> &[IpNet] {
        self.clients.as_ref().map_or(&[], |clients| &clients.prefixes)
    }
}

impl Network {
    /// The clients that a gateway has, each with its tunnel.
    pub fn clients_of(&self, gateway: GatewayIx) -> impl Iterator<Item = (ConnectionIx, &Site)> {
        self.connections_of(gateway).filter_map(|(tunnel, connection)| match connection.remote {
            Remote::Client(client) => Some((tunnel, self.site(client))),
            Remote::Local(_) | Remote::Gateway(_) | Remote::Circuit(_) => None,
        })
    }

    /// What a client's computer sends into its tunnel, as Azure's program for Linux sets it (VPN-44): the pool, the
    /// spaces of the virtual network and of those that use its gateway, what the gateway has learned by BGP, and its
    /// custom routes.
    pub fn client_routes(&self, gateway: GatewayIx, learned: &Learned) -> Vec<IpNet> {
        let own = self.gateway(gateway);
        let Some(clients) = &own.clients else { return Vec::new() };
        let mut routes = clients.prefixes.clone();
        routes.extend(self.gateway_space(gateway));
        routes.extend(self.heard(gateway, &learned.bgp));
        routes.extend(&clients.routes);
        let mut known = std::collections::HashSet::new();
        routes.retain(|route| known.insert(*route));
        routes
    }

    fn heard(&self, gateway: GatewayIx, learned: &BgpLearned) -> impl Iterator<Item = IpNet> {
        let heard = self.connections_of(gateway).filter_map(|(_, one)| learned.by_connection.get(&one.name));
        heard.flatten().copied().filter(|prefix| prefix.prefix_len() > 0)
    }
}
