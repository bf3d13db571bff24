//! A virtual network gateway as packets meet it.
//!
//! It stands in a GatewaySubnet by whose routes it forwards into virtual networks, and has a table of its own for what goes
//! out again. How far a connection is, and who spoke of which route, nobody here knows.

use super::{Fib, NicId};

/// Index in [`Snapshot::gateways`](super::Snapshot::gateways).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u32);

#[derive(Debug)]
pub struct Gateway {
    /// Its own end in its subnet: what it is asked itself goes there, and what is too old to go on.
    pub nic: NicId,
    /// It goes by its subnet's routes first; the edge of a circuit stands in none.
    pub in_subnet: bool,
    /// Leads to tunnels, straight to the gateway at the other end of one, or to its own end.
    pub tunnels: Fib,
}
