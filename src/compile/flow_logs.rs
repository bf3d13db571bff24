//! The flow logs that record an interface.
//!
//! A security group's log records every interface that the group applies to. Of the other logs an interface is in
//! one: its own, else its subnet's, else its virtual network's.

use super::Sender;
use crate::model::{FlowLog, FlowLogTarget, Network};

/// By index in [`Network::flow_logs`]; disabled ones record nothing.
pub fn flow_logs(network: &Network, sender: Sender) -> Vec<usize> {
    let Some((subnet, nic)) = sender.guest(network) else { return Vec::new() };
    let own = nic.and_then(|nic| network.nic(nic).network_security_group);
    let groups = [own, network.subnet(subnet).network_security_group];
    let enabled = || network.flow_logs.iter().enumerate().filter(|(_, log)| log.enabled);
    let on = |target| enabled().find(|(_, log)| log.target == target);
    let of_nic = nic.and_then(|nic| on(FlowLogTarget::Nic(nic)));
    let narrowest =
        of_nic.or_else(|| on(FlowLogTarget::Subnet(subnet))).or_else(|| on(FlowLogTarget::Vnet(subnet.vnet)));
    let asked = |log: &FlowLog| match log.target {
        FlowLogTarget::Nsg(nsg, _) => groups.contains(&Some(nsg)),
        FlowLogTarget::Vnet(_) | FlowLogTarget::Subnet(_) | FlowLogTarget::Nic(_) => false,
    };
    enabled().filter(|(_, log)| asked(log)).chain(narrowest).map(|(index, _)| index).collect()
}
