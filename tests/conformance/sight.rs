//! What each guest saw of the packets: copies of all that went in or out, from the moment on in which this was opened.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use vnet::sys::sniffer::Sniffer;

use crate::lab::Lab;

/// How long a look waits for a packet that is not there.
const GLANCE: Duration = Duration::from_millis(1);

/// Packets of one direction. A port that the sender alone chooses is None.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) protocol: u8,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) src_port: Option<u16>,
    pub(crate) dst_port: Option<u16>,
}

impl Traffic {
    pub(crate) fn answer(self) -> Self {
        let Self { protocol, src, dst, src_port, dst_port } = self;
        Self { protocol, src: dst, dst: src, src_port: dst_port, dst_port: src_port }
    }

    fn covers(self, glimpse: Glimpse) -> bool {
        (self.protocol, self.src, self.dst) == (glimpse.protocol, glimpse.src, glimpse.dst)
            && self.src_port.is_none_or(|port| port == glimpse.src_port)
            && self.dst_port.is_none_or(|port| port == glimpse.dst_port)
    }
}

/// A packet as it was seen; without ports both are zero.
#[derive(Clone, Copy)]
struct Glimpse {
    protocol: u8,
    src: IpAddr,
    dst: IpAddr,
    src_port: u16,
    dst_port: u16,
    hop_limit: u8,
}

/// All guests of a lab, watched.
pub(crate) struct Sight(Vec<Watched>);

struct Watched {
    node: String,
    sniffer: Sniffer,
    seen: Vec<Glimpse>,
}

impl Sight {
    pub(crate) fn open<'a>(lab: &Lab, nodes: impl Iterator<Item = &'a str>) -> Self {
        let watch = |node: &str| {
            let sniffer = lab.inside(node, || Sniffer::open(GLANCE)).unwrap();
            Watched { node: node.to_owned(), sniffer, seen: Vec::new() }
        };
        Self(nodes.map(watch).collect())
    }

    /// Takes note of everything that passed since the last look.
    pub(crate) fn look(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        for watched in &mut self.0 {
            while let Some(packet) = watched.sniffer.read(&mut buffer).unwrap() {
                watched.seen.extend(parse(packet));
            }
        }
    }

    /// How often a node saw such a packet.
    pub(crate) fn count(&self, node: &str, traffic: Traffic) -> usize {
        self.hop_limits(node, traffic).count()
    }

    /// The machines that sent it on with a smaller hop limit than it came with, in order.
    pub(crate) fn forwarders(&self, traffic: Traffic) -> Vec<String> {
        let range = |node: &str| {
            let least = self.hop_limits(node, traffic).min()?;
            let most = self.hop_limits(node, traffic).max()?;
            (least < most).then_some(most)
        };
        let found = self.0.iter().filter_map(|watched| Some((range(&watched.node)?, watched.node.clone())));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(most, _)| std::cmp::Reverse(*most));
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// All machines that saw it.
    pub(crate) fn witnesses(&self, traffic: Traffic) -> Vec<&str> {
        let nodes = self.0.iter().map(|watched| watched.node.as_str());
        nodes.filter(|node| self.count(node, traffic) > 0).collect()
    }

    fn hop_limits(&self, node: &str, traffic: Traffic) -> impl Iterator<Item = u8> {
        let watched = self.0.iter().filter(move |watched| watched.node == node);
        let seen = watched.flat_map(|watched| &watched.seen);
        seen.filter(move |glimpse| traffic.covers(**glimpse)).map(|glimpse| glimpse.hop_limit)
    }
}

fn parse(packet: &[u8]) -> Option<Glimpse> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (src, dst, protocol, hop_limit): (IpAddr, IpAddr, _, _) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.protocol(), header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let (header, protocol) = (ip.header(), ip.payload().ip_number);
            (header.source_addr().into(), header.destination_addr().into(), protocol, header.hop_limit())
        }
        NetSlice::Arp(_) => return None,
    };
    let (src_port, dst_port) = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) | None => (0, 0),
    };
    Some(Glimpse { protocol: protocol.0, src, dst, src_port, dst_port, hop_limit })
}
