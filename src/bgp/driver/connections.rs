//! The TCP connections of one speaker, at most two a peer: made, accepted, read, written, closed as the speaker asks.
//!
//! Nothing waits here. A turn reads a bounded amount from each that is ready, so that a peer that never stops talking
//! takes no time from the others, and writes as much as the kernel takes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::bgp::{PeerId, Side, Speaker, Transport};
use crate::sys::poll::Poller;
use crate::sys::socket::{self, Connecting, Origin};

/// BGP's (RFC 4271 section 8).
pub const PORT: u16 = 179;
/// Read from one connection in one turn: 16 full messages.
const READ_MAX: usize = 64 * 1024;
/// Connections taken from one listener in one turn.
const ACCEPT_MAX: usize = 16;

/// Tokens of listeners; those of connections are even more than that.
const LISTENERS: u64 = 1 << 63;
/// The token of the event that wakes the thread.
pub(super) const WAKER: u64 = u64::MAX;

/// A peer, as far as sockets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Our own address towards it.
    pub local: IpAddr,
    pub remote: IpAddr,
    /// The only device that leads to it, where others lead to its address too.
    pub device: Option<String>,
    /// TCP MD5's key, at most 80 bytes (RFC 2385).
    pub password: Option<String>,
}

#[derive(Debug)]
enum Connection {
    Connecting(Connecting),
    Open(TcpStream),
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Connecting(connecting) => connecting.as_fd(),
            Self::Open(stream) => stream.as_fd(),
        }
    }
}

/// Where a connection has come to in one attempt to get on.
enum Progress {
    Waits,
    Gone,
}

/// Our own address, and the only device where a peer expects us.
type Place = (IpAddr, Option<String>);

