//! OPEN: a speaker's identity and capabilities (RFC 4271 section 4.2, capabilities of RFC 5492).
//!
//! Understood are multiprotocol unicast (RFC 4760), route refresh (RFC 2918) and four-byte AS numbers (RFC 6793). All
//! others, graceful restart among them, are the peer's to offer and ours to pass over, as RFC 5492 wants it.

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};

use super::Asn;
use super::family::{Families, Family, UNICAST};
use super::notification::{self, Notification};
use super::reader::Reader;

const VERSION: u8 = 4;
/// Optional parameter "capabilities" (RFC 5492).
const CAPABILITIES: u8 = 2;
/// Both length and type of the first parameter say so: then lengths have two bytes (RFC 9072).
const EXTENDED: u8 = 255;

mod capability {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const FOUR_BYTE_ASN: u8 = 65;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The true one, where the peer has a way to say it (RFC 6793).
    pub asn: Asn,
    /// Seconds; 0 or at least 3.
    pub hold_time: u16,
    pub identifier: Ipv4Addr,
    pub capabilities: Capabilities,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// None: no such capability, which means IPv4 unicast (RFC 4760 section 8).
    pub families: Option<Families>,
    pub route_refresh: bool,
    pub four_byte_asn: bool,
}

impl Capabilities {
    /// What the peer takes.
    pub fn families(&self) -> Families {
        self.families.unwrap_or(Families::IPV4)
    }
}

impl Open {
    /// The version, hold time, and identifier are checked here; the session decides whether they suit us.
    pub(super) fn decode(body: &[u8]) -> Result<Self, Notification> {
        let mut body = Reader::new(body);
        let short = || error(notification::open::UNSPECIFIC);
        let version = body.u8().ok_or_else(short)?;
        if version != VERSION {
            return Err(error(notification::open::VERSION).with_data(u16::from(VERSION).to_be_bytes()));
        }
        let two_byte_asn = body.u16().ok_or_else(short)?;
        let hold_time = body.u16().ok_or_else(short)?;
        let identifier = Ipv4Addr::from(body.u32().ok_or_else(short)?);
        if (1..3).contains(&hold_time) {
            return Err(error(notification::open::HOLD_TIME));
        }
        // RFC 6286 leaves this much of the rule that an identifier is an address.
        if identifier.is_unspecified() {
            return Err(error(notification::open::BAD_IDENTIFIER));
        }
        let (capabilities, four_byte_asn) = parameters(body)?;
        let asn = four_byte_asn.unwrap_or(Asn(u32::from(two_byte_asn)));
        if asn.0 == 0 {
            return Err(error(notification::open::BAD_PEER_AS));
        }
        Ok(Self { asn, hold_time, identifier, capabilities })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut capabilities = vec![];
        for family in self.capabilities.families.into_iter().flat_map(Families::iter) {
            capabilities.extend(multiprotocol(family));
        }
        if self.capabilities.route_refresh {
            capabilities.extend([capability::ROUTE_REFRESH, 0]);
        }
        if self.capabilities.four_byte_asn {
            capabilities.extend([capability::FOUR_BYTE_ASN, 4]);
            capabilities.extend(self.asn.0.to_be_bytes());
        }
        out.put_u8(VERSION);
        out.put_u16(self.asn.two_byte());
        out.put_u16(self.hold_time);
        out.put_slice(&self.identifier.octets());
        if capabilities.is_empty() {
            out.put_u8(0);
        } else {
            out.put_slice(&[capabilities.len() as u8 + 2, CAPABILITIES, capabilities.len() as u8]);
            out.put_slice(&capabilities);
        }
    }
}

/// The capability "unicast of this family", as it stands in an OPEN and in a complaint about its absence.
pub(crate) fn multiprotocol(family: Family) -> [u8; 6] {
    let [high, low] = family.afi().to_be_bytes();
    [capability::MULTIPROTOCOL, 4, high, low, 0, UNICAST]
}

fn error(subcode: u8) -> Notification {
    Notification::new(notification::code::OPEN, subcode)
}

/// The optional parameters: all capabilities, and the four-byte AS number if there is one.
fn parameters(mut body: Reader<'_>) -> Result<(Capabilities, Option<Asn>), Notification> {
    let short = || error(notification::open::UNSPECIFIC);
    let len = body.u8().ok_or_else(short)?;
    let rest = body.rest();
    let extended = len == EXTENDED && rest.first() == Some(&EXTENDED);
    let mut body = Reader::new(if extended { &rest[1..] } else { rest });
    let length = |reader: &mut Reader<'_>| if extended { reader.u16() } else { reader.u8().map(u16::from) };
    let len = if extended { body.u16().ok_or_else(short)? } else { u16::from(len) };
    let mut parameters = Reader::new(body.take(usize::from(len)).ok_or_else(short)?);
    if !body.is_empty() {
        return Err(short());
    }
    let mut found = (Capabilities::default(), None);
    while !parameters.is_empty() {
        let kind = parameters.u8().ok_or_else(short)?;
        let len = length(&mut parameters).ok_or_else(short)?;
        let value = parameters.take(usize::from(len)).ok_or_else(short)?;
        if kind != CAPABILITIES {
            return Err(error(notification::open::OPTIONAL_PARAMETER));
        }
        capabilities(value, &mut found).ok_or_else(short)?;
    }
    Ok(found)
}

/// None if the list ends within a capability or one that we understand has a wrong length.
fn capabilities(list: &[u8], (found, asn): &mut (Capabilities, Option<Asn>)) -> Option<()> {
    let mut list = Reader::new(list);
    while !list.is_empty() {
        let kind = list.u8()?;
        let len = list.u8()?;
        let value = list.take(usize::from(len))?;
        match kind {
            capability::MULTIPROTOCOL => {
                let &[high, low, _reserved, safi] = value else { return None };
                let known = Family::known(u16::from_be_bytes([high, low]), safi);
                let families = found.families.get_or_insert_default();
                *families = families.iter().chain(known).collect();
            }
            capability::ROUTE_REFRESH => found.route_refresh = true,
            capability::FOUR_BYTE_ASN => {
                found.four_byte_asn = true;
                *asn = Some(Asn(u32::from_be_bytes(value.try_into().ok()?)));
            }
            _ => {}
        }
    }
    Some(())
}
