//! Compiled tables: the twin has every subnet's effective routes, where each leads, and every security rule with its tags
//! expanded, the backends of each balancing rule, and each interface's ways to the Internet. The topologies of `config` have twins here, too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use ipnet::IpNet;
use vnet::bgp::topology::converge;
use vnet::compile::{Compiled, EffectiveRule, RuleOwner, Sender, compile};
use vnet::config;
use vnet::dataplane::{AclId, Fib, Filters, Member, NextHop, NicId, PoolId, ProtocolMatch, RouteId, Takes};
use vnet::lab::beside;
use vnet::model::{Existing, Internet, Network, NicIx, SubnetIx, VnetIx};

use super::golden;

/// A topology's tables are those of its twin, which is here also for a file of another folder.
pub(crate) fn check(case: &Path) {
    let twin = Path::new("tests/golden/compile").join(case.with_extension("txt").file_name().unwrap());
    golden::check(&twin, &listing(&load(case)));
}

fn load(path: &Path) -> Network {
    let text = fs::read_to_string(path).unwrap();
    let loaded = config::load_with(&text, &path.display().to_string(), &Existing::default(), &beside(path));
    loaded.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display())).network
}

fn listing(network: &Network) -> String {
    let compiled = compile(network, &converge(network, Instant::now()).learned(), 1);
    let mut text = String::new();
    for (v, vnet) in network.virtual_networks.iter().enumerate() {
        for subnet in 0..vnet.subnets.len() {
            routes(&mut text, network, &compiled, SubnetIx { vnet: VnetIx(v), subnet });
        }
    }
    for nic in 0..compiled.snapshot.nics.len() {
        filters(&mut text, network, &compiled, NicId(nic as u32));
    }
    frontends(&mut text, network, &compiled);
    ways_out(&mut text, network, &compiled);
    for acl in 0..compiled.snapshot.acls.len() {
        writeln!(text, "\nacl {acl}").unwrap();
        for rule in compiled.effective_rules(AclId(acl as u32)) {
            writeln!(text, "{}", rule_line(network, rule)).unwrap();
        }
    }
    text
}

fn routes(text: &mut String, network: &Network, compiled: &Compiled, subnet: SubnetIx) {
    writeln!(text, "routes of {}", subnet_name(network, subnet)).unwrap();
    let fib = &compiled.snapshot.fibs[compiled.fib(subnet).0 as usize];
    for (i, route) in compiled.effective_routes(subnet).iter().enumerate() {
        assert_eq!(compiled.route(compiled.fib(subnet), RouteId(i as u32)), &**route);
        let ips = route.next_hop_ip.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let line = format!(
            "  {:<7} {:<7} {:<18} {:<21} {ips:<15} {:<10} => {}",
            route.source,
            route.state,
            route.prefixes.to_string(),
            route.next_hop_type,
            route.name.as_deref().unwrap_or(""),
            hop_name(network, compiled, fib, fib.next_hops[i])
        );
        writeln!(text, "{line}").unwrap();
    }
}

fn filters(text: &mut String, network: &Network, compiled: &Compiled, nic: NicId) {
    // The platform is in every virtual network and has no rules of its own.
    if matches!(compiled.sender(nic), Sender::Platform(_)) {
        return;
    }
    let name = sender_name(network, compiled.sender(nic));
    let acl = |acl: Option<AclId>| acl.map_or("-".to_owned(), |acl| acl.0.to_string());
    let pair = |filters: Filters| (acl(filters.nic), acl(filters.subnet));
    let nic = &compiled.snapshot.nics[nic.0 as usize];
    let ((out_nic, out_subnet), (in_nic, in_subnet)) = (pair(nic.outbound), pair(nic.inbound));
    writeln!(text, "acls of {name}: out {out_nic} {out_subnet}, in {in_subnet} {in_nic}").unwrap();
    if nic.platform != Filters::default() {
        let (of_nic, of_subnet) = pair(nic.platform);
        writeln!(text, "platform of {name}: {of_nic} {of_subnet}").unwrap();
    }
    if let (Some(outbound), Some(inbound)) = (nic.outbound.admin, nic.inbound.admin) {
        writeln!(text, "admin rules of {name}: out {}, in {}", outbound.0, inbound.0).unwrap();
    }
}

/// Each rule of a load balancer's frontend, with the backends that get new flows and the others.
fn frontends(text: &mut String, network: &Network, compiled: &Compiled) {
    for ((at, named), frontend) in network.frontends().zip(&compiled.snapshot.frontends) {
        let balancer = &network.load_balancers[at.balancer].name;
        let home = network.virtual_networks.get(frontend.vnet.0 as usize).map_or("-", |vnet| &vnet.name);
        writeln!(text, "frontend {balancer}/{} {} in VNet {home}", named.name, frontend.address).unwrap();
        for rule in &frontend.rules {
            let takes = match rule.takes {
                Takes::Port { protocol, frontend, backend } => format!("{protocol} {frontend} > {backend}"),
                Takes::All => "all ports".to_owned(),
            };
            let flags = [(rule.floating, ", floats"), (rule.resets, ", resets"), (rule.tcp_stays, ", TCP stays")];
            let flags: String = flags.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
            let words = |members: &[Member]| {
                let word = |one: &Member| format!("{} {}", sender_name(network, compiled.sender(one.nic)), one.address);
                members.iter().map(word).collect::<Vec<_>>().join(", ")
            };
            let by = format!("by {:?}, idle {} s{flags}", rule.keyed, rule.idle_secs);
            writeln!(text, "  {takes} {by}").unwrap();
            writeln!(text, "    new flows to [{}] of [{}]", words(&rule.eligible), words(&rule.members)).unwrap();
        }
    }
}

