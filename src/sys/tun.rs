//! TUN and TAP devices by ioctl: one descriptor a queue, packets preceded by the virtio-net header where offload is on.
//!
//! With `IFF_VNET_HDR` a guest's TCP hands over segments of up to 64 KiB whole, checksums left open, and the receiving
//! guest takes them so: five times the throughput of plain 1500-byte packets. The header's meaning is `wire`'s business;
//! here it is [`HEADER_LEN`] bytes in front. Configuring the interface (addresses, up, MTU) is netlink's.

#![expect(unsafe_code, reason = "the TUN ioctls")]

use std::ffi::{c_int, c_uint};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::flow_cache::Port;
use super::steering;

const DEVICE: &str = "/dev/net/tun";

/// Length of the header in front of each packet of a queue with offload: `struct virtio_net_hdr`.
pub const HEADER_LEN: usize = 10;

/// Of a TAP's packets.
const ETHERNET_HEADER_LEN: u8 = 14;

const IFF_TUN_EXCL: c_int = 0x8000;
const IFF_PERSIST: c_int = 0x0800;

/// A TUN interface, held by its queues: unless it is persistent, it goes when the last of them is dropped.
#[derive(Debug)]
pub struct Tun {
    pub queues: Vec<TunQueue>,
    pub offload: OffloadSupport,
}

/// What the kernel and we may leave undone for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffloadSupport {
    /// No header: every packet is complete and fits the MTU.
    Off,
    /// Checksums and TCP segmentation; kernels before 6.2.
    Tcp,
    /// The same, and UDP segmentation.
    TcpUdp,
}

/// What stands in front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The virtio-net header.
    Header,
    Nothing,
    /// A TAP: an Ethernet header, behind the virtio-net header where offload is on. The guest has this address.
    Ethernet([u8; 6]),
}

/// One queue of a TUN, non-blocking. It lives on when the interface moves to another network namespace.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    offload: OffloadSupport,
    framing: Framing,
    /// Of a TAP behind a guest's veth pair.
    port: Option<Arc<Port>>,
}

impl Tun {
    /// Makes the interface `name` in the calling thread's network namespace, or attaches to a persistent one.
    ///
    /// All queues are opened here, before the interface could move: one more queue opened from the old namespace would
    /// silently make a new device. A persistent interface without `multi_queue` has one queue, even if more were asked
    /// for.
    /// `most` is what may be left undone at most; the kernel may know less.
    pub fn open(name: &str, queues: usize, most: OffloadSupport) -> io::Result<Self> {
        Self::open_as(libc::IFF_TUN, (name, None), queues, most)
    }

    /// The same for a TAP, whose packets have an Ethernet header. One that is made has this address, or one that the
    /// kernel chooses.
    pub fn open_tap(name: &str, address: Option<[u8; 6]>, queues: usize, most: OffloadSupport) -> io::Result<Self> {
        Self::open_as(libc::IFF_TAP, (name, address), queues, most)
    }

    fn open_as(
        kind: c_int,
        (name, address): (&str, Option<[u8; 6]>),
        queues: usize,
        most: OffloadSupport,
    ) -> io::Result<Self> {
        check_name(name)?;
        let header = if most == OffloadSupport::Off { 0 } else { libc::IFF_VNET_HDR };
        let base = kind | libc::IFF_NO_PI | header;
        let (first, flags) = first_queue(name, base).map_err(|error| explain(name, &error))?;
        if let Some(address) = address.filter(|_| interface_flags(&first).is_ok_and(|is| is & IFF_PERSIST == 0)) {
            set_hardware_address(&first, address).map_err(|error| explain(name, &error))?;
        }
        let multi = flags & libc::IFF_MULTI_QUEUE != 0;
        let offload = enable_offload(&first, most)?;
        let framing = match (kind, offload) {
            (libc::IFF_TAP, _) => Framing::Ethernet(hardware_address(&first)?),
            (_, OffloadSupport::Off) => Framing::Nothing,
            (_, OffloadSupport::Tcp | OffloadSupport::TcpUdp) => Framing::Header,
        };
        let mut opened = vec![TunQueue { fd: first, offload, framing, port: None }];
        for _ in 1..if multi { queues } else { 1 } {
            let fd = open_device()?;
            attach(&fd, name, flags).map_err(|error| explain(name, &error))?;
            opened.push(TunQueue { fd, offload, framing, port: None });
        }
        // What is there to stay keeps what its owner gave it.
        if opened.len() > 1 && interface_flags(&opened[0].fd)? & IFF_PERSIST == 0 {
            let link_len = if kind == libc::IFF_TAP { ETHERNET_HEADER_LEN } else { 0 };
            // Where this is not permitted, the kernel's own method serves.
            let _ = steering::steer(opened[0].fd.as_fd(), link_len);
        }
        Ok(Self { queues: opened, offload })
    }

