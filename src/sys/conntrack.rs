//! Looks up one flow in the connection tracking of the calling thread's network namespace.
//!
//! One idea: the lookup is by the flow's first packet, as it came in; the whole table is never read. Layouts are those
//! of the kernel's `linux/netfilter/nfnetlink_conntrack.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use netlink_packet_core::NLM_F_ACK;

use super::netfilter::{Netfilter, attribute, get, nested};

/// `NFNL_SUBSYS_CTNETLINK`, and its request for one connection.
const GET: u16 = 1 << 8 | 1;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Packets of one direction. The identifier of an echo stands in both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Direction {
    pub protocol: u8,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

/// The answers that the namespace waits for to a flow that begins like this: from where they come, and where they go. None
/// for a flow that is not tracked.
pub fn answers(flow: &Direction) -> io::Result<Option<Direction>> {
    let family = if flow.src.0.is_ipv4() { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 };
    let mut found = None;
    let asked = Netfilter::open()?.ask(
        (GET, NLM_F_ACK, family.cast_unsigned() as u8),
        &nested(ORIGINAL, &tuple(flow)),
        |answer| {
            // Found by its answers, it is another's.
            let original = answer.get(ORIGINAL).and_then(|it| direction(it, flow.protocol));
            if original == Some(*flow) {
                found = answer.get(REPLY).and_then(|it| direction(it, flow.protocol));
            }
            ControlFlow::Continue(())
        },
    );
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        asked => asked.map(|()| found),
    }
}

fn tuple(flow: &Direction) -> Vec<u8> {
    let address = |v4, v6, address| match address {
        IpAddr::V4(address) => attribute(v4, &address.octets()),
        IpAddr::V6(address) => attribute(v6, &address.octets()),
    };
    let addresses = [address(1, 3, flow.src.0), address(2, 4, flow.dst.0)].concat();
    let short = |kind, value: u16| attribute(kind, &value.to_be_bytes());
    // Identifier, type and code of an echo request.
    let rest = match flow.protocol {
        ICMP => [short(4, flow.src.1), attribute(5, &[8]), attribute(6, &[0])].concat(),
        ICMPV6 => [short(7, flow.src.1), attribute(8, &[128]), attribute(9, &[0])].concat(),
        _ => [short(2, flow.src.1), short(3, flow.dst.1)].concat(),
    };
    let protocol = [attribute(1, &[flow.protocol]), rest].concat();
    [nested(ADDRESSES, &addresses), nested(PROTOCOL, &protocol)].concat()
}

fn direction(tuple: &[u8], protocol: u8) -> Option<Direction> {
    let (addresses, ports) = (get(tuple, ADDRESSES)?, get(tuple, PROTOCOL)?);
    let address = |v4, v6| match get(addresses, v4) {
        Some(four) => four.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        None => get(addresses, v6)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
    };
    let short = |kind| get(ports, kind)?.first_chunk().map(|short| u16::from_be_bytes(*short));
    let (from, to) = match protocol {
        ICMP => (short(4)?, short(4)?),
        ICMPV6 => (short(7)?, short(7)?),
        _ => (short(2)?, short(3)?),
    };
    Some(Direction { protocol, src: (address(1, 3)?, from), dst: (address(2, 4)?, to) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let [six, seven]: [IpAddr; 2] = ["fd00::6", "fd00::7"].map(|address| address.parse().unwrap());
        let flows = [
            Direction { protocol: 6, src: (a, 1000), dst: (b, 80) },
            Direction { protocol: 17, src: (six, 1000), dst: (seven, 53) },
            Direction { protocol: ICMP, src: (a, 7), dst: (b, 7) },
            Direction { protocol: ICMPV6, src: (six, 7), dst: (seven, 7) },
        ];
        for flow in flows {
            assert_eq!(direction(&tuple(&flow), flow.protocol), Some(flow));
        }
    }

    /// The kernel finds a ping by its request: type and code are part of the tuple.
    #[test]
    fn a_ping_is_asked_for_by_its_request() {
        for (protocol, kind, code, request) in [(ICMP, 5, 6, 8), (ICMPV6, 8, 9, 128)] {
            let address = |v4: &str, v6: &str| if protocol == ICMP { v4 } else { v6 }.parse().unwrap();
            let (src, dst) = ((address("10.0.0.1", "fd00::1"), 7), (address("10.0.0.2", "fd00::2"), 7));
            let tuple = tuple(&Direction { protocol, src, dst });
            let ports = get(&tuple, PROTOCOL).unwrap();
            assert_eq!((get(ports, kind), get(ports, code)), (Some(&[request][..]), Some(&[0][..])));
        }
    }
}
