//! NAT rules of VPN gateways: what each end of a tunnel is called at the other (VPN-15).
//!
//! One idea: a rule names one range twice, as those in it know it (internal) and as the other side does (external), and
//! a range in a route is translated where it is exactly a rule's: addresses inside follow of themselves.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{ConnectionIx, Network, PortRange, Remote};

/// One range and its other name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatRule {
    pub name: String,
    pub mode: NatMode,
    pub kind: NatKind,
    /// Before the translation: the site's own range, or the virtual network's.
    pub internal: Ipv4Net,
    /// After it, as the other side knows it.
    pub external: Ipv4Net,
    /// It is about these ports of TCP and UDP alone, by either name; of a static rule each has its own, so both are as
    /// many.
    pub internal_ports: Option<PortRange>,
    pub external_ports: Option<PortRange>,
}

/// The side that has its addresses translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatMode {
    /// The virtual networks'.
    EgressSnat,
    /// The site's.
    IngressSnat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// Each address has one, in order: either side may begin.
    Static,
    /// Flows get an external address and port as they begin, which only the internal side may do. It is done by one
    /// instance of the gateway.
    Dynamic { instance: usize },
}

impl NatRule {
    /// The other name of a whole range.
    pub fn prefix(&self, prefix: &IpNet) -> Option<IpNet> {
        (*prefix == IpNet::V4(self.internal)).then_some(IpNet::V4(self.external))
    }

    /// The other name of an address, where it has a fixed one for all that it sends.
    pub fn address(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(inside) = address else { return None };
        let fixed = self.is_fixed() && self.internal.contains(&inside);
        fixed.then(|| moved(inside, self.external).into())
    }

    /// The original address behind a static translated one.
    pub fn origin(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(outside) = address else { return None };
        let fixed = self.is_fixed() && self.external.contains(&outside);
        fixed.then(|| moved(outside, self.internal).into())
    }

    fn is_fixed(&self) -> bool {
        self.kind == NatKind::Static && self.internal_ports.is_none()
    }

    /// Whether it is the other name of an address, or of a port there.
    pub fn names(&self, address: IpAddr, port: Option<u16>) -> bool {
        let holds = |ports: PortRange, port: u16| ports.first <= port && port <= ports.last;
        let outside = matches!(address, IpAddr::V4(address) if self.external.contains(&address));
        outside && port.is_none_or(|port| self.external_ports.is_none_or(|ports| holds(ports, port)))
    }
}

/// The address at the same place of another range of the same size.
fn moved(address: Ipv4Addr, range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(range.network().to_bits() | address.to_bits() & range.hostmask().to_bits())
}

impl Network {
    /// The rules by which a tunnel's packets are translated: its connection's that its instance of the gateway has.
    pub fn nat_over(&self, tunnel: ConnectionIx) -> impl Iterator<Item = &NatRule> {
        let connection = self.connection(tunnel);
        let rules = connection.nat_rules.iter().map(|rule| &self.gateway(connection.gateway).nat_rules[*rule]);
        rules.filter(|rule| match rule.kind {
            NatKind::Static => true,
            NatKind::Dynamic { instance } => instance == connection.instance,
        })
    }

    /// Ranges as the other side of a tunnel knows them.
    fn renamed(&self, tunnel: ConnectionIx, mode: NatMode, ranges: Vec<IpNet>) -> Vec<IpNet> {
        let other = |range: IpNet| {
            self.nat_over(tunnel).filter(|rule| rule.mode == mode).find_map(|rule| rule.prefix(&range)).unwrap_or(range)
        };
        ranges.into_iter().map(other).collect()
    }

    /// The prefixes of a tunnel without BGP, from its local network gateway and as translated for this side.
    pub fn local_space(&self, tunnel: ConnectionIx) -> Vec<IpNet> {
        let Remote::Local(local) = self.connection(tunnel).remote else { return Vec::new() };
        self.renamed(tunnel, NatMode::IngressSnat, self.local_gateway(local).address_space.clone())
    }

    /// The address space that a gateway advertises over a tunnel, as translated for the other end. Of a range that is
    /// translated in part, both names.
    pub fn space_seen(&self, tunnel: ConnectionIx) -> Vec<IpNet> {
        let space = self.gateway_space(self.connection(tunnel).gateway);
        let rules = self.nat_over(tunnel).filter(|rule| rule.mode == NatMode::EgressSnat);
        let is_part = |rule: &&NatRule| {
            let internal = IpNet::V4(rule.internal);
            space.iter().any(|range| *range != internal && range.contains(&internal))
        };
        let parts: Vec<_> = rules.filter(is_part).map(|rule| IpNet::V4(rule.external)).collect();
        let mut seen = self.renamed(tunnel, NatMode::EgressSnat, space);
        seen.extend(parts);
        seen
    }

