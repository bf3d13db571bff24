//! A network as a flat list of named objects with properties in words: what a plan compares and shows.

use std::fmt::{self, Debug, Display};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::analysis::query::names::{address_field, nic_name};
use crate::flow_log;
use crate::model::{
    AddressPrefix, Attach, AttachNamespace, Emulation, FlowLog, FlowLogTarget, LinkIx, LostLink, Network,
    NetworkInterface, Nsg, NsgIx, NsgLogVersion, PeeringState, PortRange, PowerState, PrivateEndpoint, PublishedTag,
    Route, RouteDestination, RouteNextHop, RouteTable, SecurityRule, ServiceEndpoint, Subnet, SubnetNames,
    VirtualMachine, VirtualNetwork, VnetIx, counted,
};

use super::{admin, edge, express_route, gateways};

/// One object. Objects of one kind have the same properties in the same order.
pub(super) struct Object {
    /// ARM's word.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) properties: Vec<(&'static str, String)>,
}

impl Object {
    /// The object's identity across networks: ARM compares names without regard to case.
    pub(super) fn key(&self) -> (&'static str, String) {
        (self.kind, self.name.to_lowercase())
    }
}

/// The objects that may differ from those of another network, in file order, parents first.
pub(super) fn unlike(network: &Network, other: &Network) -> Vec<Object> {
    if !differ_in_lists_alone(network, other) {
        return of(network);
    }
    let mut all = Vec::new();
    let tables = network.route_tables.iter().zip(&other.route_tables);
    for (table, _) in tables.filter(|(own, other)| own != other) {
        all.extend(route_table(network, table));
    }
    let nsgs = network.network_security_groups.iter().zip(&other.network_security_groups);
    for (nsg, _) in nsgs.filter(|(own, other)| own != other) {
        all.extend(security_group(network, nsg));
    }
    all
}

/// Whether two networks have the same objects in the same places, except for the contents of route tables and security
/// groups. Objects that are equal then have the same text too.
fn differ_in_lists_alone(network: &Network, other: &Network) -> bool {
    let Network {
        name: _,
        virtual_networks,
        lost_links,
        route_tables,
        network_security_groups,
        application_security_groups,
        network_managers,
        virtual_machines,
        network_interfaces,
        private_endpoints,
        public_ip_addresses,
        public_ip_prefixes,
        nat_gateways,
        load_balancers,
        virtual_network_gateways,
        local_network_gateways,
        connections,
        sites,
        express_route_circuits,
        private_clouds,
        route_servers,
        internet,
        flow_logs,
        service_tags,
        emulation,
        dns_forwarders,
        tests: _,
    } = network;
    let tables = |tables: &[Arc<RouteTable>]| tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
    let nsgs = |nsgs: &[Nsg]| nsgs.iter().map(|nsg| nsg.name.clone()).collect::<Vec<_>>();
    tables(route_tables) == tables(&other.route_tables)
        && nsgs(network_security_groups) == nsgs(&other.network_security_groups)
        && *virtual_networks == other.virtual_networks
        && *lost_links == other.lost_links
        && *application_security_groups == other.application_security_groups
        && *network_managers == other.network_managers
        && *virtual_machines == other.virtual_machines
        && *network_interfaces == other.network_interfaces
        && *private_endpoints == other.private_endpoints
        && *public_ip_addresses == other.public_ip_addresses
        && *public_ip_prefixes == other.public_ip_prefixes
        && *nat_gateways == other.nat_gateways
        && *load_balancers == other.load_balancers
        && *virtual_network_gateways == other.virtual_network_gateways
        && *local_network_gateways == other.local_network_gateways
        && *connections == other.connections
        && *sites == other.sites
        && *express_route_circuits == other.express_route_circuits
        && *private_clouds == other.private_clouds
        && *route_servers == other.route_servers
        && *internet == other.internet
        && *flow_logs == other.flow_logs
        && *service_tags == other.service_tags
        && *emulation == other.emulation
        && *dns_forwarders == other.dns_forwarders
}

