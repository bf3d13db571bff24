//! Public addresses, NAT gateways, the Internet and load balancers as objects that a plan can compare.

use std::iter;

use crate::analysis::query::names::{nic_name, subnet_name};
use crate::model::{
    AdminState, Backend, BalancedPorts, Frontend, FrontendSite, HealthProbe, InboundNatRule, Internet, LoadBalancer,
    LoadBalancingRule, NatGateway, NatTarget, Network, OutboundRule, ProbeProtocol,
};

use super::objects::{Object, list, or_none};

pub(super) fn of(network: &Network) -> Vec<Object> {
    let public = network.public_ip_addresses.iter().map(|public| Object {
        kind: "publicIPAddresses",
        name: public.name.clone(),
        properties: vec![("ipAddress", public.address.to_string()), ("sku", format!("{:?}", public.sku))],
    });
    let prefixes = network.public_ip_prefixes.iter().map(|prefix| Object {
        kind: "publicIPPrefixes",
        name: prefix.name.clone(),
        properties: vec![("ipPrefix", prefix.prefix.to_string())],
    });
    let gateways = network.nat_gateways.iter().map(|gateway| nat_gateway(network, gateway));
    let balancers = network.load_balancers.iter().flat_map(|balancer| load_balancer(network, balancer));
    let internet = network.internet.iter().map(|internet| Object {
        kind: Internet::NAME,
        name: Internet::NAME.to_owned(),
        properties: vec![
            ("addresses", list(&internet.addresses)),
            ("run", internet.run.to_string()),
            ("egress", if internet.host_egress { "host" } else { "none" }.to_owned()),
        ],
    });
    public.chain(prefixes).chain(gateways).chain(balancers).chain(internet).collect()
}

fn nat_gateway(network: &Network, gateway: &NatGateway) -> Object {
    let addresses = gateway.addresses.iter().map(|address| &network.public_ip(*address).name).collect::<Vec<_>>();
    let prefixes = gateway.prefixes.iter().map(|prefix| &network.public_ip_prefixes[prefix.0].name).collect::<Vec<_>>();
    let properties = vec![
        ("publicIpAddresses", list(&addresses)),
        ("publicIpPrefixes", list(&prefixes)),
        ("idleTimeoutInMinutes", (gateway.idle_timeout.as_secs() / 60).to_string()),
    ];
    Object { kind: "natGateways", name: gateway.name.clone(), properties }
}

fn load_balancer(network: &Network, balancer: &LoadBalancer) -> Vec<Object> {
    let part = |kind, name: &str, properties| Object { kind, name: format!("{}/{name}", balancer.name), properties };
    let frontends = balancer.frontends.iter().map(|frontend| {
        let Frontend { name, site, address } = frontend;
        let properties = match site {
            FrontendSite::Private(subnet) => {
                vec![("subnet", subnet_name(network, *subnet)), ("privateIPAddress", address.to_string())]
            }
            FrontendSite::Public(public) => vec![("publicIPAddress", network.public_ip(*public).name.clone())],
        };
        part("frontendIPConfigurations", name, properties)
    });
    let pools = balancer.pools.iter().map(|pool| {
        let members = pool.members.iter().map(|backend| member(network, backend)).collect::<Vec<_>>();
        part("backendAddressPools", &pool.name, vec![("members", list(&members))])
    });
    let probes = balancer.probes.iter().map(|probe| part("probes", &probe.name, health_probe(probe)));
    let rules = balancer.rules.iter().map(|rule| part("loadBalancingRules", &rule.name, self::rule(balancer, rule)));
    let nat_rules =
        balancer.nat_rules.iter().map(|rule| part("inboundNatRules", &rule.name, nat_rule(network, balancer, rule)));
    let outbound_rules =
        balancer.outbound_rules.iter().map(|rule| part("outboundRules", &rule.name, outbound_rule(balancer, rule)));
    let own = Object { kind: "loadBalancers", name: balancer.name.clone(), properties: Vec::new() };
    iter::once(own)
        .chain(frontends)
        .chain(pools)
        .chain(probes)
        .chain(rules)
        .chain(nat_rules)
        .chain(outbound_rules)
        .collect()
}

