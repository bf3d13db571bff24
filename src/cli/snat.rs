//! `vnet snat`: outbound translations, by public address and ports.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::{self, SnatRow};
use crate::daemon::api::protocol::{Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, topology};

/// Show ports of public addresses: allocated, used, and failed allocations
///
/// A load balancer sets ports aside for each of its backends; NAT gateways and default outbound access give them on
/// demand. Failed counts packets of an interface that found no free port to their destination.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  vnet snat\n  vnet snat -o json\n  vnet snat -t config/public-load-balancer.yaml"
)]
pub(super) struct Snat {
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Snat {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let rows = self.ask(context)?;
        let table = table(&rows);
        context.output.rows(&rows, &table)
    }

    fn ask(&self, context: &Context) -> Result<Vec<SnatRow>, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::Snat)? {
                Response::Snat(rows) => Ok(rows),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(file, context)?;
        Ok(analysis::snat(&network, &compiled, None))
    }
}

fn table(rows: &[SnatRow]) -> Table {
    const COLUMNS: [&str; 8] =
        ["Interface", "Public Address", "Protocol", "Allocated", "Used", "Connections", "Failed", "Source"];
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    Table::new(&COLUMNS).rows(rows.iter().map(|row| {
        [
            row.interface.clone(),
            row.public_address.to_string(),
            row.protocol.clone(),
            row.allocated_ports.map_or_else(|| "on demand".to_owned(), |ports| ports.to_string()),
            number(row.used_ports.map(u64::from)),
            number(row.connections),
            number(row.failed),
            row.source.clone(),
        ]
    }))
}
