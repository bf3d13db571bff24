//! Plans: the twin has what `vnet apply --dry-run` says of a topology that is applied to a lab with one empty network, and of the
//! reverse.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vnet::analysis::{Plan, plan};
use vnet::compile::compile;
use vnet::config;
use vnet::lab::beside;
use vnet::model::{Existing, Learned, Network};

use super::{golden, masks};

const EMPTY: &str = "virtualNetworks: [{name: empty, location: westeurope, addressSpace: [10.255.0.0/24]}]";

/// The plans are those of the twin, which is here also for a file of another folder.
pub(crate) fn check(case: &Path) {
    let (text, file) = (fs::read_to_string(case).unwrap(), case.display().to_string());
    let before = config::load(EMPTY, &file).unwrap().network;
    let after = config::load_with(&text, &file, &Existing::default(), &beside(case)).unwrap().network;
    let written = words(&between(&before, &after)) + "\n" + &words(&between(&after, &before));
    golden::check(&Path::new("tests/golden/plan").join(case.with_extension("txt").file_name().unwrap()), &written);
}

fn between(before: &Network, after: &Network) -> Plan {
    let [old, new] = [before, after].map(|network| compile(network, &Learned::default(), 1));
    plan((before, &old), (after, &new))
}

fn words(plan: &Plan) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        writeln!(text, "{:?} {} {}", change.action, change.kind, change.name).unwrap();
        for property in &change.properties {
            let value = property.after.as_deref().unwrap_or_default();
            writeln!(text, "  {}: {}", property.property, masks::hashes(value)).unwrap();
        }
    }
    for flows in &plan.flows {
        writeln!(text, "flows of {}: {:?}", flows.nic, flows.effect).unwrap();
    }
    text
}
