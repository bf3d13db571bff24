//! Pictures in other forms: the twin has what `vnet graph` draws of an example as text, for Graphviz and for Mermaid; and as text,
//! the way of the packet of its first test, the answers that machines get, and what the first test's `without` takes away.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use vnet::analysis::graph::{Graph, Metrics, compared, dot, draw, graph, mermaid, text, with_path, with_reach};
use vnet::analysis::{Query, explain, plan, reach, traffic};
use vnet::bgp::topology::converge;
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::lab::beside;
use vnet::model::{Existing, Network, Probe};

use super::{golden, masks};

/// The pictures are those of the twin.
pub(crate) fn check(case: &Path) {
    let (yaml, file, files) = (fs::read_to_string(case).unwrap(), case.display().to_string(), beside(case));
    let network = config::load_with(&yaml, &file, &Existing::default(), &files).unwrap().network;
    let tables = compiled(&network);
    let plain = graph(&network, false);
    let mut pictures = vec![in_text(&plain), dot(&plain), mermaid(&plain), in_text(&graph(&network, true))];

    let mut reached = plain.clone();
    let ping = traffic(&network, Some(Probe::Ping), BTreeSet::new());
    with_reach(&mut reached, &reach(&network, &tables, &ping).unwrap());
    pictures.push(in_text(&reached));

    if let Some(ends) = network.tests.first().and_then(|test| test.ends()) {
        let mut way = plain.clone();
        with_path(&mut way, &network, &explain(&network, &tables, &Query::of(&network, ends), Instant::now()).unwrap());
        pictures.push(in_text(&way));
    }
    if let Some(index) = network.tests.iter().position(|test| !test.without.is_empty()) {
        let broken = config::load_without(&yaml, &file, &files, index).unwrap().loaded.network;
        let lost = plan((&network, &tables), (&broken, &compiled(&broken)));
        pictures.push(in_text(&compared(&plain, &graph(&broken, false), &lost)));
    }
    let twin = Path::new("tests/golden/text").join(case.with_extension("txt").file_name().unwrap());
    golden::check(&twin, &masks::hashes(&pictures.join("\n")));
}

fn compiled(network: &Network) -> Compiled {
    compile(network, &converge(network, Instant::now()).learned(), 1)
}

fn in_text(drawn: &Graph) -> String {
    text(&draw(drawn, &Metrics::characters(100)))
}
