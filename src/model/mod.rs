//! Azure's nouns as validated, immutable values.
//!
//! One idea: a [`Network`] cannot be wrong. `config` builds it and checks Azure's rules on the way; everything after it
//! trusts it. References are indices into the network's lists, names are for people. It knows no YAML, table or packet.

mod admin;
mod advertised;
mod attach;
mod counted;
mod distributed_firewall;
mod existing;
mod express_route;
mod extent;
mod filter;
mod flow_log;
mod gateway;
mod gateway_sku;
mod guest_filter;
mod learned;
mod leases;
mod load_balancer;
mod lost_link;
mod mac;
mod masquerade;
mod network;
mod peering;
mod platform;
mod prefix_map;
mod private_access;
mod private_cloud;
mod programs;
mod public_address;
mod route_server;
mod routing;
mod service_tag;
mod test_case;
mod test_questions;
mod update;
mod vpn_client;
mod vpn_nat;

pub use admin::{
    AdminAccess, AdminRule, CollectionIx, NetworkGroup, NetworkManager, RuleCollection, SecurityAdminConfiguration,
};
pub use advertised::{Advertised, TunnelEnd};
pub use attach::{Attach, AttachNamespace};
pub use counted::counted;
pub use distributed_firewall::{DistributedFirewall, FirewallCategory, FirewallPolicy, FirewallRule, FirewallService};
pub use existing::Existing;
pub use express_route::{
    Authorization, CircuitEnd, CircuitFault, CircuitIx, CircuitTier, Customer, EDGE_ASN, ExpressRouteCircuit,
    GlobalReach, PrivatePeering, ProviderState, Side,
};
pub use extent::{PeeredSubnets, PeeringExtent};
pub use filter::{Access, AddressPrefix, Asg, AsgIx, Direction, Nsg, NsgIx, PortRange, SecurityProtocol, SecurityRule};
pub use flow_log::{FlowLog, FlowLogPace, FlowLogTarget, NsgLogVersion};
pub use gateway::{
    BgpSettings, Connection, ConnectionIx, ConnectionMode, ConnectionStatus, GatewayIx, GatewayKind, LocalGatewayIx,
    LocalNetworkGateway, Remote, Site, SiteIx, TunnelFault, VirtualNetworkGateway, is_link_local,
};
pub use gateway_sku::GatewaySku;
pub use guest_filter::GuestFilter;
pub use learned::{Absence, Advertisement, BgpLearned, Learned};
pub use leases::Leases;
pub use load_balancer::{
    AdminState, Backend, BackendPool, BalancedPorts, Distribution, Frontend, FrontendIx, FrontendRule, FrontendSite,
    Health, HealthProbe, InboundNatRule, LoadBalancer, LoadBalancingRule, NatTarget, OutboundRule, ProbeKey,
    ProbeProtocol, Probed, TransportProtocol,
};
pub use lost_link::{LinkWords, LostLink};
pub use mac::{Mac, Macs, mac_owner, stable_hash};
pub use masquerade::{Masquerade, PRIVATE_RANGES};
pub use network::{
    Attachment, CircuitTransit, DeploymentModel, DeviceKind, Emulation, ForwardedMode, GuestRoute, Network,
    NetworkInterface, NicIx, Peering, PeeringAccessMode, PeeringState, PowerState, Subnet, SubnetIx, VirtualMachine,
    VirtualNetwork, VmIx, VnetIx,
};
pub use peering::{LinkIx, Links, PeeringError, SubnetNames, SyncLevel};
pub use platform::{PLATFORM_NODE, PlatformService};
pub use prefix_map::PrefixMap;
pub use private_access::{PrivateEndpoint, PrivateEndpointNetworkPolicies, ServiceEndpoint};
pub use private_cloud::{CLOUD_ASN, CloudInternet, CloudIx, MANAGED_SNAT, PrivateCloud, Segment, Tier};
pub use programs::{Program, RunPolicy, Sandbox};
pub use public_address::{
    DEFAULT_OUTBOUND, InstanceAddress, Internet, NatGateway, NatGatewayIx, OWNERLESS, PublicIpAddress, PublicIpIx,
    PublicIpPrefix, PublicIpSku, PublicPrefixIx, is_routable, unroutable,
};
pub use route_server::{AZURE_ASN, BgpConnection, RouteServer, RouteServerIx, RoutingPreference};
pub use routing::{
    EffectiveRoute, NextHopType, Prefixes, Route, RouteDestination, RouteNextHop, RouteSource, RouteState, RouteTable,
    RouteTableIx,
};
pub use service_tag::{PublishedTag, PublishedTagIx, ServiceTag, TagScope};
pub use test_case::{Conduct, Endpoint, Probe, Question, ReachTest, TestCase, TestEnds, TestSeverity, Verdict};
pub use test_questions::{
    BgpPeer, BgpTest, BitRate, DnsExpectation, DnsTest, DuringTest, ExecTest, FlowsTest, HttpTest, LatencyTest,
    PeerState, RecordType, RoutePattern, RoutesTest, RuleAccess, RulePattern, RulesTest, ThroughputTest,
};
pub use update::{UpdateError, update_errors};
pub use vpn_client::{ClientPool, ClientProtocol};
pub use vpn_nat::{NatKind, NatMode, NatRule};
