//! Load balancers' frontends out of their rules and pools (LB-01, LB-03, LB-09).
//!
//! Nobody probes here: a backend with a probe counts as up while the rules at its interface admit the probe (NSG-31), as
//! if somebody listened.

use std::net::IpAddr;

use crate::dataplane::platform::PLATFORM;
use crate::dataplane::{
    self, BalancingRule, Direction, FrontendId, Keyed, Member, PortId, Quiet, Snapshot, Takes, judge,
};
use crate::model::{BalancedPorts, Distribution, FrontendIx, LoadBalancer, LoadBalancingRule, Network};
use crate::wire::{Protocol, Tuple};

use super::{Ids, Sender, vnet_id};

/// Any port that the platform may probe from.
const PROBING_PORT: u16 = 50_000;

/// A number for every frontend, in file order.
pub(super) fn numbered(network: &Network) -> impl Iterator<Item = (FrontendId, FrontendIx)> {
    (0..).map(FrontendId).zip(network.frontends().map(|(at, _)| at))
}

/// By [`FrontendId`]. The rest of the snapshot must be there.
pub(super) fn frontends(network: &Network, ids: &Ids, snapshot: &Snapshot) -> Vec<dataplane::Frontend> {
    let made = |(at, frontend): (FrontendIx, &crate::model::Frontend)| {
        let balancer = &network.load_balancers[at.balancer];
        let rules = balancer.rules.iter().filter(|rule| rule.frontend == at.frontend);
        dataplane::Frontend {
            vnet: vnet_id(frontend.subnet.vnet),
            address: frontend.address,
            rules: rules.map(|rule| self::rule(balancer, rule, ids, snapshot)).collect(),
        }
    };
    network.frontends().map(made).collect()
}

fn rule(balancer: &LoadBalancer, rule: &LoadBalancingRule, ids: &Ids, snapshot: &Snapshot) -> BalancingRule {
    let members = balancer.pools[rule.pool].members.iter().map(|backend| Member {
        nic: ids.nic(Sender::Nic(backend.nic)).expect("every interface has a number"),
        address: backend.address,
    });
    let members: Box<[Member]> = members.collect();
    let port = rule.probe.map(|probe| balancer.probes[probe].port);
    // LB-17: a stopped machine has no device.
    let is_up = |member: &&Member| {
        snapshot.nic(member.nic).port != PortId::NONE && port.is_none_or(|port| admits_probe(snapshot, **member, port))
    };
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
        eligible: members.iter().filter(is_up).copied().collect(),
        members,
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
