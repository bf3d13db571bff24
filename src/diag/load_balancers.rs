//! Who is behind which rule of which load balancer, and who of them takes new flows.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Utc;
use super::names::Names;
use crate::compile::Compiled;
use crate::dataplane::{Frontend, FrontendId, Mapped, NicId, Takes};
use crate::model::{Health, HealthProbe, LoadBalancer, LoadBalancingRule, Network, PowerState, ProbeKey};
use crate::wire::Protocol;

/// One backend behind one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRow {
    pub load_balancer: String,
    pub rule: String,
    /// `10.0.0.100:80/tcp`, or the address alone where the rule is for all ports.
    pub frontend: String,
    pub backend_pool: String,
    /// `machine/interface`.
    pub backend: String,
    pub address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    pub health: HealthState,
    /// When its health last changed, in UTC; not of what nobody probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why it is down, or what its last probe met.
    pub reason: String,
    /// Whether new flows go to it.
    pub eligible: bool,
    /// Flows that it has by this rule; not known of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
}

/// How a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthState {
    Up,
    Down,
}

/// How many flows of load balancers each backend has.
#[derive(Clone, Debug, Default)]
pub struct FlowCounts(HashMap<(NicId, Option<(SocketAddr, Protocol)>), u64>);

impl FlowCounts {
    /// Counts one: what stays as it is came through a rule for all ports (LB-32).
    pub fn count(&mut self, mapped: &Mapped, protocol: Protocol) {
        let frontend = (mapped.public != mapped.private).then_some((SocketAddr::from(mapped.public), protocol));
        *self.0.entry((mapped.nic, frontend)).or_default() += 1;
    }

    fn of(&self, nic: NicId, frontend: &Frontend, takes: Takes) -> u64 {
        let of_rule = |at: &Option<(SocketAddr, Protocol)>| match (takes, at) {
            (Takes::Port { protocol, frontend: port, .. }, Some((socket, by))) => {
                (socket.ip(), socket.port(), *by) == (frontend.address, port, protocol)
            }
            (Takes::All, Some((socket, _))) => socket.ip() == frontend.address,
            (Takes::All, None) => true,
            (Takes::Port { .. }, None) => false,
        };
        let counts = self.0.iter().filter(|((owner, at), _)| *owner == nic && of_rule(at));
        counts.map(|(_, count)| count).sum()
    }
}

/// Every backend of every rule, in file order. `health` and `flows` are a running router's.
pub fn load_balancers(
    network: &Network,
    compiled: &Compiled,
    health: Option<&BTreeMap<ProbeKey, Health>>,
    flows: Option<&FlowCounts>,
) -> Vec<BackendRow> {
    let listing = Listing { network, compiled, health, flows };
    let frontends = (0..).map(FrontendId).zip(network.frontends());
    let rows = frontends.flat_map(|(id, (at, _))| {
        let balancer = &network.load_balancers[at.balancer];
        // As they were compiled: in their order, those of other frontends left out.
        let rules = balancer.rules.iter().filter(move |rule| rule.frontend == at.frontend);
        (0..).zip(rules).flat_map(move |(index, rule)| listing.rule(balancer, rule, id, index))
    });
    rows.collect()
}

#[derive(Clone, Copy)]
struct Listing<'a> {
    network: &'a Network,
    compiled: &'a Compiled,
    health: Option<&'a BTreeMap<ProbeKey, Health>>,
    flows: Option<&'a FlowCounts>,
}

impl<'a> Listing<'a> {
    fn rule(
        self,
        balancer: &'a LoadBalancer,
        rule: &'a LoadBalancingRule,
        frontend: FrontendId,
        index: usize,
    ) -> impl Iterator<Item = BackendRow> + 'a {
        let frontend = self.compiled.snapshot.frontend(frontend);
        let table = &frontend.rules[index];
        let pool = &balancer.pools[rule.pool];
        let probe = rule.probe.map(|probe| &balancer.probes[probe]);
        pool.members.iter().map(move |backend| {
            let nic = self.compiled.nic_of(backend.nic);
            let eligible = table.eligible.iter().any(|member| member.nic == nic);
            let found = probe.and_then(|probe| self.found(balancer, probe, *backend));
            let machine = self.network.vm(self.network.nic(backend.nic).virtual_machine);
            let up = found.map_or(eligible, |found| found.up);
            let reason = match (machine.power_state, probe, found) {
                (PowerState::Stopped, _, _) => "the machine is stopped",
                (PowerState::Running, None, _) => "no probe",
                (PowerState::Running, Some(_), Some(found)) => &found.reason,
                (PowerState::Running, Some(_), None) if self.health.is_some() => "not probed yet",
                (PowerState::Running, Some(_), None) if up => "its rules admit the probe",
                (PowerState::Running, Some(_), None) => "its rules deny the probe",
            };
            BackendRow {
                load_balancer: balancer.name.clone(),
                rule: rule.name.clone(),
                frontend: words(frontend, table.takes),
                backend_pool: pool.name.clone(),
                backend: Names { network: self.network, compiled: self.compiled }.nic(nic),
                address: backend.address.into(),
                probe: probe.map(|probe| probe.name.clone()),
                health: if up { HealthState::Up } else { HealthState::Down },
                since: found.map(|found| Utc::from_unix_micros(found.since * 1_000_000).to_string()),
                reason: reason.to_owned(),
                eligible,
                flows: self.flows.map(|flows| flows.of(nic, frontend, table.takes)),
            }
        })
    }

    fn found(self, balancer: &LoadBalancer, probe: &HealthProbe, backend: crate::model::Backend) -> Option<&'a Health> {
        self.health?.get(&self.network.probe_key(balancer, probe, backend))
    }
}

fn words(frontend: &Frontend, takes: Takes) -> String {
    let address = frontend.address;
    match takes {
        Takes::All => address.to_string(),
        Takes::Port { protocol, frontend: port, .. } => {
            let protocol = if protocol == Protocol::TCP { "tcp" } else { "udp" };
            format!("{}/{protocol}", SocketAddr::new(address, port))
        }
    }
}
