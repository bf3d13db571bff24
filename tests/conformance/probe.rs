//! Packets of ordinary clients: sockets in the guests that ask, and answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use vnet::sys::ping::Pinger;
use vnet::sys::socket::{Connecting, Origin};

use crate::Outcome;
use crate::expect::Expect;
use crate::sight::Traffic;
use crate::stage::Stage;
use crate::watch::Watch;

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
    /// The listeners, and their addresses: behind a public address the private one, behind a load balancer all of the pool.
    listeners: Vec<(String, SocketAddr)>,
    /// The machine with the peer's address.
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
        let (peer, owner) = (SocketAddr::new(address, ask.port), stage.owner(address));
        let one = owner.iter().map(|owner| (owner.clone(), SocketAddr::new(stage.private(address), ask.port)));
        let mut listeners: Vec<_> = one.chain(stage.backends(peer, ask.kind)).collect();
        listeners.dedup();
        Ok(Self { kind: ask.kind, from: ask.from.clone(), origin, peer, listeners, owner, traffic })
    }

    /// Asks, and holds what happens against what should.
    pub(crate) fn run(&self, stage: &Stage, expect: &Expect) -> Outcome {
        let mut watch = Watch::begin(stage, self.traffic, self.owner.clone());
        let mut asking = Asking::open(stage, self)?;
        watch.fate(stage, expect, |wait| asking.attempt(wait))
    }

    /// A TCP connection that stays.
    pub(crate) fn open(&self, stage: &Stage) -> Outcome<Flow> {
        let listeners = self.listen(stage)?;
        if listeners.is_empty() {
            return Err("no machine has the destination".into());
        }
        let client = stage.lab.inside(&self.from, || TcpStream::connect_timeout(&self.peer, stage.patience));
        let client = client.map_err(|error| format!("no connection: {error}"))?;
        let (owner, server) = accept(stage, &listeners)?;
        client.set_nodelay(true)?;
        let local = client.local_addr()?;
        let traffic = Traffic { src_port: Some(local.port()), ..self.traffic };
        Ok(Flow { client, server, traffic, owner, owed: 0 })
    }

    fn listen(&self, stage: &Stage) -> io::Result<Vec<(String, TcpListener)>> {
        let open = |(node, at): &(String, SocketAddr)| {
            let listener = serve(stage, node, || TcpListener::bind(at))?;
            listener.set_nonblocking(true)?;
            Ok((node.clone(), listener))
        };
        self.listeners.iter().map(open).collect()
    }
}

/// The end of a connection that has just been made, and the machine that has it.
fn accept(stage: &Stage, listeners: &[(String, TcpListener)]) -> Outcome<(String, TcpStream)> {
    let deadline = Instant::now() + stage.patience;
    while Instant::now() < deadline {
        for (node, listener) in listeners {
            if let Ok((server, _)) = listener.accept() {
                server.set_nonblocking(false)?;
                return Ok((node.clone(), server));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err("no machine has the connection".into())
}

/// Opens a server's socket in its guest. A program that another scenario is just starting has a copy of the last one's,
/// from its fork to its exec, and with it the port.
fn serve<S: Send>(stage: &Stage, owner: &str, bind: impl Fn() -> io::Result<S> + Sync) -> io::Result<S> {
    let deadline = Instant::now() + stage.patience;
    loop {
        match stage.lab.inside(owner, &bind) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// Sockets that ask.
enum Asking {
    Ping(Pinger),
    Tcp { connecting: Connecting, _listeners: Vec<(String, TcpListener)> },
    Udp { client: UdpSocket, servers: Vec<UdpSocket> },
}

impl Asking {
    /// Opens the servers first, then the clients.
    fn open(stage: &Stage, question: &Question) -> Outcome<Self> {
        let Question { kind, from, origin, peer, listeners, .. } = question;
        let asking = match kind {
            Kind::Ping => stage.lab.inside(from, || Pinger::from(origin, peer.ip())).map(Self::Ping),
            Kind::Tcp => {
                let listeners = question.listen(stage)?;
                let connecting = stage.lab.inside(from, || origin.tcp_towards(*peer));
                connecting.map(|connecting| Self::Tcp { connecting, _listeners: listeners })
            }
            Kind::Udp => {
                let servers = listeners.iter().map(|(node, at)| serve(stage, node, || UdpSocket::bind(at)));
                let servers = servers.collect::<io::Result<_>>()?;
                let client = stage.lab.inside(from, || origin.udp_towards(*peer));
                client.map(|client| Self::Udp { client, servers })
            }
        };
        Ok(asking?)
    }

    /// Whether an answer comes in time.
    fn attempt(&mut self, wait: Duration) -> Outcome<bool> {
        match self {
            Self::Ping(pinger) => Ok(pinger.ask(64, wait)?.is_some_and(|answer| answer.arrived)),
            Self::Tcp { connecting, .. } => Ok(connecting.wait(wait)?.is_some()),
            Self::Udp { client, servers } => {
                client.send(b"conformance")?;
                let mut buffer = [0; 64];
                for server in servers.iter() {
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
    /// Bytes that have not come back yet: those that were dropped are sent again.
    owed: usize,
}

impl Flow {
    pub(crate) fn run(&mut self, stage: &Stage, expect: &Expect) -> Outcome {
        let mut watch = Watch::begin(stage, self.traffic, Some(self.owner.clone()));
        // A new segment: what is repeated may have been dropped before.
        self.client.write_all(b"?")?;
        self.owed += 1;
        watch.fate(stage, expect, |wait| self.attempt(wait))
    }

    /// Whether everything has come back.
    fn attempt(&mut self, wait: Duration) -> Outcome<bool> {
        let mut buffer = [0; 64];
        self.server.set_read_timeout(Some(wait))?;
        if let Ok(length) = self.server.read(&mut buffer) {
            self.server.write_all(&buffer[..length])?;
        }
        self.client.set_read_timeout(Some(wait))?;
        self.owed -= self.client.read(&mut buffer).unwrap_or(0);
        Ok(self.owed == 0)
    }
}
