//! `vnet status`: one lab in detail.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use clap::Args;

use crate::analysis::{AdminCredentials, PrivateCloudRow};
use crate::daemon::api::protocol::{self, Request, Response};
use crate::model::{PowerState, counted};

use super::ask::unexpected;
use super::context::Context;
use super::ended::EndedProgram;
use super::table::Table;
use super::{Exit, Outcome};

/// Show a lab: its daemon, its programs, its nodes, their interfaces and addresses
///
/// A program of the file that ended with an error is shown with its last lines: exit code 3.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The lab; by default the one that runs
    name: Option<String>,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let status = match context.ask_lab(self.name.as_deref(), &Request::Status)? {
            Response::Status(status) => *status,
            other => return Err(unexpected(&other)),
        };
        let table = table(&status);
        context.output.text(&status, &table, || summary(&status) + &context.output.render(&table))?;
        status.alerts.iter().for_each(|alert| context.messages.warning(alert));
        let failed: Vec<_> = status.programs.into_iter().filter_map(EndedProgram::of).collect();
        for program in &failed {
            context.messages.warning(&program.to_string());
        }
        Ok(if status.alerts.is_empty() && failed.is_empty() { Exit::Fine } else { Exit::Warnings })
    }
}

fn summary(status: &protocol::Status) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Lab {} from {}", status.name, status.file);
    let _ = writeln!(
        text,
        "Daemon {}, up {}, workers {}, offload {}, generation {}, flow records {}\n",
        status.pid,
        duration(status.uptime_seconds),
        status.workers,
        status.offload,
        status.generation,
        status.flows
    );
    let carried = match (status.carried_flows, &status.not_carried) {
        (Some(flows), _) => format!(", the kernel carries {}, each direction by itself", counted(flows, "flow")),
        (None, Some(why)) => format!(", the kernel carries no flows: {why}"),
        (None, None) => String::new(),
    };
    let tuns = match status.tun_interfaces.as_slice() {
        [] => String::new(),
        some => format!(", tun of {}", some.join(", ")),
    };
    let _ = writeln!(text, "Devices {}{tuns}{carried}\n", status.device);
    for balancer in &status.load_balancers {
        let (name, backends, down) = (&balancer.name, balancer.backends, &balancer.down);
        let up = backends - down.len();
        let not = if down.is_empty() { String::new() } else { format!("; not {}", down.join(", ")) };
        let _ = writeln!(text, "Load balancer {name}, {up} of {} up{not}", counted(backends, "backend"));
    }
    for log in status.flow_logs.iter().filter(|log| log.enabled) {
        let (name, target, path) = (&log.name, &log.target, log.storage_path.display());
        let _ = writeln!(text, "Flow log {name} of {target}, {} below {path}", counted(log.records, "record"));
    }
    for program in &status.programs {
        let state = program.ended.as_ref().map_or_else(|| "runs".to_owned(), |status| format!("ended: {status}"));
        let _ = writeln!(text, "Program of {}, `{}`, {state}", program.node, program.command);
    }
    for cloud in &status.private_clouds {
        text += &private_cloud(cloud);
    }
    if !status.private_clouds.is_empty()
        || !status.flow_logs.is_empty()
        || !status.load_balancers.is_empty()
        || !status.programs.is_empty()
    {
        text.push('\n');
    }
    text
}

/// A cloud's networks, and what answers in each.
fn private_cloud(cloud: &PrivateCloudRow) -> String {
    let list = |hosts: &[Ipv4Addr]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let (at, credentials) = (&cloud.endpoints, &cloud.admin_credentials);
    let mut text = String::new();
    let _ = writeln!(text, "Private cloud {}, {}, internet {}", cloud.name, cloud.network_block, cloud.internet);
    let _ = writeln!(
        text,
        "  management   {}: vCenter {}, NSX-T Manager {}",
        cloud.management_network, at.vcsa, at.nsxt_manager
    );
    let _ = writeln!(text, "  provisioning {}: hosts {}", cloud.provisioning_network, list(&cloud.hosts));
    let _ = writeln!(text, "  vMotion      {}: hosts {}", cloud.vmotion_network, list(&cloud.vmotion_hosts));
    for segment in &cloud.segments {
        let (name, router, at) = (&segment.name, &segment.connected_gateway, segment.gateway_address);
        let _ = writeln!(
            text,
            "  segment      {}: {name}, node {}, router {router} {at}",
            segment.address_prefix, segment.node
        );
    }
    let AdminCredentials { vcenter_username, vcenter_password, nsxt_username, nsxt_password, made_up: _ } = credentials;
    let _ = writeln!(
        text,
        "  credentials, made up: vCenter {vcenter_username} {vcenter_password}, NSX-T Manager {nsxt_username} {nsxt_password}"
    );
    text
}

fn table(status: &protocol::Status) -> Table {
    const COLUMNS: [&str; 8] =
        ["Node", "Interface", "Device", "Subnet", "Addresses", "Public Addresses", "State", "Namespace"];
    let interfaces = status.nodes.iter().flat_map(|node| node.network_interfaces.iter().map(move |nic| (node, nic)));
    let words = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    Table::new(&COLUMNS).rows(interfaces.map(|(node, nic)| {
        let (addresses, public) = (words(&nic.addresses), words(&nic.public_addresses));
        let state = match node.power_state {
            PowerState::Stopped => "stopped",
            PowerState::Running if nic.alive => "up",
            PowerState::Running => "gone",
        };
        let (name, subnet, namespace) = (nic.name.clone(), nic.subnet.clone(), node.namespace.clone());
        [node.name.clone(), name, nic.device.clone(), subnet, addresses, public, state.to_owned(), namespace]
    }))
}

fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min"),
        (1..48, _) => format!("{hours} h {minutes} min"),
        _ => format!("{} days", hours / 24),
    }
}
