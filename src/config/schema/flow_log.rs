//! `flowLogs:` as it was written: a network watcher's flow logs, with ARM's properties (DIAG-07, DIAG-08).

use std::path::PathBuf;

use crate::config::yaml::decode::{boolean, number, record, text, word};
use crate::config::yaml::diagnostic::{At, Report, Spanned, clip};
use crate::config::yaml::tree::Node;
use crate::config::yaml::values::{parts_of_id, resource_name};

use super::{Name, flag, path};

pub(in crate::config) struct FlowLog {
    pub at: At,
    pub name: Name,
    pub target: Option<Spanned<Target>>,
    pub enabled: bool,
    pub storage_path: Option<PathBuf>,
    /// None for ever.
    pub retention_days: Option<u16>,
    pub version: Option<Spanned<u8>>,
}

/// What is named by `targetResourceId`.
#[derive(Clone)]
pub(in crate::config) enum Target {
    Nsg(String),
    Vnet(String),
    Subnet([String; 2]),
    /// An interface, by its machine and its name, or by a name that no other machine's has.
    Nic(Option<String>, String),
}

pub(in crate::config) fn flow_log(node: &Node, report: &mut Report) -> Option<FlowLog> {
    record(node, report, "a flow log", |f| {
        // A lab has no storage accounts and no workspaces.
        f.optional("storageId", text);
        f.optional("flowAnalyticsConfiguration", |_, _| Some(()));
        FlowLog {
            at: f.at,
            name: f.required("name", resource_name(80)),
            target: f.required("targetResourceId", target),
            enabled: flag(f, "enabled", true),
            storage_path: f.optional("storagePath", path).map(|path| path.value),
            retention_days: f.optional("retentionPolicy", retention).and_then(|policy| policy.value.days()),
            version: f.optional("format", format).and_then(|format| format.value.version),
        }
    })
}

struct RetentionPolicy {
    days: u16,
    enabled: bool,
}

impl RetentionPolicy {
    /// None for ever, as 0 days are.
    fn days(&self) -> Option<u16> {
        Some(self.days).filter(|days| self.enabled && *days > 0)
    }
}

/// ARM's default is not to use it.
fn retention(node: &Node, report: &mut Report) -> Option<RetentionPolicy> {
    record(node, report, "a retention policy", |f| RetentionPolicy {
        days: f.optional("days", number(0..=365)).map_or(0, |days| days.value),
        enabled: f.optional("enabled", boolean).is_some_and(|enabled| enabled.value),
    })
}

struct Format {
    version: Option<Spanned<u8>>,
}

fn format(node: &Node, report: &mut Report) -> Option<Format> {
    record(node, report, "a flow log format", |f| {
        f.optional("type", word(&[("JSON", ())]));
        Format { version: f.optional("version", number(1..=2)) }
    })
}

/// An ARM id, or the end of one.
fn target(node: &Node, report: &mut Report) -> Option<Target> {
    let written = text(node, report)?;
    let subnet = parts_of_id(&written, ["virtualNetworks", "subnets"]).map(Target::Subnet);
    let nic = parts_of_id(&written, ["virtualMachines", "networkInterfaces"]);
    let found = subnet
        .or_else(|| nic.map(|[machine, nic]| Target::Nic(Some(machine), nic)))
        .or_else(|| parts_of_id(&written, ["virtualNetworks"]).map(|[vnet]| Target::Vnet(vnet)))
        .or_else(|| parts_of_id(&written, ["networkSecurityGroups"]).map(|[nsg]| Target::Nsg(nsg)))
        .or_else(|| parts_of_id(&written, ["networkInterfaces"]).map(|[nic]| Target::Nic(None, nic)));
    if found.is_none() {
        report.error(node.at, format!("`{}` names nothing that has flow logs", clip(&written))).expected(
            "an ARM id, or its end: networkSecurityGroups/NSG, virtualNetworks/VNET, virtualNetworks/VNET/subnets/SUBNET, \
             networkInterfaces/NIC or virtualMachines/MACHINE/networkInterfaces/NIC",
        );
    }
    found
}
