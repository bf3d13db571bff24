//! What a VNet's subnets have in common, as far as routes and tags go: the own ranges, the peers' and what is in reach.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::gateways::{Gateways, InUse};
use crate::model::{Learned, Network, NextHopType, PrivateEndpoint, VnetIx};

use super::peering_links::Connections;
use super::published::Families;

/// Everything of other VNets, and of the own one, that a subnet's routes and tags depend on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Surroundings {
    pub(in crate::compile) own: VnetIx,
    pub(in crate::compile) space: Vec<IpNet>,
    /// Those that are connected, in the order of the own links.
    pub(in crate::compile) peers: Vec<Peer>,
    /// In file order.
    pub(in crate::compile) endpoints: Vec<Endpoint>,
    /// `emulation.extraNoneRoutes`.
    pub(in crate::compile) extra_none_routes: bool,
    /// Of its own gateways, or of a peer's.
    pub(in crate::compile) gateways: InUse,
}

/// A peer as the own link to it has it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Peer {
    pub(in crate::compile) vnet: VnetIx,
    /// In the same region or not (SYS-08).
    pub(in crate::compile) label: NextHopType,
    /// As far as the link knows (PEER-15).
    pub(in crate::compile) space: Vec<IpNet>,
    /// `allowVirtualNetworkAccess`.
    pub(in crate::compile) access: bool,
}

/// A private endpoint in reach.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::compile) struct Endpoint {
    pub(in crate::compile) vnet: VnetIx,
    pub(in crate::compile) address: IpAddr,
    /// Its VNet's.
    pub(in crate::compile) space: Vec<IpNet>,
    /// Whether its subnet lets user-defined routes take its traffic (SYS-12).
    pub(in crate::compile) obeys_routes: bool,
}

impl Surroundings {
    /// By VNet.
    pub(in crate::compile) fn of_all<'a>(
        (network, learned): (&'a Network, &'a Learned),
        connections: &'a Connections<'a>,
        gateways: &'a Gateways,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let mut endpoints: HashMap<_, Vec<_>> = HashMap::new();
        for endpoint in network.private_endpoints.iter().enumerate() {
            endpoints.entry(endpoint.1.subnet.vnet).or_default().push(endpoint);
        }
        let vnets = (0..network.virtual_networks.len()).map(VnetIx);
        vnets.map(move |own| Self {
            own,
            space: network.vnet(own).address_space.clone(),
            peers: peers(network, connections, own),
            endpoints: in_reach(network, connections, &endpoints, own),
            extra_none_routes: network.emulation.extra_none_routes,
            gateways: gateways.in_use(network, learned, own),
        })
    }

    /// No VNet is without IPv4 (FAB-16).
    pub(in crate::compile) fn families(&self) -> Families {
        let has_ipv6 = self.space.iter().any(|prefix| matches!(prefix, IpNet::V6(_)));
        if has_ipv6 { Families::Both } else { Families::V4 }
    }
}

fn peers(network: &Network, connections: &Connections<'_>, own: VnetIx) -> Vec<Peer> {
    let here = &network.vnet(own).location;
    let peer = |link: &crate::model::Peering| Peer {
        vnet: link.remote,
        label: if *here == network.vnet(link.remote).location {
            NextHopType::VnetPeering
        } else {
            NextHopType::VnetGlobalPeering
        },
        space: link.remote_address_space.clone(),
        access: link.allow_virtual_network_access,
    };
    connections.of(own).map(|(_, link)| peer(link)).collect()
}

/// In the own VNet, and in what a connected link knows of its peer.
fn in_reach(
    network: &Network,
    connections: &Connections<'_>,
    endpoints: &HashMap<VnetIx, Vec<(usize, &PrivateEndpoint)>>,
    own: VnetIx,
) -> Vec<Endpoint> {
    if endpoints.is_empty() {
        return Vec::new();
    }
    let of = |vnet| endpoints.get(&vnet).into_iter().flatten().copied();
    let seen = connections.of(own).flat_map(|(_, link)| {
        let known = |address: IpAddr| link.remote_address_space.iter().any(|space| space.contains(&address));
        of(link.remote).filter(move |(_, endpoint)| known(endpoint.address))
    });
    let mut all: Vec<_> = of(own).chain(seen).collect();
    all.sort_by_key(|(order, _)| *order);
    all.dedup_by_key(|(order, _)| *order);
    let endpoint = |endpoint: &PrivateEndpoint| Endpoint {
        vnet: endpoint.subnet.vnet,
        address: endpoint.address,
        space: network.vnet(endpoint.subnet.vnet).address_space.clone(),
        obeys_routes: network.subnet(endpoint.subnet).private_endpoint_network_policies.obey_routes(),
    };
    all.into_iter().map(|(_, found)| endpoint(found)).collect()
}
