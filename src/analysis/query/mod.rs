//! The question of `explain`, `SRC DST[:PORT[/PROTO]]`: its grammar, and which interfaces and addresses it means.

pub(super) mod names;
pub(super) mod nodes;
pub(super) mod stand_in;
pub(super) mod target;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::compile::{Compiled, Sender, connected};
use crate::dataplane::{NicId, Owner, PublicOwner};
use crate::model::{Customer, InstanceAddress, Internet, Network, NicIx, VirtualMachine, VmIx, VnetIx, is_routable};
use crate::wire::{Protocol, Tuple, build};

use super::walk::{egress, on_link, outside};

pub use crate::model::Probe;

/// The question: a packet from one end to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    pub source: QueryEnd,
    pub destination: QueryEnd,
    pub probe: Probe,
}

/// Where a packet starts or ends, as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryEnd {
    Node { name: String, nic: Option<String> },
    Address(IpAddr),
}

/// One end of a question, found in the network.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// The interface that owns the address; None where none does, or where nothing leads to the site that does.
    pub(super) nic: Option<NicId>,
    pub(super) address: IpAddr,
    pub(super) meant: Meant,
}

/// What a question names as an end: another one that has the same address is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// It names an address: any owner will do.
    Anyone,
    Machine(NicId),
    /// A site or a private cloud, whether anything leads there or not.
    Customer(Customer),
}

impl End {
    pub(super) const fn machine(nic: NicId, address: IpAddr) -> Self {
        Self { nic: Some(nic), address, meant: Meant::Machine(nic) }
    }
}

impl Meant {
    /// Whether a packet that came to an interface has met it.
    pub(super) fn is_met(self, names: names::Names<'_>, nic: NicId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Machine(meant) => names.same_machine(nic, meant),
            Self::Customer(customer) => names.customer(names.compiled.sender(nic)) == Some(customer),
        }
    }
}

/// Both ends: the source always has an interface.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) source: NicId,
    pub(super) source_address: IpAddr,
    pub(super) destination: End,
}

/// Reads `SRC` and `DST[:PORT[/PROTO]]`: a node, `node/nic`, or an address (IPv6 in brackets where a port follows).
pub fn parse_query(source: &str, destination: &str) -> Result<Query, String> {
    let (place, port) = split_port(destination)?;
    let probe = port.map_or(Ok(Probe::Ping), parse_probe)?;
    Ok(Query { source: parse_place(source)?, destination: parse_place(place)?, probe })
}

/// Reads `END:PORT` of a question about one port of any protocol.
pub fn parse_end(text: &str) -> Result<(QueryEnd, u16), String> {
    let (place, port) = split_port(text)?;
    let port = port.ok_or_else(|| format!("`{text}`: expected a port behind it, as `{text}:443`"))?;
    Ok((parse_place(place)?, parse_port(port)?))
}

fn split_port(destination: &str) -> Result<(&str, Option<&str>), String> {
    if destination.parse::<IpAddr>().is_ok() {
        return Ok((destination, None));
    }
    let Some(bracketed) = destination.strip_prefix('[') else {
        return Ok(destination.rsplit_once(':').map_or((destination, None), |(place, port)| (place, Some(port))));
    };
    let unclosed = || format!("`{destination}`: expected `[IPV6]:PORT`, the closing bracket is missing");
    let (address, rest) = bracketed.split_once(']').ok_or_else(unclosed)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((address, Some(port))),
        None if rest.is_empty() => Ok((address, None)),
        None => Err(format!("`{destination}`: expected `:PORT` after the bracket, found `{rest}`")),
    }
}

impl FromStr for Probe {
    type Err = String;

    /// `PORT` or `PORT/PROTO`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_probe(text)
    }
}

fn parse_probe(text: &str) -> Result<Probe, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = parse_port(port)?;
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Probe::Tcp(number)),
        "udp" => Ok(Probe::Udp(number)),
        _ => Err(format!("protocol `{protocol}`: expected tcp or udp (leave the port away for a ping)")),
    }
}

