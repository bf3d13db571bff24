//! Rows that lead to Azure's services: a subnet's service endpoints (SYS-11) and private endpoints in reach (SYS-12).

use ipnet::IpNet;

use crate::model::{Network, NextHopType, Prefixes, PrivateEndpoint, RouteSource, SubnetIx};

use super::links::connected;
use super::published::{Families, Published};
use super::routes::{Row, Target, system};

/// One row a service, with all its ranges.
pub(super) fn service_rows(
    network: &Network,
    subnet: SubnetIx,
    published: &Published<'_>,
    families: Families,
) -> Vec<Row> {
    let endpoints = network.subnet(subnet).service_endpoints.iter();
    let row = |prefixes| system(prefixes, NextHopType::VirtualNetworkServiceEndpoint, Target::Service);
    endpoints.map(|endpoint| row(published.ranges(&endpoint.tags, families))).collect()
}

/// One row for each endpoint of the VNet and its peers. Where the endpoint's subnet says so, a user-defined route that
/// covers it makes the row Invalid, unless the route is shorter than the endpoint's VNet.
pub(super) fn endpoint_rows(network: &Network, subnet: SubnetIx, users: &[Row]) -> Vec<Row> {
    let mut rows = Vec::new();
    for endpoint in in_reach(network, subnet) {
        let vnet = endpoint.subnet.vnet;
        let mut row = system(IpNet::from(endpoint.address), NextHopType::InterfaceEndpoint, Target::Vnet(vnet));
        if network.subnet(endpoint.subnet).private_endpoint_network_policies.obey_routes()
            && users.iter().any(|user| overrules(network, user, endpoint))
        {
            row.in_force = Prefixes::Many([].into());
        }
        rows.push(row);
    }
    rows
}

/// In the own VNet, and in what a connected link knows of its peer.
fn in_reach(network: &Network, subnet: SubnetIx) -> impl Iterator<Item = &PrivateEndpoint> {
    network.private_endpoints.iter().filter(move |endpoint| {
        let vnet = endpoint.subnet.vnet;
        let address = endpoint.address;
        vnet == subnet.vnet
            || connected(network, subnet.vnet).any(|link| {
                link.remote == vnet && link.remote_address_space.iter().any(|space| space.contains(&address))
            })
    })
}

/// As long as a range of the endpoint's VNet or longer: a default route is not meant.
fn overrules(network: &Network, user: &Row, endpoint: &PrivateEndpoint) -> bool {
    let space = &network.vnet(endpoint.subnet.vnet).address_space;
    let narrow = |prefix: &IpNet| space.iter().any(|range| range.contains(prefix));
    let mut ranges = user.route.prefixes.iter().filter(|prefix| prefix.contains(&endpoint.address));
    user.route.source == RouteSource::User && ranges.any(narrow)
}
