//! The document to the model: names become indices, and Azure's rules are checked on the way.
//!
//! One file a subject. Each reports what is wrong and goes on with what is left, so that one run shows everything; the
//! network that comes out counts only if the report has no error. An element that cannot be used still takes its place
//! in its list, or else every later index would name the wrong one.

mod account;
mod address;
mod admin;
mod allocation;
mod attach;
mod balancing_rules;
mod bgp;
mod classic;
mod cloud;
mod connection;
mod distributed_firewall;
mod express_route;
mod extent;
mod filter;
mod flow_log;
mod gateway;
mod gateway_addresses;
mod geography;
mod groups;
mod guest;
mod limits;
mod links;
mod load_balancer;
mod lost_link;
mod machine;
mod names;
mod overlaps;
mod peering;
mod premises;
mod private_access;
mod private_cloud;
mod public_address;
mod rights;
mod route_server;
mod routing;
mod tags;
mod test_case;
mod test_questions;
mod test_words;
mod transit;
mod vpn_client;
mod vpn_nat;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{
    AsgIx, Existing, Network, NsgIx, RouteTable, RouteTableIx, Subnet, SubnetIx, VirtualNetwork, VnetIx,
};

use super::schema::{self, Document};
use super::yaml::diagnostic::{Report, Spanned, clip};
use super::yaml::values::is_dns_label;
use super::{Files, no_files};
use account::Accounts;
use allocation::Pool;
use attach::Attachments;
use flow_log::Interfaces;
use gateway::Gateways;
use groups::Groups;
use limits::Limits;
use names::{Names, within};
use public_address::Public;
use rights::Rights;
use tags::Tags;

/// NSG-24: the idle time where the file says none.
const DEFAULT_FLOW_TIMEOUT_MINUTES: u64 = 4;

pub(super) fn network(
    mut document: Document,
    file: &str,
    existing: &Existing,
    files: Files<'_>,
    report: &mut Report,
) -> Network {
    let name = lab_name(&document, file, report);
    let lost_links = lost_link::take(&mut document, &existing.links);
    let scope = Scope::of(&document, report);
    let vnets = &document.virtual_networks;
    let mut tags = Tags::new(document.service_tags.as_ref(), files);
    let mut public = Public::of(&document, &existing.leases, report);
    let (mut virtual_networks, gateways) = joined(&document, existing, &scope, &mut public, &mut tags, report);
    let accounts = Accounts::of(&document, &scope, report);
    if let Some(principal) = &document.principal {
        Rights { principal, accounts: &accounts, vnets: &virtual_networks }.check(
            vnets,
            (&existing.links, &lost_links),
            report,
        );
    }

    let mut pool = Pool::of(&existing.leases);
    let attachments = attach_networks(vnets, &mut virtual_networks, &mut pool, report);
    let mut machines =
        machine::machines(&document, &virtual_networks, &accounts, (&scope, &mut public), attachments, pool, report);
    guest::filters(&document, &mut machines, files, report);
    let load_balancers = machines.balancers.finish(&document, &machines.network_interfaces, report);
    public.check_subnets(&virtual_networks, &machines.network_interfaces, &document, report);
    public.warn(report);
    Limits::AZURE.check(&document, &virtual_networks, &machines.network_interfaces, &accounts, report);
    let groups = Groups::of(&document, &machines.network_interfaces, &virtual_networks, &scope, report);
    let tables = document.route_tables.iter();
    let route_tables: Vec<_> = tables.map(|table| Arc::new(routing::route_table(table, &mut tags, report))).collect();
    gateways.check_tables(&document, &virtual_networks, &route_tables, report);
    let mut network = Network {
        name,
        virtual_networks,
        lost_links,
        route_tables,
        network_security_groups: filter::nsgs(&document.network_security_groups, &groups, &scope, &mut tags, report),
        application_security_groups: groups.into_groups(),
        network_managers: admin::network_managers(&document.network_managers, &scope, &mut tags, report),
        virtual_machines: machines.virtual_machines,
        network_interfaces: machines.network_interfaces,
        private_endpoints: machines.private_endpoints,
        load_balancers,
        public_ip_addresses: public.addresses,
        public_ip_prefixes: public.prefixes,
        nat_gateways: public.nat_gateways,
        internet: public.internet,
        flow_logs: Vec::new(),
        virtual_network_gateways: gateways.vpn,
        local_network_gateways: gateways.local,
        connections: gateways.connections,
        sites: gateways.sites,
        express_route_circuits: gateways.circuits,
        private_clouds: gateways.clouds,
        route_servers: gateways.servers,
        service_tags: tags.into_used(),
        emulation: document.switches.emulation,
        dns_forwarders: document.switches.dns_forwarders,
        tests: Vec::new(),
    };
    let interfaces = Interfaces { machines: &network.virtual_machines, all: &network.network_interfaces };
    network.flow_logs = flow_log::flow_logs(&document.flow_logs, &scope, &interfaces, report);
    network.tests = test_case::test_cases(&document.tests, &network, report);
    network
}

