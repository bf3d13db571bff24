//! Links, addresses and routes of the calling thread's network namespace, by rtnetlink.
//!
//! One idea: one request, one acknowledgement, one thread; nothing to schedule. A socket belongs to the namespace in
//! which it was opened. The module has only what guests need and lists nothing; a
//! [`LinkWatch`](super::link_watch::LinkWatch) reports changes of devices.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use super::{kernel_socket, netns::Netns};

/// The metric that routing daemons give to routes of external BGP.
const LEARNED_METRIC: u32 = 20;

/// An rtnetlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A network device, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u32);

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: kernel_socket::open(NETLINK_ROUTE)?, sequence: 0 })
    }

    /// Finds a device by name.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        Ok(Link(self.find_link(name)?.header.index))
    }

    /// Largest IP packet a device takes.
    pub fn mtu(&mut self, name: &str) -> io::Result<u32> {
        let found = self.find_link(name)?;
        let mtu = found.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        mtu.ok_or_else(|| io::Error::other(format!("the kernel does not report the MTU of {name}")))
    }

    /// The Ethernet address of a device.
    pub fn hardware_address(&mut self, name: &str) -> io::Result<[u8; 6]> {
        let found = self.find_link(name)?;
        let address = found.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(address) => address.first_chunk().copied(),
            _ => None,
        });
        address.ok_or_else(|| io::Error::other(format!("the kernel does not report the Ethernet address of {name}")))
    }

    /// Whether a device is administratively up; its carrier may be up or down.
    pub fn is_up(&mut self, name: &str) -> io::Result<bool> {
        Ok(self.find_link(name)?.header.flags.contains(LinkFlags::Up))
    }

    /// The alias of a device, a text for people, if it has one.
    pub fn alias(&mut self, name: &str) -> io::Result<Option<String>> {
        let found = self.find_link(name)?;
        Ok(found.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfAlias(alias) => Some(alias),
            _ => None,
        }))
    }

    /// Sets the alias, up to 255 bytes.
    pub fn set_alias(&mut self, link: Link, alias: &str) -> io::Result<()> {
        self.set_link(link, LinkFlags::empty(), vec![LinkAttribute::IfAlias(alias.to_owned())])
    }

    pub fn up(&mut self, link: Link) -> io::Result<()> {
        self.set_link(link, LinkFlags::Up, Vec::new())
    }

    pub fn down(&mut self, link: Link) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.header.change_mask = LinkFlags::Up;
        self.acknowledged(Message::SetLink(message), 0)
    }

    /// Whether a device is up and has a carrier: of a veth pair, whether both ends are up. None if there is no device.
    pub fn has_carrier(&mut self, name: &str) -> io::Result<Option<bool>> {
        match self.find_link(name) {
            Ok(found) => Ok(Some(found.header.flags.contains(LinkFlags::LowerUp))),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the carrier of a device, as its namespace sees it.
    pub fn set_carrier(&mut self, link: Link, carrier: bool) -> io::Result<()> {
        self.set_link(link, LinkFlags::empty(), vec![LinkAttribute::Carrier(carrier.into())])
    }

    /// Sets the largest packet, and how many packets may wait for a reader.
    pub fn set_mtu_and_queue(&mut self, link: Link, mtu: u32, queue: u32) -> io::Result<()> {
        self.set_link(link, LinkFlags::empty(), vec![LinkAttribute::Mtu(mtu), LinkAttribute::TxQueueLen(queue)])
    }

    /// Sends straight into the device's own queue: a queueing discipline before a TUN only adds a lock.
    pub fn set_noqueue(&mut self, link: Link) -> io::Result<()> {
        let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = TcMessage::with_index(index);
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind("noqueue".into()));
        self.acknowledged(Message::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Has a program of type `BPF_PROG_TYPE_SCHED_CLS` decide on what comes in at a device, as long as the device is
    /// there: by the clsact queueing discipline, since an attachment by tcx waits 16 ms for RCU, and as long at the end.
    pub fn filter_ingress(&mut self, link: Link, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        const EVERY_PROTOCOL: u16 = 3;
        let index = i32::try_from(link.0).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut place = TcMessage::with_index(index);
        place.header.handle = TcHandle { major: u16::MAX, minor: 0 };
        place.header.parent = TcHandle::CLSACT;
        place.attributes.push(TcAttribute::Kind("clsact".into()));
        self.acknowledged(Message::NewQueueDiscipline(place), NLM_F_CREATE | NLM_F_EXCL)?;
        let mut filter = TcMessage::with_index(index);
        filter.header.parent = TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS };
        filter.header.info = 1 << 16 | u32::from(EVERY_PROTOCOL.to_be());
        filter.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.into()));
        filter.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        self.acknowledged(Message::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds an address that is usable at once: no duplicate detection, since a TUN has no neighbours to ask.
    pub fn add_address(&mut self, link: Link, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = link.0;
        message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
        if address.addr().is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.acknowledged(Message::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Adds a default route of the gateway's family, after one that another device may still have.
    pub fn add_default_route(&mut self, link: Link, gateway: IpAddr) -> io::Result<()> {
        let mut message = default_route(family(gateway), RouteScope::Universe);
        message.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(link.0)];
        self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND)
    }

    /// Adds a default route straight to a device.
    pub fn add_default_device(&mut self, link: Link, ipv6: bool) -> io::Result<()> {
        let (family, scope) =
            if ipv6 { (AddressFamily::Inet6, RouteScope::Universe) } else { (AddressFamily::Inet, RouteScope::Link) };
        let mut message = default_route(family, scope);
        message.attributes = vec![RouteAttribute::Oif(link.0)];
        self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a veth pair: one end here, the other in another namespace. Both names must be free.
    pub fn add_pair(&mut self, here: &str, there: &str, namespace: &Netns) -> io::Result<()> {
        self.add_pair_of(here, (there, None), namespace)
    }

    /// The same; the other end has this Ethernet address, or one that the kernel chooses.
    pub fn add_pair_of(
        &mut self,
        here: &str,
        (there, address): (&str, Option<[u8; 6]>),
        namespace: &Netns,
    ) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        let descriptor = namespace.as_fd().as_raw_fd();
        peer.attributes = vec![LinkAttribute::IfName(there.to_owned()), LinkAttribute::NetNsFd(descriptor)];
        peer.attributes.extend(address.map(|address| LinkAttribute::Address(address.to_vec())));
        let kind = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)))];
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(here.to_owned()), LinkAttribute::LinkInfo(kind)];
        self.acknowledged(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a device, and with one end of a pair the other; succeeds if there is none.
    pub fn remove_link(&mut self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        unless(Errno::NODEV, self.acknowledged(Message::DelLink(message), 0))
    }

    /// Adds a default route over IPv4 to a table that only rules lead to.
    pub fn add_default_in_table(&mut self, link: Link, gateway: Ipv4Addr, table: u8) -> io::Result<()> {
        let mut message = default_route(AddressFamily::Inet, RouteScope::Universe);
        message.header.table = table;
        message.attributes = vec![RouteAttribute::Gateway(IpAddr::V4(gateway).into()), RouteAttribute::Oif(link.0)];
        self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Routes packets that come in by a device over IPv4 by a table, if the table has a route; succeeds if the rule
    /// exists. The kernel takes rules of different priorities for different ones, and chooses a new one itself.
    pub fn add_rule(&mut self, device: &str, table: u8) -> io::Result<()> {
        /// Of the main table's rule it is 32,766.
        const BEFORE_MAIN: u32 = 32_000;
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.table = table;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![RuleAttribute::Iifname(device.to_owned()), RuleAttribute::Priority(BEFORE_MAIN)];
        unless(Errno::EXIST, self.acknowledged(Message::NewRule(message), NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Routes a range straight to a device, unless another device has it with a lower metric; succeeds if the route
    /// exists.
    pub fn add_device_route(&mut self, link: Link, range: IpNet, metric: u32) -> io::Result<()> {
        let message = device_route(link, range, metric);
        unless(Errno::EXIST, self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND))
    }

    /// Removes what [`Self::add_device_route`] added; succeeds if it is gone already.
    pub fn remove_device_route(&mut self, link: Link, range: IpNet, metric: u32) -> io::Result<()> {
        unless(Errno::SRCH, self.acknowledged(Message::DelRoute(device_route(link, range, metric)), 0))
    }

    /// Routes a range to a router that a device reaches; succeeds if the route exists.
    pub fn add_route_via(&mut self, link: Link, range: IpNet, router: IpAddr) -> io::Result<()> {
        let message = route_via(link, range, router);
        unless(Errno::EXIST, self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND))
    }

    /// Removes what [`Self::add_route_via`] added; succeeds if it is gone already.
    pub fn remove_route_via(&mut self, link: Link, range: IpNet, router: IpAddr) -> io::Result<()> {
        unless(Errno::SRCH, self.acknowledged(Message::DelRoute(route_via(link, range, router)), 0))
    }

    /// Routes a range to routers, each flow to one of them, by the device that is named or by one that leads there. It
    /// replaces an earlier route of [`Self::put_route`]. Every router must be in reach already.
    pub fn put_route(&mut self, range: IpNet, routers: &[(IpAddr, Option<Link>)]) -> io::Result<()> {
        let mut message = learned_route(range);
        match routers {
            [(one, None)] => message.attributes.push(RouteAttribute::Gateway((*one).into())),
            several => message.attributes.push(RouteAttribute::MultiPath(several.iter().map(next_hop).collect())),
        }
        self.acknowledged(Message::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes what [`Self::put_route`] made; succeeds if it is gone already.
    pub fn remove_route(&mut self, range: IpNet) -> io::Result<()> {
        unless(Errno::SRCH, self.acknowledged(Message::DelRoute(learned_route(range)), 0))
    }

    /// Removes an address; succeeds if it is gone already.
    pub fn remove_address(&mut self, link: Link, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = link.0;
        message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
        unless(Errno::ADDRNOTAVAIL, self.acknowledged(Message::DelAddress(message), 0))
    }

    /// Removes what [`Self::add_default_route`] added; succeeds if it went with an address.
    pub fn remove_default_route(&mut self, link: Link, gateway: IpAddr) -> io::Result<()> {
        let mut message = default_route(family(gateway), RouteScope::Universe);
        message.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(link.0)];
        unless(Errno::SRCH, self.acknowledged(Message::DelRoute(message), 0))
    }

    /// Whether the main table has a default route of this family.
    pub fn has_default_route(&mut self, ipv6: bool) -> io::Result<bool> {
        let family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let mut query = RouteMessage::default();
        query.header.address_family = family;
        let routes = self.request(Message::GetRoute(query), NLM_F_DUMP)?;
        Ok(routes.iter().any(|message| match message {
            Message::NewRoute(route) => {
                route.header.destination_prefix_length == 0
                    && route.header.address_family == family
                    && route.header.table == RouteHeader::RT_TABLE_MAIN
                    && route.header.kind == RouteType::Unicast
            }
            _ => false,
        }))
    }

    /// Whether the kernel already accepts packets to an address as its own: it makes an IPv6 address's route a little
    /// after the address.
    pub fn is_local(&mut self, address: IpAddr) -> io::Result<bool> {
        let mut query = RouteMessage::default();
        query.header.address_family = family(address);
        query.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        query.attributes = vec![RouteAttribute::Destination(address.into())];
        let routes = match self.request(Message::GetRoute(query), 0) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NETUNREACH) => return Ok(false),
            routes => routes?,
        };
        let local =
            |message: &Message| matches!(message, Message::NewRoute(route) if route.header.kind == RouteType::Local);
        Ok(routes.iter().any(local))
    }

    pub(super) fn find_link(&mut self, name: &str) -> io::Result<LinkMessage> {
        let mut query = LinkMessage::default();
        query.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answer = self.request(Message::GetLink(query), 0)?;
        let found = answer.into_iter().find_map(|message| match message {
            Message::NewLink(link) => Some(link),
            _ => None,
        });
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no device {name}")))
    }

    /// Sets flags, none of them cleared, and attributes.
    fn set_link(&mut self, link: Link, flags: LinkFlags, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.header.flags = flags;
        message.header.change_mask = flags;
        message.attributes = attributes;
        self.acknowledged(Message::SetLink(message), 0)
    }

    pub(super) fn acknowledged(&mut self, message: Message, flags: u16) -> io::Result<()> {
        self.request(message, flags | NLM_F_ACK).map(drop)
    }

    /// Sends one request and collects answers up to its end: an acknowledgement, an error, the end of a dump, or for a
    /// plain query the one answer.
    pub(super) fn request(&mut self, message: Message, flags: u16) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let single = flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
        let mut answers = Vec::new();
        loop {
            let datagram = kernel_socket::answer(&self.socket)?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<Message>::deserialize(rest).map_err(io::Error::other)?;
                let length = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(1)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
            if single && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// Treats one error as success.
fn unless(fine: Errno, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(fine) => Ok(()),
        other => other,
    }
}

fn default_route(family: AddressFamily, scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = scope;
    message.header.kind = RouteType::Unicast;
    message
}

/// The kernel takes a metric of 0 for its default.
fn device_route(link: Link, range: IpNet, metric: u32) -> RouteMessage {
    let scope = if range.addr().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    let mut message = default_route(family(range.addr()), scope);
    message.header.destination_prefix_length = range.prefix_len();
    message.attributes = vec![
        RouteAttribute::Destination(range.network().into()),
        RouteAttribute::Oif(link.0),
        RouteAttribute::Priority(metric),
    ];
    message
}

/// A static route, as an administrator sets one.
fn route_via(link: Link, range: IpNet, router: IpAddr) -> RouteMessage {
    let mut message = default_route(family(router), RouteScope::Universe);
    message.header.protocol = RouteProtocol::Static;
    message.header.destination_prefix_length = range.prefix_len();
    message.attributes = vec![
        RouteAttribute::Destination(range.network().into()),
        RouteAttribute::Gateway(router.into()),
        RouteAttribute::Oif(link.0),
    ];
    message
}

/// A route of a routing protocol, with a higher metric than static routes.
fn learned_route(range: IpNet) -> RouteMessage {
    let mut message = default_route(family(range.addr()), RouteScope::Universe);
    message.header.protocol = RouteProtocol::Bgp;
    message.header.destination_prefix_length = range.prefix_len();
    message.attributes =
        vec![RouteAttribute::Destination(range.network().into()), RouteAttribute::Priority(LEARNED_METRIC)];
    message
}

fn next_hop((router, link): &(IpAddr, Option<Link>)) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = link.map_or(0, |link| link.0);
    hop.attributes = vec![RouteAttribute::Gateway((*router).into())];
    hop
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
