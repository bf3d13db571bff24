//! Random packets: often an answer to one that arrived, else anything from anyone.

use super::*;

impl Random {
    /// The next packet: often the answer to one that arrived, else anything from anyone.
    pub(crate) fn packet(
        &mut self,
        network: &Network,
        attachments: &[Attachment],
        arrived: &[(Attachment, Sent)],
    ) -> (Attachment, Sent) {
        if !arrived.is_empty() && self.chance(25) {
            let (at, sent) = *self.pick(arrived);
            return (at, sent.mirrored());
        }
        let from = *self.pick(attachments);
        let own = self.source(network, from);
        let src = if self.chance(20) { self.address(network, own.is_ipv4()) } else { own };
        let dst = self.address(network, src.is_ipv4());
        (from, self.between(src, dst))
    }

    /// A packet of some kind between these two.
    pub(crate) fn between(&mut self, src: IpAddr, dst: IpAddr) -> Sent {
        let kind = *self.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Ping, Kind::Esp]);
        let (src_port, dst_port) = match kind {
            Kind::Tcp | Kind::Udp => (*self.pick(&PORTS), *self.pick(&PORTS)),
            Kind::Ping => (7, 7),
            Kind::Esp => (0, 0),
        };
        Sent { kind, src, dst, src_port, dst_port }
    }

    /// Anywhere: in use, unused, or around the edge of something that routes are written with.
    pub(crate) fn destination(&mut self, network: &Network, ipv4: bool) -> IpAddr {
        let prefixes = prefixes(network);
        match self.below(3) {
            0 => self.address(network, ipv4),
            1 => self.any(ipv4),
            _ => {
                let of_family: Vec<_> = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4() == ipv4).collect();
                let prefix = **self.pick(&of_family);
                let edges = [prefix.network(), prefix.broadcast(), below(prefix.network()), above(prefix.broadcast())];
                *self.pick(&edges)
            }
        }
    }

    fn any(&mut self, ipv4: bool) -> IpAddr {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        if ipv4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
    }

    fn source(&mut self, network: &Network, from: Attachment) -> IpAddr {
        match from {
            Attachment::Nic(nic) => *self.pick(&network.nic(nic).addresses),
            Attachment::Platform(_) => ["168.63.129.16", "168.63.129.16", "169.254.169.254", "10.0.0.4"]
                .map(|at| at.parse().unwrap())[self.below(4)],
            Attachment::Internet
            | Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => {
                unreachable!("these networks have nothing beyond them")
            }
            Attachment::Vnet(vnet) => {
                let prefixes = &self.pick(&network.vnet(vnet).subnets).prefixes;
                let prefix = *self.pick(prefixes);
                nth(prefix, self.below(16) as u128)
            }
        }
    }

    /// Mostly in use, sometimes unused.
    fn address(&mut self, network: &Network, ipv4: bool) -> IpAddr {
        let nics = network.network_interfaces.iter().flat_map(|nic| &nic.addresses);
        let services = network.private_endpoints.iter().map(|endpoint| endpoint.address);
        let owned: Vec<_> = nics.copied().chain(services).filter(|address| address.is_ipv4() == ipv4).collect();
        if owned.is_empty() || self.chance(15) { self.unlikely(ipv4) } else { *self.pick(&owned) }
    }

    /// Reserved, free, private, public, and the edges of tags.
    pub(super) fn unlikely(&mut self, ipv4: bool) -> IpAddr {
        let v4 = ["10.0.0.1", "10.1.0.3", "10.1.0.255", "10.0.1.200", "10.2.0.9", "10.9.9.9", "10.255.255.255"];
        let v4 = v4.into_iter().chain(["20.1.2.3", "20.200.0.1", "8.8.8.8", "172.20.1.9", "172.31.0.100"]);
        let v4 = v4.chain(["192.168.7.7", "100.64.0.1", "100.128.0.0", "9.255.255.255", "11.0.0.0"]);
        let v6 = ["fd00:0::1", "fd00:1::9", "2001:db8:1::2", "2001:db8:9::9", "fd99::1", "3fff:ffff::1", "4000::1"];
        let all: Vec<&str> = if ipv4 { v4.collect() } else { v6.to_vec() };
        self.pick(&all).parse().unwrap()
    }
}
