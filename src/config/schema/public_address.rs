//! Public addresses, NAT gateways and the Internet as they were written.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::yaml::decode::{Fields, list_of, number, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::{Node, Value};
use crate::config::yaml::values::{address, prefix, reference, resource_name};
use crate::model::{Program, PublicIpSku};

use super::program::program;
use super::{Allocation, IpVersion, Name, Reference, allocation, ip_version};

pub(in crate::config) struct PublicIpAddress {
    pub at: At,
    pub name: Name,
    pub address: Option<Spanned<IpAddr>>,
    pub version: Option<Spanned<IpVersion>>,
    pub allocation: Option<Spanned<Allocation>>,
    pub sku: Option<Spanned<PublicIpSku>>,
}

pub(in crate::config) struct PublicIpPrefix {
    pub name: Name,
    pub prefix: Option<Spanned<IpNet>>,
    pub length: Option<Spanned<u8>>,
}

pub(in crate::config) struct NatGateway {
    pub at: At,
    pub name: Name,
    pub addresses: Vec<Spanned<[String; 1]>>,
    pub prefixes: Vec<Spanned<[String; 1]>>,
    pub idle_minutes: Option<Spanned<u64>>,
}

pub(in crate::config) struct Internet {
    pub addresses: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub run: Program,
    pub host_egress: bool,
}

/// What stands in an IP configuration: a public address of the list, or one that is written there.
pub(in crate::config) enum InstanceAddress {
    Named([String; 1]),
    Inline(Box<PublicIpAddress>),
}

pub(in crate::config) fn public_ip_address(node: &Node, report: &mut Report) -> Option<PublicIpAddress> {
    record(node, report, "a public IP address", |f| {
        ignore(f, &["location", "idleTimeoutInMinutes", "dnsSettings", "ipConfiguration", "publicIPPrefix"]);
        PublicIpAddress {
            at: f.at,
            name: f.required("name", resource_name(80)),
            address: f.optional("ipAddress", address),
            version: f.optional("publicIPAddressVersion", ip_version),
            allocation: f.optional("publicIPAllocationMethod", allocation),
            sku: f.optional("sku", sku),
        }
    })
}

pub(in crate::config) fn public_ip_prefix(node: &Node, report: &mut Report) -> Option<PublicIpPrefix> {
    record(node, report, "a public IP prefix", |f| {
        ignore(f, &["location", "publicIPAddressVersion", "publicIPAddresses", "natGateway", "sku"]);
        PublicIpPrefix {
            name: f.required("name", resource_name(80)),
            prefix: f.required("ipPrefix", prefix),
            length: f.optional("prefixLength", number(0..=128)),
        }
    })
}

pub(in crate::config) fn nat_gateway(node: &Node, report: &mut Report) -> Option<NatGateway> {
    record(node, report, "a NAT gateway", |f| {
        ignore(f, &["location", "sku", "subnets"]);
        NatGateway {
            at: f.at,
            name: f.required("name", resource_name(80)),
            addresses: references(f, "publicIpAddresses", "publicIPAddresses"),
            prefixes: references(f, "publicIpPrefixes", "publicIPPrefixes"),
            idle_minutes: f.optional("idleTimeoutInMinutes", number(4..=120)),
        }
    })
}

pub(in crate::config) fn internet(node: &Node, report: &mut Report) -> Option<Internet> {
    record(node, report, "the Internet", |f| Internet {
        addresses: f.optional("addresses", list_of(address)),
        run: program(f),
        host_egress: f.optional("egress", word(&[("none", false), ("host", true)])).is_some_and(|egress| egress.value),
    })
}

/// A name, an ARM id, `{id: …}`, or the address itself with its name.
pub(in crate::config) fn instance_address(node: &Node, report: &mut Report) -> Option<InstanceAddress> {
    let is_inline = matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.value == "name"));
    if is_inline {
        return public_ip_address(node, report).map(|written| InstanceAddress::Inline(Box::new(written)));
    }
    reference(["publicIPAddresses"])(node, report).map(InstanceAddress::Named)
}

pub(in crate::config) fn nat_gateway_reference(f: &mut Fields<'_>) -> Reference {
    f.optional("natGateway", reference(["natGateways"]))
}

fn references(f: &mut Fields<'_>, key: &'static str, kind: &'static str) -> Vec<Spanned<[String; 1]>> {
    f.optional(key, list_of(reference([kind]))).map_or_else(Vec::new, |list| list.value)
}

/// `{name: Standard}`, or the word alone.
pub(in crate::config) fn sku(node: &Node, report: &mut Report) -> Option<PublicIpSku> {
    let name = word(&[("Basic", PublicIpSku::Basic), ("Standard", PublicIpSku::Standard)]);
    match &node.value {
        Value::Map(_) => record(node, report, "a SKU", |f| {
            ignore(f, &["tier"]);
            f.required("name", name)
        })?
        .map(|name| name.value),
        Value::Null | Value::Scalar { .. } | Value::List(_) => name(node, report),
    }
}

/// Properties of ARM's that say nothing about a packet's way.
pub(in crate::config) fn ignore(f: &mut Fields<'_>, keys: &[&'static str]) {
    for key in keys {
        f.optional(key, |_, _| Some(()));
    }
}
