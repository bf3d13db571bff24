//! ExpressRoute circuits that lead nowhere: their state, their keys, and the connections and Global Reach that they lack
//! (ER-10, ER-18, GR-02, GR-04, AVS-05).
//!
//! One idea: a circuit's edge passes on what its gateways and its peer circuits say. Where nothing joins it to the
//! destination, the missing link is added with a key that nothing uses.

use crate::analysis::change::{Change, Edit, unused};
use crate::model::{
    Authorization, CircuitFault, CircuitIx, CircuitTier, Connection, ConnectionIx, Customer, GatewayIx, GatewayKind,
    GlobalReach, Network, ProviderState, Remote, TunnelFault,
};

use super::relays::Router;
use super::sessions::Fault;
use super::tunnels::unnamed;
use super::{Case, Diagnosis};

/// What a link to a circuit needs to be let in.
enum Key {
    None,
    Unused(String),
}

impl Case<'_> {
    pub(super) fn mended_circuit(&self, circuit: CircuitIx, fault: CircuitFault) -> Option<(String, Edit)> {
        let name = &self.names.network.circuit(circuit).name;
        let mut edit = self.edit();
        let text = match fault {
            CircuitFault::NotProvisioned => {
                edit.provision(circuit)?;
                format!("have the provider provision circuit {name}")
            }
            CircuitFault::Disabled => {
                edit.enable_peering(circuit)?;
                format!("enable the AzurePrivatePeering of circuit {name}")
            }
            CircuitFault::NoPeering => {
                format!(
                    "give circuit {name} an AzurePrivatePeering, with your peerASN, two ranges of /30 and a vlanId (ER-01)"
                )
            }
            CircuitFault::TooManyPrefixes => return None,
        };
        Some((text, edit))
    }

    /// A connection with a key that its circuit does not have: it gets one that nothing uses, or the circuit gets
    /// this one.
    pub(super) fn authorized(&self, at: ConnectionIx, circuit: CircuitIx) -> Option<(String, Edit)> {
        let network = self.names.network;
        let (connection, name) = (&network.connection(at).name, &network.circuit(circuit).name);
        let mut edit = self.edit();
        let free = network.circuit(circuit).authorizations.iter().find(|one| !network.is_in_use(circuit, one));
        if let Some(free) = free {
            edit.present_key(at, &free.key);
            let text = format!("give connection {connection} the key of authorization {} of circuit {name}", free.name);
            return Some((text, edit));
        }
        edit.authorize(circuit, connection, network.connection(at).authorization_key.as_ref()?)?;
        Some((format!("authorize connection {connection} on circuit {name}"), edit))
    }

    /// The customer of a circuit is asked for, and no gateway has a connection there.
    pub(super) fn connected_to_circuit(&self, in_use: &[GatewayIx], customer: Customer) -> Option<(String, Edit)> {
        let network = self.names.network;
        let leads = |circuit: &CircuitIx| network.customer(*circuit) == Some(customer.at_circuit());
        let circuit = network.circuits().map(|(circuit, _)| circuit).find(leads)?;
        self.connected_gateway(in_use, circuit)
    }

    /// Connects an ExpressRoute gateway to a circuit: one that the sender uses, or the only one there is.
    fn connected_gateway(&self, in_use: &[GatewayIx], circuit: CircuitIx) -> Option<(String, Edit)> {
        let network = self.names.network;
        let is_express = |at: &GatewayIx| network.gateway(*at).kind != GatewayKind::Vpn;
        let all: Vec<_> = network.gateways().map(|(at, _)| at).filter(is_express).collect();
        let used = in_use.iter().copied().find(is_express);
        let gateway = used.or(if let [only] = all[..] { Some(only) } else { None })?;
        let key = unused_key(network, circuit, network.circuit(circuit).subscription.is_some())?;
        let mut edit = self.edit();
        edit.connect_circuit(gateway, circuit, key);
        let (gateway, circuit) = (&network.gateway(gateway).name, &network.circuit(circuit).name);
        Some((format!("connect gateway {gateway} to circuit {circuit}"), edit))
    }

    /// A circuit's edge, or a private cloud's router behind it, has no route to a destination in a virtual network or
    /// at another circuit's customer. `who` says it. None where the destination is neither.
    pub(super) fn not_joined_to(&self, circuit: CircuitIx, who: &str, customer: Option<Customer>) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let name = &network.circuit(circuit).name;
        if let Some(fault) = network.circuit_fault(circuit) {
            let cause = format!("{who} has no route to {dst}: {fault}");
            return Some(Diagnosis::of(cause, self.mended_circuit(circuit, fault)));
        }
        if let Some(home) = self.home(dst) {
            let in_use = network.gateways_in_use(home);
            let (joined, used): (Vec<_>, Vec<_>) = network
                .connections_to(circuit)
                .map(|(at, connection)| (at, connection.gateway))
                .partition(|(_, gateway)| !in_use.contains(gateway));
            let down = |(at, _): &(ConnectionIx, GatewayIx)| {
                Some((*at, self.names.compiled.learned().why_down(network, *at)?))
            };
            if let Some((at, fault)) = used.iter().find_map(down) {
                let connection = &network.connection(at).name;
                return Some(
                    self.mend_tunnel(format!("{who} has no route to {dst}: connection {connection}: {fault}"), [at]),
                );
            }
            return match (used.first(), joined.first()) {
                (Some(_), _) => None,
                (None, Some((_, gateway))) => {
                    Some(self.without_transit(home, name, *gateway, &[Router::Circuit(circuit)]))
                }
                (None, None) => {
                    let vnet = self.vnet_name(home);
                    let cause = format!(
                        "{who} has no route to {dst}: no gateway of VNet {vnet} has a connection to circuit {name}"
                    );
                    Some(Diagnosis::of(cause, self.connected_gateway(&in_use, circuit)))
                }
            };
        }
        let customer = customer.filter(|customer| network.customer(circuit) != Some(customer.at_circuit()))?;
        if let Some(diagnosis) = self.not_reached(circuit, who, customer) {
            return Some(diagnosis);
        }
        let (near, far) = ([Router::Circuit(circuit)], Router::of_customer(network, customer));
        let Fault { says, fix } = self.unrelayed(&near, &far).or_else(|| self.without_route_server(&near, &far))?;
        let there = network.name_of_customer(customer);
        Some(Diagnosis::of(format!("{who} has no route to {dst} at {there}: {says}"), fix))
    }

    /// The destination is at another circuit's customer: Global Reach leads there, or nothing does (ER-05).
    fn not_reached(&self, circuit: CircuitIx, who: &str, customer: Customer) -> Option<Diagnosis> {
        let (network, dst) = (self.names.network, self.walk.dst);
        let leads = |far: &CircuitIx| network.customer(*far) == Some(customer.at_circuit());
        let far = network.circuits().map(|(far, _)| far).find(leads)?;
        let there = network.name_of_customer(customer);
        let [near_name, far_name] = [circuit, far].map(|one| &network.circuit(one).name);
        let between =
            |(from, reach): &(CircuitIx, &GlobalReach)| [(circuit, far), (far, circuit)].contains(&(*from, reach.peer));
        let written = network.circuits().flat_map(|(from, one)| one.reach.iter().map(move |reach| (from, reach)));
        if let Some((from, reach)) = written.into_iter().find(between) {
            let fault = network.reach_fault(from, reach)?;
            let cause = format!("{who} has no route to {dst} at {there}: Global Reach {}: {fault}", reach.name);
            return Some(Diagnosis::of(cause, self.mended_reach(from, reach, fault)));
        }
        let cause = format!(
            "{who} has no route to {dst} at {there}: no Global Reach joins circuits {near_name} and {far_name} (ER-05, GR-04)"
        );
        let mut edit = self.edit();
        // A private cloud's circuit has its Global Reach written at the cloud.
        let ends = if network.cloud_on(far).is_some() && network.cloud_on(circuit).is_none() {
            (far, circuit)
        } else {
            (circuit, far)
        };
        let text = format!("join circuits {near_name} and {far_name} by Global Reach");
        Some(Diagnosis::of(cause, edit.reach(ends).map(|()| (text, edit))))
    }

    fn mended_reach(&self, from: CircuitIx, reach: &GlobalReach, fault: TunnelFault) -> Option<(String, Edit)> {
        let network = self.names.network;
        match fault {
            TunnelFault::Circuit(fault) => {
                let down =
                    [from, reach.peer].into_iter().find(|circuit| network.circuit_fault(*circuit) == Some(fault))?;
                self.mended_circuit(down, fault)
            }
            TunnelFault::Authorization => {
                let (name, peer) = (&reach.name, &network.circuit(reach.peer).name);
                let mut edit = self.edit();
                if let Some(Key::Unused(key)) = unused_key(network, reach.peer, true) {
                    edit.present_key_of_reach(from, name, key)?;
                    return Some((format!("give Global Reach {name} a key that circuit {peer} has"), edit));
                }
                edit.authorize(reach.peer, name, reach.authorization_key.as_ref()?)?;
                Some((format!("authorize Global Reach {name} on circuit {peer}"), edit))
            }
            TunnelFault::NoSite
            | TunnelFault::SharedKey
            | TunnelFault::Responders
            | TunnelFault::NoWayBack
            | TunnelFault::Propagation
            | TunnelFault::TooManyPrefixes => None,
        }
    }
}

