//! Subnets and gateways as ends of a question.
//!
//! One idea: a subnet has routes and rules, but may have no machine. A question about a subnet is about an imagined
//! machine in it: a copy of the network gets one, and that copy is compiled. A gateway's instances exist already.

use std::net::IpAddr;

use crate::compile::{Compiled, Sender, compile};
use crate::dataplane::NicId;
use crate::model::{
    GatewayIx, Internet, Masquerade, Network, NetworkInterface, NicIx, PowerState, Program, RouteServerIx, SubnetIx,
    VirtualMachine, VmIx,
};

use super::names::subnet_name;
use super::nodes::behind_subnet;
use super::{Query, QueryEnd, nic_of, target, vm};

/// A network with a machine in each subnet that was asked about.
pub(in crate::analysis) struct StandIn {
    pub(in crate::analysis) network: Network,
    pub(in crate::analysis) compiled: Compiled,
    pub(in crate::analysis) nics: Vec<NicIx>,
}

/// The question with its network: one that has the imagined machines; None where the network itself has all ends.
pub(in crate::analysis) fn of(
    network: &Network,
    compiled: &Compiled,
    query: &Query,
) -> Result<Option<(StandIn, Query)>, String> {
    let mut subnets = Vec::new();
    let mut named = |place: &QueryEnd| match subnet(network, compiled, place) {
        Some(subnet) => {
            subnets.push(subnet);
            QueryEnd::Node { name: subnet_name(network, subnet), nic: None }
        }
        None => place.clone(),
    };
    let query = Query { source: named(&query.source), destination: named(&query.destination), probe: query.probe };
    if subnets.is_empty() {
        return Ok(None);
    }
    Ok(Some((StandIn::put(network, compiled, &subnets)?, query)))
}

/// The subnet that an end names, if the name means no machine or instance.
pub(in crate::analysis) fn subnet(network: &Network, compiled: &Compiled, place: &QueryEnd) -> Option<SubnetIx> {
    let subnet = named(network, place)?;
    instance(network, compiled, place).is_none().then_some(subnet)
}

/// A machine and a virtual network may share a name; a machine's interface comes before a subnet.
fn named(network: &Network, place: &QueryEnd) -> Option<SubnetIx> {
    let QueryEnd::Node { name, nic } = place else { return None };
    let is_machine = |vm| nic.as_ref().is_none_or(|nic| nic_of(network, vm, nic).is_ok());
    let is_other = network.customer_named(name).is_some() || name.eq_ignore_ascii_case(Internet::NAME);
    if is_other || vm(network, name).is_ok_and(is_machine) {
        return None;
    }
    target::subnet(network, &place.to_string()).ok()
}

/// The sender for a name that is not a machine's: an instance of a gateway or route server, by its own name or its
/// subnet's, or a machine behind a virtual network's one TUN.
pub(in crate::analysis) fn instance(
    network: &Network,
    compiled: &Compiled,
    place: &QueryEnd,
) -> Option<(NicId, IpAddr)> {
    let QueryEnd::Node { name, nic } = place else { return None };
    let subnet = named(network, place);
    let meant = |own: &str| nic.is_none() && own.eq_ignore_ascii_case(name);
    let gateways = network.gateways().flat_map(|(ix, gateway)| {
        let of = move |instance: usize| (ix, gateway, instance);
        (0..gateway.active_instances()).map(of)
    });
    let mut gateways = gateways
        .filter(|(_, gateway, instance)| meant(&gateway.instance_name(*instance)) || Some(gateway.subnet) == subnet);
    if let Some((ix, gateway, instance)) = gateways.next() {
        return Some((sender(compiled, Sender::Gateway(ix))?, gateway.instances[instance]));
    }
    let servers = (0..).map(RouteServerIx).zip(&network.route_servers);
    let mut servers = servers.flat_map(|(ix, server)| [0, 1].map(|instance| (ix, server, instance)));
    let found =
        servers.find(|(_, server, instance)| meant(&server.instance_name(*instance)) || Some(server.subnet) == subnet);
    if let Some((ix, server, instance)) = found {
        return Some((sender(compiled, Sender::RouteServer(ix))?, server.instances[instance]));
    }
    behind_subnet(network, compiled, subnet?)
}

fn sender(compiled: &Compiled, sender: Sender) -> Option<NicId> {
    compiled.ids().nic(sender)
}

/// Whether a name is a gateway's, a route server's or a site's: these have no rules (VPN-06, NSG-16).
pub(in crate::analysis) fn has_no_rules(network: &Network, name: &str) -> bool {
    let gateways = (0..network.virtual_network_gateways.len()).map(|ix| network.gateway(GatewayIx(ix)));
    let mut gateways = gateways.flat_map(|gateway| [gateway.instance_name(0), gateway.instance_name(1)]);
    let mut servers = network.route_servers.iter().flat_map(|server| [0, 1].map(|at| server.instance_name(at)));
    network.customer_named(name).is_some()
        || gateways.any(|own| own.eq_ignore_ascii_case(name))
        || servers.any(|own| own.eq_ignore_ascii_case(name))
}

impl StandIn {
    /// Adds a machine to each subnet, with the subnet's name and the first free address of each version.
    pub(in crate::analysis) fn put(
        network: &Network,
        compiled: &Compiled,
        subnets: &[SubnetIx],
    ) -> Result<Self, String> {
        let mut extended = network.clone();
        let mut nics = Vec::new();
        for subnet in subnets {
            let name = subnet_name(network, *subnet);
            let addresses = free(&extended, compiled, *subnet);
            if addresses.is_empty() {
                return Err(format!("subnet {name} has no free address to ask from: name a machine in it"));
            }
            let (vm, nic) = (VmIx(extended.virtual_machines.len()), NicIx(extended.network_interfaces.len()));
            extended.network_interfaces.push(NetworkInterface {
                name: "eth0".to_owned(),
                virtual_machine: vm,
                subnet: *subnet,
                addresses,
                ip_configurations: Vec::new(),
                public_addresses: Vec::new(),
                primary: true,
                enable_ip_forwarding: false,
                disable_tcp_state_tracking: false,
                network_security_group: None,
                dns_servers: Vec::new(),
                attach: None,
            });
            extended.virtual_machines.push(VirtualMachine {
                name,
                network_interfaces: vec![nic],
                run: Program::default(),
                power_state: PowerState::Running,
                guest_forwarding: false,
                guest_masquerade: Masquerade::Off,
                guest_filter: None,
                guest_routes: Vec::new(),
            });
            nics.push(nic);
        }
        let compiled = compile(&extended, compiled.learned(), 0);
        Ok(Self { network: extended, compiled, nics })
    }
}

fn free(network: &Network, compiled: &Compiled, subnet: SubnetIx) -> Vec<IpAddr> {
    let owners = &compiled.snapshot.vnets[subnet.vnet.0].owners;
    let here = || network.network_interfaces.iter().filter(|nic| nic.subnet == subnet);
    let asking = |address: &IpAddr| here().any(|nic| nic.addresses.contains(address));
    let is_free = |address: &IpAddr| owners.lookup(*address).is_none() && !asking(address);
    let mut found: Vec<IpAddr> = Vec::new();
    for range in &network.subnet(subnet).prefixes {
        if found.iter().all(|address| address.is_ipv4() != range.addr().is_ipv4()) {
            found.extend(range.hosts().take(1 << 16).find(is_free));
        }
    }
    found
}
