//! Tests with real packets: does this probe arrive, does its answer come back, and which machines forward them?
//!
//! One idea: many at once. Listeners are opened first, all trials send at the same time, and each retries with longer
//! timeouts until its time is up, since a lost packet is not an answer. A batch takes as long as its most patient
//! trial.

pub mod bench;
mod forwarders;
pub(super) mod listeners;
pub mod names;
pub mod page;
mod patience;
pub mod ping;
pub mod shares;
pub mod steady;
mod translated;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::model::{Attachment, Internet, Masquerade, Network, NicIx, PLATFORM_NODE, Probe, VirtualMachine};
use crate::sys::netns::Netns;
use crate::sys::ping::Pinger;
use crate::sys::socket::Origin;

use super::error::{During, Result};
use super::journal::record::{Record, RecordedNode};
use super::lifecycle::daemon;
use super::namespaces::{attach, gateway};
use forwarders::{Flow, Seen, Watch};
use listeners::{Transport, is_taken};
use patience::Patience;

/// Trials that run at the same time.
const BATCH: usize = 64;
/// Machines that are watched, whether they should forward or not.
const WATCHED: usize = 64;
/// How long a machine's own program may take to listen before we do.
const PROGRAM: Duration = Duration::from_secs(1);
/// How often an echo looks whether it should end.
const ECHO: Duration = Duration::from_millis(50);

/// A question.
#[derive(Clone, Debug)]
pub struct Trial {
    pub from: Attachment,
    /// The address to send from, and with it the interface; None for whichever the guest chooses.
    pub bind: Option<IpAddr>,
    /// The machine or node that has the destination.
    pub to: Option<Attachment>,
    pub destination: IpAddr,
    /// The destination's own address: the same, but for a public address.
    pub listener: IpAddr,
    pub probe: Probe,
    /// How long to ask before it counts as blocked.
    pub patience: Duration,
    /// Whether guests may change its packets by rules of their own: the flow is then followed under its other names.
    pub follow: bool,
}

/// The result of a trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub arrived: bool,
    /// It was answered, but the machine that was meant never saw the packet.
    pub elsewhere: bool,
    /// The machines that were seen forwarding the packet, in order; None where a packet may have been missed.
    pub via: Option<Vec<String>>,
    pub via_return: Option<Vec<String>>,
    /// That the last attempt was made from; of a ping, its identifier.
    pub source_port: u16,
    pub took: Duration,
    /// What else there is to know.
    pub note: Option<String>,
    /// Of a flow that was followed and not answered.
    pub last_seen: Option<LastSeen>,
}

/// Where a packet or its answer was seen last.
#[derive(Clone, Debug)]
pub struct LastSeen {
    /// None where no machine but its sender saw it.
    pub at: Option<String>,
    /// Whether that machine has sent it on.
    pub sent_on: bool,
    pub text: String,
}

/// Runs all trials. Must be called from a thread that may enter the lab's namespaces; ends early once `stop` is set.
pub fn run(lab: &Record, network: &Network, trials: &[Trial], stop: &AtomicBool) -> Result<Vec<Result<Outcome>>> {
    let ground = Ground { lab, network };
    let mut outcomes = Vec::new();
    for batch in trials.chunks(BATCH) {
        let (mut first, moved) = ground.batch(batch, &[], stop)?;
        let (again, places): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
        let trials: Vec<Trial> = again.iter().map(|index: &usize| batch[*index].clone()).collect();
        if !trials.is_empty() {
            let (second, _) = ground.batch(&trials, &places, stop)?;
            again.into_iter().zip(second).for_each(|(index, outcome)| first[index] = outcome);
        }
        outcomes.extend(first);
    }
    Ok(outcomes)
}

/// Where trials happen.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) lab: &'a Record,
    pub(super) network: &'a Network,
}

/// What answers at an address.
enum Listener {
    /// The kernel, or nothing.
    None,
    Tcp {
        _held: TcpListener,
    },
    Udp(UdpSocket),
    /// A program of the machine, by its own rules.
    Program,
}

type ListenAddress = (Attachment, SocketAddr, Transport);
type Listeners = HashMap<ListenAddress, Listener>;

/// Outcomes, and the trials to repeat with a listener elsewhere.
type Batch = (Vec<Result<Outcome>>, Vec<(usize, ListenAddress)>);

