//! Route tables (UDR-02 to UDR-05).

use std::collections::HashMap;
use std::net::IpAddr;

use super::names::{Names, or_unnamed, within};
use crate::config::diagnostic::Report;
use crate::config::document::{self, HopType};
use crate::model::{Route, RouteNextHop, RouteTable};

pub(super) fn route_table(table: &document::RouteTable, report: &mut Report) -> RouteTable {
    let name = or_unnamed(&table.name);
    within(table.routes.len(), 400, "routes in one table", "UDR-05", table.at, report);
    Names::of("route", table.routes.iter().map(|route| &route.name), report);
    let mut prefixes = HashMap::new();
    for route in &table.routes {
        let Some(prefix) = &route.prefix else { continue };
        if let Some(first) = prefixes.insert(prefix.value, or_unnamed(&route.name)) {
            report
                .error(prefix.at, format!("route `{first}` of table `{name}` has the prefix {} already", prefix.value))
                .code("RouteConflict")
                .rule("UDR-04")
                .expected("every prefix once in a table");
        }
    }
    let routes = table.routes.iter().filter_map(|route| self::route(route, report)).collect();
    RouteTable {
        name,
        routes,
        disable_bgp_route_propagation: table.disable_bgp_route_propagation,
        disable_peering_route: table.disable_peering_route,
    }
}

fn route(route: &document::Route, report: &mut Report) -> Option<Route> {
    let next_hop = next_hop(route, report);
    let prefix = route.prefix.as_ref()?.value;
    Some(Route { name: or_unnamed(&route.name), prefix, next_hop: next_hop? })
}

fn next_hop(route: &document::Route, report: &mut Report) -> Option<RouteNextHop> {
    let kind = route.next_hop_type.as_ref()?;
    let next_hop = match kind.value {
        HopType::VirtualAppliance => return appliance(route, report).map(RouteNextHop::VirtualAppliance),
        HopType::SystemOnly => return None,
        HopType::VirtualNetworkGateway => RouteNextHop::VirtualNetworkGateway,
        HopType::VnetLocal => RouteNextHop::VnetLocal,
        HopType::Internet => RouteNextHop::Internet,
        HopType::None => RouteNextHop::None,
    };
    if let Some(address) = &route.next_hop_ip {
        report
            .error(address.at, "only a VirtualAppliance route takes `nextHopIpAddress`")
            .rule("UDR-03")
            .help("remove it, or make the route's `nextHopType` VirtualAppliance");
    }
    Some(next_hop)
}

fn appliance(route: &document::Route, report: &mut Report) -> Option<IpAddr> {
    let Some(address) = &route.next_hop_ip else {
        if !route.has_next_hop_ip {
            report
                .error(route.at, "a VirtualAppliance route needs `nextHopIpAddress`")
                .rule("UDR-03")
                .expected("the private address of the appliance's interface");
        }
        return None;
    };
    let prefix = route.prefix.as_ref()?.value;
    if prefix.addr().is_ipv4() != address.value.is_ipv4() {
        report
            .error(address.at, format!("{} cannot be the next hop to {prefix}", address.value))
            .rule("UDR-03")
            .expected("an address of the prefix's family");
    }
    Some(address.value)
}
