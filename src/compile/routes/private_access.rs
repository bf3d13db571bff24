//! Rows that lead to Azure's services: a subnet's service endpoints (SYS-11) and private endpoints in reach (SYS-12).

use ipnet::IpNet;

use crate::compile::memo::Same;
use crate::model::{NextHopType, Prefixes, RouteSource};

use super::vnet_context::{Endpoint, Surroundings};
use super::{Row, Target, system};

/// One row a service, with all its ranges.
pub(in crate::compile) fn service_rows(services: &[Same<Prefixes>]) -> impl Iterator<Item = Row> {
    let row = |prefixes| system(prefixes, NextHopType::VirtualNetworkServiceEndpoint, Target::Service);
    services.iter().map(move |ranges| row(Prefixes::clone(ranges)))
}

/// One row for each endpoint of the VNet and its peers. Where the endpoint's subnet says so, a user-defined route that
/// covers it makes the row Invalid, unless the route is shorter than the endpoint's VNet.
pub(in crate::compile) fn endpoint_rows(surroundings: &Surroundings, users: &[Row]) -> impl Iterator<Item = Row> {
    surroundings.endpoints.iter().map(|endpoint| {
        let target = Target::Vnet(endpoint.vnet);
        let mut row = system(IpNet::from(endpoint.address), NextHopType::InterfaceEndpoint, target);
        if endpoint.obeys_routes && users.iter().any(|user| overrules(user, endpoint)) {
            row.in_force = Prefixes::Many([].into());
        }
        row
    })
}

/// As long as a range of the endpoint's VNet or longer: a default route is not meant.
fn overrules(user: &Row, endpoint: &Endpoint) -> bool {
    let narrow = |prefix: &IpNet| endpoint.space.iter().any(|range| range.contains(prefix));
    let mut ranges = user.route.prefixes.iter().filter(|prefix| prefix.contains(&endpoint.address));
    user.route.source == RouteSource::User && ranges.any(narrow)
}
