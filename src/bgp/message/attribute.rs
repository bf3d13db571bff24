//! Path attributes of an UPDATE, and the handling of errors in them.
//!
//! A mistake in one attribute ends no session (RFC 7606): the attribute is discarded, or all routes of the message
//! count as withdrawn, as the attribute's own rule says. Only where not even the routes can be separated is the
//! session reset.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use ipnet::IpNet;

use super::as_path::{AsPath, Asn};
use super::community::Community;
use super::family::{Family, UNICAST};
use super::notification::{self, Notification};
use super::reader::Reader;
use super::{Context, prefix};

/// Attribute types.
pub(super) mod kind {
    pub(crate) const ORIGIN: u8 = 1;
    pub(crate) const AS_PATH: u8 = 2;
    pub(crate) const NEXT_HOP: u8 = 3;
    pub(crate) const MED: u8 = 4;
    pub(crate) const LOCAL_PREF: u8 = 5;
    pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
    pub(crate) const AGGREGATOR: u8 = 7;
    pub(crate) const COMMUNITIES: u8 = 8;
    pub(crate) const MP_REACH: u8 = 14;
    pub(crate) const MP_UNREACH: u8 = 15;
    pub(crate) const AS4_PATH: u8 = 17;
    pub(crate) const AS4_AGGREGATOR: u8 = 18;
}

pub(super) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Where the route entered BGP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    #[default]
    Igp = 0,
    Egp = 1,
    Incomplete = 2,
}

/// The router that aggregated several routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    pub asn: Asn,
    pub identifier: Ipv4Addr,
}

/// A transitive attribute that we do not understand, passed on as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opaque {
    pub kind: u8,
    pub value: Vec<u8>,
}

/// What all routes of an UPDATE share, the next hop apart: each family has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    pub origin: Origin,
    pub as_path: AsPath,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub atomic_aggregate: bool,
    pub aggregator: Option<Aggregator>,
    pub communities: Vec<Community>,
    pub opaque: Vec<Opaque>,
}

/// One attribute's mistake and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The attribute's type; 0 where the list itself ends too early.
    pub attribute: u8,
    pub remedy: Remedy,
}

/// RFC 7606 section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    AttributeDiscard,
    TreatAsWithdraw,
}

/// Routes of one family with their next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub next_hop: IpAddr,
    pub prefixes: Vec<IpNet>,
}

/// An attribute list, read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) attributes: Attributes,
    pub(super) origin: Option<Origin>,
    pub(super) as_path: Option<AsPath>,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) mp_reach: Option<Reach>,
    pub(super) mp_unreach: Vec<IpNet>,
    pub(super) faults: Vec<Fault>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

/// An attribute before a look at its value.
struct Raw<'a> {
    flags: u8,
    kind: u8,
    value: &'a [u8],
}

/// What a mistake calls for.
enum Harm {
    Discard,
    Withdraw,
    Reset(Notification),
}

impl<'a> Raw<'a> {
    fn read(list: &mut Reader<'a>) -> Option<Self> {
        let (flags, kind) = (list.u8()?, list.u8()?);
        let len = if flags & flag::EXTENDED_LENGTH == 0 { u16::from(list.u8()?) } else { list.u16()? };
        Some(Self { flags, kind, value: list.take(usize::from(len))? })
    }

    /// With its header, as a NOTIFICATION quotes it.
    fn quoted(&self) -> BytesMut {
        let mut quoted = BytesMut::new();
        write(self.flags, self.kind, self.value, &mut quoted);
        quoted
    }

    /// The value, if it has just this length; else what a wrong one calls for.
    fn exactly<const N: usize>(&self, otherwise: Harm) -> Result<[u8; N], Harm> {
        self.value.try_into().map_err(|_| otherwise)
    }

