//! One topology in another's place: a file holds the topology that runs and, after each `---`, one that is applied. The twin
//! `NAME.stderr` has the refusal of the last one, and is empty where there is none.

use std::fs;
use std::path::Path;

use vnet::config::{load, load_with, no_files};
use vnet::daemon::api::protocol::Refusal;
use vnet::daemon::change;
use vnet::model::{Existing, Network};

use super::golden;

/// The last topology of a case is refused as its twin says.
pub(crate) fn check(case: &Path) {
    golden::check(&case.with_extension("stderr"), &refusal(&fs::read_to_string(case).unwrap()));
}

/// What is said to the last topology.
fn refusal(case: &str) -> String {
    let mut topologies = case.split("\n---\n");
    let first = topologies.next().expect("a case begins with what runs");
    let running =
        load(first, "lab.yaml").unwrap_or_else(|errors| panic!("{}", errors.render(first, "lab.yaml", false)));
    let (mut running, mut said) = (running.network, None);
    for topology in topologies {
        assert!(said.is_none_or(|said: String| said.is_empty()), "only the last topology may be refused");
        said = Some(put(topology, &mut running));
    }
    said.expect("a case has two topologies")
}

/// Puts a topology in place of the network that runs, or says why not.
fn put(topology: &str, running: &mut Network) -> String {
    let wanted = load_with(topology, "lab.yaml", &Existing::of(running), &no_files);
    let loaded = match wanted.and_then(|wanted| wanted.check_update(running).map(|()| wanted)) {
        Ok(loaded) => loaded,
        Err(errors) => return errors.render(topology, "lab.yaml", false),
    };
    match change::apply(running, loaded.network, false) {
        Ok(network) => {
            *running = network;
            String::new()
        }
        Err(Refusal { message, help }) => {
            format!("error: {message}\n{}", help.map_or_else(String::new, |help| format!("help: {help}\n")))
        }
    }
}
