//! User-defined routes that are overridden for Azure services: by a private endpoint's or a service endpoint's route.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::query::names::{Names, subnet_name};
use crate::analysis::yaml_path;
use crate::model::{EffectiveRoute, NextHopType, PrivateEndpoint, RouteSource, RouteState};

use super::Finding;
use super::routes::{Use, uses};

pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let bypassed = uses(names).filter_map(|route| bypassed(names, &route));
    bypassed.chain(uses(names).filter_map(|route| overridden(names, &route))).collect()
}

/// SYS-12. A default route is meant for the rest, so it is left out.
fn bypassed(names: Names<'_>, route: &Use<'_>) -> Option<Finding> {
    if route.row.prefixes.iter().all(|prefix| prefix.prefix_len() == 0) {
        return None;
    }
    let stays = |row: &EffectiveRoute| {
        row.next_hop_type == NextHopType::InterfaceEndpoint
            && row.state == RouteState::Active
            && row.prefixes.iter().all(|own| route.row.prefixes.cover(own))
            && row.prefixes != route.row.prefixes
    };
    let rows = names.compiled.effective_routes(route.subnet);
    // Reported only for the route that would otherwise match.
    let would_match = |address: &IpAddr| {
        let own = length(route.row, *address);
        !rows.iter().any(|row| row.source == RouteSource::User && length(row, *address) > own)
    };
    let mut addresses = rows.iter().filter(|row| stays(row)).filter_map(|row| Some(row.prefixes.first()?.addr()));
    let address = addresses.find(would_match)?;
    let endpoint = names.network.private_endpoints.iter().find(|endpoint| endpoint.address == address)?;
    Some(Finding {
        code: "private-endpoint-bypass",
        rule: "SYS-12",
        message: format!(
            "{} does not take traffic from subnet {} to private endpoint {} ({address}): its own /32 does",
            route.name(names),
            subnet_name(names.network, route.subnet),
            endpoint.name
        ),
        path: format!("{}.addressPrefix", route.path()),
        help: help(names, endpoint),
    })
}

/// The length of the longest of a row's prefixes that contains the address.
fn length(row: &EffectiveRoute, address: IpAddr) -> Option<u8> {
    row.prefixes.iter().filter(|prefix| prefix.contains(&address)).map(IpNet::prefix_len).max()
}

fn help(names: Names<'_>, endpoint: &PrivateEndpoint) -> String {
    let subnet = subnet_name(names.network, endpoint.subnet);
    if names.network.subnet(endpoint.subnet).private_endpoint_network_policies.obey_routes() {
        format!(
            "only a route within the address space of {} counts: write a longer one",
            names.network.vnet(endpoint.subnet.vnet).name
        )
    } else {
        format!(
            "set `privateEndpointNetworkPolicies: RouteTableEnabled` on subnet {subnet} ({}), or add a route for {}/32",
            yaml_path::subnet(endpoint.subnet),
            endpoint.address
        )
    }
}

/// RSEL-04.
fn overridden(names: Names<'_>, route: &Use<'_>) -> Option<Finding> {
    let endpoints = names.network.subnet(route.subnet).service_endpoints.iter();
    let mut services = endpoints.filter(|endpoint| {
        let tags = endpoint.tags.iter().flat_map(|tag| names.network.service_tag(*tag).prefixes.iter());
        let ranges: Vec<_> = tags.collect();
        route.row.prefixes.iter().all(|prefix| ranges.iter().any(|range| range.contains(prefix)))
    });
    let service = &services.next().filter(|_| route.row.state == RouteState::Invalid)?.service;
    let subnet = subnet_name(names.network, route.subnet);
    Some(Finding {
        code: "service-endpoint-wins",
        rule: "RSEL-04",
        message: format!(
            "{} takes no TCP from subnet {subnet}: nothing overrides its service endpoint for {service}, which carries TCP alone",
            route.name(names)
        ),
        path: format!("{}.addressPrefix", route.path()),
        help: format!("remove the service endpoint from {subnet}, or the route from its table"),
    })
}
