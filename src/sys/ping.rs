//! ICMP echo from the calling thread's namespace, with a chosen hop limit: ping and traceroute in one.
//!
//! One idea: whoever answers, the destination or a router at which the hop limit ran out, is the one fact wanted. IPv4
//! only, and it needs CAP_NET_RAW over the namespace.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_ip_ttl, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const TIME_EXCEEDED: u8 = 11;

/// Sends echo requests and reads who answers.
#[derive(Debug)]
pub struct Pinger {
    socket: OwnedFd,
    id: u16,
    sequence: u16,
}

/// An answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub from: Ipv4Addr,
    /// False for a router on the way, at which the hop limit ran out.
    pub arrived: bool,
    pub after: Duration,
}

impl Pinger {
    pub fn open() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::INET, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMP))?;
        // Any number distinguishes us from other pings of the same namespace well enough.
        Ok(Self { socket, id: std::process::id() as u16, sequence: 0 })
    }

    /// Sends one request and waits for its answer; None if there is none in time.
    pub fn ask(&mut self, destination: Ipv4Addr, hop_limit: u8, limit: Duration) -> io::Result<Option<Answer>> {
        self.sequence += 1;
        set_ip_ttl(&self.socket, u32::from(hop_limit))?;
        let sent = Instant::now();
        let to = SocketAddrV4::new(destination, 0);
        sendto(&self.socket, &echo_request(self.id, self.sequence), SendFlags::empty(), &to)?;
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
            let Some(Ok(SocketAddr::V4(from))) = from.map(SocketAddr::try_from) else { continue };
            if let Some(arrived) = self.answers(&buffer[..length]) {
                return Ok(Some(Answer { from: *from.ip(), arrived, after: sent.elapsed() }));
            }
        }
    }

    /// Whether a packet, IPv4 header first, answers the last request, and as the destination.
    fn answers(&self, packet: &[u8]) -> Option<bool> {
        let message = payload(packet)?;
        match *message.first()? {
            ECHO_REPLY => self.is_ours(message).then_some(true),
            // The packet it concerns follows the eight bytes of the error's header.
            TIME_EXCEEDED => self.is_ours(payload(message.get(8..)?)?).then_some(false),
            _ => None,
        }
    }

    fn is_ours(&self, echo: &[u8]) -> bool {
        echo.get(4..8) == Some(&[self.id.to_be_bytes(), self.sequence.to_be_bytes()].concat()[..])
    }
}

/// What follows an IPv4 header.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}

fn echo_request(id: u16, sequence: u16) -> [u8; 8] {
    let mut message = [0; 8];
    message[0] = ECHO_REQUEST;
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}
