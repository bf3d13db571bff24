//! VPN gateways and the devices of sites, as BGP knows them (BGP-07 to BGP-12, BGP-17).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Node, Peer, Sink, route};
use crate::bgp::{Asn, Export, Import, NextHops, PeerConfig, PeerId, Policy, Retry, Source};
use crate::model::{BgpSettings, Connection, ConnectionIx, GatewayIx, Network, Remote, Site, SiteIx};

/// BGP-08.
const PREFIXES_MAX: u32 = 4_000;
/// A lab's routers come up together, and a site's own a little later.
const RETRY: Retry = Retry { first: Duration::from_millis(500), most: Duration::from_secs(10) };

pub(super) fn gateways(network: &Network) -> impl Iterator<Item = Node> {
    network.gateways().filter_map(move |(ix, gateway)| {
        let settings = gateway.bgp?;
        let space = network.gateway_space(ix);
        let own = space.iter().map(|prefix| route(*prefix, Source::Network));
        let fixed = fixed(network, ix);
        let fixed = fixed.iter().filter(|prefix| !space.contains(prefix)).map(|prefix| route(*prefix, Source::Static));
        let spoken = network.connections_of(ix).filter_map(|(over, _)| Some((over, network.bgp_over(over)?)));
        Some(Node {
            name: gateway.name.clone(),
            host: gateway.name.clone(),
            asn: Asn(settings.asn),
            address: settings.address,
            routes: own.chain(fixed).collect(),
            peers: spoken.map(|(over, ends)| gateway_peer(network, over, ends, &space)).collect(),
            sink: Sink::Fabric,
            foreign: false,
        })
    })
}

/// What its local network gateways say, each once.
fn fixed(network: &Network, gateway: GatewayIx) -> Vec<IpNet> {
    let spaces = network.connections_of(gateway).flat_map(|(_, connection)| local_space(network, connection));
    let mut prefixes: Vec<_> = spaces.copied().collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

fn local_space<'a>(network: &'a Network, connection: &Connection) -> &'a [IpNet] {
    match connection.remote {
        Remote::Local(local) => &network.local_gateway(local).address_space,
        Remote::Gateway(_) | Remote::Circuit(_) => &[],
    }
}

fn gateway_peer(network: &Network, over: ConnectionIx, ends: (BgpSettings, BgpSettings), space: &[IpNet]) -> Peer {
    let connection = network.connection(over);
    let policy = Policy {
        import: Import { refuse_within: space.to_vec(), prefixes_max: Some(PREFIXES_MAX), ..Import::default() },
        export: Export {
            // A site knows its own ranges better.
            withheld: local_space(network, connection).to_vec(),
            default_route: false,
            refuse_overlapping: space.to_vec(),
            ..Export::default()
        },
        ..Policy::default()
    };
    let node = match connection.remote {
        Remote::Local(_) => network.site_of(over).map(|site| network.site(site).name.clone()),
        Remote::Gateway(far) => Some(network.gateway(far).name.clone()),
        Remote::Circuit(_) => None,
    };
    peer(network, (over, node), ends, policy)
}

pub(super) fn sites(network: &Network) -> impl Iterator<Item = Node> {
    (0..).map(SiteIx).zip(&network.sites).filter_map(move |(ix, site)| {
        let settings = site.bgp?;
        let spoken = network.tunnels_of(ix).filter_map(|over| Some((over, network.bgp_over(over)?)));
        Some(Node {
            name: site.name.clone(),
            host: site.name.clone(),
            asn: Asn(settings.asn),
            address: settings.address,
            routes: site.advertises.iter().map(|prefix| route(*prefix, Source::Network)).collect(),
            peers: spoken.map(|(over, (near, _))| site_peer(network, over, (settings, near), site)).collect(),
            sink: Sink::Kernel,
            foreign: site.own_router,
        })
    })
}

fn site_peer(network: &Network, over: ConnectionIx, ends: (BgpSettings, BgpSettings), site: &Site) -> Peer {
    let export = Export { prepend: site.prepend, ..Export::default() };
    let node = network.gateway(network.connection(over).gateway).name.clone();
    peer(network, (over, Some(node)), ends, Policy { export, ..Policy::default() })
}

fn peer(
    network: &Network,
    (over, node): (ConnectionIx, Option<String>),
    (near, far): (BgpSettings, BgpSettings),
    mut policy: Policy,
) -> Peer {
    policy.export.next_hops = match near.address {
        IpAddr::V4(address) => NextHops { ipv4: Some(address), ipv6: None },
        IpAddr::V6(address) => NextHops { ipv4: None, ipv6: Some(address) },
    };
    Peer {
        id: PeerId(0),
        over: network.connection(over).name.clone(),
        node,
        local: near.address,
        remote: far.address,
        up: network.tunnel_fault(over).is_none(),
        config: PeerConfig { external: true, retry: RETRY, policy, ..PeerConfig::new(Asn(far.asn)) },
    }
}
