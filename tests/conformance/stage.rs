//! A scenario in its own lab, step after step.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::Value;
use vnet::config;
use vnet::model::{Backend, BalancedPorts, FrontendRule, Network};

use crate::Outcome;
use crate::lab::{Lab, SOON};
use crate::probe::{Flow, Kind, Question};
use crate::scenario::{Scenario, Step, Written};
use crate::watch::Drops;
use crate::{bgp, commands, flow_log, patch, raw};

/// A running lab, and what is known of it.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// As it was applied last.
    pub(crate) topology: Value,
    /// Public addresses: the owner of each, and the private one behind.
    public: BTreeMap<IpAddr, (String, IpAddr)>,
    network: Option<Network>,
    /// Machines that run, and their addresses.
    places: Vec<(String, Vec<IpAddr>)>,
    flows: BTreeMap<String, Flow>,
    /// What the last change told the user.
    pub(crate) told: String,
    /// How long something that must happen may take.
    pub(crate) patience: Duration,
}

/// Runs a scenario; nothing of its lab may be left behind.
pub(crate) fn perform(scenario: &Scenario) -> Outcome {
    let mut stage = Stage::set(&scenario.topology, SOON);
    for (index, written) in scenario.steps.iter().enumerate() {
        stage.take(written).map_err(|error| format!("step {}, {}: {error}", index + 1, written.text))?;
    }
    let down = stage.lab.down();
    let left = stage.lab.remains();
    if down.status.success() && left.is_empty() { Ok(()) } else { Err(format!("down leaves {left:?}").into()) }
}

impl Stage {
    pub(crate) fn set(topology: &Value, patience: Duration) -> Self {
        let lab = Lab::up(&as_yaml(topology)).expect("it is permitted");
        let mut stage = Self {
            lab,
            topology: topology.clone(),
            public: BTreeMap::new(),
            network: None,
            places: Vec::new(),
            flows: BTreeMap::new(),
            told: String::new(),
            patience,
        };
        stage.look_around();
        stage
    }

