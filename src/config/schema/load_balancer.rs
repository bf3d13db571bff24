//! Load balancers as they were written.

use std::net::IpAddr;

use crate::config::yaml::decode::{Fields, list_of, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{address, reference, resource_name};
use crate::model::{AdminState, Distribution, PublicIpSku};

use super::public_address::sku;
use super::{Allocation, IpVersion, Name, Reference, SubnetReference, allocation, flag, ip_version};

/// `load balancer/what it has`.
pub(in crate::config) type PartReference = Spanned<[String; 2]>;

pub(in crate::config) struct LoadBalancer {
    pub at: At,
    pub name: Name,
    pub sku: Option<Spanned<PublicIpSku>>,
    pub frontends: Vec<Frontend>,
    pub pools: Vec<BackendPool>,
    pub probes: Vec<HealthProbe>,
    pub rules: Vec<Rule>,
    pub nat_rules: Vec<NatRule>,
    pub outbound_rules: Vec<OutboundRule>,
}

pub(in crate::config) struct Frontend {
    pub at: At,
    pub name: Name,
    /// Of an internal load balancer.
    pub subnet: SubnetReference,
    /// Of a public one.
    pub public: Option<Spanned<[String; 1]>>,
    pub address: Option<Spanned<IpAddr>>,
    pub version: Option<Spanned<IpVersion>>,
    pub allocation: Option<Spanned<Allocation>>,
}

pub(in crate::config) struct BackendPool {
    pub name: Name,
    pub addresses: Vec<BackendAddress>,
}

/// The settings of one member (LB-16).
pub(in crate::config) struct BackendAddress {
    pub address: Option<Spanned<IpAddr>>,
    pub admin: AdminState,
}

pub(in crate::config) struct HealthProbe {
    pub name: Name,
    pub protocol: Option<Spanned<ProbeWord>>,
    pub port: Option<Spanned<u16>>,
    pub path: Option<Spanned<String>>,
    pub interval_secs: Option<Spanned<u64>>,
    pub threshold: Option<Spanned<u32>>,
    /// `numberOfProbes`, the older of the two (LB-11).
    pub number: Option<Spanned<u32>>,
    /// `noHealthyBackendsBehavior: AllProbedUp` (LB-14).
    pub all_where_none: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ProbeWord {
    Tcp,
    Http,
    Https,
}

pub(in crate::config) struct Rule {
    pub at: At,
    pub name: Name,
    pub frontend: Reference,
    pub pool: Reference,
    pub probe: Reference,
    pub protocol: Option<Spanned<Balanced>>,
    pub frontend_port: Option<Spanned<u16>>,
    pub backend_port: Option<Spanned<u16>>,
    pub floating: bool,
    pub distribution: Distribution,
    pub idle_minutes: Option<Spanned<u64>>,
    pub resets: bool,
    pub no_outbound: bool,
}

/// From ports of a frontend to one port of backends (LB-08).
pub(in crate::config) struct NatRule {
    pub at: At,
    pub name: Name,
    pub frontend: Reference,
    pub protocol: Option<Spanned<Balanced>>,
    /// For one backend: its IP configuration names the rule.
    pub frontend_port: Option<Spanned<u16>>,
    /// For all of a pool: its ports, and which pool.
    pub range: Option<(Spanned<u16>, Spanned<u16>)>,
    pub pool: Reference,
    pub backend_port: Option<Spanned<u16>>,
    pub floating: bool,
    pub idle_minutes: Option<Spanned<u64>>,
    pub resets: bool,
}

/// Ports of frontends for what a pool begins (SNAT-05).
pub(in crate::config) struct OutboundRule {
    pub at: At,
    pub name: Name,
    pub frontends: Vec<Spanned<[String; 1]>>,
    pub pool: Reference,
    pub protocol: Option<Spanned<Balanced>>,
    pub ports: Option<Spanned<u16>>,
    pub idle_minutes: Option<Spanned<u64>>,
    pub resets: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::config) enum Balanced {
    Tcp,
    Udp,
    All,
}

pub(in crate::config) fn load_balancer(node: &Node, report: &mut Report) -> Option<LoadBalancer> {
    record(node, report, "a load balancer", |f| {
        f.optional("location", |_, _| Some(()));
        LoadBalancer {
            at: f.at,
            name: f.required("name", resource_name(80)),
            sku: f.optional("sku", sku),
            frontends: f.list("frontendIPConfigurations", frontend),
            pools: f.list("backendAddressPools", backend_pool),
            probes: f.list("probes", health_probe),
            rules: f.list("loadBalancingRules", rule),
            nat_rules: f.list("inboundNatRules", nat_rule),
            outbound_rules: f.list("outboundRules", outbound_rule),
        }
    })
}

/// The pools that an IP configuration is in.
pub(in crate::config) fn pools(f: &mut Fields<'_>) -> Vec<PartReference> {
    let pools = reference(["loadBalancers", "backendAddressPools"]);
    f.optional("loadBalancerBackendAddressPools", list_of(pools)).map_or_else(Vec::new, |list| list.value)
}

fn frontend(node: &Node, report: &mut Report) -> Option<Frontend> {
    record(node, report, "a frontend", |f| Frontend {
        at: f.at,
        name: f.required("name", resource_name(80)),
        subnet: f.optional("subnet", reference(["virtualNetworks", "subnets"])),
        public: f.optional("publicIPAddress", reference(["publicIPAddresses"])),
        address: f.optional("privateIPAddress", address),
        version: f.optional("privateIPAddressVersion", ip_version),
        allocation: f.optional("privateIPAllocationMethod", allocation),
    })
}

/// The inbound NAT rules that lead to an IP configuration.
pub(in crate::config) fn nat_rules(f: &mut Fields<'_>) -> Vec<PartReference> {
    let rules = reference(["loadBalancers", "inboundNatRules"]);
    f.optional("loadBalancerInboundNatRules", list_of(rules)).map_or_else(Vec::new, |list| list.value)
}

/// The interfaces name their pools.
fn backend_pool(node: &Node, report: &mut Report) -> Option<BackendPool> {
    record(node, report, "a backend pool", |f| BackendPool {
        name: f.required("name", resource_name(80)),
        addresses: f.list("loadBalancerBackendAddresses", backend_address),
    })
}

fn backend_address(node: &Node, report: &mut Report) -> Option<BackendAddress> {
    let state = word(&[("None", AdminState::None), ("Up", AdminState::Up), ("Down", AdminState::Down)]);
    record(node, report, "a backend address", |f| {
        f.optional("name", resource_name(80));
        BackendAddress {
            address: f.required("ipAddress", address),
            admin: f.optional("adminState", state).map(|word| word.value).unwrap_or_default(),
        }
    })
}

const PROTOCOLS: [(&str, Balanced); 3] = [("Tcp", Balanced::Tcp), ("Udp", Balanced::Udp), ("All", Balanced::All)];

fn nat_rule(node: &Node, report: &mut Report) -> Option<NatRule> {
    record(node, report, "an inbound NAT rule", |f| NatRule {
        at: f.at,
        name: f.required("name", resource_name(80)),
        frontend: f.required("frontendIPConfiguration", reference(["frontendIPConfigurations"])),
        protocol: f.required("protocol", word(&PROTOCOLS)),
        frontend_port: f.optional("frontendPort", number(1..=65_534)),
        range: f
            .optional("frontendPortRangeStart", number(1..=65_534))
            .zip(f.optional("frontendPortRangeEnd", number(1..=65_534))),
        pool: f.optional("backendAddressPool", reference(["backendAddressPools"])),
        backend_port: f.required("backendPort", number(1..=65_535)),
        floating: flag(f, "enableFloatingIP", false),
        idle_minutes: f.optional("idleTimeoutInMinutes", number(4..=30)),
        resets: flag(f, "enableTcpReset", false),
    })
}

fn outbound_rule(node: &Node, report: &mut Report) -> Option<OutboundRule> {
    record(node, report, "an outbound rule", |f| OutboundRule {
        at: f.at,
        name: f.required("name", resource_name(80)),
        frontends: f
            .required("frontendIPConfigurations", list_of(reference(["frontendIPConfigurations"])))
            .map_or_else(Vec::new, |list| list.value),
        pool: f.required("backendAddressPool", reference(["backendAddressPools"])),
        protocol: f.required("protocol", word(&PROTOCOLS)),
        ports: f.optional("allocatedOutboundPorts", number(0..=64_000)),
        idle_minutes: f.optional("idleTimeoutInMinutes", number(4..=100)),
        resets: flag(f, "enableTcpReset", false),
    })
}

fn health_probe(node: &Node, report: &mut Report) -> Option<HealthProbe> {
    let protocol = word(&[("Tcp", ProbeWord::Tcp), ("Http", ProbeWord::Http), ("Https", ProbeWord::Https)]);
    let behaviour = word(&[("AllProbedDown", false), ("AllProbedUp", true)]);
    record(node, report, "a probe", |f| HealthProbe {
        name: f.required("name", resource_name(80)),
        protocol: f.required("protocol", protocol),
        port: f.required("port", number(1..=65_535)),
        path: f.optional("requestPath", text),
        interval_secs: f.optional("intervalInSeconds", number(5..=u64::from(u32::MAX))),
        threshold: f.optional("probeThreshold", number(1..=u32::MAX)),
        number: f.optional("numberOfProbes", number(1..=u32::MAX)),
        all_where_none: f.optional("noHealthyBackendsBehavior", behaviour).is_some_and(|word| word.value),
    })
}

fn rule(node: &Node, report: &mut Report) -> Option<Rule> {
    let distribution = word(&[
        ("Default", Distribution::Default),
        ("SourceIP", Distribution::SourceIp),
        ("SourceIPProtocol", Distribution::SourceIpProtocol),
    ]);
    record(node, report, "a load balancing rule", |f| Rule {
        at: f.at,
        name: f.required("name", resource_name(80)),
        frontend: f.required("frontendIPConfiguration", reference(["frontendIPConfigurations"])),
        pool: f.required("backendAddressPool", reference(["backendAddressPools"])),
        probe: f.optional("probe", reference(["probes"])),
        protocol: f.required("protocol", word(&PROTOCOLS)),
        frontend_port: f.required("frontendPort", number(0..=65_534)),
        backend_port: f.required("backendPort", number(0..=65_535)),
        floating: flag(f, "enableFloatingIP", false),
        distribution: f.optional("loadDistribution", distribution).map(|word| word.value).unwrap_or_default(),
        idle_minutes: f.optional("idleTimeoutInMinutes", number(4..=30)),
        resets: flag(f, "enableTcpReset", false),
        no_outbound: flag(f, "disableOutboundSnat", false),
    })
}
