//! The system: real namespaces, real TUNs, real clients, through the built binary.
//!
//! Skips, saying why, where it may not make namespaces; with `CI` set that is a failure. Every lab has a name of its own
//! and goes with the value that stands for it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod agreement;
mod agreement_topology;
mod apply;
mod ask;
mod attach;
mod balancer;
mod bench;
mod bgp;
#[path = "../support/capture.rs"]
mod capture;
mod capture_files;
mod carried;
mod confinement;
mod consent;
mod containers;
mod convergence;
mod crowd;
mod directory;
mod egress;
mod examples;
mod express_route;
mod faults;
mod firewall;
mod flood;
mod flow_cache;
mod flow_logs;
mod flows;
mod gateway;
#[path = "../support/gateways.rs"]
mod gateways;
mod guest_rules;
mod import;
#[path = "../support/lab.rs"]
mod lab;
mod life;
mod limits;
mod nftables;
mod old_tables;
mod opened;
mod own_router;
mod peering;
mod platform;
mod rollback;
mod route_server;
mod sandbox;
mod scenarios;
#[path = "../support/schema.rs"]
#[allow(dead_code, reason = "shared with `analysis`, which uses the rest")]
mod schema;
mod spread;
mod steering;
mod tagged_frames;
mod taken;
mod test_command;
mod test_questions;
mod top;
mod trace;
mod traffic;
mod transit;
mod translated;
mod two_links;
mod vpn_nat;
