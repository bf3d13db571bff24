//! Public addresses and the resource that uses each (PIP-01).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{FrontendSite, Network, PublicIpIx, PublicIpSku, PublicPrefixIx};

/// One public address, or a prefix of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicAddressRow {
    pub name: String,
    /// An address, or a prefix such as `203.0.113.64/28`.
    pub ip_address: String,
    /// `Standard` or `Basic`.
    pub sku: String,
    /// `web/eth0 (10.1.1.4)`, `load balancer lb, frontend one`, `NAT gateway out`, `gateway gw`; empty if unused.
    pub used_by: Vec<String>,
}

/// All public addresses of a network in file order; prefixes last.
pub fn public_addresses(network: &Network) -> Vec<PublicAddressRow> {
    let addresses = network.public_ip_addresses.iter().enumerate().map(|(ix, public)| PublicAddressRow {
        name: public.name.clone(),
        ip_address: public.address.to_string(),
        sku: word(public.sku).to_owned(),
        used_by: users(network, PublicIpIx(ix)),
    });
    let prefixes = network.public_ip_prefixes.iter().enumerate().map(|(ix, prefix)| PublicAddressRow {
        name: prefix.name.clone(),
        ip_address: prefix.prefix.to_string(),
        sku: word(PublicIpSku::Standard).to_owned(),
        used_by: prefix_users(network, PublicPrefixIx(ix), prefix.prefix),
    });
    addresses.chain(prefixes).collect()
}

/// An interface's public addresses, in the order of its private ones.
pub fn public_addresses_of(network: &Network, nic: &crate::model::NetworkInterface) -> Vec<IpAddr> {
    nic.public_addresses.iter().map(|of| network.public_ip(of.public).address).collect()
}

fn users(network: &Network, public: PublicIpIx) -> Vec<String> {
    let nics = network.network_interfaces.iter().flat_map(|nic| {
        let machine = &network.vm(nic.virtual_machine).name;
        let own = nic.public_addresses.iter().filter(move |of| of.public == public);
        own.map(move |of| format!("{machine}/{} ({})", nic.name, of.private))
    });
    let balancers = network.load_balancers.iter().flat_map(|balancer| {
        let own = balancer.frontends.iter().filter(move |frontend| frontend.site == FrontendSite::Public(public));
        own.map(|frontend| format!("load balancer {}, frontend {}", balancer.name, frontend.name))
    });
    let nat = network.nat_gateways.iter().filter(|gateway| gateway.addresses.contains(&public));
    let nat = nat.map(|gateway| format!("NAT gateway {}", gateway.name));
    let gateways = network.virtual_network_gateways.iter();
    let gateways = gateways.filter(|gateway| [gateway.public, gateway.second_public].contains(&Some(public)));
    let gateways = gateways.map(|gateway| format!("gateway {}", gateway.name));
    let servers = network.route_servers.iter().filter(|server| server.public == Some(public));
    let servers = servers.map(|server| format!("route server {}", server.name));
    nics.chain(balancers).chain(nat).chain(gateways).chain(servers).collect()
}

/// A NAT gateway uses a whole prefix; otherwise the addresses in it are listed one by one.
fn prefix_users(network: &Network, prefix: PublicPrefixIx, range: IpNet) -> Vec<String> {
    let nat = network.nat_gateways.iter().filter(|gateway| gateway.prefixes.contains(&prefix));
    let nat = nat.map(|gateway| format!("NAT gateway {}", gateway.name));
    let inside = network.public_ip_addresses.iter().filter(|public| range.contains(&public.address));
    nat.chain(inside.map(|public| format!("public IP address {}", public.name))).collect()
}

const fn word(sku: PublicIpSku) -> &'static str {
    match sku {
        PublicIpSku::Basic => "Basic",
        PublicIpSku::Standard => "Standard",
    }
}
