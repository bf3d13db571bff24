//! BGP: messages against an independent parser and against every kind of damage, speakers against each other in memory
//! and against what real routers once said.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod codec;
mod hostile;
mod malformed;
mod memory;
mod routes;
mod sample;
mod sessions;
mod topology;