/// What a trial's packets were like and whether they were answered.
struct Attempt {
    answer: Answer,
    flow: Flow,
    took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    /// Refused: there is no listener.
    Refused,
    /// An ICMP error says why it cannot arrive.
    Unreachable,
    /// The sender's own kernel has no route to it.
    NoRoute,
    Silence,
}

impl Ground<'_> {
    /// Runs all trials at once, with listeners at these addresses, too. Returns by number the trials that a guest sent
    /// on to an address without a listener.
    fn batch(self, trials: &[Trial], places: &[ListenAddress], stop: &AtomicBool) -> Result<Batch> {
        let listeners = self.listeners(trials.iter().filter_map(Trial::place).chain(places.iter().copied()))?;
        let programs = listeners.iter().filter(|(_, listener)| matches!(listener, Listener::Program));
        let asked: Vec<String> = programs.map(|((attachment, ..), _)| self.name(*attachment)).collect();
        let follow = trials.iter().any(|trial| trial.follow) || self.masquerades();
        let addresses = (!follow).then(|| trials.iter().map(|trial| trial.destination).collect());
        let machines = self.watched(&asked)?;
        let watch = Watch::start(&machines, addresses)?;
        let over = AtomicBool::new(false);
        let attempts: Vec<Result<Attempt>> = thread::scope(|scope| {
            for listener in listeners.values() {
                if let Listener::Udp(socket) = listener {
                    scope.spawn(|| echo(socket, &over));
                }
            }
            let asking: Vec<_> = trials.iter().map(|trial| scope.spawn(move || self.ask(trial, stop))).collect();
            let attempts = asking.into_iter().map(|thread| thread.join().expect("asking does not panic")).collect();
            over.store(true, Ordering::Relaxed);
            attempts
        });
        let seen = watch.end();
        let (mut outcomes, mut moved) = (Vec::new(), Vec::new());
        for (index, (trial, attempt)) in trials.iter().zip(attempts).enumerate() {
            let outcome = attempt.map(|attempt| {
                let names = if follow {
                    translated::names(attempt.flow, attempt.answer == Answer::Refused, &seen, &machines)
                } else {
                    vec![attempt.flow]
                };
                let place = self.moved(trial, &attempt, &names, &seen);
                moved.extend(place.filter(|place| !listeners.contains_key(place)).map(|place| (index, place)));
                let listener = place.and_then(|place| listeners.get(&place));
                let listener = listener.or_else(|| listeners.get(&trial.place()?)).unwrap_or(&Listener::None);
                self.outcome(trial, &attempt, listener, (&names, &seen))
            });
            outcomes.push(outcome);
        }
        Ok((outcomes, moved))
    }

    fn masquerades(self) -> bool {
        self.network.virtual_machines.iter().any(|vm| vm.guest_masquerade != Masquerade::Off)
    }

    /// Where a guest has sent the packets on to, another machine or port than was asked, unless that was answered.
    fn moved(self, trial: &Trial, attempt: &Attempt, names: &[Flow], seen: &Seen) -> Option<ListenAddress> {
        let (_, asked, transport) = trial.place()?;
        if !trial.follow || attempt.answer == Answer::Yes {
            return None;
        }
        let direct = [asked, SocketAddr::new(trial.destination, asked.port())];
        // The last name that the machine with its destination has seen; the order of later ones depends on what answered.
        names.iter().rev().find_map(|name| {
            let to = SocketAddr::new(name.dst.0, name.dst.1);
            let has = |nic: &NicIx| {
                let interface = self.network.nic(*nic);
                let machine = &self.network.vm(interface.virtual_machine).name;
                interface.addresses.contains(&to.ip()) && seen.passed(machine, *name)
            };
            let nic = (0..self.network.network_interfaces.len()).map(NicIx).find(has)?;
            let place = (Attachment::Nic(nic), to, transport);
            (!direct.contains(&to) && place.0 != trial.from).then_some(place)
        })
    }

    /// Opens the listeners, unless a program of the machine listens there.
    fn listeners(self, places: impl Iterator<Item = ListenAddress>) -> Result<Listeners> {
        let mut listeners = Listeners::new();
        let deadline = Instant::now() + PROGRAM;
        for place in places {
            if let Entry::Vacant(free) = listeners.entry(place) {
                let (attachment, address, transport) = place;
                let deadline = self.has_program(attachment).then_some(deadline);
                let opened = self.namespace(attachment)?.run(|| listen(address, transport, deadline));
                let opened = opened.and_then(|opened| opened);
                free.insert(opened.during(|| format!("cannot listen on {address} in {}", self.name(attachment)))?);
            }
        }
        Ok(listeners)
    }

    /// All machines of a small lab; of a large one those that forward or must say whether something arrived.
    fn watched(self, asked: &[String]) -> Result<Vec<(String, Netns)>> {
        let machines = self.lab.nodes.iter().filter(|node| {
            let forwards = |vm: &VirtualMachine| vm.name == node.name && vm.guest_forwarding;
            self.lab.nodes.len() <= WATCHED
                || asked.contains(&node.name)
                || self.network.virtual_machines.iter().any(forwards)
        });
        let open = |node: &RecordedNode| {
            let namespace = Netns::open(&node.namespace);
            let namespace = namespace.during(|| format!("cannot open the namespace of {}", node.name))?;
            Ok((node.name.clone(), namespace))
        };
        machines.map(open).collect()
    }

    fn ask(self, trial: &Trial, stop: &AtomicBool) -> Result<Attempt> {
        let origin = self.origin(trial);
        let start = Instant::now();
        let (peer, patience) = (trial.destination, Patience::new(trial.patience, stop));
        let asked = self.namespace(trial.from)?.run(|| match trial.probe {
            Probe::Ping => ping(&origin, peer, patience),
            Probe::Tcp(port) => connect(&origin, SocketAddr::new(peer, port), patience),
            Probe::Udp(port) => send(&origin, SocketAddr::new(peer, port), patience),
        });
        let asked = asked.and_then(|asked| asked);
        let (answer, flow) = match asked {
            // As a site's device has it that has learned no route: nothing is sent, and nothing arrives.
            Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => {
                (Answer::NoRoute, Flow::tcp((trial.bind.unwrap_or(peer), 0), (peer, 0)))
            }
            asked => asked.through_the_lab(|| format!("cannot send from {}", self.name(trial.from)))?,
        };
        Ok(Attempt { answer, flow, took: start.elapsed() })
    }

    /// Where a trial's packets leave from.
    fn origin(self, trial: &Trial) -> Origin {
        match trial.bind {
            // Answers may come by another tunnel or link of the same node.
            Some(address) if matches!(trial.from, Attachment::Tunnel(_) | Attachment::CircuitLink(..)) => {
                Origin { device: None, address: Some(address) }
            }
            Some(address) => Origin { device: Some(self.device(trial.from)), address: Some(address) },
            None => Origin::default(),
        }
    }

    fn outcome(
        self,
        trial: &Trial,
        attempt: &Attempt,
        listener: &Listener,
        (names, seen): (&[Flow], &Seen),
    ) -> Outcome {
        let (mut arrived, mut note) = match attempt.answer {
            Answer::Yes => (true, None),
            Answer::Silence => (false, None),
            Answer::Unreachable => (false, Some("a guest answers that it cannot be reached")),
            Answer::NoRoute => (false, Some("the sender has no route to it")),
            // Where a listener of ours is open, the refusal is not its own.
            Answer::Refused => match listener {
                Listener::None => (true, Some("refused: nothing listens there")),
                Listener::Tcp { .. } | Listener::Udp(_) | Listener::Program => {
                    (false, Some("refused, although a program listens: look at what the guests filter"))
                }
            },
        };
        let foreign = matches!((listener, trial.probe), (Listener::Program, Probe::Udp(_)));
        if foreign && !arrived {
            arrived = trial.to.is_some_and(|to| seen.passed(&self.name(to), attempt.flow));
            note = Some("a program of the machine has the port: seen is only whether the packet arrives");
        }
        let answered = matches!(attempt.answer, Answer::Yes | Answer::Refused);
        // A guest that sends packets elsewhere means to.
        let elsewhere = answered && names.len() == 1 && self.missed(trial, attempt.flow, seen);
        if elsewhere {
            (arrived, note) = (false, Some("answered by another machine, which has the address too"));
        }
        let answers: Vec<_> = names.iter().map(|name| name.answer()).collect();
        let to = trial.to.map(|to| self.name(to));
        let last_seen = || LastSeen::of(seen, names, (&self.name(trial.from), to.as_deref()));
        Outcome {
            arrived,
            elsewhere,
            via: seen.way(names),
            // A program need not answer.
            via_return: seen.way(&answers).filter(|_| !foreign),
            source_port: attempt.flow.src.1,
            took: attempt.took,
            note: note.map(str::to_owned),
            last_seen: (trial.follow && !arrived).then(last_seen),
        }
    }

    /// Whether the machine that is asked never saw the packet, which comes to it as it was sent.
    fn missed(self, trial: &Trial, flow: Flow, seen: &Seen) -> bool {
        let Some(to @ Attachment::Nic(_)) = trial.to else { return false };
        trial.listener == trial.destination && !self.translates_sources() && seen.missed(&self.name(to), flow)
    }

    /// Whether a gateway may give packets another source, by NAT rules of a connection (VPN-15).
    fn translates_sources(self) -> bool {
        self.network.connections.iter().any(|connection| !connection.nat_rules.is_empty())
    }

    pub(super) fn namespace(self, attachment: Attachment) -> Result<Netns> {
        let path = if let Some(to) = attach::place(self.network, attachment) {
            Some(attach::find(&to.namespace)?)
        } else {
            let name = self.name(attachment);
            self.lab.nodes.iter().find(|node| node.name == name).map(|node| node.namespace.clone())
        };
        let path = path.ok_or_else(|| io::Error::other("the lab has no such machine"));
        path.and_then(|path| Netns::open(&path)).during(|| format!("cannot enter {}", self.name(attachment)))
    }

    /// What the guest calls an interface.
    fn device(self, attachment: Attachment) -> String {
        if let Some(to) = attach::place(self.network, attachment) {
            return to.interface.clone();
        }
        let machine = self.name(attachment);
        let node = self.lab.nodes.iter().find(|node| node.name.eq_ignore_ascii_case(&machine));
        let device = match attachment {
            Attachment::Nic(nic) => node.and_then(|node| node.devices.get(&self.network.nic(nic).name.to_lowercase())),
            Attachment::Internet => node.and_then(|node| node.devices.get(Internet::INTERFACE)),
            Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => {
                let names = gateway::names(self.network, attachment);
                node.zip(names).and_then(|(node, (_, name))| node.devices.get(&name))
            }
            Attachment::Vnet(_) | Attachment::Platform(_) => None,
        };
        device.cloned().unwrap_or_default()
    }

    fn name(self, attachment: Attachment) -> String {
        match attachment {
            Attachment::Nic(nic) => self.network.vm(self.network.nic(nic).virtual_machine).name.clone(),
            Attachment::Vnet(vnet) => self.network.vnet(vnet).name.clone(),
            Attachment::Internet => Internet::NAME.to_owned(),
            Attachment::Gateway(gateway) => self.network.gateway(gateway).name.clone(),
            Attachment::Tunnel(tunnel) => daemon::tunnel_site(self.network, tunnel).to_owned(),
            Attachment::Platform(_) => PLATFORM_NODE.to_owned(),
            Attachment::Edge(circuit) => self.network.circuit(circuit).name.clone(),
            Attachment::RouteServer(server) => self.network.route_server(server).name.clone(),
            Attachment::CloudRouter(cloud, tier) => self.network.cloud(cloud).router_name(tier).to_owned(),
            Attachment::Segment(cloud, segment) => self.network.segment(cloud, segment).node.clone(),
            Attachment::CircuitLink(circuit, _) => {
                self.network.customer_name(circuit).map_or_else(String::new, str::to_owned)
            }
        }
    }

    fn has_program(self, attachment: Attachment) -> bool {
        match attachment {
            Attachment::Nic(nic) => !self.network.vm(self.network.nic(nic).virtual_machine).run.is_none(),
            Attachment::Vnet(_)
            | Attachment::Gateway(_)
            | Attachment::Platform(_)
            | Attachment::Edge(_)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..) => false,
            Attachment::Segment(cloud, segment) => !self.network.segment(cloud, segment).run.is_none(),
            Attachment::Tunnel(tunnel) => {
                self.network.site_of(tunnel).is_some_and(|site| !self.network.site(site).run.is_none())
            }
            Attachment::CircuitLink(circuit, _) => {
                self.network.customer(circuit).is_some_and(|customer| !self.network.program(customer).is_none())
            }
            Attachment::Internet => self.network.internet.as_ref().is_some_and(|internet| !internet.run.is_none()),
        }
    }
}

