//! What BGP makes of a network, in memory: each topology of this directory has a twin with what every router learns, what it
//! refuses and why, what it tells whom, and what the fabric is to know. `UPDATE_GOLDEN=1` rewrites the twins.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use vnet::config;
use vnet::speakers::{Converged, RouteRow, advertised_rows, converge, learned_rows, refused_rows};

#[test]
fn networks_converge_to_their_golden_twins() {
    let mut differing = Vec::new();
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let loaded = config::load(&text, &case.display().to_string());
        let network =
            loaded.map_err(|errors| errors.render(&text, &case.display().to_string(), false)).unwrap().network;
        let listing = listing(&converge(&network, Instant::now()));
        let twin = case.with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&twin, &listing).unwrap();
        }
        if fs::read_to_string(&twin).unwrap_or_default() != listing {
            differing.push(format!("{}:\n{listing}", twin.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 rewrites:\n{}", differing.join("\n"));
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/speakers")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut cases: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    cases.sort();
    cases
}

fn listing(converged: &Converged) -> String {
    let mut text = String::new();
    for (node, speaker) in converged.nodes() {
        writeln!(text, "{} AS {} at {}", node.name, node.asn, node.address).unwrap();
        write(&mut text, "learned", learned_rows(node, speaker));
        write(&mut text, "refused", refused_rows(node, speaker));
        for peer in &node.peers {
            let to = peer.node.as_deref().unwrap_or("nobody");
            let rows = advertised_rows(node, speaker, Some(peer.remote));
            write(&mut text, &format!("told to {to}"), rows);
        }
    }
    let heard = converged.learned().bgp;
    for (who, said) in heard.said.iter().chain(&heard.beside) {
        for (prefix, said) in said {
            let path: Vec<_> = said.as_path.iter().map(ToString::to_string).collect();
            let over: Vec<_> = said.over.iter().map(String::as_str).collect();
            writeln!(text, "{who} hears {prefix}, path {}, over {}", path.join("-"), over.join(" ")).unwrap();
        }
    }
    for (connection, prefixes) in heard.over {
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
