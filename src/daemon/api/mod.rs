//! What a running router answers: its model, tables and counters, under the names of the file.

mod attachment_names;
mod capture;
pub mod client;
mod drops;
mod flow_ends;
mod flows;
mod follow;
mod framing;
pub mod protocol;
mod recent;
mod reception;
pub mod server;
mod slots;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::iter::zip;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::analysis;
use crate::dataplane::Timestamp;
use crate::model::{Attach, Attachment, DeviceKind, Internet, Masquerade, Network, NicIx, PowerState};
use crate::sys::clock::monotonic_nanos;
use crate::sys::process;
use crate::sys::tun::OffloadSupport;

use super::engine::counters::PortCounters;
use super::engine::{Engine, Published};
use super::events::EventLog;
use super::flow_log::FlowLogReport;
use super::lookout::{GuestNamespace, Lookout};
use super::routers::Routers;
use attachment_names::AttachmentNames;
use follow::{Feed, TICK};
use protocol::{
    BalancerStatus, BgpQuestion, BgpTopic, InterfaceCounters, Node, NodeInterface, ProgramStatus, Refusal, Request,
    Response, Status, Topic,
};
use server::Answer;
use trace::trace;

/// What the engine does not know of its lab.
#[derive(Clone, Debug)]
pub struct LabFacts {
    /// The topology file as it was given.
    pub file: String,
    pub offload: OffloadSupport,
    pub device: DeviceKind,
    /// Why the kernel carries no flows though the file asks for it.
    pub not_carried: Option<String>,
    /// By machine: its namespace as `ip netns` names it, or as a path.
    pub namespaces: HashMap<String, String>,
    /// By machine and interface: what the guest calls it.
    pub devices: HashMap<String, BTreeMap<String, String>>,
    /// What is wrong with the router itself.
    pub alerts: Vec<String>,
    pub flow_logs: Arc<ArcSwap<FlowLogReport>>,
    pub events: Arc<EventLog>,
    pub routers: Arc<Routers>,
    /// Nodes and their namespaces.
    pub places: Vec<(String, PathBuf)>,
    pub lookout: Lookout,
    /// Those that the file starts, by how they are.
    pub programs: Vec<ProgramStatus>,
    /// The rule sets that it has loaded, likewise.
    pub filters: Vec<ProgramStatus>,
}

impl LabFacts {
    /// Those of machines that are not of the lab's kind of device.
    fn tun_interfaces(&self, network: &Network) -> Vec<String> {
        let nics = network.attachments().into_iter().filter(|at| matches!(at, Attachment::Nic(_)));
        let others = nics.filter(|nic| network.device_kind(*nic, self.device) != self.device);
        let named = others.map(|nic| AttachmentNames::of(network, nic));
        named.map(|AttachmentNames { node, nic, .. }| format!("{node}/{nic}")).collect()
    }

    /// All that the file has run in machines.
    fn started(&self) -> Vec<ProgramStatus> {
        self.filters.iter().chain(&self.programs).cloned().collect()
    }
}

/// How often a listing that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Answers for one engine.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) engine: Arc<Engine>,
    pub(super) lab: Arc<ArcSwap<LabFacts>>,
    pub(super) since: Instant,
}

impl Answers {
    pub(super) fn to(&self, request: Request) -> Answer {
        let Request::Follow(topic) = request else { return Answer::Once(self.once(request)) };
        let answers = self.clone();
        Answer::Follow(match topic {
            Topic::Drops { by_flow } => changes(move || drops::rows(&answers.engine, by_flow), Response::Drops),
            Topic::Counters => changes(move || answers.counters(), Response::Counters),
            Topic::Events => changes(move || answers.lab.load().events.latest(), Response::Events),
            Topic::Flows { filter } => match flows::follow(answers.engine, filter) {
                Ok(feed) => feed,
                Err(refusal) => return Answer::Once(Response::Refused(refusal)),
            },
            Topic::Capture(wanted) => match capture::capture(answers.engine, wanted) {
                Ok(feed) => feed,
                Err(refusal) => return Answer::Once(Response::Refused(refusal)),
            },
            Topic::Trace { filter } => match trace(answers.engine, &filter) {
                Ok(feed) => feed,
                Err(refusal) => return Answer::Once(Response::Refused(refusal)),
            },
        })
    }

