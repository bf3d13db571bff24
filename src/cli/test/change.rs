//! Tests of what a change costs (`during`): another file is applied to the lab while packets go, and then the first again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::analysis::Query;
use crate::cli::ask::unexpected;
use crate::cli::consent::Consent;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::input::Input;
use crate::cli::topology;
use crate::daemon::api::client;
use crate::daemon::api::protocol::{Apply, Change, Request, Response};
use crate::lab::traffic::steady::{self, Tally};
use crate::lab::{LARGEST_TOPOLOGY, Record, read_inside};
use crate::model::{DuringTest, Network, Question, TestCase, counted};

use super::model::Model;
use super::report::Tested;
use super::said::{Answers, Foretold, Said};
use super::session::Session;
use super::stage;

/// A topology's text and network.
struct Version {
    input: Input,
    network: Network,
}

/// The files that tests apply, by name, and the one that they start from.
pub(super) struct Changer {
    start: Version,
    files: BTreeMap<String, Version>,
    no_run: bool,
}

impl Changer {
    /// Reads all files that tests apply. `consent` settles what becomes of their code; None where nothing is applied.
    pub(super) fn of(
        (text, file): (&str, &str),
        network: &Network,
        consent: Option<&Consent>,
        context: &Context,
    ) -> Result<Self, Failure> {
        let mut files = BTreeMap::new();
        for case in &network.tests {
            let Question::During(wanted) = &case.question else { continue };
            if files.contains_key(&wanted.apply) || case.conduct.skip.is_some() {
                continue;
            }
            let version = read(file, &wanted.apply, context)?;
            if let Some(consent) = consent {
                consent.settle(&version.network, &version.input.text, &version.input.name, context)?;
            }
            files.insert(wanted.apply.clone(), version);
        }
        let start = Version { input: Input::plain(text.to_owned(), file.to_owned()), network: network.clone() };
        Ok(Self { start, files, no_run: consent.is_some_and(Consent::leaves_out) })
    }

    fn apply(&self, lab: &Record, version: &Version) -> Result<(), String> {
        let apply = Apply {
            text: version.input.text.clone(),
            service_tags: topology::service_tags(&version.network),
            nftables: topology::nftables(&version.network),
            file: version.input.name.clone(),
            path: None,
            dry_run: false,
            sync: false,
            no_run: self.no_run,
            agreed: true,
        };
        match client::ask(&lab.socket, &Request::Change(Change::Apply(apply))) {
            Ok(Response::Changed(_)) => Ok(()),
            Ok(other) => Err(unexpected(&other).message),
            Err(error) => Err(format!("cannot apply {}: {error}", version.input.name)),
        }
    }
}

/// A file beside the topology.
fn read(topology: &str, file: &str, context: &Context) -> Result<Version, Failure> {
    let directory = Path::new(topology).parent().map(Path::to_owned).unwrap_or_default();
    let path = directory.join(file);
    let text = read_inside(&directory, Path::new(file), LARGEST_TOPOLOGY);
    let text =
        text.map_err(|error| Failure::new(Exit::Usage, format_args!("cannot read {}: {error}", path.display())))?;
    let input = Input::plain(text, path.display().to_string());
    let network = topology::load(&input, context)?.network;
    Ok(Version { input, network })
}

