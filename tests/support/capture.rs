//! Packets as a node's interfaces see them: a packet socket, read without waiting longer than asked.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use etherparse::SlicedPacket;
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Everything that goes in or out of one namespace.
pub(crate) struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Begins in the calling thread's namespace.
    pub(crate) fn open() -> Self {
        // Network byte order, as packet(7) wants it.
        let all = std::num::NonZero::new(u32::from(0x0003_u16.to_be())).unwrap();
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(Protocol::from_raw(all))).unwrap();
        Self { socket }
    }

    /// How many packets between these two pass, in this direction, until `enough` have or time is up.
    pub(crate) fn count(&self, src: &str, dst: &str, enough: usize, limit: Duration) -> usize {
        let wanted: (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let deadline = Instant::now() + limit;
        let mut found = 0;
        let mut buffer = vec![0; 65_536];
        while found < enough {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left)).unwrap();
            let Ok((length, _)) = recv(&self.socket, &mut buffer, RecvFlags::empty()) else { continue };
            found += usize::from(addresses(&buffer[..length]) == Some(wanted));
        }
        found
    }
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    match sliced.net? {
        etherparse::NetSlice::Ipv4(ipv4) => {
            Some((ipv4.header().source_addr().into(), ipv4.header().destination_addr().into()))
        }
        etherparse::NetSlice::Ipv6(ipv6) => {
            Some((ipv6.header().source_addr().into(), ipv6.header().destination_addr().into()))
        }
        etherparse::NetSlice::Arp(_) => None,
    }
}

/// Sends a whole IPv4 packet, with any source address, from the calling thread's namespace.
pub(crate) fn send_raw(packet: &[u8]) {
    let raw = Protocol::from_raw(std::num::NonZero::new(255).unwrap());
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(raw)).unwrap();
    rustix::net::sockopt::set_socket_broadcast(&socket, true).unwrap();
    let dst = <[u8; 4]>::try_from(&packet[16..20]).unwrap();
    sendto(&socket, packet, SendFlags::empty(), &SocketAddr::from((dst, 0))).unwrap();
}
