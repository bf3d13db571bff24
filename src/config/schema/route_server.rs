//! The schema of route servers, ARM's `virtualHubs` of that kind.

use std::net::IpAddr;

use crate::config::yaml::decode::{Fields, number, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{address, dns_label, reference, resource_name};
use crate::model::RoutingPreference;

use super::gateway::{IpConfiguration, ip_configuration};
use super::public_address::ignore;
use super::{Name, Reference, flag};

pub(in crate::config) struct RouteServer {
    pub at: At,
    pub name: Name,
    pub virtual_network: Reference,
    pub configurations: Vec<IpConfiguration>,
    pub public: Reference,
    pub branch_to_branch: bool,
    pub preference: RoutingPreference,
    pub asn: Option<Spanned<u32>>,
    pub connections: Vec<BgpConnection>,
}

pub(in crate::config) struct BgpConnection {
    pub at: At,
    pub name: Name,
    pub asn: Option<Spanned<u32>>,
    pub address: Option<Spanned<IpAddr>>,
}

pub(in crate::config) fn route_server(node: &Node, report: &mut Report) -> Option<RouteServer> {
    record(node, report, "a route server", |f| {
        ignore(f, &["sku", "virtualRouterIps"]);
        RouteServer {
            at: f.at,
            name: f.required("name", dns_label(32)),
            virtual_network: f.optional("virtualNetwork", reference(["virtualNetworks"])),
            configurations: f.list("ipConfigurations", ip_configuration),
            public: f.optional("publicIPAddress", reference(["publicIPAddresses"])),
            branch_to_branch: flag(f, "allowBranchToBranchTraffic", false),
            preference: preference(f),
            asn: f.optional("virtualRouterAsn", number(1..=u32::MAX)),
            connections: f.list("bgpConnections", bgp_connection),
        }
    })
}

fn preference(f: &mut Fields<'_>) -> RoutingPreference {
    let preferences = word(&[
        ("ExpressRoute", RoutingPreference::ExpressRoute),
        ("VpnGateway", RoutingPreference::VpnGateway),
        ("ASPath", RoutingPreference::AsPath),
    ]);
    f.optional("hubRoutingPreference", preferences).map_or_else(RoutingPreference::default, |one| one.value)
}

fn bgp_connection(node: &Node, report: &mut Report) -> Option<BgpConnection> {
    record(node, report, "a BGP connection", |f| {
        ignore(f, &["connectionState"]);
        BgpConnection {
            at: f.at,
            name: f.required("name", resource_name(80)),
            asn: f.required("peerAsn", number(1..=u32::MAX)),
            address: f.required("peerIp", address),
        }
    })
}
