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

/// The prefixes that lead to a gateway, each with its next hops where the scenario names them.
pub(crate) fn gateway_rows(stage: &Stage, of: &str, expected: &[String]) -> Outcome {
    let named = |prefix: &str| expected.iter().any(|row| row.split_once(' ').is_some_and(|(known, _)| known == prefix));
    eventually(|| {
        let answer = data(stage, &["routes", of])?;
        let rows = answer["value"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["source"] == "VirtualNetworkGateway");
        let mut known: Vec<String> = Vec::new();
        // Each next hop has a row (SYS-09a).
        for row in rows {
            let (prefix, hop) = (word(&row["addressPrefix"][0]), word(&row["nextHopIpAddress"][0]));
            match known.last_mut().filter(|last| last.split(' ').next() == Some(&prefix)) {
                Some(last) if named(&prefix) => last.extend([" ", &hop]),
                Some(_) => {}
                None if named(&prefix) => known.push(format!("{prefix} {hop}")),
                None => known.push(prefix),
            }
        }
        same(known, expected.to_vec())
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