    fn once(&self, request: Request) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Routes { target } => self.routes(&target).map_or_else(refused, Response::Routes),
            Request::Rules { target } => self.rules(&target).map_or_else(refused, Response::Rules),
            Request::UnusedRules => Response::UnusedRules(self.engine.unused_rules()),
            Request::NextHop(query) => self.next_hop(&query).map_or_else(refused, Response::NextHop),
            Request::FlowVerify(query) => self.flow_verify(&query).map_or_else(refused, Response::FlowVerify),
            Request::Drops { by_flow } => Response::Drops(drops::rows(&self.engine, by_flow)),
            Request::Counters => Response::Counters(self.counters()),
            Request::Events => Response::Events(self.lab.load().events.latest()),
            Request::Programs => Response::Programs(self.lab.load().started()),
            Request::Flows { filter, from } => {
                flows::page(&self.engine, &filter, from).map_or_else(refused, Response::Flows)
            }
            Request::Circuits => {
                let published = self.engine.published();
                Response::Circuits(analysis::circuits(&published.network, &published.compiled))
            }
            Request::Connections => {
                let published = self.engine.published();
                Response::Connections(analysis::connections(&published.network, &published.compiled))
            }
            Request::Bgp(question) => self.bgp(&question).unwrap_or_else(refused),
            Request::Peerings => Response::Peerings(analysis::peerings(&self.engine.network())),
            Request::LoadBalancers => Response::LoadBalancers(self.load_balancers()),
            Request::Snat => Response::Snat(self.snat()),
            Request::PublicAddresses => {
                Response::PublicAddresses(analysis::public_addresses(&self.engine.published().network))
            }
            Request::Explain { source, destination } => self
                .explain(&source, &destination)
                .map_or_else(refused, |answer| Response::Explanation(Box::new(answer))),
            Request::ExplainLive(query) => {
                self.explain_live(&query).map_or_else(refused, |answer| Response::LiveExplanation(Box::new(answer)))
            }
            Request::Retrace { query, source_port, seen } => {
                let published = self.engine.published();
                analysis::retrace(&published.network, &published.compiled, &query, (source_port, &seen))
                    .map_or_else(refused, Response::Retraced)
            }
            Request::Reach { probe, boundaries, nodes } => {
                self.reach(probe, boundaries, &nodes).map_or_else(refused, Response::Reach)
            }
            Request::Forecast(queries) => Response::Forecast(self.forecast(&queries)),
            Request::Change(_) => refused("this router cannot be changed".to_owned()),
            Request::Follow(_) => refused("this answer has no end".to_owned()),
            Request::Shutdown => Response::Stopping,
        }
    }

    fn status(&self) -> Status {
        let published = self.engine.published();
        let (network, counters) = (&published.network, self.engine.counters_of(&published));
        let lab = self.lab.load();
        let flow_logs = lab.flow_logs.load();
        let mut nodes: Vec<Node> = Vec::new();
        for (attachment, port) in zip(network.attachments(), &counters.ports) {
            // It belongs to no machine.
            if matches!(attachment, Attachment::Platform(_)) {
                continue;
            }
            let place = AttachmentNames::of(network, attachment);
            let device = lab.device(network, attachment, &place);
            let public_addresses = public_addresses(network, attachment);
            let AttachmentNames { node: machine, nic: name, subnet, addresses } = place;
            let alive = port.alive;
            let interface = NodeInterface { name, subnet, addresses, public_addresses, device, alive };
            match nodes.iter_mut().find(|node| node.name == machine) {
                Some(node) => node.network_interfaces.push(interface),
                None => nodes.push(Node {
                    name: machine,
                    namespace: lab.namespace(network, attachment),
                    power_state: PowerState::Running,
                    network_interfaces: vec![interface],
                }),
            }
        }
        nodes.extend(stopped(network));
        Status {
            name: network.name.clone(),
            file: lab.file.clone(),
            pid: process::own_id(),
            uptime_seconds: self.since.elapsed().as_secs(),
            generation: counters.generation,
            workers: counters.workers,
            device: lab.device.name().to_owned(),
            tun_interfaces: lab.tun_interfaces(network),
            carried_flows: self.engine.carried(),
            not_carried: lab.not_carried.clone(),
            offload: match lab.offload {
                OffloadSupport::Off => "off",
                OffloadSupport::Tcp => "tcp",
                OffloadSupport::TcpUdp => "tcp+udp",
            }
            .to_owned(),
            flows: counters.flows,
            private_clouds: analysis::private_clouds(network),
            load_balancers: self.balancers(),
            alerts: lab.alerts.iter().cloned().chain(flow_logs.complaints()).collect(),
            flow_logs: flow_logs.logs.clone(),
            flow_events_lost: flow_logs.lost,
            programs: lab.started(),
            nodes,
        }
    }

    fn routes(&self, target: &str) -> Result<Vec<analysis::RouteRow>, String> {
        let published = self.engine.published();
        analysis::routes_of(&published.network, &published.compiled, target)
    }

    fn rules(&self, target: &str) -> Result<Vec<analysis::EffectiveGroup>, String> {
        self.engine.read_carried();
        let published = self.engine.published();
        analysis::rules(&published.network, &published.compiled, target, |rule| Some(self.engine.hits(rule)))
    }

    fn next_hop(&self, query: &analysis::NextHopQuery) -> Result<analysis::NextHopAnswer, String> {
        let published = self.engine.published();
        analysis::next_hop(&published.network, &published.compiled, query)
    }

    fn flow_verify(&self, query: &analysis::FlowVerifyQuery) -> Result<analysis::FlowVerifyAnswer, String> {
        let published = self.engine.published();
        analysis::flow_verify(&published.network, &published.compiled, query)
    }

    fn bgp(&self, question: &BgpQuestion) -> Result<Response, String> {
        let BgpQuestion { what, node, peer } = question;
        let (routers, node) = (Arc::clone(&self.lab.load().routers), node.as_deref());
        Ok(match what {
            BgpTopic::Peers => Response::BgpPeers(routers.peers(node)?),
            BgpTopic::Learned => Response::BgpRoutes(routers.learned(node)?),
            BgpTopic::Refused => Response::BgpRoutes(routers.refused(node)?),
            BgpTopic::Advertised => Response::BgpRoutes(routers.advertised(node, *peer)?),
        })
    }

    fn explain(&self, source: &str, destination: &str) -> Result<analysis::Explanation, String> {
        let query = analysis::parse_query(source, destination)?;
        let published = self.engine.published();
        analysis::explain_with(
            &published.network,
            &published.compiled,
            &self.guest_rules(&published),
            &query,
            Instant::now(),
        )
    }

    fn explain_live(&self, query: &analysis::Query) -> Result<analysis::LiveExplanation, String> {
        let published = self.engine.published();
        let now = Timestamp(monotonic_nanos());
        let known = (&self.guest_rules(&published), self.engine.records());
        analysis::explain_live(&published.network, &published.compiled, known, query, (now, Instant::now()))
    }

    fn forecast(&self, queries: &[analysis::Query]) -> Vec<Result<analysis::Forecast, String>> {
        let published = self.engine.published();
        let guests = self.guest_rules(&published);
        let forecast = |query| analysis::forecast_with(&published.network, &published.compiled, &guests, query);
        queries.iter().map(forecast).collect()
    }

    fn reach(
        &self,
        probe: Option<analysis::Probe>,
        boundaries: BTreeSet<u16>,
        nodes: &[String],
    ) -> Result<analysis::Reach, String> {
        let published = self.engine.published();
        let network = &published.network;
        let traffic = analysis::traffic(network, probe, boundaries);
        analysis::reach_with(network, &published.compiled, &self.guest_rules(&published), nodes, &traffic)
    }

    /// What the guests have now, looked at.
    fn guest_rules(&self, published: &Published) -> analysis::GuestRules {
        let (network, lab) = (&published.network, self.lab.load());
        let masquerades = |node: &str| match network.virtual_machines.iter().find(|vm| vm.name == node) {
            Some(vm) => vm.guest_masquerade != Masquerade::Off,
            // By its way out through the host.
            None => node == Internet::NAME,
        };
        let place = |(node, namespace): &(String, PathBuf)| GuestNamespace {
            node: node.clone(),
            namespace: namespace.clone(),
            masquerades: masquerades(node),
        };
        let mut rules = analysis::GuestRules::of(network);
        rules.extend(lab.lookout.look(lab.places.iter().map(place).collect()));
        rules
    }

    fn load_balancers(&self) -> Vec<analysis::BackendRow> {
        let published = self.engine.published();
        let flows = self.engine.balanced_flows();
        analysis::load_balancers(&published.network, &published.compiled, published.health(), Some(&flows))
    }

    fn snat(&self) -> Vec<analysis::SnatRow> {
        let published = self.engine.published();
        let (network, compiled) = (&published.network, &published.compiled);
        let mut in_use = analysis::PortUse::default();
        self.engine.look_at_mappings(|held| in_use.count(held));
        let counters = self.engine.counters_of(&published);
        let ports: HashMap<_, _> = zip(network.attachments(), &counters.ports).collect();
        for (nic, sender) in compiled.ids().senders() {
            // Nothing is sent by a machine that is stopped.
            if let Some(port) = ports.get(&sender.attachment()) {
                in_use.fail(nic, port.no_port);
            }
        }
        analysis::snat(network, compiled, Some(&in_use))
    }

    /// Each load balancer with a rule, in file order.
    fn balancers(&self) -> Vec<BalancerStatus> {
        let mut all: Vec<(String, BTreeMap<String, bool>)> = Vec::new();
        for row in self.load_balancers() {
            if all.last().is_none_or(|(name, _)| *name != row.load_balancer) {
                all.push((row.load_balancer, BTreeMap::new()));
            }
            if let Some((_, backends)) = all.last_mut() {
                *backends.entry(row.backend).or_insert(true) &= row.eligible;
            }
        }
        let status = |(name, backends): (String, BTreeMap<String, bool>)| BalancerStatus {
            name,
            backends: backends.len(),
            down: backends.into_iter().filter(|(_, up)| !up).map(|(backend, _)| backend).collect(),
        };
        all.into_iter().map(status).collect()
    }

    fn counters(&self) -> Vec<InterfaceCounters> {
        let published = self.engine.published();
        let (network, counters) = (&published.network, self.engine.counters_of(&published));
        let row = |(attachment, port): (Attachment, &PortCounters)| {
            let place = AttachmentNames::of(network, attachment);
            InterfaceCounters {
                node: place.node,
                nic: place.nic,
                rx_packets: port.rx_packets,
                rx_bytes: port.rx_bytes,
                tx_packets: port.tx_packets,
                tx_bytes: port.tx_bytes,
                drops: port.dropped(),
                harmless_drops: port.harmless_drops(),
                alive: port.alive,
            }
        };
        zip(network.attachments(), &counters.ports).map(row).collect()
    }
}