/// Gives each virtual network the device that it hangs on, if it hangs on one as a whole.
fn attach_networks(
    vnets: &[Arc<schema::VirtualNetwork>],
    virtual_networks: &mut [VirtualNetwork],
    pool: &mut Pool<'_>,
    report: &mut Report,
) -> Attachments {
    let mut attachments = Attachments::default();
    for (index, vnet) in vnets.iter().enumerate() {
        let attach = attachments.virtual_network(VnetIx(index), vnet, &virtual_networks[index], pool, report);
        virtual_networks[index].attach = attach;
    }
    attachments
}

/// A route table that names no service tag.
pub(super) fn route_table(table: &schema::RouteTable, report: &mut Report) -> RouteTable {
    routing::route_table(table, &mut Tags::new(None, &no_files), report)
}

/// The virtual networks with the links between them, and the gateways in them.
fn joined(
    document: &Document,
    existing: &Existing,
    scope: &Scope,
    public: &mut Public<'_>,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> (Vec<VirtualNetwork>, Gateways) {
    let vnets = &document.virtual_networks;
    let mut virtual_networks: Vec<_> = vnets
        .iter()
        .enumerate()
        .map(|(i, vnet)| virtual_network(VnetIx(i), vnet, scope, public, tags, report))
        .collect();
    classic::imply(&mut virtual_networks);
    peering::connect(&mut virtual_networks);
    peering::check(vnets, &virtual_networks, &existing.links, report);
    let gateways = Gateways::of(document, &virtual_networks, (scope, public), report);
    // PEER-37
    let servers = gateways.servers.iter().map(|server| server.subnet.vnet);
    let having = gateways.vpn.iter().map(|gateway| gateway.subnet.vnet).chain(servers).collect();
    transit::check(vnets, &virtual_networks, &having, report);
    (virtual_networks, gateways)
}

/// What references may name.
struct Scope {
    virtual_networks: Names,
    /// Of each virtual network.
    subnets: Vec<Names>,
    route_tables: Names,
    nsgs: Names,
    asgs: Names,
}

impl Scope {
    fn of(document: &Document, report: &mut Report) -> Self {
        let vnets = &document.virtual_networks;
        within(document.network_security_groups.len(), 5_000, "network security groups", "LIM-11", document.at, report);
        let asgs = document.application_security_groups.len();
        within(asgs, 3_000, "application security groups", "LIM-14", document.at, report);
        within(document.route_tables.len(), 200, "route tables", "LIM-15", document.at, report);
        for vnet in vnets {
            within(vnet.subnets.len(), 3_000, "subnets", "LIM-02", vnet.at, report);
        }
        let subnets = |vnet: &Arc<schema::VirtualNetwork>| {
            Names::of("subnet", vnet.subnets.iter().map(|subnet| &subnet.name), &mut *report)
        };
        let subnets = vnets.iter().map(subnets).collect();
        let asgs = document.application_security_groups.iter().map(|asg| &asg.name);
        let nsgs = document.network_security_groups.iter().map(|nsg| &nsg.name);
        Self {
            virtual_networks: Names::of("virtual network", vnets.iter().map(|vnet| &vnet.name), report),
            subnets,
            route_tables: Names::of("route table", document.route_tables.iter().map(|table| &table.name), report),
            nsgs: Names::of("network security group", nsgs, report),
            asgs: Names::of("application security group", asgs, report),
        }
    }

