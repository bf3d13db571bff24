//! Public addresses whose answers do not leave over the edge.

use std::net::IpAddr;

use crate::analysis::query::names::{Names, nic_name};
use crate::analysis::yaml_path;
use crate::compile::Compiled;
use crate::model::{EffectiveRoute, NextHopType, NicIx, RouteState, SubnetIx};

use super::Finding;

/// UDR-21: answers to traffic for a public address follow the subnet's default route.
pub(super) fn findings(names: Names<'_>) -> Vec<Finding> {
    let Names { network, compiled } = names;
    let nics = network.network_interfaces.iter().enumerate();
    let exposed = nics.flat_map(|(ix, nic)| nic.public_addresses.iter().map(move |one| (NicIx(ix), nic.subnet, one)));
    let finding = |(ix, subnet, one): (NicIx, SubnetIx, &crate::model::InstanceAddress)| {
        let route = default_route(compiled, subnet, one.private)?;
        if route.next_hop_type == NextHopType::Internet {
            return None;
        }
        let public = &network.public_ip(one.public).name;
        let next_hops: Vec<_> = route.next_hop_ip.iter().map(ToString::to_string).collect();
        Some(Finding {
            code: "one-sided-public-address",
            rule: "UDR-21",
            message: format!(
                "the Internet reaches {} by public IP {public}, and its answers go by the default route to {}: \
                 the device there has no record of the flow",
                nic_name(network, ix),
                [vec![route.next_hop_type.to_string()], next_hops].concat().join(" ")
            ),
            path: yaml_path::nic(network, ix),
            help: format!(
                "publish {} at the appliance instead, or route the clients' addresses to Internet",
                one.private
            ),
        })
    };
    exposed.filter_map(finding).collect()
}

/// The default route in effect for an address's IP version.
pub(super) fn default_route(compiled: &Compiled, subnet: SubnetIx, of: IpAddr) -> Option<&EffectiveRoute> {
    let rows = compiled.effective_routes(subnet).iter().map(AsRef::as_ref);
    let mut active = rows.filter(|row| row.state == RouteState::Active);
    active.find(|row| {
        row.prefixes.iter().any(|prefix| prefix.prefix_len() == 0 && prefix.addr().is_ipv4() == of.is_ipv4())
    })
}
