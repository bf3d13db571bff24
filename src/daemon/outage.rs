//! Which connections an instance or a link takes down, and which paths remain to the same places (VPN-30, VPN-33,
//! ER-02).

use serde::{Deserialize, Serialize};

use crate::model::{ConnectionIx, Learned, Network, Remote, Side};

/// What happened, as far as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    pub lab: String,
    /// `instance 2 of hub-gw`, `the primary link of er-london`.
    pub what: String,
    /// Instances and links, by the names that listings have for them.
    pub away: Vec<String>,
    /// None: they are there again.
    pub seconds: u64,
    /// Connections and links that are down until then.
    pub down: Vec<String>,
    /// Each place that these lead to.
    pub detours: Vec<Detour>,
    pub warnings: Vec<String>,
}

/// A site, a private cloud or another gateway, and the paths that remain to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detour {
    pub to: String,
    /// Connections, or links of a circuit, or the instance that a client has gone over to; empty where no path remains.
    pub by: Vec<String>,
}

/// A connection or link that is up, and the place that it leads to.
struct Path {
    name: String,
    to: String,
    is_link: bool,
}

/// What is down with these names of [`Learned::down`], and the paths that remain to the same places.
pub fn outage(network: &Network, learned: &Learned, away: &[String]) -> (Vec<String>, Vec<Detour>) {
    let mut before = learned.clone();
    before.down.retain(|name| !away.contains(name));
    let left = paths(network, learned);
    let mut down = paths(network, &before);
    down.retain(|path| !left.iter().any(|other| (&other.name, other.is_link) == (&path.name, path.is_link)));
    let mut places: Vec<&String> = down.iter().map(|path| &path.to).collect();
    let mut known = Vec::new();
    places.retain(|place| {
        !known.contains(place) && {
            known.push(*place);
            true
        }
    });
    let detour = |to: &String| {
        let lost_link = down.iter().any(|path| path.to == *to && path.is_link);
        let by = |links: bool| left.iter().filter(move |path| path.to == *to && path.is_link == links);
        let links: Vec<_> = by(true).filter(|_| lost_link).map(|path| path.name.clone()).collect();
        let by = if links.is_empty() { by(false).map(|path| path.name.clone()).collect() } else { links };
        Detour { to: to.clone(), by }
    };
    let detours = places.into_iter().map(detour).chain(moved(network, &before, learned)).collect();
    (down.into_iter().map(|path| path.name).collect(), detours)
}

/// Point-to-site clients that have gone over to another instance of their gateway (VPN-33).
fn moved(network: &Network, before: &Learned, now: &Learned) -> Vec<Detour> {
    let clients = (0..network.connections.len()).map(ConnectionIx).filter_map(|ix| {
        let Remote::Client(client) = network.connection(ix).remote else { return None };
        let (instance, at) = (now.instance_of(network, ix), network.connection(ix).gateway);
        if now.instance_is_down(network, at, instance) {
            return None;
        }
        let gateway = network.gateway(at);
        let to = network.site(client).name.clone();
        let by = || vec![format!("instance {} of {}", instance + 1, gateway.name)];
        (instance != before.instance_of(network, ix)).then(|| Detour { to, by: by() })
    });
    clients.collect()
}

/// Connections that are up, then links of circuits.
fn paths(network: &Network, learned: &Learned) -> Vec<Path> {
    let link_is_up = |circuit, side| learned.link_absence(network, circuit, side).is_none();
    let connections = (0..network.connections.len()).map(ConnectionIx).filter_map(|ix| {
        let connection = network.connection(ix);
        let (to, carried) = match connection.remote {
            Remote::Local(local) => {
                let site = network.site_of(ix).map(|site| &network.site(site).name);
                (site.unwrap_or(&network.local_gateway(local).name).as_str(), true)
            }
            Remote::Gateway(far) => (network.gateway(far).name.as_str(), true),
            Remote::Client(client) => (network.site(client).name.as_str(), true),
            Remote::Circuit(circuit) => {
                let to = network.customer_name(circuit).unwrap_or(&network.circuit(circuit).name);
                (to, Side::BOTH.into_iter().any(|side| link_is_up(circuit, side)))
            }
        };
        let up = carried && learned.why_down(network, ix).is_none();
        up.then(|| Path { name: connection.name.clone(), to: to.to_owned(), is_link: false })
    });
    let working = network.circuits().filter(|(ix, _)| network.circuit_fault(*ix).is_none());
    let links = working.flat_map(|(ix, _)| Side::BOTH.map(|side| (ix, side))).filter_map(|(ix, side)| {
        let to = network.customer_name(ix).filter(|_| link_is_up(ix, side))?;
        Some(Path { name: network.circuit_link_name(ix, side), to: to.to_owned(), is_link: true })
    });
    connections.chain(links).collect()
}