/// Every object.
fn of(network: &Network) -> Vec<Object> {
    let mut all = Vec::new();
    for (i, vnet) in network.virtual_networks.iter().enumerate() {
        all.push(virtual_network(vnet));
        all.extend(vnet.subnets.iter().map(|own| subnet(network, vnet, own)));
        let links = (0..vnet.peerings.len()).map(|link| LinkIx { vnet: VnetIx(i), link });
        all.extend(links.filter(|at| !network.link(*at).implied).map(|at| peering(network, at)));
        all.extend(network.lost_links.iter().filter(|lost| lost.vnet == VnetIx(i)).map(lost_link));
    }
    for table in &network.route_tables {
        all.extend(route_table(network, table));
    }
    for nsg in &network.network_security_groups {
        all.extend(security_group(network, nsg));
    }
    for asg in &network.application_security_groups {
        let properties =
            vec![("members", list(&asg.members.iter().map(|nic| nic_name(network, *nic)).collect::<Vec<_>>()))];
        all.push(Object { kind: "applicationSecurityGroups", name: asg.name.clone(), properties });
    }
    all.extend(admin::of(network));
    for vm in &network.virtual_machines {
        all.push(virtual_machine(vm));
        all.extend(vm.network_interfaces.iter().map(|nic| interface(network, vm, network.nic(*nic))));
    }
    all.extend(network.private_endpoints.iter().map(|endpoint| private_endpoint(network, endpoint)));
    all.extend(edge::of(network));
    all.extend(gateways::of(network));
    all.extend(express_route::of(network));
    all.extend(network.service_tags.iter().map(service_tag));
    all.extend(network.flow_logs.iter().map(|log| flow_log(network, log)));
    all.push(emulation(&network.emulation, &network.dns_forwarders));
    all
}

fn virtual_network(vnet: &VirtualNetwork) -> Object {
    let properties = vec![
        ("location", vnet.location.clone()),
        ("deploymentModel", format!("{:?}", vnet.deployment_model)),
        ("addressSpace", list(&vnet.address_space)),
        ("flowTimeoutInMinutes", (vnet.flow_timeout.as_secs() / 60).to_string()),
        ("summarizedGatewayPrefixes", list(&vnet.summarized_gateway_prefixes)),
        ("dnsServers", list(&vnet.dns_servers)),
        ("attach", attach(vnet.attach.as_ref())),
    ];
    Object { kind: "virtualNetworks", name: vnet.name.clone(), properties }
}

fn subnet(network: &Network, vnet: &VirtualNetwork, subnet: &Subnet) -> Object {
    let table = subnet.route_table.map(|table| &network.route_tables[table.0].name);
    let service = |endpoint: &ServiceEndpoint| {
        let tags = endpoint.tags.iter().map(|tag| &network.service_tag(*tag).name).collect::<Vec<_>>();
        format!("{} to {}", endpoint.service, list(&tags))
    };
    let properties = vec![
        ("addressPrefixes", list(&subnet.prefixes)),
        ("routeTable", or_none(table)),
        ("networkSecurityGroup", or_none(nsg(network, subnet.network_security_group))),
        ("natGateway", or_none(subnet.nat_gateway.map(|gateway| &network.nat_gateway(gateway).name))),
        ("defaultOutboundAccess", subnet.has_default_outbound_access().to_string()),
        ("serviceEndpoints", list(&subnet.service_endpoints.iter().map(service).collect::<Vec<_>>())),
        ("privateEndpointNetworkPolicies", format!("{:?}", subnet.private_endpoint_network_policies)),
    ];
    Object { kind: "subnets", name: format!("{}/{}", vnet.name, subnet.name), properties }
}

