//! The backends of each load balancer rule, and which of them get new flows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::analysis::walk::unprobed::Unprobed;
use crate::azure::Utc;
use crate::compile::Compiled;
use crate::dataplane::{Frontend, FrontendId, Mapped, NicId, Snapshot, Takes};
use crate::model::{AdminState, FrontendRule, Health, HealthProbe, LoadBalancer, Network, PowerState, ProbeKey};
use crate::wire::Protocol;

/// One backend behind one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRow {
    pub load_balancer: String,
    pub rule: String,
    /// `10.0.0.100:80/tcp`, or the address alone where the rule is for all ports.
    pub frontend: String,
    /// Empty for an inbound NAT rule.
    pub backend_pool: String,
    /// `machine/interface`.
    pub backend: String,
    pub address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    pub health: HealthState,
    /// When its health last changed, in UTC; None without a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why it is down, or the result of its last probe.
    pub reason: String,
    /// The rule that denies its probe: `NSG app on subnet v/s, rule securityRules/x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<String>,
    /// Whether new flows are sent to it.
    pub eligible: bool,
    /// The flows that it has by this rule; None for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
}

/// A backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthState {
    Up,
    Down,
}

/// The number of load-balanced flows of each backend.
#[derive(Clone, Debug)]
pub struct FlowCounts {
    frontends: HashSet<IpAddr>,
    /// By backend, and by port of a frontend; flows that a backend only forwards have none.
    counts: HashMap<(NicId, Option<(SocketAddr, Protocol)>), u64>,
}

impl FlowCounts {
    pub fn new(snapshot: &Snapshot) -> Self {
        let frontends = snapshot.frontends.iter().map(|frontend| frontend.address).collect();
        Self { frontends, counts: HashMap::new() }
    }

    /// Counts one.
    pub fn count(&mut self, mapped: &Mapped, protocol: Protocol) {
        let to_frontend = self.frontends.contains(&mapped.public.0);
        let frontend = to_frontend.then_some((SocketAddr::from(mapped.public), protocol));
        *self.counts.entry((mapped.nic, frontend)).or_default() += 1;
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
        let counts = self.counts.iter().filter(|((owner, at), _)| *owner == nic && of_rule(at));
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
        (0..).zip(balancer.rules_at(at.frontend)).flat_map(move |(index, rule)| listing.rule(balancer, rule, id, index))
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
        rule: FrontendRule<'a>,
        frontend: FrontendId,
        index: usize,
    ) -> impl Iterator<Item = BackendRow> + 'a {
        let frontend = self.compiled.snapshot.frontend(frontend);
        let table = &frontend.rules[index];
        let (pool, probe, members) = match rule {
            FrontendRule::Balance(rule) => {
                let pool = &balancer.pools[rule.pool];
                (pool.name.as_str(), rule.probe.map(|probe| &balancer.probes[probe]), pool.members.clone())
            }
            FrontendRule::Nat(_, target) => ("", None, vec![target.backend]),
        };
        members.into_iter().map(move |backend| {
            let nic = self.compiled.nic_of(backend.nic);
            let eligible = table.eligible.iter().any(|member| member.nic == nic);
            let found = probe.and_then(|probe| self.found(balancer, probe, backend));
            let machine = self.network.vm(self.network.nic(backend.nic).virtual_machine);
            let up = found.map_or(eligible, |found| found.up);
            let reason = match (machine.power_state, probe, found) {
                (PowerState::Stopped, _, _) => "the machine is stopped",
                (PowerState::Running, _, _) if backend.admin == AdminState::Up => "adminState Up",
                (PowerState::Running, _, _) if backend.admin == AdminState::Down => "adminState Down",
                (PowerState::Running, None, _) => "no probe",
                (PowerState::Running, Some(_), Some(found)) => &found.reason,
                (PowerState::Running, Some(_), None) if self.health.is_some() => "not probed yet",
                (PowerState::Running, Some(_), None) if up => "its rules admit the probe",
                (PowerState::Running, Some(_), None) => "down by its rules",
            };
            let names = Names { network: self.network, compiled: self.compiled };
            let denied = probe.filter(|_| !up).and_then(|probe| Unprobed::of(names, backend, probe));
            BackendRow {
                load_balancer: balancer.name.clone(),
                rule: rule.name().to_owned(),
                frontend: words(frontend, table.takes),
                backend_pool: pool.to_owned(),
                backend: names.nic(nic),
                address: backend.address,
                probe: probe.map(|probe| probe.name.clone()),
                health: if up { HealthState::Up } else { HealthState::Down },
                since: found.map(|found| Utc::from_unix_micros(found.since * 1_000_000).to_string()),
                reason: reason.to_owned(),
                denied_by: denied.map(|denied| denied.rule(names)),
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