    /// An address in Azure as the other end of a tunnel knows it.
    pub fn address_seen(&self, tunnel: ConnectionIx, address: IpAddr) -> IpAddr {
        self.other_name(tunnel, NatMode::EgressSnat, NatRule::address, address)
    }

    /// An address behind a tunnel as it is known in Azure.
    pub fn address_known(&self, tunnel: ConnectionIx, address: IpAddr) -> IpAddr {
        self.other_name(tunnel, NatMode::IngressSnat, NatRule::address, address)
    }

    /// The same address as its owner knows it.
    pub fn address_behind(&self, tunnel: ConnectionIx, known: IpAddr) -> IpAddr {
        self.other_name(tunnel, NatMode::IngressSnat, NatRule::origin, known)
    }

    fn other_name(
        &self,
        tunnel: ConnectionIx,
        mode: NatMode,
        name: fn(&NatRule, IpAddr) -> Option<IpAddr>,
        address: IpAddr,
    ) -> IpAddr {
        let mut rules = self.nat_over(tunnel).filter(|rule| rule.mode == mode);
        rules.find_map(|rule| name(rule, address)).unwrap_or(address)
    }

    /// The pairs by which BGP's routes over a tunnel are translated, if they are: as they are advertised, and as they are
    /// known on the other side.
    pub fn bgp_translations(&self, tunnel: ConnectionIx, mode: NatMode) -> Vec<(IpNet, IpNet)> {
        let translates = self.gateway(self.connection(tunnel).gateway).translates_bgp;
        let rules = self.nat_over(tunnel).filter(|rule| translates && rule.mode == mode);
        rules.map(|rule| (rule.internal.into(), rule.external.into())).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn rule(kind: NatKind, external_ports: Option<(u16, u16)>) -> NatRule {
        let ports = |first| external_ports.map(|(from, to)| PortRange { first: from + first, last: to + first });
        NatRule {
            name: "r".into(),
            mode: NatMode::IngressSnat,
            kind,
            internal: "10.0.0.16/28".parse().unwrap(),
            external: "192.0.2.32/28".parse().unwrap(),
            internal_ports: ports(1000),
            external_ports: ports(0),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn vpn_15_an_address_has_its_name_at_the_same_place_of_the_other_range() {
        let fixed = rule(NatKind::Static, None);
        for (inside, outside) in [("10.0.0.16", "192.0.2.32"), ("10.0.0.21", "192.0.2.37"), ("10.0.0.31", "192.0.2.47")]
        {
            assert_eq!(fixed.address(ip(inside)), Some(ip(outside)));
            assert_eq!(fixed.origin(ip(outside)), Some(ip(inside)));
        }
        for beside in ["10.0.0.15", "10.0.0.32", "192.0.2.31", "192.0.2.48", "fd00::1"] {
            assert_eq!((fixed.address(ip(beside)), fixed.origin(ip(beside))), (None, None), "{beside}");
        }
        for other in [rule(NatKind::Dynamic { instance: 0 }, None), rule(NatKind::Static, Some((8000, 8003)))] {
            assert_eq!((other.address(ip("10.0.0.16")), other.origin(ip("192.0.2.32"))), (None, None), "{other:?}");
        }
    }

    #[test]
    fn vpn_15_a_rule_with_ports_names_these_alone() {
        let with = rule(NatKind::Static, Some((8000, 8003)));
        let names = |port| with.names(ip("192.0.2.47"), port);
        assert_eq!([7999, 8000, 8003, 8004].map(|port| names(Some(port))), [false, true, true, false]);
        assert!(names(None), "of what has no ports");
        assert!(rule(NatKind::Static, None).names(ip("192.0.2.32"), Some(7999)));
        assert!(!with.names(ip("192.0.2.48"), Some(8000)) && !with.names(ip("10.0.0.16"), None));
    }

    #[test]
    fn vpn_15_a_range_is_translated_where_it_is_exactly_a_rules() {
        let fixed = rule(NatKind::Static, None);
        let renamed = |prefix: &str| fixed.prefix(&prefix.parse().unwrap()).map(|prefix| prefix.to_string());
        assert_eq!(renamed("10.0.0.16/28").as_deref(), Some("192.0.2.32/28"));
        assert_eq!(["10.0.0.16/29", "10.0.0.0/27", "192.0.2.32/28"].map(renamed), [None, None, None]);
    }
}
