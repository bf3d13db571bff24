//! What the kernel is asked to do, in namespaces that the tests make (root). `ip` and `nft` say what came of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod devices;
mod filters;
mod flows;
mod namespaces;
mod pings;
mod ports;
mod processes;
mod sandboxes;
#[path = "../support/sockets.rs"]
mod sockets;
mod tuns;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vnet::sys::caps::{self, CapabilitySet};
use vnet::sys::netns::Netns;

const SOON: Duration = Duration::from_secs(10);

fn eventually(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "it never happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a test in a new namespace; not where it may not make one.
fn inside(test: impl FnOnce(&Netns) + Send) {
    if caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        let namespace = Netns::create().unwrap();
        namespace.run(|| test(&namespace)).unwrap();
    }
}

/// What a program prints that the calling thread runs in its namespace.
fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `ip` lists.
fn ip(line: &str) -> Vec<Value> {
    let text = run(&format!("ip -d -j {line}"));
    if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
}
