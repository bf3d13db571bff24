//! The files of `config/` with real packets, as `scripts/examples.sh` runs them: one lab a file, one table.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use crate::lab::{Lab, eventually, has_program, permitted, say, stderr, stdout, vnet};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_file_of_config_passes_its_tests() {
    // What the examples run in their machines, and what the script uses.
    let programs = ["unshare", "python3", "openssl", "bird", "vtysh"];
    if !permitted() || !programs.iter().all(|program| has_program(program)) {
        return;
    }
    let script = Path::new(ROOT).join("scripts/examples.sh");
    let output = Command::new(script).env("VNET", env!("CARGO_BIN_EXE_vnet")).env_remove("VNET_LAB").output().unwrap();
    let table = stdout(&output);
    say(&table);
    assert_eq!(output.status.code(), Some(0), "{table}{}", stderr(&output));
    let rows: Vec<_> = table.lines().skip(1).collect();
    let files = fs::read_dir(Path::new(ROOT).join("config")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    assert_eq!(rows.len(), files.count(), "{table}");
    for row in rows {
        // The file, its result, passed, failed, skipped, seconds.
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!((words[1], words[3], words[4]), ("ok", "0", "0"), "{row}");
        assert_ne!(words[2], "0", "{row}");
    }
}

/// What the model does not know real packets show, in a lab without the thing: here, what appliances say by BGP.
#[test]
fn a_test_for_packets_fails_without_what_it_shows() {
    if !permitted() || !has_program("bird") {
        return;
    }
    let file = format!("{ROOT}/config/route-server.yaml");
    let output = vnet().args(["test", "--without", &file]).output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 3, "{text}");
    assert!(!text.contains("SKIP") && text.contains("the packets say blocked"), "{text}");
}

fn example(name: &str) -> String {
    fs::read_to_string(format!("{ROOT}/config/{name}.yaml")).unwrap()
}

/// How many pings were sent, and how many came back.
fn counted(ping: &str) -> (usize, usize) {
    let line = ping.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("{ping}"));
    let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

/// Static routes, then BGP, then two active instances, applied to a lab that runs. What stays within the network loses
/// nothing; what goes through the tunnel loses what its change takes, which is said.
#[test]
fn a_gateway_grows_while_packets_flow() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&example("gateway-1-static")).among_examples();
    assert_eq!(lab.start().status.code(), Some(0));
    let (inside, outside) = thread::scope(|scope| {
        // 6 s of pings, 20 a second.
        let ping = |to: &'static str| {
            let lab = &lab;
            scope.spawn(move || stdout(&lab.exec("app", &["ping", "-q", "-i0.05", "-c120", "-W1", to])))
        };
        let (inside, outside) = (ping("10.10.1.5"), ping("192.168.50.10"));
        let connected = |count: usize| {
            let peers = lab.data(&["bgp", "peers", "hub-gw"]);
            // Active instances speak with each other, too.
            let devices = peers.as_array().unwrap().iter().filter(|peer| peer["asn"] == 65010);
            devices.filter(|peer| peer["state"] == "Connected").count() == count
        };
        for (file, sessions) in [("gateway-2-bgp", 1), ("gateway-3-active-active", 4)] {
            lab.apply(&example(file));
            eventually("the sessions are up", || connected(sessions));
        }
        (inside.join().unwrap(), outside.join().unwrap())
    });
    let ((sent, received), (asked, answered)) = (counted(&inside), counted(&outside));
    say(&format!(
        "of {sent} pings within the network {} are lost, of {asked} through the tunnel {}",
        sent - received,
        asked - answered
    ));
    assert_eq!(sent, received, "{inside}");
    assert!(answered * 2 > asked, "{outside}");
    lab.assert_ping("app", "192.168.51.10");
}

/// The drill: without its own tunnel the first site is reached by the recovery site's gateway.
#[test]
fn a_recovery_site_carries_what_the_first_one_cannot() {
    let Some(lab) = Lab::up(&example("disaster-recovery")) else { return };
    let next_hop = || stdout(&lab.exec("dc1", &["ip", "route", "show", "10.61.0.0/16"]));
    eventually("its gateway leads to the first site", || next_hop().contains("via 10.61.255.30"));
    let text = example("disaster-recovery");
    let lines = text.lines().filter(|line| !line.contains("{name: sea-dc1,"));
    let drill = lines.fold(String::new(), |text, line| text + line + "\n");
    lab.apply(&drill);
    eventually("the recovery site's gateway leads there", || next_hop().contains("via 10.71.255.30"));
    lab.assert_ping("dc1", "10.61.1.4");
    lab.assert_ping("app-sea", "192.168.61.10");
}

/// LB-03, LB-41: with `SourceIP` all connections of a site have one server, by default they do not.
#[test]
fn lb_03_a_site_stays_with_one_server() {
    if !has_program("openssl") {
        return;
    }
    let text = example("balancer-from-on-premises");
    let Some(lab) = Lab::up(&text) else { return };
    // Each server makes a certificate of its own.
    let ask = "openssl s_client -connect 10.20.1.100:443 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint";
    let server = || stdout(&lab.exec("dc", &["sh", "-c", ask]));
    let servers =
        |count: usize| (0..count).map(|_| server()).filter(|server| !server.is_empty()).collect::<BTreeSet<_>>();
    let both_up = || {
        let rows = lab.data(&["lb", "web"]).to_string();
        rows.matches("\"eligible\":true").count() == 3
    };
    eventually("both servers are up", both_up);
    assert_eq!(servers(16).len(), 1);
    lab.apply(&text.replace(", loadDistribution: SourceIP", ""));
    eventually("connections have both servers", || servers(8).len() == 2);
}
