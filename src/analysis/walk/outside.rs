//! What stands outside the virtual networks, on-premises sites and private clouds: where it is reached, and how it sends.
//!
//! One idea: its routes follow from what its circuits' edges lead to, which they have told it; a circuit is preferred to a VPN
//! (BGP-23), as the devices of a lab have it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::Names;
use crate::bgp::topology::expressroute_rib::{Exchange, NextRouter};
use crate::compile::{Compiled, Sender, edge_id};
use crate::dataplane::{NextHop, NicId};
use crate::model::{
    CircuitIx, Connection, ConnectionIx, Customer, GatewayIx, Network, PrivateCloud, Side, SiteIx, VnetIx,
};

/// Who has an address.
pub(in crate::analysis) fn having(network: &Network, address: IpAddr) -> Option<Customer> {
    network.customers().find(|customer| network.addresses_of_customer(*customer).contains(&address))
}

/// What an address of somebody outside is called in Azure, behind a tunnel that translates (VPN-15).
pub(in crate::analysis) fn known_as(network: &Network, customer: Customer, address: IpAddr) -> IpAddr {
    first_tunnel(network, customer).map_or(address, |tunnel| network.address_known(tunnel, address))
}

/// What an address in Azure is called by somebody outside.
pub(in crate::analysis) fn knows(network: &Network, customer: Customer, address: IpAddr) -> IpAddr {
    first_tunnel(network, customer).map_or(address, |tunnel| network.address_seen(tunnel, address))
}

fn first_tunnel(network: &Network, customer: Customer) -> Option<ConnectionIx> {
    match customer {
        Customer::Site(site) => network.tunnels_of(site).next(),
        Customer::Cloud(_) => None,
    }
}

/// The port that somebody outside sends to a destination from; without a route there, any. Of its links the primary
/// while that is up.
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
    let circuits: Vec<CircuitIx> = circuits(network, customer).collect();
    let mut leading = circuits.iter().filter(|circuit| to.is_some_and(|to| leads(network, compiled, **circuit, to)));
    let by_circuit = leading.find_map(|circuit| link(*circuit));
    let tunnel = || match customer {
        Customer::Site(site) => {
            let leading = to.and_then(|to| tunnel_to(network, compiled, site, to));
            compiled.ids().nic(Sender::Tunnel(leading.or_else(|| network.tunnels_of(site).next())?))
        }
        Customer::Cloud(_) => None,
    };
    by_circuit.or_else(tunnel).or_else(|| circuits.iter().find_map(|circuit| link(*circuit)))
}

/// Whether what sends from here has a route: a site's device goes by what its file says and what it has learned. Of one that
/// is not ours nobody knows; who else sends has a route to everywhere, and a circuit's edge says it best.
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

/// The private cloud that sends, if it has no way to a destination but a default route, which it does not take (AVS-11).
pub(in crate::analysis) fn offline<'a>(
    network: &'a Network,
    compiled: &Compiled,
    from: NicId,
    to: IpAddr,
) -> Option<&'a PrivateCloud> {
    let Sender::CircuitLink(circuit, _) = compiled.sender(from) else { return None };
    let cloud = network.private_clouds.iter().find(|cloud| cloud.circuit == circuit && !cloud.internet)?;
    (!told_of(network, compiled, circuit, to)).then_some(cloud)
}

/// The tunnel that a site's device sends to a destination by, as the lab sets it up.
fn tunnel_to(network: &Network, compiled: &Compiled, at: SiteIx, to: IpAddr) -> Option<ConnectionIx> {
    let site = network.site(at);
    let holds = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&to));
    let known = compiled.learned().sites.get(&site.name);
    let best = known.and_then(|known| best(known, to));
    let leads = |tunnel: &ConnectionIx| {
        let near = near(network, *tunnel);
        let told = near.is_empty() && site.routes.is_empty() && holds(&network.space_seen(*tunnel));
        near.contains(&to) || told || best.is_some_and(|hops| hops.iter().any(|hop| near.contains(hop)))
    };
    // Its device finds out that an instance is away.
    let mut tunnels: Vec<_> = network.tunnels_of(at).collect();
    tunnels.sort_by_key(|tunnel| compiled.learned().absence(network, *tunnel).is_some());
    let fixed = || holds(&site.routes).then(|| tunnels.first().copied()).flatten();
    tunnels.iter().copied().find(leads).or_else(fixed)
}

/// Where a gateway speaks BGP with a site over a tunnel, as the site knows it; nowhere without BGP.
fn near(network: &Network, tunnel: ConnectionIx) -> Vec<IpAddr> {
    let Some((near, _)) = network.bgp_over(tunnel) else { return Vec::new() };
    let Connection { gateway, instance, .. } = network.connection(tunnel);
    let ipv6 = network.gateway(*gateway).ipv6(*instance).map(IpAddr::V6);
    ipv6.into_iter().chain([network.address_seen(tunnel, near.address)]).collect()
}

/// The next hops of the narrowest range that a destination is in.
fn best(known: &BTreeMap<IpNet, Vec<IpAddr>>, to: IpAddr) -> Option<&[IpAddr]> {
    let holding = known.iter().filter(|(range, _)| range.contains(&to));
    holding.max_by_key(|(range, _)| range.prefix_len()).map(|(_, hops)| hops.as_slice())
}

