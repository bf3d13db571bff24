//! ICMP echo from the calling thread's namespace, with a chosen hop limit: ping and traceroute in one.
//!
//! One idea: the address that answers is the result: the destination, or a router at which the hop limit ran out. It
//! needs CAP_NET_RAW over the namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_ip_ttl, set_ipv6_unicast_hops, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};

use super::socket::Origin;

/// Sends echo requests to one address and reads the answers.
#[derive(Debug)]
pub struct Pinger {
    socket: OwnedFd,
    destination: IpAddr,
    id: u16,
    sequence: u16,
}

/// An answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub from: IpAddr,
    /// False for a router on the path, at which the hop limit ran out.
    pub arrived: bool,
    pub after: Duration,
}

/// What a received message is to us.
#[derive(Clone, Copy)]
struct Kinds {
    request: u8,
    reply: u8,
    time_exceeded: u8,
}

impl Pinger {
    pub fn towards(destination: IpAddr) -> io::Result<Self> {
        Self::from(&Origin::default(), destination)
    }

    /// The same from a chosen device and address.
    pub fn from(origin: &Origin, destination: IpAddr) -> io::Result<Self> {
        // The process id tells our pings from others of the same namespace, and the count tells ours apart.
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let id = (std::process::id() as u16).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let (family, protocol) = match destination {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        origin.settle(&socket)?;
        Ok(Self { socket, destination, id, sequence: 0 })
    }

    /// The identifier that all requests carry.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Sends one request and waits for its answer; None if there is none in time.
    pub fn ask(&mut self, hop_limit: u8, limit: Duration) -> io::Result<Option<Answer>> {
        self.sequence += 1;
        match self.destination {
            IpAddr::V4(_) => set_ip_ttl(&self.socket, u32::from(hop_limit))?,
            IpAddr::V6(_) => set_ipv6_unicast_hops(&self.socket, Some(hop_limit))?,
        }
        let sent = Instant::now();
        let to = SocketAddr::new(self.destination, 0);
        sendto(&self.socket, &self.request(), SendFlags::empty(), &to)?;
        let mut buffer = [0; 1500];
        loop {
            let left = limit.saturating_sub(sent.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?;
            let (length, _, from) = match recvfrom(&self.socket, &mut buffer, RecvFlags::empty()) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
                received => received?,
            };
            let Some(Ok(from)) = from.map(SocketAddr::try_from) else { continue };
            if let Some(arrived) = self.answers(&buffer[..length]) {
                return Ok(Some(Answer { from: from.ip(), arrived, after: sent.elapsed() }));
            }
        }
    }

    /// Whether what was received answers the last request, and as the destination. An IPv4 header comes with it, an IPv6
    /// header does not.
    fn answers(&self, received: &[u8]) -> Option<bool> {
        let message = if self.destination.is_ipv4() { payload(received)? } else { received };
        let kinds = self.kinds();
        if *message.first()? == kinds.reply {
            return self.is_ours(message).then_some(true);
        }
        // The packet it concerns follows the eight bytes of the error's header.
        (*message.first()? == kinds.time_exceeded && self.is_ours(payload(message.get(8..)?)?)).then_some(false)
    }

    fn is_ours(&self, echo: &[u8]) -> bool {
        echo.get(4..8) == Some(&[self.id.to_be_bytes(), self.sequence.to_be_bytes()].concat()[..])
    }

    fn kinds(&self) -> Kinds {
        match self.destination {
            IpAddr::V4(_) => Kinds { request: 8, reply: 0, time_exceeded: 11 },
            IpAddr::V6(_) => Kinds { request: 128, reply: 129, time_exceeded: 3 },
        }
    }

    fn request(&self) -> [u8; 8] {
        let mut message = [0; 8];
        message[0] = self.kinds().request;
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        // For IPv6 the kernel computes it and ignores the value here: RFC 3542, section 3.1.
        let sum = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }
}

/// What follows an IP header without extensions.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let length = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0x0f) * 4,
        _ => 40,
    };
    packet.get(length..)
}
