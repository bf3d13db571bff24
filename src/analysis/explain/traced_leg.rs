//! A real packet's leg in words, the same that `explain` uses.

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::{
    Names, circuit_link_name, gateway_name, internet_name, nic_name, platform_name, segment_name, tunnel_name,
};
use crate::analysis::walk::Leg;
use crate::analysis::walk::masquerade::GuestStep;
use crate::analysis::walk::narration::{Hop, Path, Step, StepKind};
use crate::azure::Utc;
use crate::compile::{Compiled, Sender};
use crate::dataplane::{self, DropReason, NicId, PortId, Recorder};
use crate::model::{Attachment, Internet, Network, PLATFORM_NODE};
use crate::wire::{Detail, Icmp, Protocol, Summary};

/// A packet on one leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// RFC 3339, in UTC.
    pub time: String,
    /// The sending machine, or the VNet for machines behind its one TUN.
    pub node: String,
    /// `machine/interface`, or `vnet/subnet`.
    pub nic: String,
    /// None for bytes that are no packet.
    pub packet: Option<PacketWords>,
    /// Nanoseconds from the read of the packet to its write, or to the decision to drop it.
    #[serde(default)]
    pub latency_nanos: u64,
    #[serde(flatten)]
    pub path: Path,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketWords {
    /// The whole packet in words.
    pub text: String,
    pub protocol: String,
    #[serde(rename = "sourceIPAddress")]
    pub source_ip_address: std::net::IpAddr,
    #[serde(rename = "destinationIPAddress")]
    pub destination_ip_address: std::net::IpAddr,
    /// TCP and UDP.
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub tcp_flags: Vec<String>,
    pub icmp: Option<IcmpWords>,
    pub fragment: Option<FragmentWords>,
    pub ttl: u8,
    /// In bytes; all segments together.
    pub length: u32,
    pub segments: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpWords {
    #[serde(rename = "type")]
    pub kind: u8,
    pub code: u8,
    /// Of an echo message.
    pub id: Option<u16>,
    pub sequence: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentWords {
    pub id: u32,
    /// In bytes.
    pub offset: u32,
    pub more: bool,
}

/// Describes a leg that began at a port, with the names of the tables that decided it. None if the network has no such
/// port: the leg belongs to other tables.
pub fn sighting(
    network: &Network,
    compiled: &Compiled,
    ingress: PortId,
    leg: &Recorder,
    unix_micros: u64,
) -> Option<Sighting> {
    let names = Names { network, compiled };
    let attachment = compiled.ids().attachment(ingress)?;
    let packet = leg.packet();
    let sender = leg.steps().iter().find_map(|step| match step {
        dataplane::Step::Sent { nic } => Some(*nic),
        _ => None,
    });
    // Malformed bytes and packets with a rejected source have no known sender except their port.
    let sender = sender.or_else(|| sole_sender(compiled, attachment));
    let (node, nic) = sender.map_or_else(|| place(network, attachment), |nic| (names.node(nic), names.nic(nic)));
    let path = match (sender, packet) {
        (Some(from), Some(packet)) => {
            let leg = Leg { from, guest: GuestStep::Unchanged, src: packet.tuple.src, steps: leg.steps().to_vec() };
            Path::tell_leg(names, &leg, packet.tuple.src, packet.tuple.dst)
        }
        _ => refused(&node, &nic, leg.dropped()),
    };
    Some(Sighting {
        time: Utc::from_unix_micros(unix_micros).to_string(),
        node,
        nic,
        packet: packet.map(PacketWords::of),
        latency_nanos: 0,
        path,
    })
}

/// An interface's own TUN has one sender.
fn sole_sender(compiled: &Compiled, attachment: Attachment) -> Option<NicId> {
    compiled.ids().nic(Sender::at(attachment)?)
}

fn place(network: &Network, attachment: Attachment) -> (String, String) {
    match attachment {
        Attachment::Nic(ix) => (network.vm(network.nic(ix).virtual_machine).name.clone(), nic_name(network, ix)),
        Attachment::Vnet(vnet) => (network.vnet(vnet).name.clone(), network.vnet(vnet).name.clone()),
        Attachment::Internet => (Internet::NAME.to_owned(), internet_name()),
        Attachment::Gateway(gateway) => (gateway_name(network, gateway), gateway_name(network, gateway)),
        Attachment::Tunnel(tunnel) => {
            let site = network.site_of(tunnel).map_or_else(String::new, |site| network.site(site).name.clone());
            (site, tunnel_name(network, tunnel))
        }
        Attachment::Platform(vnet) => (PLATFORM_NODE.to_owned(), platform_name(network, vnet)),
        Attachment::Edge(circuit) => (network.circuit(circuit).name.clone(), network.circuit(circuit).name.clone()),
        Attachment::CircuitLink(circuit, side) => {
            let customer = network.customer_name(circuit).map_or_else(String::new, str::to_owned);
            (customer, circuit_link_name(network, circuit, side))
        }
        Attachment::RouteServer(server) => {
            (network.route_server(server).name.clone(), network.route_server(server).name.clone())
        }
        Attachment::CloudRouter(cloud, tier) => {
            let name = network.cloud(cloud).router_name(tier);
            (name.to_owned(), name.to_owned())
        }
        Attachment::Segment(cloud, segment) => {
            (network.segment(cloud, segment).node.clone(), segment_name(network, cloud, segment))
        }
    }
}

/// A packet that was dropped before its sender was known.
fn refused(node: &str, nic: &str, reason: Option<DropReason>) -> Path {
    let step =
        reason.map(|reason| Step { what: StepKind::Drop, object: format!("NIC {nic}"), text: reason.to_string() });
    let hop = Hop { node: node.to_owned(), nic: nic.to_owned(), steps: step.into_iter().collect() };
    Path { delivered: false, dropped: reason.map(|reason| reason.name().to_owned()), hops: vec![hop] }
}

impl PacketWords {
    fn of(packet: &Summary) -> Self {
        let Summary { tuple, detail, fragment, ttl, len, segments } = *packet;
        let later = fragment.is_some_and(|fragment| fragment.offset > 0);
        let has_ports = !later && matches!(tuple.protocol, Protocol::TCP | Protocol::UDP);
        let port = |port| has_ports.then_some(port);
        let (tcp_flags, icmp) = match detail {
            Detail::Tcp { flags } => (flags.names().map(str::to_owned).collect(), None),
            Detail::Icmp(Icmp { kind, code, echo, name: _, mtu: _, about: _ }) => {
                let (id, sequence) = (echo.map(|echo| echo.id), echo.map(|echo| echo.seq));
                (Vec::new(), Some(IcmpWords { kind, code, id, sequence }))
            }
            Detail::Udp | Detail::Other => (Vec::new(), None),
        };
        Self {
            text: packet.to_string(),
            protocol: tuple.protocol.to_string(),
            source_ip_address: tuple.src,
            destination_ip_address: tuple.dst,
            source_port: port(tuple.src_port),
            destination_port: port(tuple.dst_port),
            tcp_flags,
            icmp,
            fragment: fragment.map(|fragment| FragmentWords {
                id: fragment.id,
                offset: fragment.offset,
                more: fragment.more,
            }),
            ttl,
            length: len,
            segments,
        }
    }
}