/// A transport port: a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port: &u16| port > 0);
    port.ok_or_else(|| format!("port `{text}`: expected a number from 1 to 65535"))
}

pub(super) fn parse_place(text: &str) -> Result<QueryEnd, String> {
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = address.parse() {
        return Ok(QueryEnd::Address(address));
    }
    let (name, nic) = text.split_once('/').map_or((text, None), |(name, nic)| (name, Some(nic.to_owned())));
    if name.is_empty() || text.contains(':') {
        return Err(format!("`{text}`: expected a node, node/nic or an address"));
    }
    Ok(QueryEnd::Node { name: name.to_owned(), nic })
}

impl Query {
    /// The text that [`parse_query`] reads.
    pub fn spelled(&self) -> (String, String) {
        let destination = match (&self.destination, self.probe) {
            (place, Probe::Ping) => place.to_string(),
            (QueryEnd::Address(IpAddr::V6(address)), Probe::Tcp(port)) => format!("[{address}]:{port}"),
            (QueryEnd::Address(IpAddr::V6(address)), Probe::Udp(port)) => format!("[{address}]:{port}/udp"),
            (place, Probe::Tcp(port)) => format!("{place}:{port}"),
            (place, Probe::Udp(port)) => format!("{place}:{port}/udp"),
        };
        (self.source.to_string(), destination)
    }
}

impl fmt::Display for QueryEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { name, nic: None } => f.write_str(name),
            Self::Node { name, nic: Some(nic) } => write!(f, "{name}/{nic}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A guest's usual source port; a ping's echo identifier.
pub(super) const EPHEMERAL: u16 = 49152;

impl Probe {
    /// The 5-tuple of a flow from this port.
    pub(super) fn flow(self, src: IpAddr, dst: IpAddr, source_port: u16) -> Tuple {
        let (protocol, dst_port) = match self {
            Self::Ping if src.is_ipv4() => (Protocol::ICMP, source_port),
            Self::Ping => (Protocol::ICMPV6, source_port),
            Self::Tcp(port) => (Protocol::TCP, port),
            Self::Udp(port) => (Protocol::UDP, port),
        };
        Tuple { src, dst, protocol, src_port: source_port, dst_port }
    }

    /// The packet that asks.
    pub(super) fn request(self, src: IpAddr, dst: IpAddr, source_port: u16) -> Vec<u8> {
        let from = SocketAddr::new(src, source_port);
        match self {
            Self::Ping => build::icmp_echo(src, dst, source_port, 1, false),
            Self::Tcp(port) => build::tcp(from, SocketAddr::new(dst, port), TCP_SYN, &[]),
            Self::Udp(port) => build::udp(from, SocketAddr::new(dst, port), b"?"),
        }
    }

    /// The packet that answers a request from `src` to `dst`.
    pub(super) fn answer(self, src: IpAddr, dst: IpAddr, source_port: u16) -> Vec<u8> {
        let to = SocketAddr::new(src, source_port);
        match self {
            Self::Ping => build::icmp_echo(dst, src, source_port, 1, true),
            Self::Tcp(port) => build::tcp(SocketAddr::new(dst, port), to, TCP_SYN | TCP_ACK, &[]),
            Self::Udp(port) => build::udp(SocketAddr::new(dst, port), to, b"!"),
        }
    }
}

impl Probe {
    /// The same to another port.
    pub(super) fn at(self, port: u16) -> Self {
        match self {
            Self::Ping => Self::Ping,
            Self::Tcp(_) => Self::Tcp(port),
            Self::Udp(_) => Self::Udp(port),
        }
    }
}

/// Packets of an established flow: for TCP, segments without SYN.
impl Probe {
    pub(super) fn onward(self, src: IpAddr, dst: IpAddr, source_port: u16) -> Vec<u8> {
        match self {
            Self::Ping | Self::Udp(_) => self.request(src, dst, source_port),
            Self::Tcp(port) => build::tcp(SocketAddr::new(src, source_port), SocketAddr::new(dst, port), TCP_ACK, &[]),
        }
    }

    pub(super) fn onward_answer(self, src: IpAddr, dst: IpAddr, source_port: u16) -> Vec<u8> {
        match self {
            Self::Ping | Self::Udp(_) => self.answer(src, dst, source_port),
            Self::Tcp(port) => build::tcp(SocketAddr::new(dst, port), SocketAddr::new(src, source_port), TCP_ACK, &[]),
        }
    }
}

const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// Finds both ends: the first destination address in a family that the source has too.
pub(super) fn resolve(network: &Network, compiled: &Compiled, query: &Query) -> Result<Ends, String> {
    let source = Source::find(network, compiled, &query.source)?;
    let destinations = destinations(network, compiled, &source, &query.destination)?;
    let ends = source.meet(network, compiled, destinations);
    ends.ok_or_else(|| match source {
        Source::Outside(customer) if outside::sender(network, compiled, customer, None).is_none() => {
            format!("nothing leads to {}", network.name_of_customer(customer))
        }
        _ => "source and destination have no address family in common".to_owned(),
    })
}

/// The site or private cloud that a question is asked from, if nothing leads to it.
pub(super) fn unconnected_source(network: &Network, compiled: &Compiled, place: &QueryEnd) -> Option<Customer> {
    let customer = match place {
        QueryEnd::Node { name, .. } => network.customer_named(name),
        QueryEnd::Address(address) => outside::having(network, *address),
    };
    customer.filter(|customer| outside::sender(network, compiled, *customer, None).is_none())
}

fn no_source(network: &Network, address: IpAddr) -> String {
    let none = format!("no interface of this network has the source address {address}");
    match &network.internet {
        _ if !is_routable(address) => none,
        Some(_) => format!("{none}: ask from `internet`, or list it in `internet: {{addresses: [..]}}`"),
        None => format!("{none}: give the file `internet: {{}}` and ask from `internet`"),
    }
}

/// A source before the destination is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Vm(VmIx),
    Nic(NicIx),
    Address(NicId, IpAddr),
    Internet(NicId),
    /// A site or a private cloud.
    Outside(Customer),
}

