//! Random traffic through random networks with random changes, in a lab of TUNs and in one where the kernel carries
//! flows: what arrives, what is counted and what is recorded must agree.
//!
//! One idea: both labs get each step at once, so the first step on which they differ is the one to look at. Datagrams and
//! echoes are compared to the packet. How many segments a connection sends depends on timing; of these, what arrives
//! and what is dropped for which reason is compared.
//!
//! `VNET_SEED=7` tries that seed alone, `VNET_SEEDS=50` as many.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;

use vnet::daemon::api::client::ask;
use vnet::daemon::api::protocol::{FlowFilter, FlowRow, InterfaceCounters, Request, Response};
use vnet::sys::ping::Pinger;

use crate::agreement_topology::{FRONTEND, INTERNET, PORTS, PUBLIC, Random, Topology};
use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually, pattern, saw, say};

const SEEDS: u64 = 3;
const ROUNDS: usize = 5;
/// Of datagrams and of echoes, in a round.
const STEPS: usize = 10;
const CONNECTIONS: usize = 2;

/// A lab, asked without a process for each question.
struct Side {
    lab: Lab,
    device: &'static str,
    socket: PathBuf,
    /// What was counted before this round.
    before: Counted,
}

/// What came of something in one lab.
type Outcome = Vec<String>;

/// By node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Packets that came and were not dropped, packets that left, and the bytes of these.
    packets: BTreeMap<String, [u64; 3]>,
    /// By reason.
    drops: BTreeMap<String, u64>,
}

/// What the machines do.
#[derive(Clone, Debug)]
enum Step {
    Datagrams { from: String, source: SocketAddr, to: String, target: SocketAddr, port: u16, turns: Vec<Vec<usize>> },
    Echoes { from: String, target: Ipv4Addr, count: usize },
    Connection { from: String, to: String, target: SocketAddr, port: u16, length: usize },
}

impl Counted {
    fn since(&self, before: &Self) -> Self {
        let difference = |(node, now): (&String, &[u64; 3])| {
            let then = before.packets.get(node).copied().unwrap_or_default();
            (node.clone(), [0, 1, 2].map(|at| now[at] - then[at]))
        };
        let fewer = |(reason, now): (&String, &u64)| {
            let more = now - before.drops.get(reason).copied().unwrap_or_default();
            (more > 0).then(|| (reason.clone(), more))
        };
        Self {
            packets: self.packets.iter().map(difference).collect(),
            drops: self.drops.iter().filter_map(fewer).collect(),
        }
    }

    fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    /// Whether each packet that came in has left or was dropped.
    fn is_settled(&self) -> bool {
        let [came, left, _] =
            self.packets.values().fold([0; 3], |sum, one| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]]);
        came == left
    }
}

impl Side {
    fn up(topology: &Topology, device: &'static str) -> Option<Self> {
        let lab = Lab::up(&topology.text(device))?;
        let socket = PathBuf::from("/run/vnet").join(&lab.name).join("control.sock");
        Some(Self { lab, device, socket, before: Counted::default() })
    }

    /// Leaves out what guests' kernels send by themselves, which depends on the device.
    fn counted(&self) -> Counted {
        let Ok(Response::Drops(rows)) = ask(&self.socket, &Request::Drops { by_flow: false }) else {
            panic!("no drops")
        };
        let Ok(Response::Counters(counters)) = ask(&self.socket, &Request::Counters) else { panic!("no counters") };
        let mut counted = Counted::default();
        for InterfaceCounters { node, rx_packets, tx_packets, tx_bytes, drops, .. } in counters {
            let all = counted.packets.entry(node).or_default();
            let more = [rx_packets - drops, tx_packets, tx_bytes];
            *all = [0, 1, 2].map(|at| all[at] + more[at]);
        }
        for row in rows.into_iter().filter(|row| !row.harmless) {
            *counted.drops.entry(format!("{}: {}", row.node, row.reason)).or_default() += row.packets;
        }
        counted
    }

    /// How many flows the kernel carries.
    fn carried(&self) -> usize {
        let Ok(Response::Status(status)) = ask(&self.socket, &Request::Status) else { panic!("no status") };
        status.carried_flows.unwrap_or_default()
    }

