//! The closed list of reasons for a drop: one reason, one counter, one line of documentation.

/// Why a packet was not forwarded. Every drop is silent (FAB-10): the sender sees a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// (list to be completed: see DropReason::ALL)
    Malformed,
    /// A checksum that the kernel has not vouched for is wrong.
    BadChecksum,
    /// IP-in-IP, GRE, unicast DHCP, a reserved source port or a protocol Azure does not carry (FAB-06..08).
    BlockedProtocol,
    /// Multicast or broadcast (FAB-07).
    Multicast,
    /// Link-local source or destination stays in the guest (FAB-16).
    LinkLocal,
    /// The source is none of the sending NIC's addresses and the NIC has no IP forwarding (NIC-04).
    SpoofedSource,
    /// An outbound security rule of the sending NIC or its subnet denies it.
    NsgOutbound,
    /// An inbound security rule of the receiving NIC or its subnet denies it.
    NsgInbound,
    /// No effective route contains the destination.
    NoRoute,
    /// The route's next hop is `None` (UDR-16, SYS-04).
    NextHopNone,
    /// Nobody in reach owns the appliance's address (UDR-11, UDR-12).
    NextHopUnreachable,
    /// `allowVirtualNetworkAccess` is off on a link and no custom rule admits the flow (PEER-22).
    PeeringAccess,
    /// `allowForwardedTraffic` is off on the entered VNet's link and the source is foreign (PEER-23, mode enforce).
    ForwardedTraffic,
    /// The receiving NIC does not own the destination and has no IP forwarding (NIC-03).
    NotForwarding,
    /// Routed into a VNet where nobody owns the destination.
    NoEndpoint,
    /// The route points to a gateway that does not exist (UDR-14).
    GatewayUnavailable,
    /// Routed to the Internet, which this lab does not have.
    NoInternet,
    /// The flow table is full for this NIC (NSG-26).
    FlowLimit,
    /// Larger than the receiving interface's MTU (FAB-11).
    TooBig,
    /// A fragment whose first fragment was not seen before it (FAB-11).
    Fragment,
    /// The receiving device refused the packet: its queue is full.
    QueueFull,
    /// The receiving device is gone or down.
    NodeDown,
}
