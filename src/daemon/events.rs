//! What happens to a lab, for any client, now or later.
//!
//! One idea: an event is a value with a number, and the last [`KEPT`] of them are kept. So nothing grows, a client that
//! follows sees each once, and a gap in the numbers says that some came too fast for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, iter};

use serde::{Deserialize, Serialize};

use crate::analysis::Action;
use crate::azure::Utc;
use crate::model::{Network, PeeringState, PowerState, SyncLevel};

use super::api::protocol::Changed;

/// Events that are remembered.
const KEPT: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// From 1, rising by one with each.
    pub number: u64,
    /// In UTC.
    pub time: String,
    #[serde(flatten)]
    pub happening: Happening,
}

/// What can happen. Its name is that of the variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
pub enum Happening {
    /// Packets flow.
    LabStarted {
        lab: String,
        file: String,
    },
    /// A change was published: so many objects came, changed and went.
    NetworkChanged {
        lab: String,
        generation: u64,
        created: usize,
        modified: usize,
        deleted: usize,
    },
    /// Nothing was changed, though a signal asked for it.
    ChangeRefused {
        lab: String,
        reason: String,
    },
    /// A link has another state or sync level (PEER-03, PEER-16).
    PeeringChanged {
        peering: String,
        peering_state: PeeringState,
        peering_sync_level: SyncLevel,
    },
    PeeringRemoved {
        peering: String,
    },
    PowerChanged {
        node: String,
        power_state: PowerState,
    },
    /// A device, or the namespace that it stood in: packets for it are dropped until the next change finds it missing.
    DeviceLost {
        interface: String,
    },
    DeviceRestored {
        interface: String,
    },
    /// A user has switched it off; it carries nothing until it is switched on again.
    DeviceOff {
        interface: String,
    },
    DeviceOn {
        interface: String,
    },
    /// A program that the file starts.
    ProgramEnded {
        node: String,
        command: String,
        status: String,
    },
    WorkerFailed {
        worker: usize,
        reason: String,
    },
    /// A probe has found a backend up (LB-10); the load balancer gives it new flows.
    BackendHealthy {
        backend: String,
        load_balancer: String,
        probe: String,
    },
    /// A probe has found a backend down; the load balancer gives it no new flows.
    BackendUnhealthy {
        backend: String,
        load_balancer: String,
        probe: String,
        reason: String,
    },
    /// An instance of a gateway is away for so long; its tunnels are down.
    GatewayFailover {
        gateway: String,
        seconds: u64,
    },
    GatewayRestored {
        gateway: String,
    },
    /// A link of a circuit carries nothing for so long (ER-02).
    CircuitLinkFailed {
        link: String,
        seconds: u64,
    },
    CircuitLinkRestored {
        link: String,
    },
    BgpSessionUp {
        node: String,
        neighbor: IpAddr,
    },
    BgpSessionDown {
        node: String,
        neighbor: IpAddr,
        reason: String,
    },
    /// BGP routes over a connection, or to appliances by a route server, have changed: so many routes more, so many
    /// gone.
    BgpRoutesChanged {
        connection: String,
        learned: usize,
        withdrawn: usize,
    },
}