impl Source {
    fn find(network: &Network, compiled: &Compiled, place: &QueryEnd) -> Result<Self, String> {
        match place {
            QueryEnd::Node { name, .. } if let Some(internet) = internet(network, compiled, name) => {
                Ok(Self::Internet(internet))
            }
            QueryEnd::Node { name, .. } if let Some(customer) = network.customer_named(name) => {
                Ok(Self::Outside(customer))
            }
            place @ QueryEnd::Node { name, nic } => match (vm(network, name), nic) {
                (Ok(vm), None) => Ok(Self::Vm(vm)),
                (Ok(vm), Some(nic)) if let Ok(nic) = nic_of(network, vm, nic) => Ok(Self::Nic(nic)),
                (machine, nic) => match stand_in::instance(network, compiled, place) {
                    Some((nic, address)) => Ok(Self::Address(nic, address)),
                    None => Ok(Self::Nic(nic_of(network, machine?, nic.as_deref().unwrap_or_default())?)),
                },
            },
            QueryEnd::Address(address) if let Some(customer) = outside::having(network, *address) => {
                let port = outside::sender(network, compiled, customer, None);
                let port = port.ok_or_else(|| format!("nothing leads to {address}"))?;
                Ok(Self::Address(port, *address))
            }
            QueryEnd::Address(address) => {
                let owners: Vec<_> = owners(compiled, *address).collect();
                match owners[..] {
                    [(_, nic)] => Ok(Self::Address(nic, *address)),
                    [] => Err(no_source(network, *address)),
                    [..] => {
                        let vnets: Vec<_> = owners.iter().map(|(vnet, _)| network.vnet(*vnet).name.as_str()).collect();
                        Err(format!("{address} exists in {}: name the node instead", vnets.join(" and ")))
                    }
                }
            }
        }
    }

