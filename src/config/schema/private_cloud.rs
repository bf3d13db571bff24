//! The schema of Azure VMware Solution's private clouds.

use crate::model::{CloudInternet, Program};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::yaml::decode::{list_of, record, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{address, dns_label, prefix, resource_name};

use super::Name;
use super::distributed_firewall::{Policy, policy};
use super::express_route::{Authorization, GlobalReach, authorization, cloud_reach};
use super::program::program;
use super::public_address::ignore;

pub(in crate::config) struct PrivateCloud {
    pub at: At,
    pub name: Name,
    pub block: Option<Spanned<IpNet>>,
    pub segments: Vec<Segment>,
    pub firewall: Vec<Policy>,
    pub internet: CloudInternet,
    pub authorizations: Vec<Authorization>,
    pub reach: Vec<GlobalReach>,
    pub run: Program,
}

pub(in crate::config) struct Segment {
    pub name: Name,
    pub prefix: Option<Spanned<IpNet>>,
    /// The name of its Tier-1 router.
    pub gateway: Name,
    pub addresses: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    pub machines: Vec<Machine>,
    pub run: Program,
}

/// A machine of a segment, which is a node of its own.
pub(in crate::config) struct Machine {
    pub name: Name,
    pub address: Option<Spanned<IpAddr>>,
    pub run: Program,
}

pub(in crate::config) fn private_cloud(node: &Node, report: &mut Report) -> Option<PrivateCloud> {
    record(node, report, "a private cloud", |f| {
        ignore(f, &["sku", "managementCluster", "availability", "endpoints", "circuit", "managementNetwork"]);
        PrivateCloud {
            at: f.at,
            name: f.required("name", dns_label(32)),
            block: f.required("networkBlock", prefix),
            segments: f.list("segments", segment),
            firewall: f.list("distributedFirewall", policy),
            internet: f.optional("internet", internet).map_or_else(CloudInternet::default, |state| state.value),
            authorizations: f.list("authorizations", authorization),
            reach: f.list("globalReachConnections", cloud_reach),
            run: program(f),
        }
    })
}

fn internet(node: &Node, report: &mut Report) -> Option<CloudInternet> {
    word(&[("Enabled", CloudInternet::Enabled), ("Disabled", CloudInternet::Disabled)])(node, report)
}

fn segment(node: &Node, report: &mut Report) -> Option<Segment> {
    record(node, report, "a segment", |f| {
        let segment = Segment {
            name: f.required("name", resource_name(80)),
            prefix: f.required("addressPrefix", prefix),
            gateway: f.optional("connectedGateway", dns_label(63)),
            addresses: f.optional("addresses", list_of(address)),
            machines: f.list("virtualMachines", machine),
            run: program(f),
        };
        if !segment.machines.is_empty()
            && let Some(key) = ["addresses", "run", "sandbox"].into_iter().find(|key| f.has(key))
        {
            let message = format!("`{key}` stands beside `virtualMachines`, which have their own");
            f.report.error(f.key(key), message).rule("AVS-12").help("move it into one of the machines");
        }
        if f.is_null("connectedGateway") {
            let message = "a segment without a router is not connected to anything, and there is none such here";
            f.report
                .error(f.key("connectedGateway"), message)
                .rule("AVS-12")
                .expected("a Tier-1 router's name, or no `connectedGateway`: the segment is then at the cloud's own");
        }
        segment
    })
}

fn machine(node: &Node, report: &mut Report) -> Option<Machine> {
    record(node, report, "a machine of a segment", |f| Machine {
        name: f.required("name", dns_label(32)),
        address: f.required("address", address),
        run: program(f),
    })
}
