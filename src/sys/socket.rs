//! Sockets that leave a namespace from a chosen device and address, as those of a guest with several interfaces do.
//!
//! One idea: an [`Origin`] is set on a socket before it connects; where it is empty, the kernel's routes decide.

#![expect(unsafe_code, reason = "SO_BINDTODEVICE, TCP_MD5SIG")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, addr::SocketAddrArg, bind, socket_with, sockopt};

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

    /// A UDP socket at a port of this device and address, that does not block.
    pub fn udp_at(&self, port: u16) -> io::Result<UdpSocket> {
        Ok(self.open_at(port, SocketType::DGRAM)?.into())
    }

    /// Listens at a port of this device and address, and does not block.
    pub fn listen_at(&self, port: u16) -> io::Result<TcpListener> {
        let socket = self.open_at(port, SocketType::STREAM)?;
        rustix::net::listen(&socket, WAITING)?;
        Ok(socket.into())
    }

    fn open_at(&self, port: u16, kind: SocketType) -> io::Result<OwnedFd> {
        let address = self.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if let Some(device) = &self.device {
            bind_to_device(socket.as_raw_fd(), device)?;
        }
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddr::new(address, port))?;
        Ok(socket)
    }

    /// Begins a TCP connection and does not wait for it.
    pub fn tcp_towards(&self, peer: SocketAddr) -> io::Result<Connecting> {
        self.signed_tcp_towards(peer, None)
    }

    /// The same, with every segment signed by a key that the peer knows too (RFC 2385).
    pub fn signed_tcp_towards(&self, peer: SocketAddr, key: Option<&str>) -> io::Result<Connecting> {
        let socket = self.open(peer, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        key.map_or(Ok(()), |key| sign(&socket, peer.ip(), key))?;
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

/// Limits how long `accept` waits for a connection.
pub fn limit_accept(listener: &TcpListener, limit: Duration) -> io::Result<()> {
    Ok(sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(limit))?)
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

    /// The connection, once [`Self::wait`] has returned that it is made. It does not block.
    pub fn into_stream(self) -> TcpStream {
        self.0
    }
}

impl AsFd for Connecting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Connections that wait to be accepted.
const WAITING: i32 = 64;

/// Listens at an address that need not be there yet, and does not block.
pub fn listen(at: SocketAddr, device: Option<&str>) -> io::Result<TcpListener> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_ip_freebind(&socket, true)?;
    if let Some(device) = device {
        bind_to_device(socket.as_raw_fd(), device)?;
    }
    bind(&socket, &at)?;
    rustix::net::listen(&socket, WAITING)?;
    Ok(socket.into())
}

/// The process that connected a local socket, if it is one that is seen from here.
pub fn peer_process(stream: impl AsFd) -> Option<u32> {
    let process = sockopt::socket_peercred(stream).ok()?.pid;
    u32::try_from(process.as_raw_nonzero().get()).ok()
}

/// Has the kernel sign and check every segment to and from a peer (RFC 2385). Keys longer than 80 bytes are refused.
pub fn sign(socket: impl AsFd, peer: IpAddr, key: &str) -> io::Result<()> {
    /// `struct tcp_md5sig` of linux/tcp.h.
    #[repr(C)]
    struct Md5Signature {
        address: libc::sockaddr_storage,
        flags: u8,
        prefix_length: u8,
        key_length: u16,
        interface: i32,
        key: [u8; libc::TCP_MD5SIG_MAXKEYLEN],
    }
    // SAFETY: all of its fields are integers and arrays of integers, for which zero is a value.
    let mut signature: Md5Signature = unsafe { mem::zeroed() };
    let kept = signature.key.get_mut(..key.len()).ok_or(io::ErrorKind::InvalidInput)?;
    kept.copy_from_slice(key.as_bytes());
    signature.key_length = key.len() as u16;
    // SAFETY: a storage has room for every address, and is written as that address's own kind.
    unsafe { SocketAddr::new(peer, 0).write_sockaddr(ptr::from_mut(&mut signature.address).cast()) };
    set(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature)
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

fn set<T>(socket: i32, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live value; the kernel copies it.
    let done = unsafe {
        libc::setsockopt(socket, level, name, ptr::from_ref(value).cast(), mem::size_of::<T>() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::sys::closing::closed;

    #[test]
    fn a_connection_is_made_or_refused() {
        let origin = Origin { device: Some("lo".into()), address: Some(Ipv4Addr::new(127, 0, 0, 9).into()) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let made = origin.tcp_towards(at).unwrap();
        assert_eq!(made.local_addr().unwrap().ip(), origin.address.unwrap());
        assert_eq!(made.wait(Duration::from_secs(10)).unwrap(), Some(()));
        drop(listener);
        closed(|| TcpStream::connect(at).is_err());
        let refused = origin.tcp_towards(at).unwrap().wait(Duration::from_secs(10)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(sign(listen(at, None).unwrap(), at.ip(), "k".repeat(81).as_str()).is_err(), "no key is that long");
        assert_eq!(Origin::default().source_towards(at.ip()).unwrap(), at.ip());
    }
}
