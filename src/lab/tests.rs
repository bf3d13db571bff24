//! What the unit tests of this module have in common: networks, records, and namespaces that go with their value.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use crate::config;
use crate::model::{Leases, Network, RunPolicy};
use crate::sys::caps;
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;
use crate::sys::process::{self, ProcessId};

use super::journal::record::{Record, RecordedNode};

/// The network that a file describes.
pub(super) fn network(text: &str) -> Network {
    config::load(text, "lab.yaml").map_err(|errors| format!("{errors:?}")).unwrap().network
}

/// A namespace without a name. Its loopback device is up.
pub(super) struct Place {
    pub(super) namespace: Netns,
    pub(super) path: PathBuf,
}

impl Place {
    /// None where that is not permitted.
    pub(super) fn new() -> Option<Self> {
        if !caps::permit_namespaces() {
            return None;
        }
        let namespace = Netns::create().unwrap();
        let up = || {
            let mut netlink = Netlink::open().unwrap();
            let loopback = netlink.link("lo").unwrap();
            netlink.up(loopback).unwrap();
        };
        namespace.run(up).unwrap();
        let path = PathBuf::from(format!("/proc/{}/fd/{}", process::own_id(), namespace.as_fd().as_raw_fd()));
        Some(Self { namespace, path })
    }
}

pub(super) fn node(name: &str, namespace: &Path) -> RecordedNode {
    RecordedNode {
        name: name.to_owned(),
        machine: true,
        namespace: namespace.to_owned(),
        resolver: None,
        devices: BTreeMap::from([("nic1".to_owned(), "eth0".to_owned())]),
    }
}

/// Of a lab that this process runs.
pub(super) fn record(nodes: Vec<RecordedNode>) -> Record {
    Record {
        lab: "lab".to_owned(),
        daemon: ProcessId::current().unwrap(),
        file: "lab.yaml".to_owned(),
        since: 0,
        renamed: false,
        after_crash: false,
        rootless: false,
        socket: "/nowhere/control.sock".into(),
        hosts: "/nowhere/hosts".into(),
        nodes,
        stopped: Vec::new(),
        addresses: Leases::default(),
        programs: Vec::new(),
        directory: "/".into(),
        policy: RunPolicy::default(),
    }
}
