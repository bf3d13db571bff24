//! The state that packets change: flow records, port mappings, first fragments, and packets watched for loops.
//!
//! One idea: workers share this state, so each table is bounded and divided into shards with a short lock each.

pub(super) mod flow;
pub(super) mod fragment;
mod lock;
pub(super) mod loops;
pub(super) mod nat;
