//! Virtual network gateways, the sites on the other side, and the tunnels between them.
//!
//! One idea: a connection is a tunnel's description; whether it is up follows from what both its ends say
//! ([`Network::connection_status`]).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::programs::Program;
use super::{
    CircuitEnd, CircuitFault, CircuitIx, ClientPool, GatewaySku, NatRule, Network, PublicIpIx, SubnetIx, TunnelEnd,
    VnetIx,
};

/// Index of a gateway in [`Network::virtual_network_gateways`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayIx(pub usize);

/// Index of a local network gateway in [`Network::local_network_gateways`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalGatewayIx(pub usize);

/// Index of a connection in [`Network::connections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionIx(pub usize);

/// Index of a site in [`Network::sites`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteIx(pub usize);

/// A gateway; of a VPN a route-based one. Of its two instances one is active, or both are (VPN-30, VPN-31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualNetworkGateway {
    pub name: String,
    pub kind: GatewayKind,
    /// Its `GatewaySubnet`.
    pub subnet: SubnetIx,
    pub sku: GatewaySku,
    /// None of an ExpressRoute gateway that was given none: Azure keeps its address to itself.
    pub public: Option<PublicIpIx>,
    /// The second instance's, where both are active.
    pub second_public: Option<PublicIpIx>,
    /// Those of its two instances; where one is active it has the first.
    pub instances: [IpAddr; 2],
    /// Theirs where its `GatewaySubnet` has IPv6 too: what peers send IPv6 packets to, over sessions that are IPv4's.
    pub instances_ipv6: Option<[Ipv6Addr; 2]>,
    /// The BGP address and AS number of its first active instance, if it speaks BGP (BGP-04).
    pub bgp: Option<BgpSettings>,
    /// What its instances speak BGP as besides, to peers that have link-local addresses too (BGP-05).
    pub custom_bgp: [Vec<IpAddr>; 2],
    /// The site that receives packets without another match at the gateway (VPN-40).
    pub default_site: Option<LocalGatewayIx>,
    /// For the connections that name them (VPN-15).
    pub nat_rules: Vec<NatRule>,
    /// BGP's prefixes are translated too: `enableBgpRouteTranslationForNat`.
    pub translates_bgp: bool,
    /// Where it takes point-to-site clients.
    pub clients: Option<ClientPool>,
}

/// ARM's `gatewayType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayKind {
    Vpn,
    /// Whether it accepts what other virtual networks advertise on its circuits: `allowRemoteVnetTraffic` (ER-15).
    ExpressRoute {
        remote_vnets: bool,
    },
}

impl VirtualNetworkGateway {
    pub const fn is_active_active(&self) -> bool {
        self.second_public.is_some()
    }

    /// How many of its two instances are active.
    pub const fn active_instances(&self) -> usize {
        if self.is_active_active() { 2 } else { 1 }
    }

    /// What an active instance speaks BGP with a peer as: with one that has a link-local address by such a one of its
    /// own, the one next to the peer's if there are several.
    fn speaker_towards(&self, instance: usize, peer: IpAddr) -> Option<BgpSettings> {
        let own = self.speakers().get(instance).copied()?;
        if !is_link_local(peer) {
            return Some(own);
        }
        let distance = |address: &IpAddr| match (address, peer) {
            (IpAddr::V4(address), IpAddr::V4(peer)) => address.to_bits().abs_diff(peer.to_bits()),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => u32::MAX,
        };
        let address = *self.custom_bgp.get(instance)?.iter().min_by_key(|address| distance(address))?;
        Some(BgpSettings { address, ..own })
    }

    /// Of an active instance.
    pub fn ipv6(&self, instance: usize) -> Option<Ipv6Addr> {
        self.instances_ipv6.and_then(|addresses| addresses.get(instance).copied())
    }

    /// What each active instance speaks BGP as: none, one or two.
    pub fn speakers(&self) -> Vec<BgpSettings> {
        let Some(BgpSettings { asn, .. }) = self.bgp else { return Vec::new() };
        let addresses: Vec<_> = if self.is_active_active() {
            self.instances.to_vec()
        } else {
            self.bgp.iter().map(|bgp| bgp.address).collect()
        };
        addresses.into_iter().map(|address| BgpSettings { asn, address }).collect()
    }

    /// An active instance as people call it: the second of a gateway by a number.
    pub fn instance_name(&self, instance: usize) -> String {
        if instance == 0 { self.name.clone() } else { format!("{}#{}", self.name, instance + 1) }
    }

