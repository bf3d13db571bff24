//! Where a file's tests are asked: a private copy of its lab, or the lab that runs.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bgp::topology::{PeerRow, PeerState};
use crate::cli::consent::Consent;
use crate::cli::context::{Context, Messages};
use crate::cli::ended::{self, EndedProgram};
use crate::cli::failure::Failure;
use crate::cli::topology;
use crate::daemon::api::client;
use crate::daemon::api::protocol::{BgpQuestion, BgpTopic, Request, Response};
use crate::lab::programs::settled;
use crate::lab::{self, Base, Record};
use crate::model::{Network, Question};

use super::change::Changer;
use super::model::Model;
use super::report::Tested;
use super::session::Session;

/// How long load balancers may take to find a backend, and routers each other.
const STARTING: Duration = Duration::from_secs(5);
/// How long routers must have had no news.
const QUIET: Duration = Duration::from_millis(300);
/// The same for routers of the user's own: FRR keeps what it has to say for a second.
const QUIET_OF_OTHERS: Duration = Duration::from_secs(3);
/// How long such a router may take to begin: it is a program that starts.
const STARTING_OF_OTHERS: Duration = Duration::from_secs(30);
/// The longest name of a lab.
const LONGEST_NAME: usize = 32;

/// A lab to test in.
pub(super) struct Stage {
    lab: Record,
    /// Ours to take down, found by this.
    private: Option<Base>,
}

impl Stage {
    pub(super) fn running(lab: Record) -> Self {
        Self { lab, private: None }
    }

    /// The lab of that name, or else the file's, if it runs and is what the file says; or a private copy.
    pub(super) fn of_file(
        (text, file): (&str, &str),
        network: &Network,
        named: Option<Record>,
        consent: &Consent,
        context: &Context,
    ) -> Result<Self, Failure> {
        let of_file = |lab: &Record| lab.lab == network.name && lab.is_running();
        let running = named.or_else(|| lab::labs(&Base::detect()).into_iter().find(of_file));
        if let Some(lab) = running {
            let changes = network.tests.iter().any(|test| matches!(test.question, Question::During(_)));
            if is_as_described(&lab, network, context) && !changes {
                // Its tests are not part of it: what they run may be new.
                consent.settle(network, text, file, context)?;
                return Ok(Self::running(lab));
            }
            let why = if changes { "and the tests change it" } else { &format!("but not as {file} says") };
            context.messages.note(&format!("lab {} runs, {why}: testing in a copy of its own", lab.lab));
        }
        Self::copy((text, file), network, consent, context)
    }

    /// A private copy.
    pub(super) fn copy(
        (text, file): (&str, &str),
        network: &Network,
        consent: &Consent,
        context: &Context,
    ) -> Result<Self, Failure> {
        let name = private_name(&network.name);
        let policy = consent.settle(network, text, file, context)?;
        let started = lab::start_copy(Path::new(file), text, &name, policy, &context.messages.options());
        Ok(Self { lab: started?, private: Some(Base::detect()) })
    }

    pub(super) fn name(&self) -> &str {
        &self.lab.lab
    }

    /// Asks everything. Returns the programs that failed, too.
    pub(super) fn perform(
        &self,
        network: &Network,
        changer: Option<Changer>,
        messages: &Messages,
        stop: &AtomicBool,
    ) -> Result<(Vec<Tested>, Vec<EndedProgram>), Failure> {
        lab::join(&self.lab)?;
        self.wait_for_programs(messages, stop)?;
        wait_for_routes(&self.lab, network, stop)?;
        self.wait_for_backends(stop)?;
        // A lab of the user's own is left as it is.
        let changer = changer.filter(|_| self.private.is_some());
        let model = Model::of(network).asking(&self.lab);
        let tested = Session { network, model, ground: Some(&self.lab), changer, stop }.run()?;
        Ok((tested, ended::until_now(&self.lab)))
    }

