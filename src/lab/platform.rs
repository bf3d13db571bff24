//! Where the platform stands that probes backends: a namespace without a name, with one TUN for each virtual network.
//!
//! One idea: addresses of different virtual networks may be the same, so a probe says by its device which one it is for;
//! and nothing is left of a namespace that only the daemon holds, however that ends.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use super::device::{DefaultRoute, Device, Queues};
use super::dns::{self, Resolver};
use super::error::{During, Result};
use super::guest;
use crate::control::engine::{Engine, Learned};
use crate::control::events::{EventLog, Happening};
use crate::model::{Health, Network, ProbeKey, ProbeProtocol, Probed, VnetIx};
use crate::probe::{Ask, Prober, Target, Told};
use crate::sys::netns::Netns;
use crate::sys::socket::Origin;
use crate::sys::tun::Tun;

/// The platform's own address (FAB-12).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// What a guest goes by that asks the platform's resolver.
pub(super) fn resolv_conf() -> String {
    format!("nameserver {ADDRESS}\nsearch {}\n", dns::ZONE)
}

/// The platform of one lab.
#[derive(Debug, Default)]
pub(super) struct Platform {
    /// Made with the first device.
    namespace: Option<Netns>,
    /// By virtual network, in lower case.
    devices: HashMap<String, String>,
    made: usize,
    prober: Option<Prober>,
    /// By device.
    resolvers: HashMap<String, Resolver>,
}

impl Platform {
    /// Makes the device of a virtual network, under a name that no other has had.
    pub(super) fn plug(&mut self, network: &Network, vnet: VnetIx, queues: Queues) -> Result<Tun> {
        if self.namespace.is_none() {
            let namespace = Netns::create().during(|| "cannot make a namespace to probe from".into())?;
            guest::settle(&namespace, false, false)?;
            // Devices come later, when nobody has the capability any more that a resolver's port would need.
            guest::set_setting(&namespace, "ipv4/ip_unprivileged_port_start", "0")?;
            self.namespace = Some(namespace);
        }
        let namespace = self.namespace.as_ref().expect("it has just been made");
        let name = format!("probe{}", self.made);
        self.made += 1;
        let device = Device::new(&name, vec![IpAddr::from(ADDRESS).into()], DefaultRoute::Via(Vec::new()));
        let tun = guest::plug(namespace, &device, queues)?;
        self.devices.insert(network.vnet(vnet).name.to_lowercase(), name);
        Ok(tun)
    }

    /// Probes whom the running network wants probed, and nobody else.
    pub(super) fn heed(&mut self, engine: &Arc<Engine>, history: &Arc<EventLog>) -> Result<()> {
        let targets = self.targets(&engine.network());
        if self.prober.is_none() && !targets.is_empty() {
            let namespace = self.namespace.as_ref().expect("who is probed has a device in it");
            let (engine, history) = (Arc::clone(engine), Arc::clone(history));
            let prober = Prober::start(namespace, move |news| learn(&engine, &history, news));
            self.prober = Some(prober.during(|| "cannot probe".into())?);
        }
        if let Some(prober) = &self.prober {
            prober.heed(targets);
        }
        self.resolve(engine)
    }

    /// Resolves names for the virtual networks that there are, if the file wants it.
    fn resolve(&mut self, engine: &Arc<Engine>) -> Result<()> {
        let network = engine.network();
        let Some(namespace) = self.namespace.as_ref().filter(|_| network.emulation.dns) else { return Ok(()) };
        let mut resolvers = HashMap::new();
        for vnet in &network.virtual_networks {
            let Some(device) = self.devices.get(&vnet.name.to_lowercase()) else { continue };
            let resolver = match self.resolvers.remove(device) {
                Some(resolver) => resolver,
                None => Resolver::start(namespace, device, ADDRESS, &vnet.name, engine)
                    .during(|| format!("cannot resolve names in {}", vnet.name))?,
            };
            resolvers.insert(device.clone(), resolver);
        }
        self.resolvers = resolvers;
        Ok(())
    }

    fn targets(&self, network: &Network) -> BTreeMap<ProbeKey, Target> {
        let target = |probed: Probed<'_>| {
            let device = self.devices.get(&network.vnet(probed.vnet).name.to_lowercase())?.clone();
            let target = Target {
                origin: Origin { device: Some(device), address: Some(ADDRESS.into()) },
                peer: (probed.backend.address, probed.probe.port).into(),
                ask: match &probed.probe.protocol {
                    ProbeProtocol::Tcp => Ask::Connect,
                    ProbeProtocol::Http(path) => Ask::Get { path: path.clone(), secure: false },
                    ProbeProtocol::Https(path) => Ask::Get { path: path.clone(), secure: true },
                },
                interval: probed.probe.interval,
                threshold: probed.probe.threshold,
            };
            Some((network.probe_key(probed.balancer, probed.probe, probed.backend), target))
        };
        network.probed().filter_map(target).collect()
    }
}

/// Somebody is up or down now: the tables follow.
fn learn(engine: &Engine, history: &EventLog, news: BTreeMap<ProbeKey, Told>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut changed = Vec::new();
    engine.learn(|learned: &mut Learned| {
        let known = learned.health.get_or_insert_default();
        for (key, told) in news {
            let Told::Health { up, reason } = told else {
                known.remove(&key);
                continue;
            };
            let before = known.get(&key).filter(|before| before.up == up);
            let since = before.map_or(now, |before| before.since);
            if before.is_none() {
                changed.push(happening(&key, up, &reason));
            }
            known.insert(key, Health { up, since, reason });
        }
    });
    for happening in changed {
        history.tell(happening);
    }
}

fn happening(key: &ProbeKey, up: bool, reason: &str) -> Happening {
    let (backend, load_balancer, probe) = (key.interface.clone(), key.balancer.clone(), key.probe.clone());
    if up {
        Happening::BackendHealthy { backend, load_balancer, probe }
    } else {
        Happening::BackendUnhealthy { backend, load_balancer, probe, reason: reason.to_owned() }
    }
}