    /// All that answers for it in its GatewaySubnet, each once.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let bgp = self.bgp.map(|bgp| bgp.address).filter(|address| !self.instances.contains(address));
        let ipv6 = self.instances_ipv6.into_iter().flatten().map(IpAddr::V6);
        let custom = self.custom_bgp.iter().flatten().copied();
        self.instances.into_iter().chain(bgp).chain(ipv6).chain(custom).collect()
    }
}

/// A BGP speaker's number and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BgpSettings {
    pub asn: u32,
    pub address: IpAddr,
}

/// What Azure knows of a site's VPN device (VPN-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetworkGateway {
    pub name: String,
    /// The device's public address.
    pub gateway_ip: IpAddr,
    pub address_space: Vec<IpNet>,
    pub bgp: Option<BgpSettings>,
}

/// A tunnel as its first end describes it. A connection of an active-active gateway describes two, one from each
/// instance (VPN-31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The connection's; of a second tunnel with a number behind it.
    pub name: String,
    pub gateway: GatewayIx,
    /// The gateway's active instance that has it.
    pub instance: usize,
    pub remote: Remote,
    pub shared_key: Option<String>,
    pub enable_bgp: bool,
    pub mode: ConnectionMode,
    /// It carries only what is between the ranges of both ends, as they are stated (VPN-16).
    pub policy_based: bool,
    /// Higher wins among circuits (ER-13).
    pub routing_weight: u32,
    /// For a circuit of another subscription (ER-10).
    pub authorization_key: Option<String>,
    /// Indices in its gateway's [`VirtualNetworkGateway::nat_rules`].
    pub nat_rules: Vec<usize>,
}

impl Connection {
    /// Its name in the file, which all its tunnels share.
    pub fn written_name(&self) -> &str {
        self.name.split('#').next().unwrap_or_default()
    }
}

/// The far end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// `IPsec`
    Local(LocalGatewayIx),
    /// `Vnet2Vnet`
    Gateway(GatewayIx),
    /// `ExpressRoute`
    Circuit(CircuitIx),
    /// `VPNClient`
    Client(SiteIx),
}

impl Remote {
    pub const fn gateway(self) -> Option<GatewayIx> {
        match self {
            Self::Gateway(far) => Some(far),
            Self::Local(_) | Self::Circuit(_) | Self::Client(_) => None,
        }
    }

    pub const fn local_gateway(self) -> Option<LocalGatewayIx> {
        match self {
            Self::Local(local) => Some(local),
            Self::Gateway(_) | Self::Circuit(_) | Self::Client(_) => None,
        }
    }

    pub const fn circuit(self) -> Option<CircuitIx> {
        match self {
            Self::Circuit(circuit) => Some(circuit),
            Self::Local(_) | Self::Gateway(_) | Self::Client(_) => None,
        }
    }
}

/// The side that may initiate (VPN-18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectionMode {
    #[default]
    Default,
    InitiatorOnly,
    ResponderOnly,
}

/// A place on-premises: one namespace with a VPN device that is also its only host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub name: String,
    /// It is a single computer that connects to this gateway (VPN-42).
    pub client_of: Option<GatewayIx>,
    /// The device's public address: a local network gateway with the same one is about this site, as is one with the
    /// address of another of its links ([`TunnelEnd::gateway_ip`]).
    pub gateway_ip: Option<IpAddr>,
    /// The circuits that it is joined to.
    pub circuits: Vec<CircuitEnd>,
    pub address_space: Vec<IpNet>,
    /// Those that answer, each in the address space.
    pub addresses: Vec<IpAddr>,
    pub bgp: Option<BgpSettings>,
    /// What the device advertises by BGP; by default its address space.
    pub advertises: Vec<IpNet>,
    /// Its own AS number so many times more than once (BGP-14).
    pub prepend: u8,
    /// What its device does otherwise over some of its tunnels.
    pub tunnels: Vec<TunnelEnd>,
    /// The device's static routes into its tunnels, beside those of BGP.
    pub routes: Vec<IpNet>,
    /// The device's key; by default the connection's.
    pub shared_key: Option<String>,
    pub mode: ConnectionMode,
    pub run: Program,
    /// BGP is spoken by what `run` starts, not by us.
    pub own_router: bool,
}

/// Whether BGP is spoken at an address of 169.254.0.0/16, as some devices have to (BGP-05).
pub const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(_) => false,
    }
}

impl Site {
    /// The device's IPv6 address, if it has one.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
    }
}

/// ARM's `connectionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionStatus {
    Connected,
    NotConnected,
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connected => "Connected",
            Self::NotConnected => "NotConnected",
        })
    }
}

