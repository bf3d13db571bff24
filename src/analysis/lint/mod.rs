//! Lint: valid configuration that Azure accepts but its author probably did not intend.
//!
//! One file a family. A lint that depends on where packets go asks the compiled tables and `process`, on a copy of the
//! network without its filters where rules would hide a route's effect. A finding is a warning, never an error.

mod appliances;
mod balancers;
mod chains;
mod egress;
mod gateways;
mod groups;
mod peerings;
mod priorities;
mod private_access;
mod route_servers;
mod routes;
mod rules;
mod tags;
mod unused;

use std::collections::HashSet;

use serde::Serialize;

use crate::compile::{Compiled, Ids, compile_next};
use crate::model::{ForwardedMode, Network, PeeringAccessMode};

use super::query::names::Names;

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The lint's name.
    pub code: &'static str,
    /// The rule's id in the semantics document.
    pub rule: &'static str,
    pub message: String,
    /// The object's path in the file, like `virtualNetworks[0].subnets[1]`.
    pub path: String,
    pub help: String,
}

/// All findings, one for each lint and object.
pub fn lint(network: &Network, compiled: &Compiled) -> Vec<Finding> {
    let names = Names { network, compiled };
    let network = open(network);
    let ids = Ids::in_file_order(&network);
    let open = &compile_next(&network, compiled.learned(), ids, 0, compiled);
    let open = Names { network: &network, compiled: open };
    let mut findings = peerings::findings(names);
    findings.extend(routes::findings(names));
    findings.extend(private_access::findings(names));
    findings.extend(appliances::findings(names, open));
    findings.extend(chains::findings(names, open));
    findings.extend(egress::findings(names));
    findings.extend(gateways::findings(names));
    findings.extend(route_servers::findings(names));
    findings.extend(balancers::findings(names));
    findings.extend(tags::findings(names));
    findings.extend(unused::findings(names.network));
    findings.extend(rules::findings(names));
    findings.extend(groups::findings(names.network));
    findings.extend(priorities::findings(names.network));
    let mut seen = HashSet::new();
    findings.retain(|finding| seen.insert((finding.code, finding.path.clone())));
    findings
}

/// The network with everything allowed: only routing then decides a packet's path.
fn open(network: &Network) -> Network {
    let mut open = network.clone();
    open.emulation.peering_access = PeeringAccessMode::TagOnly;
    open.emulation.forwarded = ForwardedMode::TagOnly;
    for subnet in open.virtual_networks.iter_mut().flat_map(|vnet| &mut vnet.subnets) {
        subnet.network_security_group = None;
    }
    open.network_managers.clear();
    for nic in &mut open.network_interfaces {
        nic.network_security_group = None;
    }
    open
}
