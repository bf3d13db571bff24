//! `vnet demo`: the main job, shown in a second.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use crate::lab::traffic::ping;
use crate::lab::{self, Base, Node, Record};
use crate::model::{Network, RunPolicy};

use super::call::Call;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::input::Input;
use super::output::print;
use super::{Outcome, call, graph, topology, up};

const NAME: &str = "config/hub-spoke.yaml";
const TOPOLOGY: &str = include_str!("../../config/hub-spoke.yaml");

const TRY_NEXT: [(&str, &str); 7] = [
    ("exec web -- ping -c3 db", "any program, in any machine"),
    ("explain web db", "each hop both ways, and what decides"),
    ("graph --path web db", "the same as a picture; -o svg for one of pixels"),
    ("routes web", "effective routes, as Azure lists them"),
    ("drops", "what was dropped, where and why"),
    ("shell web", "look around: ip route, ping nva"),
    ("down", "end the lab; nothing is left behind"),
];

/// Start a ready-made lab and show packets going through it
///
/// A hub, two spokes and a network virtual appliance, drawn first; as root or not. It stays up: the last lines say what
/// to try next, and `vnet down` ends it. `-l NAME` names the lab.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    #[expect(clippy::unused_self, reason = "every subcommand is called alike")]
    pub(super) fn run(self, context: &Context) -> Outcome {
        let network = topology::parse(&Input::plain(TOPOLOGY.to_owned(), NAME.to_owned()), context)?;
        print(&format!("{}\n", graph::in_characters(&network)))?;
        let name = context.name()?.unwrap_or(&network.name);
        let running = lab::labs(&Base::detect()).into_iter().find(|lab| lab.lab == name && lab.is_running());
        if let Some(lab) = running {
            print(&format!("lab {} is up already\n", lab.lab))?;
        } else {
            let (started, options) = (Instant::now(), context.messages.options());
            let lab = lab::start_daemon(Path::new(NAME), Some(TOPOLOGY), context.name()?, RunPolicy::Always, &options)?;
            up::announce(&lab, started.elapsed(), context)?;
            show(&lab, &network)?;
        }
        print(&try_next(name, context))?;
        Ok(Exit::Fine)
    }
}

/// Commands that work as they are printed, from where the user is.
fn try_next(lab: &str, context: &Context) -> String {
    let labs = lab::labs(&Base::detect()).into_iter().filter(Record::is_running).count();
    // A lab that was given a name is called by it: others may be started beside it.
    let is_chosen = context.given.is_some() || context.lab.as_ref().is_some_and(|other| other != lab);
    commands(&call::own(), lab, (labs, is_chosen))
}

fn commands(call: &Call, lab: &str, (labs, is_chosen): (usize, bool)) -> String {
    let choice = if labs > 1 || is_chosen { format!(" -l {lab}") } else { String::new() };
    let commands = TRY_NEXT.map(|(command, _)| {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        format!("{} {verb}{choice} {rest}", call.words).trim_end().to_owned()
    });
    let width = commands.iter().map(String::len).max().unwrap_or_default().max(31);
    let mut text = String::from("\nTry next:\n");
    for (command, (_, meaning)) in commands.iter().zip(TRY_NEXT) {
        let _ = writeln!(text, "  {command:<width$}  {meaning}");
    }
    if !call.is_installed {
        text.push_str("\n`cargo install --path . --locked` puts vnet on your path.\n");
    }
    text
}

/// Sends real packets from one spoke to the other and tells what they met.
fn show(lab: &Record, network: &Network) -> Result<(), Failure> {
    lab::join(lab)?;
    let (web, db) = (Node::find(lab, "web")?, Node::find(lab, "db")?);
    let db_address = address(network, "db")?;

    let pong = ping::ping(web, db_address)?.ok_or_else(|| failed("no answer to a ping from web to db"))?;
    say("ping web -> db", &format!("answered by {} in {:.2} ms", pong.from, milliseconds(pong.after)))?;

    let hops = ping::path(web, db_address)?;
    let hops = hops.iter().map(|hop| hop.map_or_else(|| "*".into(), |answer| name_of(network, answer.from)));
    say("path web -> db", &format!("web -> {}", hops.collect::<Vec<_>>().join(" -> ")))?;

    let echo = ping::udp_echo(web, db, db_address)?;
    say("UDP  web -> db", &format!("echoed in {:.2} ms", milliseconds(echo)))?;

    let (bytes, took) = ping::tcp_transfer(web, db, db_address, Duration::from_millis(300))?;
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
fn name_of(network: &Network, address: IpAddr) -> String {
    let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
    owner.map_or_else(|| address.to_string(), |nic| network.vm(nic.virtual_machine).name.clone())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn failed(message: &str) -> Failure {
    Failure::new(Exit::No, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_installed: bool, labs: usize, is_chosen: bool) -> String {
        let words = if is_installed { "vnet" } else { "sudo target/release/vnet" };
        commands(&Call { words: words.to_owned(), is_installed }, "mine", (labs, is_chosen))
    }

    /// Each line can be typed as it is: by what the program was called as, and with the lab where that is not clear.
    #[test]
    fn what_to_try_next_works_as_it_is_printed() {
        let alone = told(true, 1, false);
        assert!(alone.contains("\n  vnet exec web -- "), "{alone}");
        assert!(!alone.contains(" -l ") && !alone.contains("cargo install"), "{alone}");
        assert_eq!(alone.lines().filter(|line| line.starts_with("  vnet ")).count(), TRY_NEXT.len());
        for (labs, is_chosen) in [(2, false), (1, true)] {
            let several = told(true, labs, is_chosen);
            assert_eq!(several.matches(" -l mine").count(), TRY_NEXT.len(), "{several}");
        }
        let not_installed = told(false, 1, false);
        assert!(not_installed.contains("\n  sudo target/release/vnet exec web -- "), "{not_installed}");
        assert!(
            not_installed.ends_with("`cargo install --path . --locked` puts vnet on your path.\n"),
            "{not_installed}"
        );
        // The meanings stand below each other.
        let meant = |(line, (_, meaning)): (&str, &(_, &str))| line.find(meaning);
        let starts: Vec<_> = alone.lines().skip(2).zip(&TRY_NEXT).map(meant).collect();
        assert!(starts[0].is_some() && starts.iter().all(|start| *start == starts[0]), "{starts:?} in {alone}");
    }
}