/// Pools of public ports, and each interface's ways to the Internet, the first one that fits first (SNAT-01).
fn ways_out(text: &mut String, network: &Network, compiled: &Compiled) {
    let Some(edge) = &compiled.snapshot.edge else { return };
    for (id, pool) in edge.pools.iter().enumerate() {
        let ports = pool.ports.iter().map(|ports| format!("{}:{}+{}", ports.address, ports.first, ports.count));
        let ports: Vec<_> = ports.collect();
        let flags = [(pool.preallocated, ", preallocated"), (pool.echoes, ", echoes")];
        let flags: String = flags.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        let idle = format!("idle {} s, reset {:?}", pool.tcp_idle_secs, pool.idle_reset);
        writeln!(text, "pool {id}: {}; {idle}{flags}", ports.join(" ")).unwrap();
    }
    for (nic, egress) in (0..).map(NicId).zip(&edge.egress) {
        let id = |pool: Option<PoolId>| pool.map_or("-".to_owned(), |pool| pool.0.to_string());
        let gateway = egress.nat_gateway.map(|pool| format!("NAT gateway {}", pool.0));
        let own = egress.instances.iter().map(|(private, public)| format!("{private} as {public}"));
        let balanced = egress.balanced.iter();
        let balanced = balanced.map(|one| format!("{} by tcp {} udp {}", one.private, id(one.tcp), id(one.udp)));
        let shared = egress.default_outbound.map(|pool| format!("shared {}", pool.0));
        let cloud = egress.cloud.map(|cloud| format!("managed {}", cloud.pool.0));
        let ways: Vec<_> = gateway.into_iter().chain(own).chain(balanced).chain(shared).chain(cloud).collect();
        if !ways.is_empty() {
            writeln!(text, "way out of {}: {}", sender_name(network, compiled.sender(nic)), ways.join(", ")).unwrap();
        }
    }
}

fn rule_line(network: &Network, rule: &EffectiveRule) -> String {
    let EffectiveRule { rule, matches } = rule;
    let protocol = match matches.protocol {
        ProtocolMatch::Any => "*".to_owned(),
        ProtocolMatch::Icmp => "icmp".to_owned(),
        ProtocolMatch::Only(protocol) => protocol.0.to_string(),
    };
    let ports = |ranges: &[std::ops::RangeInclusive<u16>]| {
        let ranges: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
        ranges.join(",").replace("0-65535", "*")
    };
    format!(
        "  {} {:<5} {} {} {protocol} {}:{} > {}:{}",
        rule.priority,
        format!("{:?}", rule.action),
        match rule.owner {
            RuleOwner::Nsg(nsg) => network.network_security_groups[nsg.0].name.as_str(),
            RuleOwner::Collection(at) => network.network_managers[at.manager].name.as_str(),
            RuleOwner::Firewall { cloud, .. } => network.cloud(cloud).name.as_str(),
        },
        rule.name,
        set(&matches.src),
        ports(&matches.src_ports),
        set(&matches.dst),
        ports(&matches.dst_ports)
    )
}

fn set(prefixes: &[IpNet]) -> String {
    let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    format!("[{}]", prefixes.join(" ").replace("0.0.0.0/0 ::/0", "*"))
}

fn hop_name(network: &Network, compiled: &Compiled, fib: &Fib, hop: NextHop) -> String {
    match hop {
        NextHop::Vnet(vnet) => format!("VNet {}", network.virtual_networks[vnet.0 as usize].name),
        NextHop::Nic(nic) => sender_name(network, compiled.sender(nic)),
        NextHop::Spread(spread) => {
            let members = fib.spread(spread).members();
            let members: Vec<_> = members.iter().map(|member| hop_name(network, compiled, fib, *member)).collect();
            format!("one of {}", members.join(", "))
        }
        NextHop::Frontend(frontend) => format!("a backend of frontend {}", frontend.0),
        NextHop::Unreachable
        | NextHop::Gateway(_)
        | NextHop::Tunnel(_)
        | NextHop::NoGateway
        | NextHop::Internet
        | NextHop::Service
        | NextHop::None => {
            format!("{hop:?}")
        }
    }
}

fn sender_name(network: &Network, sender: Sender) -> String {
    match sender {
        Sender::Nic(NicIx(nic)) => {
            let nic = &network.network_interfaces[nic];
            format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
        }
        Sender::Subnet(subnet) => format!("any machine in {}", subnet_name(network, subnet)),
        Sender::Internet => Internet::NAME.to_owned(),
        Sender::Gateway(gateway) => network.gateway(gateway).name.clone(),
        Sender::Tunnel(tunnel) => network.connection(tunnel).name.clone(),
        Sender::Platform(vnet) => format!("the platform in {}", network.vnet(vnet).name),
        Sender::Edge(circuit) => network.circuit(circuit).name.clone(),
        Sender::CircuitLink(circuit, side) => network.circuit_link_name(circuit, side),
        Sender::RouteServer(server) => network.route_server(server).name.clone(),
        Sender::CloudRouter(cloud, tier) => network.cloud(cloud).router_name(tier).to_owned(),
        Sender::Segment(cloud, segment) => network.segment(cloud, segment).node.clone(),
    }
}

fn subnet_name(network: &Network, subnet: SubnetIx) -> String {
    format!("{}/{}", network.vnet(subnet.vnet).name, network.subnet(subnet).name)
}
