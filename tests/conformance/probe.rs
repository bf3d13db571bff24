//! Packets of ordinary clients, and what became of them.
//!
//! One idea: a drop is proven by its counter, an arrival by the answer, a way by whoever saw the packets with two hop
//! limits. So nothing waits for silence: a probe ends when its proof is there, and fails when it never comes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use vnet::sys::ping::Pinger;
use vnet::sys::socket::{Connecting, Origin};

use crate::Outcome;
use crate::expect::{Expect, Lost};
use crate::lab::NEVER;
use crate::sight::{Sight, Traffic};
use crate::stage::Stage;

/// How long the first attempt waits for its answer; each later one waits twice as long.
const FIRST_ATTEMPT: Duration = Duration::from_millis(10);
/// Dropped now and then whatever the scenario: guests say what nobody asked them to.
const NOISE: [&str; 2] = ["Multicast", "LinkLocal"];

/// Packets dropped, by node and reason.
pub(crate) type Drops = BTreeMap<(String, String), u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ping,
    Tcp,
    Udp,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "ping" => Some(Self::Ping),
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

    fn protocol(self, ipv4: bool) -> u8 {
        match (self, ipv4) {
            (Self::Ping, true) => 1,
            (Self::Ping, false) => 58,
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
        }
    }
}

/// A question as a scenario writes it.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    pub(crate) from: String,
    /// One of the sender's addresses; None for whichever its kernel takes.
    pub(crate) source: Option<String>,
    /// A node, or an address.
    pub(crate) to: String,
    pub(crate) port: u16,
}

/// The same with addresses.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    kind: Kind,
    from: String,
    origin: Origin,
    pub(crate) peer: SocketAddr,
    /// Who has the peer's address.
    pub(crate) owner: Option<String>,
    traffic: Traffic,
}

impl Question {
    pub(crate) fn new(stage: &Stage, ask: &Ask) -> Outcome<Self> {
        let address: IpAddr = stage.address(&ask.to)?;
        let source = ask.source.as_ref().map(|text| text.parse().map_err(|_| format!("`{text}` is no address")));
        let origin = Origin { device: None, address: source.transpose()? };
        stage.node(&ask.from)?;
        let source = stage.lab.inside(&ask.from, || origin.source_towards(address));
        let source = source.map_err(|error| format!("{} cannot send to {address}: {error}", ask.from))?;
        let traffic = Traffic {
            protocol: ask.kind.protocol(address.is_ipv4()),
            src: source,
            dst: address,
            src_port: None,
            dst_port: (ask.kind != Kind::Ping).then_some(ask.port),
        };
        let peer = SocketAddr::new(address, ask.port);
        Ok(Self { kind: ask.kind, from: ask.from.clone(), origin, peer, owner: stage.owner(address), traffic })
    }

    /// Asks, and holds what happens against what should.
    pub(crate) fn run(&self, stage: &Stage, expect: &Expect) -> Outcome {
        let mut watch = Watch::begin(stage, self.traffic, self.owner.clone());
        let mut asking = Asking::open(stage, self)?;
        watch.fate(stage, expect, |wait| asking.attempt(wait))
    }

    /// A TCP connection that stays.
    pub(crate) fn open(&self, stage: &Stage) -> Outcome<Flow> {
        let owner = self.owner.as_deref().ok_or("nobody has the destination")?;
        let listener = stage.lab.inside(owner, || TcpListener::bind(self.peer))?;
        let client = stage.lab.inside(&self.from, || TcpStream::connect_timeout(&self.peer, stage.patience));
        let client = client.map_err(|error| format!("no connection: {error}"))?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        let local = client.local_addr()?;
        let traffic = Traffic { src_port: Some(local.port()), ..self.traffic };
        Ok(Flow { client, server, traffic, owner: owner.to_owned() })
    }
}

/// Sockets that ask.
enum Asking {
    Ping(Pinger),
    Tcp { connecting: Connecting, _listener: Option<TcpListener> },
    Udp { client: UdpSocket, server: Option<UdpSocket> },
}

impl Asking {
    /// Opens whoever answers first, then whoever asks.
    fn open(stage: &Stage, question: &Question) -> Outcome<Self> {
        let Question { kind, from, origin, peer, owner, .. } = question;
        let asking = match kind {
            Kind::Ping => stage.lab.inside(from, || Pinger::from(origin, peer.ip())).map(Self::Ping),
            Kind::Tcp => {
                let listener = owner.as_ref().map(|owner| stage.lab.inside(owner, || TcpListener::bind(peer)));
                let listener = listener.transpose()?;
                let connecting = stage.lab.inside(from, || origin.tcp_towards(*peer));
                connecting.map(|connecting| Self::Tcp { connecting, _listener: listener })
            }
            Kind::Udp => {
                let server = owner.as_ref().map(|owner| stage.lab.inside(owner, || UdpSocket::bind(peer)));
                let server = server.transpose()?;
                let client = stage.lab.inside(from, || origin.udp_towards(*peer));
                client.map(|client| Self::Udp { client, server })
            }
        };
        Ok(asking?)
    }

    /// Whether an answer comes in time.
    fn attempt(&mut self, wait: Duration) -> Outcome<bool> {
        match self {
            Self::Ping(pinger) => Ok(pinger.ask(64, wait)?.is_some_and(|answer| answer.arrived)),
            Self::Tcp { connecting, .. } => Ok(connecting.wait(wait)?.is_some()),
            Self::Udp { client, server } => {
                client.send(b"conformance")?;
                let mut buffer = [0; 64];
                if let Some(server) = server {
                    server.set_read_timeout(Some(wait))?;
                    if let Ok((length, peer)) = server.recv_from(&mut buffer) {
                        server.send_to(&buffer[..length], peer)?;
                    }
                }
                client.set_read_timeout(Some(wait))?;
                Ok(client.recv(&mut buffer).is_ok())
            }
        }
    }
}