/// Why a tunnel is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelFault {
    #[error("no site has the local network gateway's gatewayIpAddress")]
    NoSite,
    #[error("the two ends have different shared keys (VPN-10)")]
    SharedKey,
    #[error("both ends wait for the other to begin (VPN-18)")]
    Responders,
    #[error("the other gateway has no connection back (VPN-20)")]
    NoWayBack,
    #[error("the table on GatewaySubnet has disableBgpRoutePropagation (UDR-31)")]
    Propagation,
    #[error(transparent)]
    Circuit(CircuitFault),
    #[error("the circuit has no such authorization (ER-10)")]
    Authorization,
    #[error("the gateway advertises more prefixes than a circuit takes (ER-03)")]
    TooManyPrefixes,
}

impl Network {
    pub fn gateway(&self, gateway: GatewayIx) -> &VirtualNetworkGateway {
        &self.virtual_network_gateways[gateway.0]
    }

    pub fn local_gateway(&self, gateway: LocalGatewayIx) -> &LocalNetworkGateway {
        &self.local_network_gateways[gateway.0]
    }

    pub fn connection(&self, connection: ConnectionIx) -> &Connection {
        &self.connections[connection.0]
    }

    pub fn site(&self, site: SiteIx) -> &Site {
        &self.sites[site.0]
    }

    /// What listings show for a gateway: its public address, or both its instances' own (SYS-09a).
    pub fn gateway_addresses(&self, gateway: GatewayIx) -> Vec<IpAddr> {
        let gateway = self.gateway(gateway);
        match gateway.public {
            Some(public) if !gateway.is_active_active() => vec![self.public_ip(public).address],
            Some(_) | None => gateway.instances.to_vec(),
        }
    }

    /// Every gateway with its index.
    pub fn gateways(&self) -> impl Iterator<Item = (GatewayIx, &VirtualNetworkGateway)> {
        (0..).map(GatewayIx).zip(&self.virtual_network_gateways)
    }

    /// The gateways in a virtual network: one of each kind at most (VPN-01).
    pub fn gateways_of(&self, vnet: VnetIx) -> impl Iterator<Item = GatewayIx> {
        self.gateways().filter(move |(_, gateway)| gateway.subnet.vnet == vnet).map(|(ix, _)| ix)
    }

    /// The connections that a gateway describes.
    pub fn connections_of(&self, gateway: GatewayIx) -> impl Iterator<Item = (ConnectionIx, &Connection)> {
        let all = (0..).map(ConnectionIx).zip(&self.connections);
        all.filter(move |(_, connection)| connection.gateway == gateway)
    }

    /// The site at the other end of a connection.
    pub fn site_of(&self, connection: ConnectionIx) -> Option<SiteIx> {
        let local = match self.connection(connection).remote {
            Remote::Local(local) => local,
            Remote::Client(client) => return Some(client),
            Remote::Gateway(_) | Remote::Circuit(_) => return None,
        };
        let gateway_ip = self.local_gateway(local).gateway_ip;
        self.sites.iter().position(|site| site.public_addresses().any(|own| own == gateway_ip)).map(SiteIx)
    }

    /// The connections that end in a site, in file order: its device has one tunnel for each.
    pub fn tunnels_of(&self, site: SiteIx) -> impl Iterator<Item = ConnectionIx> {
        (0..self.connections.len()).map(ConnectionIx).filter(move |connection| self.site_of(*connection) == Some(site))
    }

    /// What keeps a connection's tunnel down.
    pub fn tunnel_fault(&self, at: ConnectionIx) -> Option<TunnelFault> {
        let connection = self.connection(at);
        let stopped = |gateway: GatewayIx| {
            let table = self.subnet(self.gateway(gateway).subnet).route_table;
            table.is_some_and(|table| self.route_tables[table.0].disable_bgp_route_propagation)
        };
        if stopped(connection.gateway) {
            return Some(TunnelFault::Propagation);
        }
        let (far_key, far_mode) = match connection.remote {
            Remote::Local(_) => {
                let Some(site) = self.site_of(at) else { return Some(TunnelFault::NoSite) };
                let site = self.site(site);
                (site.shared_key.as_ref().or(connection.shared_key.as_ref()), site.mode)
            }
            Remote::Circuit(circuit) => return self.link_fault(connection, circuit),
            Remote::Client(_) => return None,
            Remote::Gateway(far) => {
                let mut back = self.connections_of(far);
                let back = back.find(|(_, back)| back.remote == Remote::Gateway(connection.gateway));
                let Some((_, back)) = back else { return Some(TunnelFault::NoWayBack) };
                if stopped(far) {
                    return Some(TunnelFault::Propagation);
                }
                (back.shared_key.as_ref(), back.mode)
            }
        };
        if far_key != connection.shared_key.as_ref() {
            Some(TunnelFault::SharedKey)
        } else if [connection.mode, far_mode] == [ConnectionMode::ResponderOnly; 2] {
            Some(TunnelFault::Responders)
        } else {
            None
        }
    }