    /// The category of the types that we know; the other two bits say nothing of it.
    fn flags_fit(&self) -> bool {
        let expected = match self.kind {
            kind::ORIGIN | kind::AS_PATH | kind::NEXT_HOP | kind::LOCAL_PREF | kind::ATOMIC_AGGREGATE => {
                flag::TRANSITIVE
            }
            kind::MED | kind::MP_REACH | kind::MP_UNREACH => flag::OPTIONAL,
            kind::AGGREGATOR | kind::COMMUNITIES | kind::AS4_PATH | kind::AS4_AGGREGATOR => {
                flag::OPTIONAL | flag::TRANSITIVE
            }
            _ => return true,
        };
        self.flags & (flag::OPTIONAL | flag::TRANSITIVE) == expected
    }
}

/// Reads a list to its end even if single attributes are malformed; an error ends the session.
pub(super) fn decode(list: &[u8], context: Context) -> Result<Draft, Notification> {
    let mut list = Reader::new(list);
    let mut draft = Draft::default();
    let mut seen = [false; 256];
    while !list.is_empty() {
        let Some(raw) = Raw::read(&mut list) else {
            // RFC 7606 section 4: the routes behind the list are still where its length says.
            draft.fault(0, Remedy::TreatAsWithdraw);
            break;
        };
        let again = std::mem::replace(&mut seen[usize::from(raw.kind)], true);
        match (again, raw.kind) {
            // RFC 7606 section 3 (g): routes twice are no routes; else the first stands.
            (true, kind::MP_REACH | kind::MP_UNREACH) => return Err(malformed_list()),
            (true, other) => draft.fault(other, Remedy::AttributeDiscard),
            (false, _) => draft.take(&raw, context)?,
        }
    }
    draft.join_four_byte_asns(context);
    Ok(draft)
}

pub(super) fn malformed_list() -> Notification {
    Notification::new(notification::code::UPDATE, notification::update::ATTRIBUTE_LIST)
}

impl Draft {
    pub(super) fn fault(&mut self, attribute: u8, remedy: Remedy) {
        self.faults.push(Fault { attribute, remedy });
    }

    fn take(&mut self, raw: &Raw<'_>, context: Context) -> Result<(), Notification> {
        // Even from flags that lie, routes are read: they are what has to be withdrawn.
        if !raw.flags_fit() {
            self.fault(raw.kind, Remedy::TreatAsWithdraw);
        }
        match self.read(raw, context) {
            Ok(()) => {}
            Err(Harm::Discard) => self.fault(raw.kind, Remedy::AttributeDiscard),
            Err(Harm::Withdraw) => self.fault(raw.kind, Remedy::TreatAsWithdraw),
            Err(Harm::Reset(notification)) => return Err(notification),
        }
        Ok(())
    }

