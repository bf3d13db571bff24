//! Route servers, as BGP knows them (ARS-01 to ARS-07).
//!
//! One idea: to appliances it is an ordinary BGP router that does not forward: next hops stay as they are. To
//! gateways beside it, which are of its own system, it reflects (RFC 4456). Its two instances advertise to each other
//! what appliances advertise; gateways have a session with both.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::bgp::{Asn, Export, Group, Import, PeerConfig, PeerId, Policy, Source};
use crate::model::{
    AZURE_ASN, BgpConnection, BgpSettings, GatewayKind, Network, RouteServer, RouteServerIx, VirtualNetworkGateway,
};

use super::{Node, Peer, RETRY, Sink, next_hops, route};

/// LIM-24.
const PREFIXES_MAX: u32 = 1_000;
/// Routes that gateways speak of.
const GATEWAY: Group = Group(1);

pub(super) fn servers(network: &Network) -> impl Iterator<Item = Node> {
    (0..).map(RouteServerIx).zip(&network.route_servers).flat_map(move |(ix, server)| {
        let space = network.route_server_space(ix);
        [0, 1].map(|instance| Node {
            name: server.instance_name(instance),
            host: server.name.clone(),
            asn: Asn(AZURE_ASN),
            address: server.instances[instance],
            routes: space.iter().map(|prefix| route(*prefix, Source::Network)).collect(),
            peers: peers(network, server, instance, &space),
            sink: Sink::Appliances,
            foreign: false,
        })
    })
}

fn peers(network: &Network, server: &RouteServer, instance: usize, space: &[IpNet]) -> Vec<Peer> {
    let (own, other) = (server.instances[instance], 1 - instance);
    let appliances = server.connections.iter().map(|connection| appliance(own, connection));
    // Others of its own system know the virtual networks themselves.
    let within_azure = Export { withheld: space.to_vec(), ..without_transit(own) };
    // A gateway advertises to both.
    let export = Export { refuse_from: vec![GATEWAY], ..within_azure.clone() };
    let twin = Policy { export, ..Policy::default() };
    let twin = within(server.instance_name(other), own, server.instances[other], twin);
    let export = Export { client: true, ..within_azure };
    let of_gateway = Policy { group: GATEWAY, export, ..Policy::default() };
    let gateways = network.gateways_of(server.subnet.vnet).filter(|_| server.branch_to_branch);
    let gateways = gateways.map(|gateway| network.gateway(gateway)).flat_map(|gateway| {
        let addresses: Vec<_> = match gateway.kind {
            GatewayKind::Vpn => gateway.speakers().into_iter().map(|speaker| speaker.address).collect(),
            GatewayKind::ExpressRoute { .. } => gateway.instances.to_vec(),
        };
        let named = addresses.into_iter().enumerate();
        named.map(move |(ix, address)| (gateway.instance_name(ix), address))
    });
    let gateways = gateways.map(|(name, address)| within(name, own, address, of_gateway.clone()));
    appliances.chain([twin]).chain(gateways).collect()
}

/// What a gateway's instance has to do with the route server beside it.
pub(super) fn beside(
    network: &Network,
    gateway: &VirtualNetworkGateway,
    own: BgpSettings,
    policy: &Policy,
) -> Vec<Peer> {
    let Some(server) = network.route_server_beside(gateway) else { return Vec::new() };
    let instances = server.instances.into_iter().enumerate();
    let peer = |(ix, address)| within(server.instance_name(ix), own.address, address, policy.clone());
    instances.map(peer).collect()
}

fn appliance(own: IpAddr, connection: &BgpConnection) -> Peer {
    let BgpSettings { asn, address } = connection.peer;
    let import = Import { prefixes_max: Some(PREFIXES_MAX), ..Import::default() };
    let policy = Policy { import, export: without_transit(own), ..Policy::default() };
    Peer {
        id: PeerId(0),
        over: connection.name.clone(),
        node: None,
        local: own,
        remote: address,
        there: [own, address],
        up: true,
        alone: false,
        config: PeerConfig { external: true, retry: RETRY, policy, ..PeerConfig::new(Asn(asn)) },
    }
}

/// Another of the own system.
fn within(node: String, local: IpAddr, remote: IpAddr, policy: Policy) -> Peer {
    let config = PeerConfig { retry: RETRY, policy, ..PeerConfig::new(Asn(AZURE_ASN)) };
    Peer {
        id: PeerId(0),
        over: node.clone(),
        node: Some(node),
        local,
        remote,
        there: [local, remote],
        up: true,
        alone: false,
        config,
    }
}

/// Packets do not pass through the route server (ARS-02).
fn without_transit(own: IpAddr) -> Export {
    Export { next_hops: next_hops(own, None), next_hop_unchanged: true, ..Export::default() }
}
