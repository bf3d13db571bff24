//! Azure services as a virtual network reaches them: service endpoints of a subnet, and private endpoints.

use std::net::IpAddr;

use super::{PublishedTagIx, SubnetIx};

/// A subnet's own path to a service (SYS-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// `Microsoft.Storage`.
    pub service: String,
    /// Its ranges are these tags', one for each region or one for all.
    pub tags: Vec<PublishedTagIx>,
}

/// A service's address inside a virtual network (SYS-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateEndpoint {
    pub name: String,
    pub subnet: SubnetIx,
    pub address: IpAddr,
}

/// Which of a subnet's policies its private endpoints obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivateEndpointNetworkPolicies {
    #[default]
    Disabled,
    Enabled,
    NetworkSecurityGroupEnabled,
    RouteTableEnabled,
}

impl PrivateEndpointNetworkPolicies {
    /// Whether a shorter user-defined route takes an endpoint's traffic (SYS-12).
    pub const fn obey_routes(self) -> bool {
        match self {
            Self::Enabled | Self::RouteTableEnabled => true,
            Self::Disabled | Self::NetworkSecurityGroupEnabled => false,
        }
    }
}
