//! Service endpoints and private endpoints as they were written.

use std::net::IpAddr;

use crate::config::yaml::decode::{Fields, list_of, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{address, location, reference, resource_name};
use crate::model::PrivateEndpointNetworkPolicies;

use super::{Name, SubnetReference};

#[derive(Clone)]
pub(in crate::config) struct ServiceEndpoint {
    pub service: Option<Spanned<String>>,
    /// Regions, or `*`.
    pub locations: Option<Spanned<Vec<Spanned<String>>>>,
}

pub(in crate::config) struct PrivateEndpoint {
    pub at: At,
    pub name: Name,
    pub subnet: SubnetReference,
    pub address: Option<Spanned<IpAddr>>,
}

pub(in crate::config) fn service_endpoint(node: &Node, report: &mut Report) -> Option<ServiceEndpoint> {
    record(node, report, "a service endpoint", |f| ServiceEndpoint {
        service: f.required("service", text),
        locations: f.optional("locations", list_of(region)),
    })
}

fn region(node: &Node, report: &mut Report) -> Option<String> {
    match text(node, report)?.as_str() {
        "*" => Some("*".to_owned()),
        _ => location(node, report),
    }
}

/// What is connected through it does not matter to a packet's way.
pub(in crate::config) fn private_endpoint(node: &Node, report: &mut Report) -> Option<PrivateEndpoint> {
    record(node, report, "a private endpoint", |f| {
        let endpoint = PrivateEndpoint {
            at: f.at,
            name: f.required("name", resource_name(64)),
            subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
            address: stated_address(f),
        };
        for key in
            ["privateLinkServiceConnections", "manualPrivateLinkServiceConnections", "customNetworkInterfaceName"]
        {
            f.optional(key, |_, _| Some(()));
        }
        endpoint
    })
}

/// `privateIPAddress`, or that of the one entry of ARM's list.
fn stated_address(f: &mut Fields<'_>) -> Option<Spanned<IpAddr>> {
    let short = f.optional("privateIPAddress", address);
    let list = f.optional("ipConfigurations", list_of(ip_configuration));
    let listed = list.into_iter().flat_map(|list| list.value).map(|entry| entry.value);
    let mut stated = short.into_iter().chain(listed);
    let first = stated.next()?;
    if let Some(second) = stated.next() {
        f.report.error(second.at, "a private endpoint has one address here").expected("one `privateIPAddress`");
    }
    Some(first)
}

fn ip_configuration(node: &Node, report: &mut Report) -> Option<Spanned<IpAddr>> {
    record(node, report, "an IP configuration", |f| {
        for key in ["name", "groupId", "memberName"] {
            f.optional(key, |_, _| Some(()));
        }
        f.required("privateIPAddress", address)
    })?
}

pub(in crate::config) fn private_endpoint_network_policies(
    node: &Node,
    report: &mut Report,
) -> Option<PrivateEndpointNetworkPolicies> {
    word(&[
        ("Disabled", PrivateEndpointNetworkPolicies::Disabled),
        ("Enabled", PrivateEndpointNetworkPolicies::Enabled),
        ("NetworkSecurityGroupEnabled", PrivateEndpointNetworkPolicies::NetworkSecurityGroupEnabled),
        ("RouteTableEnabled", PrivateEndpointNetworkPolicies::RouteTableEnabled),
    ])(node, report)
}
