//! Topology files, and what is compiled from them, beyond what one file and its twin in `tests/golden` can show.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compile;
mod export;
mod file;
mod hostile_template;
mod network;
mod schema;
mod template;
mod template_limits;
mod template_mistakes;
mod template_parameters;
mod template_values;
mod terraform;
mod terraform_plan;
