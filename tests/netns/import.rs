//! Labs from ARM documents, with real packets.

use std::fs;

use crate::lab::{Lab, has_program, permitted, stderr, stdout, unique, vnet};

const TEMPLATE: &str = include_str!("../golden/import/template-hub-and-spokes.json");
const HUBS: &str = include_str!("../golden/import/template-two-virtual-hubs.json");

/// The lab of a document as it is.
fn up(document: &str) -> Lab {
    let mut lab = Lab::prepared("");
    lab.file = lab.file.with_file_name("azuredeploy.json");
    lab.name = unique("t");
    fs::write(&lab.file, document).unwrap();
    let output = vnet().args(["up", "-l", &lab.name]).arg(&lab.file).output().unwrap();
    assert!(output.status.success(), "vnet up: {}", stderr(&output));
    lab
}

/// A template comes up as it is, and packets pass the machine that stands for its firewall.
#[test]
fn a_template_comes_up() {
    if !permitted() || !has_program("ping") {
        return;
    }
    let lab = up(TEMPLATE);
    lab.assert_ping("a", "10.2.1.4");
    let seen = stdout(&lab.exec("a", &["ping", "-c1", "-W2", "10.2.1.4"]));
    assert!(seen.contains("ttl=63"), "one guest forwards it: {seen}");
}

/// Networks that are connected to hubs of one virtual WAN reach each other through the machines that stand for the hubs.
#[test]
fn virtual_hubs_forward() {
    if !permitted() || !has_program("ping") {
        return;
    }
    let lab = up(HUBS);
    for (to, hops) in [("10.2.0.4", "ttl=63"), ("10.3.0.4", "ttl=62")] {
        lab.assert_ping("app", to);
        let seen = stdout(&lab.exec("app", &["ping", "-c1", "-W2", to]));
        assert!(seen.contains(hops), "{to}: {seen}");
    }
    // It is associated with a table that learns nothing.
    lab.assert_dropped("lab", "10.1.0.4", "lab", "NextHopNone");
}

/// What is doubtful about a document is shown once, where the document says it.
#[test]
fn a_warning_stands_in_the_document() {
    if !permitted() {
        return;
    }
    let mut lab = Lab::prepared("");
    (lab.file, lab.name) = (lab.file.with_file_name("dump.json"), unique("t"));
    let network = "[{\"name\": \"v\", \"type\": \"Microsoft.Network/virtualNetworks\",\n\
        \"id\": \"/subscriptions/1/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v\",\n\
        \"location\": \"westeurope\", \"addressSpace\": {\"addressPrefixes\": [\"8.0.0.0/16\"]}}]";
    fs::write(&lab.file, network).unwrap();
    let output = vnet().args(["up", "-l", &lab.name]).arg(&lab.file).output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("is a public range").count(), 1, "{said}");
    assert!(said.contains("dump.json:3:64: warning"), "{said}");
}
