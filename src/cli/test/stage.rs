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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::test::tests::{Lab, network};
    use crate::config;

    /// A stage in a lab that runs already, and how often the stage asked that lab until it was ready.
    fn asked(stop: bool, answer: impl Fn(usize, &Request) -> Value + Send + Sync + 'static) -> usize {
        let lab = Lab::answering(answer);
        Stage::running(lab.record.clone()).wait_for_backends(&AtomicBool::new(stop)).ok().unwrap();
        lab.asked()
    }

    #[test]
    fn each_balancing_rule_is_waited_for_until_it_has_a_backend() {
        let row = |balancer: &str, rule: &str, eligible: bool| {
            json!({"loadBalancer": balancer, "rule": rule, "frontend": "f", "backendPool": "p", "backend": "web/eth0",
                   "address": "10.0.1.4", "health": "Up", "reason": "", "eligible": eligible})
        };
        let rows = move |number: usize| match number {
            0 => json!([row("a", "x", false), row("a", "y", true), row("b", "x", true)]),
            1 => json!([row("a", "x", true), row("a", "y", true), row("b", "x", false)]),
            _ => json!([row("a", "x", false), row("a", "x", true), row("a", "y", true), row("b", "x", true)]),
        };
        let began = Instant::now();
        assert_eq!(asked(false, move |number, _| json!({"loadBalancers": rows(number)})), 3);
        assert_eq!(asked(false, |_, _| json!({"loadBalancers": []})), 1);
        assert!(began.elapsed() < STARTING);
        assert_eq!(asked(true, |_, _| json!({"loadBalancers": []})), 0);
        // A backend that never comes up is no reason to wait for ever.
        assert!(asked(false, move |_, _| json!({"loadBalancers": [row("a", "x", false)]})) > 1);
        assert!(began.elapsed() >= STARTING);
    }

    fn peer(state: &str) -> Value {
        json!({"node": "gw", "connection": "c", "localAddress": "10.0.0.1", "neighbor": "10.0.0.2", "asn": 1, "state": state,
               "connectedDuration": "0", "routesReceived": 0, "messagesSent": null, "messagesReceived": null})
    }

    fn route(network: &str) -> Value {
        json!({"node": "gw", "localAddress": "10.0.0.1", "network": network, "nextHop": null, "sourcePeer": "10.0.0.2",
               "origin": "EBgp", "asPath": "1", "weight": 0})
    }

    #[test]
    fn routers_are_waited_for_until_they_are_connected_and_have_no_news() {
        let asked = |states: &'static [&'static str], routes: &'static [&'static str]| {
            let round = move |number: usize, of: &'static [&'static str]| of[(number / 2).min(of.len() - 1)];
            let lab = Lab::answering(move |number, request| match request {
                Request::Bgp(question) if question.what == BgpTopic::Peers => {
                    let state = round(number, states);
                    if state.is_empty() {
                        json!({"bgpPeers": []})
                    } else {
                        json!({"bgpPeers": [peer(state), peer("Connected")]})
                    }
                }
                _ => json!({"bgpRoutes": [route(round(number, routes))]}),
            });
            wait_for_routes(&lab.record, &network(""), &AtomicBool::new(false)).ok().unwrap();
            lab.asked()
        };
        assert_eq!(asked(&["Connected"], &["10.1.0.0/16"]), 4, "the same twice");
        assert_eq!(asked(&["Unknown"], &["10.1.0.0/16"]), 4, "a user's own router does not say how it is");
        assert_eq!(asked(&["Connected"], &["10.1.0.0/16", "10.2.0.0/16"]), 6);
        assert_eq!(asked(&["Connecting", "Connecting", "Connected"], &["10.1.0.0/16"]), 6);
        assert_eq!(asked(&[""], &["10.1.0.0/16"]), 1, "there are none");
    }

    #[test]
    fn a_copy_has_a_name_of_its_own_that_is_not_too_long() {
        let process = format!("-test-{}", std::process::id());
        assert_eq!(private_name("short"), format!("short{process}"));
        let long = private_name(&"x".repeat(LONGEST_NAME));
        assert_eq!(long.len(), LONGEST_NAME);
        assert!(long.ends_with(&process) && long.starts_with("xxx"));
        let fits = "x".repeat(LONGEST_NAME - process.len());
        assert_eq!(private_name(&fits), format!("{fits}{process}"));
    }

    #[test]
    fn a_router_of_the_users_own_is_given_more_time() {
        let text = |own: &str, run: &str| {
            format!(
                "name: lab\nvirtualNetworks:\n  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [\
                 {{name: RouteServerSubnet, addressPrefix: 10.0.1.0/26}}, {{name: s, addressPrefix: 10.0.2.0/24}}]}}\n\
                 publicIPAddresses: [{{name: ip, sku: Standard}}]\n\
                 routeServers: [{{name: rs, virtualNetwork: v, publicIPAddress: ip, bgpConnections: [{{name: nva, peerAsn: 65001, \
                 peerIp: 10.0.2.4}}]}}]\n\
                 virtualMachines: [{{name: nva, networkInterfaces: [{{subnet: v/s, privateIPAddress: {own}}}]{run}}}]\n"
            )
        };
        let foreign = |own: &str, run: &str| {
            let text = text(own, run);
            let loaded =
                config::load(&text, "lab.yaml").unwrap_or_else(|errors| panic!("{}", errors.render(&text, "", false)));
            has_routers_of_others(&loaded.network)
        };
        assert!(foreign("10.0.2.4", ", run: [bird, -f]"));
        assert!(!foreign("10.0.2.5", ", run: [bird, -f]"), "another machine has that address");
        assert!(!foreign("10.0.2.4", ""), "its router is ours");
    }
}
