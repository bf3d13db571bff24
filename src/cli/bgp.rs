//! `vnet bgp`: sessions, learned routes, advertised routes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};

use crate::bgp::topology::{Converged, PeerRow, RouteRow, converge, gateway_rows};
use crate::daemon::api::protocol::{BgpQuestion, BgpTopic, Request, Response};

use super::ask::unexpected;
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, topology};

/// Show BGP sessions and routes of gateways and sites
///
/// In json the fields of Azure's BGP peer status, learned and advertised routes.
#[derive(Debug, Args)]
pub(super) struct Bgp {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List sessions: state, how long, routes learned, why one is not up
    #[command(after_long_help = "Examples:\n  vnet bgp peers\n  vnet bgp peers hub-gw -o json")]
    Peers {
        /// A gateway or a site; all without
        node: Option<String>,
    },
    /// List routes that a gateway knows: its own, and what its peers advertise
    #[command(after_long_help = "Examples:\n  vnet bgp learned hub-gw\n  vnet bgp learned hub-gw --refused\n  \
        vnet bgp learned hub-gw -t lab.vnet.yaml")]
    Learned {
        /// A gateway or a site; all without
        node: Option<String>,
        /// Only what peers advertise and is not used, with the reason
        #[arg(long)]
        refused: bool,
        /// Answer from a topology file, a template, a dump or a plan instead of a running lab, as if every speaker advertised what the file says
        #[arg(short, long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
    /// List routes that a gateway advertises to its peers, or to one of them
    #[command(after_long_help = "Examples:\n  vnet bgp advertised hub-gw\n  vnet bgp advertised hub-gw 192.168.50.1")]
    Advertised {
        /// A gateway or a site; all without
        node: Option<String>,
        /// Only what is advertised to this peer
        peer: Option<IpAddr>,
        /// Answer from a topology file, a template, a dump or a plan instead of a running lab, as if every speaker advertised what the file says
        #[arg(short, long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
}

impl Bgp {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::Peers { node } => {
                let rows = match ask(context, BgpTopic::Peers, node, None)? {
                    Response::BgpPeers(rows) => rows,
                    other => return Err(unexpected(&other)),
                };
                context.output.rows(&rows, &peers(&rows))
            }
            Verb::Learned { node, refused, topology } => {
                let what = if refused { BgpTopic::Refused } else { BgpTopic::Learned };
                let rows = routes(context, what, node, None, topology)?;
                context.output.rows(&rows, &table(&rows, refused))
            }
            Verb::Advertised { node, peer, topology } => {
                let rows = routes(context, BgpTopic::Advertised, node, peer, topology)?;
                context.output.rows(&rows, &table(&rows, false))
            }
        }
    }
}

fn ask(context: &Context, what: BgpTopic, node: Option<String>, peer: Option<IpAddr>) -> Result<Response, Failure> {
    context.ask(&Request::Bgp(BgpQuestion { what, node, peer }))
}

fn routes(
    context: &Context,
    what: BgpTopic,
    node: Option<String>,
    peer: Option<IpAddr>,
    file: Option<PathBuf>,
) -> Result<Vec<RouteRow>, Failure> {
    if let Some(file) = file {
        let network = topology::parse(&topology::read(&file, context)?, context)?;
        let converged = converge(&network, Instant::now());
        let mut rows = forecast(&converged, what, node.as_deref(), peer);
        if what == BgpTopic::Learned {
            let inner = gateway_rows(&network, &converged.learned()).into_iter();
            rows.extend(inner.filter(|row| node.as_ref().is_none_or(|name| row.node.eq_ignore_ascii_case(name))));
        }
        return Ok(rows);
    }
    match ask(context, what, node, peer)? {
        Response::BgpRoutes(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

fn forecast(converged: &Converged, what: BgpTopic, node: Option<&str>, peer: Option<IpAddr>) -> Vec<RouteRow> {
    use crate::bgp::topology::{advertised_rows, learned_rows, refused_rows};
    let wanted = converged.nodes().iter().filter(|(known, _)| node.is_none_or(|node| known.is(node)));
    let rows = wanted.flat_map(|(node, speaker)| match what {
        BgpTopic::Learned => learned_rows(node, speaker),
        BgpTopic::Refused => refused_rows(node, speaker),
        BgpTopic::Advertised => advertised_rows(node, speaker, peer),
        BgpTopic::Peers => Vec::new(),
    });
    rows.collect()
}

fn peers(rows: &[PeerRow]) -> Table {
    const COLUMNS: &[&str] = &[
        "Node",
        "Connection",
        "Neighbor",
        "ASN",
        "State",
        "ConnectedDuration",
        "RoutesReceived",
        "MessagesSent",
        "MessagesReceived",
        "LastError",
    ];
    Table::new(COLUMNS).rows(rows.iter().map(|row| {
        [
            row.node.clone(),
            row.connection.clone(),
            row.neighbor.to_string(),
            row.asn.to_string(),
            format!("{:?}", row.state),
            row.connected_duration.clone(),
            row.routes_received.to_string(),
            count(row.messages_sent),
            count(row.messages_received),
            row.last_error.clone().unwrap_or_default(),
        ]
    }))
}

/// Where no message is sent, none is counted.
fn count(messages: Option<u64>) -> String {
    messages.map_or_else(|| "none are sent".to_owned(), |messages| messages.to_string())
}

fn table(rows: &[RouteRow], refused: bool) -> Table {
    const COLUMNS: &[&str] = &["Node", "Network", "NextHop", "SourcePeer", "Origin", "AsPath"];
    let last = if refused { "Refused" } else { "Weight" };
    Table::new(&[COLUMNS, &[last]].concat()).rows(rows.iter().map(|row| {
        [
            row.node.clone(),
            row.network.to_string(),
            row.next_hop.map_or_else(String::new, |hop| hop.to_string()),
            row.source_peer.to_string(),
            format!("{:?}", row.origin),
            row.as_path.clone(),
            row.refused.clone().unwrap_or_else(|| row.weight.to_string()),
        ]
    }))
}