/// A key of a circuit that nothing uses, one for each link (ER-10). `foreign` is whether the other end may be of another
/// subscription; a private cloud's circuit always is (AVS-05). None where a key is needed and there is none.
fn unused_key(network: &Network, circuit: CircuitIx, foreign: bool) -> Option<Key> {
    let mut keys = network.circuit(circuit).authorizations.iter().filter(|one| !network.is_in_use(circuit, one));
    match keys.next() {
        _ if !foreign && network.cloud_on(circuit).is_none() => Some(Key::None),
        Some(free) => Some(Key::Unused(free.key.clone())),
        None if network.cloud_on(circuit).is_some() => None,
        None => Some(Key::None),
    }
}

/// Whether Global Reach may join two circuits (GR-03), as far as their tiers and places say.
fn may_reach(network: &Network, ends: [CircuitIx; 2]) -> bool {
    let [one, other] = ends.map(|circuit| network.circuit(circuit));
    let located = !one.peering_location.is_empty() && !other.peering_location.is_empty();
    let premium = [one, other].iter().all(|circuit| circuit.tier == CircuitTier::Premium);
    let local = [one, other].iter().any(|circuit| circuit.tier == CircuitTier::Local);
    !local && (!located || premium && !one.peering_location.eq_ignore_ascii_case(&other.peering_location))
}

