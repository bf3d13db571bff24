//! Load balancers' frontends out of their rules and pools (LB-01, LB-03, LB-09).
//!
//! Nobody probes here. What probes have found out is learned; where nobody probes, a backend with a probe counts as up
//! while the rules at its interface admit the probe (NSG-31), as if somebody listened.

use std::net::IpAddr;

use crate::dataplane::platform::PLATFORM;
use crate::dataplane::{
    self, BalancingRule, Direction, FrontendId, Keyed, Member, PortId, Quiet, Snapshot, Takes, judge,
};
use crate::model::{
    Backend, BalancedPorts, Distribution, FrontendIx, HealthProbe, LoadBalancer, LoadBalancingRule, Network,
};
use crate::wire::{Protocol, Tuple};

use super::{Ids, Learned, Sender, vnet_id};

/// Any port that the platform may probe from.
const PROBING_PORT: u16 = 50_000;

/// A number for every frontend, in file order.
pub(super) fn numbered(network: &Network) -> impl Iterator<Item = (FrontendId, FrontendIx)> {
    (0..).map(FrontendId).zip(network.frontends().map(|(at, _)| at))
}

/// By [`FrontendId`]. The rest of the snapshot must be there.
pub(super) fn frontends(
    network: &Network,
    learned: &Learned,
    ids: &Ids,
    snapshot: &Snapshot,
) -> Vec<dataplane::Frontend> {
    let pools = Pools { network, learned, ids, snapshot };
    let made = |(at, frontend): (FrontendIx, &crate::model::Frontend)| {
        let balancer = &network.load_balancers[at.balancer];
        let rules = balancer.rules.iter().filter(|rule| rule.frontend == at.frontend);
        dataplane::Frontend {
            vnet: vnet_id(frontend.subnet.vnet),
            address: frontend.address,
            rules: rules.map(|rule| pools.rule(balancer, rule)).collect(),
        }
    };
    network.frontends().map(made).collect()
}

/// Who is in a pool, and who of them is up.
#[derive(Clone, Copy)]
struct Pools<'a> {
    network: &'a Network,
    learned: &'a Learned,
    ids: &'a Ids,
    snapshot: &'a Snapshot,
}

impl Pools<'_> {
    fn rule(self, balancer: &LoadBalancer, rule: &LoadBalancingRule) -> BalancingRule {
        let pool = &balancer.pools[rule.pool].members;
        let probe = rule.probe.map(|probe| &balancer.probes[probe]);
        // LB-17: a stopped machine has no device.
        let running = || pool.iter().filter(|backend| self.snapshot.nic(self.member(backend).nic).port != PortId::NONE);
        let is_up = |backend: &&Backend| probe.is_none_or(|probe| self.is_up(balancer, probe, **backend));
        let mut eligible: Box<[Member]> = running().filter(is_up).map(|backend| self.member(backend)).collect();
        if eligible.is_empty() && probe.is_some_and(|probe| probe.all_where_none) {
            eligible = running().map(|backend| self.member(backend)).collect();
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
            idle_secs: u16::try_from(rule.idle_timeout.as_secs()).unwrap_or(u16::MAX),
            eligible,
            members: pool.iter().map(|backend| self.member(backend)).collect(),
        }
    }

    fn member(self, backend: &Backend) -> Member {
        let nic = self.ids.nic(Sender::Nic(backend.nic)).expect("every interface has a number");
        Member { nic, address: backend.address }
    }

    /// Nobody is up before the first probe that says so (LB-10).
    fn is_up(self, balancer: &LoadBalancer, probe: &HealthProbe, backend: Backend) -> bool {
        let Some(found) = &self.learned.health else {
            return admits_probe(self.snapshot, self.member(&backend), probe.port);
        };
        found.get(&self.network.probe_key(balancer, probe, backend)).is_some_and(|health| health.up)
    }
}

fn admits_probe(snapshot: &Snapshot, member: Member, port: u16) -> bool {
    let probe = Tuple {
        src: PLATFORM,
        dst: IpAddr::V4(member.address),
        protocol: Protocol::TCP,
        src_port: PROBING_PORT,
        dst_port: port,
    };
    judge(snapshot, member.nic, Direction::Inbound, &probe, &mut Quiet).is_ok()
}
