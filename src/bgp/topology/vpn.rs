//! VPN gateways and the devices of sites, as BGP knows them (BGP-07 to BGP-12, BGP-17).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::bgp::message::Families;
use crate::bgp::{Asn, Export, Import, NextHops, PeerConfig, PeerId, Policy, Renaming, Source};
use crate::model::{
    BgpSettings, ConnectionIx, GatewayIx, Learned, NatMode, Network, Remote, Site, SiteIx, is_link_local,
};

use super::route_server::beside;
use super::{CIRCUIT, Node, Peer, RETRY, Sink, TUNNEL, express_route, next_hops, route};

/// BGP-08.
const PREFIXES_MAX: u32 = 4_000;

pub(super) fn gateways(network: &Network, learned: &Learned) -> impl Iterator<Item = Node> {
    network.gateways().flat_map(move |(ix, gateway)| {
        let speakers = gateway.speakers();
        (0..speakers.len()).map(move |instance| self::instance((network, learned), ix, &speakers, instance))
    })
}

/// One active instance of a gateway: another of the same gateway is a peer of its own system (BGP-16).
fn instance(
    (network, learned): (&Network, &Learned),
    ix: GatewayIx,
    speakers: &[BgpSettings],
    instance: usize,
) -> Node {
    let gateway = network.gateway(ix);
    let own = speakers[instance];
    let space = network.gateway_space(ix);
    let advertised = network.advertised_space(ix);
    let networks = advertised.iter().map(|prefix| route(*prefix, Source::Network));
    let fixed = fixed(network, ix);
    let in_azure = |prefix: &&IpNet| space.contains(prefix) || advertised.contains(prefix);
    let fixed = fixed.iter().filter(|prefix| !in_azure(prefix)).map(|prefix| route(*prefix, Source::Static));
    let tunnels = network.connections_of(ix).filter(|(_, tunnel)| tunnel.instance == instance);
    let peers = tunnels.flat_map(|(over, _)| gateway_peers((network, learned), over, &space));
    let others = speakers.iter().enumerate().filter(|(other, _)| *other != instance);
    let hops = next_hops(own.address, gateway.ipv6(instance));
    let within = within(hops, &space, &advertised);
    let own_end = (own, families(hops));
    let others = others.map(|(other, settings)| twin(gateway.instance_name(other), own_end, *settings, within.clone()));
    Node {
        name: gateway.instance_name(instance),
        host: gateway.name.clone(),
        asn: Asn(own.asn),
        address: own.address,
        routes: networks.chain(fixed).collect(),
        peers: peers.chain(others).chain(beside(network, gateway, own, &within)).collect(),
        sink: Sink::Fabric,
        foreign: false,
    }
}

/// The policy for others of its own AS, which know its virtual networks themselves.
fn within(hops: NextHops, space: &[IpNet], advertised: &[IpNet]) -> Policy {
    let import = Import { refuse_within: space.to_vec(), ..Import::default() };
    let export = Export { next_hops: hops, withheld: advertised.to_vec(), ..Export::default() };
    Policy { import, export, ..Policy::default() }
}

/// The other instance.
fn twin(node: String, (own, families): (BgpSettings, Families), other: BgpSettings, policy: Policy) -> Peer {
    Peer {
        id: PeerId(0),
        over: node.clone(),
        node: Some(node),
        local: own.address,
        remote: other.address,
        there: [own.address, other.address],
        up: true,
        alone: false,
        config: PeerConfig { retry: RETRY, families, policy, ..PeerConfig::new(Asn(other.asn)) },
    }
}

