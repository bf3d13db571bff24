//! Load balancers for the packet path: at a frontend's address, or as a route's next hop.
//!
//! One idea: the backend of a new flow is a function of the flow and of the healthy backends; a mapping keeps the flow
//! there. Both directions of a flow hash to the same number, so one frontend between two networks sends them through
//! the same appliance (LB-34).

use std::net::IpAddr;

use crate::dataplane::{NicId, VnetId};
use crate::wire::{Protocol, Tuple};

use super::spread;

/// Index in [`Snapshot::frontends`](crate::dataplane::Snapshot::frontends).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendId(pub u32);

/// One frontend of a load balancer. `vnet` is its backends' VNet.
#[derive(Debug)]
pub struct Frontend {
    pub vnet: VnetId,
    pub address: IpAddr,
    /// Disjoint: a flow matches one at most.
    pub rules: Box<[BalancingRule]>,
}

/// A rule for flows to one port of a frontend, or to all.
#[derive(Debug)]
pub struct BalancingRule {
    pub takes: Takes,
    pub keyed: Keyed,
    /// The destination stays the frontend's address (LB-20).
    pub floating: bool,
    /// Idle time after which a flow's mapping expires (LB-25).
    pub idle_secs: u16,
    /// Then both ends of a TCP connection get a reset, and so does the sender of a later packet (LB-25). Not with a
    /// rule for all ports.
    pub resets: bool,
    /// TCP flows stay with a backend that becomes unhealthy (LB-14, LB-16).
    pub tcp_stays: bool,
    pub members: Box<[Member]>,
    /// The members that take new flows: the healthy ones.
    pub eligible: Box<[Member]>,
}

/// The flows that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Port {
        protocol: Protocol,
        frontend: u16,
        backend: u16,
    },
    /// All ports of TCP and UDP (LB-30).
    All,
}

/// The fields of a flow that decide its backend (LB-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    FiveTuple,
    Addresses,
    AddressesAndProtocol,
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub nic: NicId,
    pub address: IpAddr,
}

impl Frontend {
    /// The rule for a packet's protocol and destination port, with its index.
    pub fn rule(&self, flow: &Tuple) -> Option<(u32, &BalancingRule)> {
        (0..).zip(&self.rules).find(|(_, rule)| rule.takes.takes(flow))
    }

    /// The same for a packet to another destination: a rule for all ports takes other protocols, too (LB-33).
    pub fn rule_through(&self, flow: &Tuple) -> Option<(u32, &BalancingRule)> {
        (0..).zip(&self.rules).find(|(_, rule)| rule.takes == Takes::All || rule.takes.takes(flow))
    }

    /// Whether a NIC itself answers from this address, as a backend of a floating IP rule.
    pub fn floats_at(&self, nic: NicId) -> bool {
        let mut floating = self.rules.iter().filter(|rule| rule.floating);
        floating.any(|rule| rule.members.iter().any(|member| member.nic == nic))
    }
}

impl Takes {
    fn takes(self, flow: &Tuple) -> bool {
        match self {
            Self::Port { protocol, frontend, .. } => (protocol, frontend) == (flow.protocol, flow.dst_port),
            Self::All => matches!(flow.protocol, Protocol::TCP | Protocol::UDP),
        }
    }

    /// The backend port for a frontend port.
    pub const fn backend_port(self, port: u16) -> u16 {
        match self {
            Self::Port { backend, .. } => backend,
            Self::All => port,
        }
    }
}

impl BalancingRule {
    /// The index of the eligible member that takes a new flow.
    pub fn share(&self, flow: &Tuple) -> usize {
        (((spread::hash(&self.key(flow)) >> 32) * self.eligible.len() as u64) >> 32) as usize
    }

    /// None if no backend is healthy.
    pub fn choose(&self, flow: &Tuple) -> Option<Member> {
        self.eligible.get(self.share(flow)).copied()
    }

    /// Whether a known flow stays with its backend. TCP stays when the backend becomes unhealthy, unless it was the
    /// only one; UDP moves (LB-13, LB-14). A backend that left the pool keeps its flows (LB-04).
    pub fn keeps(&self, protocol: Protocol, nic: NicId) -> bool {
        let has = |list: &[Member]| list.iter().any(|member| member.nic == nic);
        has(&self.eligible) || !has(&self.members) || (protocol == Protocol::TCP && self.tcp_stays)
    }

