//! The file as it was written: every field typed and with its site, nothing checked against anything else.
//!
//! This is the schema. A `None` where a field is required means that the report says so already; `resolve` skips it.

pub(super) mod admin;
mod attach;
pub(super) mod distributed_firewall;
mod dns;
mod emulation;
pub(super) mod express_route;
pub(super) mod filter;
pub(super) mod flow_log;
pub(super) mod gateway;
mod guest;
pub(super) mod load_balancer;
pub(super) mod principal;
pub(super) mod private_access;
pub(super) mod private_cloud;
mod program;
pub(super) mod public_address;
pub(super) mod route_server;
mod route_table;
pub(super) mod test_case;
pub(super) mod test_questions;
mod virtual_machine;
mod virtual_network;
pub(super) mod vpn_client;
pub(super) mod vpn_nat;

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::yaml::decode::{Fields, boolean, mismatch, objects, record, text};
use super::yaml::diagnostic::{At, Report, Spanned};
use super::yaml::tree::Node;
use super::yaml::values::{dns_label, subscription_of};
use admin::{NetworkManager, network_manager};
use emulation::switches;
use express_route::{ExpressRouteCircuit, express_route_circuit};
use filter::{Asg, Nsg, asg, nsg};
use flow_log::{FlowLog, flow_log};
use gateway::{
    Connection, LocalNetworkGateway, Site, VirtualNetworkGateway, connection, local_network_gateway, site,
    virtual_network_gateway,
};
use load_balancer::{LoadBalancer, load_balancer};
use principal::{Principal, principal};
use private_access::{PrivateEndpoint, private_endpoint};
use private_cloud::{PrivateCloud, private_cloud};
use public_address::{
    Internet, NatGateway, PublicIpAddress, PublicIpPrefix, internet, nat_gateway, public_ip_address, public_ip_prefix,
};
use route_server::{RouteServer, route_server};
use test_case::{TestCase, test_case};
use vpn_client::{VpnClient, vpn_client};

pub(super) use attach::Attach;
pub(super) use emulation::Switches;
pub(super) use guest::{GuestRoute, Nftables};
pub(super) use route_table::{HopType, Route, RouteTable, route_table};
pub(super) use virtual_machine::{
    Allocation, IpConfiguration, IpVersion, NetworkInterface, VirtualMachine, allocation, ip_version, virtual_machine,
};
pub(super) use virtual_network::{Peering, Subnet, VirtualNetwork, virtual_network};

/// A name, unless it could not be read.
pub(super) type Name = Option<Spanned<String>>;
/// A reference to a resource by its name.
pub(super) type Reference = Option<Spanned<[String; 1]>>;
/// `virtual network/subnet`.
pub(super) type SubnetReference = Option<Spanned<[String; 2]>>;
pub(super) type SubnetNames = Option<Spanned<Vec<Spanned<String>>>>;
/// A list that may have thousands of items: each is shared with the memory for the next load.
pub(super) type Long<T> = Vec<Arc<T>>;
pub(super) type Prefixes = Option<Spanned<Vec<Spanned<IpNet>>>>;

pub(super) struct Document {
    pub at: At,
    pub name: Name,
    /// There is a `name`, good or not.
    pub has_name: bool,
    pub virtual_networks: Long<VirtualNetwork>,
    pub route_tables: Long<RouteTable>,
    pub network_security_groups: Long<Nsg>,
    pub application_security_groups: Vec<Asg>,
    pub network_managers: Vec<NetworkManager>,
    pub virtual_machines: Long<VirtualMachine>,
    pub private_endpoints: Vec<PrivateEndpoint>,
    pub public_ip_addresses: Vec<PublicIpAddress>,
    pub public_ip_prefixes: Vec<PublicIpPrefix>,
    pub nat_gateways: Vec<NatGateway>,
    pub load_balancers: Vec<LoadBalancer>,
    pub internet: Option<Spanned<Internet>>,
    pub flow_logs: Vec<FlowLog>,
    pub virtual_network_gateways: Vec<VirtualNetworkGateway>,
    pub local_network_gateways: Vec<LocalNetworkGateway>,
    pub connections: Vec<Connection>,
    pub sites: Vec<Site>,
    pub vpn_clients: Vec<VpnClient>,
    pub express_route_circuits: Vec<ExpressRouteCircuit>,
    pub private_clouds: Vec<PrivateCloud>,
    pub route_servers: Vec<RouteServer>,
    pub service_tags: Option<Spanned<PathBuf>>,
    pub switches: Switches,
    pub principal: Option<Principal>,
    pub tests: Vec<TestCase>,
}