impl LabFacts {
    fn device(&self, network: &Network, attachment: Attachment, place: &AttachmentNames) -> String {
        let attached = match attachment {
            Attachment::Nic(nic) => network.nic(nic).attach.as_ref(),
            Attachment::Vnet(vnet) => network.vnet(vnet).attach.as_ref(),
            _ => None,
        };
        let made = || self.devices.get(&place.node)?.get(&place.nic).cloned();
        attached.map(|to| to.interface.clone()).or_else(made).unwrap_or_default()
    }

    fn namespace(&self, network: &Network, attachment: Attachment) -> String {
        let attach = |attach: &Attach| attach.namespace.to_string();
        match attachment {
            Attachment::Vnet(vnet) => network.vnet(vnet).attach.as_ref().map(attach).unwrap_or_default(),
            Attachment::Nic(nic) => {
                let nic = network.nic(nic);
                let made = || self.namespaces.get(&network.vm(nic.virtual_machine).name).cloned().unwrap_or_default();
                nic.attach.as_ref().map_or_else(made, attach)
            }
            Attachment::Internet => self.namespaces.get(Internet::NAME).cloned().unwrap_or_default(),
            Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => {
                self.namespaces.get(&AttachmentNames::of(network, attachment).node).cloned().unwrap_or_default()
            }
            Attachment::Platform(_) => String::new(),
        }
    }
}

