//! The pictures of the pages: `vnet graph` draws each, and each is as it draws it now.
//!
//! `scripts/pictures.sh` draws them anew.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::golden;
use crate::page::{self, root};

/// A picture's name, and what `vnet graph` is asked for, in the words of a shell without quotes.
const PICTURES: [(&str, &str); 14] = [
    ("active-active", "-t config/active-active.yaml"),
    ("change", "-t config/hub-spoke.yaml --diff docs/pictures/changed.yaml"),
    ("dual-stack", "-t config/dual-stack.yaml"),
    ("firewall", "-t config/firewall.yaml --path web db:443"),
    ("flow-logs", "-t config/flow-logs.yaml"),
    ("hub-spoke", "-t config/hub-spoke.yaml"),
    ("hub-spoke-way", "-t config/hub-spoke.yaml --path web db:443"),
    ("internet", "-t config/internet.yaml"),
    ("load-balancer", "-t config/load-balancer.yaml"),
    ("nsg-tiers-way", "-t config/nsg-tiers.yaml --path web db:5432"),
    ("private-access", "-t config/private-access.yaml"),
    ("private-cloud-full", "-t config/private-cloud-full.yaml"),
    ("route-server", "-t config/route-server.yaml"),
    ("subnet-peering", "-t config/subnet-peering.yaml"),
];

#[test]
fn pictures_are_as_the_program_draws_them() {
    for (name, asked) in PICTURES {
        let mut vnet = Command::new(env!("CARGO_BIN_EXE_vnet"));
        let asked = vnet.args(["graph", "-o", "svg"]).args(asked.split(' ')).current_dir(root());
        let output = asked.env_remove("VNET_LAB").output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        golden::check(&root().join(format!("docs/pictures/{name}.svg")), &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn every_guide_shows_a_picture_and_every_picture_is_shown() {
    let pages: Vec<_> = page::ours().collect();
    let shown = |text: &str| -> BTreeSet<String> {
        let links = text.split("pictures/").skip(1).filter_map(|rest| rest.split_once(".svg)"));
        links.map(|(name, _)| name.to_owned()).collect()
    };
    for page in &pages {
        let path = page.path.display().to_string();
        if path.starts_with("docs/guide/") && !path.ends_with("README.md") || path == "README.md" {
            assert!(!shown(&page.text).is_empty(), "{path} shows no picture of docs/pictures");
        }
    }
    let all: BTreeSet<_> = pages.iter().flat_map(|page| shown(&page.text)).collect();
    assert_eq!(all, PICTURES.map(|(name, _)| name.to_owned()).into(), "the pages, and the list of pictures");
    let files = fs::read_dir(root().join("docs/pictures")).unwrap();
    let files = files.filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".svg").map(str::to_owned));
    assert_eq!(files.collect::<BTreeSet<_>>(), all, "the files of docs/pictures, and the pages");
}
