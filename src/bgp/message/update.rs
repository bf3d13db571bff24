//! UPDATE: routes that come and routes that go (RFC 4271 section 4.3, RFC 4760).
//!
//! Read: one message with all its mistakes made good or marked (RFC 7606). Written: as many messages as the routes
//! take, each as full as it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use ipnet::IpNet;

use super::attribute::{self, Attributes, Draft, Fault, Reach, Remedy, flag, kind, malformed_list};
use super::family::Family;
use super::notification::{self, Notification};
use super::reader::Reader;
use super::{Context, HEADER_LEN, MESSAGE_MAX, Type, finish, prefix, start};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub withdrawn: Vec<IpNet>,
    /// With different next hops, at most two of them: one beside MP_REACH.
    pub announced: Vec<Reach>,
    /// Of all announced; of no meaning without any.
    pub attributes: Arc<Attributes>,
    pub faults: Vec<Fault>,
}

/// Attributes so long that not one route fits behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Update {
    pub(super) fn decode(body: &[u8], context: Context) -> Result<Self, Notification> {
        let mut body = Reader::new(body);
        let mut section = || body.u16().and_then(|len| body.take(usize::from(len))).ok_or_else(malformed_list);
        let (withdrawn, list) = (section()?, section()?);
        let network = |field| {
            let error = || Notification::new(notification::code::UPDATE, notification::update::NETWORK_FIELD);
            prefix::decode(field, Family::Ipv4).ok_or_else(error)
        };
        let mut withdrawn = network(withdrawn)?;
        let mut draft = attribute::decode(list, context)?;
        withdrawn.append(&mut draft.mp_unreach);
        let prefixes = network(body.rest())?;
        Ok(draft.finish(withdrawn, prefixes))
    }

    /// Whether some routes were withdrawn for a mistake.
    pub fn is_faulty(&self) -> bool {
        self.faults.iter().any(|fault| fault.remedy == Remedy::TreatAsWithdraw)
    }

    /// The end of a peer's first routes says no more than that (RFC 4724 section 2).
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty()
    }
}

impl Draft {
    fn finish(mut self, mut withdrawn: Vec<IpNet>, prefixes: Vec<IpNet>) -> Update {
        let classic = Reach { next_hop: self.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), prefixes };
        let mut announced: Vec<_> = [Some(classic), self.mp_reach.take()].into_iter().flatten().collect();
        announced.retain(|reach| !reach.prefixes.is_empty());
        if !announced.is_empty() {
            self.miss(&announced);
        }
        self.attributes.origin = self.origin.unwrap_or_default();
        self.attributes.as_path = self.as_path.unwrap_or_default();
        let mut update =
            Update { withdrawn: vec![], announced, attributes: Arc::new(self.attributes), faults: self.faults };
        if update.is_faulty() {
            withdrawn.extend(update.announced.drain(..).flat_map(|reach| reach.prefixes));
        }
        update.withdrawn = withdrawn;
        update
    }

    /// What every route needs (RFC 7606 section 3 (d)). A next hop that no host can have counts as missing.
    fn miss(&mut self, announced: &[Reach]) {
        let sound = announced.iter().all(|reach| is_host(reach.next_hop));
        let needed = [(kind::ORIGIN, self.origin.is_some()), (kind::AS_PATH, self.as_path.is_some())];
        for (attribute, there) in needed.into_iter().chain([(kind::NEXT_HOP, sound)]) {
            // One that came and was malformed is known already.
            if !there && !self.faults.iter().any(|fault| fault.attribute == attribute) {
                self.fault(attribute, Remedy::TreatAsWithdraw);
            }
        }
    }
}

fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Two length fields and what is in front of them.
const FRAME: usize = HEADER_LEN + 4;
/// Flags, type and a length of two bytes.
const ATTRIBUTE_HEAD: usize = 4;