    /// Datagrams and echoes, without times and without what is drawn.
    fn flows(&self) -> Vec<String> {
        let (mut rows, mut from) = (Vec::new(), None);
        loop {
            let request = Request::Flows { filter: FlowFilter::default(), from };
            let Ok(Response::Flows(page)) = ask(&self.socket, &request) else { panic!("no flows") };
            rows.extend(page.flows);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let mut rows: Vec<_> = rows.into_iter().filter_map(timeless).collect();
        rows.sort();
        rows
    }

    fn take(&self, step: &Step) -> Outcome {
        match step {
            Step::Datagrams { from, source, to, target, port, turns } => {
                let (client, server) = (self.bind(from, *source), self.bind(to, any(*port)));
                let turn =
                    |lengths: &Vec<usize>| self.there_and_back((&client, *source), (&server, *target), lengths, step);
                turns.iter().flat_map(turn).collect()
            }
            Step::Echoes { from, target, count } => self.echoes(from, *target, *count, step),
            Step::Connection { from, to, target, port, length } => {
                let arrived = self.connect(from, to, (*target, *port), *length);
                vec![format!("{arrived:?} bytes arrived")]
            }
        }
    }

    fn bind(&self, node: &str, address: SocketAddr) -> UdpSocket {
        let socket = self.lab.inside(node, || bound(|| UdpSocket::bind(address)));
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Datagrams there, and each that arrives back again.
    fn there_and_back(
        &self,
        (client, source): (&UdpSocket, SocketAddr),
        (server, target): (&UdpSocket, SocketAddr),
        lengths: &[usize],
        step: &Step,
    ) -> Outcome {
        let sends = |socket: &UdpSocket, length: usize, to| socket.send_to(&pattern(length), to).is_ok();
        let dropped = self.counted().dropped();
        let sent = lengths.iter().filter(|length| sends(client, **length, target)).count();
        let there = self.arrivals(server, sent, dropped, step);
        let dropped = self.counted().dropped();
        let answered = there.iter().filter(|(length, peer)| sends(server, *length, *peer)).count();
        let back = self.arrivals(client, answered, dropped, step);
        // The port of a translated source is drawn.
        let shown = |(length, peer): &(usize, SocketAddr)| {
            let port = if *peer == source || *peer == target { peer.port() } else { 0 };
            format!("{length} from {}:{port}", peer.ip())
        };
        let mut outcome = vec![format!("{sent} sent, {answered} answered")];
        // On Ethernet a packet may overtake those that wait until its neighbour's address is known.
        for arrived in [&there, &back] {
            let mut shown: Vec<_> = arrived.iter().map(shown).collect();
            shown.sort();
            outcome.extend(shown);
        }
        outcome
    }

    /// Of so many datagrams under way, those that arrive; the others are known to be dropped.
    fn arrivals(&self, socket: &UdpSocket, sent: usize, dropped_before: u64, step: &Step) -> Vec<(usize, SocketAddr)> {
        let mut buffer = [0; 2000];
        let mut arrived = Vec::new();
        eventually(&format!("each arrives or is dropped: {step:?}"), || {
            let counted = self.counted();
            saw(format!("{} lab: {} of {sent} arrived; {counted:#?}", self.device, arrived.len()));
            let dropped = counted.dropped() - dropped_before;
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                assert!(buffer[..length] == pattern(length), "what arrived is not what was sent: {step:?}");
                arrived.push((length, peer));
            }
            arrived.len() as u64 + dropped >= sent as u64
        });
        arrived
    }

    /// All of one identifier, up to the first that is not answered.
    fn echoes(&self, from: &str, target: Ipv4Addr, count: usize, step: &Step) -> Outcome {
        let mut pinger = self.lab.inside(from, || Pinger::towards(target.into())).unwrap();
        let mut outcome = Vec::new();
        for _ in 0..count {
            let dropped = self.counted().dropped();
            if let Some(answer) = pinger.ask(64, NEVER).unwrap() {
                outcome.push(format!("an answer from {}", answer.from));
                continue;
            }
            eventually(&format!("it is answered or dropped: {step:?}"), || self.counted().dropped() > dropped);
            outcome.push("no answer".to_owned());
            break;
        }
        outcome
    }

    /// How many bytes of a connection arrive; None if it does not open.
    fn connect(&self, from: &str, to: &str, (target, port): (SocketAddr, u16), length: usize) -> Option<usize> {
        let listener = self.lab.inside(to, || bound(|| TcpListener::bind(any(port))));
        let client = self.lab.inside(from, || TcpStream::connect_timeout(&target, NEVER)).ok()?;
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        let sender = thread::spawn(move || (&client).write_all(&pattern(length)).unwrap());
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert!(received == pattern(length), "what arrived is not what was sent");
        Some(received.len())
    }

    /// Until nothing is under way any more: what is counted stays so for longer than the kernel's counts are old.
    fn settle(&self) -> Counted {
        const SAME: usize = 10;
        let (mut last, mut same) = (self.counted(), 0);
        eventually("all packets are forwarded or dropped", || {
            let now = self.counted();
            same = if now == last && now.is_settled() { same + 1 } else { 0 };
            last = now;
            same >= SAME
        });
        last
    }
}

/// On which a machine listens.
fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

fn timeless(row: FlowRow) -> Option<String> {
    let is_echo = row.protocol == "Icmp";
    if !is_echo && row.protocol != "Udp" {
        return None;
    }
    let port = |port| if is_echo { 0 } else { port };
    let row = FlowRow {
        age_seconds: 0.0,
        idle_seconds: 0.0,
        translated_port: row.translated_port.map(|_| 0),
        source_port: port(row.source_port),
        destination_port: port(row.destination_port),
        ..row
    };
    serde_json::to_string(&row).ok()
}

/// Some exchange of packets between two of the machines, or with the Internet.
fn step(topology: &Topology, connection: bool, random: &mut Random) -> Step {
    let from = random.below(topology.machines.len());
    let to = (from + 1 + random.below(topology.machines.len() - 1)) % topology.machines.len();
    let (from, to) = (topology.machines[from].clone(), topology.machines[to].clone());
    let first = &topology.machines[0];
    let (from, source, to, target) = match random.below(8) {
        // A kernel takes no packet that comes from outside with its own address.
        0 if from.name != first.name => (from.name, from.address, first.name.clone(), FRONTEND),
        1 => (from.name, from.address, "internet".to_owned(), INTERNET),
        2 => ("internet".to_owned(), INTERNET, first.name.clone(), PUBLIC),
        _ => (from.name, from.address, to.name, to.address),
    };
    let port = PORTS.start + random.below(PORTS.len()) as u16;
    let target_at = SocketAddr::new(target.into(), port);
    if connection {
        let length = random.below(200_000);
        return Step::Connection { from, to, target: target_at, port, length };
    }
    if random.in_ten(3) {
        return Step::Echoes { from, target, count: 1 + random.below(8) };
    }
    let source = SocketAddr::new(source.into(), 6000 + random.below(3) as u16);
    // The kernel carries a flow from about its third turn on.
    let turns = 1 + random.below(4);
    let turns = (0..turns).map(|_| (0..=random.below(6)).map(|_| random.below(1400)).collect()).collect();
    Step::Datagrams { from, source, to, target: target_at, port, turns }
}

/// The same in both labs, at once.
fn in_both<T: Send>(sides: &[Side; 2], f: impl Fn(&Side) -> T + Sync) -> [T; 2] {
    thread::scope(|scope| {
        let [one, other] = [0, 1].map(|side| {
            scope.spawn({
                let f = &f;
                move || f(&sides[side])
            })
        });
        [one.join().unwrap(), other.join().unwrap()]
    })
}

/// What is counted and recorded once both agree; fails where they never do.
fn assert_agreement<T: PartialEq + Debug + Send>(sides: &[Side; 2], what: &str, of: impl Fn(&Side) -> T + Sync) {
    eventually(what, || {
        let [tun, veth] = in_both(sides, &of);
        saw(format!("tun  {tun:#?}\nveth {veth:#?}"));
        tun == veth
    });
}

fn try_seed(seed: u64) -> Option<()> {
    say(&format!("seed {seed}"));
    let mut random = Random(seed);
    let mut topology = Topology::random(&mut random);
    let mut sides = [Side::up(&topology, "tun")?, Side::up(&topology, "veth")?];
    let (mut steps, mut carried) = (Vec::<Step>::new(), 0);
    for round in 0..ROUNDS {
        let at = |step: &Step| format!("VNET_SEED={seed}, round {round}, {step:?}\n{}", topology.text("veth"));
        for side in &mut sides {
            side.before = side.settle();
        }
        for _ in 0..STEPS {
            // Flows that have been go on.
            let step = match steps.len() {
                0 => step(&topology, false, &mut random),
                _ if random.in_ten(6) => step(&topology, false, &mut random),
                _ => random.pick(&steps).clone(),
            };
            steps.push(step.clone());
            let [tun, veth] = in_both(&sides, |side| side.take(&step));
            assert_eq!(tun, veth, "{}", at(&step));
        }
        carried += sides[1].carried();
        let when = format!("VNET_SEED={seed}, round {round}");
        assert_agreement(&sides, &format!("{when}: counters agree"), |side| side.counted().since(&side.before));
        assert_agreement(&sides, &format!("{when}: records agree"), Side::flows);
        for side in &mut sides {
            side.before = side.settle();
        }
        for _ in 0..CONNECTIONS {
            let step = step(&topology, true, &mut random);
            let [tun, veth] = in_both(&sides, |side| side.take(&step));
            assert_eq!(tun, veth, "{}", at(&step));
        }
        let reasons = |side: &Side| side.settle().since(&side.before).drops.into_keys().collect::<Vec<_>>();
        assert_agreement(&sides, &format!("{when}: reasons agree"), reasons);
        topology.change(&mut random);
        for side in &sides {
            side.lab.apply(&topology.text(side.device));
        }
    }
    assert!(carried > 0, "VNET_SEED={seed}: the kernel carries nothing");
    Some(())
}

#[test]
fn the_kernel_and_the_workers_agree_on_random_networks() {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let seeds = match number("VNET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("VNET_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if try_seed(seed).is_none() {
            return;
        }
    }
}