/// Lists of a topology that were read already.
#[derive(Default)]
pub(super) struct Lists {
    pub virtual_networks: Option<Long<VirtualNetwork>>,
    pub route_tables: Option<Long<RouteTable>>,
    pub network_security_groups: Option<Long<Nsg>>,
    pub virtual_machines: Option<Long<VirtualMachine>>,
}

pub(super) fn document(node: &Node, lists: Lists, report: &mut Report) -> Option<Document> {
    record(node, report, "a topology", |f| Document {
        at: f.at,
        // Half of what a namespace's name may have; the node's name is the other half.
        name: f.optional("name", dns_label(32)),
        has_name: f.has("name"),
        virtual_networks: virtual_networks(f, lists.virtual_networks),
        route_tables: long(f, "routeTables", lists.route_tables, route_table),
        network_security_groups: long(f, "networkSecurityGroups", lists.network_security_groups, nsg),
        application_security_groups: f.list("applicationSecurityGroups", asg),
        network_managers: f.list("networkManagers", network_manager),
        virtual_machines: long(f, "virtualMachines", lists.virtual_machines, virtual_machine),
        private_endpoints: f.list("privateEndpoints", private_endpoint),
        public_ip_addresses: f.list("publicIPAddresses", public_ip_address),
        public_ip_prefixes: f.list("publicIPPrefixes", public_ip_prefix),
        nat_gateways: f.list("natGateways", nat_gateway),
        load_balancers: f.list("loadBalancers", load_balancer),
        internet: f.optional("internet", internet),
        flow_logs: f.list("flowLogs", flow_log),
        virtual_network_gateways: f.list("virtualNetworkGateways", virtual_network_gateway),
        local_network_gateways: f.list("localNetworkGateways", local_network_gateway),
        connections: f.list("connections", connection),
        sites: f.list("sites", site),
        vpn_clients: f.list("vpnClients", vpn_client),
        express_route_circuits: f.list("expressRouteCircuits", express_route_circuit),
        private_clouds: f.list("privateClouds", private_cloud),
        route_servers: f.list("routeServers", route_server),
        service_tags: f.optional("serviceTags", path),
        switches: f.optional("emulation", switches).map_or_else(Switches::default, |switches| switches.value),
        principal: f.optional("principal", principal).map(|principal| principal.value),
        tests: f.list("tests", test_case),
    })
}

/// There is at least one.
fn virtual_networks(f: &mut Fields<'_>, known: Option<Long<VirtualNetwork>>) -> Long<VirtualNetwork> {
    let Some(written) = f.required("virtualNetworks", objects(shared(virtual_network))) else { return Vec::new() };
    if written.value.is_empty() && known.is_none() {
        f.report.error(written.at, "there is no virtual network").expected("at least one");
    }
    known.unwrap_or(written.value)
}

/// A list that may have been read already: then it stands empty here.
fn long<T>(
    f: &mut Fields<'_>,
    key: &'static str,
    known: Option<Long<T>>,
    read: impl Fn(&Node, &mut Report) -> Option<T>,
) -> Long<T> {
    let written = f.list(key, shared(read));
    known.unwrap_or(written)
}

fn shared<T>(read: impl Fn(&Node, &mut Report) -> Option<T>) -> impl Fn(&Node, &mut Report) -> Option<Arc<T>> {
    move |node, report| read(node, report).map(Arc::new)
}

pub(super) fn flag(f: &mut Fields<'_>, key: &'static str, default: bool) -> bool {
    f.optional(key, boolean).map_or(default, |flag| flag.value)
}

fn subscription(f: &mut Fields<'_>) -> Name {
    let label = f.optional("subscription", text);
    label.or_else(|| subscription_of(f.node("id")).map(|value| Spanned { value, at: f.key("id") }))
}

/// Where another file is.
pub(super) fn path(node: &Node, report: &mut Report) -> Option<PathBuf> {
    let path = text(node, report)?;
    if path.is_empty() || path.contains('\0') {
        mismatch(node, report, "a file's path", "a path, from the topology's directory if it is relative");
        return None;
    }
    Some(path.into())
}

/// The values alone.
pub(super) fn values<T>(spanned: Vec<Spanned<T>>) -> Vec<T> {
    spanned.into_iter().map(|item| item.value).collect()
}
