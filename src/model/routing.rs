//! Route tables as users write them, and effective routes as Azure shows them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Index of a route table in [`super::Network::route_tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteTableIx(pub usize);

/// A route table: user-defined routes for any number of subnets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    pub name: String,
    pub routes: Vec<Route>,
    pub disable_bgp_route_propagation: bool,
}

/// A user-defined route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    pub prefix: IpNet,
    pub next_hop: RouteNextHop,
}

/// What a user may write as next hop (UDR-02, UDR-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteNextHop {
    VirtualNetworkGateway,
    VnetLocal,
    Internet,
    VirtualAppliance(IpAddr),
    None,
}

/// One row of a subnet's effective routes (DIAG-01).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectiveRoute {
    /// The user-defined route's name.
    pub name: Option<String>,
    pub source: RouteSource,
    pub state: RouteState,
    pub prefix: IpNet,
    pub next_hop_type: NextHopType,
    pub next_hop_ip: Vec<IpAddr>,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteSource {
    Default,
    VirtualNetworkGateway,
    User,
}

/// Whether a route takes part in selection (RSEL-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteState {
    Active,
    Invalid,
}

/// Azure's next hop types, with Azure's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NextHopType {
    VnetLocal,
    #[serde(rename = "VNetPeering")]
    VnetPeering,
    #[serde(rename = "VNetGlobalPeering")]
    VnetGlobalPeering,
    Internet,
    VirtualAppliance,
    VirtualNetworkGateway,
    None,
}

impl fmt::Display for NextHopType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::VnetLocal => "VnetLocal",
            Self::VnetPeering => "VNetPeering",
            Self::VnetGlobalPeering => "VNetGlobalPeering",
            Self::Internet => "Internet",
            Self::VirtualAppliance => "VirtualAppliance",
            Self::VirtualNetworkGateway => "VirtualNetworkGateway",
            Self::None => "None",
        })
    }
}

impl fmt::Display for RouteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "Default",
            Self::VirtualNetworkGateway => "VirtualNetworkGateway",
            Self::User => "User",
        })
    }
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "Active",
            Self::Invalid => "Invalid",
        })
    }
}
