//! Which packets `trace` shows: a small language after tcpdump's, `host 10.1.1.4 and tcp port 443`.
//!
//! One idea: a [`Filter`] holds names, and [`pattern`] replaces them by the ids of one network. A filter therefore
//! survives changes of the machines. Unlike in tcpdump, `and` and `or` cannot mix without parentheses, so there is no
//! precedence to know.

mod parse;
mod word;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::{Compiled, Sender};
use crate::dataplane::{DropReason, NicId, Pattern, PortId, Side};
use crate::model::{Attachment, Network};
use crate::wire::Protocol;

use super::query::names::Names;
use super::query::{nic_of, unknown, vm};

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

    /// The addresses of a node, also of one that is no machine.
    fn addresses(&self, name: &str) -> Result<Vec<IpNet>, String> {
        let nics = self.nics(name)?;
        let own = nics.iter().flat_map(|&nic| match self.compiled.sender(nic) {
            Sender::Nic(nic) => self.network.nic(nic).addresses.clone(),
            Sender::Internet => self.network.internet.iter().flat_map(|internet| internet.addresses.clone()).collect(),
            Sender::Gateway(gateway) => self.network.gateway_addresses(gateway),
            sender => match self.names().customer(sender) {
                Some(customer) => self.network.addresses_of_customer(customer),
                None => Vec::new(),
            },
        });
        let own: Vec<IpNet> = own.map(IpNet::from).collect();
        if own.is_empty() {
            return Err(format!("`{name}` has no addresses of its own: `node {name}` has its packets"));
        }
        Ok(own)
    }

    fn node(&self, name: &str) -> Result<Pattern, String> {
        let nics = self.nics(name)?;
        let ports = nics.iter().map(|&nic| self.compiled.snapshot.nic(nic).port);
        let ports: BTreeSet<_> = ports.filter(|port| *port != PortId::NONE).collect();
        Ok(Pattern::At(nics, ports.into_iter().collect()))
    }

    /// The interfaces of a node of this name.
    fn nics(&self, name: &str) -> Result<Vec<NicId>, String> {
        let all = self.compiled.ids().senders().map(|(nic, _)| (nic, self.names().node(nic)));
        let all: Vec<_> = all.collect();
        let own = all.iter().filter(|(_, node)| node.eq_ignore_ascii_case(name)).map(|(nic, _)| *nic);
        let own: Vec<_> = own.collect();
        if own.is_empty() {
            let mut names: Vec<_> = all.iter().map(|(_, node)| node.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(unknown("node", name, names.into_iter()));
        }
        Ok(own)
    }

    fn names(&self) -> Names<'_> {
        Names { network: self.network, compiled: self.compiled }
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
