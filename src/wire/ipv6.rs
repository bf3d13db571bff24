//! IPv6 (RFC 8200): the fixed header and the extension headers in front of the transport.
//!
//! Hop-by-hop, routing, destination options and fragment headers are walked, at most [`EXTENSIONS_MAX`] of them.
//! Authentication (AH) and everything else are protocols of their own. The guests handle the contents of options.

use std::net::{IpAddr, Ipv6Addr};

use super::{Fragment, IpHeader, ParseError, Protocol};

pub(super) const HEADER_LEN: usize = 40;

/// RFC 8200 section 4.1 recommends an order of at most five.
const EXTENSIONS_MAX: usize = 8;

const HOP_BY_HOP: Protocol = Protocol(0);
const ROUTING: Protocol = Protocol(43);
const FRAGMENT: Protocol = Protocol(44);
const DESTINATION_OPTIONS: Protocol = Protocol(60);

/// Where the fields are.
pub(super) mod field {
    pub(in crate::wire) const PAYLOAD_LEN: usize = 4;
    pub(in crate::wire) const HOP_LIMIT: usize = 7;
    pub(in crate::wire) const SRC: usize = 8;
    pub(in crate::wire) const DST: usize = 24;
}

/// The fixed header without checks of lengths: for packets quoted in ICMP errors, which are cut short.
pub(super) struct Fixed<'a>(&'a [u8; HEADER_LEN]);

impl<'a> Fixed<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().filter(|fixed| fixed[0] >> 4 == 6).map(Self)
    }
    #[inline]
    const fn payload_len(&self) -> usize {
        u16::from_be_bytes([self.0[4], self.0[5]]) as usize
    }
    #[inline]
    pub(super) const fn next_header(&self) -> Protocol {
        Protocol(self.0[6])
    }
    #[inline]
    pub(super) fn src(&self) -> IpAddr {
        self.address(field::SRC)
    }
    #[inline]
    pub(super) fn dst(&self) -> IpAddr {
        self.address(field::DST)
    }
    #[inline]
    fn address(&self, at: usize) -> IpAddr {
        let octets: [u8; 16] = *self.0[at..].first_chunk().expect("both addresses lie within the fixed header");
        IpAddr::V6(Ipv6Addr::from(octets))
    }
}

/// `super_packet`: the payload length may be zero, as the kernel writes it when 16 bits do not hold it (BIG TCP).
#[inline]
pub(super) fn parse(bytes: &[u8], super_packet: bool) -> Result<IpHeader, ParseError> {
    let fixed = Fixed::new(bytes).ok_or(ParseError::Malformed)?;
    let end = match fixed.payload_len() {
        0 if super_packet => bytes.len(),
        payload_len => HEADER_LEN + payload_len,
    };
    let bytes = bytes.get(..end).ok_or(ParseError::Malformed)?;
    let upper = Upper::find(bytes, fixed.next_header()).ok_or(ParseError::Malformed)?;
    let fragment = match upper.fragment {
        // Headers between it and the transport are multiples of eight bytes too, so the rest tells whether the fragment
        // is ragged.
        Some(fragment) => fragment.check(end - upper.at)?,
        None => None,
    };
    Ok(IpHeader {
        src: fixed.src(),
        dst: fixed.dst(),
        protocol: upper.protocol,
        transport_at: upper.at,
        end,
        fragment,
        source_routed: upper.source_routed,
    })
}

/// The result of the walk through the extension headers.
pub(super) struct Upper {
    pub(super) protocol: Protocol,
    pub(super) at: usize,
    pub(super) fragment: Option<Fragment>,
    source_routed: bool,
}

impl Upper {
    /// Walks the extension headers; None if they leave the packet, are too many or out of place. A later fragment ends
    /// the walk: the middle of a datagram follows its header.
    #[inline]
    pub(super) fn find(bytes: &[u8], next_header: Protocol) -> Option<Self> {
        let mut upper = Self { protocol: next_header, at: HEADER_LEN, fragment: None, source_routed: false };
        for nth in 0..=EXTENSIONS_MAX {
            let rest = bytes.get(upper.at..)?;
            match upper.protocol {
                HOP_BY_HOP if nth > 0 => return None,
                HOP_BY_HOP | DESTINATION_OPTIONS => upper.step_over(rest)?,
                ROUTING => {
                    upper.step_over(rest)?;
                    upper.source_routed |= *rest.get(3)? > 0;
                }
                FRAGMENT if upper.fragment.is_some() => return None,
                FRAGMENT => {
                    let fragment = fragment(*rest.first_chunk()?);
                    upper.protocol = Protocol(rest[0]);
                    upper.at += 8;
                    upper.fragment = Some(fragment);
                    if fragment.offset > 0 {
                        return Some(upper);
                    }
                }
                _ => return Some(upper),
            }
        }
        None
    }

    fn step_over(&mut self, header: &[u8]) -> Option<()> {
        let [next_header, eights] = *header.first_chunk()?;
        self.protocol = Protocol(next_header);
        self.at += (usize::from(eights) + 1) * 8;
        Some(())
    }
}

fn fragment([_, _, high, low, a, b, c, d]: [u8; 8]) -> Fragment {
    let offset_and_more = u16::from_be_bytes([high, low]);
    Fragment {
        id: u32::from_be_bytes([a, b, c, d]),
        offset: u32::from(offset_and_more & 0xfff8),
        more: offset_and_more & 1 != 0,
    }
}