/// Those in front of an interface of a machine.
fn public_addresses(network: &Network, attachment: Attachment) -> Vec<IpAddr> {
    match attachment {
        Attachment::Nic(nic) => analysis::public_addresses_of(network, network.nic(nic)),
        _ => Vec::new(),
    }
}

/// Machines that do not run: they have no namespace.
fn stopped(network: &Network) -> impl Iterator<Item = Node> {
    let machines = network.virtual_machines.iter().filter(|vm| vm.power_state == PowerState::Stopped);
    machines.map(|vm| {
        let interface = |nic: &NicIx| {
            let attachment = Attachment::Nic(*nic);
            let AttachmentNames { nic: name, subnet, addresses, .. } = AttachmentNames::of(network, attachment);
            let public_addresses = public_addresses(network, attachment);
            NodeInterface { name, subnet, addresses, public_addresses, device: String::new(), alive: false }
        };
        let network_interfaces = vm.network_interfaces.iter().map(interface).collect();
        Node { name: vm.name.clone(), namespace: String::new(), power_state: PowerState::Stopped, network_interfaces }
    })
}

/// A listing's rows, then every so often those that are not as they were.
fn changes<T: Eq + Hash + Clone + Send + 'static>(
    mut look: impl FnMut() -> Vec<T> + Send + 'static,
    tell: fn(Vec<T>) -> Response,
) -> Feed {
    let mut told: Option<Vec<T>> = None;
    let mut ticks = 0;
    Box::new(move |_| {
        ticks += 1;
        if told.is_some() && TICK * ticks < LOOK {
            return Vec::new();
        }
        ticks = 0;
        let rows = look();
        let before: HashSet<&T> = told.iter().flatten().collect();
        let changed: Vec<T> = rows.iter().filter(|row| !before.contains(row)).cloned().collect();
        // The first answer is told even if there is nothing yet.
        let is_news = told.is_none() || !changed.is_empty();
        told = Some(rows);
        if is_news { vec![tell(changed)] } else { Vec::new() }
    })
}