impl LastSeen {
    fn of(seen: &Seen, names: &[Flow], (from, to): (&str, Option<&str>)) -> Self {
        let Some((machine, sent_on, answer)) = seen.last_seen(names, (from, to)) else {
            let text = format!("the packet left {from}, if at all, and came to no machine");
            return Self { at: None, sent_on: false, text };
        };
        let text = match (answer, sent_on) {
            (true, true) => format!("{machine} sent the answer on, which did not arrive"),
            (true, false) => format!("{machine} got the answer and did not send it on"),
            (false, true) => format!("{machine} sent the packet on, and no machine answered it"),
            (false, false) if Some(machine.as_str()) == to => {
                format!("the packet came to {machine}, which did not answer")
            }
            (false, false) => format!("{machine} got the packet and did not send it on"),
        };
        Self { at: Some(machine), sent_on, text }
    }
}

impl Trial {
    /// The port that is asked; none of a ping is 0.
    fn port(&self) -> u16 {
        match self.probe {
            Probe::Ping => 0,
            Probe::Tcp(port) | Probe::Udp(port) => port,
        }
    }

    /// Where a listener must be open.
    fn place(&self) -> Option<ListenAddress> {
        let (port, transport) = match self.probe {
            Probe::Ping => return None,
            Probe::Tcp(port) => (port, Transport::Tcp),
            Probe::Udp(port) => (port, Transport::Udp),
        };
        Some((self.to?, SocketAddr::new(self.listener, port), transport))
    }
}

