//! `vnet gateway`: tunnels as they stand, and what happens when an instance is away.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::analysis::{self, ConnectionRow};
use crate::daemon::api::protocol::{Change, Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, outage, topology};

/// Seconds, as Azure's documents have them (VPN-30).
const PLANNED: u64 = 12;
const UNPLANNED: u64 = 75;

/// Show connections of VPN gateways, let an instance fail over
#[derive(Debug, Args)]
pub(super) struct Gateway {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the connections: status, and why one is not connected
    ///
    /// A connection of an active-active gateway has a row for each instance.
    #[command(after_long_help = "Examples:\n  vnet gateway connections\n  vnet gateway connections hub-gw -o json\n  \
        vnet gateway connections -t config/site-to-site.yaml")]
    Connections {
        /// Only this gateway's
        gateway: Option<String>,
        /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
        #[arg(short, long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
    /// Take an instance of a gateway away for a while, as maintenance or a failure does
    ///
    /// An active-standby gateway loses all its tunnels meanwhile: 12 seconds if planned, 75 if not. An active-active
    /// one loses those of this instance, and traffic uses the others.
    #[command(after_long_help = "Examples:\n  vnet gateway failover hub-gw\n  \
        vnet gateway failover hub-gw --unplanned\n  vnet gateway failover hub-gw --instance 2 --seconds 3")]
    Failover {
        gateway: String,
        /// Without notice: it takes longer
        #[arg(long)]
        unplanned: bool,
        /// Of an active-active gateway: 1 or 2
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        instance: u8,
        /// How long instead, in whole seconds
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
}

impl Gateway {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Connections { gateway, topology } => {
                let mut rows = rows(context, topology)?;
                if let Some(gateway) = gateway {
                    rows.retain(|row| row.virtual_network_gateway.eq_ignore_ascii_case(&gateway));
                }
                context.output.rows(&rows, &table(&rows))
            }
            Verb::Failover { gateway, unplanned, instance, seconds } => {
                let seconds = seconds.unwrap_or(if unplanned { UNPLANNED } else { PLANNED });
                let change = Change::FailOver { gateway, instance: usize::from(instance) - 1, seconds };
                outage::happen(context, change)
            }
        }
    }
}

fn rows(context: &Context, topology: Option<PathBuf>) -> Result<Vec<ConnectionRow>, Failure> {
    if let Some(file) = topology {
        let (network, compiled) = topology::compiled(&file, context)?;
        return Ok(analysis::connections(&network, &compiled));
    }
    match context.ask(&Request::Connections)? {
        Response::Connections(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

fn table(rows: &[ConnectionRow]) -> Table {
    const COLUMNS: &[&str] =
        &["Name", "VirtualNetworkGateway", "Remote", "ConnectionType", "EnableBgp", "ConnectionStatus", "Reason"];
    Table::new(COLUMNS).rows(rows.iter().map(|row| {
        [
            row.name.clone(),
            row.virtual_network_gateway.clone(),
            row.remote.clone(),
            row.connection_type.clone(),
            if row.enable_bgp { "True" } else { "False" }.to_owned(),
            row.connection_status.to_string(),
            row.reason.clone().unwrap_or_default(),
        ]
    }))
}
