//! Route tables as they were written.

use std::net::IpAddr;

use crate::config::yaml::decode::{list_of, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{RangeOrTag, address, range_or_tag, resource_name};

use super::{Name, flag};

pub(in crate::config) struct RouteTable {
    pub at: At,
    pub name: Name,
    pub routes: Vec<Route>,
    pub disable_bgp_route_propagation: bool,
    pub disable_peering_route: bool,
}

pub(in crate::config) struct Route {
    pub at: At,
    pub name: Name,
    pub destination: Option<Spanned<RangeOrTag>>,
    pub next_hop_type: Option<Spanned<HopType>>,
    pub next_hop_ip: Option<Spanned<IpAddr>>,
    /// There is a `nextHopIpAddress`, readable or not.
    pub has_next_hop_ip: bool,
    /// The addresses of `nextHop`.
    pub next_hops: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub has_next_hops: bool,
}

/// What may stand in `nextHopType`; the last are Azure's own and get an explanation (UDR-02).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum HopType {
    VirtualNetworkGateway,
    VnetLocal,
    Internet,
    VirtualAppliance,
    VirtualApplianceEcmp,
    None,
    SystemOnly,
}

pub(in crate::config) fn route_table(node: &Node, report: &mut Report) -> Option<RouteTable> {
    let disabled = word(&[("None", false), ("All", true)]);
    record(node, report, "a route table", |f| RouteTable {
        at: f.at,
        name: f.required("name", resource_name(80)),
        routes: f.list("routes", route),
        disable_bgp_route_propagation: flag(f, "disableBgpRoutePropagation", false),
        disable_peering_route: f.optional("disablePeeringRoute", disabled).is_some_and(|disabled| disabled.value),
    })
}

fn route(node: &Node, report: &mut Report) -> Option<Route> {
    record(node, report, "a route", |f| Route {
        at: f.at,
        name: f.required("name", resource_name(80)),
        destination: f.required("addressPrefix", range_or_tag),
        next_hop_type: f.required("nextHopType", next_hop_type),
        next_hop_ip: f.optional("nextHopIpAddress", address),
        has_next_hop_ip: f.has("nextHopIpAddress"),
        next_hops: f.optional("nextHop", next_hops).map(|next_hop| next_hop.value),
        has_next_hops: f.has("nextHop"),
    })
}

/// `nextHop: {nextHopIpAddresses: […]}`, ARM's form for several appliances.
fn next_hops(node: &Node, report: &mut Report) -> Option<Spanned<Vec<Spanned<IpAddr>>>> {
    record(node, report, "a next hop", |f| f.required("nextHopIpAddresses", list_of(address)))?
}

fn next_hop_type(node: &Node, report: &mut Report) -> Option<HopType> {
    const SYSTEM_ONLY: [&str; 3] = ["VNetPeering", "VNetGlobalPeering", "VirtualNetworkServiceEndpoint"];
    let written = text(node, report)?;
    if SYSTEM_ONLY.iter().any(|system| system.eq_ignore_ascii_case(&written)) {
        report
            .error(node.at, format!("only Azure itself makes routes of type `{written}`"))
            .rule("UDR-02")
            .expected("VirtualNetworkGateway, VnetLocal, Internet, VirtualAppliance, VirtualApplianceEcmp or None")
            .help("a peering brings its routes by itself: leave this route out");
        return Some(HopType::SystemOnly);
    }
    word(&[
        ("VirtualNetworkGateway", HopType::VirtualNetworkGateway),
        ("VnetLocal", HopType::VnetLocal),
        ("Internet", HopType::Internet),
        ("VirtualAppliance", HopType::VirtualAppliance),
        ("VirtualApplianceEcmp", HopType::VirtualApplianceEcmp),
        ("None", HopType::None),
    ])(node, report)
}