    fn vnet(&self, reference: &schema::Reference, report: &mut Report) -> Option<VnetIx> {
        self.virtual_networks.find(reference, report).map(VnetIx)
    }

    fn nsg(&self, reference: &schema::Reference, report: &mut Report) -> Option<NsgIx> {
        self.nsgs.find(reference, report).map(NsgIx)
    }

    fn asg(&self, reference: &Spanned<[String; 1]>, report: &mut Report) -> Option<AsgIx> {
        let [name] = &reference.value;
        self.asgs.named(name, reference.at, report).map(AsgIx)
    }

    fn route_table(&self, reference: &schema::Reference, report: &mut Report) -> Option<RouteTableIx> {
        self.route_tables.find(reference, report).map(RouteTableIx)
    }

    fn subnet(&self, reference: &schema::SubnetReference, report: &mut Report) -> Option<SubnetIx> {
        let reference = reference.as_ref()?;
        let [vnet, subnet] = &reference.value;
        let vnet = self.virtual_networks.named(vnet, reference.at, report)?;
        let subnet = self.subnets[vnet].named(subnet, reference.at, report)?;
        Some(SubnetIx { vnet: VnetIx(vnet), subnet })
    }
}

/// `name`, or else the file's stem.
pub(super) fn lab_name(document: &Document, file: &str, report: &mut Report) -> String {
    if let Some(name) = &document.name {
        return name.value.clone();
    }
    let file_name = Path::new(file).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let stem = [".vnet.yaml", ".vnet.yml", ".yaml", ".yml", ".json"].iter().find_map(|end| file_name.strip_suffix(end));
    let stem = stem.unwrap_or(&file_name).to_owned();
    if !document.has_name && !is_dns_label(&stem, 32) {
        report
            .error(document.at, format!("the file's name, `{}`, cannot be the lab's", clip(&stem)))
            .expected("1 to 32 letters, digits or `-`")
            .help("give the topology a `name:`");
    }
    stem
}

fn virtual_network(
    ix: VnetIx,
    vnet: &schema::VirtualNetwork,
    scope: &Scope,
    public: &Public<'_>,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> VirtualNetwork {
    let name = names::or_unnamed(&vnet.name);
    let address_space = address::address_space(vnet, report);
    address::check_subnets(vnet, &address_space, report);
    within(vnet.dns_servers.len(), 20, "DNS servers of one virtual network", "LIM-05", vnet.at, report);
    let minutes = vnet.flow_timeout_minutes.as_ref().map_or(DEFAULT_FLOW_TIMEOUT_MINUTES, |minutes| minutes.value);
    VirtualNetwork {
        name,
        location: vnet.location.as_ref().map_or_else(String::new, |location| location.value.clone()),
        subnets: vnet.subnets.iter().map(|subnet| self::subnet(subnet, scope, public, tags, report)).collect(),
        deployment_model: vnet.deployment_model,
        peerings: peering::links(ix, vnet, scope, report),
        address_space,
        attach: None,
        flow_timeout: Duration::from_secs(60 * minutes),
        summarized_gateway_prefixes: listed(&vnet.summarized_gateway_prefixes),
        dns_servers: vnet.dns_servers.iter().map(|server| server.value).collect(),
    }
}

fn subnet(
    subnet: &schema::Subnet,
    scope: &Scope,
    public: &Public<'_>,
    tags: &mut Tags<'_>,
    report: &mut Report,
) -> Subnet {
    address::check_special(subnet, report);
    Subnet {
        name: names::or_unnamed(&subnet.name),
        prefixes: listed(&subnet.prefixes),
        route_table: scope.route_table(&subnet.route_table, report),
        network_security_group: scope.nsg(&subnet.network_security_group, report),
        nat_gateway: public_address::subnet_gateway(subnet, public, report),
        default_outbound_access: subnet.default_outbound_access,
        service_endpoints: private_access::service_endpoints(subnet, tags, report),
        private_endpoint_network_policies: subnet.private_endpoint_network_policies,
    }
}

fn listed(prefixes: &schema::Prefixes) -> Vec<IpNet> {
    prefixes.iter().flat_map(|prefixes| &prefixes.value).map(|prefix| prefix.value).collect()
}
