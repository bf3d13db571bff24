//! Address translation as packets meet it: load balancers, public addresses, NAT gateways and outbound rules.
//!
//! One idea: which public address a flow gets is decided here, so that the pipeline only looks it up ([`edge`],
//! [`outbound`]); which backends a frontend may choose from, too ([`balancer`]).

pub(super) mod balancer;
pub(super) mod edge;
mod outbound;
