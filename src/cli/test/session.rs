//! Asking all tests: of the model, in a lab of their own or a running one, and of real packets there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::analysis::{self, Explanation, Forecast, Observed, Problem, ProblemKind, Query};
use crate::bgp::topology::{PeerRow, PeerState};
use crate::cli::ask::unexpected;
use crate::cli::consent::Consent;
use crate::cli::context::{Context, Messages};
use crate::cli::ended::{self, EndedProgram};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::topology;
use crate::cli::trial::trial as trial_of;
use crate::compile::{Compiled, compile};
use crate::daemon::api::client;
use crate::daemon::api::protocol::{BgpQuestion, BgpTopic, Request, Response};
use crate::lab::programs::settled;
use crate::lab::traffic::{self, Trial};
use crate::lab::{self, Base, Record};
use crate::model::{Endpoint, Network, TestCase, Verdict};

use super::report::Tested;

/// Questions to a daemon at a time: its requests are of a bounded length.
const QUESTIONS: usize = 100;
/// How long load balancers may take to find a backend, and routers each other.
const STARTING: Duration = Duration::from_secs(5);
/// How long routers must have had no news.
const QUIET: Duration = Duration::from_millis(300);
/// The same for a router of the user's own: FRR keeps what it has to say for a second.
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

    /// The file's lab, if it runs and is what the file says, or a private copy.
    pub(super) fn of_file(
        (text, file): (&str, &str),
        network: &Network,
        consent: &Consent,
        context: &Context,
    ) -> Result<Self, Failure> {
        let base = Base::detect();
        let running = lab::labs(&base).into_iter().find(|lab| lab.lab == network.name && lab.is_running());
        if let Some(lab) = running {
            if is_as_described(&lab, network, context) {
                return Ok(Self::running(lab));
            }
            let message = format!("lab {} runs, but not as {file} says: testing in a copy of its own", lab.lab);
            context.messages.note(&message);
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
        messages: &Messages,
        stop: &AtomicBool,
    ) -> Result<(Vec<Tested>, Vec<EndedProgram>), Failure> {
        lab::join(&self.lab)?;
        self.wait_for_programs(messages, stop)?;
        self.wait_for_routes(network, stop)?;
        self.wait_for_backends(stop)?;
        let tested = Session { network, model: Model::Lab(&self.lab), ground: Some(&self.lab) }.run(stop)?;
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

    /// Until every BGP session is up and quiet, if that does not take too long.
    fn wait_for_routes(&self, network: &Network, stop: &AtomicBool) -> Result<(), Failure> {
        let began = Instant::now();
        let foreign = network.sites.iter().any(|site| site.own_router);
        let patience = if foreign { STARTING_OF_OTHERS } else { STARTING };
        let mut known = None;
        while began.elapsed() < patience && !stop.load(Ordering::Relaxed) {
            let ask = |what| client::ask(&self.lab.socket, &Request::Bgp(BgpQuestion { what, node: None, peer: None }));
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

/// Whether a lab is what a file describes; its tests are not part of it.
fn is_as_described(lab: &Record, network: &Network, context: &Context) -> bool {
    let applied = topology::applied(lab, context).ok();
    applied.is_some_and(|(_, applied)| Network { tests: network.tests.clone(), ..applied.network } == *network)
}

/// `NAME-test-PID`, cut so that it still fits.
fn private_name(name: &str) -> String {
    let suffix = format!("-test-{}", std::process::id());
    let room = LONGEST_NAME - suffix.len();
    format!("{}{suffix}", &name[..name.len().min(room)])
}

/// The source of the model's answers.
pub(super) enum Model<'a> {
    File {
        network: &'a Network,
        compiled: Box<Compiled>,
    },
    /// The daemon: its tables are those that the packets meet.
    Lab(&'a Record),
}

impl<'a> Model<'a> {
    pub(super) fn of(network: &'a Network) -> Self {
        Self::File { network, compiled: Box::new(compile(network, &topology::learned(network), 1)) }
    }

    fn forecast(&self, queries: &[Query]) -> Result<Vec<Result<Forecast, String>>, Failure> {
        match self {
            Self::File { network, compiled } => {
                Ok(queries.iter().map(|query| analysis::forecast(network, compiled, query)).collect())
            }
            Self::Lab(lab) => {
                let mut answers = Vec::new();
                for queries in queries.chunks(QUESTIONS) {
                    match client::ask(&lab.socket, &Request::Forecast(queries.to_vec()))? {
                        Response::Forecast(more) => answers.extend(more),
                        other => return Err(unexpected(&other)),
                    }
                }
                Ok(answers)
            }
        }
    }

    /// Cause and fix of what does not arrive; none is no reason to stop.
    fn explain(&self, query: &Query) -> Option<Explanation> {
        match self {
            Self::File { network, compiled } => analysis::explain(network, compiled, query).ok(),
            Self::Lab(lab) => {
                let (source, destination) = query.spelled();
                match client::ask(&lab.socket, &Request::Explain { source, destination }) {
                    Ok(Response::Explanation(explanation)) => Some(*explanation),
                    _ => None,
                }
            }
        }
    }
}

/// One run over all tests.
pub(super) struct Session<'a> {
    pub(super) network: &'a Network,
    pub(super) model: Model<'a>,
    /// Where real packets go, in a lab that this process has joined; None asks the model alone.
    pub(super) ground: Option<&'a Record>,
}

type Real = Result<traffic::Outcome, String>;

impl Session<'_> {
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<Vec<Tested>, Failure> {
        let tests: Vec<&TestCase> = self.network.tests.iter().collect();
        let mut tested = self.ask(&tests, stop)?;
        let again = if self.ground.is_some() { self.outdated(&tested)? } else { Vec::new() };
        if again.is_empty() {
            return Ok(tested);
        }
        let tests: Vec<_> = again.iter().map(|index| tests[*index]).collect();
        for (index, mut answer) in again.into_iter().zip(self.ask(&tests, stop)?) {
            answer.notes.push("asked twice: firewall rules of guests changed meanwhile".to_owned());
            tested[index] = answer;
        }
        Ok(tested)
    }

    /// The tests that failed, if their packets meet other rules of guests by now.
    fn outdated(&self, tested: &[Tested]) -> Result<Vec<usize>, Failure> {
        let failed = tested.iter().enumerate().filter(|(_, test)| !test.problems.is_empty());
        let failed: Vec<_> = failed.filter_map(|(index, test)| Some((index, test.forecast.as_ref()?))).collect();
        let query = |(index, _): &(usize, &Forecast)| Query::of(self.network, &self.network.tests[*index]);
        let now = self.model.forecast(&failed.iter().map(query).collect::<Vec<_>>())?;
        let differ =
            |now: Result<Forecast, String>, then: &Forecast| now.is_ok_and(|now| now.guest_rules != then.guest_rules);
        let compared = failed.into_iter().zip(now);
        Ok(compared.filter_map(|((index, then), now)| differ(now, then).then_some(index)).collect())
    }

    /// Asks these tests, first the model and then with packets.
    fn ask(&self, tests: &[&TestCase], stop: &AtomicBool) -> Result<Vec<Tested>, Failure> {
        let queries: Vec<Query> = tests.iter().map(|test| Query::of(self.network, test)).collect();
        let forecasts = self.model.forecast(&queries)?;
        if forecasts.len() != tests.len() {
            return Err(Failure::new(Exit::NoDaemon, "the daemon answered another number of questions"));
        }
        let mut tested: Vec<Tested> = Vec::new();
        for ((case, query), forecast) in tests.iter().copied().zip(&queries).zip(forecasts) {
            let unlike = |forecast: &Forecast| forecast.verdict != Verdict::Reachable;
            let blocked = forecast.as_ref().is_ok_and(|it| unlike(it) && !analysis::packets_decide(case, it));
            let explanation =
                if case.expect == Verdict::Reachable && blocked { self.model.explain(query) } else { None };
            tested.push(Tested::foretold(case, query, forecast, explanation));
        }
        let real = self.ground.map(|lab| self.send(lab, (tests, &tested), stop)).transpose()?;
        let mut real = real.into_iter().flatten();
        for (case, tested) in tests.iter().zip(&mut tested) {
            self.judge(case, tested, real.next());
        }
        Ok(tested)
    }

    /// What real packets do, test by test.
    fn send(
        &self,
        lab: &Record,
        (tests, tested): (&[&TestCase], &[Tested]),
        stop: &AtomicBool,
    ) -> Result<Vec<Real>, Failure> {
        let asked = tests.iter().zip(tested);
        let trials: Vec<Result<Trial, String>> = asked.map(|(case, tested)| self.trial(case, tested)).collect();
        let good: Vec<Trial> = trials.iter().filter_map(|trial| trial.clone().ok()).collect();
        let mut outcomes = traffic::run(lab, self.network, &good, stop)?.into_iter();
        let next = |trial: Result<Trial, String>| {
            trial?;
            let outcome = outcomes.next().expect("an outcome for each trial");
            outcome.map_err(|error| error.to_string())
        };
        Ok(trials.into_iter().map(next).collect())
    }

    fn trial(&self, case: &TestCase, tested: &Tested) -> Result<Trial, String> {
        let forecast = tested.forecast.as_ref().ok_or("the model has no answer")?;
        let expecting = [case.expect, forecast.verdict] != [Verdict::Blocked; 2];
        let names_interface = match case.from {
            Endpoint::Vm(_) | Endpoint::Internet | Endpoint::Outside(_) => false,
            Endpoint::Nic(_) | Endpoint::Address(_) => true,
        };
        let trial = trial_of(self.network, forecast, case.probe, names_interface, expecting)?;
        Ok(Trial { follow: analysis::packets_decide(case, forecast), ..trial })
    }

    fn judge(&self, case: &TestCase, tested: &mut Tested, real: Option<Real>) {
        // Without a forecast the test has its problem already.
        let Some(forecast) = &tested.forecast else { return };
        let observed = match real {
            None => None,
            Some(Err(text)) => {
                tested.problems.push(Problem { kind: ProblemKind::Unasked, text });
                None
            }
            Some(Ok(outcome)) => {
                tested.took = outcome.took;
                tested.notes.extend(outcome.note);
                if outcome.via.is_none() {
                    tested.notes.push("not every packet could be looked at: the way is the model's answer".to_owned());
                }
                let verdict = match (outcome.elsewhere, outcome.arrived) {
                    (true, _) => Verdict::WrongHost,
                    (false, true) => Verdict::Reachable,
                    (false, false) => Verdict::Blocked,
                };
                let lost = outcome.last_seen.map(|last| last.text);
                Some(Observed { verdict, via: outcome.via, via_return: outcome.via_return, lost })
            }
        };
        let guests = forecast.guest_rules.iter().map(|guest| format!("{guest}: the packets' answer counts"));
        if analysis::packets_decide(case, forecast) && self.ground.is_none() {
            let guests = forecast.guest_rules.iter().map(|guest| format!("{guest}, which the model does not evaluate"));
            let guests = guests.collect::<Vec<_>>().join("; ");
            tested.skipped =
                Some(if guests.is_empty() { "only real packets are to be asked".to_owned() } else { guests });
        } else {
            tested.notes.extend(guests);
        }
        tested.problems.extend(analysis::judge(self.network, case, forecast, observed.as_ref()));
        tested.observed = observed;
    }
}