    fn read(&mut self, raw: &Raw<'_>, context: Context) -> Result<(), Harm> {
        match raw.kind {
            kind::ORIGIN => {
                let origin = match raw.value {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    [2] => Origin::Incomplete,
                    _ => return Err(Harm::Withdraw),
                };
                self.origin = Some(origin);
            }
            kind::AS_PATH => {
                let path = AsPath::decode(raw.value, context.four_byte_asn).ok_or(Harm::Withdraw)?;
                self.as_path = Some(path);
            }
            kind::NEXT_HOP => self.next_hop = Some(raw.exactly::<4>(Harm::Withdraw)?.into()),
            kind::MED => self.attributes.med = Some(u32::from_be_bytes(raw.exactly(Harm::Withdraw)?)),
            // RFC 7606 section 7.5: it means nothing between systems.
            kind::LOCAL_PREF if !context.internal => return Err(Harm::Discard),
            kind::LOCAL_PREF => self.attributes.local_pref = Some(u32::from_be_bytes(raw.exactly(Harm::Withdraw)?)),
            kind::ATOMIC_AGGREGATE => {
                let [] = raw.exactly(Harm::Discard)?;
                self.attributes.atomic_aggregate = true;
            }
            kind::AGGREGATOR => self.attributes.aggregator = Some(aggregator(raw, context.four_byte_asn)?),
            kind::COMMUNITIES => self.attributes.communities = Community::decode(raw.value).ok_or(Harm::Withdraw)?,
            kind::MP_REACH => self.mp_reach = mp_reach(raw)?,
            kind::MP_UNREACH => self.mp_unreach = mp_unreach(raw)?,
            // RFC 6793 section 4.1: a speaker with four-byte numbers does not send these.
            kind::AS4_PATH | kind::AS4_AGGREGATOR if context.four_byte_asn => return Err(Harm::Discard),
            kind::AS4_PATH => self.as4_path = Some(AsPath::decode(raw.value, true).ok_or(Harm::Discard)?),
            kind::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(raw, true)?),
            _ if raw.flags & flag::OPTIONAL == 0 => {
                let error = notification::update::UNRECOGNIZED_WELL_KNOWN;
                return Err(Harm::Reset(Notification::new(notification::code::UPDATE, error).with_data(raw.quoted())));
            }
            other if raw.flags & flag::TRANSITIVE != 0 => {
                self.attributes.opaque.push(Opaque { kind: other, value: raw.value.to_vec() });
            }
            // Optional and not transitive: nothing to us, and no mistake either.
            _ => {}
        }
        Ok(())
    }

    /// RFC 6793 section 4.2.3: the truth behind two-byte numbers, unless a two-byte speaker aggregated since.
    fn join_four_byte_asns(&mut self, context: Context) {
        if context.four_byte_asn {
            return;
        }
        if let (Some(aggregator), Some(four_byte)) = (&mut self.attributes.aggregator, self.as4_aggregator) {
            if aggregator.asn != Asn::TRANS {
                return;
            }
            *aggregator = four_byte;
        }
        if let (Some(path), Some(four_byte)) = (&mut self.as_path, &self.as4_path) {
            *path = path.restored(four_byte);
        }
    }
}

fn aggregator(raw: &Raw<'_>, four_byte: bool) -> Result<Aggregator, Harm> {
    let (asn, identifier) = if four_byte {
        let [a, b, c, d, identifier @ ..] = raw.exactly::<8>(Harm::Discard)?;
        (u32::from_be_bytes([a, b, c, d]), identifier)
    } else {
        let [a, b, identifier @ ..] = raw.exactly::<6>(Harm::Discard)?;
        (u32::from(u16::from_be_bytes([a, b])), identifier)
    };
    // RFC 7607 section 2.
    if asn == 0 { Err(Harm::Discard) } else { Ok(Aggregator { asn: Asn(asn), identifier: identifier.into() }) }
}

/// None for a family that we do not carry.
fn mp_reach(raw: &Raw<'_>) -> Result<Option<Reach>, Harm> {
    let broken = || Harm::Reset(optional_error(raw));
    let mut value = Reader::new(raw.value);
    let (afi, safi) = (value.u16().ok_or_else(broken)?, value.u8().ok_or_else(broken)?);
    let next_hop = value.u8().and_then(|len| value.take(usize::from(len))).ok_or_else(broken)?;
    let _reserved = value.u8().ok_or_else(broken)?;
    let Some(family) = Family::known(afi, safi) else { return Ok(None) };
    let next_hop = next_hop_of(next_hop, family).ok_or_else(broken)?;
    let prefixes = prefix::decode(value.rest(), family).ok_or_else(broken)?;
    Ok(Some(Reach { next_hop, prefixes }))
}

/// Of IPv6 the global address; the link-local one behind it is for a shared link (RFC 2545 section 3).
fn next_hop_of(bytes: &[u8], family: Family) -> Option<IpAddr> {
    match family {
        Family::Ipv4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        Family::Ipv6 if [16, 32].contains(&bytes.len()) => Some(Ipv6Addr::from(*bytes.first_chunk()?).into()),
        Family::Ipv6 => None,
    }
}

fn mp_unreach(raw: &Raw<'_>) -> Result<Vec<IpNet>, Harm> {
    let broken = || Harm::Reset(optional_error(raw));
    let mut value = Reader::new(raw.value);
    let (afi, safi) = (value.u16().ok_or_else(broken)?, value.u8().ok_or_else(broken)?);
    let Some(family) = Family::known(afi, safi) else { return Ok(vec![]) };
    prefix::decode(value.rest(), family).ok_or_else(broken)
}