impl Edit {
    /// None for a private cloud's circuit, which the file does not write.
    fn circuit_path(&self, at: CircuitIx) -> Option<String> {
        self.network.cloud_on(at).is_none().then(|| format!("expressRouteCircuits[{}]", at.0))
    }

    /// Of its private peering.
    pub(super) fn peering_path(&self, at: CircuitIx) -> Option<String> {
        let peering = self.network.circuit(at).peering.as_ref()?;
        Some(format!("{}.peerings[{}]", self.circuit_path(at)?, peering.place))
    }

    fn provision(&mut self, at: CircuitIx) -> Option<()> {
        let path = self.circuit_path(at)?;
        self.network.express_route_circuits[at.0].provider_state = ProviderState::Provisioned;
        self.change(format!("{path}.serviceProviderProvisioningState"), Some("Provisioned".to_owned()));
        Some(())
    }

    fn enable_peering(&mut self, at: CircuitIx) -> Option<()> {
        let path = self.peering_path(at)?;
        self.network.express_route_circuits[at.0].peering.as_mut()?.enabled = true;
        self.change(format!("{path}.state"), Some("Enabled".to_owned()));
        Some(())
    }

    /// Issues a key for a link. None where another authorization has it: each has a key of its own (ER-10).
    fn authorize(&mut self, circuit: CircuitIx, link: &str, key: &str) -> Option<()> {
        let network = &mut self.network;
        let mut issued = network.express_route_circuits.iter().flat_map(|one| &one.authorizations);
        if issued.any(|one| one.key == key) {
            return None;
        }
        let owner = match network.cloud_on(circuit) {
            Some((cloud, _)) => format!("privateClouds[{}]", cloud.0),
            None => format!("expressRouteCircuits[{}]", circuit.0),
        };
        let own = &mut network.express_route_circuits[circuit.0].authorizations;
        let name = unused(&format!("for-{link}"), || own.iter().map(|one| one.name.as_str()));
        let path = format!("{owner}.authorizations[{}]", own.len());
        own.push(Authorization { name: name.clone(), key: key.to_owned() });
        self.change(path, Some(format!("{{name: {name}, authorizationKey: '{key}'}}")));
        Some(())
    }

