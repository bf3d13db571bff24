//! The packet that an ICMP error quotes, rewritten along with the error (RFC 5508 section 4.2).
//!
//! One idea: a translator that changes an end of a flow changes it in the quotation, too. Otherwise the error's
//! receiver would not recognise its own packet. Every changed word is subtracted from the error's checksum and added
//! again. Fields that a short quotation lacks are left out.

use std::net::IpAddr;

use super::checksum::Sum;
use super::transport::Kind;
use super::{Packet, Protocol, icmp, ipv4, ipv6, transport};

/// Which end of the quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedEnd {
    Src,
    Dst,
}

/// Where a quotation's fields are, from the packet's start on.
struct Fields {
    address: usize,
    /// None for IPv6.
    header_checksum: Option<usize>,
    port: Option<usize>,
    /// Over the addresses, too.
    checksum: Option<usize>,
    is_udp: bool,
}

impl Packet<'_> {
    /// Changes one end of the packet that this ICMP error quotes; any other packet stays as it is. The address must be
    /// of the packet's IP version. A port is written where the quoted packet has ports.
    pub fn set_quoted(&mut self, end: QuotedEnd, address: IpAddr, port: Option<u16>) {
        let Some(fields) = self.quoted_fields(end) else { return };
        let old = Sum::of(&self.bytes()[fields.address..][..address_len(address)]);
        match address {
            IpAddr::V4(address) => self.put_quoted(fields.address, &address.octets()),
            IpAddr::V6(address) => self.put_quoted(fields.address, &address.octets()),
        }
        let mut change = Sum::change(old, Sum::of_address(address));
        if let Some(at) = fields.header_checksum {
            let checksum = Sum::from_full(self.word(at)).plus(change).full();
            self.put_quoted(at, &checksum.to_be_bytes());
        }
        if let (Some(at), Some(port)) = (fields.port, port) {
            change = change.plus(Sum::change(Sum::of_word(self.word(at)), Sum::of_word(port)));
            self.put_quoted(at, &port.to_be_bytes());
        }
        if let Some(at) = fields.checksum {
            let field = self.word(at);
            if field != 0 || !fields.is_udp {
                self.put_quoted(at, &Sum::from_full(field).plus(change).full().to_be_bytes());
            }
        }
    }

    fn quoted_fields(&self, end: QuotedEnd) -> Option<Fields> {
        if self.kind() != Kind::IcmpError {
            return None;
        }
        let start = self.transport_at() + icmp::HEADER_LEN;
        let quoted = self.bytes().get(start..)?;
        let (address, header_checksum, protocol, transport_at, later) = if self.is_ipv4() {
            let fixed = ipv4::Fixed::new(quoted)?;
            let address = if end == QuotedEnd::Src { ipv4::field::SRC } else { ipv4::field::DST };
            let later = fixed.fragment().offset > 0;
            (address, Some(ipv4::field::CHECKSUM), fixed.protocol(), fixed.header_len(), later)
        } else {
            let fixed = ipv6::Fixed::new(quoted)?;
            let upper = ipv6::Upper::find(quoted, fixed.next_header())?;
            let address = if end == QuotedEnd::Src { ipv6::field::SRC } else { ipv6::field::DST };
            let later = upper.fragment.is_some_and(|fragment| fragment.offset > 0);
            (address, None, upper.protocol, upper.at, later)
        };
        let there = |at: usize| (!later && at + 2 <= quoted.len()).then_some(start + at);
        let port = match end {
            QuotedEnd::Src => transport::field::SRC_PORT,
            QuotedEnd::Dst => transport::field::DST_PORT,
        };
        let (port, checksum) = match protocol {
            Protocol::TCP => (there(transport_at + port), there(transport_at + transport::field::TCP_CHECKSUM)),
            Protocol::UDP => (there(transport_at + port), there(transport_at + transport::field::UDP_CHECKSUM)),
            Protocol::ICMPV6 => (None, there(transport_at + icmp::field::CHECKSUM)),
            _ => (None, None),
        };
        Some(Fields {
            address: start + address,
            header_checksum: header_checksum.map(|at| start + at),
            port,
            checksum,
            is_udp: protocol == Protocol::UDP,
        })
    }

    /// All fields of a quotation are at even offsets, as the error's checksum needs.
    fn put_quoted(&mut self, at: usize, value: &[u8]) {
        let old = Sum::of(&self.bytes()[at..][..value.len()]);
        self.overwrite(at, value);
        self.edit_transport_checksum(Sum::NOTHING, Sum::change(old, Sum::of(value)));
    }
}

const fn address_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 4 } else { 16 }
}
