//! `vnet explain`: a packet's way there and back, told step by step.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{Exit, Outcome};

/// Tell the way of a packet, there and back: each hop, and the route or rule that decides
///
/// If it does not get there, names the cause and the smallest fix. Exit code 0 reachable, 1 blocked in either direction,
/// 3 reachable with warnings.
///
/// SRC and DST are a node, NODE/NIC or an address. With :PORT it asks for TCP, with :PORT/udp for UDP, without for
/// ICMP echo. An IPv6 address with a port goes in brackets.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  vnet explain web db\n  vnet explain web db:443\n  \
    vnet explain web '[fd00::4]:53/udp'\n  vnet explain web db:443 -t config/hub-spoke.yaml")]
pub(super) struct Explain {
    /// Who sends
    #[arg(value_name = "SRC")]
    source: String,
    /// Whom to reach
    #[arg(value_name = "DST[:PORT[/PROTO]]")]
    destination: String,
    /// Answer from a topology file instead of a running lab: no daemon, no root
    #[arg(short, long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Explain {
    pub(super) fn run(self, _context: &Context) -> Outcome {
        let message = format!("no lab knows {} and {} ({:?})", self.source, self.destination, self.topology);
        Err(Failure::new(Exit::NoDaemon, message))
    }
}
