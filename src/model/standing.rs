//! What is there already where a file's network is to be, and the file does not say.

use super::{Leases, Links, Network};

/// Of a running network; nothing where none runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Addresses that are given out.
    pub leases: Leases,
    /// Peerings that are made.
    pub links: Links,
}

impl Standing {
    pub fn of(network: &Network) -> Self {
        Self { leases: Leases::of(network), links: Links::of(network) }
    }
}