fn peering(network: &Network, at: LinkIx) -> Object {
    let link = network.link(at);
    // The side that Azure keeps is no object of its own: the ranges that it knows are part of the link that it answers.
    let kept = network.counterpart(at).map(|back| network.link(back)).filter(|back| back.implied);
    let local_space =
        kept.map_or_else(|| "as the other link has it".to_owned(), |back| list(&back.remote_address_space));
    let flags = [
        link.allow_virtual_network_access,
        link.allow_forwarded_traffic,
        link.allow_gateway_transit,
        link.use_remote_gateways,
    ];
    let spaces = [local_space, list(&link.remote_address_space)];
    let (remote, names) = (&network.vnet(link.remote).name, network.subnet_names(at));
    let properties = link_properties(remote, link.state, spaces, flags, names.as_ref());
    Object { kind: "virtualNetworkPeerings", name: network.link_name(at), properties }
}

fn lost_link(lost: &LostLink) -> Object {
    let spaces = ["as the other link has it".to_owned(), list(lost.remote_address_space())];
    let state = PeeringState::Disconnected;
    let properties = link_properties(lost.remote(), state, spaces, lost.flags(), lost.subnets());
    Object { kind: "virtualNetworkPeerings", name: lost.full_name(), properties }
}

fn link_properties(
    remote: &str,
    state: PeeringState,
    [local_space, remote_space]: [String; 2],
    [access, forwarded, transit, remote_gateways]: [bool; 4],
    names: Option<&SubnetNames>,
) -> Vec<(&'static str, String)> {
    let subnets =
        |side: fn(&SubnetNames) -> &[String]| names.map_or_else(|| "none".to_owned(), |names| list(side(names)));
    vec![
        ("remoteVirtualNetwork", remote.to_owned()),
        ("peeringState", format!("{state:?}")),
        ("localAddressSpace", local_space),
        ("remoteAddressSpace", remote_space),
        ("allowVirtualNetworkAccess", access.to_string()),
        ("allowForwardedTraffic", forwarded.to_string()),
        ("allowGatewayTransit", transit.to_string()),
        ("useRemoteGateways", remote_gateways.to_string()),
        ("peerCompleteVnets", names.is_none().to_string()),
        ("localSubnetNames", subnets(|names| &names.local)),
        ("remoteSubnetNames", subnets(|names| &names.remote)),
        ("enableOnlyIPv6Peering", names.is_some_and(|names| names.only_ipv6).to_string()),
    ]
}

fn route_table(network: &Network, table: &RouteTable) -> Vec<Object> {
    let propagation = table.disable_bgp_route_propagation.to_string();
    let peering = if table.disable_peering_route { "All" } else { "None" };
    let properties = vec![("disableBgpRoutePropagation", propagation), ("disablePeeringRoute", peering.to_owned())];
    let own = Object { kind: "routeTables", name: table.name.clone(), properties };
    [own].into_iter().chain(table.routes.iter().map(|own| route(network, &table.name, own))).collect()
}

fn security_group(network: &Network, nsg: &Nsg) -> Vec<Object> {
    let properties = vec![("flushConnection", nsg.flush_connection.to_string())];
    let own = Object { kind: "networkSecurityGroups", name: nsg.name.clone(), properties };
    [own].into_iter().chain(nsg.rules.iter().map(|rule| security_rule(network, &nsg.name, rule))).collect()
}

fn route(network: &Network, table: &str, route: &Route) -> Object {
    let next_hop = match &route.next_hop {
        RouteNextHop::VirtualAppliance(address) => format!("VirtualAppliance {address}"),
        RouteNextHop::VirtualApplianceEcmp(addresses) => format!("VirtualApplianceEcmp {}", list(addresses)),
        other @ (RouteNextHop::VirtualNetworkGateway
        | RouteNextHop::VnetLocal
        | RouteNextHop::Internet
        | RouteNextHop::None) => format!("{other:?}"),
    };
    let destination = match route.destination {
        RouteDestination::Prefix(prefix) => prefix.to_string(),
        RouteDestination::Tag(tag) => network.service_tag(tag).name.clone(),
    };
    let properties = vec![("addressPrefix", destination), ("nextHop", next_hop)];
    Object { kind: "routes", name: format!("{table}/{}", route.name), properties }
}

fn security_rule(network: &Network, nsg: &str, rule: &SecurityRule) -> Object {
    let properties = rule_properties(network, rule);
    Object { kind: "securityRules", name: format!("{nsg}/{}", rule.name), properties }
}

