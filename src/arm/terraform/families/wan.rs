//! Virtual WANs, their hubs, and what is connected to these.

use super::super::shape::As::{Each, Id, Ids, One, Same};
use super::super::shape::Rule;
use super::{Family, Named};

const ROUTES: &[Rule] = &[
    ("name", "name", Same),
    ("address_prefixes", "addressPrefixes", Same),
    ("next_hop_ip_address", "nextHopIpAddress", Same),
];

const TABLE_ROUTES: &[Rule] = &[
    ("name", "name", Same),
    ("destinations", "destinations", Same),
    ("destinations_type", "destinationType", Same),
    ("next_hop", "nextHop", Same),
    ("next_hop_type", "nextHopType", Same),
];

const ROUTING: &[Rule] = &[
    ("associated_route_table_id", "associatedRouteTable", Id),
    (
        "propagated_route_table",
        "propagatedRouteTables",
        One(&[("labels", "labels", Same), ("route_table_ids", "ids", Ids)]),
    ),
    ("static_vnet_route", "vnetRoutes.staticRoutes", Each(ROUTES)),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        terraform: "azurerm_virtual_wan",
        arm: "Microsoft.Network/virtualWans",
        named: Named::Own,
        rules: &[("location", "location", Same), ("tags", "tags", Same), ("type", "properties.type", Same)],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_virtual_hub",
        arm: "Microsoft.Network/virtualHubs",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("address_prefix", "properties.addressPrefix", Same),
            ("sku", "properties.sku", Same),
            ("hub_routing_preference", "properties.hubRoutingPreference", Same),
            ("virtual_wan_id", "properties.virtualWan", Id),
            ("route", "properties.routeTable.routes", Each(ROUTES)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_virtual_hub_connection",
        arm: "Microsoft.Network/virtualHubs/hubVirtualNetworkConnections",
        named: Named::Of("virtual_hub_id"),
        rules: &[
            ("remote_virtual_network_id", "properties.remoteVirtualNetwork", Id),
            ("internet_security_enabled", "properties.enableInternetSecurity", Same),
            ("routing", "properties.routingConfiguration", One(ROUTING)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_virtual_hub_route_table",
        arm: "Microsoft.Network/virtualHubs/hubRouteTables",
        named: Named::Of("virtual_hub_id"),
        rules: &[("labels", "properties.labels", Same), ("route", "properties.routes", Each(TABLE_ROUTES))],
        fixed: &[],
    },
];