/// Writes messages that withdraw these routes, and returns how many they are.
pub fn write_withdrawals(prefixes: &[IpNet], out: &mut BytesMut) -> u64 {
    let (ipv4, ipv6): (Vec<_>, Vec<_>) = prefixes.iter().partition(|prefix| Family::of(prefix) == Family::Ipv4);
    let mut messages = 0;
    let mut rest = ipv4.as_slice();
    while !rest.is_empty() {
        let routes = fill(&mut rest, MESSAGE_MAX - FRAME);
        write_message(&routes, &[], &[], out);
        messages += 1;
    }
    let head = attribute::mp_head(Family::Ipv6, None);
    let mut rest = ipv6.as_slice();
    while !rest.is_empty() {
        let routes = fill(&mut rest, MESSAGE_MAX - FRAME - ATTRIBUTE_HEAD - head.len());
        let mut list = BytesMut::new();
        attribute::write(flag::OPTIONAL, kind::MP_UNREACH, &[&head[..], &routes].concat(), &mut list);
        write_message(&[], &list, &[], out);
        messages += 1;
    }
    messages
}

/// Writes messages that announce these routes, all of the next hop's family, and returns how many they are.
pub fn write_announcements(
    attributes: &Attributes,
    next_hop: IpAddr,
    prefixes: &[IpNet],
    context: Context,
    out: &mut BytesMut,
) -> Result<u64, TooLong> {
    match next_hop {
        IpAddr::V4(next_hop) => announce_ipv4(attributes, next_hop, prefixes, context, out),
        IpAddr::V6(next_hop) => announce_ipv6(attributes, next_hop, prefixes, context, out),
    }
}

fn announce_ipv4(
    attributes: &Attributes,
    next_hop: Ipv4Addr,
    prefixes: &[IpNet],
    context: Context,
    out: &mut BytesMut,
) -> Result<u64, TooLong> {
    let mut list = BytesMut::new();
    attributes.encode(Some(next_hop), context, &mut list);
    let room = room(FRAME + list.len(), Family::Ipv4)?;
    let prefixes: Vec<_> = prefixes.iter().collect();
    let (mut rest, mut messages) = (prefixes.as_slice(), 0);
    while !rest.is_empty() {
        write_message(&[], &list, &fill(&mut rest, room), out);
        messages += 1;
    }
    Ok(messages)
}

/// MP_REACH first: so its routes are found even if what follows is malformed (RFC 7606 section 5.1).
fn announce_ipv6(
    attributes: &Attributes,
    next_hop: Ipv6Addr,
    prefixes: &[IpNet],
    context: Context,
    out: &mut BytesMut,
) -> Result<u64, TooLong> {
    let mut list = BytesMut::new();
    attributes.encode(None, context, &mut list);
    let head = attribute::mp_head(Family::Ipv6, Some(next_hop));
    let room = room(FRAME + ATTRIBUTE_HEAD + head.len() + list.len(), Family::Ipv6)?;
    let prefixes: Vec<_> = prefixes.iter().collect();
    let (mut rest, mut messages) = (prefixes.as_slice(), 0);
    while !rest.is_empty() {
        let mut whole = BytesMut::new();
        attribute::write(flag::OPTIONAL, kind::MP_REACH, &[&head[..], &fill(&mut rest, room)].concat(), &mut whole);
        whole.put_slice(&list);
        write_message(&[], &whole, &[], out);
        messages += 1;
    }
    Ok(messages)
}

/// Bytes for routes beside what is `taken`: enough for one of any length, or none.
fn room(taken: usize, family: Family) -> Result<usize, TooLong> {
    let longest = 1 + usize::from(family.bits()) / 8;
    MESSAGE_MAX.checked_sub(taken).filter(|room| *room >= longest).ok_or(TooLong)
}

/// As many prefixes as fit, written and taken off the front.
fn fill(prefixes: &mut &[&IpNet], room: usize) -> BytesMut {
    let mut routes = BytesMut::new();
    while let Some((first, rest)) = prefixes.split_first()
        && routes.len() + prefix::encoded_len(first) <= room
    {
        prefix::encode(first, &mut routes);
        *prefixes = rest;
    }
    routes
}

fn write_message(withdrawn: &[u8], list: &[u8], routes: &[u8], out: &mut BytesMut) {
    let at = start(Type::Update, out);
    for section in [withdrawn, list] {
        out.put_u16(section.len() as u16);
        out.put_slice(section);
    }
    out.put_slice(routes);
    finish(at, out);
}
