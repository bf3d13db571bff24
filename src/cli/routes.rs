//! `vnet routes`: effective routes, in Azure's columns.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Show the effective routes of a machine, an interface or a subnet
///
/// The columns and, in json, the fields of `az network nic show-effective-route-table`. A machine stands for its primary
/// interface.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet routes web\n  vnet routes spoke1/app\n  \
    vnet routes contoso -t config/contoso-fabrikam.yaml -o json")]
pub(super) struct Routes {
    /// NODE, NODE/NIC or VNET/SUBNET
    #[arg(value_name = "TARGET")]
    target: String,
    /// Answer from a topology file instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Routes {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        Err(Failure::new(Exit::NoDaemon, format_args!("no lab knows {} ({:?})", self.target, self.topology)))
    }
}
