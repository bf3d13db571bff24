//! `vnet routes`: effective routes, in Azure's columns.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::analysis::{self, RouteRow};
use crate::daemon::api::protocol::{Request, Response};
use crate::model::counted;

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, stopped, topology};

/// Show the effective routes of a machine, an interface or a subnet
///
/// The columns and, in json, the fields of `az network nic show-effective-route-table`. For a machine, its primary
/// interface is used. A point-to-site client has the routes that its gateway tells it of.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet routes web\n  vnet routes spoke1/app\n  \
    vnet routes contoso -t config/contoso-fabrikam.yaml -o json")]
pub(super) struct Routes {
    /// NODE, NODE/NIC or VNET/SUBNET; a site and a private cloud have routers of their own
    target: String,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

/// As ARM wraps it (DIAG-01).
#[derive(Serialize)]
struct EffectiveRouteTable {
    value: Vec<RouteRow>,
}

impl Routes {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let value = self.ask(context)?;
        let table = table(&value);
        context.output.rows(&EffectiveRouteTable { value }, &table)
    }

    fn ask(self, context: &Context) -> Result<Vec<RouteRow>, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::Routes { target: self.target.clone() })? {
                Response::Routes(rows) => stopped::note(&self.target, None, context).map(|()| rows),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(file, context)?;
        let rows = analysis::routes_of(&network, &compiled, &self.target).map_err(Failure::usage)?;
        stopped::note(&self.target, Some(&network), context).map(|()| rows)
    }
}

/// The columns of `az network nic show-effective-route-table -o table` (DIAG-14).
pub(super) fn table(rows: &[RouteRow]) -> Table {
    Table::new(&["Source", "State", "Address Prefix", "Next Hop Type", "Next Hop IP"]).rows(rows.iter().map(|row| {
        [
            row.source.to_string(),
            row.state.to_string(),
            destination(row),
            row.next_hop_type.to_string(),
            spaced(&row.next_hop_ip_address),
        ]
    }))
}

/// A service has hundreds of ranges, which are in json; here are the tag or the first, and how many there are.
fn destination(row: &RouteRow) -> String {
    match (&row.destination_service_tags[..], &row.address_prefix[..]) {
        ([], [_]) => spaced(&row.address_prefix),
        ([], [first, ..]) => format!("{first} (of {})", counted(row.address_prefix.len(), "range")),
        (tags, ranges) => format!("{} ({})", tags.join(" "), counted(ranges.len(), "range")),
    }
}

fn spaced(values: &[impl Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
