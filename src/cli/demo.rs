//! `vnet demo`: the main job, shown in a second.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use super::{Outcome, topology, up};
use crate::lab::{self, Base, Node, Record, probe};
use crate::model::Network;

const NAME: &str = "config/hub-spoke.yaml";
const TOPOLOGY: &str = include_str!("../../config/hub-spoke.yaml");

const TRY_NEXT: &str = "
Try next:
  vnet exec web -- ping -c3 db      any program, in any machine
  vnet explain web db               each hop both ways, and what decides
  vnet routes web                   effective routes, as Azure lists them
  vnet drops                        what was dropped, where and why
  vnet shell web                    look around: ip route, ping nva, traceroute db
  vnet down                         end the lab; nothing is left behind
";

/// Start a ready-made lab and show packets going through it
///
/// A hub, two spokes and a network virtual appliance; as root or not. It stays up: the last lines say what to try next,
/// and `vnet down` ends it.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    #[expect(clippy::unused_self, reason = "every subcommand is called alike")]
    pub(super) fn run(self, context: &Context) -> Outcome {
        let network = topology::parse(TOPOLOGY, NAME, context)?;
        let running = lab::labs(&Base::detect()).into_iter().find(|lab| lab.lab == network.name && lab.is_running());
        if let Some(lab) = running {
            print(&format!("lab {} is up already\n", lab.lab))?;
        } else {
            let started = Instant::now();
            let lab = lab::start_daemon(Path::new(NAME), Some(TOPOLOGY), &context.messages.options())?;
            up::announce(&lab, started.elapsed(), context)?;
            show(&lab, &network)?;
        }
        print(TRY_NEXT)?;
        Ok(Exit::Fine)
    }
}

/// Sends real packets from one spoke to the other and tells what they met.
fn show(lab: &Record, network: &Network) -> Result<(), Failure> {
    lab::join(lab)?;
    let (web, db) = (Node::find(lab, "web")?, Node::find(lab, "db")?);
    let db_address = address(network, "db")?;

    let pong = probe::ping(web, db_address)?.ok_or_else(|| failed("no answer to a ping from web to db"))?;
    say("ping web -> db", &format!("answered by {} in {:.2} ms", pong.from, milliseconds(pong.after)))?;

    let hops = probe::path(web, db_address)?;
    let hops = hops.iter().map(|hop| hop.map_or_else(|| "*".into(), |answer| who(network, answer.from)));
    say("path web -> db", &format!("web -> {}", hops.collect::<Vec<_>>().join(" -> ")))?;

    let echo = probe::udp_echo(web, db, db_address)?;
    say("UDP  web -> db", &format!("echoed in {:.2} ms", milliseconds(echo)))?;

    let (bytes, took) = probe::tcp_transfer(web, db, db_address, Duration::from_millis(300))?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = bytes as f64 * 8.0 / took.as_secs_f64() / 1e9;
    say("TCP  web -> db", &format!("{} MB at {rate:.1} Gbit/s, through the appliance", bytes / 1_000_000))
}

fn say(what: &str, outcome: &str) -> Result<(), Failure> {
    print(&format!("  {what:<18} {outcome}\n")).map(drop)
}

fn address(network: &Network, node: &str) -> Result<Ipv4Addr, Failure> {
    let nics = network.network_interfaces.iter().filter(|nic| network.vm(nic.virtual_machine).name == node);
    let found = nics.flat_map(|nic| &nic.addresses).find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    found.ok_or_else(|| failed(&format!("{NAME} has no {node} with an IPv4 address")))
}

/// A node by its address.
fn who(network: &Network, address: IpAddr) -> String {
    let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
    owner.map_or_else(|| address.to_string(), |nic| network.vm(nic.virtual_machine).name.clone())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn failed(message: &str) -> Failure {
    Failure::new(Exit::No, message)
}