    /// Takes a step; one that cannot even be tried has failed as well.
    pub(crate) fn take(&mut self, written: &Written) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.try_take(&written.step))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.or_else(|| panic.downcast_ref().map(|said: &&str| (*said).to_owned())).unwrap_or_default().into())
        })
    }

    fn try_take(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Probe { ask, expect } => {
                let question = Question::new(self, ask)?;
                question.run(self, expect)?;
                commands::foretold(self, ask, &question, expect)
            }
            Step::Open { flow, ask } => {
                let opened = Question::new(self, ask)?.open(self)?;
                self.flows.insert(flow.clone(), opened);
                Ok(())
            }
            Step::Flow { flow, expect } => {
                let mut found = self.flows.remove(flow).ok_or("no step has opened it")?;
                let outcome = found.run(self, expect);
                self.flows.insert(flow.clone(), found);
                outcome
            }
            Step::Send { packet, expect } => raw::send(self, packet, expect),
            Step::Hops { from, to, hops } => commands::hops(self, from, to, hops),
            Step::Exec { node, command, says } => commands::exec(self, node, command, says),
            Step::Routes { of, rows } => commands::routes(self, of, rows),
            Step::Rules { of, expanded } => commands::rules(self, of, expanded),
            Step::NextHop { from, to, answer } => commands::next_hop(self, from, to, answer),
            Step::FlowVerify { question, answer } => commands::flow_verify(self, question, answer),
            Step::Peerings(links) => commands::peerings(self, links),
            Step::Explain { question, answer } => commands::explain(self, question, answer),
            Step::Backends { balancer, health } => commands::backends(self, balancer, health),
            Step::Learned { node, rows } => bgp::learned(self, node, rows),
            Step::GatewayRows { of, rows } => bgp::gateway_rows(self, of, rows),
            Step::Drops { node, reason, packets } => {
                self.node(node)?;
                let found = self.lab.drops(node, reason);
                if found == *packets { Ok(()) } else { Err(format!("there are {found}").into()) }
            }
            Step::FlowLog { log, lines } => flow_log::holds(self, log, lines),
            Step::Lint(findings) => commands::lint(self, findings),
            Step::Apply(change) => self.apply(change),
            Step::Refused { code, patch } => self.refused(code.as_deref(), patch),
            Step::Peering { verb, link } => {
                self.told = commands::must_succeed(&self.lab.vnet(&["peering", verb, link]))?;
                Ok(())
            }
            Step::Failover { gateway, instance, seconds } => {
                let arguments =
                    ["gateway", "failover", gateway, "--instance", instance, "--seconds", &seconds.to_string()];
                self.told = commands::must_succeed(&self.lab.vnet(&arguments))?;
                Ok(())
            }
            Step::Circuit { circuit, side, seconds } => {
                let side = side.as_deref().into_iter();
                let seconds = seconds.to_string();
                let arguments = ["circuit", "fail", circuit].into_iter().chain(side).chain(["--seconds", &seconds]);
                self.told = commands::must_succeed(&self.lab.vnet(&arguments.collect::<Vec<_>>()))?;
                Ok(())
            }
            Step::Says(text) if self.told.contains(text) => Ok(()),
            Step::Says(_) => Err(format!("what was said is:\n{}", self.told).into()),
        }
    }

    fn changed(&self, change: &Value) -> Outcome<Value> {
        let mut topology = self.topology.clone();
        patch::merge(&mut topology, change)?;
        if topology == self.topology { Err("it changes nothing".into()) } else { Ok(topology) }
    }

    fn apply(&mut self, change: &Value) -> Outcome {
        let topology = self.changed(change)?;
        self.lab.write(&as_yaml(&topology));
        self.told = commands::must_succeed(&self.lab.vnet(&["apply", self.file()]))?;
        self.topology = topology;
        self.look_around();
        Ok(())
    }

    /// All or nothing: what is refused changes nothing.
    fn refused(&mut self, code: Option<&str>, change: &Value) -> Outcome {
        let generation = |stage: &Self| stage.lab.data(&["status"])["generation"].clone();
        let before = generation(self);
        self.lab.write(&as_yaml(&self.changed(change)?));
        self.told = commands::must_be_refused(&self.lab.vnet(&["apply", self.file()]), code)?;
        self.lab.write(&as_yaml(&self.topology));
        if generation(self) == before { Ok(()) } else { Err("the lab was changed all the same".into()) }
    }

    pub(crate) fn file(&self) -> &str {
        self.lab.file.to_str().expect("UTF-8")
    }

    fn look_around(&mut self) {
        let status = self.lab.data(&["status"]);
        let addresses = |node: &Value| {
            let nics = node["networkInterfaces"].as_array().unwrap().iter();
            let addresses = nics.flat_map(|nic| nic["addresses"].as_array().unwrap());
            addresses.map(|address| address.as_str().unwrap().parse().unwrap()).collect()
        };
        let nodes = status["nodes"].as_array().unwrap().iter().filter(|node| node["powerState"] == "running");
        self.places = nodes.map(|node| (node["name"].as_str().unwrap().to_owned(), addresses(node))).collect();
        let network = config::load(&as_yaml(&self.topology), "lab.yaml").map(|loaded| loaded.network);
        self.public = network.iter().flat_map(public).collect();
        self.network = network.ok();
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(name, _)| name.as_str())
    }

    /// Checks that there is such a node.
    pub(crate) fn node(&self, name: &str) -> Outcome<&[IpAddr]> {
        let found = self.places.iter().find(|(node, _)| node == name);
        found.map(|(_, addresses)| addresses.as_slice()).ok_or_else(|| format!("there is no node `{name}`").into())
    }

    /// Whether a node is a gateway, a circuit's edge or a private cloud's router.
    pub(crate) fn is_gateway(&self, name: &str) -> bool {
        self.network.iter().any(|network| {
            let gateways = network.virtual_network_gateways.iter().map(|gateway| &gateway.name);
            let routers =
                network.private_clouds.iter().flat_map(|cloud| [&cloud.tier0].into_iter().chain(&cloud.tier1));
            let edges = network.express_route_circuits.iter().map(|circuit| &circuit.name);
            gateways.chain(edges).chain(routers).any(|own| own == name)
        })
    }

    /// An address, or a node's first.
    pub(crate) fn address(&self, text: &str) -> Outcome<IpAddr> {
        match text.parse() {
            Ok(address) => Ok(address),
            Err(_) => Ok(*self.node(text)?.first().ok_or("it has no address")?),
        }
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<String> {
        let found = self.places.iter().find(|(_, addresses)| addresses.contains(&address));
        found.map(|(node, _)| node.clone()).or_else(|| self.public.get(&address).map(|(node, _)| node.clone()))
    }

    /// What a destination is once it has arrived.
    pub(crate) fn private(&self, address: IpAddr) -> IpAddr {
        self.public.get(&address).map_or(address, |(_, private)| *private)
    }

    /// The backends that may get a packet to a frontend, and the address and port there.
    pub(crate) fn backends(&self, frontend: SocketAddr, kind: Kind) -> Vec<(String, SocketAddr)> {
        self.network.iter().flat_map(|network| backends(network, frontend, kind)).collect()
    }

    pub(crate) fn drops(&self) -> Drops {
        let mut drops = Drops::new();
        for row in self.lab.data(&["drops"]).as_array().unwrap() {
            let word = |field: &str| row[field].as_str().unwrap().to_owned();
            *drops.entry((word("node"), word("reason"))).or_default() += row["packets"].as_u64().unwrap();
        }
        drops
    }
}

