//! Route servers, which ARM has as virtual hubs without a virtual WAN.

use crate::arm::Node;
use crate::arm::notes::NoteKind;
use crate::arm::store::Entry;

use super::gateway::{CONFIGURATION, home};
use super::table::{Table, Use, items, property};
use super::text::Out;
use super::{Converter, entry, virtual_hub};

static SERVER: Table = Table {
    what: "a route server",
    rows: &[
        ("ipConfigurations", Use::Read(&CONFIGURATION)),
        ("allowBranchToBranchTraffic", Use::Flag(false)),
        ("hubRoutingPreference", Use::Unless("ExpressRoute")),
        ("bgpConnections", Use::Each(&CONNECTION)),
        ("virtualRouterAsn", Use::Cosmetic),
        ("virtualRouterIps", Use::Cosmetic),
        ("virtualRouterAutoScaleConfiguration", Use::Cosmetic),
        ("sku", Use::Cosmetic),
        ("routeTable", Use::Cosmetic),
        ("routingState", Use::Cosmetic),
        ("preferredRoutingGateway", Use::Cosmetic),
        ("virtualHubRouteTableV2s", Use::Cosmetic),
        ("routeMaps", Use::Gap),
    ],
};

static CONNECTION: Table = Table {
    what: "a BGP connection",
    rows: &[
        ("peerAsn", Use::Copy),
        ("peerIp", Use::Copy),
        ("connectionState", Use::Cosmetic),
        ("hubVirtualNetworkConnection", Use::Cosmetic),
    ],
};

/// Whether a virtual hub is a route server.
pub(super) fn is_one(body: &Node) -> bool {
    property(body, "virtualWan").is_none() && !items(body, "ipConfigurations").is_empty()
}

pub(super) fn route_server(converter: &mut Converter<'_>, one: &Entry) -> Option<Out> {
    let body = &one.resource.body;
    if virtual_hub::is_hub(one) {
        return None;
    }
    if !is_one(body) {
        let message = format!("virtual hub `{}` has no `addressPrefix`: it is left out", one.resource.name);
        converter.note(&one.resource.at, NoteKind::NotEmulated, message);
        return None;
    }
    let mut map = vec![entry("name", converter.own_name(one))];
    map.extend(home(converter, items(body, "ipConfigurations"))?);
    map.extend(converter.object(body, &SERVER));
    Some(Out::map(map).at(&one.resource.at))
}
