//! The key of a flow record.
//!
//! One idea: a record admitted outbound with a tuple, and one admitted inbound with the mirrored tuple, are followed by
//! exactly the same packets (NSG-21). So the key is written from the NIC's side, local and remote, and one lookup
//! serves both directions. An appliance that forwards a packet still gets two records: inbound the packet's destination
//! is local, outbound its source.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::dataplane::{Direction, NicId};
use crate::wire::{Protocol, Tuple};

/// Whole words: a key is built in registers and compared as it was built. Smaller pieces, stored one by one and loaded
/// together, stall the processor: following a record takes 14 ns this way and took 35 with pieces.
#[derive(Clone, Copy, Debug, Eq)]
pub(in crate::dataplane) struct FlowKey {
    /// Local and remote; two IPv4 addresses share the first word.
    addresses: [u64; 4],
    /// The NIC in 23 bits, the protocol, the family in one, the local port, the remote port.
    ends: u64,
}

/// NIC numbers are the lowest free ones, and no lab has this many.
const NICS: u32 = 1 << 23;

impl FlowKey {
    /// No packet's.
    pub(in crate::dataplane) const NONE: Self = Self { addresses: [0; 4], ends: 0 };

    /// The key under which a packet's record is stored and found.
    #[inline]
    pub(in crate::dataplane) fn new(nic: NicId, direction: Direction, tuple: &Tuple) -> Self {
        let (local, remote, local_port, remote_port) = match direction {
            Direction::Outbound => (&tuple.src, &tuple.dst, tuple.src_port, tuple.dst_port),
            Direction::Inbound => (&tuple.dst, &tuple.src, tuple.dst_port, tuple.src_port),
        };
        debug_assert!(nic.0 < NICS);
        let kind = u64::from(tuple.protocol.0) << 1 | u64::from(tuple.src.is_ipv4());
        Self {
            addresses: words(local, remote),
            ends: u64::from(nic.0) << 41 | kind << 32 | u64::from(local_port) << 16 | u64::from(remote_port),
        }
    }

    /// The same flow at another NIC.
    #[inline]
    pub(in crate::dataplane) const fn at(&self, nic: NicId) -> Self {
        Self { addresses: self.addresses, ends: self.ends & !(!0 << 41) | (nic.0 as u64) << 41 }
    }

    /// The same flow with local and remote exchanged: as the NIC at the other end sees it.
    #[inline]
    pub(in crate::dataplane) const fn turned(&self) -> Self {
        let [first, second, third, fourth] = self.addresses;
        let addresses = if self.is_ipv4() { [first.rotate_left(32), 0, 0, 0] } else { [third, fourth, first, second] };
        let (local, remote) = (self.ends >> 16 & 0xffff, self.ends & 0xffff);
        Self { addresses, ends: self.ends >> 32 << 32 | remote << 16 | local }
    }

    pub(super) const fn nic(&self) -> NicId {
        NicId((self.ends >> 41) as u32)
    }

    /// The tuple of a packet that goes in this direction.
    pub(in crate::dataplane) fn tuple(&self, direction: Direction) -> Tuple {
        let [first, second, third, fourth] = self.addresses;
        let (local, remote) = if self.is_ipv4() {
            (IpAddr::V4(((first >> 32) as u32).into()), IpAddr::V4((first as u32).into()))
        } else {
            let address = |high, low| IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into());
            (address(first, second), address(third, fourth))
        };
        let protocol = Protocol((self.ends >> 33) as u8);
        let (src_port, dst_port) = ((self.ends >> 16) as u16, self.ends as u16);
        let outbound = Tuple { src: local, dst: remote, protocol, src_port, dst_port };
        match direction {
            Direction::Outbound => outbound,
            Direction::Inbound => outbound.mirrored(),
        }
    }

    const fn is_ipv4(&self) -> bool {
        self.ends >> 32 & 1 == 1
    }
}

impl PartialEq for FlowKey {
    /// Compared a word at a time, as it was written. Loading a just-built key as one vector also stalls the processor.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let same = |word: usize| self.addresses[word] == other.addresses[word];
        self.ends == other.ends && same(0) && (self.is_ipv4() || same(1) && same(2) && same(3))
    }
}

impl Hash for FlowKey {
    /// Two words for IPv4.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first, rest @ ..] = self.addresses;
        state.write_u64(first);
        state.write_u64(self.ends);
        if !self.is_ipv4() {
            for word in rest {
                state.write_u64(word);
            }
        }
    }
}

/// A packet has addresses of one family.
#[inline]
fn words(local: &IpAddr, remote: &IpAddr) -> [u64; 4] {
    if let (IpAddr::V4(local), IpAddr::V4(remote)) = (local, remote) {
        return [u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()), 0, 0, 0];
    }
    let (local, remote) = (bits(local), bits(remote));
    [(local >> 64) as u64, local as u64, (remote >> 64) as u64, remote as u64]
}

#[inline]
const fn bits(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

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
                "the packet that an appliance forwards is another flow"
            );
            assert_ne!(request, FlowKey::new(NicId(4), Direction::Outbound, &flow));
        }
    }

    #[test]
    fn a_flow_is_known_at_its_other_end_by_the_turned_key() {
        for flow in [tuple("10.0.0.4", "255.255.255.255"), tuple("fd00::4", "ffff:1::ffff")] {
            let (near, far) = (NicId(NICS - 1), NicId(5));
            let key = FlowKey::new(near, Direction::Outbound, &flow);
            assert_eq!(key.turned().at(far), FlowKey::new(far, Direction::Inbound, &flow));
            assert_eq!(key.at(far), FlowKey::new(far, Direction::Outbound, &flow));
        }
    }

    #[test]
    fn a_key_gives_its_parts_back() {
        for flow in [tuple("10.0.0.4", "255.255.255.255"), tuple("fd00::4", "ffff:1::ffff")] {
            let flow = Tuple { protocol: Protocol(255), src_port: u16::MAX, ..flow };
            for direction in [Direction::Outbound, Direction::Inbound] {
                let key = FlowKey::new(NicId(NICS - 1), direction, &flow);
                assert_eq!((key.nic(), key.tuple(direction)), (NicId(NICS - 1), flow));
            }
        }
    }

    #[test]
    fn an_ipv6_address_that_looks_like_ipv4_is_another_flow() {
        let key = |flow| FlowKey::new(NicId(0), Direction::Outbound, &flow);
        assert_ne!(key(tuple("10.0.0.4", "10.1.0.4")), key(tuple("a00:4::", "a01:4::")));
    }
}