/// A rule, with any kind of access.
pub(super) fn rule_properties<A: Debug>(network: &Network, rule: &SecurityRule<A>) -> Vec<(&'static str, String)> {
    let address = |field: &AddressPrefix| field.group().is_none().then(|| address_field(network, field));
    let addresses = |fields: &[AddressPrefix]| list(&fields.iter().filter_map(address).collect::<Vec<_>>());
    let groups = |fields: &[AddressPrefix]| {
        list(
            &fields
                .iter()
                .filter_map(AddressPrefix::group)
                .map(|group| &network.application_security_groups[group.0].name)
                .collect::<Vec<_>>(),
        )
    };
    let ports = |ranges: &[PortRange]| list(&ranges.iter().copied().map(port_range).collect::<Vec<_>>());
    vec![
        ("priority", rule.priority.to_string()),
        ("direction", format!("{:?}", rule.direction)),
        ("access", format!("{:?}", rule.access)),
        ("protocol", format!("{:?}", rule.protocol)),
        ("sourceAddressPrefixes", addresses(&rule.source)),
        ("sourceApplicationSecurityGroups", groups(&rule.source)),
        ("sourcePortRanges", ports(&rule.source_ports)),
        ("destinationAddressPrefixes", addresses(&rule.destination)),
        ("destinationApplicationSecurityGroups", groups(&rule.destination)),
        ("destinationPortRanges", ports(&rule.destination_ports)),
    ]
}

