//! Routes and ranges that keep packets from a gateway or a site: routes to the gateway's own subnet, ranges on both
//! sides.

use ipnet::IpNet;

use crate::analysis::query::names::Names;
use crate::model::{ConnectionIx, GatewayIx, NatMode, Network, Remote, SiteIx, VnetIx};

use super::Finding;

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let network = names.network;
    let gateways = network.gateways().filter_map(|(gateway, _)| routes_over(network, gateway));
    let connections = (0..network.connections.len()).map(ConnectionIx);
    let unadvertised = (0..network.virtual_networks.len()).filter_map(|at| unadvertised(network, VnetIx(at)));
    let overlapping = connections.clone().filter_map(|at| overlaps(network, at));
    let asymmetric = connections.filter_map(|at| asymmetric(network, at));
    let sites = || (0..network.sites.len()).map(SiteIx);
    let unused = sites().filter_map(|site| said_in_vain(network, site));
    let alike = sites().filter_map(|site| one_number(network, site));
    gateways.chain(unadvertised).chain(overlapping).chain(asymmetric).chain(unused).chain(alike).collect()
}

/// Routes of GatewaySubnet for its own range (UDR-32).
fn routes_over(network: &Network, gateway: GatewayIx) -> Option<Finding> {
    let gateway = network.gateway(gateway);
    let subnet = network.subnet(gateway.subnet);
    let at = subnet.route_table?;
    let table = &network.route_tables[at.0];
    let over = |prefix: &IpNet| subnet.prefixes.iter().any(|own| overlap(own, prefix).is_some());
    let routes =
        table.routes.iter().enumerate().filter(|(_, route)| route.prefix().is_some_and(|prefix| over(&prefix)));
    // A route for the whole range is an error (UDR-30).
    let (place, route) = routes.into_iter().find(|(_, route)| route.prefix().is_some_and(|it| it.prefix_len() > 0))?;
    Some(Finding {
        code: "route-over-gateway",
        rule: "UDR-32",
        message: format!(
            "route {} of table {} leads the addresses of gateway {} itself elsewhere: it may stop working",
            route.name, table.name, gateway.name
        ),
        path: format!("routeTables[{}].routes[{place}]", at.0),
        help: "route ranges of virtual networks or subnets that do not have the GatewaySubnet in them".to_owned(),
    })
}

/// A site's ranges that are in Azure too (VPN-14), or behind another connection of its gateway without BGP (VPN-19).
fn overlaps(network: &Network, at: ConnectionIx) -> Option<Finding> {
    let connection = network.connection(at);
    let Remote::Local(local_at) = connection.remote else { return None };
    let local = network.local_gateway(local_at);
    let gateway = network.gateway(connection.gateway);
    let own = network.gateway_space(connection.gateway);
    let space = network.local_space(at);
    let in_azure = common(&space, &own).map(|range| {
        let message = format!("{range} of {} is in the virtual networks of gateway {} too", local.name, gateway.name);
        ("VPN-14", message, "traffic to it stays in Azure: give one of them another range")
    });
    let twice = || {
        let before = network.connections_of(connection.gateway).take_while(|(ix, _)| *ix != at);
        let without = before.filter(|(ix, _)| network.bgp_over(*ix).is_none() || network.bgp_over(at).is_none());
        without.into_iter().find_map(|(ix, other)| {
            // Several tunnels to one device are not a conflict.
            let Remote::Local(other_at) = other.remote else { return None };
            if other_at == local_at {
                return None;
            }
            let other = network.local_gateway(other_at);
            let range = common(&space, &network.local_space(ix))?;
            let message = format!("{range} is behind {} and behind {}, and not both speak BGP", other.name, local.name);
            Some(("VPN-19", message, "speak BGP over both connections, or give each its own ranges"))
        })
    };
    let (rule, message, help) = in_azure.or_else(twice)?;
    let path = format!("localNetworkGateways[{}].localNetworkAddressSpace", local_at.0);
    Some(Finding { code: "overlapping-site", rule, message, path, help: help.to_owned() })
}

