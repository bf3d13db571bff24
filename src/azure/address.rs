//! Addresses that are the same in every virtual network (FAB-12).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The platform's own address: DNS, health probes, agent. VirtualNetwork and AzureLoadBalancer contain it.
pub const PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// The instance metadata service. The address is link-local, and every guest reaches it nevertheless.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The guests' IPv6 router. The platform probes IPv6 backends from this address, and AzureLoadBalancer contains it.
pub const IPV6_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x1234, 0x5678, 0x9abc);
