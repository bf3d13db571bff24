//! The schema of virtual network gateways, local network gateways, connections and sites.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::yaml::decode::{Fields, boolean, list_of, list_or_none, mismatch, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{address, address_space, dns_label, prefix, reference, resource_name};
use crate::model::{ConnectionMode, GatewaySku, Program};

use super::express_route::{CircuitEnd, circuit, circuit_end};
use super::program::program;
use super::public_address::ignore;
use super::vpn_client::{ClientConfiguration, client_configuration, length};
use super::vpn_nat::{NatRule, nat_rule, nat_rules};
use super::{Name, Reference, SubnetReference, flag, values};

/// An AS path that is longer than any way through a lab's networks.
const PREPEND_MAX: u8 = 32;

pub(in crate::config) struct VirtualNetworkGateway {
    pub at: At,
    pub name: Name,
    pub gateway_type: Option<Spanned<GatewayType>>,
    pub vpn_type: Option<Spanned<VpnType>>,
    pub sku: Option<Spanned<GatewaySku>>,
    pub active_active: Option<Spanned<bool>>,
    pub enable_bgp: Option<Spanned<bool>>,
    pub bgp: Option<Spanned<BgpSettings>>,
    pub virtual_network: Reference,
    pub configurations: Vec<IpConfiguration>,
    pub public: Reference,
    pub default_site: Reference,
    pub remote_vnets: Option<Spanned<bool>>,
    pub custom_routes: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub nat_rules: Vec<NatRule>,
    pub translates_bgp: Option<Spanned<bool>>,
    pub clients: Option<Spanned<ClientConfiguration>>,
}

