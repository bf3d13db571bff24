//! `vnet public-ips`: public addresses and their users.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::{self, PublicAddressRow};
use crate::daemon::api::protocol::{Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, topology};

/// Show public addresses and prefixes, and what uses each
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet public-ips\n  vnet public-ips -o json\n  vnet public-ips -t config/internet.yaml"
)]
pub(super) struct PublicIps {
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl PublicIps {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let rows = self.ask(context)?;
        let table = table(&rows);
        context.output.rows(&rows, &table)
    }

    fn ask(&self, context: &Context) -> Result<Vec<PublicAddressRow>, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::PublicAddresses)? {
                Response::PublicAddresses(rows) => Ok(rows),
                other => Err(unexpected(&other)),
            };
        };
        let (network, _) = topology::compiled(file, context)?;
        Ok(analysis::public_addresses(&network))
    }
}

fn table(rows: &[PublicAddressRow]) -> Table {
    Table::new(&["Name", "Address", "SKU", "Used By"]).rows(
        rows.iter().map(|row| [row.name.clone(), row.ip_address.clone(), row.sku.clone(), row.used_by.join("; ")]),
    )
}
