//! The addresses and ports of the platform's services, the same in every VNet (FAB-12).

use std::net::{IpAddr, Ipv4Addr};

use crate::azure::address;
use crate::wire::{Protocol, Tuple};

/// The platform's own address: DNS, DHCP, health probes, agent.
pub const PLATFORM: IpAddr = IpAddr::V4(address::PLATFORM);
/// The source of its health probes over IPv6: the guests' router, which the tag AzureLoadBalancer also contains.
pub const PROBER_V6: IpAddr = IpAddr::V6(address::IPV6_ROUTER);
pub const DNS_PORT: u16 = 53;
/// The instance metadata service: a link-local address that every guest can reach.
pub const METADATA: IpAddr = IpAddr::V4(address::METADATA);
pub const METADATA_PORT: u16 = 80;
/// Where Windows guests activate their licence.
pub const LICENSING: [IpAddr; 3] = [v4(20, 118, 99, 224), v4(40, 83, 235, 53), v4(23, 102, 135, 246)];
pub const LICENSING_PORT: u16 = 1688;

/// The source address of health probes to a backend.
pub const fn prober_of(backend: IpAddr) -> IpAddr {
    if backend.is_ipv4() { PLATFORM } else { PROBER_V6 }
}

/// Whether the platform serves this destination and port.
pub(super) fn serves(flow: &Tuple) -> bool {
    match flow.protocol {
        Protocol::UDP => flow.dst == PLATFORM && flow.dst_port == DNS_PORT,
        Protocol::TCP if flow.dst == PLATFORM => flow.dst_port == DNS_PORT,
        Protocol::TCP => flow.dst == METADATA && flow.dst_port == METADATA_PORT,
        _ => false,
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
