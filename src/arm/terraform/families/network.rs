//! Virtual networks, subnets, route tables, security groups, interfaces, public addresses.

use super::super::shape::As::{Each, Id, Ids, Keyed, Not, One, Same, Words};
use super::super::shape::Rule;
use super::{Family, Named};

const DELEGATION: &[Rule] =
    &[("name", "name", Same), ("service_delegation", "properties", One(&[("name", "serviceName", Same)]))];

const SUBNET: &[Rule] = &[
    ("address_prefix", "properties.addressPrefix", Same),
    ("address_prefixes", "properties.addressPrefixes", Same),
    ("service_endpoints", "properties.serviceEndpoints", Keyed("service")),
    ("delegation", "properties.delegations", Each(DELEGATION)),
    ("default_outbound_access_enabled", "properties.defaultOutboundAccess", Same),
    (
        "enforce_private_link_endpoint_network_policies",
        "properties.privateEndpointNetworkPolicies",
        Words("Disabled", "Enabled"),
    ),
    (
        "private_endpoint_network_policies_enabled",
        "properties.privateEndpointNetworkPolicies",
        Words("Enabled", "Disabled"),
    ),
    ("private_endpoint_network_policies", "properties.privateEndpointNetworkPolicies", Same),
    (
        "private_link_service_network_policies_enabled",
        "properties.privateLinkServiceNetworkPolicies",
        Words("Enabled", "Disabled"),
    ),
];

/// A subnet in the block of its virtual network, which has its group and its table with it.
const SUBNET_BLOCK: &[Rule] = &[
    ("name", "name", Same),
    ("address_prefix", "properties.addressPrefix", Same),
    ("address_prefixes", "properties.addressPrefixes", Same),
    ("security_group", "properties.networkSecurityGroup", Id),
    ("route_table_id", "properties.routeTable", Id),
    ("service_endpoints", "properties.serviceEndpoints", Keyed("service")),
    ("delegation", "properties.delegations", Each(DELEGATION)),
    ("default_outbound_access_enabled", "properties.defaultOutboundAccess", Same),
    ("private_endpoint_network_policies", "properties.privateEndpointNetworkPolicies", Same),
];

const ROUTE: &[Rule] = &[
    ("name", "name", Same),
    ("address_prefix", "properties.addressPrefix", Same),
    ("next_hop_type", "properties.nextHopType", Same),
    ("next_hop_in_ip_address", "properties.nextHopIpAddress", Same),
];

const SECURITY_RULE: &[Rule] = &[
    ("name", "name", Same),
    ("description", "properties.description", Same),
    ("priority", "properties.priority", Same),
    ("direction", "properties.direction", Same),
    ("access", "properties.access", Same),
    ("protocol", "properties.protocol", Same),
    ("source_port_range", "properties.sourcePortRange", Same),
    ("source_port_ranges", "properties.sourcePortRanges", Same),
    ("destination_port_range", "properties.destinationPortRange", Same),
    ("destination_port_ranges", "properties.destinationPortRanges", Same),
    ("source_address_prefix", "properties.sourceAddressPrefix", Same),
    ("source_address_prefixes", "properties.sourceAddressPrefixes", Same),
    ("destination_address_prefix", "properties.destinationAddressPrefix", Same),
    ("destination_address_prefixes", "properties.destinationAddressPrefixes", Same),
    ("source_application_security_group_ids", "properties.sourceApplicationSecurityGroups", Ids),
    ("destination_application_security_group_ids", "properties.destinationApplicationSecurityGroups", Ids),
];

