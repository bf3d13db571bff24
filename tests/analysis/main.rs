//! Answers about a network, as data: `explain`, `reach`, `flow-verify`, real packets against the model, pictures, lints, plans, listings and flow logs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balancers;
mod branches;
mod circuits;
mod explain;
mod filter;
mod flow_log;
mod flow_verify;
#[path = "../support/golden.rs"]
mod golden;
mod graph;
mod lint;
mod peering;
mod plan;
mod reach;
#[path = "../support/schema.rs"]
mod schema;
mod shares;
#[allow(dead_code, reason = "packets are for others")]
#[path = "../dataplane/reference/topology.rs"]
mod topology;
mod verify;
