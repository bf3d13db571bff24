//! The schema of point-to-site: a gateway's `vpnClientConfiguration`, and the clients of a lab.
//!
//! How a client proves its identity, and how its tunnel is encrypted, say nothing about a packet's way.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::yaml::decode::{list_of, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{address, address_space, dns_label, reference};
use crate::model::{ClientProtocol, Program};

use super::program::program;
use super::public_address::ignore;
use super::{Name, Reference};

/// ARM's `vpnClientConfiguration`.
pub(in crate::config) struct ClientConfiguration {
    pub pool: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub protocols: Vec<Spanned<ClientProtocol>>,
    /// How many `vpnClientRootCertificates` and `vpnClientRevokedCertificates` there are.
    pub certificates: [Option<Spanned<usize>>; 2],
}

/// A computer that connects by itself.
pub(in crate::config) struct VpnClient {
    pub at: At,
    pub name: Name,
    pub gateway: Reference,
    pub address: Option<Spanned<IpAddr>>,
    pub run: Program,
}

pub(in crate::config) fn client_configuration(node: &Node, report: &mut Report) -> Option<ClientConfiguration> {
    record(node, report, "a VPN client configuration", |f| {
        ignore(f, &["vpnAuthenticationTypes", "vpnClientIpsecPolicies", "vngClientConnectionConfigurations"]);
        ignore(f, &["radiusServerAddress", "radiusServerSecret", "radiusServers"]);
        ignore(f, &["aadTenant", "aadAudience", "aadIssuer"]);
        ClientConfiguration {
            pool: f.required("vpnClientAddressPool", address_space),
            protocols: f.optional("vpnClientProtocols", list_of(protocol)).map_or_else(Vec::new, |list| list.value),
            certificates: ["vpnClientRootCertificates", "vpnClientRevokedCertificates"]
                .map(|key| f.optional(key, |node, _| Some(length(node)))),
        }
    })
}

fn protocol(node: &Node, report: &mut Report) -> Option<ClientProtocol> {
    word(&[("OpenVPN", ClientProtocol::OpenVpn), ("IkeV2", ClientProtocol::IkeV2), ("SSTP", ClientProtocol::Sstp)])(
        node, report,
    )
}

/// Of a list.
pub(super) fn length(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => items.len(),
        Value::Null | Value::Scalar { .. } | Value::Map(_) => 0,
    }
}

pub(in crate::config) fn vpn_client(node: &Node, report: &mut Report) -> Option<VpnClient> {
    record(node, report, "a VPN client", |f| VpnClient {
        at: f.at,
        name: f.required("name", dns_label(32)),
        gateway: f.required("virtualNetworkGateway", reference(["virtualNetworkGateways"])),
        address: f.optional("address", address),
        run: program(f),
    })
}
