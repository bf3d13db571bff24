//! `vnet lb`: the backends of load balancers, and their health.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::analysis::{self, BackendRow, HealthState};
use crate::daemon::api::protocol::{Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, topology};

/// Show load balancers: the backends of each rule, their health, and how flows spread over them
///
/// Reason says why a backend is down, with the rule that denies its probe, where one does.
/// A running lab probes its backends. For a file, rules decide: a program listens wherever they let a probe pass.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet lb\n  vnet lb web -o json\n  vnet lb -t config/load-balancer.yaml")]
pub(super) struct Lb {
    /// One load balancer; by default all of them
    name: Option<String>,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Lb {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let mut rows = self.ask(context)?;
        if let Some(name) = &self.name {
            let is_named = |row: &BackendRow| row.load_balancer.eq_ignore_ascii_case(name);
            if !rows.iter().any(is_named) {
                let known: BTreeSet<_> = rows.iter().map(|row| row.load_balancer.as_str()).collect();
                let what = "load balancer with a rule and a backend";
                return Err(Failure::usage(analysis::unknown(what, name, known.into_iter())));
            }
            rows.retain(is_named);
        }
        let table = table(&rows);
        context.output.rows(&rows, &table)
    }

    fn ask(&self, context: &Context) -> Result<Vec<BackendRow>, Failure> {
        let Some(file) = &self.topology else {
            return match context.ask(&Request::LoadBalancers)? {
                Response::LoadBalancers(rows) => Ok(rows),
                other => Err(unexpected(&other)),
            };
        };
        let (network, compiled) = topology::compiled(file, context)?;
        Ok(analysis::load_balancers(&network, &compiled, None, None))
    }
}

fn table(rows: &[BackendRow]) -> Table {
    const COLUMNS: [&str; 8] = ["Load Balancer", "Rule", "Frontend", "Backend", "Address", "Health", "Flows", "Reason"];
    Table::new(&COLUMNS).rows(rows.iter().map(|row| {
        let health = match (row.health, row.eligible) {
            (HealthState::Up, true) => "up",
            (HealthState::Up, false) => "up, no new flows",
            (HealthState::Down, true) => "down, new flows all the same",
            (HealthState::Down, false) => "down",
        };
        [
            row.load_balancer.clone(),
            row.rule.clone(),
            row.frontend.clone(),
            row.backend.clone(),
            row.address.to_string(),
            health.to_owned(),
            row.flows.map_or_else(String::new, |flows| flows.to_string()),
            match &row.denied_by {
                Some(rule) => format!("{}: {rule} denies the probe", row.reason),
                None => row.reason.clone(),
            },
        ]
    }))
}