/// A range behind a tunnel that is part of one behind a circuit of the same site and virtual network. Packets take the
/// tunnel by the longer prefix; the site prefers its circuit for the answers (BGP-23).
fn asymmetric(network: &Network, at: ConnectionIx) -> Option<Finding> {
    let connection = network.connection(at);
    let (Remote::Local(local), site_at) = (connection.remote, network.site_of(at)?) else { return None };
    let site = network.site(site_at);
    let here = network.gateway(connection.gateway).subnet.vnet;
    let joined =
        |circuit| network.connections_to(circuit).any(|(_, one)| network.gateway(one.gateway).subnet.vnet == here);
    let circuits = site.circuits.iter().map(|end| end.circuit).filter(|circuit| joined(*circuit));
    let by_circuit: Vec<_> = circuits.flat_map(|circuit| network.customer_routes(circuit)).collect();
    let advertised = network.bgp_over(at).and_then(|_| network.advertised_over_tunnel(at)).unwrap_or_default().0;
    let space = network.local_space(at);
    let mut by_tunnel = space.iter().chain(&advertised);
    let part = |range: &&IpNet| !by_circuit.contains(range) && by_circuit.iter().any(|whole| whole.contains(*range));
    let range = by_tunnel.find(part)?;
    Some(Finding {
        code: "asymmetric-site",
        rule: "BGP-23",
        message: format!(
            "packets to {range} of site {} take connection {}, as its range is the longer one, and answers take the circuit",
            site.name, connection.name
        ),
        path: format!("localNetworkGateways[{}]", local.0),
        help: format!("have the site say {range} over its circuit too, or no part of a range over the tunnel alone"),
    })
}

/// Ranges that a site advertises and no gateway accepts, because they are in Azure (VPN-14, BGP-11).
fn said_in_vain(network: &Network, at: SiteIx) -> Option<Finding> {
    let site = network.site(at);
    let gateways = network.tunnels_of(at).filter(|over| network.bgp_over(*over).is_some());
    let found = gateways.into_iter().find_map(|over| {
        let gateway = network.connection(over).gateway;
        let space = network.gateway_space(gateway);
        let renamed = network.bgp_translations(over, NatMode::IngressSnat);
        let stays = |prefix: &&IpNet| !renamed.iter().any(|(inside, _)| inside == *prefix);
        let all = network.advertised_over_tunnel(over)?.0;
        let mut advertised = all.iter().filter(stays);
        let hidden = advertised.find(|prefix| space.iter().any(|range| range.contains(*prefix)))?;
        Some((gateway, *hidden))
    });
    let (gateway, range) = found?;
    let key = if site.advertises == site.address_space { "addressSpace" } else { "advertises" };
    Some(Finding {
        code: "hidden-by-azure",
        rule: "VPN-14",
        message: format!(
            "site {} says {range}, which is in the virtual networks of gateway {}: it is not used",
            site.name,
            network.gateway(gateway).name
        ),
        path: format!("sites[{}].{key}", at.0),
        help: "traffic to it stays in Azure: give one of them another range".to_owned(),
    })
}

/// Two sites with one AS number never learn each other's routes: each rejects them as its own (BGP-01, BGP-13). Two
/// devices of one site have the same ranges.
fn one_number(network: &Network, at: SiteIx) -> Option<Finding> {
    let site = network.site(at);
    let own = site.bgp?;
    let gateways = |site| network.tunnels_of(site).map(|over| network.connection(over).gateway).collect::<Vec<_>>();
    let ours = gateways(at);
    let mut before = network.sites[..at.0].iter().enumerate();
    let (_, other) = before.find(|(place, other)| {
        other.bgp.is_some_and(|bgp| bgp.asn == own.asn)
            && other.advertises != site.advertises
            && gateways(SiteIx(*place)).iter().any(|gateway| ours.contains(gateway))
    })?;
    Some(Finding {
        code: "one-as-number",
        rule: "BGP-01",
        message: format!(
            "sites {} and {} are both AS {}: they learn nothing of each other",
            other.name, site.name, own.asn
        ),
        path: format!("sites[{}].bgpSettings.asn", at.0),
        help: "give each place an AS number of its own".to_owned(),
    })
}

/// Ranges of a virtual network that its gateways do not advertise, because its summary does not cover them (PEER-32).
fn unadvertised(network: &Network, at: VnetIx) -> Option<Finding> {
    let vnet = network.vnet(at);
    let summary = &vnet.summarized_gateway_prefixes;
    let covered = |range: &IpNet| summary.iter().any(|whole| whole.contains(range));
    let hidden = vnet.address_space.iter().find(|range| !summary.is_empty() && !covered(range))?;
    network.gateways_of(at).next()?;
    Some(Finding {
        code: "unadvertised-range",
        rule: "PEER-32",
        message: format!(
            "gateways of virtual network {} say nothing of {hidden}: no summarized prefix covers it, and sites do not \
             learn the way there",
            vnet.name
        ),
        path: format!("virtualNetworks[{}].summarizedGatewayPrefixes", at.0),
        help: format!("add {hidden}, or a range that it is a part of"),
    })
}

/// The smaller range of the first two that overlap.
fn common(a: &[IpNet], b: &[IpNet]) -> Option<IpNet> {
    a.iter().find_map(|a| b.iter().find_map(|b| overlap(a, b)))
}

fn overlap(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    if a.contains(b) { Some(*b) } else { b.contains(a).then_some(*a) }
}
