//! Answers about a network, as data: `explain`, `reach`, `flow-verify`, lints, plans, peering links and flow logs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod branches;
mod explain;
mod filter;
mod flow_log;
mod flow_verify;
mod lint;
mod peering;
mod plan;
mod reach;
#[path = "../support/schema.rs"]
mod schema;
