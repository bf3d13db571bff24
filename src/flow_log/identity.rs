//! The identifiers of a lab's objects in flow logs: GUIDs, ARM ids and MAC addresses.
//!
//! One idea: Azure allocates these and keeps them for an object's life. A lab has no allocator, so they are computed
//! from names alone, by a hash that never changes: the same on every day and every machine.

use crate::compile::Sender;
use crate::model::{FlowLog, FlowLogTarget, Macs, Network, PLATFORM_NODE, VnetIx, mac_owner, stable_hash};

/// The identifiers of one lab's objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identities<'a>(pub(super) &'a Network);

impl Identities<'_> {
    /// A lab is a resource group in a subscription of its own.
    pub(super) fn subscription(self) -> String {
        guid(&self.0.name, "subscriptions", "")
    }

    /// The ARM id of an object: `virtualNetworks/hub/subnets/app`.
    pub(super) fn arm_id(self, name: &str) -> String {
        let (subscription, group) = (self.subscription(), &self.0.name);
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network/{name}")
    }

    /// `NETWORKWATCHER_WESTEUROPE`: Azure makes one in each region.
    pub(super) fn watcher(self, log: &FlowLog) -> String {
        let Network { virtual_networks, .. } = self.0;
        let region = |vnet: VnetIx| virtual_networks[vnet.0].location.as_str();
        let region = match log.target {
            FlowLogTarget::Vnet(vnet) => region(vnet),
            FlowLogTarget::Subnet(subnet) => region(subnet.vnet),
            FlowLogTarget::Nic(nic) => region(self.0.nic(nic).subnet.vnet),
            // A security group has no region here.
            FlowLogTarget::Nsg(..) => virtual_networks.first().map_or("", |vnet| vnet.location.as_str()),
        };
        format!("NETWORKWATCHER_{}", region.to_uppercase())
    }

    /// The MAC addresses of all senders, in their order (ADR-15); interfaces come first and have their own.
    pub(super) fn macs(self, senders: impl Iterator<Item = Sender>) -> Vec<(Sender, String)> {
        let mut macs = Macs::default();
        let mut mac = |sender| {
            let (owner, name) = owner(self.0, sender);
            (sender, macs.of(&self.0.name, &owner, &name).to_string())
        };
        senders.map(&mut mac).collect()
    }
}

/// The GUID of an object, by its kind in ARM's spelling and its name without regard to case (ARM-03).
pub(super) fn guid(lab: &str, kind: &str, name: &str) -> String {
    // Version 8 and the variant of RFC 9562: a custom hash.
    let bits = stable_hash(&[lab, kind, name]) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// A log's target, as the end of an ARM id.
pub fn target_name(network: &Network, target: FlowLogTarget) -> String {
    match target {
        FlowLogTarget::Nsg(nsg, _) => {
            format!("networkSecurityGroups/{}", network.network_security_groups[nsg.0].name)
        }
        FlowLogTarget::Vnet(vnet) => format!("virtualNetworks/{}", network.vnet(vnet).name),
        FlowLogTarget::Subnet(subnet) => {
            format!("virtualNetworks/{}/subnets/{}", network.vnet(subnet.vnet).name, network.subnet(subnet).name)
        }
        FlowLogTarget::Nic(nic) => {
            let nic = network.nic(nic);
            format!("virtualMachines/{}/networkInterfaces/{}", network.vm(nic.virtual_machine).name, nic.name)
        }
    }
}

/// A sender's key for the hash: names do not depend on the file's order.
fn owner(network: &Network, sender: Sender) -> (String, String) {
    match sender {
        Sender::Nic(nic) => {
            let nic = network.nic(nic);
            (mac_owner(&network.vm(nic.virtual_machine).name), nic.name.clone())
        }
        Sender::Subnet(subnet) => {
            (format!("virtualNetworks/{}", network.vnet(subnet.vnet).name), network.subnet(subnet).name.clone())
        }
        Sender::Internet => ("internet".to_owned(), String::new()),
        // These have no flow logs of their own.
        Sender::Gateway(gateway) => (network.gateway(gateway).name.clone(), String::new()),
        Sender::Tunnel(tunnel) => (network.connection(tunnel).name.clone(), String::new()),
        Sender::Platform(_) => (PLATFORM_NODE.to_owned(), String::new()),
        Sender::RouteServer(server) => (network.route_server(server).name.clone(), String::new()),
        Sender::Edge(circuit) | Sender::CircuitLink(circuit, _) => {
            (network.circuit(circuit).name.clone(), String::new())
        }
        Sender::CloudRouter(cloud, tier) => (network.cloud(cloud).router_name(tier).to_owned(), String::new()),
        Sender::Segment(cloud, segment) => (network.segment(cloud, segment).node.clone(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::guid;

    /// ARM-03, RFC 9562: version 8, variant 10; the other 122 bits are the hash.
    #[test]
    fn arm_03_a_guid_is_of_its_name_alone() {
        let one = guid("lab", "networkSecurityGroups", "web");
        let parts: Vec<_> = one.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('8') && parts[3].starts_with(['8', '9', 'a', 'b']), "{one}");
        assert_eq!(one, guid("lab", "networkSecurityGroups", "WEB"));
        for other in [
            ("lab", "networkSecurityGroups", "db"),
            ("lab", "flowLogs", "web"),
            ("bal", "networkSecurityGroups", "web"),
        ] {
            let other = guid(other.0, other.1, other.2);
            let differing = parts.iter().zip(other.split('-')).filter(|(one, other)| *one != other).count();
            assert!(differing >= 4, "{one} and {other}");
        }
    }
}
