//! `vnet peering`: links as they stand, brought up to date, removed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::analysis::{self, PeeringRow};
use crate::daemon::api::protocol::{Change, Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, apply, topology};

/// Show peerings, bring them up to date, remove a link
///
/// A peering is two links, one in each VNet. A link is named VNET/LINK, or by its name alone where only one has it.
#[derive(Debug, Args)]
pub(super) struct Peering {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the links: state, sync level, flags
    ///
    /// In json the fields of `az network vnet peering list`.
    #[command(after_long_help = "Examples:\n  vnet peering ls\n  vnet peering ls hub -o json\n  \
        vnet peering ls -t config/hub-spoke.yaml")]
    Ls {
        /// Only the links of this VNet
        vnet: Option<String>,
        /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
        #[arg(short, long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
    /// Let LINK see the ranges that its remote VNet has now; every link, without LINK
    ///
    /// It puts the link again, with `syncRemoteAddressSpace`. The other side's link has a view of its own and is synced by
    /// itself. It is also the re-PUT of a link that is Disconnected: that becomes Initiated, and its other side can be made
    /// again. Without LINK, a link that is Disconnected stays so, and a warning names it with the way out.
    ///
    /// Exit code 0, or 3 if the other side's link is left to sync, or a link is Disconnected.
    #[command(after_long_help = "Examples:\n  vnet peering sync\n  vnet peering sync hub/hub-spoke1")]
    Sync { link: Option<String> },
    /// Remove a link; the other side's becomes Disconnected
    ///
    /// Traffic between the two stops at once. To have the peering again, remove the other side's link too and apply a file
    /// that has both; or sync the other side's link first.
    #[command(after_long_help = "Example:\n  vnet peering rm hub/hub-spoke1")]
    Rm { link: String },
}

impl Peering {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Ls { vnet, topology } => {
                let mut rows = rows(context, topology)?;
                if let Some(vnet) = vnet {
                    rows.retain(|row| row.virtual_network.id.eq_ignore_ascii_case(&vnet));
                }
                context.output.rows(&rows, &table(&rows))
            }
            Verb::Sync { link } => apply::changed(context, Change::SyncPeering { link }),
            Verb::Rm { link } => apply::changed(context, Change::RemovePeering { link }),
        }
    }
}

fn rows(context: &Context, topology: Option<PathBuf>) -> Result<Vec<PeeringRow>, Failure> {
    if let Some(file) = topology {
        let input = topology::read(&file, context)?;
        return Ok(analysis::peerings(&topology::parse(&input, context)?));
    }
    match context.ask(&Request::Peerings)? {
        Response::Peerings(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

fn table(rows: &[PeeringRow]) -> Table {
    const COLUMNS: &[&str] = &[
        "VirtualNetwork",
        "Name",
        "PeeringState",
        "PeeringSyncLevel",
        "RemoteVirtualNetwork",
        "AllowVirtualNetworkAccess",
        "AllowForwardedTraffic",
        "AllowGatewayTransit",
        "UseRemoteGateways",
        "PeerCompleteVnets",
        "ProvisioningState",
    ];
    Table::new(COLUMNS).rows(rows.iter().map(|row| {
        let flags = [
            row.allow_virtual_network_access,
            row.allow_forwarded_traffic,
            row.allow_gateway_transit,
            row.use_remote_gateways,
            row.peer_complete_vnets,
        ];
        let [access, forwarded, transit, remote, complete] =
            flags.map(|flag| if flag { "True" } else { "False" }.to_owned());
        [
            row.virtual_network.id.clone(),
            row.name.clone(),
            format!("{:?}", row.peering_state),
            format!("{:?}", row.peering_sync_level),
            row.remote_virtual_network.id.clone(),
            access,
            forwarded,
            transit,
            remote,
            complete,
            row.provisioning_state.clone(),
        ]
    }))
}