fn refused(message: String) -> Response {
    Response::Refused(Refusal { message, help: None })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A listing that is followed is looked at four times a second; its client gets the rows that are new.
    #[test]
    fn rows_are_told_when_they_are_not_as_they_were() {
        let (rows, looks) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(Mutex::new(0)));
        let put = |new: &[&str]| *rows.lock().unwrap() = new.iter().map(|row| (*row).to_owned()).collect();
        let (source, looked) = (Arc::clone(&rows), Arc::clone(&looks));
        let look = move || {
            *looked.lock().unwrap() += 1;
            source.lock().unwrap().clone()
        };
        let mut feed = changes(look, |rows: Vec<String>| refused(rows.join(" ")));
        let mut tick = || -> Vec<String> {
            let message = |response| match response {
                Response::Refused(refusal) => refusal.message,
                other => panic!("{other:?}"),
            };
            feed(follow::Look::Next).into_iter().map(message).collect()
        };
        assert_eq!(tick(), [""], "it has begun");
        put(&["a", "b"]);
        let mut after_five = || {
            assert_eq!([(); 4].map(|()| tick().len()), [0; 4]);
            tick()
        };
        assert_eq!(after_five(), ["a b"]);
        assert_eq!(after_five(), [""; 0], "nothing new");
        put(&["b", "c", "a"]);
        assert_eq!(after_five(), ["c"]);
        put(&["c"]);
        assert_eq!(after_five(), [""; 0], "what has gone is not told");
        put(&["c", "a"]);
        assert_eq!(after_five(), ["a"], "and is new when it comes again");
        assert_eq!(*looks.lock().unwrap(), 6);
    }
}