    fn present_key(&mut self, at: ConnectionIx, key: &str) {
        let set = |one: &mut Connection| one.authorization_key = Some(key.to_owned());
        self.with_connection(at, "authorizationKey", &format!("'{key}'"), set);
    }

    fn connect_circuit(&mut self, gateway: GatewayIx, circuit: CircuitIx, key: Key) {
        let near = self.network.gateway(gateway).name.clone();
        let far = &self.network.circuit(circuit).name;
        let stem = format!("{near}-{far}");
        let (key, written) = match key {
            Key::None => (None, String::new()),
            Key::Unused(key) => {
                let written = format!(", authorizationKey: '{key}'");
                (Some(key), written)
            }
        };
        let ends = format!("connectionType: ExpressRoute, virtualNetworkGateway1: {near}, peer: {far}{written}");
        let connection = Connection { authorization_key: key, ..unnamed(gateway, Remote::Circuit(circuit)) };
        self.add_connection(&stem, &ends, connection);
    }

    /// None where Azure would not allow it, or wants a key and there is none.
    fn reach(&mut self, (from, peer): (CircuitIx, CircuitIx)) -> Option<()> {
        let network = &self.network;
        if !may_reach(network, [from, peer]) {
            return None;
        }
        let subscriptions = [from, peer].map(|circuit| network.circuit(circuit).subscription.as_ref());
        let cloud = network.cloud_on(from).is_some();
        let key = match unused_key(network, peer, cloud || subscriptions[0] != subscriptions[1])? {
            Key::Unused(key) => Some(key),
            Key::None if cloud => return None,
            Key::None => None,
        };
        let far = network.circuit(peer).name.clone();
        let own = &network.circuit(from).reach;
        let name = unused(&format!("to-{far}"), || own.iter().map(|reach| reach.name.as_str()));
        let (list, end) = self.reaches_path(from)?;
        let written = key.as_ref().map_or_else(String::new, |key| format!(", authorizationKey: '{key}'"));
        let path = format!("{list}[{}]", own.len());
        self.changes.push(Change { path, value: Some(format!("{{name: {name}, {end}: {far}{written}}}")) });
        let reach = GlobalReach { name, peer, address_prefix: None, authorization_key: key };
        self.network.express_route_circuits[from.0].reach.push(reach);
        Some(())
    }

    /// Where a circuit's Global Reach connections are written, and the key that names their peer.
    fn reaches_path(&self, from: CircuitIx) -> Option<(String, &'static str)> {
        Some(match self.network.cloud_on(from) {
            Some((cloud, _)) => {
                (format!("privateClouds[{}].globalReachConnections", cloud.0), "peerExpressRouteCircuit")
            }
            None => (format!("{}.connections", self.peering_path(from)?), "peerExpressRouteCircuitPeering"),
        })
    }

    fn present_key_of_reach(&mut self, from: CircuitIx, name: &str, key: String) -> Option<()> {
        let (list, _) = self.reaches_path(from)?;
        let reach = &mut self.network.express_route_circuits[from.0].reach;
        let at = reach.iter().position(|one| one.name == name)?;
        let path = format!("{list}[{at}].authorizationKey");
        let value = format!("'{key}'");
        reach[at].authorization_key = Some(key);
        self.change(path, Some(value));
        Some(())
    }
}