/// Every public address that stands for one of a machine's.
fn public(network: &Network) -> Vec<(IpAddr, (String, IpAddr))> {
    let nics = network.network_interfaces.iter();
    let instances = nics.flat_map(|nic| nic.public_addresses.iter().map(move |one| (nic.virtual_machine, one)));
    let name = |vm| network.vm(vm).name.clone();
    let instances = instances.map(|(vm, one)| (network.public_ip(one.public).address, (name(vm), one.private)));
    // A frontend with one backend behind it.
    let frontends = network.frontends().filter(|(_, frontend)| frontend.subnet().is_none());
    let alone = frontends.filter_map(|(at, frontend)| {
        let backends: Vec<_> = network.load_balancers[at.balancer].backends().collect();
        let [backend] = backends[..] else { return None };
        Some((frontend.address, (name(network.nic(backend.nic).virtual_machine), backend.address)))
    });
    instances.chain(alone).collect()
}

/// JSON is YAML; one line a key, so that a lab can put its name in front.
fn as_yaml(topology: &Value) -> String {
    let members = topology.as_object().expect("a topology is a mapping").iter();
    members.map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join("\n")
}

fn backends(network: &Network, at: SocketAddr, kind: Kind) -> Vec<(String, SocketAddr)> {
    let place = |backend: &Backend, port| {
        let machine = network.vm(network.nic(backend.nic).virtual_machine).name.clone();
        (machine, SocketAddr::new(backend.address, port))
    };
    let frontends = network.frontends().filter(|(_, frontend)| frontend.address == at.ip());
    let rules = frontends.flat_map(|(ix, _)| {
        let balancer = &network.load_balancers[ix.balancer];
        balancer.rules_at(ix.frontend).map(move |rule| (balancer, rule))
    });
    let takers = rules.filter_map(|(balancer, rule)| match (rule, kind) {
        (FrontendRule::Balance(rule), _) => {
            let port = match (rule.ports, kind) {
                (BalancedPorts::Tcp { frontend, backend }, Kind::Tcp) if frontend == at.port() => backend,
                (BalancedPorts::Udp { frontend, backend }, Kind::Udp) if frontend == at.port() => backend,
                (BalancedPorts::All, Kind::Tcp | Kind::Udp) => at.port(),
                _ => return None,
            };
            Some(balancer.pools[rule.pool].members.iter().map(|member| place(member, port)).collect())
        }
        (FrontendRule::Nat(rule, target), Kind::Tcp) if target.frontend_port == at.port() => {
            Some(vec![place(&target.backend, rule.backend_port)])
        }
        (FrontendRule::Nat(..), _) => None,
    });
    takers.into_iter().next().unwrap_or_default()
}
