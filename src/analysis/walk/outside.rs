//! On-premises sites and private clouds: which port leads to them, and which port they send from.
//!
//! One idea: their routes follow from what their circuits' edges advertise to them. They prefer a circuit to a VPN
//! (BGP-23), as the site routers of a lab do.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::Names;
use crate::bgp::topology::expressroute_rib::{Exchange, NextRouter};
use crate::compile::{Compiled, Sender, edge_id, router_id};
use crate::dataplane::{NextHop, NicId};
use crate::model::{
    CircuitIx, CloudInternet, CloudIx, Connection, ConnectionIx, Customer, GatewayIx, Network, PrivateCloud, Side,
    SiteIx, Tier, VnetIx,
};

/// The site or private cloud that has an address.
pub(in crate::analysis) fn having(network: &Network, address: IpAddr) -> Option<Customer> {
    network.customers().find(|customer| network.addresses_of_customer(*customer).contains(&address))
}

/// The address that Azure sees for an outside address, behind a tunnel that translates (VPN-15).
pub(in crate::analysis) fn known_as(network: &Network, customer: Customer, address: IpAddr) -> IpAddr {
    first_tunnel(network, customer).map_or(address, |tunnel| network.address_known(tunnel, address))
}

/// The address that a site or private cloud sees for an address in Azure.
pub(in crate::analysis) fn knows(network: &Network, customer: Customer, address: IpAddr) -> IpAddr {
    first_tunnel(network, customer).map_or(address, |tunnel| network.address_seen(tunnel, address))
}

fn first_tunnel(network: &Network, customer: Customer) -> Option<ConnectionIx> {
    match customer {
        Customer::Site(site) => network.tunnels_of(site).next(),
        Customer::Cloud(_) | Customer::Segment(..) => None,
    }
}

/// The port that a site or private cloud sends to a destination from; any of its ports if it has no route there. Of a
/// circuit's links it is the primary one while that is up.
pub(in crate::analysis) fn sender(
    network: &Network,
    compiled: &Compiled,
    customer: Customer,
    to: Option<IpAddr>,
) -> Option<NicId> {
    let link = |circuit| {
        let up = |side: &Side| compiled.learned().link_absence(network, circuit, *side).is_none();
        let side = Side::BOTH.into_iter().find(up).unwrap_or(Side::Primary);
        compiled.ids().nic(Sender::CircuitLink(circuit, side))
    };
    if let Customer::Segment(cloud, segment) = customer {
        return compiled.ids().nic(Sender::Segment(cloud, segment));
    }
    let circuits: Vec<CircuitIx> = circuits(network, customer).collect();
    let mut leading = circuits.iter().filter(|circuit| to.is_some_and(|to| leads(network, compiled, **circuit, to)));
    let by_circuit = leading.find_map(|circuit| link(*circuit));
    let tunnel = || match customer {
        Customer::Site(site) => {
            let leading = to.and_then(|to| tunnel_to(network, compiled, site, to));
            compiled.ids().nic(Sender::Tunnel(leading.or_else(|| network.tunnels_of(site).next())?))
        }
        Customer::Cloud(_) | Customer::Segment(..) => None,
    };
    by_circuit.or_else(tunnel).or_else(|| circuits.iter().find_map(|circuit| link(*circuit)))
}

/// Whether the sender has a route. A site's router uses the routes in its file and those it has learned. An external
/// router's routes are unknown, and every other sender has a default route; a circuit's edge reports a missing route
/// itself.
pub(in crate::analysis) fn has_route(names: Names<'_>, from: NicId, to: IpAddr) -> bool {
    let Names { network, compiled } = names;
    if offline(network, compiled, from, to).is_some() {
        return false;
    }
    let Sender::Tunnel(tunnel) = compiled.sender(from) else { return true };
    let Some(at) = network.site_of(tunnel) else { return true };
    let site = network.site(at);
    let unknown = site.bgp.is_some() && !compiled.learned().sites.contains_key(&site.name);
    unknown || !site.circuits.is_empty() || tunnel_to(network, compiled, at, to).is_some()
}

/// The sending private cloud, if only a default route leads to the destination, and it has none (AVS-11).
pub(in crate::analysis) fn offline<'a>(
    network: &'a Network,
    compiled: &Compiled,
    from: NicId,
    to: IpAddr,
) -> Option<&'a PrivateCloud> {
    let Sender::CircuitLink(circuit, _) = compiled.sender(from) else { return None };
    let cloud = without_default(network, compiled, circuit)?;
    (!told_of(network, compiled, circuit, to)).then_some(cloud)
}