    /// None for the Internet.
    fn vnet(&self, network: &Network, compiled: &Compiled) -> Option<VnetIx> {
        match *self {
            Self::Vm(vm) => Some(network.nic(primary(network, vm)).subnet.vnet),
            Self::Nic(nic) => Some(network.nic(nic).subnet.vnet),
            Self::Outside(customer) => outside::vnet(network, customer),
            Self::Address(nic, address) if names::subnet_of(network, compiled.sender(nic)).is_none() => {
                outside::vnet(network, outside::having(network, address)?)
            }
            Self::Address(nic, _) | Self::Internet(nic) => {
                names::subnet_of(network, compiled.sender(nic)).map(|subnet| subnet.vnet)
            }
        }
    }

    /// Both ends, with the first destination of a family that the source has.
    pub(super) fn meet(
        &self,
        network: &Network,
        compiled: &Compiled,
        destinations: impl IntoIterator<Item = End>,
    ) -> Option<Ends> {
        destinations.into_iter().find_map(|destination| {
            let (source, source_address) = self.towards(network, compiled, destination.address)?;
            Some(Ends { source, source_address, destination })
        })
    }

    /// The interface that sends there and the address it sends from.
    fn towards(&self, network: &Network, compiled: &Compiled, destination: IpAddr) -> Option<(NicId, IpAddr)> {
        let same_family = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4();
        let nic = match *self {
            Self::Vm(vm) => egress(network, vm, destination),
            Self::Nic(nic) => nic,
            Self::Address(nic, address) => {
                let outside = outside::having(network, address);
                let port = outside.and_then(|one| outside::sender(network, compiled, one, Some(destination)));
                return same_family(&address).then_some((port.unwrap_or(nic), address));
            }
            Self::Outside(customer) => {
                let address = network.addresses_of_customer(customer).into_iter().find(same_family)?;
                return Some((outside::sender(network, compiled, customer, Some(destination))?, address));
            }
            Self::Internet(nic) => {
                let mut addresses = network.internet.iter().flat_map(|internet| &internet.addresses);
                return addresses.find(|address| same_family(address)).map(|address| (nic, *address));
            }
        };
        let near = on_link(network, nic, destination).map(|(_, address)| address);
        let address = near.or_else(|| network.nic(nic).addresses.iter().copied().find(same_family))?;
        Some((compiled.nic_of(nic), address))
    }
}

/// The addresses that a destination may mean, the preferred one first.
fn destinations(network: &Network, compiled: &Compiled, source: &Source, place: &QueryEnd) -> Result<Vec<End>, String> {
    let from = source.vnet(network, compiled);
    match place {
        QueryEnd::Node { name, .. } if let Some(nic) = internet(network, compiled, name) => {
            Ok(internet_ends(network, nic))
        }
        QueryEnd::Node { name, .. } if let Some(customer) = network.customer_named(name) => {
            let far = outside_ends(network, compiled, customer).into_iter();
            Ok(far.map(|end| End { address: outside::known_as(network, customer, end.address), ..end }).collect())
        }
        place if let Some((nic, address)) = stand_in::instance(network, compiled, place) => {
            Ok(vec![End::machine(nic, address)])
        }
        QueryEnd::Node { name, nic } => {
            let vm = vm(network, name)?;
            let nic = nic.as_ref().map_or_else(|| Ok(primary(network, vm)), |nic| nic_of(network, vm, nic))?;
            // Machines have no private address in the Internet.
            let ends = match source {
                Source::Internet(_) => public_ends(network, compiled, nic),
                Source::Outside(customer) => {
                    let known = |end: End| End { address: outside::knows(network, *customer, end.address), ..end };
                    ends_of(network, compiled, nic).into_iter().map(known).collect()
                }
                Source::Vm(_) | Source::Nic(_) | Source::Address(..) => ends_of(network, compiled, nic),
            };
            let nic = network.nic(nic);
            let inside = if nic.addresses.iter().any(|own| is_routable(*own)) {
                ", and its own is one inside of Azure's networks alone (ADR-04)"
            } else {
                ""
            };
            let lacks = || {
                let name = &network.vm(vm).name;
                let unused = network.unused_public_ips().map(|public| network.public_ip(public));
                let mut unused =
                    unused.filter(|one| nic.addresses.iter().any(|own| own.is_ipv4() == one.address.is_ipv4()));
                let give =
                    unused.next().map_or_else(String::new, |one| format!("; give it {}, which nothing has", one.name));
                format!("{name}/{} has no public address{inside}: the Internet cannot ask it{give}", nic.name)
            };
            if ends.is_empty() { Err(lacks()) } else { Ok(ends) }
        }
        QueryEnd::Address(address) => {
            let nic = owner(network, compiled, from, *address);
            Ok(vec![End { nic, address: *address, meant: Meant::Anyone }])
        }
    }
}