fn member(network: &Network, Backend { nic, address, admin }: &Backend) -> String {
    let admin = match admin {
        AdminState::None => "",
        AdminState::Up => " Up",
        AdminState::Down => " Down",
    };
    format!("{} {address}{admin}", nic_name(network, *nic))
}

fn nat_rule(network: &Network, balancer: &LoadBalancer, rule: &InboundNatRule) -> Vec<(&'static str, String)> {
    let target = |target: &NatTarget| format!("{} to {}", target.frontend_port, member(network, &target.backend));
    let targets = rule.targets.iter().map(target).collect::<Vec<_>>();
    vec![
        ("frontendIPConfiguration", balancer.frontends[rule.frontend].name.clone()),
        ("protocol", format!("{:?}", rule.protocol)),
        ("targets", list(&targets)),
        ("backendPort", rule.backend_port.to_string()),
        ("enableFloatingIP", rule.floating.to_string()),
        ("idleTimeoutInMinutes", (rule.idle_timeout.as_secs() / 60).to_string()),
        ("enableTcpReset", rule.resets.to_string()),
    ]
}

fn outbound_rule(balancer: &LoadBalancer, rule: &OutboundRule) -> Vec<(&'static str, String)> {
    let frontends = rule.frontends.iter().map(|frontend| &balancer.frontends[*frontend].name).collect::<Vec<_>>();
    vec![
        ("frontendIPConfigurations", list(&frontends)),
        ("backendAddressPool", balancer.pools[rule.pool].name.clone()),
        ("protocol", rule.protocol.map_or_else(|| "All".to_owned(), |protocol| format!("{protocol:?}"))),
        ("allocatedOutboundPorts", rule.ports.map_or_else(|| "none".to_owned(), |ports| ports.to_string())),
        ("idleTimeoutInMinutes", (rule.idle_timeout.as_secs() / 60).to_string()),
        ("enableTcpReset", rule.resets.to_string()),
    ]
}

fn health_probe(probe: &HealthProbe) -> Vec<(&'static str, String)> {
    let protocol = match &probe.protocol {
        ProbeProtocol::Tcp => "Tcp".to_owned(),
        ProbeProtocol::Http(path) => format!("Http {path}"),
        ProbeProtocol::Https(path) => format!("Https {path}"),
    };
    vec![
        ("protocol", protocol),
        ("port", probe.port.to_string()),
        ("intervalInSeconds", probe.interval.as_secs().to_string()),
        ("probeThreshold", probe.threshold.to_string()),
    ]
}

fn rule(balancer: &LoadBalancer, rule: &LoadBalancingRule) -> Vec<(&'static str, String)> {
    let ports = match rule.ports {
        BalancedPorts::Tcp { frontend, backend } => format!("Tcp {frontend} to {backend}"),
        BalancedPorts::Udp { frontend, backend } => format!("Udp {frontend} to {backend}"),
        BalancedPorts::All => "All".to_owned(),
    };
    vec![
        ("frontendIPConfiguration", balancer.frontends[rule.frontend].name.clone()),
        ("backendAddressPool", balancer.pools[rule.pool].name.clone()),
        ("probe", or_none(rule.probe.map(|probe| &balancer.probes[probe].name))),
        ("ports", ports),
        ("loadDistribution", format!("{:?}", rule.distribution)),
        ("enableFloatingIP", rule.floating.to_string()),
        ("idleTimeoutInMinutes", (rule.idle_timeout.as_secs() / 60).to_string()),
        ("enableTcpReset", rule.resets.to_string()),
        ("disableOutboundSnat", (!rule.outbound).to_string()),
    ]
}
