//! Gateways, route servers and sites of a lab, and the nodes around circuits ([`express_route`]): a namespace each,
//! and the settings of their devices.
//!
//! One idea: a gateway's namespace is its own end, where its kernel answers for its addresses and speaks its BGP. What
//! the gateway forwards never enters it, and a route server forwards nothing. A site's namespace has one device for
//! each tunnel, without an address of its own: the site's addresses are on all of them, and routes decide which one
//! takes what. A point-to-site client is such a site, with one tunnel.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Attachment, ConnectionIx, Learned, Network};

use super::device::{DefaultRoute, Device};
use super::{express_route, guest};

/// A tunnel's (FAB-11).
const TUNNEL_MTU: u32 = 1400;
/// Of a tunnel's routes where there are circuits too, and of those that a client is told of as they are learned.
pub(super) const TUNNEL_METRIC: u32 = 100;
/// What a gateway calls its one device.
const GATEWAY_DEVICE: &str = "eth0";

/// The namespaces that these nodes need, and whether their kernels forward. A gateway's does not for others: it answers
/// what is too old to go on, which only a kernel that forwards does.
pub(in crate::lab) fn nodes(network: &Network) -> impl Iterator<Item = (&str, bool)> {
    let gateways = network.virtual_network_gateways.iter().map(|gateway| (gateway.name.as_str(), true));
    let sites = network.sites.iter().map(|site| (site.name.as_str(), site.client_of.is_none()));
    let servers = network.route_servers.iter().map(|server| (server.name.as_str(), false));
    gateways.chain(sites).chain(express_route::nodes(network)).chain(servers)
}

/// The node of an attachment, and the node's name for it, both in lower case; None if it belongs to no gateway or
/// site.
pub(in crate::lab) fn names(network: &Network, attachment: Attachment) -> Option<(String, String)> {
    match attachment {
        Attachment::Gateway(gateway) => {
            let name = network.gateway(gateway).name.to_lowercase();
            Some((name.clone(), name))
        }
        Attachment::RouteServer(server) => {
            let name = network.route_server(server).name.to_lowercase();
            Some((name.clone(), name))
        }
        Attachment::Tunnel(tunnel) => {
            let site = network.site(network.site_of(tunnel)?);
            Some((site.name.to_lowercase(), network.connection(tunnel).name.to_lowercase()))
        }
        Attachment::Edge(_) | Attachment::CircuitLink(..) | Attachment::CloudRouter(..) | Attachment::Segment(..) => {
            express_route::names(network, attachment)
        }
        _ => None,
    }
}

/// What a node calls a new device: gateways have one, sites number theirs.
pub(in crate::lab) fn device_name(attachment: Attachment, taken: impl Fn(&String) -> bool) -> String {
    let mut names = (0..=u16::MAX).map(|index| match attachment {
        Attachment::Tunnel(_) => format!("tun{index}"),
        Attachment::CircuitLink(..) => format!("er{index}"),
        _ => GATEWAY_DEVICE.to_owned(),
    });
    let several = matches!(attachment, Attachment::Tunnel(_) | Attachment::CircuitLink(..));
    let free = names.find(|name| !several || !taken(name));
    free.expect("a site has fewer tunnels than there are numbers")
}

/// How a device is set up.
pub(in crate::lab) fn device(network: &Network, attachment: Attachment, name: &str) -> Option<Device> {
    match attachment {
        Attachment::Gateway(gateway) => Some(own_end(&network.gateway(gateway).addresses(), name)),
        Attachment::RouteServer(server) => Some(own_end(&network.route_server(server).instances, name)),
        Attachment::Tunnel(tunnel) => tunnel_end(network, tunnel, name),
        Attachment::Edge(circuit) => Some(express_route::own_end(network, circuit, name)),
        Attachment::CircuitLink(circuit, side) => Some(express_route::link_end(network, circuit, side, name)),
        Attachment::CloudRouter(cloud, tier) => Some(express_route::router_end(network.cloud(cloud), tier, name)),
        Attachment::Segment(cloud, at) => Some(express_route::segment_end(network.segment(cloud, at), name)),
        _ => None,
    }
}

fn own_end(addresses: &[IpAddr], name: &str) -> Device {
    let addresses = addresses.iter().copied().map(IpNet::from).collect();
    Device::new(name, addresses, DefaultRoute::IfNone)
}

fn tunnel_end(network: &Network, tunnel: ConnectionIx, name: &str) -> Option<Device> {
    let site = network.site(network.site_of(tunnel)?);
    let addresses = site.addresses.iter().copied().chain(site.peering_addresses());
    let mut known = HashSet::new();
    // The first is what the device says its own packets come from.
    let addresses = addresses.map(IpNet::from).filter(|address| known.insert(*address)).collect();
    let bgp = network.bgp_over(tunnel);
    let connection = network.connection(tunnel);
    let gateway = connection.gateway;
    if site.client_of.is_some() {
        let routes = network.client_routes(gateway, &Learned::default());
        let device = Device::new(name, addresses, DefaultRoute::Via(Vec::new()));
        return Some(Device { mtu: TUNNEL_MTU, routes, ..device });
    }
    // Without BGP the device has static routes to what is in Azure.
    let known = if bgp.is_none() && site.routes.is_empty() { network.space_seen(tunnel) } else { Vec::new() };
    let ipv6 = network.gateway(gateway).ipv6(connection.instance).map(IpAddr::V6);
    let peer = bgp
        .into_iter()
        .flat_map(|(near, _)| [Some(network.address_seen(tunnel, near.address)), ipv6])
        .flatten()
        .map(IpNet::from);
    let routes = site.routes.iter().copied().chain(known).chain(peer).collect();
    let device = Device::new(name, addresses, DefaultRoute::Via(Vec::new()));
    // Behind a circuit's links, of which each is preferred (BGP-23).
    let metric = if site.circuits.is_empty() { 0 } else { TUNNEL_METRIC };
    Some(Device { mtu: TUNNEL_MTU, routes, metric, ..device })
}

/// Lets BGP programs in a namespace of ours listen without a capability; their port is below the usual limit. Of
/// several equal routes each flow uses one.
pub(in crate::lab) fn settle(namespace: &crate::sys::netns::Netns) -> crate::lab::error::Result<()> {
    guest::set_setting(namespace, "ipv4/fib_multipath_hash_policy", "1")?;
    // A route over a link that has failed is none.
    guest::set_setting(namespace, "ipv4/conf/all/ignore_routes_with_linkdown", "1")?;
    guest::set_setting(namespace, "ipv4/ip_unprivileged_port_start", "0")
}
