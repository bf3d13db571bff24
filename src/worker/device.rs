//! What a forwarder reads packets from and writes them to: a queue of a TUN, or memory in tests.

use std::io;

use crate::sys::tun::{self, OffloadSupport, TunQueue};
use crate::wire::Offload;

/// One queue of a port. A frame is an offload header ([`Offload::LEN`] bytes, zeros where nothing is left undone) and
/// then the IP packet.
pub trait Device {
    /// Reads a frame; returns its length.
    fn recv(&self, frame: &mut [u8]) -> Result<usize, RecvError>;
    /// Writes a frame, whole or not at all.
    fn send(&self, frame: &[u8]) -> Result<(), SendError>;
    /// Whether a frame may be several UDP datagrams to be cut apart.
    fn takes_udp_super_packets(&self) -> bool;
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// None is waiting.
    Empty,
    /// The device is gone for good.
    Gone,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room, for now.
    Full,
    /// The device is down or gone.
    Down,
    /// The kernel finds the offload header and the packet at odds.
    Refused,
}

const _: () = assert!(tun::HEADER_LEN == Offload::LEN);

impl Device for TunQueue {
    fn recv(&self, frame: &mut [u8]) -> Result<usize, RecvError> {
        if self.has_header() {
            return self.read(frame).map_err(|error| recv_error(&error));
        }
        let (header, packet) = frame.split_at_mut(Offload::LEN);
        header.fill(0);
        let len = self.read(packet).map_err(|error| recv_error(&error))?;
        Ok(Offload::LEN + len)
    }

    fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        let frame = if self.has_header() { frame } else { &frame[Offload::LEN..] };
        self.write(frame).map_err(|error| send_error(&error))
    }

    fn takes_udp_super_packets(&self) -> bool {
        self.offload() == OffloadSupport::TcpUdp
    }
}

fn recv_error(error: &io::Error) -> RecvError {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => RecvError::Empty,
        _ => RecvError::Gone,
    }
}

fn send_error(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM) => SendError::Full,
        // EIO: the interface is there, but down.
        Some(libc::EIO | libc::EBADFD | libc::ENODEV) => SendError::Down,
        _ => SendError::Refused,
    }
}
