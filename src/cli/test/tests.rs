//! A run of tests against a lab that is a socket with fixed answers: how often it is asked, and what is said of that.

use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::Model;
use super::report::{Report, Tested};
use super::session::Session;
use crate::analysis::{Forecast, GuestMet, Problem, ProblemKind, Query};
use crate::config;
use crate::daemon::api::protocol::{Request, Response};
use crate::daemon::api::server::{Answer, listen};
use crate::lab::Record;
use crate::model::{Leases, Network, TestSeverity};
use crate::sys::process::ProcessId;

const NETWORK: &str = "
name: lab
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: s, addressPrefix: 10.0.1.0/24, routeTable: table}
      - {name: t, addressPrefix: 10.0.2.0/24}
routeTables: [{name: table, routes: [{name: away, addressPrefix: 10.9.0.0/16, nextHopType: None}]}]
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.1.4}]}
  - {name: db, networkInterfaces: [{subnet: v/t, privateIPAddress: 10.0.2.4}]}
";

/// The network with these tests.
pub(super) fn network(tests: &str) -> Network {
    config::load(&format!("{NETWORK}tests: [{tests}]\n"), "lab.yaml").unwrap().network
}

/// A lab that answers by the number of the question, beginning with 0.
pub(super) struct Lab {
    pub(super) record: Record,
    asked: Arc<Mutex<Vec<Request>>>,
    _directory: TempDir,
}

impl Lab {
    pub(super) fn answering(answer: impl Fn(usize, &Request) -> Value + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let record = json!({
            "lab": "lab", "daemon": ProcessId::current().unwrap(), "file": "lab.yaml", "since": 1,
            "rootless": false, "socket": socket, "hosts": directory.path().join("hosts"), "nodes": [], "addresses": Leases::default(),
            "programs": [],
        });
        let record: Record = serde_json::from_value(record).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer = move |request: Request| {
            let mut log = log.lock().unwrap();
            let answer = serde_json::from_value(answer(log.len(), &request));
            log.push(request);
            Answer::Once(answer.unwrap())
        };
        listen(UnixListener::bind(&socket).unwrap(), answer, || {}).unwrap();
        Self { record, asked, _directory: directory }
    }

