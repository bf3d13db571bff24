//! A topology as a running lab: up, down, entered, cleaned.
//!
//! One idea: the daemon makes everything a lab consists of, writes each thing down before it makes it, and whoever ends
//! the lab (the daemon, or `down` after a crash) undoes exactly that. Whether root or not differs in where things stand
//! ([`Base`]) and in nothing else. It moves no packet and prints nothing.

mod apply;
mod attach;
pub mod bench;
mod beside;
pub mod daemon;
mod device;
mod egress;
mod error;
mod events;
mod exec;
mod express_route;
mod failover;
mod filters;
mod flow_logs;
mod gateway;
mod guest;
mod journal;
mod life;
mod mark;
mod notify;
mod owed;
mod platform;
mod ports;
pub mod probe;
mod processes;
mod program;
mod programs;
pub mod quiet;
mod rearrange;
mod record;
mod renamed;
mod site;
mod state;
mod switches;
pub mod trial;
mod watch;

pub use beside::{LARGEST_TOPOLOGY, beside};
pub use error::Error;
pub use exec::{Node, execute, join};
pub use flow_logs::unfit_storage;
pub use life::{Down, Ended, Found, all, down, labs, no_lab, pick, start_copy, start_daemon};
pub use program::last_lines;
pub use record::{Record, RecordedNode, RecordedProgram};
pub use state::Base;
