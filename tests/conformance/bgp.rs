//! What BGP has brought, waited for: sessions need a moment to come up, and what they say to be told on.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::commands::{data, same, word};
use crate::lab::stdout;
use crate::stage::Stage;

/// How long a word may take through a few sessions that have to be tried again.
const CONVERGENCE: Duration = Duration::from_secs(12);

/// Routes that BGP peers say and a node uses: `Prefix AsPath`. Where the node is a site, its kernel has them.
pub(crate) fn learned(stage: &Stage, node: &str, rows: &[String]) -> Outcome {
    eventually(|| {
        let answer = data(stage, &["bgp", "learned", node])?;
        let (own, told): (Vec<_>, Vec<_>) =
            answer.as_array().unwrap().iter().partition(|row| row["origin"] == "Network");
        same(
            told.iter().map(|row| format!("{} {}", word(&row["network"]), word(&row["asPath"]))).collect(),
            rows.to_vec(),
        )?;
        let is_site =
            stage.topology["sites"].as_array().is_some_and(|sites| sites.iter().any(|site| site["name"] == node));
        let foreign = |row: &&&Value| !own.iter().any(|own| own["network"] == row["network"]);
        let routes = if is_site {
            stdout(&stage.lab.exec(node, &["ip", "route", "show", "proto", "bgp"]))
        } else {
            String::new()
        };
        let has = |row: &&&Value| {
            let prefix = word(&row["network"]).replace("0.0.0.0/0", "default").replace("/32", "");
            routes.lines().any(|line| line.starts_with(&format!("{prefix} ")))
        };
        match told.iter().filter(foreign).find(|row| is_site && !has(row)) {
            None => Ok(()),
            Some(row) => Err(format!("its kernel has no route to {}: {routes}", row["network"]).into()),
        }
    })
}

/// The prefixes that lead to a gateway.
pub(crate) fn gateway_rows(stage: &Stage, of: &str, prefixes: &[String]) -> Outcome {
    eventually(|| {
        let answer = data(stage, &["routes", of])?;
        let rows = answer["value"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["source"] == "VirtualNetworkGateway");
        let mut known: Vec<_> = rows.map(|row| word(&row["addressPrefix"][0])).collect();
        // Each next hop has a row (SYS-09a).
        known.dedup();
        same(known, prefixes.to_vec())
    })
}

fn eventually(mut holds: impl FnMut() -> Outcome) -> Outcome {
    let deadline = Instant::now() + CONVERGENCE;
    loop {
        match holds() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
}