fn virtual_machine(vm: &VirtualMachine) -> Object {
    let power_state = match vm.power_state {
        PowerState::Running => "running",
        PowerState::Stopped => "stopped",
    };
    let properties = vec![
        ("powerState", power_state.to_owned()),
        ("run", vm.run.to_string()),
        ("guest.forwarding", vm.guest_forwarding.to_string()),
        ("guest.masquerade", vm.guest_masquerade.to_string()),
        ("guest.nftables", vm.guest_filter.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("guest.routes", list(&vm.guest_routes)),
    ];
    Object { kind: "virtualMachines", name: vm.name.clone(), properties }
}

fn interface(network: &Network, vm: &VirtualMachine, nic: &NetworkInterface) -> Object {
    let (vnet, subnet) = (network.vnet(nic.subnet.vnet), network.subnet(nic.subnet));
    let public = nic.public_addresses.iter().map(|one| &network.public_ip(one.public).name).collect::<Vec<_>>();
    let properties = vec![
        ("subnet", format!("{}/{}", vnet.name, subnet.name)),
        ("privateIPAddresses", list(&nic.addresses)),
        ("publicIPAddresses", list(&public)),
        ("primary", nic.primary.to_string()),
        ("enableIPForwarding", nic.enable_ip_forwarding.to_string()),
        ("disableTcpStateTracking", nic.disable_tcp_state_tracking.to_string()),
        ("dnsServers", list(&nic.dns_servers)),
        ("networkSecurityGroup", or_none(nsg(network, nic.network_security_group))),
        ("attach", attach(nic.attach.as_ref())),
    ];
    Object { kind: "networkInterfaces", name: format!("{}/{}", vm.name, nic.name), properties }
}

fn private_endpoint(network: &Network, endpoint: &PrivateEndpoint) -> Object {
    let (vnet, subnet) = (network.vnet(endpoint.subnet.vnet), network.subnet(endpoint.subnet));
    let properties =
        vec![("subnet", format!("{}/{}", vnet.name, subnet.name)), ("privateIPAddress", endpoint.address.to_string())];
    Object { kind: "privateEndpoints", name: endpoint.name.clone(), properties }
}

/// Compared by a fingerprint: some tags have ten thousand ranges.
fn service_tag(tag: &PublishedTag) -> Object {
    let mut fingerprint = DefaultHasher::new();
    tag.prefixes.hash(&mut fingerprint);
    let ranges = format!("{}, {:08x}", counted(tag.prefixes.len(), "range"), fingerprint.finish() as u32);
    Object { kind: "serviceTags", name: tag.name.clone(), properties: vec![("addressPrefixes", ranges)] }
}

fn flow_log(network: &Network, log: &FlowLog) -> Object {
    let version = match log.target {
        FlowLogTarget::Nsg(_, NsgLogVersion::V1) => "1",
        FlowLogTarget::Nsg(_, NsgLogVersion::V2)
        | FlowLogTarget::Vnet(_)
        | FlowLogTarget::Subnet(_)
        | FlowLogTarget::Nic(_) => "2",
    };
    let days = log.retention_days.map_or_else(|| "for ever".to_owned(), |days| days.to_string());
    let path = log.storage_path.as_ref().map_or_else(|| "of the lab".to_owned(), |path| path.display().to_string());
    let properties = vec![
        ("targetResourceId", flow_log::target_name(network, log.target)),
        ("enabled", log.enabled.to_string()),
        ("storagePath", path),
        ("retentionPolicy.days", days),
        ("format.version", version.to_owned()),
    ];
    Object { kind: "flowLogs", name: log.name.clone(), properties }
}

fn emulation(emulation: &Emulation, dns_forwarders: &[IpAddr]) -> Object {
    let workers = emulation.workers.map_or_else(|| "one a core".to_owned(), |workers| workers.to_string());
    let properties = vec![
        ("peeringAccess", format!("{:?}", emulation.peering_access)),
        ("forwarded", format!("{:?}", emulation.forwarded)),
        ("erVnetToVnet", format!("{:?}", emulation.er_vnet_to_vnet).to_lowercase()),
        ("extraNoneRoutes", emulation.extra_none_routes.to_string()),
        ("tcpStateTracking", if emulation.tcp_state_tracking { "on" } else { "off" }.to_owned()),
        ("workers", workers),
        ("offload", emulation.offload.to_string()),
        ("udpSegmentation", emulation.udp_segmentation.to_string()),
        ("platformServices", emulation.platform_services.to_string()),
        ("dnsForwarders", list(dns_forwarders)),
        ("device", format!("{:?}", emulation.device).to_lowercase()),
        ("mtu", emulation.mtu.to_string()),
        ("flowsPerNic", emulation.flows_per_nic.to_string()),
        ("programmingDelayMs", emulation.programming_delay.as_millis().to_string()),
        ("flowLogRecordSeconds", emulation.flow_log_pace.record.as_secs().to_string()),
        ("flowLogContinuationSeconds", emulation.flow_log_pace.continuation.as_secs().to_string()),
        ("flowLogMebibytes", (emulation.flow_log_pace.room >> 20).to_string()),
    ];
    Object { kind: "emulation", name: "emulation".to_owned(), properties }
}

fn nsg(network: &Network, nsg: Option<NsgIx>) -> Option<&String> {
    nsg.map(|nsg| &network.network_security_groups[nsg.0].name)
}

fn attach(attach: Option<&Attach>) -> String {
    let Some(attach) = attach else { return "none".to_owned() };
    let namespace = &attach.namespace;
    // A container that was started again has another.
    let process = match namespace {
        AttachNamespace::Container { process: Some(process), .. } => format!(" (process {process})"),
        _ => String::new(),
    };
    let configured = if attach.configure { list(&attach.addresses) } else { "as it is".to_owned() };
    format!("{} in {namespace}{process}, {configured}", attach.interface)
}

fn port_range(range: PortRange) -> String {
    match range {
        PortRange::ALL => "*".to_owned(),
        PortRange { first, last } if first == last => first.to_string(),
        PortRange { first, last } => format!("{first}-{last}"),
    }
}

pub(super) fn or_none(name: Option<impl Display>) -> String {
    name.map_or_else(|| "none".to_owned(), |name| name.to_string())
}

pub(super) fn list(items: &[impl Display]) -> String {
    struct List<'a, T>(&'a [T]);
    impl<T: Display> Display for List<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().enumerate().try_for_each(|(i, item)| write!(f, "{}{item}", if i == 0 { "" } else { ", " }))
        }
    }
    format!("[{}]", List(items))
}
