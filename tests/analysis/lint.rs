//! Lints: each one has a topology that shows it, and the examples have none. What each topology gives is in
//! `tests/golden/lint`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use vnet::compile::compile;
use vnet::lab::beside;
use vnet::model::{Existing, Learned};
use vnet::{analysis, config};

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "yaml")).collect();
    assert!(!files.is_empty(), "no YAML file in {folder}");
    files
}

/// What `vnet validate` finds, as data.
fn findings(file: &Path) -> Vec<Value> {
    let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
    let output = vnet.args(["validate", "-o", "json"]).arg(file).env_remove("VNET_LAB").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every lint has a case, and each finding is at a place of its own.
#[test]
fn every_lint_is_proved() {
    let mut codes = BTreeSet::new();
    for file in yaml_files("tests/golden/lint") {
        for finding in findings(&file) {
            assert_eq!(finding["severity"], "warning");
            assert!(finding["line"].as_u64().unwrap() > 1, "{finding}");
            codes.insert(finding["code"].as_str().unwrap().to_owned());
        }
    }
    let expected = [
        "appliance-not-forwarding",
        "asymmetric-site",
        "backend-never-up",
        "balanced-appliance-not-forwarding",
        "boundless-tag",
        "empty-application-group",
        "few-outbound-ports",
        "forwarded-traffic",
        "guest-not-forwarding",
        "hidden-by-azure",
        "no-priority-left",
        "one-as-number",
        "one-sided-chain",
        "one-sided-public-address",
        "one-sided-public-balancer",
        "one-sided-subnet-list",
        "one-way-peering",
        "overlapping-networks",
        "overlapping-site",
        "peering-routes-disabled",
        "private-endpoint-bypass",
        "probes-denied",
        "route-over-gateway",
        "route-server-peer",
        "routing-loop",
        "service-endpoint-wins",
        "shadowed-route",
        "unadvertised-range",
        "unreachable-next-hop",
        "unreachable-rule",
        "unused-application-group",
        "unused-route-table",
        "unused-security-group",
    ];
    assert_eq!(codes.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}

#[test]
fn examples_have_no_findings() {
    for file in yaml_files("config") {
        let loaded = config::load_with(
            &fs::read_to_string(&file).unwrap(),
            "example.yaml",
            &Existing::default(),
            &beside(&file),
        );
        let loaded = loaded.unwrap();
        let compiled = compile(&loaded.network, &Learned::default(), 1);
        assert_eq!(analysis::lint(&loaded.network, &compiled), [], "{}", file.display());
    }
}