/// A connection that lives over several steps.
pub(crate) struct Flow {
    client: TcpStream,
    server: TcpStream,
    traffic: Traffic,
    owner: String,
}

impl Flow {
    pub(crate) fn run(&mut self, stage: &Stage, expect: &Expect) -> Outcome {
        let mut watch = Watch::begin(stage, self.traffic, Some(self.owner.clone()));
        // A new segment: what is repeated may have been dropped before.
        self.client.write_all(b"?")?;
        watch.fate(stage, expect, |wait| self.attempt(wait))
    }

    /// Whether something written has come back.
    fn attempt(&mut self, wait: Duration) -> Outcome<bool> {
        let mut buffer = [0; 64];
        self.server.set_read_timeout(Some(wait))?;
        if let Ok(length) = self.server.read(&mut buffer) {
            self.server.write_all(&buffer[..length])?;
        }
        self.client.set_read_timeout(Some(wait))?;
        Ok(self.client.read(&mut buffer).is_ok_and(|length| length > 0))
    }
}

/// What counters and guests say from a moment on.
pub(crate) struct Watch {
    traffic: Traffic,
    owner: Option<String>,
    before: Drops,
    sight: Sight,
    /// Sent all at once without an answer in view; else None.
    burst: Option<usize>,
}

impl Watch {
    pub(crate) fn begin(stage: &Stage, traffic: Traffic, owner: Option<String>) -> Self {
        Self { traffic, owner, before: stage.drops(), sight: Sight::open(&stage.lab, stage.nodes()), burst: None }
    }

    /// The same for packets that nobody answers: all of them must arrive, or be dropped.
    pub(crate) fn of_burst(self, packets: usize) -> Self {
        Self { burst: Some(packets), ..self }
    }

    /// Lets somebody ask until what is expected is proven, or can no longer come.
    pub(crate) fn fate(
        &mut self,
        stage: &Stage,
        expect: &Expect,
        mut attempt: impl FnMut(Duration) -> Outcome<bool>,
    ) -> Outcome {
        let began = Instant::now();
        let mut wait = FIRST_ATTEMPT;
        loop {
            let answered = attempt(wait).map_err(|error| format!("{error}; {}", self.story(stage)))?;
            wait *= 2;
            self.sight.look();
            let answered = answered || self.burst.is_some_and(|packets| self.arrived() >= packets);
            let proven = match expect {
                Expect::Ok { .. } => answered,
                _ if answered => return Err(format!("it arrived; {}", self.story(stage)).into()),
                Expect::Drop { node, reason, .. } => self.rose(stage, node, reason) >= self.burst.unwrap_or(1) as u64,
                Expect::LostAt(node) => self.sight.count(node, self.traffic) > 0 && began.elapsed() > NEVER,
            };
            if proven {
                return self.details(stage, expect).map_err(|error| format!("{error}; {}", self.story(stage)).into());
            }
            if began.elapsed() > stage.patience {
                return Err(format!("that never came true; {}", self.story(stage)).into());
            }
        }
    }

    /// What must hold besides, once the fate is known.
    fn details(&self, stage: &Stage, expect: &Expect) -> Outcome {
        match expect {
            Expect::Ok { via, back } => {
                self.went(via.as_deref(), self.traffic, "the packet")?;
                self.went(back.as_deref(), self.traffic.answer(), "the answer")
            }
            Expect::Drop { what, .. } => match (what, self.arrived() > 0) {
                (Lost::Request, true) => Err("the packet arrived, so the answer was dropped".into()),
                (Lost::Answer, false) => Err("the packet never arrived".into()),
                (Lost::Request, false) | (Lost::Answer, true) => Ok(()),
            },
            Expect::LostAt(_) => {
                let drops = stage.drops().into_iter().filter(|(at, count)| self.before.get(at) != Some(count));
                match drops.map(|((_, reason), _)| reason).find(|reason| !NOISE.contains(&reason.as_str())) {
                    Some(reason) => Err(format!("the fabric dropped it: {reason}").into()),
                    None => Ok(()),
                }
            }
        }
    }

    fn arrived(&self) -> usize {
        self.owner.as_ref().map_or(0, |owner| self.sight.count(owner, self.traffic))
    }

    fn went(&self, expected: Option<&[String]>, traffic: Traffic, what: &str) -> Outcome {
        let seen = self.sight.forwarders(traffic);
        match expected {
            Some(expected) if expected != seen => Err(format!("{what} went {}", way(&seen)).into()),
            Some(_) | None => Ok(()),
        }
    }

    fn rose(&self, stage: &Stage, node: &str, reason: &str) -> u64 {
        let at = (node.to_owned(), reason.to_owned());
        let now = stage.drops().get(&at).copied().unwrap_or(0);
        now.saturating_sub(self.before.get(&at).copied().unwrap_or(0))
    }

    /// What did happen, for whoever reads of a failure.
    fn story(&self, stage: &Stage) -> String {
        let now = stage.drops();
        let rose = now.iter().filter(|(at, count)| self.before.get(*at) != Some(*count));
        let rose: Vec<_> = rose.map(|((node, reason), _)| format!("drop@{node} {reason}")).collect();
        let witnesses = |traffic| self.sight.witnesses(traffic).join(" ");
        format!(
            "counted meanwhile: [{}]; the packet was seen at [{}], the answer at [{}]",
            rose.join(", "),
            witnesses(self.traffic),
            witnesses(self.traffic.answer())
        )
    }
}

pub(crate) fn way(nodes: &[String]) -> String {
    if nodes.is_empty() { "direct".to_owned() } else { format!("via {}", nodes.join(" ")) }
}