    /// A device that is not the kernel's, for tests: its guest has the other ends of these sockets, one a queue. A header
    /// stands in front of each packet.
    pub fn of_sockets(queues: Vec<UnixDatagram>) -> io::Result<Self> {
        let (offload, framing) = (OffloadSupport::TcpUdp, Framing::Header);
        queues.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let queues = queues.into_iter().map(|socket| TunQueue { fd: socket.into(), offload, framing, port: None });
        Ok(Self { queues: queues.collect(), offload })
    }

    /// Stands for a guest's port from now on, which goes with the last queue.
    pub fn stand_for(&mut self, port: &Arc<Port>) {
        self.queues.iter_mut().for_each(|queue| queue.port = Some(Arc::clone(port)));
    }
}

impl TunQueue {
    /// Reads one packet and what its [`Framing`] puts in front. `WouldBlock` when there is none; `EBADFD` once the
    /// interface is gone. A packet longer than `frame` is cut.
    pub fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::readv(&self.fd, &mut [IoSliceMut::new(frame)])?)
    }

    /// Writes one packet behind what its [`Framing`] puts in front.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        // The kernel takes a packet whole or not at all.
        rustix::io::write(&self.fd, frame)?;
        Ok(())
    }

    /// Reads one packet into parts, as they are filled; returns the length of all.
    pub fn read_parts(&self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(rustix::io::readv(&self.fd, parts)?)
    }

    /// Writes one packet made of parts.
    pub fn write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        rustix::io::writev(&self.fd, parts)?;
        Ok(())
    }

    /// Where the kernel may carry flows by itself.
    pub fn port(&self) -> Option<&Port> {
        self.port.as_deref()
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether packets carry [`HEADER_LEN`] bytes in front.
    pub fn has_header(&self) -> bool {
        self.offload != OffloadSupport::Off
    }

    pub fn offload(&self) -> OffloadSupport {
        self.offload
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's `struct ifreq`, as far as TUN uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest_of_union: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

impl InterfaceRequest {
    fn new(name: &str, flags: c_int) -> Self {
        let mut request = Self { name: [0; _], flags: flags as i16, rest_of_union: [0; _] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        request
    }
}

/// The first queue, and the flags with which the others attach.
fn first_queue(name: &str, base: c_int) -> io::Result<(OwnedFd, c_int)> {
    let multi = base | libc::IFF_MULTI_QUEUE;
    let fd = open_device()?;
    // EXCL tells making from attaching: without it, we would join another program's live interface without notice.
    let exists = match attach(&fd, name, multi | IFF_TUN_EXCL) {
        Ok(()) => return Ok((fd, multi)),
        Err(error) => error,
    };
    if Errno::from_io_error(&exists) != Some(Errno::BUSY) {
        return Err(exists);
    }
    let flags = match attach(&fd, name, multi) {
        Ok(()) => multi,
        // A persistent interface made without multi_queue.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            attach(&fd, name, base)?;
            base
        }
        Err(error) => return Err(error),
    };
    if interface_flags(&fd)? & IFF_PERSIST == 0 { Err(Errno::BUSY.into()) } else { Ok((fd, flags)) }
}

fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, DEVICE, flags, Mode::empty()).map_err(|errno| {
        let advice = match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => {
                "the kernel's TUN driver is missing; load it with `modprobe tun`, or give the container the device \
                 (docker run --device /dev/net/tun)"
            }
            Errno::ACCESS | Errno::PERM => "may not be opened; run as root, or let users open it (chmod 0666)",
            _ => "cannot be opened",
        };
        io::Error::new(io::Error::from(errno).kind(), format!("{DEVICE}: {advice}: {errno}"))
    })
}

