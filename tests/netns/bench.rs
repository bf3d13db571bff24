//! `vnet bench`: what it counts is what the router counts.

use serde_json::Value;

use crate::lab::{Lab, eventually, stderr, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");
const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

#[test]
fn every_load_goes_through_the_router() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let received = || -> u64 {
        let counters = lab.data(&["counters"]);
        let web = counters.as_array().unwrap().iter().find(|row| row["node"] == "web").unwrap();
        web["rxPackets"].as_u64().unwrap()
    };
    let bench =
        |arguments: &[&str]| -> Value { lab.data(&[&["bench", "web", "db", "--seconds", "0.2"], arguments].concat()) };

    let before = received();
    let udp = bench(&["--only", "udp", "--size", "100", "--flows", "3", "--rate", "1000"]);
    let sent = udp["udp"]["sent"].as_u64().unwrap();
    eventually("all are counted", || received() - before >= sent);
    let counted = received() - before;
    // The guest's kernel may have had a word of its own to say.
    assert!((sent..sent + 20).contains(&counted), "{counted}: {udp}");
    // So few that they fit into the receiver's socket all at once, and what is busy may make it fewer.
    assert!((20..=210).contains(&sent), "at most 1,000 a second: {udp}");
    assert_eq!((&udp["udp"]["received"], &udp["udp"]["lostPercent"]), (&sent.into(), &0.0.into()), "{udp}");
    assert!(udp.get("tcp").is_none() && udp.get("latency").is_none(), "{udp}");

    // A fifth of a second may pass on a busy machine without a single round trip.
    eventually("each load is measured", || {
        let all = bench(&["--streams", "2"]);
        all["tcp"]["bytes"].as_u64().unwrap() > 100_000
            && all["latency"]["p50Micros"].as_f64().unwrap() > 1.0
            && all["latency"]["p99Micros"].as_f64() >= all["latency"]["p50Micros"].as_f64()
            && all["connects"]["count"].as_u64().unwrap() > 0
    });
}

#[test]
fn what_is_blocked_is_not_measured() {
    let Some(lab) = Lab::up(TIERS) else { return };
    let blocked = lab.vnet(&["bench", "web", "db", "--only", "tcp", "--seconds", "0.2"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(stderr(&blocked).contains("cannot connect to 10.40.3.4"), "{}", stderr(&blocked));
    let unknown = lab.vnet(&["bench", "web", "8.8.8.8"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("8.8.8.8 is no machine"), "{}", stderr(&unknown));
}

/// Load for an hour, and the lab is gone.
#[test]
fn it_does_not_outlive_the_lab() {
    for load in ["tcp", "udp", "latency", "connects"] {
        let Some(lab) = Lab::up(HUB_SPOKE) else { return };
        let mut bench = vnet();
        let bench = bench.args(["-l", &lab.name, "bench", "web", "db", "--seconds", "3600", "--only", load]);
        let mut bench = bench.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let received = || lab.data(&["counters"])[0]["rxPackets"].as_u64().unwrap();
        eventually("it sends", || received() > 200);
        lab.crash();
        eventually("it ends", || bench.try_wait().unwrap().is_some());
        let output = bench.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{load}: {}", stderr(&output));
        assert!(stderr(&output).contains("has ended meanwhile"), "{load}: {}", stderr(&output));
    }
}