    /// Until programs have done what they do at their start, if that does not take too long.
    fn wait_for_programs(&self, messages: &Messages, stop: &AtomicBool) -> Result<(), Failure> {
        let of = |machines: &[String]| format!("the programs of {}", machines.join(", "));
        let tell = |machines: &[String]| messages.note(&format!("waiting for {} to end or be quiet", of(machines)));
        let busy = settled::wait(&self.lab, stop, tell)?;
        if !busy.is_empty() && !stop.load(Ordering::Relaxed) {
            messages.note(&format!("{} are not quiet yet: the tests begin all the same", of(&busy)));
        }
        Ok(())
    }

    /// Until every load balancing rule has a backend that is up, if that does not take too long: programs have to start,
    /// and to be probed.
    fn wait_for_backends(&self, stop: &AtomicBool) -> Result<(), Failure> {
        let deadline = Instant::now() + STARTING;
        while Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
            let Response::LoadBalancers(rows) = client::ask(&self.lab.socket, &Request::LoadBalancers)? else { break };
            let rules: HashSet<_> = rows.iter().map(|row| (&row.load_balancer, &row.rule)).collect();
            let served = rows.iter().filter(|row| row.eligible).map(|row| (&row.load_balancer, &row.rule));
            if rules == served.collect() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Takes down what is ours.
    pub(super) fn clear(mut self) -> Result<(), Failure> {
        match self.private.take() {
            Some(base) => lab::down(&base, &self.lab.lab).map(drop).map_err(Failure::from),
            None => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(base) = self.private.take() {
            // Only on the way out of a panic: `clear` reports what goes wrong.
            let _ = lab::down(&base, &self.lab.lab);
        }
    }
}

/// Until every BGP session is up and quiet, if that does not take too long.
pub(super) fn wait_for_routes(lab: &Record, network: &Network, stop: &AtomicBool) -> Result<(), Failure> {
    let began = Instant::now();
    let foreign = has_routers_of_others(network);
    let patience = if foreign { STARTING_OF_OTHERS } else { STARTING };
    let mut known = None;
    while began.elapsed() < patience && !stop.load(Ordering::Relaxed) {
        let ask = |what| client::ask(&lab.socket, &Request::Bgp(BgpQuestion { what, node: None, peer: None }));
        let Response::BgpPeers(peers) = ask(BgpTopic::Peers)? else { break };
        // The user's own routers do not answer questions.
        let connects = |peer: &PeerRow| !matches!(peer.state, PeerState::Connected | PeerState::Unknown);
        if peers.is_empty() {
            break;
        }
        let Response::BgpRoutes(routes) = ask(BgpTopic::Learned)? else { break };
        if !peers.iter().any(connects) && known.as_ref() == Some(&routes) {
            break;
        }
        known = Some(routes);
        thread::sleep(if foreign { QUIET_OF_OTHERS } else { QUIET });
    }
    Ok(())
}

/// Whether programs of the user's own speak BGP here: a site's router, or an appliance beside a route server.
fn has_routers_of_others(network: &Network) -> bool {
    let machines = network.virtual_machines.iter().filter(|machine| !machine.run.is_none());
    let interfaces = machines.flat_map(|machine| &machine.network_interfaces);
    let programs: Vec<_> = interfaces.flat_map(|nic| &network.nic(*nic).addresses).collect();
    let appliances = network.route_servers.iter().flat_map(|server| &server.connections);
    network.sites.iter().any(|site| site.own_router)
        || appliances.map(|connection| &connection.peer.address).any(|address| programs.contains(&address))
}

/// Whether a lab is what a file describes; its tests are not part of it, and `-l` may have given it another name.
fn is_as_described(lab: &Record, network: &Network, context: &Context) -> bool {
    let applied = topology::applied(lab, context).ok();
    applied.is_some_and(|(_, applied)| {
        let (name, tests) = (network.name.clone(), network.tests.clone());
        Network { name, tests, ..applied.network } == *network
    })
}

/// `NAME-test-PID`, cut so that it still fits.
fn private_name(name: &str) -> String {
    let suffix = format!("-test-{}", std::process::id());
    let room = LONGEST_NAME - suffix.len();
    format!("{}{suffix}", &name[..name.len().min(room)])
}
