//! Sockets that leave a namespace from a chosen device and address, as a guest with several interfaces would send.
//!
//! One idea: an [`Origin`] is settled on a socket before it connects; where it says nothing, the kernel's routes decide.

#![expect(unsafe_code, reason = "SO_BINDTODEVICE")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

/// Where packets leave from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub device: Option<String>,
    pub address: Option<IpAddr>,
}

impl Origin {
    /// Settles a socket that has not been bound yet.
    pub fn settle(&self, socket: impl AsFd) -> io::Result<()> {
        if let Some(device) = &self.device {
            bind_to_device(socket.as_fd().as_raw_fd(), device)?;
        }
        if let Some(address) = self.address {
            bind(socket, &SocketAddr::new(address, 0))?;
        }
        Ok(())
    }

    /// The address that packets to a destination would carry; nothing is sent.
    pub fn source_towards(&self, destination: IpAddr) -> io::Result<IpAddr> {
        // Discard: any port will do.
        Ok(self.udp_towards(SocketAddr::new(destination, 9))?.local_addr()?.ip())
    }

    /// A UDP socket that talks to one peer.
    pub fn udp_towards(&self, peer: SocketAddr) -> io::Result<UdpSocket> {
        let socket: UdpSocket = self.open(peer, SocketType::DGRAM, SocketFlags::CLOEXEC)?.into();
        socket.connect(peer)?;
        Ok(socket)
    }

    /// Begins a TCP connection and does not wait for it.
    pub fn tcp_towards(&self, peer: SocketAddr) -> io::Result<Connecting> {
        let socket = self.open(peer, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match rustix::net::connect(&socket, &peer) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(Connecting(socket.into())),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self, peer: SocketAddr, kind: SocketType, flags: SocketFlags) -> io::Result<OwnedFd> {
        let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, kind, flags, None)?;
        self.settle(&socket)?;
        Ok(socket)
    }
}

/// A TCP connection that is being made.
#[derive(Debug)]
pub struct Connecting(TcpStream);

impl Connecting {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits until it is made; None if that takes longer. A peer that refuses is an error.
    pub fn wait(&self, limit: Duration) -> io::Result<Option<()>> {
        let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.0.take_error()?.map_or(Ok(Some(())), Err)
    }
}

fn bind_to_device(socket: i32, device: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live string; the kernel copies it.
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            device.as_ptr().cast(),
            device.len() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_connection_is_made_or_refused() {
        let origin = Origin { device: Some("lo".into()), address: Some(Ipv4Addr::new(127, 0, 0, 9).into()) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let made = origin.tcp_towards(at).unwrap();
        assert_eq!(made.local_addr().unwrap().ip(), origin.address.unwrap());
        assert_eq!(made.wait(Duration::from_secs(10)).unwrap(), Some(()));
        drop(listener);
        let refused = origin.tcp_towards(at).unwrap().wait(Duration::from_secs(10)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(Origin::default().source_towards(at.ip()).unwrap(), at.ip());
    }
}