/// The tunnel that a site's router sends to a destination by, as the lab configures it.
fn tunnel_to(network: &Network, compiled: &Compiled, at: SiteIx, to: IpAddr) -> Option<ConnectionIx> {
    let site = network.site(at);
    let holds = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&to));
    let known = compiled.learned().sites.get(&site.name);
    let best = known.and_then(|known| known.longest(to));
    let leads = |tunnel: &ConnectionIx| {
        let near = near(network, *tunnel);
        if site.client_of.is_some() {
            return holds(&network.client_routes(network.connection(*tunnel).gateway, compiled.learned()));
        }
        let silent = near.is_empty() && site.routes.is_empty() && holds(&network.space_seen(*tunnel));
        near.contains(&to) || silent || best.is_some_and(|hops| hops.iter().any(|hop| near.contains(hop)))
    };
    // Its router detects an instance that is down.
    let mut tunnels: Vec<_> = network.tunnels_of(at).collect();
    tunnels.sort_by_key(|tunnel| compiled.learned().absence(network, *tunnel).is_some());
    let fixed = || holds(&site.routes).then(|| tunnels.first().copied()).flatten();
    tunnels.iter().copied().find(leads).or_else(fixed)
}

/// A gateway's BGP peering addresses over a tunnel, as the site knows them; empty without BGP.
fn near(network: &Network, tunnel: ConnectionIx) -> Vec<IpAddr> {
    let Some((near, _)) = network.bgp_over(tunnel) else { return Vec::new() };
    let Connection { gateway, instance, .. } = network.connection(tunnel);
    let ipv6 = network.gateway(*gateway).ipv6(*instance).map(IpAddr::V6);
    ipv6.into_iter().chain([network.address_seen(tunnel, near.address)]).collect()
}

/// The port that a site or private cloud sent from, where several are equal to it: the one where a packet was `seen`,
/// else the expected one. The site's kernel chooses among equal links by flow; an external router's choice is unknown.
pub(in crate::analysis) fn taken(names: Names<'_>, expected: NicId, to: IpAddr, seen: &[String]) -> NicId {
    let Names { network, compiled } = names;
    let Some(Customer::Site(at)) = names.customer(compiled.sender(expected)) else { return expected };
    let site = network.site(at);
    let known = compiled.learned().sites.get(&site.name);
    let hops = known.and_then(|known| known.longest(to)).map(Vec::as_slice).unwrap_or_default();
    let equal = |ends: &[IpAddr]| site.own_router || hops.iter().any(|hop| ends.contains(hop));
    let tunnels = network.tunnels_of(at).map(|tunnel| (Sender::Tunnel(tunnel), near(network, tunnel)));
    let links = circuits(network, Customer::Site(at)).flat_map(|circuit| {
        let peering = network.circuit(circuit).peering.as_ref();
        Side::BOTH.map(|side| {
            let end = peering.map(|peering| IpAddr::from(peering.microsoft(side)));
            (Sender::CircuitLink(circuit, side), end.into_iter().collect())
        })
    });
    let paths = tunnels.chain(links).filter(|(_, ends)| equal(ends));
    let mut ports = paths.filter_map(|(way, _)| compiled.ids().nic(way));
    ports.find(|port| seen.contains(&names.nic(*port))).unwrap_or(expected)
}

/// The virtual network whose gateway leads to a site or private cloud: addresses are looked up from there.
pub(in crate::analysis) fn vnet(network: &Network, customer: Customer) -> Option<VnetIx> {
    let tunnel = || match customer {
        Customer::Site(site) => network.tunnels_of(site).next(),
        Customer::Cloud(_) | Customer::Segment(..) => None,
    };
    let linked = circuits(network, customer).find_map(|circuit| network.connections_to(circuit).next());
    let gateway: GatewayIx =
        linked.map(|(_, one)| one.gateway).or_else(|| Some(network.connection(tunnel()?).gateway))?;
    Some(network.gateway(gateway).subnet.vnet)
}

fn circuits(network: &Network, customer: Customer) -> impl Iterator<Item = CircuitIx> {
    network
        .circuits()
        .map(|(circuit, _)| circuit)
        .filter(move |circuit| network.customer(*circuit) == Some(customer.at_circuit()))
}