    /// A lab that gets no request.
    fn mute() -> Self {
        Self::answering(|_, _| json!({"refused": {"message": "nothing is known", "help": null}}))
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Everything that is asked, in this lab or of the model alone.
fn run(network: &Network, lab: Option<&Lab>, stop: bool) -> Vec<Tested> {
    let (stop, ground) = (AtomicBool::new(stop), lab.map(|lab| &lab.record));
    let session = Session { network, model: Model::of(network), ground, changer: None, stop: &stop };
    session.run().map_err(|failure| failure.message).unwrap()
}

/// No route, then from the n-th question on the one that is wanted.
fn routes_from(first: usize) -> Lab {
    Lab::answering(move |number, _| {
        let row = json!({
            "name": "away", "disableBgpRoutePropagation": false, "source": "User", "state": "Active",
            "addressPrefix": ["10.9.0.0/16"], "nextHopIpAddress": [], "nextHopType": "None",
        });
        json!({"routes": if number < first { json!([]) } else { json!([row]) }})
    })
}

#[test]
fn a_test_is_asked_again_as_often_as_it_allows() {
    let asked = |conduct: &str, first: usize| {
        let (lab, network) = (routes_from(first), network(&format!("{{on: web, routes: 10.9.0.0/16{conduct}}}")));
        let began = Instant::now();
        let tested = run(&network, Some(&lab), false).remove(0);
        (lab.asked(), tested.problems.is_empty(), tested.notes, began.elapsed())
    };
    let place = "place: subnet v/s, route table table".to_owned();
    let (count, passed, notes, _) = asked("", 0);
    assert_eq!((count, passed, notes), (1, true, vec![]), "what passes is not asked again, and has nothing to tell");
    let (count, passed, notes, _) = asked(", packetsOnly: true", 1);
    assert_eq!((count, passed, notes), (1, false, vec![place.clone()]));
    let (count, passed, notes, took) = asked(", packetsOnly: true, retry: 3", 2);
    assert_eq!((count, passed, notes), (3, true, vec!["passed at attempt 3 of 4".to_owned()]));
    assert!(took >= Duration::from_secs(1), "half a second before each further attempt: {took:?}");
    let (count, passed, notes, _) = asked(", packetsOnly: true, retry: 1", 9);
    assert_eq!((count, passed, notes), (2, false, vec![place, "failed in all of 2 attempts".to_owned()]));
    // With time to wait it is the same attempt.
    let (count, passed, notes, _) = asked(", packetsOnly: true, timeout: 30s", 2);
    assert_eq!((count, passed, notes), (3, true, vec![]));
    let (_, passed, _, took) = asked(", packetsOnly: true, timeout: 300ms", usize::MAX);
    assert!(!passed && took >= Duration::from_millis(300), "{took:?}");
}

#[test]
fn a_test_waits_before_it_is_asked_where_there_is_something_to_wait_for() {
    let later = network("{on: web, routes: 10.9.0.0/16, after: 300ms}");
    let (lab, began) = (routes_from(0), Instant::now());
    let tested = run(&later, Some(&lab), false).remove(0);
    assert!(tested.problems.is_empty() && began.elapsed() >= Duration::from_millis(300));
    // The model says the same at any time, and a run that is stopped does not wait.
    let much_later = network("{on: web, routes: 10.9.0.0/16, after: 10min, retry: 9, timeout: 10min}");
    let began = Instant::now();
    assert!(run(&much_later, None, false).remove(0).problems.is_empty());
    let lab = routes_from(usize::MAX);
    assert!(!run(&much_later, Some(&lab), true).remove(0).problems.is_empty());
    assert!(began.elapsed() < Duration::from_mins(5));
}

#[test]
fn the_time_that_an_answer_took_is_told() {
    let lab = Lab::answering(|_, _| {
        std::thread::sleep(Duration::from_millis(50));
        json!({"routes": []})
    });
    let tested = run(&network("{on: web, routes: {absent: 10.9.0.0/16}, packetsOnly: true}"), Some(&lab), false);
    assert!(tested[0].took >= Duration::from_millis(50), "{:?}", tested[0].took);
}

/// The answers stay in the order of the file, whichever were asked together.
#[test]
fn answers_come_in_the_order_of_the_file() {
    let network = network(
        "{from: web, to: db, expect: reachable}, {on: web, routes: 10.9.0.0/16}, {from: db, to: web, expect: blocked}, \
         {from: web, to: db, expect: blocked, skip: later}, {from: db, to: web, expect: reachable, after: 1s, severity: warning}",
    );
    let told = run(&network, None, false).into_iter().map(|tested| {
        let warns = tested.severity == TestSeverity::Warning;
        (tested.kind, tested.from, tested.problems.len(), tested.skipped, warns)
    });
    let later = Some("later".to_owned());
    let wanted = [
        ("reach", "web", 0, None, false),
        ("routes", "v/s", 0, None, false),
        ("reach", "db", 1, None, false),
        ("reach", "web", 0, later, false),
        ("reach", "db", 0, None, true),
    ];
    let wanted = wanted.map(|(kind, from, problems, skipped, warns)| (kind, from.to_owned(), problems, skipped, warns));
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}

/// What no lab can send is no answer, and says why.
#[test]
fn a_test_that_cannot_be_asked_fails() {
    let network = network(
        "{on: web, exec: hostname, retry: 1}, {on: web, dns: db}, {from: web, to: db, port: 80, flows: 1}, \
         {from: web, to: db, during: apply other.yaml}",
    );
    let lab = Lab::mute();
    let tested = run(&network, Some(&lab), false);
    let told: Vec<_> = tested.iter().map(Tested::message).collect();
    assert!(told[0].contains("web") && told[1] == told[0], "{told:?}");
    assert_eq!(tested[0].notes, ["failed in all of 2 attempts"]);
    assert!(!told[2].is_empty(), "{told:?}");
    let why = "it changes the lab, which is not the test's own: name the file";
    assert_eq!((tested[3].skipped.as_deref(), told[3].as_str()), (Some(why), ""));
}

/// Failures that show the model to differ from packets are a defect, and told as one.
#[test]
fn a_summary_counts_what_passed_failed_warned_and_was_skipped() {
    let network = network(
        "{from: web, to: db, expect: reachable}, {from: db, to: web, expect: reachable}, {from: web, to: web, expect: reachable}, \
         {from: db, to: db, expect: reachable, severity: warning}, {from: db, to: web, port: 1, expect: reachable}",
    );
    let summary = |kinds: [Option<ProblemKind>; 5], skip: bool, lab: Option<&str>| {
        let tests = network.tests.iter().zip(kinds).map(|(case, kind)| {
            let problems = kind.map(|kind| Problem { kind, text: "why".to_owned() }).into_iter().collect();
            let skipped = (skip && kind.is_none()).then(|| "later".to_owned());
            Tested { skipped, problems, ..Tested::of(&network, case) }
        });
        let report = Report::new("lab", lab.map(str::to_owned), tests.collect(), Vec::new());
        (report.is_fine(), report.summary())
    };
    let (failed, defect) = (Some(ProblemKind::Verdict), Some(ProblemKind::Defect));
    assert_eq!(summary([None; 5], false, None), (true, "lab: 5 passed, 0 failed, in the model alone".to_owned()));
    let some = summary([failed, None, failed, failed, None], false, None);
    assert_eq!(some, (false, "lab: 2 passed, 2 failed, 1 warning, in the model alone".to_owned()));
    let skipped = summary([None, None, None, failed, None], true, Some("x"));
    let words = "lab: 0 passed, 0 failed, 1 warning, 4 skipped, in the model and with real packets in lab x";
    assert_eq!(skipped, (true, words.to_owned()));
    let differ = "the model to differ from real packets: a defect of vnet, unless a guest filters or changes packets";
    let (_, one) = summary([defect, failed, None, None, None], false, None);
    assert!(one.ends_with(&format!("\n      1 test shows {differ}")), "{one}");
    let (_, two) = summary([defect, None, defect, None, None], false, None);
    assert!(two.ends_with(&format!("\n      2 tests show {differ}")), "{two}");
}

pub(super) fn met(node: &str) -> GuestMet {
    GuestMet { node: node.to_owned(), rules: Some(1), hooks: Vec::new() }
}

/// Rules of guests come and go while programs start: what failed by other rules than now is asked once more.
#[test]
fn packets_are_sent_again_where_the_rules_of_a_guest_changed_meanwhile() {
    let network = network("{from: web, to: db, expect: reachable}, {from: db, to: web, expect: reachable}");
    let plain = Model::of(&network);
    let queries = network.tests.iter().map(|test| Query::of(&network, test.ends().unwrap())).collect::<Vec<_>>();
    let forecasts: Vec<Forecast> = plain.forecast(&queries).ok().unwrap().into_iter().map(Result::unwrap).collect();
    let told = |changes: [usize; 2]| {
        let forecasts = forecasts.clone();
        let lab = Lab::answering(move |number, request| {
            let Request::Forecast(queries) = request else { panic!("{request:?}") };
            let mut answer = forecasts.clone();
            for (forecast, change) in answer.iter_mut().zip(changes) {
                forecast.guest_rules = if number < change { vec![met("db")] } else { Vec::new() };
            }
            // Asked again of the second alone.
            let answer = if queries.len() == 1 { answer.split_off(1) } else { answer };
            serde_json::to_value(Response::Forecast(answer.into_iter().map(Ok).collect())).unwrap()
        });
        let stop = AtomicBool::new(false);
        let model = Model::of(&network).asking(&lab.record);
        let session = Session { network: &network, model, ground: Some(&lab.record), changer: None, stop: &stop };
        let tested = session.run().ok().unwrap();
        (lab.asked(), tested.iter().map(|tested| tested.notes.len()).collect::<Vec<_>>())
    };
    let (asked, notes) = told([0, 0]);
    assert_eq!((asked, notes), (2, vec![0, 0]), "asked, and whether that is still so");
    let (asked, notes) = told([0, 1]);
    assert_eq!((asked, notes), (3, vec![0, 1]));
    let (asked, notes) = told([9, 9]);
    assert_eq!((asked, notes), (2, vec![1, 1]), "the same rules of guests as before");
}
