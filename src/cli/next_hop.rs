//! `vnet next-hop`: where a packet would go first, with Network Watcher's fields.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::analysis::{self, NextHopAnswer, NextHopQuery};
use crate::daemon::api::protocol::{Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, stopped, topology};

/// Show where a packet to an address would go first, and by which route table
///
/// A service endpoint carries TCP only, and the answer is for TCP; `explain` also answers for other protocols.
/// In json, the fields of `az network watcher show-next-hop`. Routes alone decide: `explain` also asks rules, peerings
/// and appliances. For a machine, its primary interface is used.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet next-hop web 10.2.1.10\n  vnet next-hop web db -o json\n  \
    vnet next-hop spoke1/app 8.8.8.8 -t config/hub-spoke.yaml")]
pub(super) struct NextHop {
    /// Where the packet comes from: NODE, NODE/NIC or VNET/SUBNET
    #[arg(value_name = "NODE")]
    target: String,
    /// Where to: an address, NODE or NODE/NIC
    #[arg(value_name = "DST")]
    destination: String,
    /// The address it is sent from; must be the sender's own
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Answer from a topology file, a template, a dump or a plan instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl NextHop {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let Self { target, destination, source, topology } = self;
        let query = NextHopQuery { target, source, destination };
        let answer = match topology {
            Some(file) => {
                let (network, compiled) = topology::compiled(&file, context)?;
                let answer = analysis::next_hop(&network, &compiled, &query).map_err(Failure::usage)?;
                stopped::note(&query.target, Some(&network), context)?;
                answer
            }
            None => match context.ask(&Request::NextHop(query.clone()))? {
                Response::NextHop(answer) => {
                    stopped::note(&query.target, None, context)?;
                    answer
                }
                other => return Err(unexpected(&other)),
            },
        };
        context.output.rows(&answer, &table(&answer))
    }
}

fn table(answer: &NextHopAnswer) -> Table {
    let addresses = answer.next_hop_ip_address.iter().chain(&answer.next_hop_ip_addresses);
    let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
    Table::new(&["Next Hop Type", "Next Hop IP", "Route Table"]).rows([[
        answer.next_hop_type.to_string(),
        addresses.join(" "),
        answer.route_table_id.clone(),
    ]])
}