const IP_CONFIGURATION: &[Rule] = &[
    ("name", "name", Same),
    ("primary", "properties.primary", Same),
    ("subnet_id", "properties.subnet", Id),
    ("private_ip_address", "properties.privateIPAddress", Same),
    ("private_ip_address_allocation", "properties.privateIPAllocationMethod", Same),
    ("private_ip_address_version", "properties.privateIPAddressVersion", Same),
    ("public_ip_address_id", "properties.publicIPAddress", Id),
    ("gateway_load_balancer_frontend_ip_configuration_id", "properties.gatewayLoadBalancer", Id),
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        terraform: "azurerm_virtual_network",
        arm: "Microsoft.Network/virtualNetworks",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("address_space", "properties.addressSpace.addressPrefixes", Same),
            ("dns_servers", "properties.dhcpOptions.dnsServers", Same),
            ("bgp_community", "properties.bgpCommunities.virtualNetworkCommunity", Same),
            ("flow_timeout_in_minutes", "properties.flowTimeoutInMinutes", Same),
            ("private_endpoint_vnet_policies", "properties.privateEndpointVNetPolicies", Same),
            ("encryption", "properties.encryption", One(&[("enforcement", "enforcement", Same)])),
            ("subnet", "properties.subnets", Each(SUBNET_BLOCK)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_subnet",
        arm: "Microsoft.Network/virtualNetworks/subnets",
        named: Named::Under(&["virtual_network_name"]),
        rules: SUBNET,
        fixed: &[],
    },
    Family {
        terraform: "azurerm_virtual_network_peering",
        arm: "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
        named: Named::Under(&["virtual_network_name"]),
        rules: &[
            ("remote_virtual_network_id", "properties.remoteVirtualNetwork", Id),
            ("allow_virtual_network_access", "properties.allowVirtualNetworkAccess", Same),
            ("allow_forwarded_traffic", "properties.allowForwardedTraffic", Same),
            ("allow_gateway_transit", "properties.allowGatewayTransit", Same),
            ("use_remote_gateways", "properties.useRemoteGateways", Same),
            ("peer_complete_virtual_networks_enabled", "properties.peerCompleteVnets", Same),
            ("local_subnet_names", "properties.localSubnetNames", Same),
            ("remote_subnet_names", "properties.remoteSubnetNames", Same),
            ("only_ipv6_peering_enabled", "properties.enableOnlyIPv6Peering", Same),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_route_table",
        arm: "Microsoft.Network/routeTables",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("disable_bgp_route_propagation", "properties.disableBgpRoutePropagation", Same),
            ("bgp_route_propagation_enabled", "properties.disableBgpRoutePropagation", Not),
            ("route", "properties.routes", Each(ROUTE)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_route",
        arm: "Microsoft.Network/routeTables/routes",
        named: Named::Under(&["route_table_name"]),
        rules: ROUTE.split_at(1).1,
        fixed: &[],
    },
    Family {
        terraform: "azurerm_network_security_group",
        arm: "Microsoft.Network/networkSecurityGroups",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("security_rule", "properties.securityRules", Each(SECURITY_RULE)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_network_security_rule",
        arm: "Microsoft.Network/networkSecurityGroups/securityRules",
        named: Named::Under(&["network_security_group_name"]),
        rules: SECURITY_RULE.split_at(1).1,
        fixed: &[],
    },
    Family {
        terraform: "azurerm_application_security_group",
        arm: "Microsoft.Network/applicationSecurityGroups",
        named: Named::Own,
        rules: &[("location", "location", Same), ("tags", "tags", Same)],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_network_interface",
        arm: "Microsoft.Network/networkInterfaces",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("enable_ip_forwarding", "properties.enableIPForwarding", Same),
            ("ip_forwarding_enabled", "properties.enableIPForwarding", Same),
            ("enable_accelerated_networking", "properties.enableAcceleratedNetworking", Same),
            ("accelerated_networking_enabled", "properties.enableAcceleratedNetworking", Same),
            ("dns_servers", "properties.dnsSettings.dnsServers", Same),
            ("network_security_group_id", "properties.networkSecurityGroup", Id),
            ("ip_configuration", "properties.ipConfigurations", Each(IP_CONFIGURATION)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_public_ip",
        arm: "Microsoft.Network/publicIPAddresses",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("zones", "zones", Same),
            ("sku", "sku.name", Same),
            ("sku_tier", "sku.tier", Same),
            ("allocation_method", "properties.publicIPAllocationMethod", Same),
            ("ip_version", "properties.publicIPAddressVersion", Same),
            ("ip_address", "properties.ipAddress", Same),
            ("idle_timeout_in_minutes", "properties.idleTimeoutInMinutes", Same),
            ("domain_name_label", "properties.dnsSettings.domainNameLabel", Same),
            ("reverse_fqdn", "properties.dnsSettings.reverseFqdn", Same),
            ("public_ip_prefix_id", "properties.publicIPPrefix", Id),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_public_ip_prefix",
        arm: "Microsoft.Network/publicIPPrefixes",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("zones", "zones", Same),
            ("sku", "sku.name", Same),
            ("prefix_length", "properties.prefixLength", Same),
            ("ip_version", "properties.publicIPAddressVersion", Same),
            ("ip_prefix", "properties.ipPrefix", Same),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_nat_gateway",
        arm: "Microsoft.Network/natGateways",
        named: Named::Own,
        rules: &[
            ("location", "location", Same),
            ("tags", "tags", Same),
            ("zones", "zones", Same),
            ("sku_name", "sku.name", Same),
            ("idle_timeout_in_minutes", "properties.idleTimeoutInMinutes", Same),
            ("public_ip_address_ids", "properties.publicIpAddresses", Ids),
            ("public_ip_prefix_ids", "properties.publicIpPrefixes", Ids),
        ],
        fixed: &[],
    },
];
