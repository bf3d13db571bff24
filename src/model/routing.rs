//! Route tables as users write them, and effective routes as Azure shows them.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::PublishedTagIx;

/// Index of a route table in [`super::Network::route_tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteTableIx(pub usize);

/// A route table: user-defined routes for any number of subnets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteTable {
    pub name: String,
    pub routes: Vec<Route>,
    pub disable_bgp_route_propagation: bool,
    /// `disablePeeringRoute: All`: its subnets have no routes to peers but the table's own.
    pub disable_peering_route: bool,
}

impl RouteTable {
    /// Which of its routes has this name, as written.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.name == name)
    }
}

/// A user-defined route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub name: String,
    pub destination: RouteDestination,
    pub next_hop: RouteNextHop,
}

/// What a user may write as `addressPrefix` (UDR-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteDestination {
    Prefix(IpNet),
    Tag(PublishedTagIx),
}

impl Route {
    /// The range it names; None for a service tag.
    pub fn prefix(&self) -> Option<IpNet> {
        match self.destination {
            RouteDestination::Prefix(prefix) => Some(prefix),
            RouteDestination::Tag(_) => None,
        }
    }
}

/// What a user may write as next hop (UDR-02, UDR-03).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteNextHop {
    VirtualNetworkGateway,
    VnetLocal,
    Internet,
    VirtualAppliance(IpAddr),
    /// Several appliances of equal cost, 2 to 64: a flow keeps to one of them (RSEL-06).
    VirtualApplianceEcmp(Vec<IpAddr>),
    None,
}

/// One row of a subnet's effective routes (DIAG-01).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectiveRoute {
    /// The user-defined route's name.
    pub name: Option<String>,
    /// The tag that the user-defined route names instead of a range.
    pub service_tag: Option<String>,
    pub source: RouteSource,
    pub state: RouteState,
    pub prefixes: Prefixes,
    pub next_hop_type: NextHopType,
    pub next_hop_ip: Vec<IpAddr>,
}

/// Ranges that a route is about: sorted, and mostly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prefixes {
    One(IpNet),
    /// Thousands for some services: every row about the same has the same list.
    Many(Arc<[IpNet]>),
}

impl Prefixes {
    /// Whether one of them holds all of a range.
    pub fn cover(&self, range: &IpNet) -> bool {
        self.iter().any(|prefix| prefix.contains(range))
    }
}

impl Deref for Prefixes {
    type Target = [IpNet];

    fn deref(&self) -> &[IpNet] {
        match self {
            Self::One(prefix) => std::slice::from_ref(prefix),
            Self::Many(prefixes) => prefixes,
        }
    }
}

impl From<IpNet> for Prefixes {
    fn from(prefix: IpNet) -> Self {
        Self::One(prefix)
    }
}

/// All of them if they are few, else the first and how many there are.
impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let (shown, rest) = if self.len() <= SHOWN { (&self[..], 0) } else { (&self[..1], self.len() - 1) };
        let mut words: Vec<_> = shown.iter().map(ToString::to_string).collect();
        words.extend((rest > 0).then(|| format!("and {rest} more")));
        f.pad(&words.join(" "))
    }
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
    /// What Network Watcher calls a route to several appliances; effective routes list it as
    /// [`Self::VirtualAppliance`].
    VirtualApplianceEcmp,
    VirtualNetworkGateway,
    None,
    VirtualNetworkServiceEndpoint,
    InterfaceEndpoint,
}

impl fmt::Display for NextHopType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::VnetLocal => "VnetLocal",
            Self::VnetPeering => "VNetPeering",
            Self::VnetGlobalPeering => "VNetGlobalPeering",
            Self::Internet => "Internet",
            Self::VirtualAppliance => "VirtualAppliance",
            Self::VirtualApplianceEcmp => "VirtualApplianceEcmp",
            Self::VirtualNetworkGateway => "VirtualNetworkGateway",
            Self::None => "None",
            Self::VirtualNetworkServiceEndpoint => "VirtualNetworkServiceEndpoint",
            Self::InterfaceEndpoint => "InterfaceEndpoint",
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn many_ranges_are_told_by_the_first_and_their_number() {
        let words = |count: u8| {
            let prefixes = (0..count).map(|i| IpNet::new_assert(IpAddr::from([10, i, 0, 0]), 16)).collect();
            Prefixes::Many(prefixes).to_string()
        };
        assert_eq!(words(0), "");
        assert_eq!(words(1), "10.0.0.0/16");
        assert_eq!(words(4), "10.0.0.0/16 10.1.0.0/16 10.2.0.0/16 10.3.0.0/16");
        assert_eq!(words(5), "10.0.0.0/16 and 4 more");
        let one = Prefixes::from("10.0.0.0/16".parse::<IpNet>().unwrap());
        assert_eq!(format!("{one:<12}|"), "10.0.0.0/16 |");
    }

    #[test]
    fn ranges_cover_what_one_of_them_holds() {
        let prefixes = ["10.0.0.0/17", "10.0.128.0/17", "10.2.0.0/16"].map(|prefix| prefix.parse().unwrap());
        let some = Prefixes::Many(prefixes.into());
        for (range, covered) in
            [("10.0.0.0/17", true), ("10.2.7.0/24", true), ("10.0.0.0/16", false), ("10.3.0.0/24", false)]
        {
            assert_eq!(some.cover(&range.parse().unwrap()), covered, "{range}");
        }
    }
}