    /// The fields that decide, the same for both directions. Ports count where the protocol has some.
    fn key(&self, flow: &Tuple) -> Tuple {
        let has_ports = matches!(flow.protocol, Protocol::TCP | Protocol::UDP);
        let (protocol, with_ports) = match self.keyed {
            Keyed::FiveTuple => (flow.protocol, has_ports),
            Keyed::AddressesAndProtocol => (flow.protocol, false),
            Keyed::Addresses => (Protocol(0), false),
        };
        let (src_port, dst_port) = if with_ports { (flow.src_port, flow.dst_port) } else { (0, 0) };
        sorted(&Tuple { protocol, src_port, dst_port, ..*flow })
    }
}

/// A flow as its lower end sends it: the same for both directions.
pub(in crate::dataplane) fn sorted(flow: &Tuple) -> Tuple {
    if (flow.src, flow.src_port) <= (flow.dst, flow.dst_port) { *flow } else { flow.mirrored() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(src_port: u16, protocol: Protocol) -> Tuple {
        let address = |text: &str| text.parse().expect("an address");
        Tuple { src: address("10.1.0.4"), dst: address("10.2.0.100"), protocol, src_port, dst_port: 443 }
    }

    fn rule(keyed: Keyed, members: u32, up: u32) -> BalancingRule {
        let members: Vec<_> =
            (0..members).map(|nic| Member { nic: NicId(nic), address: [10, 2, 0, nic as u8].into() }).collect();
        BalancingRule {
            takes: Takes::All,
            keyed,
            floating: false,
            idle_secs: 240,
            resets: false,
            tcp_stays: members.len() > 1,
            eligible: members.iter().take(up as usize).copied().collect(),
            members: members.into(),
        }
    }

    /// Ten thousand flows over five backends: each gets its fifth, give or take 5 %.
    #[test]
    fn lb_03_flows_spread_evenly() {
        let five = rule(Keyed::FiveTuple, 5, 5);
        let mut shares = [0_usize; 5];
        for port in 20_000..30_000 {
            shares[five.share(&flow(port, Protocol::TCP))] += 1;
        }
        assert!(shares.iter().all(|share| share.abs_diff(2_000) <= 100), "{shares:?}");
    }

    #[test]
    fn lb_03_what_counts_for_the_choice() {
        let shares = |keyed, flows: &[Tuple]| {
            let seven = rule(keyed, 7, 7);
            flows.iter().map(|flow| seven.share(flow)).collect::<std::collections::BTreeSet<_>>().len()
        };
        let flows: Vec<_> =
            (1..200).flat_map(|port| [Protocol::TCP, Protocol::UDP].map(|protocol| flow(port, protocol))).collect();
        assert_eq!(shares(Keyed::FiveTuple, &flows), 7);
        assert_eq!(shares(Keyed::Addresses, &flows), 1);
        assert!(shares(Keyed::AddressesAndProtocol, &flows) <= 2);
    }

    #[test]
    fn lb_34_both_directions_choose_alike() {
        for keyed in [Keyed::FiveTuple, Keyed::Addresses, Keyed::AddressesAndProtocol] {
            let seven = rule(keyed, 7, 7);
            assert!(
                (1..500)
                    .map(|port| flow(port, Protocol::TCP))
                    .all(|it| seven.choose(&it) == seven.choose(&it.mirrored()))
            );
        }
    }

    #[test]
    fn lb_13_lb_14_which_backend_keeps_its_flows() {
        let two = rule(Keyed::FiveTuple, 2, 1);
        assert!(two.keeps(Protocol::TCP, NicId(1)) && !two.keeps(Protocol::UDP, NicId(1)));
        assert!(two.keeps(Protocol::UDP, NicId(0)) && two.keeps(Protocol::UDP, NicId(9)), "up, and gone from the pool");
        let lonely = rule(Keyed::FiveTuple, 1, 0);
        assert!(!lonely.keeps(Protocol::TCP, NicId(0)));
        assert_eq!(lonely.choose(&flow(1, Protocol::TCP)), None);
    }
}