    pub fn connection_status(&self, connection: ConnectionIx) -> ConnectionStatus {
        match self.tunnel_fault(connection) {
            None => ConnectionStatus::Connected,
            Some(_) => ConnectionStatus::NotConnected,
        }
    }

    /// The BGP ends of a tunnel: it, its gateway and its far end must all enable BGP (BGP-09). The near end is
    /// one, the far end may be two.
    pub fn bgp_ends(&self, at: ConnectionIx) -> Vec<(BgpSettings, BgpSettings)> {
        let connection = self.connection(at);
        if !connection.enable_bgp {
            return Vec::new();
        }
        let far: Vec<BgpSettings> = match connection.remote {
            Remote::Local(local) => self.local_gateway(local).bgp.into_iter().collect(),
            Remote::Circuit(_) | Remote::Client(_) => Vec::new(),
            Remote::Gateway(far) => {
                let mut back = self.connections_of(far);
                let back = back.find(|(_, back)| back.remote == Remote::Gateway(connection.gateway));
                if back.is_some_and(|(_, back)| back.enable_bgp) { self.gateway(far).speakers() } else { Vec::new() }
            }
        };
        let gateway = self.gateway(connection.gateway);
        let near = |far: BgpSettings| Some((gateway.speaker_towards(connection.instance, far.address)?, far));
        far.into_iter().filter_map(near).collect()
    }

    /// The first of [`Self::bgp_ends`].
    pub fn bgp_over(&self, at: ConnectionIx) -> Option<(BgpSettings, BgpSettings)> {
        self.bgp_ends(at).first().copied()
    }

    /// The gateways that a virtual network's routes may lead to: its own, or those of the peer that it uses (PEER-31,
    /// PEER-37).
    pub fn gateways_in_use(&self, vnet: VnetIx) -> Vec<GatewayIx> {
        let own: Vec<_> = self.gateways_of(vnet).collect();
        let lender = || self.lender(vnet).map_or_else(Vec::new, |lender| self.gateways_of(lender).collect());
        if own.is_empty() { lender() } else { own }
    }

    /// The peer that gives a virtual network its gateways, over links that both allow it.
    pub(super) fn lender(&self, vnet: VnetIx) -> Option<VnetIx> {
        let connected = |state| state == super::PeeringState::Connected;
        let mut links =
            self.vnet(vnet).peerings.iter().filter(|link| link.use_remote_gateways && connected(link.state));
        let lends = |link: &&super::Peering| {
            let back = self.vnet(link.remote).peerings.iter().find(|back| back.remote == vnet);
            back.is_some_and(|back| back.allow_gateway_transit && connected(back.state))
        };
        links.find(lends).map(|link| link.remote)
    }

    /// What a gateway knows to be in Azure: the space of its virtual network, and of those that use it (PEER-32).
    pub fn gateway_space(&self, gateway: GatewayIx) -> Vec<IpNet> {
        self.using(gateway).flat_map(|vnet| self.vnet(vnet).address_space.iter().copied()).collect()
    }

    /// The part of it that the gateway advertises: summaries replace all of its own virtual network's space, and the
    /// ranges of other virtual networks that they cover (PEER-32).
    pub fn advertised_space(&self, gateway: GatewayIx) -> Vec<IpNet> {
        let own = self.gateway(gateway).subnet.vnet;
        let summary = &self.vnet(own).summarized_gateway_prefixes;
        if summary.is_empty() {
            return self.gateway_space(gateway);
        }
        let others = self.using(gateway).filter(|vnet| *vnet != own);
        let others = others.flat_map(|vnet| self.vnet(vnet).address_space.iter().copied());
        let left = others.filter(|prefix| !summary.iter().any(|whole| whole.contains(prefix)));
        summary.iter().copied().chain(left).collect()
    }

    /// The virtual networks with routes to a gateway.
    fn using(&self, gateway: GatewayIx) -> impl Iterator<Item = VnetIx> {
        let vnets = (0..self.virtual_networks.len()).map(VnetIx);
        vnets.filter(move |vnet| self.gateways_in_use(*vnet).contains(&gateway))
    }
}
