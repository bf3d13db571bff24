//! The virtio-net header in front of a packet on a TUN with `IFF_VNET_HDR`: the work that the kernel has left undone.
//!
//! One idea: a super-packet travels whole, and its header says how the receiver would cut it. Nothing here segments or
//! completes checksums. The header is in the host's byte order, as the kernel has it without `TUNSETVNETLE`.

use super::transport::{Kind, Segment};
use super::{IpHeader, ParseError};

/// The work that the kernel has left undone. All zero on a TUN without this header: the packet is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    pub flags: u8,
    pub gso_type: u8,
    /// The length to keep in one piece: at least the packet's headers, or zero.
    pub hdr_len: u16,
    /// Payload of each segment.
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl Offload {
    pub const LEN: usize = 10;

    /// Flag: the field at `csum_start + csum_offset` holds the uninverted pseudo-header sum.
    pub const NEEDS_CSUM: u8 = 1;
    /// Flag: the kernel has verified the checksum.
    pub const DATA_VALID: u8 = 2;

    pub const GSO_NONE: u8 = 0;
    pub const GSO_TCPV4: u8 = 1;
    pub const GSO_TCPV6: u8 = 4;
    pub const GSO_UDP_L4: u8 = 5;
    /// Bit beside a TCP type: the first segment alone carries CWR.
    pub const GSO_ECN: u8 = 0x80;

    #[inline]
    pub fn decode(header: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        Self {
            flags: header[0],
            gso_type: header[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        }
    }

    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let [hdr_len, gso_size] = [self.hdr_len, self.gso_size].map(u16::to_ne_bytes);
        let [csum_start, csum_offset] = [self.csum_start, self.csum_offset].map(u16::to_ne_bytes);
        let [h0, h1] = hdr_len;
        let [g0, g1] = gso_size;
        let [s0, s1] = csum_start;
        let [o0, o1] = csum_offset;
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// The same with so many bytes put in front of the packet.
    #[must_use]
    pub fn behind(self, bytes: u16) -> Self {
        self.moved(|place| place.saturating_add(bytes))
    }

    /// The same with so many bytes taken from in front of the packet.
    #[must_use]
    pub fn without(self, bytes: u16) -> Self {
        self.moved(|place| place.saturating_sub(bytes))
    }

    fn moved(self, to: impl Fn(u16) -> u16) -> Self {
        let needs_csum = self.flags & Self::NEEDS_CSUM != 0;
        Self {
            hdr_len: if self.hdr_len > 0 { to(self.hdr_len) } else { 0 },
            csum_start: if needs_csum { to(self.csum_start) } else { self.csum_start },
            ..self
        }
    }

    /// Whether this is a super-packet, to be cut into segments.
    #[inline]
    pub const fn is_super_packet(&self) -> bool {
        self.gso_type != Self::GSO_NONE
    }

    /// Whether the packet is as it is on a wire: no cut and no checksum is left to the kernel.
    pub const fn is_finished(&self) -> bool {
        !self.is_super_packet() && self.flags & Self::NEEDS_CSUM == 0
    }

    /// Whether the kernel vouches for the transport checksum: it will complete it, or has verified it.
    #[inline]
    pub(super) const fn vouches(&self) -> bool {
        self.flags & (Self::NEEDS_CSUM | Self::DATA_VALID) != 0 || self.is_super_packet()
    }

    /// Whether the checksum field at `at` is partial. A tunnel's inner one may be partial instead. Then the outer one
    /// is full, and already correct for the completed inner one.
    #[inline]
    pub(super) fn completes(&self, at: usize) -> bool {
        self.flags & Self::NEEDS_CSUM != 0 && usize::from(self.csum_start) + usize::from(self.csum_offset) == at
    }

    /// Whether header and packet agree, so that the kernel accepts them again. UDP fragmentation offload (type 3) and
    /// tunnel types are refused: vnet never enables them, so the kernel never sends them.
    #[expect(clippy::inline_always, reason = "a few comparisons, in one place for each IP version")]
    #[inline(always)]
    pub(super) fn check(&self, ip: &IpHeader, segment: &Segment) -> Result<(), ParseError> {
        let checksum_end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
        let fits =
            usize::from(self.hdr_len) <= ip.end && (self.flags & Self::NEEDS_CSUM == 0 || checksum_end <= ip.end);
        let agrees = match self.gso_type & !Self::GSO_ECN {
            Self::GSO_NONE => self.gso_type == Self::GSO_NONE,
            Self::GSO_TCPV4 => segment.kind == Kind::Tcp && ip.dst.is_ipv4(),
            Self::GSO_TCPV6 => segment.kind == Kind::Tcp && ip.dst.is_ipv6(),
            Self::GSO_UDP_L4 => segment.kind == Kind::Udp && self.gso_type & Self::GSO_ECN == 0,
            _ => false,
        };
        let cuts = !self.is_super_packet() || (self.gso_size > 0 && ip.fragment.is_none());
        if fits && agrees && cuts { Ok(()) } else { Err(ParseError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_it_decodes() {
        let bytes = [1, 0x81, 2, 3, 4, 5, 6, 7, 8, 9];
        let offload = Offload::decode(&bytes);
        assert_eq!(offload.gso_size, u16::from_ne_bytes([4, 5]));
        assert_eq!(offload.encode(), bytes);
    }
    /// Of a place that is in no use, nothing moves.
    #[test]
    fn bytes_in_front_of_a_packet_move_its_places() {
        let all =
            Offload { flags: Offload::NEEDS_CSUM, hdr_len: 54, csum_start: 34, csum_offset: 16, ..Offload::default() };
        let places = |offload: Offload| (offload.hdr_len, offload.csum_start, offload.csum_offset);
        assert_eq!((places(all.behind(14)), places(all.without(14))), ((68, 48, 16), (40, 20, 16)));
        assert_eq!(all.behind(14).without(14), all);
        let complete = Offload { flags: Offload::DATA_VALID, ..all };
        assert_eq!(places(complete.behind(14)), (68, 34, 16), "no checksum is left to the kernel");
        assert_eq!(
            places(Offload { hdr_len: 0, ..all }.behind(14)),
            (0, 48, 16),
            "nothing says how long the headers are"
        );
        assert_eq!(Offload { hdr_len: 1, ..all }.behind(14).hdr_len, 15);
        assert_eq!(places(all.without(60)), (0, 0, 16));
    }

    #[test]
    fn a_super_packet_or_a_partial_checksum_is_not_finished() {
        let is = |flags, gso_type| {
            let offload = Offload { flags, gso_type, ..Offload::default() };
            (offload.is_super_packet(), offload.is_finished(), offload.vouches())
        };
        assert_eq!(is(0, Offload::GSO_NONE), (false, true, false));
        assert_eq!(is(Offload::DATA_VALID, Offload::GSO_NONE), (false, true, true));
        assert_eq!(is(Offload::NEEDS_CSUM, Offload::GSO_NONE), (false, false, true));
        assert_eq!(is(0, Offload::GSO_UDP_L4), (true, false, true));
        assert_eq!(is(Offload::DATA_VALID, Offload::GSO_TCPV6), (true, false, true));
    }
}
