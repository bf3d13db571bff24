//! Health probes of load balancers, on real sockets (LB-10, LB-11).
//!
//! One idea: one thread in the platform's own namespace asks everybody, each at its own time, and waits for nobody: all
//! sockets are non-blocking. What it tells is only what is not as it was before. What health means to packets is decided
//! elsewhere.

mod attempt;
mod health;
mod prober;
mod tls;

pub use attempt::Ask;
pub use prober::{Prober, Target, Told};
