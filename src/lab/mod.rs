//! A topology as a running lab: up, down, entered, cleaned.
//!
//! One idea: the daemon makes everything a lab consists of, and records each thing before it makes it. The process
//! that ends the lab (the daemon, or `down` after a crash) undoes exactly that. Labs of root and of other users differ
//! only in where things are kept ([`Base`]). This module moves no packet and prints nothing.

pub mod consent;
mod containers;
mod demand;
mod error;
mod journal;
pub mod lifecycle;
mod namespaces;
pub mod programs;
mod relative_files;
#[cfg(test)]
mod tests;
pub mod traffic;

pub use error::Error;
pub use journal::record::{Record, RecordedNode, RecordedProgram};
pub use journal::state::Base;
pub use lifecycle::flow_logs::unfit_storage;
pub use lifecycle::{Down, Ended, Found, all, down, labs, no_lab, pick, start_copy, start_daemon};
pub use programs::exec::{Node, execute, join};
pub use programs::last_lines;
pub use relative_files::{LARGEST_TOPOLOGY, beside, read_inside};
