//! Load balancers' frontends out of their rules and pools (LB-01, LB-03, LB-09).
//!
//! This module sends no probes: health is learned. Without a prober, a backend with a probe counts as up
//! while the rules at its interface admit the probe (NSG-31), as if its port were open.

use std::time::Duration;

use crate::compile::{Ids, Sender, vnet_id};
use crate::dataplane::platform::prober_of;
use crate::dataplane::{
    self, BalancingRule, Direction, FrontendId, Keyed, Member, PortId, Quiet, Snapshot, Takes, VnetId, evaluate,
};
use crate::model::{
    AdminState, Backend, BalancedPorts, Distribution, FrontendIx, FrontendRule, HealthProbe, InboundNatRule, Learned,
    LoadBalancer, LoadBalancingRule, NatTarget, Network, TransportProtocol,
};
use crate::wire::{Protocol, Tuple};

/// Any port that the platform may probe from.
const PROBING_PORT: u16 = 50_000;

/// A number for every frontend, in file order.
pub(in crate::compile) fn numbered(network: &Network) -> impl Iterator<Item = (FrontendId, FrontendIx)> {
    (0..).map(FrontendId).zip(network.frontends().map(|(at, _)| at))
}

/// By [`FrontendId`]. The rest of the snapshot must be there.
pub(in crate::compile) fn frontends(
    network: &Network,
    learned: &Learned,
    ids: &Ids,
    snapshot: &Snapshot,
) -> Vec<dataplane::Frontend> {
    let pools = Pools { network, learned, ids, snapshot };
    let made = |(at, frontend): (FrontendIx, &crate::model::Frontend)| {
        let balancer = &network.load_balancers[at.balancer];
        // Of a public one, where its backends are.
        let home = frontend.subnet().map(|subnet| subnet.vnet);
        let home = home.or_else(|| balancer.backends().next().map(|backend| network.nic(backend.nic).subnet.vnet));
        dataplane::Frontend {
            vnet: home.map_or(VnetId(u32::MAX), vnet_id),
            address: frontend.address,
            rules: balancer.rules_at(at.frontend).map(|rule| pools.rule(balancer, rule)).collect(),
        }
    };
    network.frontends().map(made).collect()
}

/// The members of a pool, and those that are up.
#[derive(Clone, Copy)]
struct Pools<'a> {
    network: &'a Network,
    learned: &'a Learned,
    ids: &'a Ids,
    snapshot: &'a Snapshot,
}

impl Pools<'_> {
    fn rule(self, balancer: &LoadBalancer, rule: FrontendRule<'_>) -> BalancingRule {
        match rule {
            FrontendRule::Balance(rule) => self.balancing_rule(balancer, rule),
            FrontendRule::Nat(rule, target) => self.nat_rule(rule, target),
        }
    }

    fn balancing_rule(self, balancer: &LoadBalancer, rule: &LoadBalancingRule) -> BalancingRule {
        let pool = &balancer.pools[rule.pool].members;
        let probe = rule.probe.map(|probe| &balancer.probes[probe]);
        let is_up = |backend: &&Backend| match backend.admin {
            AdminState::Up => true,
            AdminState::Down => false,
            AdminState::None => probe.is_none_or(|probe| self.is_up(balancer, probe, **backend)),
        };
        let running = || pool.iter().filter(|backend| self.is_running(backend));
        let mut eligible: Box<[Member]> = running().filter(is_up).map(|backend| self.member(backend)).collect();
        if eligible.is_empty() && probe.is_some_and(|probe| probe.all_where_none) {
            let admitted = running().filter(|backend| backend.admin != AdminState::Down);
            eligible = admitted.map(|backend| self.member(backend)).collect();
        }
        BalancingRule {
            takes: match rule.ports {
                BalancedPorts::Tcp { frontend, backend } => Takes::Port { protocol: Protocol::TCP, frontend, backend },
                BalancedPorts::Udp { frontend, backend } => Takes::Port { protocol: Protocol::UDP, frontend, backend },
                BalancedPorts::All => Takes::All,
            },
            keyed: match rule.distribution {
                Distribution::Default => Keyed::FiveTuple,
                Distribution::SourceIp => Keyed::Addresses,
                Distribution::SourceIpProtocol => Keyed::AddressesAndProtocol,
            },
            floating: rule.floating,
            idle_secs: seconds(rule.idle_timeout),
            resets: rule.resets,
            tcp_stays: pool.len() > 1 || pool.iter().any(|backend| backend.admin == AdminState::Down),
            eligible,
            members: pool.iter().map(|backend| self.member(backend)).collect(),
        }
    }

    /// To one backend, which has no probe (LB-08).
    fn nat_rule(self, rule: &InboundNatRule, target: NatTarget) -> BalancingRule {
        let protocol = match rule.protocol {
            TransportProtocol::Tcp => Protocol::TCP,
            TransportProtocol::Udp => Protocol::UDP,
        };
        let member = self.member(&target.backend);
        let eligible = self.is_running(&target.backend).then_some(member);
        BalancingRule {
            takes: Takes::Port { protocol, frontend: target.frontend_port, backend: rule.backend_port },
            keyed: Keyed::FiveTuple,
            floating: rule.floating,
            idle_secs: seconds(rule.idle_timeout),
            resets: rule.resets,
            tcp_stays: false,
            eligible: eligible.into_iter().collect(),
            members: Box::new([member]),
        }
    }

    fn member(self, backend: &Backend) -> Member {
        let nic = self.ids.nic(Sender::Nic(backend.nic)).expect("every interface has a number");
        Member { nic, address: backend.address }
    }

    /// LB-17: a stopped machine has no device.
    fn is_running(self, backend: &Backend) -> bool {
        self.snapshot.nic(self.member(backend).nic).port != PortId::NONE
    }

    /// Backends start as unhealthy until their first successful probe (LB-10).
    fn is_up(self, balancer: &LoadBalancer, probe: &HealthProbe, backend: Backend) -> bool {
        let Some(found) = &self.learned.health else {
            return admits_probe(self.snapshot, self.member(&backend), probe.port);
        };
        found.get(&self.network.probe_key(balancer, probe, backend)).is_some_and(|health| health.up)
    }
}

fn seconds(time: Duration) -> u16 {
    u16::try_from(time.as_secs()).unwrap_or(u16::MAX)
}

fn admits_probe(snapshot: &Snapshot, member: Member, port: u16) -> bool {
    let probe = Tuple {
        src: prober_of(member.address),
        dst: member.address,
        protocol: Protocol::TCP,
        src_port: PROBING_PORT,
        dst_port: port,
    };
    evaluate(snapshot, member.nic, Direction::Inbound, &probe, &mut Quiet).is_ok()
}
