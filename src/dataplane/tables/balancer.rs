//! Load balancers as packets meet them: at a frontend's address, or behind a route whose next hop it is.
//!
//! One idea: which backend takes a new flow is a function of the flow and of who is up; that it stays there is a mapping's
//! business. Both directions of a flow give the same number, so one frontend between two networks sends them through the
//! same appliance (LB-34).

use std::net::IpAddr;

use crate::dataplane::{NicId, VnetId};
use crate::wire::{Protocol, Tuple};

use super::spread;

/// Index in [`Snapshot::frontends`](crate::dataplane::Snapshot::frontends).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendId(pub u32);

/// One frontend of a load balancer; the VNet is that of its backends.
#[derive(Debug)]
pub struct Frontend {
    pub vnet: VnetId,
    pub address: IpAddr,
    /// Apart from each other: a flow has one at most.
    pub rules: Box<[BalancingRule]>,
}

/// What becomes of the flows to some ports of a frontend.
#[derive(Debug)]
pub struct BalancingRule {
    pub takes: Takes,
    pub keyed: Keyed,
    /// The destination stays the frontend's address (LB-20).
    pub floating: bool,
    /// Idle time after which a flow is forgotten (LB-25).
    pub idle_secs: u16,
    /// Both ends of a TCP connection are told by a reset then, and so is whoever goes on with it (LB-25); not behind a rule
    /// for all ports.
    pub resets: bool,
    /// TCP outlives its backend's health (LB-14, LB-16).
    pub tcp_stays: bool,
    pub members: Box<[Member]>,
    /// Those of them that take new flows.
    pub eligible: Box<[Member]>,
}

/// Which flows a rule takes.
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

/// What of a flow counts for the choice (LB-03).
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
    /// The rule for a packet's protocol and destination port, and its index.
    pub fn rule(&self, flow: &Tuple) -> Option<(u32, &BalancingRule)> {
        (0..).zip(&self.rules).find(|(_, rule)| rule.takes.takes(flow))
    }

    /// The same of a packet on its way to somebody else: a rule for all ports takes other protocols, too (LB-33).
    pub fn rule_through(&self, flow: &Tuple) -> Option<(u32, &BalancingRule)> {
        (0..).zip(&self.rules).find(|(_, rule)| rule.takes == Takes::All || rule.takes.takes(flow))
    }

    /// Whether a NIC answers from this address itself.
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

    /// The port that a backend gets for one of the frontend.
    pub const fn backend_port(self, port: u16) -> u16 {
        match self {
            Self::Port { backend, .. } => backend,
            Self::All => port,
        }
    }
}

impl BalancingRule {
    /// Which of the eligible takes a new flow: an index.
    pub fn share(&self, flow: &Tuple) -> usize {
        (((spread::hash(&self.key(flow)) >> 32) * self.eligible.len() as u64) >> 32) as usize
    }

    /// None where nobody is up.
    pub fn choose(&self, flow: &Tuple) -> Option<Member> {
        self.eligible.get(self.share(flow)).copied()
    }

    /// Whether a flow that somebody took stays there: TCP outlives its backend's health, unless it was the only one; UDP
    /// moves (LB-13, LB-14). Who has left the pool keeps what it has (LB-04).
    pub fn keeps(&self, protocol: Protocol, nic: NicId) -> bool {
        let has = |list: &[Member]| list.iter().any(|member| member.nic == nic);
        has(&self.eligible) || !has(&self.members) || (protocol == Protocol::TCP && self.tcp_stays)
    }

    /// The same for both directions; ports count where the protocol has some.
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

/// A flow as its lesser end sends it: the same for both directions.
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
    fn lb_13_lb_14_who_keeps_its_flows() {
        let two = rule(Keyed::FiveTuple, 2, 1);
        assert!(two.keeps(Protocol::TCP, NicId(1)) && !two.keeps(Protocol::UDP, NicId(1)));
        assert!(two.keeps(Protocol::UDP, NicId(0)) && two.keeps(Protocol::UDP, NicId(9)), "up, and gone from the pool");
        let lonely = rule(Keyed::FiveTuple, 1, 0);
        assert!(!lonely.keeps(Protocol::TCP, NicId(0)));
        assert_eq!(lonely.choose(&flow(1, Protocol::TCP)), None);
    }
}