/// The prefixes of its local network gateways, and those that it lends to clients (VPN-46), each once.
fn fixed(network: &Network, gateway: GatewayIx) -> Vec<IpNet> {
    let spaces = network.connections_of(gateway).flat_map(|(ix, _)| network.local_space(ix));
    let lent = network.gateway(gateway).client_prefixes().iter().copied();
    let mut prefixes: Vec<_> = spaces.chain(lent).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

fn gateway_peers((network, learned): (&Network, &Learned), over: ConnectionIx, space: &[IpNet]) -> Vec<Peer> {
    let connection = network.connection(over);
    let ipv6 = network.gateway(connection.gateway).ipv6(connection.instance);
    let policy = Policy {
        import: Import { refuse_within: space.to_vec(), prefixes_max: Some(PREFIXES_MAX), ..Import::default() },
        export: Export {
            // A site knows its own ranges better.
            withheld: network.local_space(over),
            default_route: false,
            refuse_overlapping: space.to_vec(),
            ..Export::default()
        },
        ..Policy::default()
    };
    let node = |far: usize| match connection.remote {
        Remote::Local(_) => network.site_of(over).map(|site| network.site(site).name.clone()),
        Remote::Gateway(gateway) => Some(network.gateway(gateway).instance_name(far)),
        Remote::Circuit(_) | Remote::Client(_) => None,
    };
    let ends = network.bgp_ends(over).into_iter().enumerate();
    let peers = ends.map(|(far, ends)| peer((network, learned), (over, node(far)), (ends, ipv6), policy.clone()));
    // The end with a link-local address connects (BGP-05).
    let passive = |mut peer: Peer| {
        peer.config.passive = is_link_local(peer.remote);
        peer.there = [network.address_seen(over, peer.local), network.address_behind(over, peer.remote)];
        peer.config.renaming = Renaming {
            inbound: network.bgp_translations(over, NatMode::IngressSnat),
            outbound: network.bgp_translations(over, NatMode::EgressSnat),
        };
        peer.config.policy.export.next_hops = seen(network, over, peer.config.policy.export.next_hops);
        peer
    };
    peers.map(passive).collect()
}

/// A gateway's own addresses as its peer knows them (VPN-15).
fn seen(network: &Network, over: ConnectionIx, hops: NextHops) -> NextHops {
    let ipv4 = hops.ipv4.map(|own| match network.address_seen(over, own.into()) {
        IpAddr::V4(seen) => seen,
        IpAddr::V6(_) => own,
    });
    NextHops { ipv4, ..hops }
}

pub(super) fn sites(network: &Network, learned: &Learned) -> impl Iterator<Item = Node> {
    (0..).map(SiteIx).zip(&network.sites).filter_map(move |(ix, site)| {
        let settings = site.bgp?;
        let spoken: Vec<_> = network.tunnels_of(ix).filter_map(|over| site_ends(network, site, over)).collect();
        Some(Node {
            name: site.name.clone(),
            host: site.name.clone(),
            asn: Asn(settings.asn),
            address: settings.address,
            routes: site.all_advertised().into_iter().map(|prefix| route(prefix, Source::Network)).collect(),
            peers: {
                let tunnels = spoken.iter().map(|(over, ends)| Peer {
                    alone: is_alone(&spoken, ends),
                    ..site_peer((network, learned), *over, *ends, site)
                });
                tunnels.chain(express_route::of_site(network, learned, ix)).collect()
            },
            sink: Sink::Kernel,
            foreign: site.own_router,
        })
    })
}

/// A tunnel with the ends of its session as the site has them: its own end first.
fn site_ends(network: &Network, site: &Site, over: ConnectionIx) -> Option<(ConnectionIx, (BgpSettings, BgpSettings))> {
    let (near, _) = network.bgp_over(over)?;
    Some((over, (site.speaker_over(network.connection(over))?, near)))
}

/// Whether a session is with a router that other tunnels lead to as well, and has one tunnel of its own.
fn is_alone(spoken: &[(ConnectionIx, (BgpSettings, BgpSettings))], ends: &(BgpSettings, BgpSettings)) -> bool {
    let beside = spoken.iter().filter(|(_, (_, near))| near.address == ends.1.address);
    beside.clone().count() > 1 && beside.filter(|(_, (own, _))| own.address == ends.0.address).count() == 1
}

fn site_peer(
    (network, learned): (&Network, &Learned),
    over: ConnectionIx,
    ends: (BgpSettings, BgpSettings),
    site: &Site,
) -> Peer {
    // What has come over a circuit does not go on through a site.
    let (advertised, prepend) = network.advertised_over_tunnel(over).unwrap_or_default();
    let export =
        Export { prepend, withheld: withheld(site, &advertised), refuse_from: vec![CIRCUIT], ..Export::default() };
    let connection = network.connection(over);
    let node = network.gateway(connection.gateway).instance_name(connection.instance);
    let policy = Policy { group: TUNNEL, export, ..Policy::default() };
    let ends = (ends.0, BgpSettings { address: network.address_seen(over, ends.1.address), ..ends.1 });
    peer((network, learned), (over, Some(node)), (ends, site.ipv6()), policy)
}

/// What a site advertises elsewhere, but not over a circuit or tunnel that advertises these.
pub(super) fn withheld(site: &Site, advertised: &[IpNet]) -> Vec<IpNet> {
    site.all_advertised().into_iter().filter(|prefix| !advertised.contains(prefix)).collect()
}

fn peer(
    (network, learned): (&Network, &Learned),
    (over, node): (ConnectionIx, Option<String>),
    ((near, far), ipv6): ((BgpSettings, BgpSettings), Option<Ipv6Addr>),
    mut policy: Policy,
) -> Peer {
    let hops = next_hops(near.address, ipv6);
    policy.export.next_hops = hops;
    let asn = Asn(far.asn);
    Peer {
        id: PeerId(0),
        over: network.connection(over).name.clone(),
        node,
        local: near.address,
        remote: far.address,
        there: [near.address, far.address],
        up: network.tunnel_fault(over).is_none() && learned.absence(network, over).is_none(),
        alone: false,
        config: PeerConfig { external: true, retry: RETRY, families: families(hops), policy, ..PeerConfig::new(asn) },
    }
}

/// Sessions carry IPv6's routes too where there is an address to lead to.
const fn families(hops: NextHops) -> Families {
    if hops.ipv6.is_some() { Families::BOTH } else { Families::IPV4 }
}
