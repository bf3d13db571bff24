//! Virtual networks, their subnets and peering links as they were written.

use std::net::IpAddr;

use crate::config::yaml::decode::{boolean, list_of, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{
    address_space, address_space_or_none, location, prefix, reference, resource_name, subscription_of,
};
use crate::model::{DeploymentModel, PrivateEndpointNetworkPolicies};

use super::attach::{Attach, attach};
use super::dns::dhcp_options;
use super::private_access::{ServiceEndpoint, private_endpoint_network_policies, service_endpoint};
use super::public_address::nat_gateway_reference;
use super::{Name, Prefixes, Reference, SubnetNames, flag, subscription};

#[derive(Clone)]
pub(in crate::config) struct VirtualNetwork {
    pub at: At,
    pub name: Name,
    pub location: Name,
    /// A label, or out of its own ARM id.
    pub subscription: Name,
    pub tenant: Name,
    pub deployment_model: DeploymentModel,
    pub address_space: Prefixes,
    pub subnets: Vec<Subnet>,
    pub peerings: Vec<Peering>,
    pub flow_timeout_minutes: Option<Spanned<u64>>,
    pub summarized_gateway_prefixes: Prefixes,
    pub dns_servers: Vec<Spanned<IpAddr>>,
    pub attach: Option<Attach>,
}

#[derive(Clone)]
pub(in crate::config) struct Subnet {
    pub name: Name,
    pub prefixes: Prefixes,
    pub route_table: Reference,
    pub network_security_group: Reference,
    pub nat_gateway: Reference,
    pub default_outbound_access: Option<bool>,
    pub service_endpoints: Vec<ServiceEndpoint>,
    pub private_endpoint_network_policies: PrivateEndpointNetworkPolicies,
}

#[derive(Clone)]
pub(in crate::config) struct Peering {
    pub name: Name,
    pub remote: Reference,
    /// Where the reference is an ARM id.
    pub remote_subscription: Option<String>,
    pub remote_address_space: Prefixes,
    pub allow_virtual_network_access: bool,
    pub allow_forwarded_traffic: bool,
    pub allow_gateway_transit: bool,
    pub use_remote_gateways: Option<Spanned<bool>>,
    pub peer_complete_vnets: Option<Spanned<bool>>,
    pub local_subnet_names: SubnetNames,
    pub remote_subnet_names: SubnetNames,
    /// Whether the two lists are there, readable or not.
    pub has_subnet_names: [bool; 2],
    pub only_ipv6: Option<Spanned<bool>>,
}

pub(in crate::config) fn virtual_network(node: &Node, report: &mut Report) -> Option<VirtualNetwork> {
    record(node, report, "a virtual network", |f| VirtualNetwork {
        at: f.at,
        name: f.required("name", resource_name(64)),
        location: f.required("location", location),
        subscription: subscription(f),
        tenant: f.optional("tenant", text),
        deployment_model: f
            .optional("deploymentModel", deployment_model)
            .map_or_else(DeploymentModel::default, |model| model.value),
        address_space: f.required("addressSpace", address_space),
        subnets: f.list("subnets", subnet),
        peerings: f.list("virtualNetworkPeerings", peering),
        flow_timeout_minutes: f.optional("flowTimeoutInMinutes", number(4..=30)),
        summarized_gateway_prefixes: f.optional("summarizedGatewayPrefixes", address_space_or_none),
        dns_servers: f.optional("dhcpOptions", dhcp_options).map_or_else(Vec::new, |servers| servers.value),
        attach: f.optional("attach", attach).map(|attach| attach.value),
    })
}

fn deployment_model(node: &Node, report: &mut Report) -> Option<DeploymentModel> {
    word(&[("resourceManager", DeploymentModel::ResourceManager), ("classic", DeploymentModel::Classic)])(node, report)
}

fn subnet(node: &Node, report: &mut Report) -> Option<Subnet> {
    record(node, report, "a subnet", |f| Subnet {
        name: f.required("name", resource_name(80)),
        prefixes: f.one_or_many("addressPrefix", "addressPrefixes", prefix),
        route_table: f.optional("routeTable", reference(["routeTables"])),
        network_security_group: f.optional("networkSecurityGroup", reference(["networkSecurityGroups"])),
        nat_gateway: nat_gateway_reference(f),
        default_outbound_access: f.optional("defaultOutboundAccess", boolean).map(|flag| flag.value),
        service_endpoints: f.list("serviceEndpoints", service_endpoint),
        private_endpoint_network_policies: f
            .optional("privateEndpointNetworkPolicies", private_endpoint_network_policies)
            .map_or_else(PrivateEndpointNetworkPolicies::default, |policies| policies.value),
    })
}

/// The defaults are PEER-20's.
fn peering(node: &Node, report: &mut Report) -> Option<Peering> {
    record(node, report, "a peering", |f| Peering {
        name: f.required("name", resource_name(80)),
        remote: f.required("remoteVirtualNetwork", reference(["virtualNetworks"])),
        remote_subscription: subscription_of(f.node("remoteVirtualNetwork")),
        remote_address_space: f.optional("remoteAddressSpace", address_space),
        allow_virtual_network_access: flag(f, "allowVirtualNetworkAccess", true),
        allow_forwarded_traffic: flag(f, "allowForwardedTraffic", false),
        allow_gateway_transit: flag(f, "allowGatewayTransit", false),
        use_remote_gateways: f.optional("useRemoteGateways", boolean),
        peer_complete_vnets: f.optional("peerCompleteVnets", boolean),
        local_subnet_names: f.optional("localSubnetNames", list_of(text)),
        remote_subnet_names: f.optional("remoteSubnetNames", list_of(text)),
        has_subnet_names: ["localSubnetNames", "remoteSubnetNames"].map(|key| f.has(key)),
        only_ipv6: f.optional("enableOnlyIPv6Peering", boolean),
    })
}
