//! What a publish replaces as a whole: immutable tables that packets are looked up in.
//!
//! [`snapshot`] holds all of them. Nothing here changes while packets are forwarded.

pub(super) mod acl;
pub(super) mod balancer;
pub(super) mod edge;
pub(super) mod gateway;
pub(super) mod lpm;
mod poptrie;
pub(super) mod snapshot;
pub(super) mod spread;
pub(super) mod tunnel_nat;
