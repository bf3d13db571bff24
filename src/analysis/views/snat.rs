//! Ports of public addresses: how many each interface has for the flows that it begins, and how many it uses (SNAT-05,
//! NAT-02).
//!
//! One idea: a row is what Azure's metrics of a load balancer tell apart: backend, public address and protocol. NAT gateways
//! and default outbound access give ports on demand, so there a row is somebody who has some.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::compile::Compiled;
use crate::dataplane::{Balanced, Held, NicId, PoolId};
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
    /// `Tcp` or `Udp`.
    pub protocol: String,
    /// Set aside for this interface alone; none where ports are given on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_ports: Option<u32>,
    /// Not known of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ports: Option<u32>,
    /// To several destinations a port of TCP serves one each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Packets of the interface that found no free port to their destination since the lab is up: of all its rows of this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
}

/// Who, by which address, with which protocol.
type Whose = (NicId, IpAddr, Protocol);

/// What is in use, and what was not to be had.
#[derive(Clone, Debug, Default)]
pub struct PortUse {
    used: BTreeMap<Whose, (BTreeSet<u16>, u64)>,
    failed: HashMap<(NicId, Protocol), u64>,
}

impl PortUse {
    /// Counts one mapping; those of flows to load balancers use no port.
    pub fn count(&mut self, held: &Held) {
        if !held.pinned {
            let (address, port) = held.mapped.public;
            let (ports, connections) = self.used.entry((held.mapped.nic, address, held.protocol)).or_default();
            ports.insert(port);
            *connections += 1;
        }
    }

    /// Packets of an interface that found no port: of TCP and of UDP.
    pub fn fail(&mut self, nic: NicId, tcp: u64, udp: u64) {
        *self.failed.entry((nic, Protocol::TCP)).or_default() += tcp;
        *self.failed.entry((nic, Protocol::UDP)).or_default() += udp;
    }

    fn of(&self, whose: &Whose) -> (u32, u64) {
        self.used.get(whose).map_or((0, 0), |(ports, connections)| (ports.len() as u32, *connections))
    }
}

/// Everybody who has ports set aside, and, in a running router, everybody who uses some.
pub fn snat(network: &Network, compiled: &Compiled, in_use: Option<&PortUse>) -> Vec<SnatRow> {
    let names = Names { network, compiled };
    let allocated = allocated(compiled);
    let on_demand = in_use.iter().flat_map(|in_use| in_use.used.keys());
    let on_demand = on_demand.filter(|whose| !allocated.contains_key(*whose)).map(|whose| (*whose, None));
    let rows = allocated.iter().map(|(whose, ports)| (*whose, Some(*ports))).chain(on_demand);
    // An interface that is gone may have had some.
    let rows = rows.filter(|((nic, ..), _)| compiled.ids().sender(*nic).is_some());
    let row = |(whose @ (nic, address, protocol), allocated_ports): (Whose, Option<u32>)| SnatRow {
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
        used_ports: in_use.map(|in_use| in_use.of(&whose).0),
        connections: in_use.map(|in_use| in_use.of(&whose).1),
        failed: in_use.map(|in_use| in_use.failed.get(&(nic, protocol)).copied().unwrap_or(0)),
    };
    rows.map(row).collect()
}

/// What load balancers have set aside.
fn allocated(compiled: &Compiled) -> BTreeMap<Whose, u32> {
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
