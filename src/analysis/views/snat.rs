//! SNAT ports of public addresses: how many each interface may use, and how many it uses (SNAT-05, NAT-02).
//!
//! One idea: a row has the dimensions of Azure's load balancer metrics: backend, public address and protocol. NAT
//! gateways and default outbound access allocate ports on demand, so only interfaces that use some, or found none, have
//! a row.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::compile::Compiled;
use crate::dataplane::{Balanced, Held, MAPPED, NicId, PoolId};
use crate::model::Network;
use crate::wire::Protocol;

/// One interface's ports of one public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnatRow {
    /// `load balancer web, frontend one`, `NAT gateway out` or `default outbound access`.
    pub source: String,
    pub public_address: IpAddr,
    /// `machine/interface`.
    pub interface: String,
    /// `Tcp`, `Udp` or `Icmp`.
    pub protocol: String,
    /// Preallocated for this interface; None where ports are allocated on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<u32>,
    /// None for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ports: Option<u32>,
    /// Flows can exceed ports: a TCP port serves one flow to each destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Failed allocations since the lab started: packets that got no port, over all of the interface's rows of this
    /// protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
}

/// Interface, public address and protocol.
type SnatKey = (NicId, IpAddr, Protocol);

/// Ports in use, and failed allocations.
#[derive(Clone, Debug, Default)]
pub struct PortUse {
    used: BTreeMap<SnatKey, (BTreeSet<u16>, u64)>,
    failed: HashMap<(NicId, Protocol), u64>,
}

impl PortUse {
    /// Counts one mapping; mappings of inbound load-balanced flows use no port.
    pub fn count(&mut self, held: &Held) {
        if !held.balanced {
            let (address, port) = held.mapped.public;
            let (ports, connections) = self.used.entry((held.mapped.nic, address, held.protocol)).or_default();
            ports.insert(port);
            *connections += 1;
        }
    }

    /// Counts a sender's failed allocations, by [`MAPPED`].
    pub fn fail(&mut self, nic: NicId, packets: [u64; MAPPED.len()]) {
        for (protocol, packets) in MAPPED.into_iter().zip(packets).filter(|(_, packets)| *packets > 0) {
            *self.failed.entry((nic, protocol)).or_default() += packets;
        }
    }

    fn of(&self, key: &SnatKey) -> (u32, u64) {
        self.used.get(key).map_or((0, 0), |(ports, connections)| (ports.len() as u32, *connections))
    }
}

/// All interfaces with preallocated ports and, in a running router, all that use ports.
pub fn snat(network: &Network, compiled: &Compiled, in_use: Option<&PortUse>) -> Vec<SnatRow> {
    let names = Names { network, compiled };
    let allocated = allocated(compiled);
    let used = in_use.iter().flat_map(|in_use| in_use.used.keys().copied());
    let on_demand: BTreeSet<_> = used.chain(in_use.iter().flat_map(|in_use| without_any(compiled, in_use))).collect();
    let on_demand = on_demand.into_iter().filter(|key| !allocated.contains_key(key)).map(|key| (key, None));
    let rows = allocated.iter().map(|(key, ports)| (*key, Some(*ports))).chain(on_demand);
    // An interface that was removed may still have some.
    let rows = rows.filter(|((nic, ..), _)| compiled.ids().sender(*nic).is_some());
    let row = |(key @ (nic, address, protocol), allocated_ports): (SnatKey, Option<u32>)| SnatRow {
        source: names.public(address, None),
        public_address: address,
        interface: names.nic(nic),
        protocol: match protocol {
            Protocol::TCP => "Tcp",
            Protocol::ICMP => "Icmp",
            _ => "Udp",
        }
        .to_owned(),
        allocated_ports,
        used_ports: in_use.map(|in_use| in_use.of(&key).0),
        connections: in_use.map(|in_use| in_use.of(&key).1),
        failed: in_use.map(|in_use| in_use.failed.get(&(nic, protocol)).copied().unwrap_or(0)),
    };
    rows.map(row).collect()
}

/// Who found no port of a NAT gateway or of default outbound access: at each address where it looked.
fn without_any<'a>(compiled: &'a Compiled, in_use: &'a PortUse) -> impl Iterator<Item = SnatKey> + 'a {
    let edge = compiled.snapshot.edge.as_ref();
    in_use.failed.keys().flat_map(move |(nic, protocol)| {
        let pool = edge.and_then(|edge| {
            let egress = edge.egress.get(nic.0 as usize)?;
            Some(edge.pool(egress.nat_gateway.or(egress.default_outbound)?))
        });
        pool.into_iter().flat_map(|pool| &pool.ports).map(move |ports| (*nic, ports.address, *protocol))
    })
}

/// The ports that load balancers preallocate.
fn allocated(compiled: &Compiled) -> BTreeMap<SnatKey, u32> {
    let mut allocated = BTreeMap::new();
    let Some(edge) = &compiled.snapshot.edge else { return allocated };
    let mut add = |nic: NicId, pool: Option<PoolId>, protocol: Protocol| {
        for ports in pool.iter().flat_map(|pool| &edge.pool(*pool).ports) {
            *allocated.entry((nic, ports.address, protocol)).or_default() += u32::from(ports.count);
        }
    };
    for (nic, egress) in (0..).map(NicId).zip(&edge.egress) {
        for Balanced { tcp, udp, .. } in &egress.balanced {
            add(nic, *tcp, Protocol::TCP);
            add(nic, *udp, Protocol::UDP);
        }
    }
    allocated
}
