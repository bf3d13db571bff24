//! The file as it was written: every field typed and with its site, nothing checked against anything else.
//!
//! This is the schema. A `None` where a field is required means that the report says so already; `resolve` skips it.

pub(super) mod admin;
mod dns;
pub(super) mod express_route;
pub(super) mod filter;
pub(super) mod flow_log;
pub(super) mod gateway;
pub(super) mod load_balancer;
pub(super) mod principal;
pub(super) mod private_access;
pub(super) mod private_cloud;
pub(super) mod public_address;
pub(super) mod route_server;
pub(super) mod test_case;
pub(super) mod vpn_nat;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{
    AttachNamespace, CircuitTransit, DeploymentModel, DeviceKind, Emulation, FlowLogPace, ForwardedMode, Masquerade,
    PeeringAccessMode, PowerState, PrivateEndpointNetworkPolicies,
};

use super::yaml::decode::{Fields, boolean, command, list_of, mismatch, number, objects, record, text, word};
use super::yaml::diagnostic::{At, Report, Spanned};
use super::yaml::tree::{Node, Value};
use super::yaml::values::{
    RangeOrTag, address, address_space, address_space_or_none, address_with_length, dns_label, location, prefix,
    range_or_tag, reference, resource_name, subscription_of,
};
use admin::{NetworkManager, network_manager};
use dns::{dhcp_options, dns_settings};
use express_route::{ExpressRouteCircuit, express_route_circuit};
use filter::{Asg, Nsg, asg, groups, nsg};
use flow_log::{FlowLog, flow_log};
use gateway::{
    Connection, LocalNetworkGateway, Site, VirtualNetworkGateway, connection, local_network_gateway, site,
    virtual_network_gateway,
};
use load_balancer::{LoadBalancer, PartReference, load_balancer, nat_rules, pools};
use principal::{Principal, principal};
use private_access::{
    PrivateEndpoint, ServiceEndpoint, private_endpoint, private_endpoint_network_policies, service_endpoint,
};
use private_cloud::{PrivateCloud, private_cloud};
use public_address::{
    InstanceAddress, Internet, NatGateway, PublicIpAddress, PublicIpPrefix, instance_address, internet, nat_gateway,
    nat_gateway_reference, public_ip_address, public_ip_prefix,
};
use route_server::{RouteServer, route_server};
use test_case::{TestCase, test_case};

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

/// What stands below `emulation`.
#[derive(Default)]
pub(super) struct Switches {
    pub emulation: Emulation,
    pub dns_forwarders: Vec<IpAddr>,
}

