//! Whether tests show what they say: each is asked of the topology without it, and must fail there.
//!
//! One idea: a test that passes in both topologies proves nothing. The model is asked; where only real packets know, the
//! topology without the thing gets a lab of its own.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::analysis::{Problem, ProblemKind};
use crate::cli::consent::Consent;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::input::Input;
use crate::cli::topology;
use crate::config::{self, Without};
use crate::lab;

use super::Subject;
use super::change::Changer;
use super::report::Tested;
use super::session::Session;
use super::stage::Stage;

/// What is asked.
pub(super) struct Inquiry<'a> {
    pub(super) subject: &'a Subject,
    /// To run the code of a file where only packets know; None asks the model alone.
    pub(super) consent: Option<&'a Consent>,
    pub(super) context: &'a Context,
    pub(super) stop: &'a AtomicBool,
}

impl Inquiry<'_> {
    /// All tests of a file, each passed if it fails without what it shows.
    pub(super) fn run(&self) -> Result<Vec<Tested>, Failure> {
        let network = &self.subject.network;
        let mut all: Vec<_> = network.tests.iter().map(|case| Tested::of(network, case)).collect();
        for (index, (case, tested)) in network.tests.iter().zip(&mut all).enumerate() {
            if case.without.is_empty() {
                tested.skipped = Some("it has no `without`".to_owned());
                continue;
            }
            tested.name = format!("{}, without {}", case.name, case.without.join(", "));
            judge(tested, self.answer(&self.without(index)?)?);
        }
        Ok(all)
    }

    /// The topology without what a test shows.
    fn without(&self, index: usize) -> Result<Without, Failure> {
        let Subject { text, file, .. } = self.subject;
        let without = config::load_without(text, file, &lab::beside(Path::new(file)), index);
        without.map_err(|errors| {
            topology::show(&errors.0, &Input::plain(text.clone(), file.clone()), &self.context.messages);
            Failure::usage(format_args!("`without` of test {} leaves a topology that is not valid", index + 1))
        })
    }

    /// What becomes of the one test of a topology.
    fn answer(&self, without: &Without) -> Result<Option<Tested>, Failure> {
        let network = &without.loaded.network;
        let Subject { file, .. } = self.subject;
        let changer = Changer::of((&without.text, file), network, self.consent, self.context)?;
        let mut answers = Session::of_model(network, Some(changer), self.stop).run()?;
        let open = answers.iter().any(|answer| answer.skipped.is_some());
        if let (true, Some(consent)) = (open, self.consent) {
            let changer = Changer::of((&without.text, file), network, Some(consent), self.context)?;
            let stage = Stage::copy((&without.text, file), network, consent, self.context)?;
            let performed = stage.perform(network, Some(changer), &self.context.messages, self.stop);
            stage.clear()?;
            (answers, _) = performed?;
        }
        Ok(answers.pop())
    }
}

fn judge(tested: &mut Tested, answer: Option<Tested>) {
    let Some(answer) = answer else { return };
    tested.expect = answer.expect;
    tested.model = answer.model;
    tested.packets = answer.packets;
    tested.notes = answer.problems.iter().map(|problem| problem.text.clone()).collect();
    tested.skipped = answer.skipped;
    if tested.skipped.is_none() && answer.problems.is_empty() {
        let text = "it passes without that, too: it does not show what it is there for".to_owned();
        tested.problems.push(Problem { kind: ProblemKind::Idle, text });
    }
}
