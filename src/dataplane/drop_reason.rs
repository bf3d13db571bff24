//! The closed list of reasons for a drop: one reason, one counter, one line of documentation.
//!
//! The list below is the only place where a reason is written. The enum, [`DropReason::ALL`], the names and the lines
//! that users read all come from it, so none can be forgotten. It counts nothing; callers index counters by `reason as
//! usize`.

use std::fmt;

macro_rules! drop_reasons {
    ($($name:ident: $explanation:literal,)+) => {
        /// Why a packet was not forwarded. Every drop is silent (FAB-10): the sender sees a timeout.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $explanation] $name,)+
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];
            /// How many reasons there are: the length of a list of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The word that users see and filter by.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Whether this drop happens in every lab and is no sign of a fault.
            pub const fn is_harmless(self) -> bool {
                matches!(self, Self::Ipv6Control)
            }

            /// One line: what happened, which object to check, which of Azure's rules applies.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation,)+
                }
            }
        }
    };
}

drop_reasons! {
    // What the packet is.
    Malformed: "The bytes are not a complete IPv4 or IPv6 packet: look at the program that sends them.",
    BadChecksum: "A checksum that the sending kernel has not vouched for is wrong: look at the program that sends the \
        packet.",
    BlockedProtocol: "Azure carries TCP, UDP, ICMP, ESP and AH; IP-in-IP, GRE, other protocols, unicast DHCP to a server and \
        UDP source port 65330 are blocked: look at what the guest sends (FAB-06, FAB-07, FAB-08).",
    Multicast: "Multicast and broadcast do not leave a guest: look at what the guest sends (FAB-07).",
    LinkLocal: "Link-local addresses stay in the guest: usually harmless (FAB-16).",
    Ipv6Control: "Neighbour discovery, router solicitation and multicast listener reports of a guest's kernel stay in \
        the guest: harmless (FAB-16).",
    Fragment: "A later fragment came before its first fragment, or long after it: look at the sender's packet sizes (FAB-11).",
    // The sending NIC.
    SpoofedSource: "The source is none of the sending NIC's addresses: look at the NIC's ipConfigurations, or at its \
        enableIPForwarding if it is an appliance (NIC-04, FAB-12).",
    NsgOutbound: "An outbound rule denies it: look at the sending NIC's NSG, then its subnet's (NSG-10).",
    TcpState: "A TCP segment other than a SYN has no flow record: look at emulation.tcpStateTracking, at answers that \
        take another path, or at the flow's idle time (NSG-21).",
    // The route.
    AdminRule: "A security admin rule denies it: look at the admin rule collections of the VNet (ADM-01).",
    DistributedFirewall: "A rule of a private cloud's distributed firewall drops it: look at the cloud's distributedFirewall, \
        or ask `vnet rules` of the machine (AVS-12).",
    NoRoute: "No effective route of the sender's subnet contains the destination: look at its effective routes (RSEL-01).",
    NextHopNone: "The route's next hop is None: look at the subnet's route table, or at a missing peering behind a system \
        None route (UDR-16, SYS-04).",
    NextHopUnreachable: "No NIC in the VNet or a directly peered VNet owns the next hop's address: look at the route's \
        nextHopIpAddress and the peerings (UDR-11, UDR-12).",
    GatewayUnavailable: "The route leads to a virtual network gateway that is missing, or its tunnel is down or leads \
        elsewhere: look at the gateway, its connections and the peering's useRemoteGateways (UDR-14, VPN-12, \
        VPN-13).",
    TrafficSelector: "A tunnel with usePolicyBasedTrafficSelectors carries only packets between the ranges of the virtual \
        networks and those of the local network gateway: look at localNetworkAddressSpace (VPN-16).",
    NoInternet: "The route leads to the Internet, where this lab has no such address: look at the destination, at \
        `internet` and its addresses, or at the 0.0.0.0/0 route (UDR-15).",
    NoOutbound: "The source has no outbound translation to the Internet: look at the subnet's natGateway, the \
        interface's publicIPAddress and the subnet's defaultOutboundAccess; or the source is not the sender's own \
        (SNAT-03, UDR-18).",
    NotTranslatable: "NAT gateways, load balancers and default outbound access translate TCP and UDP over IPv4 only, \
        and no fragments: look at the interface's publicIPAddress (NAT-02, SNAT-08, LB-07).",
    NoMapping: "A TCP segment has no port mapping, or its mapping has expired: look at the idle time of the load \
        balancer or NAT gateway on its path (NAT-04, LB-25).",
    NoService: "The destination is an Azure service behind a service endpoint or a private endpoint, and labs have \
        none: look at the subnet's serviceEndpoints and at the privateEndpoints (SYS-11, SYS-12).",
    NoBalancingRule: "No rule of the load balancer matches this protocol and port: look at its loadBalancingRules; a \
        frontend never answers a ping (LB-02, LB-33).",
    NoHealthyBackend: "The load balancer has no healthy backend: look at its probe and the backends (LB-13).",
    SnatExhausted: "No source port is left for the translation: look at the outbound method (SNAT-05, NAT-02).",
    Hairpin: "The load balancer sent a backend its own packet: look at the pool and the client (LB-40).",
    // Across a peering.
    PeeringNotConnected: "The peering between the two VNets is not Connected: look at both links (PEER-02).",
    PeeringAccess: "allowVirtualNetworkAccess is off on a link and no custom NSG rule on its side allows the flow: look at \
        the peering link (PEER-22).",
    ForwardedTraffic: "allowForwardedTraffic is off on the entered VNet's link and the source lies outside the peer: look \
        at the receiving side's peering link (PEER-23).",
    SubnetNotPeered: "The peering covers only some subnets and this is none of them: look at the link's subnet lists \
        (PEER-50).",
    // From the Internet.
    Unsolicited: "A packet to a public address that flows share belongs to none of them: look at the sender, or give \
        the receiver a publicIPAddress of its own (NAT-03).",
    NoSecurityGroup: "A public address is closed to the Internet until an NSG on the interface or its subnet allows it: look at \
        both (PIP-04).",
    // The receiving NIC.
    NoEndpoint: "No NIC owns the destination address: look for a NIC with that address; a subnet's first four and last \
        addresses never answer (FAB-03, ADR-01).",
    NotForwarding: "The receiving NIC does not own the destination and has no IP forwarding: look at the appliance's \
        enableIPForwarding (NIC-02, NIC-03).",
    NsgInbound: "An inbound rule denies it: look at the receiving subnet's NSG, then the NIC's (NSG-10).",
    TooBig: "Larger than the receiving interface's MTU: look at the sender's MTU or MSS (FAB-11).",
    FlowLimit: "No room for another flow record of this NIC, which is at its limit or has used its share of this lab's \
        table; established flows go on: look at its count of flows (NSG-26).",
    NetworkFlowLimit: "No room for another flow record of this virtual network, which has used its share of this lab's \
        table; established flows go on: look for a machine with very many flows (NSG-26).",
    // The receiving device.
    QueueFull: "The receiving device's queue is full: the guest reads too slowly.",
    NodeDown: "The machine is stopped, or its device is gone, down or not created yet: look at the node and its \
        interface.",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_indexes_its_own_counter() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
        }
    }

    #[test]
    fn every_explanation_is_one_readable_line() {
        for reason in DropReason::ALL {
            let line = reason.explanation();
            assert!(!line.contains('\n') && !line.contains("  ") && line.ends_with('.'), "{reason}: {line:?}");
        }
    }

    #[test]
    fn names_are_spelled_as_the_enum_and_can_be_aligned() {
        assert_eq!(format!("{:<12}|", DropReason::NsgInbound), "NsgInbound  |");
    }
}
