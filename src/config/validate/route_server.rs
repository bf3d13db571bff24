//! Route servers: their subnets and their BGP peers (ARS-01, LIM-24).

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::schema::{Document, Reference, route_server as written};
use crate::config::yaml::diagnostic::{At, Report};
use crate::model::{
    AZURE_ASN, BgpConnection, BgpSettings, RouteServer, SubnetIx, VirtualNetwork, VirtualNetworkGateway,
};

use super::names::{Names, or_unnamed, within};
use super::public_address::Public;
use super::{Scope, bgp};

const SUBNET: &str = RouteServer::SUBNET;
/// LIM-24.
const PEERS_MAX: usize = 8;

pub(super) fn route_servers(
    document: &Document,
    (vnets, gateways): (&[VirtualNetwork], &[VirtualNetworkGateway]),
    (scope, public): (&Scope, &mut Public<'_>),
    report: &mut Report,
) -> Vec<RouteServer> {
    Names::of("route server", document.route_servers.iter().map(|server| &server.name), report);
    let mut made: Vec<RouteServer> = Vec::new();
    for written in &document.route_servers {
        let Some(server) = route_server(written, vnets, (scope, public), report) else { continue };
        let vnet = server.subnet.vnet;
        if let Some(other) = made.iter().find(|other| other.subnet.vnet == vnet) {
            report
                .error(
                    written.at,
                    format!("virtual network `{}` has route server `{}` already", vnets[vnet.0].name, other.name),
                )
                .rule("ARS-01")
                .expected("one route server in a virtual network");
        }
        let beside = gateways.iter().filter(|gateway| gateway.subnet.vnet == vnet && server.branch_to_branch);
        for gateway in beside.filter(|gateway| gateway.bgp.is_some_and(|bgp| bgp.asn != AZURE_ASN)) {
            report
                .error(
                    written.at,
                    format!("gateway `{}` is of another system than route server `{}`", gateway.name, server.name),
                )
                .rule("ARS-06")
                .expected(format!("a gateway with AS number {AZURE_ASN}, or no `allowBranchToBranchTraffic`"));
        }
        made.push(server);
    }
    made
}

fn route_server(
    written: &written::RouteServer,
    vnets: &[VirtualNetwork],
    (scope, public): (&Scope, &mut Public<'_>),
    report: &mut Report,
) -> Option<RouteServer> {
    let name = or_unnamed(&written.name);
    if let Some(asn) = written.asn.as_ref().filter(|asn| asn.value != AZURE_ASN) {
        report
            .error(asn.at, format!("a route server is AS {AZURE_ASN}"))
            .rule("ARS-01")
            .expected(AZURE_ASN.to_string());
    }
    let (subnet, address) = place(written, vnets, scope, report)?;
    let public = address.and_then(|address| public.find_named(address, &format!("route server `{name}`"), report));
    let range = vnets[subnet.vnet.0].subnets[subnet.subnet].prefixes.iter().find_map(|prefix| match prefix {
        IpNet::V4(range) => Some(*range),
        IpNet::V6(_) => None,
    })?;
    Some(RouteServer {
        name,
        subnet,
        instances: RouteServer::instances_in(range),
        public,
        branch_to_branch: written.branch_to_branch,
        preference: written.preference,
        connections: connections(written, range, report),
    })
}

/// Its RouteServerSubnet, in the short form or in ARM's, and the reference to its public address.
fn place<'a>(
    written: &'a written::RouteServer,
    vnets: &[VirtualNetwork],
    scope: &Scope,
    report: &mut Report,
) -> Option<(SubnetIx, Option<&'a crate::config::yaml::diagnostic::Spanned<[String; 1]>>)> {
    let (subnet, at, public): (_, At, &Reference) = match (&written.virtual_network, &written.configurations[..]) {
        (Some(reference), []) => {
            let vnet = scope.vnet(&written.virtual_network, report)?;
            let subnet = vnets[vnet.0].subnets.iter().position(|subnet| subnet.name == SUBNET);
            (subnet.map(|subnet| SubnetIx { vnet, subnet }), reference.at, &written.public)
        }
        (None, [one]) => {
            let subnet = scope.subnet(&one.subnet, report)?;
            let named = vnets[subnet.vnet.0].subnets[subnet.subnet].name == SUBNET;
            (named.then_some(subnet), one.at, &one.public)
        }
        _ => {
            report
                .error(written.at, "a route server stands in one RouteServerSubnet")
                .rule("ARS-01")
                .expected("`virtualNetwork: NAME`, or `ipConfigurations` with one entry");
            return None;
        }
    };
    if subnet.is_none() {
        report
            .error(at, format!("a route server stands in a subnet of the name {SUBNET}"))
            .rule("ARS-01")
            .expected("a virtual network that has one")
            .help(format!("add `{{name: {SUBNET}, addressPrefix: …/27}}` to its subnets"));
    }
    Some((subnet?, public.as_ref()))
}

fn connections(written: &written::RouteServer, range: Ipv4Net, report: &mut Report) -> Vec<BgpConnection> {
    Names::of("BGP connection of the route server", written.connections.iter().map(|one| &one.name), report);
    within(written.connections.len(), PEERS_MAX, "BGP connections", "LIM-24", written.at, report);
    let mut known: HashMap<IpAddr, At> = HashMap::new();
    let mut all = Vec::new();
    for one in &written.connections {
        let (Some(asn), Some(address)) = (&one.asn, &one.address) else { continue };
        bgp::check_asn(asn, report);
        if asn.value > u32::from(u16::MAX) {
            report
                .warning(
                    asn.at,
                    format!("AS number {} has more than 16 bits, which Azure does not promise to take", asn.value),
                )
                .rule("ARS-01")
                .expected("a number up to 65534 that is your own, such as 64512 to 65514");
        }
        if IpNet::V4(range).contains(&address.value) || address.value.is_ipv6() {
            report
                .error(address.at, format!("{} cannot be an appliance's", address.value))
                .rule("ARS-01")
                .expected(format!("an IPv4 address of an appliance, outside {SUBNET}"));
        }
        if let Some(first) = known.insert(address.value, one.at) {
            let line = report.location(first).line;
            report
                .error(address.at, format!("the route server speaks with {} already", address.value))
                .rule("ARS-01")
                .help(format!("line {line} has it too"));
        }
        let peer = BgpSettings { asn: asn.value, address: address.value };
        all.push(BgpConnection { name: or_unnamed(&one.name), peer });
    }
    all
}