impl Happening {
    /// Its name, in the field `event`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LabStarted { .. } => "LabStarted",
            Self::NetworkChanged { .. } => "NetworkChanged",
            Self::ChangeRefused { .. } => "ChangeRefused",
            Self::PeeringChanged { .. } => "PeeringChanged",
            Self::PeeringRemoved { .. } => "PeeringRemoved",
            Self::PowerChanged { .. } => "PowerChanged",
            Self::DeviceLost { .. } => "DeviceLost",
            Self::DeviceRestored { .. } => "DeviceRestored",
            Self::DeviceOff { .. } => "DeviceOff",
            Self::DeviceOn { .. } => "DeviceOn",
            Self::ProgramEnded { .. } => "ProgramEnded",
            Self::WorkerFailed { .. } => "WorkerFailed",
            Self::BackendHealthy { .. } => "BackendHealthy",
            Self::BackendUnhealthy { .. } => "BackendUnhealthy",
            Self::GatewayFailover { .. } => "GatewayFailover",
            Self::GatewayRestored { .. } => "GatewayRestored",
            Self::CircuitLinkFailed { .. } => "CircuitLinkFailed",
            Self::CircuitLinkRestored { .. } => "CircuitLinkRestored",
            Self::BgpSessionUp { .. } => "BgpSessionUp",
            Self::BgpSessionDown { .. } => "BgpSessionDown",
            Self::BgpRoutesChanged { .. } => "BgpRoutesChanged",
        }
    }

    /// What it happened to, as users name it.
    pub fn object(&self) -> String {
        match self {
            Self::LabStarted { lab, .. } | Self::NetworkChanged { lab, .. } | Self::ChangeRefused { lab, .. } => {
                lab.clone()
            }
            Self::PeeringChanged { peering, .. } | Self::PeeringRemoved { peering } => peering.clone(),
            Self::PowerChanged { node, .. }
            | Self::ProgramEnded { node, .. }
            | Self::BgpSessionUp { node, .. }
            | Self::BgpSessionDown { node, .. } => node.clone(),
            Self::DeviceLost { interface }
            | Self::DeviceRestored { interface }
            | Self::DeviceOff { interface }
            | Self::DeviceOn { interface } => interface.clone(),
            Self::WorkerFailed { worker, .. } => format!("worker {worker}"),
            Self::BackendHealthy { backend, .. } | Self::BackendUnhealthy { backend, .. } => backend.clone(),
            Self::BgpRoutesChanged { connection, .. } => connection.clone(),
            Self::GatewayFailover { gateway, .. } | Self::GatewayRestored { gateway } => gateway.clone(),
            Self::CircuitLinkFailed { link, .. } | Self::CircuitLinkRestored { link } => link.clone(),
        }
    }
}

/// The rest of it, in a few words.
impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LabStarted { file, .. } => write!(f, "{file}"),
            Self::NetworkChanged { generation, created, modified, deleted, .. } => {
                write!(f, "generation {generation}: {created} created, {modified} modified, {deleted} deleted")
            }
            Self::ChangeRefused { reason, .. } | Self::WorkerFailed { reason, .. } => write!(f, "{reason}"),
            Self::PeeringChanged { peering_state, peering_sync_level, .. } => {
                write!(f, "{peering_state:?}, {peering_sync_level:?}")
            }
            Self::PowerChanged { power_state, .. } => write!(f, "{power_state:?}"),
            Self::DeviceLost { .. } => write!(f, "packets for it are dropped until `vnet apply` or SIGHUP"),
            Self::PeeringRemoved { .. }
            | Self::DeviceRestored { .. }
            | Self::DeviceOff { .. }
            | Self::DeviceOn { .. }
            | Self::GatewayRestored { .. }
            | Self::CircuitLinkRestored { .. } => Ok(()),
            Self::GatewayFailover { seconds, .. } | Self::CircuitLinkFailed { seconds, .. } => {
                write!(f, "for {seconds} s")
            }
            Self::ProgramEnded { command, status, .. } => write!(f, "`{}`: {status}", first_line(command)),
            Self::BackendHealthy { load_balancer, probe, .. } => write!(f, "probe {load_balancer}/{probe}"),
            Self::BackendUnhealthy { load_balancer, probe, reason, .. } => {
                write!(f, "probe {load_balancer}/{probe}: {reason}")
            }
            Self::BgpSessionUp { neighbor, .. } => write!(f, "with {neighbor}"),
            Self::BgpSessionDown { neighbor, reason, .. } => write!(f, "with {neighbor}: {reason}"),
            Self::BgpRoutesChanged { learned, withdrawn, .. } => write!(f, "{learned} learned, {withdrawn} withdrawn"),
        }
    }
}

/// Of a script there is room for its beginning alone.
pub fn first_line(command: &str) -> String {
    match command.trim_end().split_once('\n') {
        Some((first, _)) => format!("{first} …"),
        None => command.to_owned(),
    }
}

/// The latest events of a lab. Any thread may add one, none waits for a reader.
#[derive(Debug, Default)]
pub struct EventLog(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    told: u64,
    events: VecDeque<Event>,
}

