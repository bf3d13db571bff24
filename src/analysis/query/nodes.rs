//! The nodes of a network that can send and receive.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::Compiled;
use crate::dataplane::{NicId, Owner};
use crate::model::{Network, SubnetIx, VmIx, VnetIx};

use super::names::subnet_name;
use super::{End, Source, ends_of, outside_ends, parse_place, primary, stand_in, unknown};

/// A node that can send and receive.
pub(in crate::analysis) struct Node {
    pub(in crate::analysis) name: String,
    pub(in crate::analysis) source: Source,
    /// Its addresses. Never empty.
    pub(in crate::analysis) ends: Vec<End>,
}

/// Machines in file order, sites and private clouds, then the subnets behind a VNet's one TUN.
pub(in crate::analysis) fn nodes(network: &Network, compiled: &Compiled) -> Vec<Node> {
    let machine = |vm: usize| Node {
        name: network.virtual_machines[vm].name.clone(),
        source: Source::Vm(VmIx(vm)),
        ends: ends_of(network, compiled, primary(network, VmIx(vm))),
    };
    let subnets = network.virtual_networks.iter().enumerate().flat_map(|(i, vnet)| {
        let subnet = move |subnet| SubnetIx { vnet: VnetIx(i), subnet };
        (0..vnet.subnets.len()).filter_map(move |i| behind_tun(network, compiled, subnet(i)))
    });
    let outside = network.customers().filter_map(|customer| {
        let (name, source) = (network.name_of_customer(customer).to_owned(), Source::Outside(customer));
        let ends = outside_ends(network, compiled, customer);
        (!ends.is_empty()).then_some(Node { name, source, ends })
    });
    (0..network.virtual_machines.len()).map(machine).chain(outside).chain(subnets).collect()
}

/// The nodes of these names, in that order: also a gateway's instance, and a subnet behind a TUN by its name.
pub(in crate::analysis) fn named(
    network: &Network,
    compiled: &Compiled,
    names: &[String],
) -> Result<Vec<Node>, String> {
    let mut all: Vec<_> = nodes(network, compiled).into_iter().map(Some).collect();
    let found = names.iter().map(|name| {
        let is = |node: &&mut Option<Node>| node.as_ref().is_some_and(|node| node.name.eq_ignore_ascii_case(name));
        if let Some(node) = all.iter_mut().find(is).and_then(Option::take) {
            return Ok(node);
        }
        let instance = stand_in::instance(network, compiled, &parse_place(name)?);
        let again = || format!("`{name}` is named twice: name each machine, site, VNET/SUBNET or gateway once");
        let unknown = || unknown("node", name, all.iter().flatten().map(|node| node.name.as_str()));
        let is_again = names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1;
        let (nic, address) = instance.ok_or_else(|| if is_again { again() } else { unknown() })?;
        let ends = vec![End::machine(nic, address)];
        Ok(Node { name: name.clone(), source: Source::Address(nic, address), ends })
    });
    found.collect()
}

/// The sender of a subnet behind a VNet's one TUN, and its address.
pub(in crate::analysis) fn behind_subnet(
    network: &Network,
    compiled: &Compiled,
    subnet: SubnetIx,
) -> Option<(NicId, IpAddr)> {
    let nic = compiled.subnet_nic(subnet)?;
    Some((nic, address_behind(network, compiled, subnet, nic)?))
}

fn behind_tun(network: &Network, compiled: &Compiled, subnet: SubnetIx) -> Option<Node> {
    let (nic, address) = behind_subnet(network, compiled, subnet)?;
    let end = End::machine(nic, address);
    Some(Node { name: subnet_name(network, subnet), source: Source::Address(nic, address), ends: vec![end] })
}

/// The attachment's own address in the subnet, or else the first free one.
fn address_behind(network: &Network, compiled: &Compiled, subnet: SubnetIx, nic: NicId) -> Option<IpAddr> {
    let attach = network.vnet(subnet.vnet).attach.as_ref()?;
    let owners = &compiled.snapshot.vnets[subnet.vnet.0].owners;
    let stated = attach.addresses.iter().map(IpNet::addr);
    let free = network.subnet(subnet).prefixes.iter().flat_map(IpNet::hosts);
    stated.chain(free).find(|&address| owners.lookup(address) == Some(Owner::Nic(nic)))
}
