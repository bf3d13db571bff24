//! Ping, traceroute, a UDP echo and a TCP transfer between two nodes of a lab: what `demo` shows.
//!
//! One idea: a client on a thread in one node, a server on a thread in the other, ordinary sockets, and no program in
//! the nodes. Forwarding is the router's work; this module only observes which address answers, and how soon.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::{During, Result};
use crate::lab::programs::exec::{Node, open};
use crate::sys::ping::{Answer, Pinger};

/// How long an answer may take, and how far away it may be.
const PATIENCE: Duration = Duration::from_secs(1);
const FARTHEST: u8 = 8;

/// Pings an address from a node.
pub fn ping(from: Node<'_>, to: Ipv4Addr) -> Result<Option<Answer>> {
    inside(from, || Pinger::towards(to.into())?.ask(64, PATIENCE))
}

/// The routers on the path to an address, and the address that answers in the end: None where there is no answer.
pub fn path(from: Node<'_>, to: Ipv4Addr) -> Result<Vec<Option<Answer>>> {
    inside(from, || {
        let mut pinger = Pinger::towards(to.into())?;
        let mut hops = Vec::new();
        for hop_limit in 1..=FARTHEST {
            hops.push(pinger.ask(hop_limit, PATIENCE)?);
            if hops.last().is_some_and(|hop| hop.is_some_and(|answer| answer.arrived)) {
                break;
            }
        }
        Ok(hops)
    })
}

/// Sends a datagram and waits until it comes back.
pub fn udp_echo(from: Node<'_>, to: Node<'_>, address: Ipv4Addr) -> Result<Duration> {
    let server = inside(to, || UdpSocket::bind((address, 0)))?;
    let at = server.local_addr().during(|| "cannot read an address".into())?;
    let echo = move || -> io::Result<()> {
        server.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; 64];
        let (length, client) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], client).map(drop)
    };
    let ask = || {
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.connect(at)?;
        let sent = Instant::now();
        client.send(b"vnet")?;
        client.recv(&mut [0; 64])?;
        Ok(sent.elapsed())
    };
    thread::scope(|scope| {
        scope.spawn(echo);
        inside(from, ask)
    })
}

/// Sends over one TCP connection for a while; returns bytes received and the time they took.
pub fn tcp_transfer(from: Node<'_>, to: Node<'_>, address: Ipv4Addr, span: Duration) -> Result<(u64, Duration)> {
    let listener = inside(to, || TcpListener::bind((address, 0)))?;
    let at = listener.local_addr().during(|| "cannot read an address".into())?;
    let client = inside(from, || TcpStream::connect_timeout(&at, PATIENCE))?;
    let (server, _) = listener.accept().through_the_lab(|| "cannot accept a connection".into())?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || send_for(client, span));
        let received = receive_all(server);
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked")));
        sent.and(received).through_the_lab(|| "the transfer broke off".into())
    })
}

fn send_for(mut client: TcpStream, span: Duration) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    let chunk = vec![0; 128 << 10];
    while start.elapsed() < span {
        client.write_all(&chunk)?;
    }
    Ok(())
}

fn receive_all(mut server: TcpStream) -> io::Result<(u64, Duration)> {
    server.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        match server.read(&mut buffer)? {
            0 => return Ok((received, start.elapsed())),
            length => received += length as u64,
        }
    }
}

fn inside<T: Send>(node: Node<'_>, f: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    let name = &node.node.name;
    open(node)?.run(f).and_then(|done| done).through_the_lab(|| format!("{name}: no answer"))
}
