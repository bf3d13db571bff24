//! What a running lab has already and its file does not write: a load keeps both.

use super::{Leases, Links, Network};

/// The default, empty, is for a lab that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Allocated addresses.
    pub leases: Leases,
    /// Peering links.
    pub links: Links,
}

impl Existing {
    pub fn of(network: &Network) -> Self {
        Self { leases: Leases::of(network), links: Links::of(network) }
    }
}