/// Opens a listener in the calling thread's namespace, where a program may do so until the deadline.
fn listen(address: SocketAddr, transport: Transport, deadline: Option<Instant>) -> io::Result<Listener> {
    while deadline.is_some_and(|deadline| Instant::now() < deadline) && !is_taken(transport, address.port())? {
        thread::sleep(Duration::from_millis(10));
    }
    let opened = match transport {
        Transport::Tcp => TcpListener::bind(address).map(|listener| Listener::Tcp { _held: listener }),
        Transport::Udp => UdpSocket::bind(address).map(Listener::Udp),
    };
    match opened {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Listener::Program),
        // An address of an attached VNet may belong to no machine.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(Listener::None),
        opened => opened,
    }
}

/// Sends everything back until it is over.
fn echo(socket: &UdpSocket, over: &AtomicBool) {
    if socket.set_read_timeout(Some(ECHO)).is_err() {
        return;
    }
    let mut buffer = [0; 64];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            // A lost answer is requested again.
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}

fn ping(origin: &Origin, peer: IpAddr, patience: Patience<'_>) -> io::Result<(Answer, Flow)> {
    let mut pinger = Pinger::from(origin, peer)?;
    let flow = Flow::echo(origin.source_towards(peer)?, peer, pinger.id());
    for wait in patience {
        if pinger.ask(64, wait)?.is_some() {
            return Ok((Answer::Yes, flow));
        }
    }
    Ok((Answer::Silence, flow))
}

