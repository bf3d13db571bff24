//! Which ports of a public load balancer's frontends each of its backends has for what it begins (SNAT-05 to SNAT-07,
//! SNAT-09, LIM-26).
//!
//! One idea: ports are allocated in advance. The members of a pool have an order, and each has as many ports as
//! the next; an outbound rule says how many, or else the size of the pool does.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::dataplane::{Balanced, IdleReset, PoolId, PortPool, Ports};
use crate::model::{
    Backend, BackendPool, BalancedPorts, FrontendRule, LoadBalancer, Network, NicIx, OutboundRule, TransportProtocol,
};

/// LIM-26: ports of one frontend.
const PORTS: u32 = 64_000;
/// The first of them.
const FIRST: u32 = 1024;
/// A rule takes all of the block that its port is in (SNAT-06).
const BLOCK: u16 = 8;
/// What an implicit mapping does with an idle flow (LB-25).
const IDLE_SECS: u16 = 240;

/// A pool of ports for each backend, appended to those there are.
pub(in crate::compile) fn allocate(network: &Network, pools: &mut Vec<PortPool>) -> HashMap<NicIx, Vec<Balanced>> {
    let mut allocated = HashMap::new();
    for balancer in &network.load_balancers {
        for (index, pool) in balancer.pools.iter().enumerate() {
            for protocol in [TransportProtocol::Tcp, TransportProtocol::Udp] {
                let Some(source) = source(balancer, index, protocol) else { continue };
                for (place, member) in pool.members.iter().enumerate().filter(|(_, it)| network.is_primary(**it)) {
                    give(balancer, pool, &source, (place, member, protocol), pools, &mut allocated);
                }
            }
        }
    }
    allocated
}

/// Where a pool's ports come from.
struct Source<'a> {
    /// Without one, rules serve what their pools begin as well (SNAT-07).
    rule: Option<&'a OutboundRule>,
    frontends: Vec<usize>,
}

fn source(balancer: &LoadBalancer, pool: usize, protocol: TransportProtocol) -> Option<Source<'_>> {
    let mut outbound = balancer.outbound_rules.iter().filter(|rule| rule.pool == pool && rule.takes(protocol));
    if let Some(rule) = outbound.next() {
        return Some(Source { rule: Some(rule), frontends: rule.frontends.clone() });
    }
    let rules = balancer.rules.iter().filter(|rule| rule.pool == pool && rule.outbound);
    let rules = rules.filter(|rule| match rule.ports {
        BalancedPorts::Tcp { .. } => protocol == TransportProtocol::Tcp,
        BalancedPorts::Udp { .. } => protocol == TransportProtocol::Udp,
        BalancedPorts::All => false,
    });
    let mut frontends: Vec<_> = rules.map(|rule| rule.frontend).collect();
    frontends.retain(|frontend| balancer.frontends[*frontend].subnet().is_none());
    frontends.sort_unstable();
    frontends.dedup();
    (!frontends.is_empty()).then_some(Source { rule: None, frontends })
}

fn give(
    balancer: &LoadBalancer,
    pool: &BackendPool,
    source: &Source<'_>,
    (place, member, protocol): (usize, &Backend, TransportProtocol),
    pools: &mut Vec<PortPool>,
    allocated: &mut HashMap<NicIx, Vec<Balanced>>,
) {
    let all = allocated.entry(member.nic).or_default();
    let known = all.iter().position(|one| one.private == member.address);
    let index = known.unwrap_or_else(|| {
        all.push(Balanced { private: member.address, tcp: None, udp: None });
        all.len() - 1
    });
    let own = &mut all[index];
    let slot = match protocol {
        TransportProtocol::Tcp => &mut own.tcp,
        TransportProtocol::Udp => &mut own.udp,
    };
    // Of several load balancers the first in the file serves.
    if slot.is_some() {
        return;
    }
    let ports = ports(balancer, source, place as u32, pool.members.len());
    if ports.is_empty() {
        return;
    }
    *slot = Some(PoolId(pools.len() as u32));
    pools.push(PortPool {
        ports: ports.into(),
        preallocated: true,
        echoes: false,
        tcp_idle_secs: source
            .rule
            .map_or(IDLE_SECS, |rule| u16::try_from(rule.idle_timeout.as_secs()).unwrap_or(u16::MAX)),
        idle_reset: if source.rule.is_some_and(|rule| rule.resets) { IdleReset::BothEnds } else { IdleReset::None },
    });
}

/// The ports of the member at this place. What a rule says is one member's share of all frontends together, one behind
/// the other; by default each member has a share of each.
fn ports(balancer: &LoadBalancer, source: &Source<'_>, place: u32, members: usize) -> Vec<Ports> {
    let stated = source.rule.and_then(|rule| rule.ports).map(u32::from);
    let shares = (0..).zip(&source.frontends).map(|(nth, frontend)| {
        let address = balancer.frontends[*frontend].address;
        let (from, to) = match stated {
            Some(each) => {
                let begin = nth * PORTS;
                let clamp = |port: u32| port.clamp(begin, begin + PORTS) - begin;
                (clamp(place * each), clamp((place + 1) * each))
            }
            None => (place * by_default(members), (place + 1) * by_default(members)),
        };
        (*frontend, address, FIRST + from.min(PORTS), FIRST + to.min(PORTS))
    });
    shares.flat_map(|(frontend, address, from, to)| without_rules(balancer, frontend, address, from, to)).collect()
}

/// As many ports of each frontend as a pool's size gives each member (SNAT-05).
const fn by_default(members: usize) -> u32 {
    match members {
        0..=50 => 1024,
        51..=100 => 512,
        101..=200 => 256,
        201..=400 => 128,
        401..=800 => 64,
        _ => 32,
    }
}

/// What is left of some ports beside the blocks of this frontend's rules.
fn without_rules(balancer: &LoadBalancer, frontend: usize, address: IpAddr, from: u32, to: u32) -> Vec<Ports> {
    let taken = balancer.rules_at(frontend).filter_map(|rule| match rule {
        FrontendRule::Balance(rule) => match rule.ports {
            BalancedPorts::Tcp { frontend, .. } | BalancedPorts::Udp { frontend, .. } => Some(frontend),
            BalancedPorts::All => None,
        },
        FrontendRule::Nat(_, target) => Some(target.frontend_port),
    });
    let mut blocks: Vec<_> = taken.map(|port| u32::from(port / BLOCK * BLOCK)).collect();
    blocks.sort_unstable();
    let mut left = Vec::new();
    let mut first = from;
    let mut keep = |first: u32, end: u32| {
        if first < end {
            left.push(Ports { address, first: first as u16, count: (end - first) as u16 });
        }
    };
    for block in blocks.into_iter().filter(|block| (from..to).contains(block)) {
        keep(first, block);
        first = block + u32::from(BLOCK);
    }
    keep(first, to);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snat_05_how_many_ports_a_pools_size_gives() {
        let given = [1, 50, 51, 100, 101, 200, 201, 400, 401, 800, 801, 1000].map(by_default);
        assert_eq!(given, [1024, 1024, 512, 512, 256, 256, 128, 128, 64, 64, 32, 32]);
        assert!((1..=1000).all(|members| members as u32 * by_default(members) <= PORTS), "LIM-26");
    }
}