/// RFC 7606 section 5.3: routes that cannot be separated.
fn optional_error(raw: &Raw<'_>) -> Notification {
    Notification::new(notification::code::UPDATE, notification::update::OPTIONAL_ATTRIBUTE).with_data(raw.quoted())
}

/// Writes one attribute with as short a length as it takes.
pub(super) fn write(flags: u8, kind: u8, value: &[u8], out: &mut BytesMut) {
    if let Ok(len) = u8::try_from(value.len()) {
        out.put_slice(&[flags & !flag::EXTENDED_LENGTH, kind, len]);
    } else {
        let [high, low] = (value.len() as u16).to_be_bytes();
        out.put_slice(&[flags | flag::EXTENDED_LENGTH, kind, high, low]);
    }
    out.put_slice(value);
}

impl Attributes {
    /// All but the routes and their next hop; in order of type, as RFC 4271 section 5 would have it.
    pub(super) fn encode(&self, next_hop: Option<Ipv4Addr>, context: Context, out: &mut BytesMut) {
        let four_byte = context.four_byte_asn;
        write(flag::TRANSITIVE, kind::ORIGIN, &[self.origin as u8], out);
        let mut path = BytesMut::new();
        self.as_path.encode(four_byte, &mut path);
        write(flag::TRANSITIVE, kind::AS_PATH, &path, out);
        if let Some(next_hop) = next_hop {
            write(flag::TRANSITIVE, kind::NEXT_HOP, &next_hop.octets(), out);
        }
        if let Some(med) = self.med {
            write(flag::OPTIONAL, kind::MED, &med.to_be_bytes(), out);
        }
        if let Some(local_pref) = self.local_pref.filter(|_| context.internal) {
            write(flag::TRANSITIVE, kind::LOCAL_PREF, &local_pref.to_be_bytes(), out);
        }
        if self.atomic_aggregate {
            write(flag::TRANSITIVE, kind::ATOMIC_AGGREGATE, &[], out);
        }
        if let Some(aggregator) = self.aggregator {
            write(flag::OPTIONAL | flag::TRANSITIVE, kind::AGGREGATOR, &aggregator.bytes(four_byte), out);
        }
        if !self.communities.is_empty() {
            let communities: Vec<_> = self.communities.iter().flat_map(|community| community.0.to_be_bytes()).collect();
            write(flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, &communities, out);
        }
        if !four_byte {
            self.encode_four_byte_asns(out);
        }
        for opaque in &self.opaque {
            write(flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL, opaque.kind, &opaque.value, out);
        }
    }

    /// What two-byte speakers carry along for others (RFC 6793 section 4.2.2).
    fn encode_four_byte_asns(&self, out: &mut BytesMut) {
        if !self.as_path.fits_two_bytes() {
            let mut path = BytesMut::new();
            self.as_path.encode(true, &mut path);
            write(flag::OPTIONAL | flag::TRANSITIVE, kind::AS4_PATH, &path, out);
        }
        if let Some(aggregator) = self.aggregator.filter(|aggregator| !aggregator.asn.fits_two_bytes()) {
            write(flag::OPTIONAL | flag::TRANSITIVE, kind::AS4_AGGREGATOR, &aggregator.bytes(true), out);
        }
    }
}

impl Aggregator {
    fn bytes(self, four_byte: bool) -> Vec<u8> {
        let identifier = self.identifier.octets();
        if four_byte {
            [&self.asn.0.to_be_bytes()[..], &identifier].concat()
        } else {
            [&self.asn.two_byte().to_be_bytes()[..], &identifier].concat()
        }
    }
}

/// The head of MP_REACH or MP_UNREACH; the routes follow.
pub(super) fn mp_head(family: Family, next_hop: Option<Ipv6Addr>) -> Vec<u8> {
    let mut head = family.afi().to_be_bytes().to_vec();
    head.push(UNICAST);
    if let Some(next_hop) = next_hop {
        head.push(16);
        head.extend(next_hop.octets());
        head.push(0);
    }
    head
}