/// The owner of a destination. VNets may overlap (ADR-07): the nearest owner is meant.
fn owner(network: &Network, compiled: &Compiled, from: Option<VnetIx>, address: IpAddr) -> Option<NicId> {
    let edge = compiled.snapshot.edge.as_ref();
    let outside = edge.and_then(|edge| match edge.public.lookup(address) {
        Some(PublicOwner::Instance { nic, .. }) => Some(nic),
        Some(PublicOwner::Pool(_) | PublicOwner::Frontend(_)) => None,
        None => edge.hosts.lookup(address).map(|()| edge.internet),
    });
    let peered = |vnet| from.is_some_and(|from| connected(network, from).any(|link| link.remote == vnet));
    let inside = || owners(compiled, address).min_by_key(|(vnet, _)| (Some(*vnet) != from, !peered(*vnet)));
    outside
        .or_else(|| inside().map(|(_, nic)| nic))
        .or_else(|| outside::having(network, address).and_then(|one| outside::sender(network, compiled, one, None)))
}

pub(super) fn outside_ends(network: &Network, compiled: &Compiled, customer: Customer) -> Vec<End> {
    let nic = outside::sender(network, compiled, customer, None);
    let end = |address| End { nic, address, meant: Meant::Customer(customer) };
    network.addresses_of_customer(customer).into_iter().map(end).collect()
}

/// The Internet node, if it has this name.
fn internet(network: &Network, compiled: &Compiled, name: &str) -> Option<NicId> {
    let named = network.internet.is_some() && name.eq_ignore_ascii_case(Internet::NAME);
    compiled.ids().nic(Sender::Internet).filter(|_| named)
}

pub(super) fn internet_ends(network: &Network, nic: NicId) -> Vec<End> {
    let addresses = network.internet.iter().flat_map(|internet| &internet.addresses);
    addresses.map(|address| End::machine(nic, *address)).collect()
}

/// An interface's public addresses as destinations.
fn public_ends(network: &Network, compiled: &Compiled, nic: NicIx) -> Vec<End> {
    let end = |one: &InstanceAddress| End::machine(compiled.nic_of(nic), network.public_ip(one.public).address);
    network.nic(nic).public_addresses.iter().map(end).collect()
}

/// An interface's addresses as destinations.
pub(super) fn ends_of(network: &Network, compiled: &Compiled, nic: NicIx) -> Vec<End> {
    let end = |&address| End::machine(compiled.nic_of(nic), address);
    network.nic(nic).addresses.iter().map(end).collect()
}

