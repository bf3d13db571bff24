//! What packets change: flow records, port mappings, fragments of a packet, and the last packets seen for loops.
//!
//! One idea: workers share this state, so each table is in shards, each with a short lock of its own, and bounded.

pub(super) mod flow;
pub(super) mod fragment;
mod lock;
pub(super) mod loops;
pub(super) mod nat;