pub(in crate::config) struct IpConfiguration {
    pub at: At,
    pub name: Name,
    pub subnet: SubnetReference,
    pub public: Reference,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum GatewayType {
    Vpn,
    ExpressRoute,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum VpnType {
    RouteBased,
    PolicyBased,
}

pub(in crate::config) struct BgpSettings {
    pub asn: Option<Spanned<u32>>,
    /// Several of a gateway with two active instances.
    pub addresses: Option<Spanned<Vec<IpAddr>>>,
    pub instances: Vec<InstanceBgp>,
}

/// Where an instance of a gateway speaks BGP.
pub(in crate::config) struct InstanceBgp {
    /// The id of its IP configuration, or just the name.
    pub configuration: Name,
    pub default: Vec<Spanned<IpAddr>>,
    /// Those that it has besides, link-local ones.
    pub custom: Vec<Spanned<IpAddr>>,
}

pub(in crate::config) struct LocalNetworkGateway {
    pub at: At,
    pub name: Name,
    pub gateway_ip: Option<Spanned<IpAddr>>,
    pub address_space: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub bgp: Option<Spanned<BgpSettings>>,
}

pub(in crate::config) struct Connection {
    pub at: At,
    pub name: Name,
    pub kind: Option<Spanned<ConnectionType>>,
    pub gateway: Reference,
    pub far_gateway: Reference,
    pub local_gateway: Reference,
    pub circuit: Reference,
    pub shared_key: Name,
    pub enable_bgp: Option<Spanned<bool>>,
    pub mode: ConnectionMode,
    pub policy_based: Option<Spanned<bool>>,
    pub routing_weight: Option<Spanned<u32>>,
    pub authorization_key: Name,
    pub bypass: Option<Spanned<bool>>,
    /// How many there are: what they say changes no packet's way.
    pub ipsec_policies: Option<Spanned<usize>>,
    pub ingress_nat: Vec<Spanned<[String; 1]>>,
    pub egress_nat: Vec<Spanned<[String; 1]>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ConnectionType {
    IPsec,
    Vnet2Vnet,
    ExpressRoute,
    /// Of gateways that this router does not have.
    Other,
}

pub(in crate::config) struct Site {
    pub at: At,
    pub name: Name,
    pub circuits: Vec<CircuitEnd>,
    pub gateway_ip: Option<Spanned<IpAddr>>,
    pub address_space: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub addresses: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub bgp: Option<Spanned<BgpSettings>>,
    pub advertises: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub prepend: Option<Spanned<u8>>,
    pub tunnels: Vec<TunnelEnd>,
    pub routes: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub shared_key: Name,
    pub mode: ConnectionMode,
    pub run: Program,
    pub own_router: bool,
}

/// What a site advertises over one circuit, link or tunnel.
#[derive(Default)]
pub(in crate::config) struct Advertised {
    pub advertises: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub prepend: u8,
}

/// A site's tunnels of one connection, or one of them.
pub(in crate::config) struct TunnelEnd {
    pub at: At,
    pub connection: Reference,
    pub instance: Option<Spanned<u8>>,
    pub gateway_ip: Option<Spanned<IpAddr>>,
    pub peering_address: Option<Spanned<IpAddr>>,
    pub advertised: Advertised,
}

pub(in crate::config) fn virtual_network_gateway(node: &Node, report: &mut Report) -> Option<VirtualNetworkGateway> {
    record(node, report, "a virtual network gateway", |f| {
        ignore(f, &["vpnGatewayGeneration", "resiliencyModel", "allowVirtualWanTraffic"]);
        VirtualNetworkGateway {
            at: f.at,
            name: f.required("name", resource_name(80)),
            gateway_type: f.optional("gatewayType", gateway_type),
            vpn_type: f.optional("vpnType", vpn_type),
            sku: f.optional("sku", sku),
            active_active: f.optional("activeActive", boolean),
            enable_bgp: f.optional("enableBgp", boolean),
            bgp: f.optional("bgpSettings", bgp_settings),
            virtual_network: f.optional("virtualNetwork", reference(["virtualNetworks"])),
            configurations: f.list("ipConfigurations", ip_configuration),
            public: f.optional("publicIPAddress", reference(["publicIPAddresses"])),
            default_site: f.optional("gatewayDefaultSite", reference(["localNetworkGateways"])),
            remote_vnets: f.optional("allowRemoteVnetTraffic", boolean),
            custom_routes: f.optional("customRoutes", address_space),
            nat_rules: f.list("natRules", nat_rule),
            translates_bgp: f.optional("enableBgpRouteTranslationForNat", boolean),
            clients: f.optional("vpnClientConfiguration", client_configuration),
        }
    })
}

pub(in crate::config) fn ip_configuration(node: &Node, report: &mut Report) -> Option<IpConfiguration> {
    record(node, report, "an IP configuration", |f| {
        ignore(f, &["privateIPAllocationMethod"]);
        IpConfiguration {
            at: f.at,
            name: f.optional("name", text),
            subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
            public: f.optional("publicIPAddress", reference(["publicIPAddresses"])),
        }
    })
}

pub(in crate::config) fn local_network_gateway(node: &Node, report: &mut Report) -> Option<LocalNetworkGateway> {
    record(node, report, "a local network gateway", |f| LocalNetworkGateway {
        at: f.at,
        name: f.required("name", resource_name(80)),
        gateway_ip: f.required("gatewayIpAddress", address),
        address_space: f.optional("localNetworkAddressSpace", address_space),
        bgp: f.optional("bgpSettings", bgp_settings),
    })
}

pub(in crate::config) fn connection(node: &Node, report: &mut Report) -> Option<Connection> {
    record(node, report, "a connection", |f| {
        ignore(f, &["connectionProtocol", "dpdTimeoutSeconds", "enablePrivateLinkFastPath"]);
        Connection {
            at: f.at,
            name: f.required("name", resource_name(80)),
            kind: f.required("connectionType", connection_type),
            gateway: f.required("virtualNetworkGateway1", reference(["virtualNetworkGateways"])),
            far_gateway: f.optional("virtualNetworkGateway2", reference(["virtualNetworkGateways"])),
            local_gateway: f.optional("localNetworkGateway2", reference(["localNetworkGateways"])),
            circuit: f.optional("peer", circuit),
            shared_key: f.optional("sharedKey", text),
            enable_bgp: f.optional("enableBgp", boolean),
            mode: mode(f),
            policy_based: f.optional("usePolicyBasedTrafficSelectors", boolean),
            // ER-13
            routing_weight: f.optional("routingWeight", number(0..=32_000)),
            authorization_key: f.optional("authorizationKey", text),
            bypass: f.optional("expressRouteGatewayBypass", boolean),
            ipsec_policies: f.optional("ipsecPolicies", |node, _| Some(length(node))),
            ingress_nat: nat_rules(f, "ingressNatRules"),
            egress_nat: nat_rules(f, "egressNatRules"),
        }
    })
}

pub(in crate::config) fn site(node: &Node, report: &mut Report) -> Option<Site> {
    record(node, report, "a site", |f| Site {
        at: f.at,
        name: f.required("name", dns_label(32)),
        circuits: f
            .optional("expressRouteCircuits", list_of(circuit_end))
            .map_or_else(Vec::new, |ends| values(ends.value)),
        gateway_ip: f.optional("gatewayIpAddress", address),
        address_space: f.required("addressSpace", address_space),
        addresses: f.optional("addresses", list_of(address)),
        bgp: f.optional("bgpSettings", bgp_settings),
        advertises: f.optional("advertises", list_of(prefix)),
        prepend: f.optional("prepend", number(0..=PREPEND_MAX)),
        tunnels: f.list("tunnels", tunnel_end),
        routes: f.optional("routes", list_of(prefix)),
        shared_key: f.optional("sharedKey", text),
        mode: mode(f),
        run: program(f),
        own_router: flag(f, "ownRouter", false),
    })
}

fn tunnel_end(node: &Node, report: &mut Report) -> Option<TunnelEnd> {
    record(node, report, "a site's end of a tunnel", |f| TunnelEnd {
        at: f.at,
        connection: f.required("connection", reference(["connections"])),
        instance: f.optional("instance", number(1..=2)),
        gateway_ip: f.optional("gatewayIpAddress", address),
        peering_address: f.optional("bgpPeeringAddress", address),
        advertised: advertised(f),
    })
}

pub(in crate::config) fn advertised(f: &mut Fields<'_>) -> Advertised {
    // An empty list means that nothing is advertised there.
    let nothing = |node: &Node| matches!(&node.value, Value::List(items) if items.is_empty());
    let own = |node: &Node, report: &mut Report| {
        if nothing(node) { Some(Vec::new()) } else { list_of(prefix)(node, report) }
    };
    Advertised {
        advertises: f.optional("advertises", own),
        prepend: f.optional("prepend", number(0..=PREPEND_MAX)).map_or(0, |times| times.value),
    }
}

fn bgp_settings(node: &Node, report: &mut Report) -> Option<BgpSettings> {
    record(node, report, "BGP settings", |f| {
        ignore(f, &["peerWeight"]);
        BgpSettings {
            asn: f.optional("asn", number(1..=u32::MAX)),
            addresses: f.optional("bgpPeeringAddress", joined_addresses),
            instances: f.list("bgpPeeringAddresses", instance_bgp),
        }
    })
}

/// One address, or several with commas between them.
fn joined_addresses(node: &Node, report: &mut Report) -> Option<Vec<IpAddr>> {
    let joined = text(node, report)?;
    let addresses: Result<Vec<IpAddr>, _> = joined.split(',').map(|part| part.trim().parse()).collect();
    if addresses.is_err() {
        mismatch(node, report, "an IP address", "an address such as 10.0.0.4, or two such as `10.0.0.4,10.0.0.5`");
    }
    addresses.ok()
}

fn instance_bgp(node: &Node, report: &mut Report) -> Option<InstanceBgp> {
    record(node, report, "an instance's BGP addresses", |f| {
        ignore(f, &["tunnelIpAddresses"]);
        let mut addresses = |key| f.optional(key, list_or_none(address)).map_or_else(Vec::new, |list| list.value);
        let (default, custom) = (addresses("defaultBgpIpAddresses"), addresses("customBgpIpAddresses"));
        InstanceBgp { configuration: f.optional("ipconfigurationId", text), default, custom }
    })
}

fn mode(f: &mut Fields<'_>) -> ConnectionMode {
    let modes = word(&[
        ("Default", ConnectionMode::Default),
        ("InitiatorOnly", ConnectionMode::InitiatorOnly),
        ("ResponderOnly", ConnectionMode::ResponderOnly),
    ]);
    f.optional("connectionMode", modes).map_or_else(ConnectionMode::default, |mode| mode.value)
}

fn gateway_type(node: &Node, report: &mut Report) -> Option<GatewayType> {
    word(&[("Vpn", GatewayType::Vpn), ("ExpressRoute", GatewayType::ExpressRoute)])(node, report)
}

fn vpn_type(node: &Node, report: &mut Report) -> Option<VpnType> {
    word(&[("RouteBased", VpnType::RouteBased), ("PolicyBased", VpnType::PolicyBased)])(node, report)
}

fn connection_type(node: &Node, report: &mut Report) -> Option<ConnectionType> {
    word(&[
        ("IPsec", ConnectionType::IPsec),
        ("Vnet2Vnet", ConnectionType::Vnet2Vnet),
        ("ExpressRoute", ConnectionType::ExpressRoute),
        ("VPNClient", ConnectionType::Other),
    ])(node, report)
}

/// `{name: VpnGw1}`, or the word alone; those of several zones count as their plain ones.
fn sku(node: &Node, report: &mut Report) -> Option<GatewaySku> {
    let name = word(&[
        ("Basic", GatewaySku::Basic),
        ("Standard", GatewaySku::Standard),
        ("HighPerformance", GatewaySku::HighPerformance),
        ("VpnGw1", GatewaySku::VpnGw1),
        ("VpnGw1AZ", GatewaySku::VpnGw1),
        ("VpnGw2", GatewaySku::VpnGw2),
        ("VpnGw2AZ", GatewaySku::VpnGw2),
        ("VpnGw3", GatewaySku::VpnGw3),
        ("VpnGw3AZ", GatewaySku::VpnGw3),
        ("VpnGw4", GatewaySku::VpnGw4),
        ("VpnGw4AZ", GatewaySku::VpnGw4),
        ("VpnGw5", GatewaySku::VpnGw5),
        ("VpnGw5AZ", GatewaySku::VpnGw5),
        ("UltraPerformance", GatewaySku::UltraPerformance),
        ("ErGw1AZ", GatewaySku::ErGw1),
        ("ErGw2AZ", GatewaySku::ErGw2),
        ("ErGw3AZ", GatewaySku::ErGw3),
    ]);
    match &node.value {
        Value::Map(_) => record(node, report, "a SKU", |f| {
            ignore(f, &["tier"]);
            f.required("name", name)
        })?
        .map(|name| name.value),
        Value::Null | Value::Scalar { .. } | Value::List(_) => name(node, report),
    }
}
