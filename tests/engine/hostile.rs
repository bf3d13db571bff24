//! Packets that are mutated, cut or noise: each is counted, and the router goes on.

use super::*;

#[test]
fn a_hundred_thousand_hostile_packets_are_all_counted() {
    const PACKETS: u64 = 100_000;
    // Fewer than the TUN's queue holds, so that none is lost before we see it.
    const AT_ONCE: u64 = 200;
    let Some(lab) = Lab::start("") else { return };
    let [a, b, c] = &lab.sites;
    let guest = a.run(|| raw::PacketSocket::bind(INTERFACE).unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for sent in 0..PACKETS {
        guest.send(&hostile_packet(&mut random)).unwrap();
        if sent % AT_ONCE == AT_ONCE - 1 {
            lab.wait_for("every packet read", |counters| counters.ports[0].rx_packets > sent);
        }
    }
    // The guests' kernels answer what reaches them, so packets are counted at their devices, not assumed.
    lab.wait_until_counters_add_up();
    let started = Instant::now();
    loop {
        let handed_over = [a, b, c].map(Site::handed_over);
        let counted = [0, 1, 2].map(|port| lab.engine.counters().ports[port].rx_packets);
        if handed_over == counted {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "handed over {handed_over:?}, counted {counted:?}");
        thread::sleep(Duration::from_millis(5));
    }
    let counters = lab.wait_until_counters_add_up();
    assert!(counters.ports[0].rx_packets >= PACKETS);
    for reason in [DropReason::Malformed, DropReason::BadChecksum, DropReason::SpoofedSource] {
        assert!(counters.ports[0].drops[reason as usize] > 1_000, "{reason}: {counters:?}");
    }
    assert!(counters.ports[1].tx_packets > 1_000, "some pass: {counters:?}");
    assert_eq!(counters.workers, Engine::workers(&lab.engine.network()), "no worker ended");
    assert!(a.pings(b.v4));
}

/// A packet from a to b or c, mutated, cut or nothing but noise.
fn hostile_packet(random: &mut Random) -> Vec<u8> {
    let peer = 2 + random.below(2) as u16;
    let v4 = [IpAddr::from([10, 1, 0, 4]), IpAddr::from([10, peer as u8, 0, 4])];
    let v6 = [1, peer].map(|n| IpAddr::from([0xfd00, n, 0, 0, 0, 0, 0, 4]));
    let [mut src, dst] = if random.below(2) == 0 { v4 } else { v6 };
    if random.below(10) == 0 {
        src = if src.is_ipv4() { IpAddr::from([192, 0, 2, 1]) } else { v6[1] };
    }
    let payload: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
    let (from, to) =
        (SocketAddr::new(src, random.below(65536) as u16), SocketAddr::new(dst, random.below(65536) as u16));
    let mut packet = match random.below(6) {
        0 => build::udp(from, to, &payload),
        1 => build::tcp(from, to, random.below(256) as u8, &payload),
        2 => build::icmp_echo(src, dst, from.port(), to.port(), random.below(2) == 0),
        3 => build::icmp_unreachable(src, &build::udp(to, from, &payload)),
        4 => build::raw(src, dst, random.below(256) as u8, &payload),
        _ => return (0..=random.below(1400)).map(|_| random.below(256) as u8).collect(),
    };
    for _ in 0..random.below(4) {
        let at = random.below(packet.len() as u64) as usize;
        packet[at] = random.below(256) as u8;
    }
    if random.below(8) == 0 {
        packet.truncate(1 + random.below(packet.len() as u64) as usize);
    }
    packet
}

/// xorshift64*: the same packets in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// A socket that writes bytes to a device as they are, which no safe wrapper offers.
#[expect(unsafe_code, reason = "AF_PACKET by libc")]
mod raw {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use vnet::sys::netlink::Netlink;

    pub(super) struct PacketSocket {
        fd: OwnedFd,
        to: libc::sockaddr_ll,
    }

    impl PacketSocket {
        /// On a device of the calling thread's namespace.
        pub(super) fn bind(interface: &str) -> io::Result<Self> {
            let link = Netlink::open()?.link(interface)?;
            // SAFETY: `socket` takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` was just opened and has no other owner.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            let to = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: (libc::ETH_P_IP as u16).to_be(),
                sll_ifindex: link.0.cast_signed(),
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            };
            Ok(Self { fd, to })
        }

        pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
            // SAFETY: the packet and the address are valid for reads of the lengths given, and outlive the call.
            let sent = unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    packet.as_ptr().cast(),
                    packet.len(),
                    0,
                    (&raw const self.to).cast(),
                    size_of::<libc::sockaddr_ll>() as u32,
                )
            };
            if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
    }
}
