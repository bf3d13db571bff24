//! What a flow record is found by.
//!
//! One idea: a record admitted outbound with a tuple, and one admitted inbound with the mirrored tuple, are followed by
//! exactly the same packets (NSG-21). So the key is written from the NIC's side, local and remote, and one lookup answers
//! for both directions. An appliance that forwards a packet still gets two records: inbound the packet's destination is
//! local, outbound its source.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::dataplane::{Direction, NicId};
use crate::wire::Tuple;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    /// An IPv4 address fills the first word.
    local: [u32; 4],
    remote: [u32; 4],
    pub(super) nic: NicId,
    local_port: u16,
    remote_port: u16,
    protocol: u8,
    ipv4: bool,
}

impl FlowKey {
    /// The key that a packet is looked up by, and its record is stored under.
    pub(super) fn new(nic: NicId, direction: Direction, tuple: &Tuple) -> Self {
        let (src, dst) = (words(tuple.src), words(tuple.dst));
        let (local, remote, local_port, remote_port) = match direction {
            Direction::Outbound => (src, dst, tuple.src_port, tuple.dst_port),
            Direction::Inbound => (dst, src, tuple.dst_port, tuple.src_port),
        };
        Self { local, remote, nic, local_port, remote_port, protocol: tuple.protocol.0, ipv4: tuple.src.is_ipv4() }
    }
}

impl Hash for FlowKey {
    /// Whole words, and for IPv4 only the one that is in use.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let used = if self.ipv4 { 1 } else { 4 };
        for (local, remote) in self.local.iter().zip(&self.remote).take(used) {
            state.write_u64(u64::from(*local) << 32 | u64::from(*remote));
        }
        let ports = u32::from(self.local_port) << 16 | u32::from(self.remote_port);
        state.write_u64(u64::from(self.nic.0) << 32 | u64::from(ports));
        state.write_u16(u16::from(self.protocol) << 1 | u16::from(self.ipv4));
    }
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::Protocol;

    fn tuple(src: &str, dst: &str) -> Tuple {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Tuple { src, dst, protocol: Protocol::TCP, src_port: 1000, dst_port: 80 }
    }

    #[test]
    fn nsg_21_the_opposite_direction_mirrored_is_the_same_key() {
        let nic = NicId(3);
        for flow in [tuple("10.0.0.4", "10.1.0.4"), tuple("fd00::4", "fd01::4")] {
            let request = FlowKey::new(nic, Direction::Outbound, &flow);
            assert_eq!(request, FlowKey::new(nic, Direction::Inbound, &flow.mirrored()));
            assert_ne!(
                request,
                FlowKey::new(nic, Direction::Inbound, &flow),
                "what an appliance forwards is another flow"
            );
            assert_ne!(request, FlowKey::new(NicId(4), Direction::Outbound, &flow));
        }
    }

    #[test]
    fn an_ipv6_address_that_looks_like_ipv4_is_another_flow() {
        let key = |flow| FlowKey::new(NicId(0), Direction::Outbound, &flow);
        assert_ne!(key(tuple("10.0.0.4", "10.1.0.4")), key(tuple("a00:4::", "a01:4::")));
    }
}