fn connect(origin: &Origin, peer: SocketAddr, patience: Patience<'_>) -> io::Result<(Answer, Flow)> {
    let mut last = None;
    for wait in patience {
        let connecting = origin.tcp_towards(peer)?;
        let local = connecting.local_addr()?;
        let flow = Flow::tcp((local.ip(), local.port()), (peer.ip(), peer.port()));
        let answer = match connecting.wait(wait) {
            Ok(Some(())) => Answer::Yes,
            Ok(None) => Answer::Silence,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            // A guest on the path reports that it cannot.
            Err(_) => Answer::Unreachable,
        };
        last = Some((answer, flow));
        if answer != Answer::Silence {
            break;
        }
    }
    last.ok_or_else(|| io::ErrorKind::Interrupted.into())
}

fn send(origin: &Origin, peer: SocketAddr, patience: Patience<'_>) -> io::Result<(Answer, Flow)> {
    let socket = origin.udp_towards(peer)?;
    let local = socket.local_addr()?;
    let flow = Flow::udp((local.ip(), local.port()), (peer.ip(), peer.port()));
    let mut answer = Answer::Silence;
    for wait in patience {
        socket.set_read_timeout(Some(wait))?;
        let asked = socket.send(b"vnet").and_then(|_| socket.recv(&mut [0; 64]));
        answer = match asked {
            Ok(_) => Answer::Yes,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::Silence,
            Err(_) => Answer::Unreachable,
        };
        if answer != Answer::Silence {
            break;
        }
    }
    Ok((answer, flow))
}

#[cfg(test)]
mod tests;
