//! Single objects as rows for people and programs: routes, rules, peerings, load balancers, connections.
//!
//! Each view is a function of the network and its compiled tables, in Azure's own fields where Azure has them.

pub(super) mod circuits;
pub(super) mod connections;
pub(super) mod flow_verify;
pub(super) mod load_balancers;
pub(super) mod next_hop;
pub(super) mod peerings;
pub(super) mod private_clouds;
pub(super) mod public_addresses;
pub(super) mod routes;
pub(super) mod rules;
pub(super) mod snat;
mod watcher;