impl Session<'_> {
    pub(super) fn during(&self, case: &TestCase, wanted: &DuringTest, tested: &mut Tested) -> Result<Answers, Failure> {
        let expected = format!("{} lost at most", packets(wanted.loss));
        let forecast = self.foretell(&wanted.ends, tested)?;
        let Some(changer) = &self.changer else {
            let why = "it changes the lab, which is not the test's own: name the file".to_owned();
            return Ok(Answers { expected, model: Foretold::Unknown(why), seen: None });
        };
        let Some(version) = changer.files.get(&wanted.apply) else {
            let why = format!("{} was not read", wanted.apply);
            return Ok(Answers { expected, model: Foretold::Unknown(why.clone()), seen: Some(Err(why)) });
        };
        let model = match Foretold::reaching(&forecast, case.packets_only) {
            Foretold::Partly(before) if before.holds => self.after(version, wanted, &before),
            unlike => unlike,
        };
        let Some(lab) = self.ground.filter(|_| model.said().is_none_or(|said| said.holds)) else {
            return Ok(Answers { expected, model, seen: None });
        };
        let seen = || -> Result<Said, String> {
            let trial = self.trial_between(case, &wanted.ends, forecast.as_ref()?, true)?;
            let change = || changer.apply(lab, version);
            let done = steady::during(lab, self.network, &trial, wanted.span, change);
            let Some((applied, tally)) = done.map_err(|error| error.to_string())? else {
                let text = "no answer even before the change".to_owned();
                return Ok(Said { holds: false, text, fact: None });
            };
            applied?;
            Ok(Said::of_tally(wanted, tally))
        };
        let seen = seen();
        let restored = changer.apply(lab, &changer.start);
        stage::wait_for_routes(lab, self.network, self.stop)?;
        Ok(Answers { expected, model, seen: Some(seen.and_then(|said| restored.map(|()| said))) })
    }

    /// What the model says of the same packets in the other file's network.
    fn after(&self, version: &Version, wanted: &DuringTest, before: &Said) -> Foretold {
        let query = Query::of(self.network, &wanted.ends);
        let forecast = Model::of(&version.network).forecast(&[query]);
        let forecast = forecast
            .map_err(|failure| failure.message)
            .and_then(|mut all| all.pop().unwrap_or_else(|| Err("the model has no answer".to_owned())));
        match Foretold::reaching(&forecast, false) {
            // Without an answer to compare: how many are lost is for packets.
            Foretold::Partly(after) => {
                let text = format!("{} before {} is applied, {} after", before.text, wanted.apply, after.text);
                Foretold::Partly(Said { text, fact: None, ..after })
            }
            unlike => unlike,
        }
    }
}

impl Said {
    fn of_tally(wanted: &DuringTest, tally: Tally) -> Self {
        let Tally { sent, lost, longest_gap, broken } = tally;
        let gap = longest_gap.as_millis();
        let end = if broken { "; the connection broke" } else { "" };
        let text = format!("{lost} of {} lost, {gap} ms the longest time without an answer{end}", packets(sent));
        Self { holds: lost <= wanted.loss && !broken, text, fact: None }
    }
}

fn packets(count: u32) -> String {
    counted(count, "packet")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::cli::test::tests::{Lab, network};

    #[test]
    fn a_change_may_lose_as_many_packets_as_the_test_allows() {
        let said = |loss: u32, lost, broken| {
            let test = format!("{{from: web, to: db, during: {{apply: other.yaml, loss: {loss}}}}}");
            let Question::During(wanted) = network(&test).tests.remove(0).question else { panic!("{test}") };
            let longest_gap = Duration::from_micros(41_900);
            let said = Said::of_tally(&wanted, Tally { sent: 200, lost, longest_gap, broken });
            (said.holds, said.text)
        };
        let text = |lost: u32| format!("{lost} of 200 packets lost, 41 ms the longest time without an answer");
        for (loss, lost, holds) in [(0, 0, true), (0, 1, false), (3, 3, true), (3, 4, false)] {
            assert_eq!(said(loss, lost, false), (holds, text(lost)));
        }
        assert_eq!(said(9, 1, true), (false, format!("{}; the connection broke", text(1))));
    }

    /// The lab gets the whole file; what it says against it is the test's answer.
    #[test]
    fn a_lab_that_does_not_take_the_file_says_why() {
        let network = network("{from: web, to: db, during: apply other.yaml}");
        let version = || Version {
            input: Input::plain("text".to_owned(), "dir/other.yaml".to_owned()),
            network: network.clone(),
        };
        let changer = Changer { start: version(), files: BTreeMap::new(), no_run: true };
        let lab = Lab::answering(|number, request| {
            let Request::Change(Change::Apply(apply)) = request else { panic!("{request:?}") };
            assert_eq!((apply.text.as_str(), apply.file.as_str()), ("text", "dir/other.yaml"));
            assert!(apply.no_run && apply.agreed && !apply.dry_run && !apply.sync);
            match number {
                0 => json!({"changed": {"lab": "lab", "applied": true, "generation": 2, "warnings": [], "restored": [],
                                        "changes": [], "flows": []}}),
                1 => json!({"refused": {"message": "not that", "help": null}}),
                _ => json!("stopping"),
            }
        });
        assert_eq!(changer.apply(&lab.record, &version()), Ok(()));
        assert_eq!(changer.apply(&lab.record, &version()), Err("cannot apply dir/other.yaml: not that".to_owned()));
        assert!(changer.apply(&lab.record, &version()).is_err(), "an answer to something else");
        std::fs::remove_file(&lab.record.socket).unwrap();
        let gone = changer.apply(&lab.record, &version()).unwrap_err();
        assert!(gone.starts_with("cannot apply dir/other.yaml: "), "{gone}");
    }
}
