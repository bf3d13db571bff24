//! What the fabric drops before any rule or route: bad addresses, protocols, foreign sources, sizes.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::dataplane::platform::{METADATA, PLATFORM, PROBER_V6};
use crate::dataplane::{DropReason, Ingress, Nic, NicId, Owner, PortId, Snapshot};
use crate::wire::{Packet, Protocol, Tuple};

/// UDP source port that belongs to the host (FAB-08).
const HOST_PORT: u16 = 65330;
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;

/// Unicast only, and no link-local addresses (FAB-07, FAB-16).
#[inline]
pub(super) fn addresses(packet: &Packet<'_>) -> Result<(), DropReason> {
    let Tuple { src, dst, .. } = packet.tuple();
    if is_multicast(src) || is_multicast(dst) {
        return Err(if is_control(packet) { DropReason::Ipv6Control } else { DropReason::Multicast });
    }
    if is_link_local(src) || (is_link_local(dst) && *dst != METADATA && *dst != PROBER_V6) {
        return Err(if is_control(packet) { DropReason::Ipv6Control } else { DropReason::LinkLocal });
    }
    Ok(())
}

/// What a guest's kernel sends on its link by itself: neighbour discovery, router solicitation, multicast listener
/// reports (RFC 4861, 2710, 3810).
#[cold]
fn is_control(packet: &Packet<'_>) -> bool {
    const LISTENERS: RangeInclusive<u8> = 130..=132;
    const NEIGHBOURS: RangeInclusive<u8> = 133..=136;
    const LISTENERS_V2: u8 = 143;
    let kind = packet.icmp_type().filter(|_| packet.protocol() == Protocol::ICMPV6);
    kind.is_some_and(|kind| LISTENERS.contains(&kind) || NEIGHBOURS.contains(&kind) || kind == LISTENERS_V2)
}

/// Whether a gateway talks at its own link-local address with a device at the end of a tunnel (BGP-05).
#[cold]
pub(super) fn is_gateways(snapshot: &Snapshot, ingress: PortId, tuple: &Tuple) -> bool {
    let (own, gateway) = match snapshot.ports.get(ingress.0 as usize) {
        Some(Ingress::Nic(nic)) => (tuple.src, *nic),
        Some(Ingress::Tunnel { gateway, .. }) => (tuple.dst, snapshot.gateway(*gateway).nic),
        Some(Ingress::Internet | Ingress::Vnet(_) | Ingress::Platform { .. } | Ingress::Vacant) | None => return false,
    };
    let vnet = snapshot.nic(gateway).vnet;
    snapshot.gateways.iter().any(|known| known.in_subnet && known.nic == gateway)
        && snapshot.vnet(vnet).owners.lookup(own) == Some(Owner::Nic(gateway))
}

/// The protocols that Azure carries (FAB-06..08).
#[inline]
pub(super) fn protocol(packet: &Packet<'_>) -> Result<(), DropReason> {
    let carried = match packet.protocol() {
        Protocol::TCP | Protocol::ESP | Protocol::AH => true,
        Protocol::UDP => !is_reserved_udp(packet),
        Protocol::ICMP => packet.is_ipv4(),
        Protocol::ICMPV6 => !packet.is_ipv4(),
        _ => false,
    };
    if carried { Ok(()) } else { Err(DropReason::BlockedProtocol) }
}

/// The sending NIC, if it may send from this address (NIC-02, NIC-04, FAB-12).
#[inline]
pub(super) fn source(snapshot: &Snapshot, ingress: PortId, src: &IpAddr) -> Result<NicId, DropReason> {
    let is_platform = *src == PLATFORM;
    // A device may be read before the tables contain it, and after they no longer do.
    let sender = match *snapshot.ports.get(ingress.0 as usize).unwrap_or(&Ingress::Vacant) {
        Ingress::Vacant => return Err(DropReason::NodeDown),
        // The caller has handled these ports already.
        Ingress::Internet | Ingress::Tunnel { .. } | Ingress::Platform { .. } => return Err(DropReason::SpoofedSource),
        Ingress::Nic(nic) => {
            let interface = snapshot.nic(nic);
            let own = || match snapshot.vnet(interface.vnet).owners.lookup(*src) {
                Some(Owner::Nic(owner)) => owner == nic,
                Some(Owner::Frontend(frontend)) => snapshot.frontend(frontend).floats_at(nic),
                Some(Owner::Reserved | Owner::Service) => false,
                None => snapshot.floats(nic, *src),
            };
            (interface.forwarding || own()).then_some(nic)
        }
        Ingress::Vnet(vnet) => match snapshot.vnet(vnet).owners.lookup(*src) {
            Some(Owner::Nic(nic)) => (snapshot.nic(nic).port == ingress).then_some(nic),
            Some(Owner::Frontend(_) | Owner::Reserved | Owner::Service) | None => None,
        },
    };
    sender.filter(|_| !is_platform).ok_or(DropReason::SpoofedSource)
}

/// The receiving device's MTU; a super-packet counts by its segments (FAB-11).
#[inline]
pub(super) fn size(packet: &Packet<'_>, receiver: &Nic) -> Result<(), DropReason> {
    if packet.largest_segment() > usize::from(receiver.mtu) { Err(DropReason::TooBig) } else { Ok(()) }
}

#[inline]
fn is_reserved_udp(packet: &Packet<'_>) -> bool {
    let tuple = packet.tuple();
    tuple.src_port == HOST_PORT || (tuple.src_port, tuple.dst_port) == (DHCP_CLIENT, DHCP_SERVER)
}

#[inline]
fn is_multicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[inline]
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
