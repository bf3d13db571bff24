//! What `explain` says about a topology, and each example in `config/`: the twin has the answer to each test's question, and then to the same
//! question without what the test shows, with the cause and the fix.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use vnet::analysis::{self, Explanation, Fix, Query};
use vnet::bgp::topology::converge;
use vnet::compile::compile;
use vnet::config;
use vnet::lab::beside;
use vnet::model::{Existing, Network, TestEnds};

use super::{golden, masks};

/// The port that a question is asked from.
const ASKED_FROM: u16 = 49_152;

/// The answers are those of the twin.
pub(crate) fn check(case: &Path) {
    let (yaml, file, files) = (fs::read_to_string(case).unwrap(), case.display().to_string(), beside(case));
    let whole = config::load_with(&yaml, &file, &Existing::default(), &files);
    let whole = whole.unwrap_or_else(|errors| panic!("{}", errors.render(&yaml, &file, false))).network;
    let mut text = String::new();
    for (index, test) in whole.tests.iter().enumerate() {
        let Some(ends) = test.ends() else { continue };
        writeln!(text, "\n# {}", test.name).unwrap();
        text += &answer(&whole, ends);
        if !test.without.is_empty() {
            writeln!(text, "## without {}", test.without.join(", ")).unwrap();
            let broken = config::load_without(&yaml, &file, &files, index);
            let broken = broken.unwrap_or_else(|errors| panic!("{}: {errors}", test.name)).loaded.network;
            text += &broken.tests[0].ends().map(|ends| answer(&broken, ends)).unwrap();
        }
    }
    golden::check(&Path::new("tests/golden/explain").join(case.with_extension("txt").file_name().unwrap()), &text);
}

fn answer(network: &Network, ends: &TestEnds) -> String {
    let compiled = compile(network, &converge(network, Instant::now()).learned(), 1);
    match analysis::explain(network, &compiled, &Query::of(network, ends), Instant::now()) {
        Ok(explanation) => words(&explanation),
        Err(error) => format!("no answer: {error}\n"),
    }
}

fn words(told: &Explanation) -> String {
    let mut text = format!("{} to {}, {}: {}\n", told.source, told.destination, told.probe, told.verdict);
    for (way, path) in [("there", Some(&told.forward)), ("back", told.back.as_ref())] {
        for hop in path.iter().flat_map(|path| &path.hops) {
            writeln!(text, "{way} {}", hop.nic).unwrap();
            for step in &hop.steps {
                writeln!(text, "  {:?} {}: {}", step.what, step.object, masks::ports(&step.text, ASKED_FROM)).unwrap();
            }
        }
    }
    for branch in &told.branches {
        writeln!(text, "by hash via {:?}, back {:?}: {:?}", branch.via, branch.via_return, branch.dropped).unwrap();
    }
    let mut say = |word: &str, message: &dyn std::fmt::Display| writeln!(text, "{word}: {message}").unwrap();
    told.cause.iter().for_each(|cause| say("cause", cause));
    told.reasons.iter().for_each(|reason| say("why", reason));
    told.fix.iter().for_each(|fix| say("fix", &remedy(fix)));
    for further in &told.further {
        say("then", &further.cause);
        further.fix.iter().for_each(|fix| say("fix", &remedy(fix)));
    }
    told.warnings.iter().for_each(|warning| say("warning", warning));
    told.guest_rules.iter().for_each(|guest| say("guest", guest));
    text
}

fn remedy(fix: &Fix) -> String {
    let commands = fix.commands.iter().map(|command| format!("\n  {command}"));
    let changes = fix.changes.iter().map(|change| {
        change
            .value
            .as_ref()
            .map_or(format!("\n  remove {}", change.path), |value| format!("\n  {}: {value}", change.path))
    });
    let checked = if fix.checked { "" } else { " (not checked)" };
    format!("{}{checked}{}", fix.text, commands.chain(changes).collect::<String>())
}
