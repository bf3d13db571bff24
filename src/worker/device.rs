//! The device that a forwarder reads packets from and writes them to: a queue of a TUN or TAP, or memory in tests.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;

use crate::dataplane::Timestamp;
use crate::sys::clock::monotonic_nanos;
use crate::sys::flow_cache::Mark;
use crate::sys::tun::{self, Framing, OffloadSupport, TunQueue};
use crate::wire::Offload;
use crate::wire::ethernet::{self, Content, Mac};

/// One queue of a port. A frame is an offload header ([`Offload::LEN`] bytes, zeros if the packet is complete) and then
/// the IP packet.
pub trait Device {
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError>;
    /// Writes a frame, whole or not at all.
    fn send(&self, frame: &[u8]) -> Result<(), SendError>;
    /// Whether a frame may be several UDP datagrams to be cut apart.
    fn takes_udp_super_packets(&self) -> bool;
    /// Answers the [`RecvError::Question`] in a frame: the fabric has that address. If the answer is lost, the guest
    /// asks again.
    fn answer(&self, _frame: &mut [u8]) {}
    /// Where the kernel may carry packets by itself.
    fn kernel_port(&self) -> Option<KernelPort> {
        None
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub len: usize,
    /// To be reported once the frame went on its way: see [`FlowCache::pass`](crate::sys::flow_cache::FlowCache::pass).
    pub mark: Option<Mark>,
    /// The kernel carried its flow until now.
    pub ended: bool,
    /// It opens a connection, and the one that the kernel carried is over.
    pub renews: bool,
}

impl Received {
    /// The time of a frame in a batch that began `now`. The kernel notes its own time of each packet that it carries. A frame
    /// that ends this is later than those packets, and perhaps later than `now`: the system may stop a thread at any moment.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        if self.ended || self.renews { Timestamp(monotonic_nanos()) } else { now }
    }
}

impl From<usize> for Received {
    fn from(len: usize) -> Self {
        Self { len, mark: None, ended: false, renews: false }
    }
}

/// A port between which and others like it the kernel may carry packets by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelPort {
    pub index: u32,
    /// The guest's Ethernet address.
    pub guest: Mac,
}

/// Why a read returned no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// The guest asks its link for the Ethernet address of an IP address (ARP or neighbour discovery).
    Question(IpAddr),
    /// The frame is no IP packet.
    Foreign,
    /// None is waiting.
    Empty,
    /// The device is gone for good.
    Gone,
}

/// Why a frame was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room, for now.
    Full,
    /// The device is down or gone.
    Down,
    /// The kernel rejects the frame: the offload header does not fit the packet.
    Refused,
}

const _: () = assert!(tun::HEADER_LEN == Offload::LEN);

/// The length of the link header, by which the offload header's offsets move.
const LINK_LEN: u16 = ethernet::HEADER_LEN as u16;

impl Device for TunQueue {
    #[inline]
    fn recv(&self, frame: &mut [u8]) -> Result<Received, RecvError> {
        match self.framing() {
            Framing::Header => self.read(frame).map(Received::from).map_err(|error| recv_error(&error)),
            Framing::Nothing => {
                let (header, packet) = frame.split_at_mut(Offload::LEN);
                header.fill(0);
                let len = self.read(packet).map_err(|error| recv_error(&error))?;
                Ok(Received::from(Offload::LEN + len))
            }
            Framing::Ethernet(_) => recv_ethernet(self, frame),
        }
    }

