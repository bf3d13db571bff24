//! Route servers, private endpoints, private zones, private clouds; what stands in the way; resources of `azapi`.

use crate::arm::{Node, Resource, ResourceId};

use super::super::instances::Instance;
use super::super::shape::As::{Each, Id, Keyed, Same, Words};
use super::super::shape::{Rule, set, shaped};
use super::{Family, Named, name_in, object_of};

const PLACED: &[Rule] = &[
    ("name", "name", Same),
    ("subnet_id", "properties.subnet", Id),
    ("private_ip_address", "properties.privateIPAddress", Same),
    ("private_ip_address_allocation", "properties.privateIPAllocationMethod", Same),
    ("public_ip_address_id", "properties.publicIPAddress", Id),
];

const ENDPOINT: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("subnet_id", "properties.subnet", Id),
    ("custom_network_interface_name", "properties.customNetworkInterfaceName", Same),
    (
        "private_service_connection",
        "properties.privateLinkServiceConnections",
        Each(&[
            ("name", "name", Same),
            ("private_connection_resource_id", "properties.privateLinkServiceId", Same),
            ("private_connection_resource_alias", "properties.privateLinkServiceId", Same),
            ("subresource_names", "properties.groupIds", Same),
        ]),
    ),
    (
        "ip_configuration",
        "properties.ipConfigurations",
        Each(&[
            ("name", "name", Same),
            ("private_ip_address", "properties.privateIPAddress", Same),
            ("subresource_name", "properties.groupId", Same),
            ("member_name", "properties.memberName", Same),
        ]),
    ),
];

const CLOUD: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("sku_name", "sku.name", Same),
    ("network_subnet_cidr", "properties.networkBlock", Same),
    (
        "management_cluster",
        "properties.managementCluster",
        super::super::shape::As::One(&[("size", "clusterSize", Same)]),
    ),
    ("internet_connection_enabled", "properties.internet", Words("Enabled", "Disabled")),
];

const fn family(terraform: &'static str, arm: &'static str, named: Named, rules: &'static [Rule]) -> Family {
    Family { terraform, arm, named, rules, fixed: &[] }
}

const IN_THE_WAY: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("ip_configuration", "properties.ipConfigurations", Each(PLACED)),
    // A firewall in a hub of a virtual WAN.
    ("virtual_hub", "properties", super::super::shape::As::One(&[("virtual_hub_id", "virtualHub", Id)])),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        terraform: "azurerm_route_server",
        arm: "Microsoft.Network/virtualHubs",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("branch_to_branch_traffic_enabled", "properties.allowBranchToBranchTraffic", Same),
            ("hub_routing_preference", "properties.hubRoutingPreference", Same),
        ],
        fixed: &[("kind", "RouteServer"), ("properties.sku", "Standard")],
    },
    family(
        "azurerm_route_server_bgp_connection",
        "Microsoft.Network/virtualHubs/bgpConnections",
        Named::Of("route_server_id"),
        &[("peer_asn", "properties.peerAsn", Same), ("peer_ip", "properties.peerIp", Same)],
    ),
    family("azurerm_private_endpoint", "Microsoft.Network/privateEndpoints", Named::Own, ENDPOINT),
    family("azurerm_private_dns_zone", "Microsoft.Network/privateDnsZones", Named::Own, &[("tags", "tags", Same)]),
    family(
        "azurerm_private_dns_zone_virtual_network_link",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        Named::Under(&["private_dns_zone_name"]),
        &[
            ("virtual_network_id", "properties.virtualNetwork", Id),
            ("registration_enabled", "properties.registrationEnabled", Same),
        ],
    ),
    family(
        "azurerm_private_dns_a_record",
        "Microsoft.Network/privateDnsZones/A",
        Named::Under(&["zone_name"]),
        &[("ttl", "properties.ttl", Same), ("records", "properties.aRecords", Keyed("ipv4Address"))],
    ),
    family("azurerm_vmware_private_cloud", "Microsoft.AVS/privateClouds", Named::Own, CLOUD),
    family(
        "azurerm_vmware_express_route_authorization",
        "Microsoft.AVS/privateClouds/authorizations",
        Named::Of("private_cloud_id"),
        &[("express_route_authorization_key", "properties.expressRouteAuthorizationKey", Same)],
    ),
    family("azurerm_firewall", "Microsoft.Network/azureFirewalls", Named::Own, IN_THE_WAY),
    family("azurerm_bastion_host", "Microsoft.Network/bastionHosts", Named::Own, IN_THE_WAY),
    family(
        "azurerm_application_gateway",
        "Microsoft.Network/applicationGateways",
        Named::Own,
        &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("gateway_ip_configuration", "properties.gatewayIPConfigurations", Each(PLACED)),
            ("frontend_ip_configuration", "properties.frontendIPConfigurations", Each(PLACED)),
        ],
    ),
];

/// A route server's addresses are a resource of their own in ARM.
pub(super) fn route_server(instance: &Instance) -> Option<Resource> {
    let id = format!("{}/ipConfigurations/ipConfig1", super::id(instance)?);
    let rules: &[Rule] =
        &[("subnet_id", "properties.subnet", Id), ("public_ip_address_id", "properties.publicIPAddress", Id)];
    Some(Resource {
        name: name_in(&id),
        id: ResourceId::new(id),
        kind: "Microsoft.Network/virtualHubs/ipConfigurations".to_owned(),
        at: instance.values.at.clone(),
        body: shaped(&instance.values, rules),
        existing: instance.is_data,
    })
}

/// The type without its API version.
fn azapi_kind(instance: &Instance) -> Option<&str> {
    instance.text("type").map(|kind| kind.split('@').next().unwrap_or(kind))
}

/// The parent is a resource of the type before the last part, or what the resource is deployed to.
pub(super) fn azapi_id(instance: &Instance) -> Option<String> {
    if let Some(id) = instance.text("resource_id") {
        return Some(id.to_owned());
    }
    let (kind, name) = (azapi_kind(instance)?, instance.text("name")?);
    let group = format!("/subscriptions/{}/resourceGroups/lab", instance.subscription);
    let parent = instance.text("parent_id").unwrap_or(&group);
    match kind.rsplit_once('/') {
        Some((outer, last)) if outer.contains('/') => Some(format!("{parent}/{last}/{name}")),
        _ => Some(format!("{parent}/providers/{kind}/{name}")),
    }
}

/// The body is what Azure's API takes.
pub(super) fn azapi(instance: &Instance) -> Option<Resource> {
    let id = super::id(instance)?;
    let mut body = shaped(&instance.values, &[("location", "location", Same), ("tags", "tags", Same)]);
    let written = instance.values.get("body").and_then(object_of);
    for (key, node) in written.iter().flat_map(Node::entries) {
        set(&mut body, &key.text, node.clone());
    }
    Some(Resource {
        name: name_in(&id),
        id: ResourceId::new(id),
        kind: azapi_kind(instance)?.to_owned(),
        at: instance.values.at.clone(),
        body,
        existing: instance.is_data,
    })
}
