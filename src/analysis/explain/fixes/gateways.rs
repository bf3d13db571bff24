//! Packets that a gateway cannot forward: its tunnel is down, or none leads there (VPN-12, VPN-13). And circuits' edges
//! that have learned no route (ER-10, ER-18, GR-04).

use std::net::IpAddr;

use crate::compile::Sender;
use crate::dataplane::NicId;
use crate::model::{CircuitIx, CloudInternet, CloudIx, Segment, Side};

use super::{Case, Diagnosis};

impl Case<'_> {
    pub(super) fn no_tunnel(&self, gateway: NicId) -> Option<Diagnosis> {
        let ix = match self.names.compiled.sender(gateway) {
            Sender::Gateway(ix) => ix,
            Sender::Edge(circuit) => return Some(self.unlearned(circuit)),
            Sender::CloudRouter(cloud, _) => return Some(self.not_brought(cloud)),
            _ => return None,
        };
        let network = self.names.network;
        let (name, dst) = (&network.gateway(ix).name, self.walk.dst);
        if let Some(diagnosis) = self.not_lent(ix) {
            return Some(diagnosis);
        }
        let faults = network.connections_of(ix).filter_map(|(at, connection)| {
            let fault = self.names.compiled.learned().why_down(network, at)?;
            Some((at, format!("connection {}: {fault}", connection.name)))
        });
        let (down, faults): (Vec<_>, Vec<_>) = faults.unzip();
        if faults.is_empty() {
            let cause = format!(
                "gateway {name} has no connection that leads to {dst}: neither a local network gateway nor BGP names it"
            );
            return Some(self.named_by(ix, cause));
        }
        let place = self.behind_local_gateway(dst).map_or_else(String::new, |place| format!("{dst} is {place}; "));
        let cause = format!("{place}gateway {name} cannot send to {dst}: {}", faults.join("; "));
        Some(self.mend_tunnel(cause, down))
    }

    /// A private cloud's Tier-0 router has no route: its circuit is down, or brings none.
    fn not_brought(&self, at: CloudIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let cloud = network.cloud(at);
        let (name, circuit) = (&cloud.tier0, &network.circuit(cloud.circuit).name);
        let within = |segment: &&Segment| matches!(dst, IpAddr::V4(dst) if segment.prefix.contains(&dst));
        if let Some(segment) = cloud.ranges().find(within) {
            return Diagnosis::without_fix(format!("no machine of {} has {dst} (AVS-12)", segment.name));
        }
        let learned = self.names.compiled.learned();
        let absent = |side| learned.link_absence(network, cloud.circuit, side);
        let down = Side::BOTH.map(absent).into_iter().collect::<Option<Vec<_>>>();
        Diagnosis::without_fix(match (network.circuit_fault(cloud.circuit), down.as_deref()) {
            (Some(fault), _) => format!("{name} has no route to {dst}: circuit {circuit}: {fault}"),
            (None, Some([first, ..])) => {
                format!("{name} has no route to {dst}: both links of {circuit} are down: {first}")
            }
            (None, _) => {
                let because = match cloud.internet {
                    CloudInternet::Enabled => "managed SNAT leads to the Internet, and the file has no `internet`",
                    CloudInternet::Disabled => "nor a default route, and the cloud has no managed SNAT",
                };
                format!("{name} has no route to {dst}: circuit {circuit} brings none, {because} (AVS-11)")
            }
        })
    }

    /// A circuit's edge has learned no route: neither a gateway nor, by Global Reach, another circuit's customer
    /// advertises one.
    fn unlearned(&self, circuit: CircuitIx) -> Diagnosis {
        let (network, dst) = (self.names.network, self.walk.dst);
        let name = &network.circuit(circuit).name;
        let down = network.circuit_fault(circuit).map(|fault| fault.to_string());
        let connections = network.connections_to(circuit).filter_map(|(at, connection)| {
            let fault = self.names.compiled.learned().why_down(network, at)?;
            Some(format!("connection {}: {fault}", connection.name))
        });
        let reach = network.circuit(circuit).reach.iter().filter_map(|reach| {
            let fault = network.reach_fault(circuit, reach)?;
            Some(format!("Global Reach {}: {fault}", reach.name))
        });
        let faults: Vec<_> = down.map_or_else(|| connections.chain(reach).collect(), |down| vec![down]);
        Diagnosis::without_fix(if faults.is_empty() {
            format!(
                "circuit {name} has learned no route to {dst}: it passes on what its gateways have, and what the circuits say \
                 that it has Global Reach to (ER-05, GR-04)"
            )
        } else {
            format!("circuit {name} knows no way to {dst}: {}", faults.join("; "))
        })
    }
}
