//! Private clouds with ARM's field names: their networks, the addresses that answer in each, and their credentials.
//!
//! Credentials are made up: they follow from the names of the lab and the cloud, and open nothing.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::model::{CircuitIx, Network, PrivateCloud, Segment, Tier, stable_hash};

/// One private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateCloudRow {
    pub name: String,
    pub network_block: Ipv4Net,
    pub management_network: Ipv4Net,
    pub provisioning_network: Ipv4Net,
    pub vmotion_network: Ipv4Net,
    pub endpoints: Endpoints,
    /// The hosts' addresses in the provisioning network, then those in the vMotion network.
    pub hosts: Vec<Ipv4Addr>,
    pub vmotion_hosts: Vec<Ipv4Addr>,
    /// NSX-T's routers, the Tier-0 router first; none without a segment.
    pub gateways: Vec<CloudRouterRow>,
    pub segments: Vec<SegmentRow>,
    /// How workloads reach the Internet: `Enabled` or `Disabled`.
    pub internet: String,
    pub admin_credentials: AdminCredentials,
}

/// A router of NSX-T.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudRouterRow {
    pub name: String,
    /// On the links between the tiers, and in its segments.
    pub addresses: Vec<Ipv4Net>,
}

/// A segment, with its Tier-1 router and what that one has there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRow {
    pub name: String,
    /// What the node of its workloads is called. A segment that lists its machines has a row for each.
    pub node: String,
    pub address_prefix: Ipv4Net,
    pub connected_gateway: String,
    pub gateway_address: Ipv4Addr,
}

/// Where the managers answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    pub vcsa: String,
    pub nsxt_manager: String,
}

/// What Azure lists as `adminCredentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminCredentials {
    pub vcenter_username: String,
    pub vcenter_password: String,
    pub nsxt_username: String,
    pub nsxt_password: String,
    /// Always: no manager of a lab asks for them.
    pub made_up: bool,
}

/// All private clouds, in file order.
pub fn private_clouds(network: &Network) -> Vec<PrivateCloudRow> {
    network.private_clouds.iter().map(|cloud| row(network, cloud)).collect()
}

/// The one that a circuit belongs to.
pub(super) fn of_circuit(network: &Network, circuit: CircuitIx) -> Option<PrivateCloudRow> {
    let cloud = network.private_clouds.iter().find(|cloud| cloud.circuit == circuit)?;
    Some(row(network, cloud))
}

fn row(network: &Network, cloud: &PrivateCloud) -> PrivateCloudRow {
    let router =
        |tier| CloudRouterRow { name: cloud.router_name(tier).to_owned(), addresses: cloud.router_addresses(tier) };
    let segment = |segment: &Segment| SegmentRow {
        name: segment.name.clone(),
        node: segment.node.clone(),
        address_prefix: segment.prefix,
        connected_gateway: cloud.router_name(Tier::One(segment.router)).to_owned(),
        gateway_address: segment.gateway_address(),
    };
    let password = |of: &str| format!("made-up-{:010x}", stable_hash(&[&network.name, &cloud.name, of]) >> 88);
    PrivateCloudRow {
        name: cloud.name.clone(),
        network_block: cloud.block,
        management_network: cloud.management_network(),
        provisioning_network: cloud.provisioning_network(),
        vmotion_network: cloud.vmotion_network(),
        endpoints: Endpoints {
            vcsa: format!("https://{}/", cloud.vcenter()),
            nsxt_manager: format!("https://{}/", cloud.nsxt_manager()),
        },
        hosts: cloud.hosts(),
        vmotion_hosts: cloud.vmotion_hosts(),
        gateways: cloud.routers().filter(|_| !cloud.segments.is_empty()).map(router).collect(),
        segments: cloud.segments.iter().map(segment).collect(),
        internet: cloud.internet.to_string(),
        admin_credentials: AdminCredentials {
            vcenter_username: "cloudadmin@vsphere.local".to_owned(),
            vcenter_password: password("vcenter"),
            nsxt_username: "cloudadmin".to_owned(),
            nsxt_password: password("nsxt"),
            made_up: true,
        },
    }
}