#[derive(Clone)]
pub(super) struct VirtualNetwork {
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
pub(super) struct Subnet {
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
pub(super) struct Peering {
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

pub(super) struct RouteTable {
    pub at: At,
    pub name: Name,
    pub routes: Vec<Route>,
    pub disable_bgp_route_propagation: bool,
    pub disable_peering_route: bool,
}

pub(super) struct Route {
    pub at: At,
    pub name: Name,
    pub destination: Option<Spanned<RangeOrTag>>,
    pub next_hop_type: Option<Spanned<HopType>>,
    pub next_hop_ip: Option<Spanned<IpAddr>>,
    /// There is a `nextHopIpAddress`, readable or not.
    pub has_next_hop_ip: bool,
    /// The addresses of `nextHop`.
    pub next_hops: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub has_next_hops: bool,
}

/// What may stand in `nextHopType`; the last are Azure's own and get an explanation (UDR-02).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HopType {
    VirtualNetworkGateway,
    VnetLocal,
    Internet,
    VirtualAppliance,
    VirtualApplianceEcmp,
    None,
    SystemOnly,
}

pub(super) struct VirtualMachine {
    pub at: At,
    pub name: Name,
    pub network_interfaces: Vec<NetworkInterface>,
    pub run: Vec<String>,
    pub power_state: PowerState,
    pub guest: Guest,
}

/// What a file may say about a guest.
#[derive(Default)]
pub(super) struct Guest {
    pub forwarding: Option<bool>,
    pub masquerade: Masquerade,
    pub nftables: Option<Spanned<Nftables>>,
    pub routes: Vec<GuestRoute>,
}

/// Where a guest's packet filter rules are.
pub(super) enum Nftables {
    File(PathBuf),
    Text(String),
}

/// A route of a guest's kernel.
pub(super) struct GuestRoute {
    pub at: At,
    pub destination: Option<Spanned<IpNet>>,
    pub next_hop: Option<Spanned<IpAddr>>,
}

pub(super) struct NetworkInterface {
    pub at: At,
    pub name: Name,
    /// True where the file has ARM's list: then each entry is one address, and none is added.
    pub full_form: bool,
    pub ip_configurations: Vec<IpConfiguration>,
    pub primary: Option<Spanned<bool>>,
    pub enable_ip_forwarding: bool,
    pub disable_tcp_state_tracking: bool,
    pub network_security_group: Reference,
    /// The platform's own address for `AzureProvidedDNS`.
    pub dns_servers: Vec<IpAddr>,
    pub attach: Option<Attach>,
}

pub(super) struct IpConfiguration {
    pub at: At,
    pub name: Name,
    pub subnet: SubnetReference,
    /// Where the reference is an ARM id.
    pub subscription: Option<String>,
    pub address: Option<Spanned<IpAddr>>,
    pub version: Option<Spanned<IpVersion>>,
    pub allocation: Option<Spanned<Allocation>>,
    pub public: Option<Spanned<InstanceAddress>>,
    pub application_security_groups: Vec<Spanned<[String; 1]>>,
    pub backend_pools: Vec<PartReference>,
    pub nat_rules: Vec<PartReference>,
    pub primary: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocation {
    Static,
    Dynamic,
}

#[derive(Clone)]
pub(super) struct Attach {
    pub at: At,
    pub namespace: Option<Spanned<AttachNamespace>>,
    pub interface: Option<Spanned<String>>,
    pub addresses: Prefixes,
    pub configure: bool,
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

pub(super) fn virtual_network(node: &Node, report: &mut Report) -> Option<VirtualNetwork> {
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

fn subscription(f: &mut Fields<'_>) -> Name {
    let label = f.optional("subscription", text);
    label.or_else(|| subscription_of(f.node("id")).map(|value| Spanned { value, at: f.key("id") }))
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

pub(super) fn route_table(node: &Node, report: &mut Report) -> Option<RouteTable> {
    let disabled = word(&[("None", false), ("All", true)]);
    record(node, report, "a route table", |f| RouteTable {
        at: f.at,
        name: f.required("name", resource_name(80)),
        routes: f.list("routes", route),
        disable_bgp_route_propagation: flag(f, "disableBgpRoutePropagation", false),
        disable_peering_route: f.optional("disablePeeringRoute", disabled).is_some_and(|disabled| disabled.value),
    })
}

fn route(node: &Node, report: &mut Report) -> Option<Route> {
    record(node, report, "a route", |f| Route {
        at: f.at,
        name: f.required("name", resource_name(80)),
        destination: f.required("addressPrefix", range_or_tag),
        next_hop_type: f.required("nextHopType", next_hop_type),
        next_hop_ip: f.optional("nextHopIpAddress", address),
        has_next_hop_ip: f.has("nextHopIpAddress"),
        next_hops: f.optional("nextHop", next_hops).map(|next_hop| next_hop.value),
        has_next_hops: f.has("nextHop"),
    })
}

/// `nextHop: {nextHopIpAddresses: […]}`, ARM's form for several appliances.
fn next_hops(node: &Node, report: &mut Report) -> Option<Spanned<Vec<Spanned<IpAddr>>>> {
    record(node, report, "a next hop", |f| f.required("nextHopIpAddresses", list_of(address)))?
}

fn next_hop_type(node: &Node, report: &mut Report) -> Option<HopType> {
    const SYSTEM_ONLY: [&str; 3] = ["VNetPeering", "VNetGlobalPeering", "VirtualNetworkServiceEndpoint"];
    let written = text(node, report)?;
    if SYSTEM_ONLY.iter().any(|system| system.eq_ignore_ascii_case(&written)) {
        report
            .error(node.at, format!("only Azure itself makes routes of type `{written}`"))
            .rule("UDR-02")
            .expected("VirtualNetworkGateway, VnetLocal, Internet, VirtualAppliance, VirtualApplianceEcmp or None")
            .help("a peering brings its routes by itself: leave this route out");
        return Some(HopType::SystemOnly);
    }
    word(&[
        ("VirtualNetworkGateway", HopType::VirtualNetworkGateway),
        ("VnetLocal", HopType::VnetLocal),
        ("Internet", HopType::Internet),
        ("VirtualAppliance", HopType::VirtualAppliance),
        ("VirtualApplianceEcmp", HopType::VirtualApplianceEcmp),
        ("None", HopType::None),
    ])(node, report)
}

pub(super) fn virtual_machine(node: &Node, report: &mut Report) -> Option<VirtualMachine> {
    record(node, report, "a virtual machine", |f| VirtualMachine {
        at: f.at,
        name: f.required("name", dns_label(63)),
        network_interfaces: f.list("networkInterfaces", network_interface),
        run: f.optional("run", command).map_or_else(Vec::new, |run| run.value),
        power_state: f.optional("powerState", power_state).map_or(PowerState::Running, |state| state.value),
        guest: f.optional("guest", guest).map_or_else(Guest::default, |guest| guest.value),
    })
}

/// The short words, or the codes of ARM's instance view.
fn power_state(node: &Node, report: &mut Report) -> Option<PowerState> {
    word(&[
        ("running", PowerState::Running),
        ("stopped", PowerState::Stopped),
        ("PowerState/running", PowerState::Running),
        ("PowerState/stopped", PowerState::Stopped),
        ("PowerState/deallocated", PowerState::Stopped),
    ])(node, report)
}

fn guest(node: &Node, report: &mut Report) -> Option<Guest> {
    record(node, report, "a guest", |f| Guest {
        forwarding: f.optional("forwarding", boolean).map(|flag| flag.value),
        masquerade: f.optional("masquerade", masquerade).map_or(Masquerade::Off, |masquerade| masquerade.value),
        nftables: f.optional("nftables", nftables),
        routes: f.list("routes", guest_route),
    })
}

/// A file's path, or the rules themselves: these have several lines, or begin with a command of nft's.
fn nftables(node: &Node, report: &mut Report) -> Option<Nftables> {
    const COMMANDS: [&str; 8] = ["table", "flush", "add", "create", "delete", "destroy", "define", "include"];
    let rules = match &node.value {
        Value::Scalar { text, .. } if text.trim().is_empty() => None,
        // A boolean or a number is neither.
        Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "true" | "false") || text.parse::<f64>().is_ok() =>
        {
            None
        }
        Value::Scalar { text, .. } => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    };
    let Some(text) = rules else {
        mismatch(
            node,
            report,
            "a rule set of nftables",
            "a file beside the topology, such as rules.nft, or the rules as a text",
        );
        return None;
    };
    let is_command = text.split_once(char::is_whitespace).is_some_and(|(first, _)| COMMANDS.contains(&first));
    if is_command || text.contains('\n') {
        return Some(Nftables::Text(text.clone()));
    }
    path(node, report).map(Nftables::File)
}

fn guest_route(node: &Node, report: &mut Report) -> Option<GuestRoute> {
    record(node, report, "a route of a guest", |f| GuestRoute {
        at: f.at,
        destination: f.required("addressPrefix", prefix),
        next_hop: f.required("nextHopIpAddress", address),
    })
}

/// A boolean, or `all`.
fn masquerade(node: &Node, report: &mut Report) -> Option<Masquerade> {
    match &node.value {
        Value::Scalar { text, .. } if text.eq_ignore_ascii_case("all") => Some(Masquerade::All),
        Value::Scalar { plain: true, .. } | Value::Null | Value::List(_) | Value::Map(_) => {
            boolean(node, report).map(|on| if on { Masquerade::Internet } else { Masquerade::Off })
        }
        Value::Scalar { plain: false, .. } => {
            mismatch(node, report, "a way to masquerade", "true (towards the Internet), all or false");
            None
        }
    }
}

fn network_interface(node: &Node, report: &mut Report) -> Option<NetworkInterface> {
    record(node, report, "a network interface", |f| {
        let full_form = f.has("ipConfigurations");
        let mut ip_configurations = f.list("ipConfigurations", ip_configuration);
        if full_form {
            refuse_short_form(f);
        } else {
            ip_configurations.push(short_ip_configuration(f));
        }
        NetworkInterface {
            at: f.at,
            name: f.optional("name", resource_name(80)),
            full_form,
            ip_configurations,
            primary: f.optional("primary", boolean),
            enable_ip_forwarding: flag(f, "enableIPForwarding", false),
            disable_tcp_state_tracking: flag(f, "disableTcpStateTracking", false),
            network_security_group: f.optional("networkSecurityGroup", reference(["networkSecurityGroups"])),
            dns_servers: f.optional("dnsSettings", dns_settings).map_or_else(Vec::new, |settings| settings.value),
            attach: f.optional("attach", attach).map(|attach| attach.value),
        }
    })
}

/// One configuration, written directly on the interface.
fn short_ip_configuration(f: &mut Fields<'_>) -> IpConfiguration {
    IpConfiguration {
        at: f.at,
        name: None,
        subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
        subscription: subscription_of(f.node("subnet")),
        address: f.optional("privateIPAddress", address),
        version: None,
        allocation: None,
        public: f.optional("publicIPAddress", instance_address),
        application_security_groups: groups(f, "applicationSecurityGroups").map_or_else(Vec::new, |list| list.value),
        backend_pools: pools(f),
        nat_rules: nat_rules(f),
        primary: None,
    }
}

fn refuse_short_form(f: &mut Fields<'_>) {
    for key in [
        "subnet",
        "privateIPAddress",
        "publicIPAddress",
        "applicationSecurityGroups",
        "loadBalancerBackendAddressPools",
        "loadBalancerInboundNatRules",
    ] {
        if f.optional(key, |_, _| Some(())).is_some() {
            let at = f.key(key);
            f.report
                .error(at, format!("`{key}` stands beside `ipConfigurations`"))
                .help("move it into an entry of `ipConfigurations`, or leave that list out");
        }
    }
}

fn ip_configuration(node: &Node, report: &mut Report) -> Option<IpConfiguration> {
    record(node, report, "an IP configuration", |f| IpConfiguration {
        at: f.at,
        name: f.optional("name", resource_name(80)),
        subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
        subscription: subscription_of(f.node("subnet")),
        address: f.optional("privateIPAddress", address),
        version: f.optional("privateIPAddressVersion", ip_version),
        allocation: f.optional("privateIPAllocationMethod", allocation),
        public: f.optional("publicIPAddress", instance_address),
        application_security_groups: groups(f, "applicationSecurityGroups").map_or_else(Vec::new, |list| list.value),
        backend_pools: pools(f),
        nat_rules: nat_rules(f),
        primary: f.optional("primary", boolean),
    })
}

pub(super) fn ip_version(node: &Node, report: &mut Report) -> Option<IpVersion> {
    word(&[("IPv4", IpVersion::V4), ("IPv6", IpVersion::V6)])(node, report)
}

pub(super) fn allocation(node: &Node, report: &mut Report) -> Option<Allocation> {
    word(&[("Static", Allocation::Static), ("Dynamic", Allocation::Dynamic)])(node, report)
}

fn attach(node: &Node, report: &mut Report) -> Option<Attach> {
    record(node, report, "an attachment", |f| Attach {
        at: f.at,
        namespace: f.required("namespace", attach_namespace),
        interface: f.required("interface", interface_name),
        addresses: f.optional("addresses", list_of(address_with_length)),
        configure: flag(f, "configure", true),
    })
}

fn attach_namespace(node: &Node, report: &mut Report) -> Option<AttachNamespace> {
    let written = text(node, report)?;
    let namespace = if written.starts_with('/') {
        Some(AttachNamespace::Path(PathBuf::from(&written)))
    } else if let Some(pid) = written.strip_prefix("pid:") {
        pid.parse().ok().filter(|pid| *pid > 0).map(AttachNamespace::Pid)
    } else {
        let name =
            !written.is_empty() && written.len() <= 255 && !written.contains('/') && written != "." && written != "..";
        name.then(|| AttachNamespace::Name(written.clone()))
    };
    if namespace.is_none() || written.contains('\0') {
        mismatch(node, report, "a network namespace", "a name as `ip netns` has it, an absolute path, or pid:NUMBER");
        return None;
    }
    namespace
}

/// What the kernel takes as a device's name.
fn interface_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, report)?;
    let fits = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'));
    if !fits {
        mismatch(node, report, "an interface's name", "1 to 15 characters without `/`, `:`, `%` and spaces");
    }
    fits.then_some(name)
}

/// `true`, `false`, or the services' settings: whether they run, and the resolver's upstream servers.
fn platform_services(node: &Node, report: &mut Report) -> Option<(bool, Vec<IpAddr>)> {
    match &node.value {
        Value::Map(_) => record(node, report, "the platform's services", |f| {
            (true, f.optional("dnsForwarders", list_of(address)).map_or_else(Vec::new, |list| values(list.value)))
        }),
        Value::Null | Value::Scalar { .. } | Value::List(_) => Some((boolean(node, report)?, Vec::new())),
    }
}

fn switches(node: &Node, report: &mut Report) -> Option<Switches> {
    let peering_access =
        word(&[("explicit-allow", PeeringAccessMode::ExplicitAllow), ("tag-only", PeeringAccessMode::TagOnly)]);
    let forwarded = word(&[("tag-only", ForwardedMode::TagOnly), ("enforce", ForwardedMode::Enforce)]);
    let er_vnet_to_vnet = word(&[("property", CircuitTransit::Property), ("always", CircuitTransit::Always)]);
    let default = Emulation::default();
    let mut dns_forwarders = Vec::new();
    let emulation = record(node, report, "the emulation", |f| Emulation {
        peering_access: f.optional("peeringAccess", peering_access).map_or(default.peering_access, |mode| mode.value),
        forwarded: f.optional("forwarded", forwarded).map_or(default.forwarded, |mode| mode.value),
        er_vnet_to_vnet: f.optional("erVnetToVnet", er_vnet_to_vnet).map_or(default.er_vnet_to_vnet, |mode| mode.value),
        extra_none_routes: flag(f, "extraNoneRoutes", default.extra_none_routes),
        tcp_state_tracking: f
            .optional("tcpStateTracking", word(&[("on", true), ("off", false)]))
            .map_or(default.tcp_state_tracking, |mode| mode.value),
        workers: f.optional("workers", number(1..=256)).map(|workers| workers.value),
        offload: flag(f, "offload", default.offload),
        udp_segmentation: flag(f, "udpSegmentation", default.udp_segmentation),
        platform_services: f.optional("platformServices", platform_services).map_or(
            default.platform_services,
            |services| {
                dns_forwarders = services.value.1;
                services.value.0
            },
        ),
        device: f
            .optional("device", word(&[("tun", DeviceKind::Tun), ("tap", DeviceKind::Tap)]))
            .map_or(default.device, |kind| kind.value),
        mtu: f.optional("mtu", number(1280..=65_535)).map_or(default.mtu, |mtu| mtu.value),
        flows_per_nic: f.optional("flowsPerNic", number(1..=10_000_000)).map_or(default.flows_per_nic, |n| n.value),
        programming_delay: f
            .optional("programmingDelayMs", number(0..=60_000))
            .map_or(default.programming_delay, |delay| Duration::from_millis(delay.value)),
        flow_log_pace: flow_log_pace(f),
    });
    emulation.map(|emulation| Switches { emulation, dns_forwarders })
}

fn flow_log_pace(f: &mut Fields<'_>) -> FlowLogPace {
    let default = FlowLogPace::default();
    let seconds = |number: Option<Spanned<u64>>, default| number.map_or(default, |n| Duration::from_secs(n.value));
    let mebibytes =
        f.optional("flowLogMebibytes", number(1..=1_000_000)).map(|mebibytes: Spanned<u64>| mebibytes.value);
    FlowLogPace {
        record: seconds(f.optional("flowLogRecordSeconds", number(1..=60)), default.record),
        continuation: seconds(f.optional("flowLogContinuationSeconds", number(1..=300)), default.continuation),
        room: mebibytes.map_or(default.room, |mebibytes| mebibytes << 20),
    }
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
