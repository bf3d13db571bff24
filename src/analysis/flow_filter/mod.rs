//! Which packets `trace` shows: a small language after tcpdump's, `host 10.1.1.4 and tcp port 443`.
//!
//! One idea: a [`Filter`] holds names, and [`pattern`] replaces them by the ids of one network. A filter therefore
//! survives changes of the machines. Unlike in tcpdump, `and` and `or` cannot mix without parentheses, so there is no
//! precedence to know.

mod parse;
mod word;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::{Compiled, Sender};
use crate::dataplane::{DropReason, NicId, Pattern, PortId, Side};
use crate::model::{Attachment, Network, VnetIx};
use crate::wire::Protocol;

use super::query::{nic_of, vm};

pub use parse::{FilterError, parse_filter};

/// The packets to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All parts must match; without parts every packet does.
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Host(Side, Host),
    Net(Side, IpNet),
    /// From the first to the last.
    Port(Side, u16, u16),
    Protocol(Protocol),
    Ipv4,
    Ipv6,
    /// The leg begins or ends at this machine, or behind this VNet's one TUN.
    Node(String),
    /// At this interface.
    Nic {
        node: String,
        nic: String,
    },
    Dropped,
    Reason(DropReason),
}

/// A host, by its address or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    /// All addresses of this machine.
    Node(String),
}

/// A filter with the ids of one network; an error where the network lacks a named machine.
pub fn pattern(filter: &Filter, network: &Network, compiled: &Compiled) -> Result<Pattern, String> {
    Meaning { network, compiled }.of(filter)
}

struct Meaning<'a> {
    network: &'a Network,
    compiled: &'a Compiled,
}

impl Meaning<'_> {
    fn of(&self, filter: &Filter) -> Result<Pattern, String> {
        let each = |parts: &[Filter]| parts.iter().map(|part| self.of(part)).collect::<Result<Vec<_>, _>>();
        Ok(match filter {
            Filter::All(parts) => Pattern::All(each(parts)?),
            Filter::Any(parts) => Pattern::Any(each(parts)?),
            Filter::Not(part) => Pattern::Not(Box::new(self.of(part)?)),
            Filter::Host(side, Host::Address(address)) => Pattern::Within(*side, vec![(*address).into()]),
            Filter::Host(side, Host::Node(name)) => Pattern::Within(*side, self.addresses(name)?),
            Filter::Net(side, net) => Pattern::Within(*side, vec![*net]),
            Filter::Port(side, first, last) => Pattern::Port(*side, *first, *last),
            Filter::Protocol(protocol) => Pattern::Protocol(*protocol),
            Filter::Ipv4 => Pattern::Ipv4,
            Filter::Ipv6 => Pattern::Ipv6,
            Filter::Node(name) => self.node(name)?,
            Filter::Nic { node, nic } => {
                let nic = nic_of(self.network, vm(self.network, node)?, nic)?;
                self.at(vec![self.compiled.nic_of(nic)], &[Attachment::Nic(nic)])
            }
            Filter::Dropped => Pattern::Dropped,
            Filter::Reason(reason) => Pattern::DroppedFor(*reason),
        })
    }

    fn addresses(&self, name: &str) -> Result<Vec<IpNet>, String> {
        let nics = &self.network.vm(vm(self.network, name)?).network_interfaces;
        Ok(nics.iter().flat_map(|&nic| &self.network.nic(nic).addresses).map(|&address| address.into()).collect())
    }

    fn node(&self, name: &str) -> Result<Pattern, String> {
        let unknown = match vm(self.network, name) {
            Ok(vm) => {
                let nics = &self.network.vm(vm).network_interfaces;
                let attachments: Vec<_> = nics.iter().copied().map(Attachment::Nic).collect();
                return Ok(self.at(nics.iter().map(|&nic| self.compiled.nic_of(nic)).collect(), &attachments));
            }
            Err(unknown) => unknown,
        };
        let vnets = &self.network.virtual_networks;
        let attached = vnets.iter().position(|vnet| vnet.attach.is_some() && vnet.name.eq_ignore_ascii_case(name));
        let vnet = VnetIx(attached.ok_or(unknown)?);
        let behind = |sender| matches!(sender, Sender::Subnet(subnet) if subnet.vnet == vnet);
        let senders = self.compiled.ids().senders().filter(|(_, sender)| behind(*sender));
        Ok(self.at(senders.map(|(nic, _)| nic).collect(), &[Attachment::Vnet(vnet)]))
    }

    fn at(&self, nics: Vec<NicId>, attachments: &[Attachment]) -> Pattern {
        let ports: Vec<PortId> = attachments.iter().filter_map(|at| self.compiled.ids().port(*at)).collect();
        Pattern::At(nics, ports)
    }
}

/// The text that [`parse_filter`] reads.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => write_joined(f, parts, " and "),
            Self::Any(parts) => write_joined(f, parts, " or "),
            Self::Not(part) => {
                f.write_str("not ")?;
                write_part(f, part)
            }
            Self::Host(side, Host::Address(address)) => write!(f, "{}host {address}", prefix(*side)),
            Self::Host(side, Host::Node(name)) => write!(f, "{}host {name}", prefix(*side)),
            Self::Net(side, net) => write!(f, "{}net {net}", prefix(*side)),
            Self::Port(side, first, last) if first == last => write!(f, "{}port {first}", prefix(*side)),
            Self::Port(side, first, last) => write!(f, "{}port {first}-{last}", prefix(*side)),
            Self::Protocol(protocol) => match word::of_protocol(*protocol) {
                Some(word) => f.write_str(word),
                None => write!(f, "proto {}", protocol.0),
            },
            Self::Ipv4 => f.write_str("ip"),
            Self::Ipv6 => f.write_str("ip6"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Nic { node, nic } => write!(f, "nic {node}/{nic}"),
            Self::Dropped => f.write_str("dropped"),
            Self::Reason(reason) => write!(f, "reason {reason}"),
        }
    }
}

fn prefix(side: Side) -> &'static str {
    match side {
        Side::Src => "src ",
        Side::Dst => "dst ",
        Side::Either => "",
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Filter], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { word })?;
        write_part(f, part)?;
    }
    Ok(())
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &Filter) -> fmt::Result {
    if matches!(part, Filter::All(_) | Filter::Any(_)) { write!(f, "({part})") } else { write!(f, "{part}") }
}
