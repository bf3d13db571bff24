//! Load balancers as they were written.

use std::net::IpAddr;

use super::decode::{Fields, boolean, list_of, number, record, text, word};
use super::diagnostic::{At, Report, Spanned};
use super::document::{Allocation, IpVersion, Name, Reference, SubnetReference, allocation, flag, ip_version};
use super::public_address::sku;
use super::tree::Node;
use super::values::{address, reference, resource_name};
use crate::model::{Distribution, PublicIpSku};

/// `load balancer/what it has`.
pub(super) type PartReference = Spanned<[String; 2]>;

pub(super) struct LoadBalancer {
    pub at: At,
    pub name: Name,
    pub sku: Option<Spanned<PublicIpSku>>,
    pub frontends: Vec<Frontend>,
    pub pools: Vec<BackendPool>,
    pub probes: Vec<HealthProbe>,
    pub rules: Vec<Rule>,
}

pub(super) struct Frontend {
    pub at: At,
    pub name: Name,
    pub subnet: SubnetReference,
    pub address: Option<Spanned<IpAddr>>,
    pub version: Option<Spanned<IpVersion>>,
    pub allocation: Option<Spanned<Allocation>>,
}

pub(super) struct BackendPool {
    pub name: Name,
}

pub(super) struct HealthProbe {
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
pub(super) enum ProbeWord {
    Tcp,
    Http,
    Https,
}

pub(super) struct Rule {
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
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Balanced {
    Tcp,
    Udp,
    All,
}

pub(super) fn load_balancer(node: &Node, report: &mut Report) -> Option<LoadBalancer> {
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
        }
    })
}

/// The pools that an IP configuration is in.
pub(super) fn pools(f: &mut Fields<'_>) -> Vec<PartReference> {
    let pools = reference(["loadBalancers", "backendAddressPools"]);
    f.optional("loadBalancerBackendAddressPools", list_of(pools)).map_or_else(Vec::new, |list| list.value)
}

fn frontend(node: &Node, report: &mut Report) -> Option<Frontend> {
    record(node, report, "a frontend", |f| Frontend {
        at: f.at,
        name: f.required("name", resource_name(80)),
        subnet: f.required("subnet", reference(["virtualNetworks", "subnets"])),
        address: f.optional("privateIPAddress", address),
        version: f.optional("privateIPAddressVersion", ip_version),
        allocation: f.optional("privateIPAllocationMethod", allocation),
    })
}

/// Who is in it is said at the interfaces.
fn backend_pool(node: &Node, report: &mut Report) -> Option<BackendPool> {
    record(node, report, "a backend pool", |f| BackendPool { name: f.required("name", resource_name(80)) })
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
    let protocol = word(&[("Tcp", Balanced::Tcp), ("Udp", Balanced::Udp), ("All", Balanced::All)]);
    let distribution = word(&[
        ("Default", Distribution::Default),
        ("SourceIP", Distribution::SourceIp),
        ("SourceIPProtocol", Distribution::SourceIpProtocol),
    ]);
    record(node, report, "a load balancing rule", |f| {
        // Nobody leaves through an internal load balancer (LB-44).
        f.optional("disableOutboundSnat", boolean);
        Rule {
            at: f.at,
            name: f.required("name", resource_name(80)),
            frontend: f.required("frontendIPConfiguration", reference(["frontendIPConfigurations"])),
            pool: f.required("backendAddressPool", reference(["backendAddressPools"])),
            probe: f.optional("probe", reference(["probes"])),
            protocol: f.required("protocol", protocol),
            frontend_port: f.required("frontendPort", number(0..=65_534)),
            backend_port: f.required("backendPort", number(0..=65_535)),
            floating: flag(f, "enableFloatingIP", false),
            distribution: f.optional("loadDistribution", distribution).map(|word| word.value).unwrap_or_default(),
            idle_minutes: f.optional("idleTimeoutInMinutes", number(4..=30)),
        }
    })
}