#[derive(Debug)]
pub(super) struct Connections {
    neighbours: BTreeMap<PeerId, Neighbour>,
    listeners: BTreeMap<Place, TcpListener>,
    open: BTreeMap<(PeerId, Side), Connection>,
    buffer: Box<[u8]>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            neighbours: BTreeMap::new(),
            listeners: BTreeMap::new(),
            open: BTreeMap::new(),
            buffer: vec![0; 4096].into(),
        }
    }

    /// Goes by these peers from now on: listens where they expect us, in the calling thread's namespace. Connections of
    /// peers that are not among them are dropped.
    pub(super) fn set(&mut self, neighbours: BTreeMap<PeerId, Neighbour>, poller: &Poller) -> io::Result<()> {
        self.open.retain(|(peer, _), _| neighbours.contains_key(peer));
        self.listeners.retain(|place, _| neighbours.values().any(|neighbour| neighbour.place() == *place));
        for neighbour in neighbours.values() {
            let listener = match self.listeners.entry(neighbour.place()) {
                Entry::Occupied(listener) => listener.into_mut(),
                Entry::Vacant(place) => {
                    let at = SocketAddr::new(neighbour.local, PORT);
                    place.insert(socket::listen(at, neighbour.device.as_deref())?)
                }
            };
            if let Some(key) = &neighbour.password {
                socket::sign(&*listener, neighbour.remote, key)?;
            }
        }
        self.neighbours = neighbours;
        for (token, listener) in (LISTENERS..).zip(self.listeners.values()) {
            let added = poller.add(listener, token);
            // One that stays may have another number now.
            let stays = added.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
            if stays { poller.also_writable(listener, token, false)? } else { added? }
        }
        Ok(())
    }

    /// Whether there is anything left to close.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Something can be read, written or accepted.
    pub(super) fn handle_ready(&mut self, token: u64, speaker: &mut Speaker, poller: &Poller) {
        if token == WAKER {
            return;
        }
        match token.checked_sub(LISTENERS) {
            Some(listener) => self.accept(listener as usize, speaker, poller),
            None => self.advance(key(token), speaker),
        }
    }

    /// Does what the speaker asks about every peer's sockets; call after everything else.
    pub(super) fn settle(&mut self, speaker: &mut Speaker, poller: &Poller) {
        for id in self.neighbours.keys().copied().collect::<Vec<_>>() {
            for side in Side::BOTH {
                if speaker.transport(id, side) == Transport::Connecting && !self.open.contains_key(&(id, side)) {
                    self.connect(id, speaker, poller);
                }
                self.write((id, side), speaker);
                self.close((id, side), speaker);
            }
        }
        // Only now: what happened to one peer may have given others something to write.
        for (at, connection) in &self.open {
            let waits = matches!(connection, Connection::Connecting(_)) || !speaker.outgoing(at.0, at.1).is_empty();
            // Fails for a failed one: the next wait reports it.
            let _ = poller.also_writable(connection, token(*at), waits);
        }
    }

    fn connect(&mut self, id: PeerId, speaker: &mut Speaker, poller: &Poller) {
        let Neighbour { local, remote, device, password } = &self.neighbours[&id];
        let origin = Origin { device: device.clone(), address: Some(*local) };
        let begun = origin.signed_tcp_towards(SocketAddr::new(*remote, PORT), password.as_deref());
        let added = begun.and_then(|connecting| poller.add(&connecting, token((id, Side::Local))).map(|()| connecting));
        match added {
            Ok(connecting) => {
                self.open.insert((id, Side::Local), Connection::Connecting(connecting));
            }
            Err(_) => speaker.handle_closed(id, Side::Local, Instant::now()),
        }
    }

    /// A connection from an unknown address is closed.
    fn accept(&mut self, listener: usize, speaker: &mut Speaker, poller: &Poller) {
        let Some((place, listener)) = self.listeners.iter().nth(listener) else { return };
        for (stream, from) in std::iter::from_fn(|| listener.accept().ok()).take(ACCEPT_MAX) {
            let known = |neighbour: &Neighbour| neighbour.remote == from.ip() && neighbour.place() == *place;
            let Some((id, _)) = self.neighbours.iter().find(|(_, neighbour)| known(neighbour)) else { continue };
            let at = (*id, Side::Remote);
            if self.open.contains_key(&at) || stream.set_nonblocking(true).is_err() {
                continue;
            }
            if speaker.handle_connected(*id, Side::Remote, Instant::now()) {
                match poller.add(&stream, token(at)) {
                    Ok(()) => drop(self.open.insert(at, Connection::Open(stream))),
                    Err(_) => speaker.handle_closed(*id, Side::Remote, Instant::now()),
                }
            }
        }
    }

    /// Lets a connection get on: to its making, or with what the peer says.
    fn advance(&mut self, at: (PeerId, Side), speaker: &mut Speaker) {
        match self.open.remove(&at) {
            Some(Connection::Connecting(connecting)) => match connecting.wait(Duration::ZERO) {
                Ok(None) => drop(self.open.insert(at, Connection::Connecting(connecting))),
                Ok(Some(())) => {
                    if speaker.handle_connected(at.0, at.1, Instant::now()) {
                        self.open.insert(at, Connection::Open(connecting.into_stream()));
                    }
                }
                Err(_) => speaker.handle_closed(at.0, at.1, Instant::now()),
            },
            Some(Connection::Open(mut stream)) => match self.read(&mut stream, at, speaker) {
                Progress::Waits => drop(self.open.insert(at, Connection::Open(stream))),
                Progress::Gone => speaker.handle_closed(at.0, at.1, Instant::now()),
            },
            None => {}
        }
    }

    fn read(&mut self, stream: &mut TcpStream, (id, side): (PeerId, Side), speaker: &mut Speaker) -> Progress {
        for _ in 0..READ_MAX / self.buffer.len() {
            match stream.read(&mut self.buffer) {
                Ok(0) => return Progress::Gone,
                Ok(len) => speaker.handle_bytes(id, side, &self.buffer[..len], Instant::now()),
                Err(error) => return Progress::after(&error),
            }
        }
        Progress::Waits
    }

    fn write(&mut self, at: (PeerId, Side), speaker: &mut Speaker) {
        let Some(Connection::Open(stream)) = self.open.get_mut(&at) else { return };
        let (id, side) = at;
        while !speaker.outgoing(id, side).is_empty() {
            match stream.write(speaker.outgoing(id, side)) {
                Ok(len) => speaker.handle_sent(id, side, len, Instant::now()),
                Err(error) => match Progress::after(&error) {
                    Progress::Waits => return,
                    Progress::Gone => {
                        self.open.remove(&at);
                        return speaker.handle_closed(id, side, Instant::now());
                    }
                },
            }
        }
    }

    fn close(&mut self, at: (PeerId, Side), speaker: &mut Speaker) {
        let (id, side) = at;
        match speaker.transport(id, side) {
            Transport::Absent => drop(self.open.remove(&at)),
            Transport::Closing if speaker.outgoing(id, side).is_empty() || !self.open.contains_key(&at) => {
                self.open.remove(&at);
                speaker.handle_closed(id, side, Instant::now());
            }
            Transport::Closing | Transport::Connecting | Transport::Open => {}
        }
    }
}

impl Neighbour {
    fn place(&self) -> Place {
        (self.local, self.device.clone())
    }
}

impl Progress {
    fn after(error: &io::Error) -> Self {
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) { Self::Waits } else { Self::Gone }
    }
}

/// A dropped connection leaves the poller by itself.
fn token((PeerId(id), side): (PeerId, Side)) -> u64 {
    u64::from(id) << 1 | u64::from(side == Side::Remote)
}

fn key(token: u64) -> (PeerId, Side) {
    (PeerId((token >> 1) as u32), if token & 1 == 1 { Side::Remote } else { Side::Local })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The far end of a peer that is no longer configured need not wait for its hold timer.
    #[test]
    fn connections_of_removed_peers_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = || {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (near, listener.accept().unwrap().0)
        };
        let (mut connections, poller) = (Connections::new(), Poller::new().unwrap());
        let [(near, mut gone), (other, stays)] = [far(), far()];
        for (id, near) in [(1, near), (2, other)] {
            connections.open.insert((PeerId(id), Side::Remote), Connection::Open(near));
        }
        let address = IpAddr::from([127, 0, 0, 1]);
        let neighbour = Neighbour { local: address, remote: address, device: None, password: None };
        connections.listeners.insert(neighbour.place(), listener.try_clone().unwrap());
        connections.set(BTreeMap::from([(PeerId(2), neighbour)]), &poller).unwrap();
        gone.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(gone.read(&mut [0]).unwrap(), 0, "closed");
        stays.set_nonblocking(true).unwrap();
        assert_eq!((&stays).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(!connections.is_empty());
    }
}