pub(super) fn owners(compiled: &Compiled, address: IpAddr) -> impl Iterator<Item = (VnetIx, NicId)> {
    let vnets = compiled.snapshot.vnets.iter().enumerate();
    vnets.filter_map(move |(i, vnet)| match vnet.owners.lookup(address)? {
        Owner::Nic(nic) => Some((VnetIx(i), nic)),
        Owner::Frontend(_) | Owner::Reserved | Owner::Service => None,
    })
}

/// The interface with the guest's default route.
pub(super) fn primary(network: &Network, vm: VmIx) -> NicIx {
    let nics = &network.vm(vm).network_interfaces;
    *nics.iter().find(|&&nic| network.nic(nic).primary).unwrap_or(&nics[0])
}

pub(super) fn vm(network: &Network, name: &str) -> Result<VmIx, String> {
    let same = |vm: &VirtualMachine| vm.name.eq_ignore_ascii_case(name);
    let found = network.virtual_machines.iter().position(same);
    let names = || network.virtual_machines.iter().map(|vm| vm.name.as_str());
    found.map(VmIx).ok_or_else(|| unknown("node", name, names()))
}

pub(super) fn nic_of(network: &Network, vm: VmIx, name: &str) -> Result<NicIx, String> {
    let nics = &network.vm(vm).network_interfaces;
    let names = || nics.iter().map(|&nic| network.nic(nic).name.as_str());
    let found = nics.iter().copied().find(|&nic| network.nic(nic).name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| unknown(&format!("interface of {}", network.vm(vm).name), name, names()))
}

/// An error for an unknown name, with the likely one or the known ones.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let close = known.iter().map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate));
    match close.min_by_key(|(distance, _)| *distance) {
        Some((1..=2, candidate)) => format!("unknown {what} `{name}`: did you mean `{candidate}`?"),
        _ if known.is_empty() => format!("unknown {what} `{name}`: there is none"),
        _ => format!("unknown {what} `{name}`: expected one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, nic: Option<&str>) -> QueryEnd {
        QueryEnd::Node { name: name.to_owned(), nic: nic.map(str::to_owned) }
    }

    #[test]
    fn destinations_take_a_port_and_a_protocol() {
        let parsed = |text| parse_query("web", text).map(|query| (query.destination, query.probe));
        let address = |text: &str| QueryEnd::Address(text.parse().expect("an address"));
        assert_eq!(parsed("db"), Ok((node("db", None), Probe::Ping)));
        assert_eq!(parsed("db/eth1:53/UDP"), Ok((node("db", Some("eth1")), Probe::Udp(53))));
        assert_eq!(parsed("10.2.1.10:443"), Ok((address("10.2.1.10"), Probe::Tcp(443))));
        assert_eq!(parsed("fd00::4"), Ok((address("fd00::4"), Probe::Ping)));
        assert_eq!(parsed("[fd00::4]"), Ok((address("fd00::4"), Probe::Ping)));
        assert_eq!(parsed("[fd00::4]:80/tcp"), Ok((address("fd00::4"), Probe::Tcp(80))));
    }

    #[test]
    fn what_is_spelled_can_be_read() {
        for destination in ["db", "db/eth1:53/udp", "10.2.1.10:443", "fd00::4", "[fd00::4]:80", "[fd00::4]:53/udp"] {
            let query = parse_query("web/eth0", destination).expect("a good query");
            assert_eq!(query.spelled(), ("web/eth0".to_owned(), destination.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_named() {
        let error = |source, destination| parse_query(source, destination).expect_err("an error");
        assert_eq!(error("web", "db:0"), "port `0`: expected a number from 1 to 65535");
        assert_eq!(error("web", "db:1/sctp"), "protocol `sctp`: expected tcp or udp (leave the port away for a ping)");
        assert_eq!(error("web:1", "db"), "`web:1`: expected a node, node/nic or an address");
        assert_eq!(error("web", "[fd00::4"), "`[fd00::4`: expected `[IPV6]:PORT`, the closing bracket is missing");
    }
}
