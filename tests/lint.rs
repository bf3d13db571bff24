//! What `vnet validate` says of networks that are valid and hardly meant.
//!
//! Every `tests/lint/NAME.yaml` has a twin `NAME.txt` with all that is printed; its first line names the rules that it
//! proves. `UPDATE_GOLDEN=1` rewrites the twins; read the diff.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "golden/mod.rs"]
mod golden;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use vnet::compile::compile;
use vnet::model::Learned;
use vnet::{analysis, config};

use golden::Golden;

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Exit code and standard output of `vnet validate NAME`, asked where the file is.
fn validate(file: &Path, options: &[&str]) -> (i32, String) {
    let (directory, name) = (file.parent().unwrap(), file.file_name().unwrap());
    let command = Command::new(env!("CARGO_BIN_EXE_vnet"))
        .arg("validate")
        .args(options)
        .arg(name)
        .current_dir(directory)
        .env_remove("VNET_LAB")
        .output()
        .unwrap();
    assert!(command.stderr.is_empty(), "{}", String::from_utf8_lossy(&command.stderr));
    (command.status.code().unwrap(), String::from_utf8(command.stdout).unwrap())
}

#[test]
fn every_case_gives_what_its_twin_says() {
    let mut golden = Golden::default();
    for file in yaml_files("tests/lint") {
        let (code, said) = validate(&file, &[]);
        let fine = said.contains(": fine; ");
        assert_eq!(code, if fine { 0 } else { 3 }, "{}: {said}", file.display());
        golden.check(&file.with_extension("txt"), &said);
    }
    golden.end();
}

/// Every lint has a case, and each finding is at a place of its own.
#[test]
fn every_lint_is_proved() {
    let mut codes = std::collections::BTreeSet::new();
    for file in yaml_files("tests/lint") {
        let (_, said) = validate(&file, &["-o", "json"]);
        let findings: Vec<Value> = serde_json::from_str(&said).unwrap();
        for finding in &findings {
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
        "unreachable-next-hop",
        "unreachable-rule",
        "untold-range",
        "unused-application-group",
        "unused-route-table",
        "unused-security-group",
    ];
    assert_eq!(codes.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}

#[test]
fn examples_have_no_findings() {
    for file in yaml_files("config") {
        let loaded = config::load(&fs::read_to_string(&file).unwrap(), "example.yaml").unwrap();
        let compiled = compile(&loaded.network, &Learned::default(), 1);
        assert_eq!(analysis::lint(&loaded.network, &compiled), [], "{}", file.display());
    }
}
