//! Copies of all packets that go in or out of the calling thread's namespace.
//!
//! IP headers come first: the devices watched here have no other. It needs CAP_NET_RAW over the namespace.

#![expect(unsafe_code, reason = "PACKET_STATISTICS")]

use std::io;
use std::mem::size_of;
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// A packet socket.
#[derive(Debug)]
pub struct Sniffer(OwnedFd);

impl Sniffer {
    /// Begins at once; reads wait for `patience`.
    pub fn open(patience: Duration) -> io::Result<Self> {
        // Network byte order, as packet(7) wants it.
        let all = NonZero::new(u32::from((libc::ETH_P_ALL as u16).to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, all)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        Ok(Self(socket))
    }

    /// The next packet, cut to the buffer; None if none comes in time.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match recv(&self.0, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(&buffer[..length])),
            // The last: a device went away.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::NETDOWN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many packets were lost since the last call, because they were not read in time.
    pub fn lost(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of a live value of the type that the kernel writes.
        let done = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if done == 0 { Ok(statistics.tp_drops) } else { Err(io::Error::last_os_error()) }
    }
}
