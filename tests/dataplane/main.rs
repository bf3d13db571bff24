//! Packets in memory: the tables that compile makes, the stages that a packet goes through, and one worker around them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balancer;
mod edge;
mod offers;
mod outages;
mod paths;
mod pipeline;
mod reference;
mod sent_up;
mod tables;
mod taps;
mod worker;
