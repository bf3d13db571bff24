//! Frames with a VLAN's tag: the kernel takes the tag off before programs see them, so they look like those of a known flow.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use vnet::wire::build;

use crate::flow_cache::{A, B, Echo, PORT, counted, topology};
use crate::lab::{Lab, SOON, eventually};

const SOURCE: u16 = 5000;

/// A datagram of a flow behind a tag, with the checksum that a kernel leaves to its device.
fn tagged() -> Vec<u8> {
    let mut packet =
        build::udp(format!("{A}:{SOURCE}").parse().unwrap(), format!("{B}:{PORT}").parse().unwrap(), b"there");
    let words = packet[12..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 17 + (packet.len() - 20) as u32;
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[26..28].copy_from_slice(&(folded as u16).to_be_bytes());
    [&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 5, 8, 0][..], &packet].concat()
}

/// Sends a frame by `eth0` of the calling thread's namespace.
#[expect(unsafe_code, reason = "a packet socket's address")]
fn send_frame(frame: &[u8]) {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None::<Protocol>).unwrap();
    let index = vnet::sys::netlink::Netlink::open().unwrap().link("eth0").unwrap().0;
    // SAFETY: all of it are integers, for which zeros are valid.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    (to.sll_family, to.sll_ifindex) = (libc::AF_PACKET as u16, index.cast_signed());
    // SAFETY: the pointers and lengths are those of live values, which the kernel copies.
    let sent = unsafe {
        let length = size_of::<libc::sockaddr_ll>() as u32;
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length)
    };
    assert_eq!(usize::try_from(sent).ok(), Some(frame.len()), "{}", io::Error::last_os_error());
}

#[test]
fn frames_with_a_tag_are_no_flows() {
    const FRAMES: u64 = 10;
    let Some(lab) = Lab::up(&topology("veth", "", "")) else { return };
    let echo = Echo::new(&lab, SOURCE);
    echo.settle(&lab);
    let before = counted(&lab, "b")[1];
    let frame = tagged();
    lab.inside("a", || (0..FRAMES).for_each(|_| send_frame(&frame)));
    // The same without the tag is of the flow. Its receiver finds the checksum wrong: this socket leaves nothing to a device.
    lab.inside("a", || send_frame(&[&frame[..12], &frame[16..]].concat()));
    eventually("the plain one is counted", || counted(&lab, "b")[1] > before);
    assert_eq!(echo.exchange(1, SOON), 1);
    eventually("what comes after is counted", || counted(&lab, "b")[1] >= before + 2);
    assert_eq!(counted(&lab, "b")[1], before + 2);
}
