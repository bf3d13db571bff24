//! The schema of a VPN gateway's NAT rules, and of the lists that connections name them in.

use ipnet::IpNet;

use crate::config::yaml::decode::{Fields, list_of, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{port_range, prefix, reference, resource_name};
use crate::model::{NatMode, PortRange};

use super::{Name, Reference};

pub(in crate::config) struct NatRule {
    pub at: At,
    pub name: Name,
    pub kind: Option<Spanned<NatType>>,
    pub mode: Option<Spanned<NatMode>>,
    pub internal: Vec<Mapping>,
    pub external: Vec<Mapping>,
    /// An IP configuration of the gateway: its instance.
    pub configuration: Reference,
}

/// One of a rule's ranges.
pub(in crate::config) struct Mapping {
    pub range: Option<Spanned<IpNet>>,
    pub ports: Option<Spanned<PortRange>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum NatType {
    Static,
    Dynamic,
}

pub(in crate::config) fn nat_rule(node: &Node, report: &mut Report) -> Option<NatRule> {
    record(node, report, "a NAT rule", |f| NatRule {
        at: f.at,
        name: f.required("name", resource_name(80)),
        kind: f.optional("type", word(&[("Static", NatType::Static), ("Dynamic", NatType::Dynamic)])),
        mode: f.required("mode", word(&[("EgressSnat", NatMode::EgressSnat), ("IngressSnat", NatMode::IngressSnat)])),
        internal: f.list("internalMappings", mapping),
        external: f.list("externalMappings", mapping),
        configuration: f.optional("ipConfigurationId", reference(["ipConfigurations"])),
    })
}

fn mapping(node: &Node, report: &mut Report) -> Option<Mapping> {
    record(node, report, "a mapping", |f| Mapping {
        range: f.required("addressSpace", prefix),
        ports: f.optional("portRange", port_range),
    })
}

/// A connection's: by name, or by ARM id.
pub(in crate::config) fn nat_rules(f: &mut Fields<'_>, key: &'static str) -> Vec<Spanned<[String; 1]>> {
    let rules = f.optional(key, list_of(reference(["natRules"])));
    rules.map_or_else(Vec::new, |rules| rules.value)
}