fn attach(fd: &OwnedFd, name: &str, flags: c_int) -> io::Result<()> {
    let mut request = InterfaceRequest::new(name, flags);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` has its layout and size, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

fn interface_flags(fd: &OwnedFd) -> io::Result<c_int> {
    let mut request = InterfaceRequest::new("", 0);
    // SAFETY: TUNGETIFF writes one `struct ifreq`; `request` has its layout and size, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    Ok(c_int::from(request.flags))
}

/// Of the interface that this queue belongs to.
fn hardware_address(fd: &OwnedFd) -> io::Result<[u8; 6]> {
    let mut request = InterfaceRequest::new("", 0);
    // SAFETY: SIOCGIFHWADDR writes one `struct ifreq`; `request` has its layout and size, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) })?;
    // A `struct sockaddr`: the family is where flags are, the address follows.
    Ok(std::array::from_fn(|i| request.rest_of_union[i]))
}

fn set_hardware_address(fd: &OwnedFd, address: [u8; 6]) -> io::Result<()> {
    // A `struct sockaddr`, as above; its family must be the device's.
    let mut request = InterfaceRequest::new("", c_int::from(libc::ARPHRD_ETHER));
    request.rest_of_union[..address.len()].copy_from_slice(&address);
    // SAFETY: SIOCSIFHWADDR reads one `struct ifreq`; `request` has its layout and size, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFHWADDR, &raw const request) })
}

/// Tells the kernel what we take unfinished. It is a property of the interface, not of the queue.
fn enable_offload(fd: &OwnedFd, most: OffloadSupport) -> io::Result<OffloadSupport> {
    if most == OffloadSupport::Off {
        return Ok(most);
    }
    let length = c_int::try_from(HEADER_LEN).expect("10 fits");
    // SAFETY: TUNSETVNETHDRSZ reads one `int`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length) })?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    if most == OffloadSupport::TcpUdp && set_offload(fd, tcp | udp).is_ok() {
        return Ok(OffloadSupport::TcpUdp);
    }
    set_offload(fd, tcp)?;
    Ok(OffloadSupport::Tcp)
}

fn set_offload(fd: &OwnedFd, features: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its bits by value and touches no memory of ours.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check_name(name: &str) -> io::Result<()> {
    let fits = (1..libc::IFNAMSIZ).contains(&name.len());
    if fits && !name.contains(['/', '%', ':', '\0']) && !name.contains(char::is_whitespace) {
        return Ok(());
    }
    let message = format!("`{name}` is no interface name: 1 to 15 bytes, without `/`, `:`, `%` and spaces");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn explain(name: &str, error: &io::Error) -> io::Error {
    let advice = match Errno::from_io_error(error) {
        Some(Errno::BUSY) => "the name is in use by another program; stop it, or choose another name",
        Some(Errno::INVAL) => {
            "an interface of that name exists and is no TUN (or TAP, if that was asked for) that can be attached to"
        }
        Some(Errno::PERM) => "not permitted: needs CAP_NET_ADMIN in this network namespace",
        Some(_) => "cannot be opened",
        // Our own message, from opening the device node.
        None => return io::Error::new(error.kind(), error.to_string()),
    };
    io::Error::new(error.kind(), format!("TUN interface {name}: {advice}: {error}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_name_the_kernel_would_mangle_is_refused() {
        for name in ["", "sixteen-bytes-xx", "a/b", "eth%d", "a b", "a:1"] {
            let error = Tun::open(name, 1, OffloadSupport::TcpUdp).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(error.to_string().contains("interface name"), "{error}");
        }
        assert!(check_name("fifteen-bytes-x").is_ok());
    }
}