/// Whether a circuit's edge advertises a route to a destination to its customer: one that leads to another router.
fn leads(network: &Network, compiled: &Compiled, circuit: CircuitIx, to: IpAddr) -> bool {
    let table = &compiled.snapshot.gateway(edge_id(network, circuit)).tunnels;
    let route = table.lpm.lookup(to).map(|route| table.next_hops[route.0 as usize]);
    if without_default(network, compiled, circuit).is_some() && !told_of(network, compiled, circuit, to) {
        return false;
    }
    match route {
        Some(NextHop::Gateway(_) | NextHop::Internet) => true,
        Some(NextHop::Spread(spread)) => {
            table.spread(spread).members().iter().any(|hop| matches!(hop, NextHop::Gateway(_)))
        }
        _ => false,
    }
}

/// The private cloud of a circuit, if it has no default route.
fn without_default<'a>(network: &'a Network, compiled: &Compiled, circuit: CircuitIx) -> Option<&'a PrivateCloud> {
    let mut clouds = network.private_clouds.iter().filter(|cloud| cloud.circuit == circuit);
    let uses = |cloud: &&PrivateCloud| match cloud.internet {
        CloudInternet::Disabled => advertised(network, compiled, circuit).any(|prefix| prefix.prefix_len() == 0),
        CloudInternet::Enabled => network.internet.is_some(),
    };
    clouds.find(|cloud| !uses(cloud))
}

/// Whether a circuit's customer learned more than a default route to a destination.
fn told_of(network: &Network, compiled: &Compiled, circuit: CircuitIx, to: IpAddr) -> bool {
    advertised(network, compiled, circuit).any(|prefix| prefix.prefix_len() > 0 && prefix.contains(&to))
}

/// What a circuit's edge advertises to its customer, and a private cloud's own segments, which it leads to as well.
fn advertised(network: &Network, compiled: &Compiled, circuit: CircuitIx) -> impl Iterator<Item = IpNet> {
    Exchange::of(network, compiled.learned()).customer(circuit).into_keys().chain(network.segments_behind(circuit))
}

/// Where a router on an ExpressRoute path or in a private cloud forwards a packet, and the BGP route that it uses.
pub(in crate::analysis) fn learned(
    network: &Network,
    compiled: &Compiled,
    nic: NicId,
    to: IpAddr,
) -> Option<(String, String)> {
    let exchange = Exchange::of(network, compiled.learned());
    let known = match compiled.sender(nic) {
        Sender::CloudRouter(cloud, tier) => return inside(network, compiled, (cloud, tier), to),
        Sender::Edge(circuit) => exchange.edge(circuit),
        Sender::Gateway(gateway) => exchange.gateway(gateway),
        _ => return None,
    };
    let holding = known.into_iter().filter(|(prefix, _)| prefix.contains(&to));
    let (prefix, paths) = holding.max_by_key(|(prefix, _)| prefix.prefix_len())?;
    let path: Vec<_> = paths.first()?.as_path.iter().map(ToString::to_string).collect();
    let next: Vec<_> = paths.iter().map(|way| name(network, way.next)).collect();
    Some((format!("BGP {prefix}, AS path {}", path.join(" ")), format!("to {}", next.join(" or "))))
}

/// Where a private cloud's router forwards a packet, and its route.
fn inside(network: &Network, compiled: &Compiled, (at, tier): (CloudIx, Tier), to: IpAddr) -> Option<(String, String)> {
    compiled.snapshot.gateway(router_id(network, at, tier)).tunnels.lpm.lookup(to)?;
    let cloud = network.cloud(at);
    let segment = cloud.segments.iter().find(|segment| IpNet::V4(segment.prefix).contains(&to));
    Some(match (tier, segment) {
        (Tier::One(own), Some(segment)) if segment.router == own => {
            (format!("segment {}, {}", segment.name, segment.prefix), "to the segment, which is its own".to_owned())
        }
        (Tier::One(_), _) => ("default route".to_owned(), format!("to {}", cloud.tier0)),
        (Tier::Zero, Some(segment)) => {
            let router = cloud.router_name(Tier::One(segment.router));
            (format!("segment {}, {}", segment.name, segment.prefix), format!("to {router}"))
        }
        (Tier::Zero, None) => {
            let edge = &network.circuit(cloud.circuit).name;
            ("routes of the circuit".to_owned(), format!("to the edge of {edge}"))
        }
    })
}

fn name(network: &Network, next: NextRouter) -> String {
    match next {
        NextRouter::Customer(circuit) => {
            format!("the circuit's customer {}", network.customer_name(circuit).unwrap_or(""))
        }
        NextRouter::Gateway(gateway) => format!("the gateway {}", network.gateway(gateway).name),
        NextRouter::Edge { circuit, .. } => format!("the edge of {}", network.circuit(circuit).name),
    }
}
