//! `guest: {nftables: …}`: packet filter rules that a file gives to its machines.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::lab::{Lab, has_program, permitted, stderr, stdout};

const EXAMPLE: &str = include_str!("../../config/firewall.yaml");
/// Two machines; `left` has rules of its own in a file.
const PAIR: &str = "
virtualNetworks: [{name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}]
virtualMachines:
  - {name: left, networkInterfaces: [{subnet: v/s}], guest: {nftables: rules.nft}}
  - {name: right, networkInterfaces: [{subnet: v/s}]}
";

fn input(rule: &str) -> String {
    format!("table inet own {{\n  chain in {{ type filter hook input priority 0;\n    {rule}\n  }}\n}}\n")
}

fn pair(rules: &str) -> Option<Lab> {
    if !permitted() || !has_program("nft") {
        return None;
    }
    let lab = Lab::prepared(PAIR);
    fs::write(lab.file.with_file_name("rules.nft"), rules).unwrap();
    Some(lab)
}

/// What the guest's kernel has.
fn ruleset(lab: &Lab) -> String {
    stdout(&lab.exec("left", &["nft", "list", "ruleset"]))
}

/// The rules are there before the first packet, whenever it is asked.
#[test]
fn the_example_passes_every_time() {
    if !permitted() || !has_program("nft") {
        return;
    }
    let lab = Lab::prepared(EXAMPLE);
    for _ in 0..5 {
        let output = lab.test(&[]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains("6 passed, 0 failed"), "{}", stderr(&output));
    }
}

/// Where the model alone is asked, it says that the guest decides: only where a packet passes a hook that has rules.
#[test]
fn the_model_leaves_it_to_the_guest() {
    let lab = Lab::prepared(EXAMPLE);
    let file = lab.file.to_str().unwrap();
    let explain = |from: &str, to: &str| -> Value {
        let output = lab.vnet(&["explain", "-t", file, from, to, "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    };
    let past = explain("web", "db:443");
    assert_eq!(past["guestRules"], json!([{"node": "fw", "rules": null, "hooks": ["forward"]}]), "{past:#}");
    assert_eq!(past["verdict"], "depends");
    assert_eq!(explain("web", "fw:22")["verdict"], "reachable");
    let reach = stdout(&lab.vnet(&["reach", "-t", file, "-p", "443", "-o", "json"]));
    assert!(reach.contains("guestRules"), "{reach}");
    let tests = stdout(&lab.test(&["--model-only"]));
    assert_eq!(tests.matches("# SKIP fw has firewall rules of its own").count(), 5, "{tests}");
}

/// Rules are replaced and removed with what they made; tables of others stay.
#[test]
fn apply_replaces_and_removes_rules() {
    let Some(lab) = pair(&input("tcp dport 22 drop")) else { return };
    assert_eq!(lab.start().status.code(), Some(0));
    assert!(ruleset(&lab).contains("tcp dport 22 drop"), "{}", ruleset(&lab));
    assert!(lab.exec("left", &["nft", "add", "table", "ip", "mine"]).status.success());
    fs::write(lab.file.with_file_name("rules.nft"), input("udp dport 53 drop").replace("own", "other")).unwrap();
    let applied = lab.apply(PAIR);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    let now = ruleset(&lab);
    assert!(now.contains("udp dport 53 drop") && !now.contains("table inet own"), "{now}");
    let again = lab.apply(PAIR);
    assert!(stdout(&again).contains("nothing") || stdout(&again).contains("0 "), "{}", stdout(&again));
    lab.apply(&PAIR.replace(", guest: {nftables: rules.nft}", ""));
    assert_eq!(ruleset(&lab).trim(), "table ip mine {\n}");
}

/// `nft`'s own words say where the mistake is; the machine counts as failed, and what it had stays.
#[test]
fn rules_that_nft_refuses_are_reported_with_their_line() {
    let Some(lab) = pair(&input("tcp dport nonsense-port drop")) else { return };
    let up = lab.start();
    assert_eq!(up.status.code(), Some(3), "{}", stderr(&up));
    assert!(
        stderr(&up).contains("`nft -f rules.nft` of left ended") && stderr(&up).contains("rules.nft:3:"),
        "{}",
        stderr(&up)
    );
    let status = lab.vnet(&["status"]);
    assert_eq!(status.status.code(), Some(3), "{}", stderr(&status));
    assert!(stderr(&status).contains("rules.nft:3:"), "{}", stderr(&status));
    fs::write(lab.file.with_file_name("rules.nft"), input("tcp dport 22 drop")).unwrap();
    let applied = lab.apply(PAIR);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    assert_eq!(lab.vnet(&["status"]).status.code(), Some(0));
    fs::write(lab.file.with_file_name("rules.nft"), input("tcp dport nonsense-port drop")).unwrap();
    let applied = lab.apply(PAIR);
    assert_eq!(applied.status.code(), Some(3), "{}", stderr(&applied));
    assert!(ruleset(&lab).contains("tcp dport 22 drop"), "{}", ruleset(&lab));
}

/// A file of rules belongs to the topology: no link leads out of its directory, and it has an end.
#[test]
fn files_of_rules_stay_inside_and_bounded() {
    let lab = Lab::prepared(PAIR);
    // Line by line as it stands here.
    fs::write(&lab.file, format!("name: {}\n{PAIR}", lab.name)).unwrap();
    let rules = lab.file.with_file_name("rules.nft");
    let refused = |why: &str| {
        let output = lab.vnet(&["validate", lab.file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains(why) && said.contains("lab.yaml:5:"), "{said}");
    };
    symlink("/etc/hostname", &rules).unwrap();
    refused("it is outside the topology's directory, by its path or by a symbolic link");
    fs::remove_file(&rules).unwrap();
    refused("cannot read the rules of `left`, rules.nft: No such file");
    fs::write(&rules, "#".repeat((1 << 20) + 1)).unwrap();
    refused("cannot read the rules of `left`, rules.nft: ");
}