impl EventLog {
    pub fn tell(&self, happening: Happening) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let time = Utc::from_unix_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX)).to_string();
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.told += 1;
        let number = latest.told;
        if latest.events.len() == KEPT {
            latest.events.pop_front();
        }
        latest.events.push_back(Event { number, time, happening });
    }

    /// Those that are remembered, in order.
    pub fn latest(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).events.iter().cloned().collect()
    }
}

/// What a change that was made has done, to the lab and to links, machines and devices.
pub fn of_change(changed: &Changed, before: &Network, after: &Network) -> impl Iterator<Item = Happening> {
    let Changed { lab, generation, plan, restored, .. } = changed;
    let count = |action| plan.changes.iter().filter(|change| change.action == action).count();
    let whole = Happening::NetworkChanged {
        lab: lab.clone(),
        generation: *generation,
        created: count(Action::Create),
        modified: count(Action::Update),
        deleted: count(Action::Delete),
    };
    let restored = restored.iter().map(|name| Happening::DeviceRestored { interface: name.clone() });
    let parts = peering_changes(before, after).chain(power_changes(before, after)).chain(restored);
    iter::once(whole).chain(parts)
}

fn peering_changes(before: &Network, after: &Network) -> impl Iterator<Item = Happening> {
    let mut earlier: BTreeMap<_, _> = states(before).collect();
    let mut changed = Vec::new();
    for (peering, state) in states(after) {
        if earlier.remove(&peering) != Some(state) {
            let (peering_state, peering_sync_level) = state;
            changed.push(Happening::PeeringChanged { peering, peering_state, peering_sync_level });
        }
    }
    let removed = earlier.into_keys().map(|peering| Happening::PeeringRemoved { peering });
    changed.into_iter().chain(removed)
}

fn states(network: &Network) -> impl Iterator<Item = (String, (PeeringState, SyncLevel))> {
    let links = network.links().filter(|at| !network.link(*at).implied);
    let written = links.map(|at| (network.link_name(at), (network.link(at).state, network.sync_level(at))));
    // A link without its remote is there all the same (PEER-04).
    let lost = (PeeringState::Disconnected, SyncLevel::RemoteNotInSync);
    written.chain(network.lost_links.iter().map(move |link| (link.full_name(), lost)))
}

/// Of machines that are in both.
fn power_changes(before: &Network, after: &Network) -> impl Iterator<Item = Happening> {
    let earlier: HashMap<_, _> = before.virtual_machines.iter().map(|vm| (vm.name.as_str(), vm.power_state)).collect();
    let differs = |name: &str, now: PowerState| earlier.get(name).is_some_and(|was| *was != now);
    let changed = after.virtual_machines.iter().filter(|vm| differs(&vm.name, vm.power_state));
    let changed = changed.map(|vm| Happening::PowerChanged { node: vm.name.clone(), power_state: vm.power_state });
    changed.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_numbered() {
        let log = EventLog::default();
        for number in 0..KEPT + 3 {
            log.tell(Happening::DeviceLost { interface: number.to_string() });
        }
        let numbers: Vec<_> = log.latest().iter().map(|event| event.number).collect();
        assert_eq!(numbers, (4..=KEPT as u64 + 3).collect::<Vec<_>>());
        assert_eq!(log.latest()[0].happening.object(), "3");
    }

    #[test]
    fn a_script_is_told_by_its_first_line() {
        let ended = |command: &str| {
            let told = Happening::ProgramEnded {
                node: "web".into(),
                command: command.into(),
                status: "exit status: 1".into(),
            };
            told.to_string()
        };
        assert_eq!(ended("sh -e -c set -u\nfalse\n"), "`sh -e -c set -u …`: exit status: 1");
        assert_eq!(ended("iperf3 -s"), "`iperf3 -s`: exit status: 1");
    }

    #[test]
    fn in_json_an_event_is_flat_and_named() {
        let power = Happening::PowerChanged { node: "web".into(), power_state: PowerState::Stopped };
        let log = EventLog::default();
        log.tell(power.clone());
        let mut told = serde_json::to_value(&log.latest()[0]).expect("it is data");
        assert_eq!(told["event"], power.name());
        told.as_object_mut().expect("an object").remove("time");
        let wanted = serde_json::json!({"number": 1, "event": "PowerChanged", "node": "web", "powerState": "stopped"});
        assert_eq!(told, wanted);
    }
}
