//! The namespace from which the platform answers guests and probes backends: without a name, with one TUN for each
//! virtual network.
//!
//! One idea: addresses of different virtual networks may be the same, so a packet's device tells its network. And only
//! the daemon holds the namespace, so nothing is left of it, however the daemon ends.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::{IpNet, Ipv6Net};

use crate::azure::address::{IPV6_ROUTER, METADATA, PLATFORM};
use crate::daemon::engine::{Engine, Learned};
use crate::daemon::events::{EventLog, Happening};
use crate::lab::error::{During, Result};
use crate::model::{Health, Masquerade, Network, ProbeKey, ProbeProtocol, Probed, VnetIx};
use crate::platform::health_probe::{Ask, Prober, Report, Target};
use crate::platform::{Directory, Served, Server};
use crate::sys::netns::Netns;
use crate::sys::socket::Origin;
use crate::sys::tun::Tun;

use super::device::{DefaultRoute, Device, Queues};
use super::guest;
use super::mark::Mark;

/// The platform of one lab.
#[derive(Debug, Default)]
pub(in crate::lab) struct Platform {
    /// Made with the first device.
    namespace: Option<Netns>,
    /// By virtual network, in lower case.
    devices: HashMap<String, String>,
    made: usize,
    prober: Option<Prober>,
    server: Option<Server>,
}

impl Platform {
    /// Makes the device of a virtual network, under a name that no other has had.
    pub(in crate::lab) fn plug(&mut self, network: &Network, vnet: VnetIx, queues: &Queues) -> Result<Tun> {
        if self.namespace.is_none() {
            let namespace = Netns::create().during(|| "cannot make a namespace for the platform".into())?;
            let mark = Mark::own(&network.name).during(|| "cannot mark a namespace".into())?;
            guest::settle(&namespace, &mark, false, Masquerade::Off)?;
            // The thread that answers there has no capabilities.
            guest::set_setting(&namespace, "ipv4/ip_unprivileged_port_start", "0")?;
            self.namespace = Some(namespace);
        }
        let namespace = self.namespace.as_ref().expect("it has just been made");
        let name = format!("vnet{}", self.made);
        self.made += 1;
        let addresses = [PLATFORM.into(), METADATA.into(), IPV6_ROUTER.into()].map(|address: IpAddr| address.into());
        let mut device = Device::new(&name, addresses.into(), DefaultRoute::Via(Vec::new()));
        // Over IPv4 a socket that is bound to a device needs no route; over IPv6 it does.
        device.routes = vec![IpNet::V6(Ipv6Net::default())];
        device.metric = self.made as u32;
        let tun = guest::plug(namespace, &device, queues)?;
        self.devices.insert(network.vnet(vnet).name.to_lowercase(), name);
        Ok(tun)
    }

    /// Answers and probes what the running network wants answered and probed, and nothing else.
    pub(in crate::lab) fn apply(&mut self, engine: &Arc<Engine>, history: &Arc<EventLog>) -> Result<()> {
        let network = engine.network();
        self.serve(&network)?;
        let targets = self.targets(&network);
        if self.prober.is_none() && !targets.is_empty() {
            let namespace = self.namespace.as_ref().expect("a probed virtual network has a device in it");
            let (engine, history) = (Arc::clone(engine), Arc::clone(history));
            let prober = Prober::start(namespace, move |news| learn(&engine, &history, news));
            self.prober = Some(prober.during(|| "cannot probe".into())?);
        }
        if let Some(prober) = &self.prober {
            prober.apply(targets);
        }
        Ok(())
    }

    fn serve(&mut self, network: &Arc<Network>) -> Result<()> {
        let Some(namespace) = self.namespace.as_ref().filter(|_| network.emulation.platform_services) else {
            self.server = None;
            return Ok(());
        };
        let server = match &mut self.server {
            Some(server) => server,
            none => none.insert(Server::start(namespace).during(|| "cannot answer for the platform".into())?),
        };
        let behind = |(vnet, directory): (VnetIx, Directory)| {
            let device = self.devices.get(&network.vnet(vnet).name.to_lowercase())?.clone();
            Some((device, directory))
        };
        let behind = Directory::of_all(network).into_iter().filter_map(behind).collect();
        server.apply(Served { behind, forwarders: network.dns_forwarders.clone() });
        Ok(())
    }

    fn targets(&self, network: &Network) -> BTreeMap<ProbeKey, Target> {
        let target = |probed: Probed<'_>| {
            let device = self.devices.get(&network.vnet(probed.vnet).name.to_lowercase())?.clone();
            let target = Target {
                origin: Origin { device: Some(device), address: Some(prober_of(probed.backend.address)) },
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

/// The source address of a backend's probes: over IPv6 the router that its guest knows.
const fn prober_of(backend: IpAddr) -> IpAddr {
    if backend.is_ipv4() { IpAddr::V4(PLATFORM) } else { IpAddr::V6(IPV6_ROUTER) }
}

/// Backends are up or down now: the tables follow.
fn learn(engine: &Engine, history: &EventLog, news: BTreeMap<ProbeKey, Report>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut changed = Vec::new();
    engine.learn(|learned: &mut Learned| {
        let known = learned.health.get_or_insert_default();
        for (key, report) in news {
            let Report::Health { up, reason } = report else {
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
