//! What a node's kernel has, as `ip` and `/proc/sys` say it.

use std::process::Command;

use crate::lab::{Lab, stderr, stdout};

/// What a command prints in a node; it runs from outside, and needs no program in there.
pub(crate) fn says(lab: &Lab, node: &str, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let output = lab.inside(node, || command.output().unwrap());
    assert!(output.status.success(), "{node}: {}", stderr(&output));
    stdout(&output)
}

/// A setting below `/proc/sys/net`.
pub(crate) fn setting(lab: &Lab, node: &str, name: &str) -> String {
    says(lab, node, &format!("cat /proc/sys/net/{name}")).trim().to_owned()
}

/// Addresses and routes, without loopback and without the link-local addresses of Ethernet, which chance gives.
pub(crate) fn tables(lab: &Lab, node: &str) -> Vec<String> {
    let addresses = says(lab, node, "ip -o address show");
    let addresses = addresses.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (device, family, address) = (words.next()?, words.next()?, words.next()?);
        (device != "lo").then(|| format!("{device} {family} {address}"))
    });
    let routes = [says(lab, node, "ip route"), says(lab, node, "ip -6 route")].concat();
    let routes = routes.lines().map(|line| line.trim().to_owned());
    let is_chance = |line: &String| line.contains("inet6 fe80:") || line.starts_with("fe80::/64");
    addresses.chain(routes).filter(|line| !is_chance(line)).collect()
}
