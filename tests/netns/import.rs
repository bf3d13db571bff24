//! Labs from ARM documents, with real packets.

use std::fs;

use crate::lab::{Lab, has_program, permitted, stderr, stdout, unique, vnet};

const TEMPLATE: &str = include_str!("../golden/import/template-hub-and-spokes.json");

/// A template comes up as it is, and packets pass the machine that stands for its firewall.
#[test]
fn a_template_comes_up() {
    if !permitted() || !has_program("ping") {
        return;
    }
    let mut lab = Lab::prepared("");
    lab.file = lab.file.with_file_name("azuredeploy.json");
    lab.name = unique("t");
    fs::write(&lab.file, TEMPLATE).unwrap();
    let output = vnet().args(["up", "-l", &lab.name]).arg(&lab.file).output().unwrap();
    assert!(output.status.success(), "vnet up: {}", stderr(&output));
    lab.assert_ping("a", "10.2.1.4");
    let seen = stdout(&lab.exec("a", &["ping", "-c1", "-W2", "10.2.1.4"]));
    assert!(seen.contains("ttl=63"), "one guest forwards it: {seen}");
}
