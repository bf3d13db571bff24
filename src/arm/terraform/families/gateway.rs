//! Virtual network gateways, connections, sites and circuits.

use crate::arm::{Node, Resource};

use super::super::instances::Instance;
use super::super::shape::As::{Each, Id, Ids, One, Same};
use super::super::shape::{Rule, append, set, shaped, text};
use super::{Family, Named};

const GATEWAY: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("type", "properties.gatewayType", Same),
    ("vpn_type", "properties.vpnType", Same),
    ("sku", "properties.sku.name", Same),
    ("sku", "properties.sku.tier", Same),
    ("generation", "properties.vpnGatewayGeneration", Same),
    ("active_active", "properties.activeActive", Same),
    ("active_active_enabled", "properties.activeActive", Same),
    ("enable_bgp", "properties.enableBgp", Same),
    ("bgp_enabled", "properties.enableBgp", Same),
    ("private_ip_address_enabled", "properties.enablePrivateIpAddress", Same),
    ("default_local_network_gateway_id", "properties.gatewayDefaultSite", Id),
    ("bgp_settings", "properties.bgpSettings", One(&[("asn", "asn", Same), ("peer_weight", "peerWeight", Same)])),
    ("custom_route", "properties.customRoutes", One(&[("address_prefixes", "addressPrefixes", Same)])),
    (
        "vpn_client_configuration",
        "properties.vpnClientConfiguration",
        One(&[
            ("address_space", "vpnClientAddressPool.addressPrefixes", Same),
            ("vpn_client_protocols", "vpnClientProtocols", Same),
            ("vpn_auth_types", "vpnAuthenticationTypes", Same),
            ("root_certificate", "vpnClientRootCertificates", Same),
            ("revoked_certificate", "vpnClientRevokedCertificates", Same),
            ("radius_server_address", "radiusServerAddress", Same),
            ("radius_server_secret", "radiusServerSecret", Same),
            ("radius_server", "radiusServers", Same),
            ("aad_tenant", "aadTenant", Same),
            ("aad_audience", "aadAudience", Same),
            ("aad_issuer", "aadIssuer", Same),
            ("ipsec_policy", "vpnClientIpsecPolicies", Same),
            ("virtual_network_gateway_client_connection", "vngClientConnectionConfigurations", Same),
        ]),
    ),
    (
        "ip_configuration",
        "properties.ipConfigurations",
        Each(&[
            ("name", "name", Same),
            ("subnet_id", "properties.subnet", Id),
            ("private_ip_address_allocation", "properties.privateIPAllocationMethod", Same),
            ("public_ip_address_id", "properties.publicIPAddress", Id),
        ]),
    ),
];

const MAPPING: &[Rule] = &[("address_space", "addressSpace", Same), ("port_range", "portRange", Same)];

const CONNECTION: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("type", "properties.connectionType", Same),
    ("virtual_network_gateway_id", "properties.virtualNetworkGateway1", Id),
    ("peer_virtual_network_gateway_id", "properties.virtualNetworkGateway2", Id),
    ("local_network_gateway_id", "properties.localNetworkGateway2", Id),
    ("express_route_circuit_id", "properties.peer", Id),
    ("authorization_key", "properties.authorizationKey", Same),
    ("shared_key", "properties.sharedKey", Same),
    ("routing_weight", "properties.routingWeight", Same),
    ("enable_bgp", "properties.enableBgp", Same),
    ("bgp_enabled", "properties.enableBgp", Same),
    ("connection_protocol", "properties.connectionProtocol", Same),
    ("connection_mode", "properties.connectionMode", Same),
    ("dpd_timeout_seconds", "properties.dpdTimeoutSeconds", Same),
    ("express_route_gateway_bypass", "properties.expressRouteGatewayBypass", Same),
    ("local_azure_ip_address_enabled", "properties.useLocalAzureIpAddress", Same),
    ("use_policy_based_traffic_selectors", "properties.usePolicyBasedTrafficSelectors", Same),
    ("ingress_nat_rule_ids", "properties.ingressNatRules", Ids),
    ("egress_nat_rule_ids", "properties.egressNatRules", Ids),
    (
        "traffic_selector_policy",
        "properties.trafficSelectorPolicies",
        Each(&[
            ("local_address_cidrs", "localAddressRanges", Same),
            ("remote_address_cidrs", "remoteAddressRanges", Same),
        ]),
    ),
];

