//! Veth pairs that others have made: where the other end of one is and what it is used for, and programs that hand
//! packets on there.
//!
//! One idea: the kernel names the other end by a number in a namespace that it names by a number, too. So each namespace
//! that can be opened here is compared with that.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::instructions::{Kind, instruction, load};
use super::netlink::{Link, Netlink};
use super::netns::{self, Identity, Netns};

/// What there is behind a device.
#[derive(Debug)]
pub enum OtherEnd {
    /// The device is no end of a veth pair.
    NoPair,
    /// It is in a namespace without a name and without a process.
    Unknown,
    /// It is in the same namespace.
    Here(String),
    There(Box<End>),
}

/// One end of a veth pair.
#[derive(Debug)]
pub struct End {
    pub namespace: Netns,
    pub identity: Identity,
    pub link: Link,
    pub name: String,
    pub is_up: bool,
    /// The bridge, or another such device, that it is a part of.
    pub master: Option<String>,
    /// Without those of the link alone.
    pub addresses: Vec<IpNet>,
}

impl OtherEnd {
    /// Looks for the other end of a device, by its name in a namespace. Fails if there is no such device.
    pub fn of(namespace: &Netns, name: &str) -> io::Result<Self> {
        let found = namespace.run(|| Netlink::open()?.find_link(name))??;
        let Some(peer) = peer(&found) else { return Ok(Self::NoPair) };
        let number = found.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkNetNsId(number) => Some(*number),
            _ => None,
        });
        let Some(number) = number else {
            return Ok(Self::Here(namespace.run(|| Netlink::open()?.end(peer))??.0));
        };
        let mut seen = HashSet::new();
        for path in netns::all() {
            let Some(identity) = netns::identity(&path).filter(|identity| seen.insert(*identity)) else { continue };
            let Ok(other) = Netns::open(&path) else { continue };
            if namespace.run(|| Netlink::open()?.number_of(&other))?? == Some(number) {
                return other.run(|| Netlink::open()?.describe(peer)).and_then(|end| {
                    let (name, is_up, master, addresses) = end?;
                    let namespace = other.try_clone()?;
                    Ok(Self::There(Box::new(End { namespace, identity, link: peer, name, is_up, master, addresses })))
                });
            }
        }
        Ok(Self::Unknown)
    }
}

impl Netlink {
    /// The other end of a veth pair, as the namespace that it is in knows it.
    pub fn other_end(&mut self, name: &str) -> io::Result<Link> {
        let found = self.find_link(name)?;
        peer(&found).ok_or_else(|| io::Error::other(format!("{name} is no end of a veth pair")))
    }

    /// The number by which this namespace knows another.
    fn number_of(&mut self, other: &Netns) -> io::Result<Option<i32>> {
        let mut query = NsidMessage::default();
        query.attributes.push(NsidAttribute::Fd(other.as_fd().as_raw_fd().cast_unsigned()));
        let answers = self.request(Message::GetNsId(query), 0)?;
        let numbers = answers.into_iter().filter_map(|answer| match answer {
            Message::NewNsId(answer) => Some(answer.attributes),
            _ => None,
        });
        let number = numbers.flatten().find_map(|attribute| match attribute {
            NsidAttribute::Id(number) => Some(number),
            _ => None,
        });
        Ok(number.filter(|number| *number >= 0))
    }

    fn describe(&mut self, link: Link) -> io::Result<(String, bool, Option<String>, Vec<IpNet>)> {
        let (name, found) = self.end(link)?;
        let master = found.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) if *index != 0 => Some(Link(*index)),
            _ => None,
        });
        let master = master.map(|master| self.end(master).map(|(name, _)| name)).transpose()?;
        Ok((name, found.header.flags.contains(LinkFlags::Up), master, self.addresses(link)?))
    }

    /// A device's name, and all that the kernel says of it.
    fn end(&mut self, link: Link) -> io::Result<(String, LinkMessage)> {
        let mut query = LinkMessage::default();
        query.header.index = link.0;
        let found = self.request(Message::GetLink(query), 0)?.into_iter().find_map(|answer| match answer {
            Message::NewLink(found) => Some(found),
            _ => None,
        });
        let found = found.ok_or(io::ErrorKind::NotFound)?;
        let name = found.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        Ok((name.ok_or(io::ErrorKind::NotFound)?, found))
    }

    fn addresses(&mut self, link: Link) -> io::Result<Vec<IpNet>> {
        let answers = self.request(Message::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let addresses = answers.into_iter().filter_map(|answer| match answer {
            Message::NewAddress(found) if found.header.index == link.0 => Some(found),
            _ => None,
        });
        let addresses = addresses.filter(|found| found.header.scope != AddressScope::Link);
        let prefix = |found: AddressMessage| {
            let address = found.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            IpNet::new(address?, found.header.prefix_len).ok()
        };
        Ok(addresses.filter_map(prefix).collect())
    }

    /// Removes what [`Self::filter_ingress`] put in place under that name; succeeds if nothing of that name is there.
    pub fn remove_filter(&mut self, link: Link, name: &str) -> io::Result<()> {
        let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut query = TcMessage::with_index(index);
        query.header.parent = TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS };
        let filters = self.request(Message::GetTrafficFilter(query), NLM_F_DUMP)?;
        let is_ours = |option: &TcOption| matches!(option, TcOption::Bpf(TcFilterBpfOption::ProgName(found)) if found.trim_end_matches('\0') == name);
        let ours = filters.iter().any(|filter| match filter {
            Message::NewTrafficFilter(filter) => filter.attributes.iter().any(|attribute| match attribute {
                TcAttribute::Options(options) => options.iter().any(is_ours),
                _ => false,
            }),
            _ => false,
        });
        if !ours {
            return Ok(());
        }
        let mut place = TcMessage::with_index(index);
        place.header.handle = TcHandle { major: u16::MAX, minor: 0 };
        place.header.parent = TcHandle::CLSACT;
        self.request(Message::DelQueueDiscipline(place), NLM_F_ACK).map(drop)
    }
}

/// A program for [`Netlink::filter_ingress`] that has every packet go in at the other end of this device's pair, as if the
/// device had sent it. The two ends of the pair must be in different namespaces.
pub fn hand_to(link: Link) -> io::Result<OwnedFd> {
    const REDIRECT_PEER: i32 = 155;
    let [device, flags] =
        [(1, link.0.cast_signed()), (2, 0)].map(|(register, value)| instruction(0xb7, register, 0, 0, value));
    load(Kind::Classifier, &[device, flags, instruction(0x85, 0, 0, 0, REDIRECT_PEER), instruction(0x95, 0, 0, 0, 0)])
}

fn peer(found: &LinkMessage) -> Option<Link> {
    let peer = found.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(Link(*index)),
        _ => None,
    });
    peer.filter(|_| is_veth(found))
}

fn is_veth(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
        _ => false,
    })
}
