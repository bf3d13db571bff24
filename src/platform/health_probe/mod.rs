//! Health probes of load balancers, on real sockets (LB-10, LB-11).
//!
//! One idea: one thread in the platform's own namespace probes all backends, each at its own interval. It never waits
//! for a single backend, since all sockets are non-blocking. It reports changes only. Other modules decide what health
//! means to packets.

pub mod answer;
mod attempt;
mod health;
mod prober;
pub mod tls;

pub use attempt::Ask;
pub use prober::{Prober, Report, Target};
