//! The immutable tables that packets are looked up in. A publish replaces all of them at once.
//!
//! [`snapshot`] holds them. Nothing here changes while packets are forwarded.

pub(super) mod acl;
pub(super) mod balancer;
pub(super) mod edge;
pub(super) mod gateway;
pub(super) mod lpm;
mod poptrie;
pub(super) mod snapshot;
pub(super) mod spread;
pub(super) mod tunnel_nat;