/// What somebody outside has sent by, of several ways that are equal to it: one of those where a packet was `seen`, else the
/// one that was expected. Which of them takes a flow its own kernel knows; of a device that is not ours nobody knows more.
pub(in crate::analysis) fn taken(names: Names<'_>, expected: NicId, to: IpAddr, seen: &[String]) -> NicId {
    let Names { network, compiled } = names;
    let site = match compiled.sender(expected) {
        Sender::Tunnel(tunnel) => network.site_of(tunnel),
        Sender::CircuitLink(circuit, _) => match network.customer(circuit) {
            Some(Customer::Site(site)) => Some(site),
            Some(Customer::Cloud(_)) | None => None,
        },
        Sender::Nic(_)
        | Sender::Subnet(_)
        | Sender::Internet
        | Sender::Gateway(_)
        | Sender::Platform(_)
        | Sender::Edge(_)
        | Sender::RouteServer(_) => None,
    };
    let Some(at) = site else { return expected };
    let site = network.site(at);
    let known = compiled.learned().sites.get(&site.name);
    let hops = known.and_then(|known| best(known, to)).unwrap_or_default();
    let equal = |ends: &[IpAddr]| site.own_router || hops.iter().any(|hop| ends.contains(hop));
    let tunnels = network.tunnels_of(at).map(|tunnel| (Sender::Tunnel(tunnel), near(network, tunnel)));
    let links = circuits(network, Customer::Site(at)).flat_map(|circuit| {
        let peering = network.circuit(circuit).peering.as_ref();
        Side::BOTH.map(|side| {
            let end = peering.map(|peering| IpAddr::from(peering.microsoft(side)));
            (Sender::CircuitLink(circuit, side), end.into_iter().collect())
        })
    });
    let ways = tunnels.chain(links).filter(|(_, ends)| equal(ends));
    let mut ports = ways.filter_map(|(way, _)| compiled.ids().nic(way));
    ports.find(|port| seen.contains(&names.nic(*port))).unwrap_or(expected)
}

/// The virtual network whose gateway somebody outside comes to: from there it meets addresses as that does.
pub(in crate::analysis) fn vnet(network: &Network, customer: Customer) -> Option<VnetIx> {
    let tunnel = || match customer {
        Customer::Site(site) => network.tunnels_of(site).next(),
        Customer::Cloud(_) => None,
    };
    let linked = circuits(network, customer).find_map(|circuit| network.connections_to(circuit).next());
    let gateway: GatewayIx =
        linked.map(|(_, one)| one.gateway).or_else(|| Some(network.connection(tunnel()?).gateway))?;
    Some(network.gateway(gateway).subnet.vnet)
}

fn circuits(network: &Network, customer: Customer) -> impl Iterator<Item = CircuitIx> {
    network.circuits().map(|(circuit, _)| circuit).filter(move |circuit| network.customer(*circuit) == Some(customer))
}

/// Whether a circuit's edge has told its customer of a way to a destination: it leads to another router.
fn leads(network: &Network, compiled: &Compiled, circuit: CircuitIx, to: IpAddr) -> bool {
    let table = &compiled.snapshot.gateway(edge_id(network, circuit)).tunnels;
    let route = table.lpm.lookup(to).map(|route| table.next_hops[route.0 as usize]);
    let default = || network.private_clouds.iter().any(|cloud| cloud.circuit == circuit && !cloud.internet);
    if default() && !told_of(network, compiled, circuit, to) {
        return false;
    }
    match route {
        Some(NextHop::Gateway(_)) => true,
        Some(NextHop::Spread(spread)) => {
            table.spread(spread).members().iter().any(|hop| matches!(hop, NextHop::Gateway(_)))
        }
        _ => false,
    }
}

/// Whether a circuit's customer has been told of more than a default route to a destination.
fn told_of(network: &Network, compiled: &Compiled, circuit: CircuitIx, to: IpAddr) -> bool {
    let mut told = Exchange::of(network, compiled.learned()).customer(circuit).into_keys();
    told.any(|prefix| prefix.prefix_len() > 0 && prefix.contains(&to))
}

/// Where somebody on the way over a circuit sends a packet on, and what it has learned of that.
pub(in crate::analysis) fn learned(
    network: &Network,
    compiled: &Compiled,
    nic: NicId,
    to: IpAddr,
) -> Option<(String, String)> {
    let exchange = Exchange::of(network, compiled.learned());
    let known = match compiled.sender(nic) {
        Sender::Edge(circuit) => exchange.edge(circuit),
        Sender::Gateway(gateway) => exchange.gateway(gateway),
        Sender::Nic(_)
        | Sender::Subnet(_)
        | Sender::Internet
        | Sender::Tunnel(_)
        | Sender::Platform(_)
        | Sender::CircuitLink(..)
        | Sender::RouteServer(_) => return None,
    };
    let holding = known.into_iter().filter(|(prefix, _)| prefix.contains(&to));
    let (prefix, ways) = holding.max_by_key(|(prefix, _)| prefix.prefix_len())?;
    let path: Vec<_> = ways.first()?.as_path.iter().map(ToString::to_string).collect();
    let next: Vec<_> = ways.iter().map(|way| name(network, way.next)).collect();
    Some((format!("BGP {prefix}, AS path {}", path.join(" ")), format!("to {}", next.join(" or "))))
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
