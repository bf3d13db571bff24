//! The routers of private clouds: a Tier-1 router for segments, and the Tier-0 router between those and the circuit's edge.
//!
//! One idea: to a packet each is a gateway outside of virtual networks, as an edge is, so that it counts a hop and its
//! kernel answers for it. A network without a private cloud has no such gateway, and its packets meet nothing new.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::bgp::topology::expressroute_rib::Exchange;
use crate::compile::nsg::Acls;
use crate::compile::{Ids, Sender};
use crate::dataplane::{Gateway, GatewayId, NextHop, Nic, SubnetId};
use crate::model::{CloudIx, Direction, Learned, Network, PrivateCloud, Side, Tier};

use super::express_route::{edge_id, router_beyond};

/// Routers come after all edges, cloud by cloud, each cloud's Tier-0 router first.
pub fn router_id(network: &Network, cloud: CloudIx, tier: Tier) -> GatewayId {
    let edges = network.virtual_network_gateways.len() + network.express_route_circuits.len();
    let before: usize = network.private_clouds[..cloud.0].iter().map(|cloud| cloud.routers().count()).sum();
    let own = match tier {
        Tier::Zero => 0,
        Tier::One(router) => 1 + router,
    };
    GatewayId((edges + before + own) as u32)
}

/// A cloud's routers as packets meet them, in the order of their ids.
pub(in crate::compile) fn routers(
    (network, learned): (&Network, &Learned),
    ids: &Ids,
    exchange: &Exchange,
    (ix, cloud): (CloudIx, &PrivateCloud),
) -> Vec<Gateway> {
    let router = |tier| {
        let mut routes = match tier {
            Tier::Zero => tier0((network, learned), exchange, (ix, cloud)),
            Tier::One(router) => tier1(network, ids, (ix, cloud), router),
        };
        let own = ids.nic(Sender::CloudRouter(ix, tier));
        let addresses = cloud.router_addresses(tier).into_iter().map(|it| IpNet::from(IpAddr::V4(it.addr())));
        routes.extend(addresses.filter_map(|address| Some((address, vec![NextHop::Nic(own?)]))));
        router_beyond(own, &routes)
    };
    cloud.routers().map(router).collect()
}

/// Segments by their Tier-1 routers, and by the edge what its circuit brings, while one of its links is up. The networks of
/// managers and hosts are behind the edge as well.
fn tier0(
    (network, learned): (&Network, &Learned),
    exchange: &Exchange,
    (ix, cloud): (CloudIx, &PrivateCloud),
) -> Vec<(IpNet, Vec<NextHop>)> {
    let inward = cloud.ranges().map(|segment| {
        let router = router_id(network, ix, Tier::One(segment.router));
        (IpNet::V4(segment.prefix), vec![NextHop::Gateway(router)])
    });
    let links = Side::BOTH.into_iter().any(|side| learned.link_is_up(network, cloud.circuit, side));
    let up = links && network.circuit_fault(cloud.circuit).is_none();
    let learned = exchange.customer(cloud.circuit).into_keys().filter(|prefix| cloud.takes(prefix));
    let default = network.translated_cloud(cloud.circuit).map(|_| IpNet::V4(Ipv4Net::default()));
    let outward = cloud.networks().chain(learned).chain(default).filter(|_| up);
    let edge = vec![NextHop::Gateway(edge_id(network, cloud.circuit))];
    inward.chain(outward.map(|prefix| (prefix, edge.clone()))).collect()
}

/// Its own segments, and everything else by the Tier-0 router.
fn tier1(
    network: &Network,
    ids: &Ids,
    (ix, cloud): (CloudIx, &PrivateCloud),
    own: usize,
) -> Vec<(IpNet, Vec<NextHop>)> {
    let segments = cloud.segments.iter().enumerate().filter(|(_, segment)| segment.router == own);
    let connected = segments.flat_map(|(at, segment)| {
        let way = ids.nic(Sender::Segment(ix, at)).map(NextHop::Tunnel);
        let prefixes = match &segment.machine {
            None => vec![segment.prefix],
            Some(_) => segment.addresses.iter().map(|address| Ipv4Net::from(*address)).collect(),
        };
        prefixes.into_iter().filter_map(move |prefix| Some((IpNet::V4(prefix), vec![way?])))
    });
    // Where machines are listed, no other address of the range answers.
    let listed = cloud.ranges().filter(|segment| segment.router == own && segment.machine.is_some());
    let empty = listed.map(|segment| (IpNet::V4(segment.prefix), vec![NextHop::None]));
    let above = vec![NextHop::Gateway(router_id(network, ix, Tier::Zero))];
    connected.chain(empty).chain([(IpNet::V4(Ipv4Net::default()), above)]).collect()
}

/// A machine of a segment as packets meet it: a bare end of a tunnel, and its firewall and the number of its segment
/// (AVS-12).
pub(in crate::compile) fn machine(
    (network, ids, acls): (&Network, &Ids, &mut Acls<'_, '_>),
    (cloud, machine): (CloudIx, usize),
    mut nic: Nic,
) -> Nic {
    let segments = &network.cloud(cloud).segments;
    let first = segments.iter().position(|other| other.prefix == segments[machine].prefix);
    let mut filters = |direction| acls.filters(Sender::Segment(cloud, machine), direction);
    nic.subnet = first.map_or(SubnetId::NONE, |first| SubnetId(first as u32));
    (nic.outbound, nic.inbound) = (filters(Direction::Outbound), filters(Direction::Inbound));
    nic.flows.share = ids.share_of_cloud(cloud);
    nic
}
