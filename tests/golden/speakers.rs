//! What BGP makes of a network, in memory: the twin has what every router learns, what it refuses and why, what it advertises
//! to each peer, and what the fabric learns.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use vnet::bgp::topology::{Converged, RouteRow, advertised_rows, converge, learned_rows, refused_rows};
use vnet::config;
use vnet::lab::beside;
use vnet::model::Existing;

use super::golden;

/// The routers of a topology converge to what the twin says, which is here also for a file of another folder.
pub(crate) fn check(case: &Path) {
    let (text, file) = (fs::read_to_string(case).unwrap(), case.display().to_string());
    let loaded = config::load_with(&text, &file, &Existing::default(), &beside(case));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(&text, &file, false)));
    let twin = Path::new("tests/golden/speakers").join(case.with_extension("txt").file_name().unwrap());
    let listing = listing(&converge(&loaded.network, Instant::now()));
    // Without a router there is nothing to say.
    if !listing.is_empty() || twin.exists() {
        golden::check(&twin, &listing);
    }
}

fn listing(converged: &Converged) -> String {
    let mut text = String::new();
    for (node, speaker) in converged.nodes() {
        writeln!(text, "{} AS {} at {}", node.name, node.asn, node.address).unwrap();
        write(&mut text, "learned", learned_rows(node, speaker));
        write(&mut text, "refused", refused_rows(node, speaker));
        for peer in &node.peers {
            let to = peer.node.as_deref().unwrap_or("no router");
            let rows = advertised_rows(node, speaker, Some(peer.remote));
            write(&mut text, &format!("advertised to {to}"), rows);
        }
    }
    let heard = converged.learned().bgp;
    for (name, said) in heard.by_circuit.iter().chain(&heard.by_gateway) {
        for (prefix, said) in said {
            let path: Vec<_> = said.as_path.iter().map(ToString::to_string).collect();
            let over: Vec<_> = said.over.iter().map(String::as_str).collect();
            writeln!(text, "{name} learns {prefix}, path {}, over {}", path.join("-"), over.join(" ")).unwrap();
        }
    }
    for (connection, prefixes) in heard.by_connection {
        let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        writeln!(text, "over {connection}: {}", prefixes.join(" ")).unwrap();
    }
    text
}

fn write(text: &mut String, what: &str, rows: Vec<RouteRow>) {
    for row in rows {
        let from = row.next_hop.map_or_else(|| "itself".to_owned(), |hop| format!("via {hop}"));
        let path = if row.as_path.is_empty() { String::new() } else { format!(", path {}", row.as_path) };
        let why = row.refused.map_or_else(String::new, |why| format!(": {why}"));
        writeln!(text, "  {what} {} {from}{path}{why}", row.network).unwrap();
    }
}
