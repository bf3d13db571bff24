//! `vnet circuit`: ExpressRoute circuits as they stand, and what happens when a link breaks.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::analysis::{self, CircuitRow, ConnectionRow, LinkRow, PrivateCloudRow};
use crate::daemon::api::protocol::{Change, Request, Response};
use crate::model::Side;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, outage, topology};

/// Show ExpressRoute circuits, let a link break
#[derive(Debug, Args)]
pub(super) struct Circuit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the circuits: their provider's word, links, connections, authorizations and Global Reach
    #[command(after_long_help = "Examples:\n  vnet circuit ls\n  vnet circuit ls -o json\n  \
        vnet circuit ls -t config/private-cloud-full.yaml")]
    Ls {
        /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
        #[arg(short, long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
    /// Break a link of a circuit for a while, or both
    ///
    /// Its BGP session ends, and the customer's kernel sees no carrier. With one link down the
    /// connection stays up; with both down the circuit's routes are withdrawn.
    #[command(after_long_help = "Examples:\n  vnet circuit fail er-london primary\n  \
        vnet circuit fail er-london --seconds 5\n  vnet circuit fail er-london --seconds 0   # mends both")]
    Fail {
        circuit: String,
        /// Both without
        link: Option<Link>,
        /// How long, in whole seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Link {
    Primary,
    Secondary,
}

impl From<Link> for Side {
    fn from(link: Link) -> Self {
        match link {
            Link::Primary => Self::Primary,
            Link::Secondary => Self::Secondary,
        }
    }
}

impl Circuit {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Ls { topology } => {
                let rows = rows(context, topology)?;
                context.output.rows(&rows, &table(&rows))
            }
            Verb::Fail { circuit, link, seconds } => {
                outage::happen(context, Change::FailCircuit { circuit, side: link.map(Side::from), seconds })
            }
        }
    }
}

fn rows(context: &Context, topology: Option<PathBuf>) -> Result<Vec<CircuitRow>, Failure> {
    if let Some(file) = topology {
        let (network, compiled) = topology::compiled(&file, context)?;
        return Ok(analysis::circuits(&network, &compiled));
    }
    match context.ask(&Request::Circuits)? {
        Response::Circuits(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

/// Where a cloud's managers answer, and to whom.
fn cloud(cloud: &PrivateCloudRow) -> String {
    let (at, credentials) = (&cloud.endpoints, &cloud.admin_credentials);
    let users = [&credentials.vcenter_username, &credentials.nsxt_username];
    format!("vCenter {} {}, NSX-T Manager {} {} (made up)", at.vcsa, users[0], at.nsxt_manager, users[1])
}

fn table(rows: &[CircuitRow]) -> Table {
    const COLUMNS: &[&str] = &[
        "Name",
        "ProvisioningState",
        "PeeringState",
        "Primary",
        "Secondary",
        "Connections",
        "Authorizations",
        "GlobalReach",
        "PrivateCloud",
    ];
    let connection = |one: &ConnectionRow| match &one.reason {
        None => format!("{} {}", one.name, one.connection_status),
        Some(reason) => format!("{} {}: {reason}", one.name, one.connection_status),
    };
    let link = |link: Option<&LinkRow>| {
        link.map_or_else(String::new, |link| match &link.reason {
            None => "up".to_owned(),
            Some(reason) => format!("down: {reason}"),
        })
    };
    Table::new(COLUMNS).rows(rows.iter().map(|row| {
        let authorizations = row.authorizations.iter();
        let authorizations = authorizations.map(|one| format!("{} {}", one.name, one.authorization_use_status));
        let reach = row.connections.iter();
        let reach = reach.map(|one| {
            let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{} to {} {}{reason}", one.name, one.peer, one.circuit_connection_status)
        });
        [
            row.name.clone(),
            row.service_provider_provisioning_state.clone(),
            row.state.clone(),
            link(row.links.first()),
            link(row.links.get(1)),
            row.virtual_network_connections.iter().map(connection).collect::<Vec<_>>().join(", "),
            authorizations.collect::<Vec<_>>().join(", "),
            reach.collect::<Vec<_>>().join(", "),
            row.private_cloud.as_ref().map_or_else(String::new, cloud),
        ]
    }))
}
