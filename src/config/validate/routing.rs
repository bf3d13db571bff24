//! Route tables (UDR-02 to UDR-06).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::config::schema::{self, HopType};
use crate::config::yaml::diagnostic::{Report, Spanned};
use crate::config::yaml::values::RangeOrTag;
use crate::model::{Route, RouteDestination, RouteNextHop, RouteTable};

use super::names::{Names, or_unnamed, within};
use super::tags::Tags;

pub(super) fn route_table(table: &schema::RouteTable, tags: &mut Tags<'_>, report: &mut Report) -> RouteTable {
    let name = or_unnamed(&table.name);
    within(table.routes.len(), 400, "routes in one table", "UDR-05", table.at, report);
    Names::of("route", table.routes.iter().map(|route| &route.name), report);
    let destinations: Vec<_> = table.routes.iter().map(|route| destination(route, tags, report)).collect();
    check_destinations(table, &name, &destinations, report);
    let routes = table.routes.iter().zip(destinations);
    let routes = routes.filter_map(|(route, destination)| self::route(route, destination, report)).collect();
    RouteTable {
        name,
        routes,
        disable_bgp_route_propagation: table.disable_bgp_route_propagation,
        disable_peering_route: table.disable_peering_route,
    }
}

/// UDR-04, UDR-06.
fn check_destinations(
    table: &schema::RouteTable,
    name: &str,
    destinations: &[Option<RouteDestination>],
    report: &mut Report,
) {
    let tagged = destinations.iter().filter(|destination| matches!(destination, Some(RouteDestination::Tag(_))));
    within(tagged.count(), 25, "routes with a service tag in one table", "LIM-16", table.at, report);
    let mut known = HashMap::new();
    for (route, destination) in table.routes.iter().zip(destinations) {
        let (Some(written), Some(destination)) = (&route.destination, destination) else { continue };
        if let Some(first) = known.insert(*destination, or_unnamed(&route.name)) {
            report
                .error(
                    written.at,
                    format!("route `{first}` of table `{name}` has the prefix {} already", written.value),
                )
                .code("RouteConflict")
                .rule("UDR-04")
                .expected("every prefix once in a table");
        }
    }
}

fn destination(route: &schema::Route, tags: &mut Tags<'_>, report: &mut Report) -> Option<RouteDestination> {
    let written = route.destination.as_ref()?;
    match &written.value {
        RangeOrTag::Range(prefix) => Some(RouteDestination::Prefix(*prefix)),
        RangeOrTag::Tag(name) => tags.find_for_route(name, written.at, report).map(RouteDestination::Tag),
    }
}

fn route(route: &schema::Route, destination: Option<RouteDestination>, report: &mut Report) -> Option<Route> {
    let next_hop = next_hop(route, report);
    Some(Route { name: or_unnamed(&route.name), destination: destination?, next_hop: next_hop? })
}

fn next_hop(route: &schema::Route, report: &mut Report) -> Option<RouteNextHop> {
    let kind = route.next_hop_type.as_ref()?.value;
    check_fields(route, kind, report);
    match kind {
        HopType::VirtualAppliance => appliance(route, report).map(RouteNextHop::VirtualAppliance),
        HopType::VirtualApplianceEcmp => appliances(route, report).map(RouteNextHop::VirtualApplianceEcmp),
        HopType::VirtualNetworkGateway => Some(RouteNextHop::VirtualNetworkGateway),
        HopType::VnetLocal => Some(RouteNextHop::VnetLocal),
        HopType::Internet => Some(RouteNextHop::Internet),
        HopType::None => Some(RouteNextHop::None),
        HopType::SystemOnly => None,
    }
}

/// Each kind of appliance has its own field, and no other type has one.
fn check_fields(route: &schema::Route, kind: HopType, report: &mut Report) {
    let fields = [
        (
            route.next_hop_ip.as_ref().map(|address| address.at),
            HopType::VirtualAppliance,
            "only a VirtualAppliance route takes `nextHopIpAddress`",
            "remove it, or make the route's `nextHopType` VirtualAppliance",
        ),
        (
            route.next_hops.as_ref().map(|addresses| addresses.at),
            HopType::VirtualApplianceEcmp,
            "only a VirtualApplianceEcmp route takes `nextHop`",
            "remove it, or make the route's `nextHopType` VirtualApplianceEcmp",
        ),
    ];
    for (at, owner, message, help) in fields {
        if let Some(at) = at.filter(|_| kind != owner && kind != HopType::SystemOnly) {
            report.error(at, message).rule("UDR-03").help(help);
        }
    }
}

fn appliance(route: &schema::Route, report: &mut Report) -> Option<IpAddr> {
    let Some(address) = &route.next_hop_ip else {
        if !route.has_next_hop_ip {
            report
                .error(route.at, "a VirtualAppliance route needs `nextHopIpAddress`")
                .rule("UDR-03")
                .expected("the private address of the appliance's interface");
        }
        return None;
    };
    check_family(address, route, report);
    Some(address.value)
}

/// The members of a route to several appliances: 2 to 64, each once.
fn appliances(route: &schema::Route, report: &mut Report) -> Option<Vec<IpAddr>> {
    let expected = "`nextHop: {nextHopIpAddresses: [...]}` with 2 to 64 private addresses";
    let Some(addresses) = &route.next_hops else {
        if !route.has_next_hops {
            report.error(route.at, "a VirtualApplianceEcmp route needs `nextHop`").rule("UDR-03").expected(expected);
        }
        return None;
    };
    let count = addresses.value.len();
    if !(2..=64).contains(&count) {
        let problem = format!("a VirtualApplianceEcmp route cannot have {count} next hops");
        let diagnostic = report.error(addresses.at, problem).rule("UDR-03").expected(expected);
        if count == 1 {
            diagnostic.help("for a single appliance use VirtualAppliance with `nextHopIpAddress`");
        }
    }
    let mut seen = HashSet::new();
    for address in &addresses.value {
        check_family(address, route, report);
        if !seen.insert(address.value) {
            report
                .error(address.at, format!("{} is a next hop of this route already", address.value))
                .rule("UDR-03")
                .expected("every address once");
        }
    }
    Some(addresses.value.iter().map(|address| address.value).collect())
}

/// The family of the range, or of the first appliance where a tag has ranges of both.
fn check_family(address: &Spanned<IpAddr>, route: &schema::Route, report: &mut Report) {
    let Some(destination) = &route.destination else { return };
    let first = || route.next_hops.iter().flat_map(|addresses| &addresses.value).next();
    let (ipv4, owner) = match destination.value {
        RangeOrTag::Range(prefix) => (prefix.addr().is_ipv4(), "the prefix's family"),
        RangeOrTag::Tag(_) => (first().unwrap_or(address).value.is_ipv4(), "the other next hops' family"),
    };
    if ipv4 != address.value.is_ipv4() {
        report
            .error(address.at, format!("{} cannot be the next hop to {}", address.value, destination.value))
            .rule("UDR-03")
            .expected(format!("an address of {owner}"));
    }
}
