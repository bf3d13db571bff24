//! Peering links with ARM's field names (DIAG-11).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{LinkIx, LostLink, Network, PeeringState, SyncLevel, VnetIx};

/// One row of `az network vnet peering list`, with the virtual network that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeeringRow {
    pub name: String,
    pub virtual_network: Reference,
    pub remote_virtual_network: Reference,
    pub peering_state: PeeringState,
    pub peering_sync_level: SyncLevel,
    pub allow_virtual_network_access: bool,
    pub allow_forwarded_traffic: bool,
    pub allow_gateway_transit: bool,
    pub use_remote_gateways: bool,
    pub peer_complete_vnets: bool,
    /// Of a subnet peering, like the next two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_subnet_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_subnet_names: Vec<String>,
    #[serde(rename = "enableOnlyIPv6Peering")]
    pub enable_only_ipv6_peering: bool,
    /// The own ranges as the other side knows them; without another side, as they are.
    pub local_address_space: AddressSpace,
    /// The own ranges now.
    pub local_virtual_network_address_space: AddressSpace,
    /// The remote's ranges as this link knows them.
    pub remote_address_space: AddressSpace,
    /// The remote's ranges now.
    pub remote_virtual_network_address_space: AddressSpace,
    pub provisioning_state: String,
}

/// A resource, by its name in the topology file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressSpace {
    pub address_prefixes: Vec<IpNet>,
}

/// Every link, by virtual network.
pub fn peerings(network: &Network) -> Vec<PeeringRow> {
    let vnets = (0..network.virtual_networks.len()).map(VnetIx);
    let of = |vnet| {
        let written = network.links().filter(move |at| at.vnet == vnet && !network.link(*at).implied);
        let lost = network.lost_links.iter().filter(move |lost| lost.vnet == vnet);
        written.map(|at| row(network, at)).chain(lost.map(|lost| lost_row(network, lost)))
    };
    vnets.flat_map(of).collect()
}

fn row(network: &Network, at: LinkIx) -> PeeringRow {
    let (own, link) = (network.vnet(at.vnet), network.link(at));
    let remote = network.vnet(link.remote);
    let names = network.subnet_names(at);
    let local_ranges = link.local_ranges(own);
    let seen = network.counterpart(at).map(|other| &network.link(other).remote_address_space);
    let space = |prefixes: &[IpNet]| AddressSpace { address_prefixes: prefixes.to_vec() };
    PeeringRow {
        name: link.name.clone(),
        virtual_network: Reference { id: own.name.clone() },
        remote_virtual_network: Reference { id: remote.name.clone() },
        peering_state: link.state,
        peering_sync_level: network.sync_level(at),
        allow_virtual_network_access: link.allow_virtual_network_access,
        allow_forwarded_traffic: link.allow_forwarded_traffic,
        allow_gateway_transit: link.allow_gateway_transit,
        use_remote_gateways: link.use_remote_gateways,
        peer_complete_vnets: names.is_none(),
        enable_only_ipv6_peering: names.as_ref().is_some_and(|names| names.only_ipv6),
        local_subnet_names: names.as_ref().map_or_else(Vec::new, |names| names.local.clone()),
        remote_subnet_names: names.map_or_else(Vec::new, |names| names.remote),
        local_address_space: space(seen.unwrap_or(&local_ranges)),
        local_virtual_network_address_space: space(&local_ranges),
        remote_address_space: space(&link.remote_address_space),
        remote_virtual_network_address_space: space(&link.remote_ranges(remote)),
        provisioning_state: "Succeeded".to_owned(),
    }
}

/// A link whose remote network was deleted: it has no remote ranges now.
fn lost_row(network: &Network, lost: &LostLink) -> PeeringRow {
    let own = network.vnet(lost.vnet);
    let [access, forwarded, transit, remote_gateways] = lost.flags();
    let names = lost.subnets();
    let space = |prefixes: &[IpNet]| AddressSpace { address_prefixes: prefixes.to_vec() };
    PeeringRow {
        name: lost.name().to_owned(),
        virtual_network: Reference { id: own.name.clone() },
        remote_virtual_network: Reference { id: lost.remote().to_owned() },
        peering_state: PeeringState::Disconnected,
        peering_sync_level: SyncLevel::RemoteNotInSync,
        allow_virtual_network_access: access,
        allow_forwarded_traffic: forwarded,
        allow_gateway_transit: transit,
        use_remote_gateways: remote_gateways,
        peer_complete_vnets: names.is_none(),
        enable_only_ipv6_peering: names.is_some_and(|names| names.only_ipv6),
        local_subnet_names: names.map_or_else(Vec::new, |names| names.local.clone()),
        remote_subnet_names: names.map_or_else(Vec::new, |names| names.remote.clone()),
        local_address_space: space(&own.address_space),
        local_virtual_network_address_space: space(&own.address_space),
        remote_address_space: space(lost.remote_address_space()),
        remote_virtual_network_address_space: space(&[]),
        provisioning_state: "Succeeded".to_owned(),
    }
}
