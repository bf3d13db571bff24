//! The question "would the rules of this interface allow this packet?" with Network Watcher's fields (DIAG-05).
//!
//! Only rules are evaluated, admin rules and both NSGs. Routes and the far end are not, so an allowed packet may still
//! not arrive.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::analysis::query::QueryEnd;
use crate::compile::{Compiled, Sender};
use crate::dataplane::{self, Admission, Recorder, Step};
use crate::model::{Direction, Network};
use crate::wire::{Protocol, Tuple};

use super::watcher;

/// The question in a user's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowVerifyQuery {
    /// `NODE` or `NODE/NIC`; `VNET/SUBNET` for machines behind a VNet's one TUN.
    pub target: String,
    pub direction: Direction,
    pub protocol: FlowProtocol,
    /// One of the target's addresses; None for its first in the other end's family.
    pub local_address: Option<IpAddr>,
    pub local_port: u16,
    pub remote: QueryEnd,
    pub remote_port: u16,
}

/// The protocols that IP flow verify supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowProtocol {
    Tcp,
    Udp,
}

/// What `az network watcher test-ip-flow` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowVerifyAnswer {
    pub access: FlowAccess,
    /// The last rule evaluated: `securityRules/x`, `defaultSecurityRules/x`, or an administrator's. None where no rule
    /// matches, as without an NSG (NSG-11) and for the platform's services (NSG-30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowAccess {
    Allow,
    Deny,
}

/// Evaluates the rules of the target's interface for the first packet of a flow.
pub fn flow_verify(
    network: &Network,
    compiled: &Compiled,
    query: &FlowVerifyQuery,
) -> Result<FlowVerifyAnswer, String> {
    let sender = watcher::sender(network, &query.target, query.local_address)?;
    let remote = watcher::address(network, &query.remote)?;
    let nic = watcher::standing(network, compiled, sender)?;
    let local = match query.local_address {
        Some(address) => address,
        None => own_address(network, sender, remote)?,
    };
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(format!("{local} and {remote} are of two address families"));
    }
    let tuple = query.first_packet(local, remote);
    let mut steps = Recorder::new();
    let direction = match query.direction {
        Direction::Inbound => dataplane::Direction::Inbound,
        Direction::Outbound => dataplane::Direction::Outbound,
    };
    let outcome = dataplane::evaluate(&compiled.snapshot, nic, direction, &tuple, &mut steps);
    let asked_last = steps.steps().iter().rev().find_map(|step| match *step {
        Step::Admit { admission: Admission::Rule { acl, rule, .. }, .. } => Some(compiled.rule(acl, rule)),
        _ => None,
    });
    Ok(FlowVerifyAnswer {
        access: if outcome.is_ok() { FlowAccess::Allow } else { FlowAccess::Deny },
        rule_name: asked_last.map(|rule| rule.name.clone()),
    })
}

impl FlowVerifyQuery {
    fn first_packet(&self, local: IpAddr, remote: IpAddr) -> Tuple {
        let protocol = match self.protocol {
            FlowProtocol::Tcp => Protocol::TCP,
            FlowProtocol::Udp => Protocol::UDP,
        };
        let (src_port, dst_port) = (self.local_port, self.remote_port);
        let outbound = Tuple { src: local, dst: remote, protocol, src_port, dst_port };
        match self.direction {
            Direction::Outbound => outbound,
            Direction::Inbound => outbound.mirrored(),
        }
    }
}

fn own_address(network: &Network, sender: Sender, remote: IpAddr) -> Result<IpAddr, String> {
    let Sender::Nic(nic) = sender else {
        return Err("a virtual network's one TUN carries many addresses: name one".to_owned());
    };
    let mut own = network.nic(nic).addresses.iter();
    let same_family = own.find(|address| address.is_ipv4() == remote.is_ipv4());
    same_family.copied().ok_or_else(|| format!("it has no address of the family of {remote}"))
}