    #[inline]
    fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        let sent = match self.framing() {
            Framing::Header => self.write(frame),
            Framing::Nothing => self.write(&frame[Offload::LEN..]),
            Framing::Ethernet(guest) => {
                let (header, packet) = frame.split_at(Offload::LEN);
                send_ethernet(self, header, &ethernet::packet_header(packet, guest), packet)
            }
        };
        sent.map_err(|error| send_error(&error))
    }

    fn takes_udp_super_packets(&self) -> bool {
        self.offload() == OffloadSupport::TcpUdp
    }

    fn answer(&self, frame: &mut [u8]) {
        let (header, payload) = frame.split_at_mut(Offload::LEN);
        if let Framing::Ethernet(guest) = self.framing()
            && let Some((ethernet, len)) = ethernet::answer(payload, guest)
        {
            header.fill(0);
            let _ = send_ethernet(self, header, &ethernet, &payload[..len]);
        }
    }

    fn kernel_port(&self) -> Option<KernelPort> {
        let Framing::Ethernet(guest) = self.framing() else { return None };
        let port = self.port().filter(|port| port.is_up())?;
        Some(KernelPort { index: port.index(), guest })
    }
}

/// Removes the link header from the middle as the kernel copies the frame.
#[inline(never)]
fn recv_ethernet(queue: &TunQueue, frame: &mut [u8]) -> Result<Received, RecvError> {
    let (header, packet) = frame.split_first_chunk_mut::<{ Offload::LEN }>().expect("a frame has room for its header");
    let mut ethernet = [0; ethernet::HEADER_LEN];
    header.fill(0);
    let skipped = if queue.has_header() { Offload::LEN } else { 0 };
    let mut parts = [IoSliceMut::new(&mut header[..skipped]), IoSliceMut::new(&mut ethernet), IoSliceMut::new(packet)];
    let len = queue.read_parts(&mut parts).map_err(|error| recv_error(&error))?;
    let len = len.checked_sub(skipped + ethernet::HEADER_LEN).ok_or(RecvError::Foreign)?;
    match Content::of(&ethernet, &packet[..len]) {
        Content::Packet => {
            *header = Offload::decode(header).without(LINK_LEN).encode();
            // Elsewhere the destination is what the guest has written.
            let destination = queue.port().and_then(|_| ethernet.first_chunk());
            let received = Received::from(Offload::LEN + len);
            let mark = destination.and_then(|to| Mark::of(*to));
            let [ended, renews] = [Mark::has_ended, Mark::has_renewed].map(|says| mark.is_some_and(says));
            Ok(Received { mark, ended, renews, ..received })
        }
        Content::Question(address) => Err(RecvError::Question(address)),
        Content::Other => Err(RecvError::Foreign),
    }
}

#[inline(never)]
fn send_ethernet(queue: &TunQueue, header: &[u8], ethernet: &[u8], packet: &[u8]) -> io::Result<()> {
    let header = header.first_chunk().expect("a frame begins with its header");
    let header = Offload::decode(header).behind(LINK_LEN).encode();
    let skipped = if queue.has_header() { 0 } else { Offload::LEN };
    queue.write_parts(&[IoSlice::new(&header[skipped..]), IoSlice::new(ethernet), IoSlice::new(packet)])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that has to wait is no loss of the device, and a full queue is another drop than a device that is down.
    #[test]
    fn errors_of_the_kernel_say_whether_the_device_is_empty_full_down_or_gone() {
        let errors =
            |numbers: &[i32]| numbers.iter().map(|number| io::Error::from_raw_os_error(*number)).collect::<Vec<_>>();
        let read = |numbers: &[i32]| errors(numbers).iter().map(recv_error).collect::<Vec<_>>();
        assert_eq!(read(&[libc::EAGAIN, libc::EINTR]), [RecvError::Empty; 2]);
        assert_eq!(read(&[libc::EBADFD, libc::EIO, libc::ENODEV]), [RecvError::Gone; 3]);
        let written = |numbers: &[i32]| errors(numbers).iter().map(send_error).collect::<Vec<_>>();
        assert_eq!(written(&[libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENOMEM]), [SendError::Full; 4]);
        assert_eq!(written(&[libc::EIO, libc::EBADFD, libc::ENODEV]), [SendError::Down; 3]);
        assert_eq!(written(&[libc::EINVAL, libc::EMSGSIZE]), [SendError::Refused; 2]);
    }
}