const SITE: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("gateway_address", "properties.gatewayIpAddress", Same),
    ("gateway_fqdn", "properties.fqdn", Same),
    ("address_space", "properties.localNetworkAddressSpace.addressPrefixes", Same),
    (
        "bgp_settings",
        "properties.bgpSettings",
        One(&[
            ("asn", "asn", Same),
            ("bgp_peering_address", "bgpPeeringAddress", Same),
            ("peer_weight", "peerWeight", Same),
        ]),
    ),
];

const CIRCUIT: &[Rule] = &[
    ("location", "location", Same),
    ("tags", "tags", Same),
    ("sku", "sku", One(&[("tier", "tier", Same), ("family", "family", Same)])),
    ("service_provider_name", "properties.serviceProviderProperties.serviceProviderName", Same),
    ("peering_location", "properties.serviceProviderProperties.peeringLocation", Same),
    ("bandwidth_in_mbps", "properties.serviceProviderProperties.bandwidthInMbps", Same),
    ("bandwidth_in_gbps", "properties.bandwidthInGbps", Same),
    ("express_route_port_id", "properties.expressRoutePort", Id),
    ("allow_classic_operations", "properties.allowClassicOperations", Same),
];

const fn own(terraform: &'static str, arm: &'static str, rules: &'static [Rule]) -> Family {
    Family { terraform, arm, named: Named::Own, rules, fixed: &[] }
}

pub(super) const FAMILIES: &[Family] = &[
    own("azurerm_virtual_network_gateway", "Microsoft.Network/virtualNetworkGateways", GATEWAY),
    own("azurerm_virtual_network_gateway_connection", "Microsoft.Network/connections", CONNECTION),
    own("azurerm_local_network_gateway", "Microsoft.Network/localNetworkGateways", SITE),
    own("azurerm_express_route_circuit", "Microsoft.Network/expressRouteCircuits", CIRCUIT),
    Family {
        terraform: "azurerm_virtual_network_gateway_nat_rule",
        arm: "Microsoft.Network/virtualNetworkGateways/natRules",
        named: Named::Of("virtual_network_gateway_id"),
        rules: &[
            ("mode", "properties.mode", Same),
            ("type", "properties.type", Same),
            ("ip_configuration_id", "properties.ipConfigurationId", Same),
            ("external_mapping", "properties.externalMappings", Each(MAPPING)),
            ("internal_mapping", "properties.internalMappings", Each(MAPPING)),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_express_route_circuit_peering",
        arm: "Microsoft.Network/expressRouteCircuits/peerings",
        named: Named::Under(&["express_route_circuit_name"]),
        rules: &[
            ("peering_type", "properties.peeringType", Same),
            ("peer_asn", "properties.peerASN", Same),
            ("vlan_id", "properties.vlanId", Same),
            ("primary_peer_address_prefix", "properties.primaryPeerAddressPrefix", Same),
            ("secondary_peer_address_prefix", "properties.secondaryPeerAddressPrefix", Same),
            ("shared_key", "properties.sharedKey", Same),
        ],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_express_route_circuit_authorization",
        arm: "Microsoft.Network/expressRouteCircuits/authorizations",
        named: Named::Under(&["express_route_circuit_name"]),
        rules: &[("authorization_key", "properties.authorizationKey", Same)],
        fixed: &[],
    },
    Family {
        terraform: "azurerm_express_route_circuit_connection",
        arm: "Microsoft.Network/expressRouteCircuits/peerings/connections",
        named: Named::Of("peering_id"),
        rules: &[
            ("peering_id", "properties.expressRouteCircuitPeering", Id),
            ("peer_peering_id", "properties.peerExpressRouteCircuitPeering", Id),
            ("address_prefix_ipv4", "properties.addressPrefix", Same),
            ("authorization_key", "properties.authorizationKey", Same),
        ],
        fixed: &[],
    },
];

/// BGP addresses name the gateway's configuration, which has an ID in ARM.
pub(super) fn addresses(instance: &Instance, resource: &mut Resource) {
    let settings = instance.values.get("bgp_settings").map(Node::items).unwrap_or_default();
    for block in settings.iter().flat_map(|it| it.get("peering_addresses").map(Node::items).unwrap_or_default()) {
        let mut address = shaped(block, &[("apipa_addresses", "customBgpIpAddresses", Same)]);
        let Some(name) = block.get("ip_configuration_name").and_then(Node::text) else { continue };
        let id = format!("{}/ipConfigurations/{name}", resource.id);
        set(&mut address, "ipconfigurationId", text(&block.at, id));
        append(&mut resource.body, "properties.bgpSettings.bgpPeeringAddresses", address);
    }
}
