//! Packets that a gateway cannot send on: its tunnel is down, or none leads there (VPN-12, VPN-13).

use crate::compile::Sender;
use crate::dataplane::NicId;

use super::{Case, Cure};

impl Case<'_> {
    pub(super) fn no_tunnel(&self, gateway: NicId) -> Option<Cure> {
        let Sender::Gateway(ix) = self.names.compiled.sender(gateway) else { return None };
        let network = self.names.network;
        let (name, dst) = (&network.gateway(ix).name, self.walk.dst);
        let faults = network.connections_of(ix).filter_map(|(at, connection)| {
            let fault = network.tunnel_fault(at)?;
            Some(format!("connection {}: {fault}", connection.name))
        });
        let faults: Vec<_> = faults.collect();
        Some(Cure::untreated(if faults.is_empty() {
            format!(
                "gateway {name} has no connection that leads to {dst}: neither a local network gateway nor BGP names it"
            )
        } else {
            format!("gateway {name} cannot send to {dst}: {}", faults.join("; "))
        }))
    }
}
