//! `vnet flow-verify`: whether an interface's rules let a packet pass, with Network Watcher's fields.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::analysis::{self, FlowAccess, FlowProtocol, FlowVerifyAnswer, FlowVerifyQuery, QueryEnd};
use crate::daemon::api::protocol::{Request, Response};
use crate::model::Direction;

use super::ask::unexpected;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, stopped, topology};

/// Ask an interface's security rules about a packet, and which of them decides
///
/// In json, the fields of `az network watcher test-ip-flow`. Its NSG, its subnet's and admin rules are asked, and nothing
/// else: neither routes nor the far end, so what is allowed need not arrive (`explain` asks all). Without any rule it
/// is allowed, and no rule is named. Denied is exit code 1.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet flow-verify db --direction inbound --protocol tcp --local 5432 \
    --remote web:50000\n  vnet flow-verify web --direction outbound --protocol udp --local 10.40.1.4:50000 \
    --remote 8.8.8.8:53 -t config/nsg-tiers.yaml")]
pub(super) struct FlowVerify {
    /// NODE or NODE/NIC; VNET/SUBNET behind a VNet's one TUN
    #[arg(value_name = "NODE")]
    target: String,
    /// Which way the packet goes, seen from the interface
    #[arg(long, value_enum, ignore_case = true)]
    direction: PacketDirection,
    /// TCP or UDP
    #[arg(long, value_parser = protocol)]
    protocol: FlowProtocol,
    /// The interface's end; its first address if none is given
    #[arg(long, value_parser = local, value_name = "[ADDRESS:]PORT")]
    local: Local,
    /// The far end; of a node, its first address
    #[arg(long, value_parser = analysis::parse_end, value_name = "ADDRESS:PORT")]
    remote: (QueryEnd, u16),
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PacketDirection {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, Debug)]
struct Local {
    address: Option<IpAddr>,
    port: u16,
}

fn protocol(text: &str) -> Result<FlowProtocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(FlowProtocol::Tcp),
        "udp" => Ok(FlowProtocol::Udp),
        "icmp" => {
            Err("expected tcp or udp: IP flow verify knows no others, `vnet explain` asks with a ping".to_owned())
        }
        _ => Err("expected tcp or udp".to_owned()),
    }
}

fn local(text: &str) -> Result<Local, String> {
    if !text.contains(':') {
        return Ok(Local { address: None, port: analysis::parse_port(text)? });
    }
    match analysis::parse_end(text)? {
        (QueryEnd::Address(address), port) => Ok(Local { address: Some(address), port }),
        (QueryEnd::Node { .. }, _) => Err("expected one of the interface's addresses, or a port alone".to_owned()),
    }
}

impl FlowVerify {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let answer = self.ask(context)?;
        context.output.rows(&answer, &table(&answer))?;
        Ok(match answer.access {
            FlowAccess::Allow => Exit::Fine,
            FlowAccess::Deny => Exit::No,
        })
    }

    fn ask(self, context: &Context) -> Result<FlowVerifyAnswer, Failure> {
        let Self { target, direction, protocol, local, remote: (remote, remote_port), topology } = self;
        let direction = match direction {
            PacketDirection::Inbound => Direction::Inbound,
            PacketDirection::Outbound => Direction::Outbound,
        };
        let (local_address, local_port) = (local.address, local.port);
        let query = FlowVerifyQuery { target, direction, protocol, local_address, local_port, remote, remote_port };
        let Some(file) = topology else {
            return match context.ask(&Request::FlowVerify(query.clone()))? {
                Response::FlowVerify(answer) => stopped::note(&query.target, None, context).map(|()| answer),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(&file, context)?;
        let answer = analysis::flow_verify(&network, &compiled, &query).map_err(Failure::usage)?;
        stopped::note(&query.target, Some(&network), context).map(|()| answer)
    }
}

fn table(answer: &FlowVerifyAnswer) -> Table {
    let access = match answer.access {
        FlowAccess::Allow => "Allow",
        FlowAccess::Deny => "Deny",
    };
    let rule = answer.rule_name.clone().unwrap_or_default();
    Table::new(&["Access", "Rule Name"]).rows([[access.to_owned(), rule]])
}
