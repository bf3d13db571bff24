//! Virtual networks, subnets, peerings, machines and their interfaces.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::guest_filter::GuestFilter;
use super::programs::Program;
use super::{
    Asg, Attach, AttachNamespace, CircuitIx, CloudIx, CollectionIx, Connection, ConnectionIx, ExpressRouteCircuit,
    FlowLog, FlowLogPace, Frontend, FrontendIx, FrontendSite, GatewayIx, InstanceAddress, Internet, LoadBalancer,
    LocalNetworkGateway, LostLink, Masquerade, NatGateway, NatGatewayIx, NetworkManager, Nsg, NsgIx, PeeringExtent,
    PrivateCloud, PrivateEndpoint, PrivateEndpointNetworkPolicies, PublicIpAddress, PublicIpIx, PublicIpPrefix,
    PublishedTag, PublishedTagIx, RouteServer, RouteServerIx, RouteTable, RouteTableIx, RuleCollection,
    ServiceEndpoint, Side, Site, TestCase, Tier, VirtualNetworkGateway,
};

/// Index of a virtual network in [`Network::virtual_networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VnetIx(pub usize);

/// A subnet: its virtual network, and its index in [`VirtualNetwork::subnets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubnetIx {
    pub vnet: VnetIx,
    pub subnet: usize,
}

/// Index of a machine in [`Network::virtual_machines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmIx(pub usize);

/// Index of an interface in [`Network::network_interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NicIx(pub usize);

/// A whole topology, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The lab's name: a DNS label of at most 32 characters, it becomes part of namespace names.
    pub name: String,
    pub virtual_networks: Vec<VirtualNetwork>,
    /// Links that their remote virtual network has left behind, in file order.
    pub lost_links: Vec<LostLink>,
    /// Shared with the tables compiled from them.
    pub route_tables: Vec<Arc<RouteTable>>,
    pub network_security_groups: Vec<Nsg>,
    pub application_security_groups: Vec<Asg>,
    pub network_managers: Vec<NetworkManager>,
    pub virtual_machines: Vec<VirtualMachine>,
    /// All interfaces of all machines, in file order.
    pub network_interfaces: Vec<NetworkInterface>,
    pub private_endpoints: Vec<PrivateEndpoint>,
    pub load_balancers: Vec<LoadBalancer>,
    pub public_ip_addresses: Vec<PublicIpAddress>,
    pub public_ip_prefixes: Vec<PublicIpPrefix>,
    pub nat_gateways: Vec<NatGateway>,
    /// None where nothing is behind the fabric's edge.
    pub internet: Option<Internet>,
    pub flow_logs: Vec<FlowLog>,
    pub virtual_network_gateways: Vec<VirtualNetworkGateway>,
    pub local_network_gateways: Vec<LocalNetworkGateway>,
    pub connections: Vec<Connection>,
    pub sites: Vec<Site>,
    /// Those of the file, then those of private clouds.
    pub express_route_circuits: Vec<ExpressRouteCircuit>,
    pub private_clouds: Vec<PrivateCloud>,
    pub route_servers: Vec<RouteServer>,
    /// Those that the rules and routes of this network name.
    pub service_tags: Vec<PublishedTag>,
    pub emulation: Emulation,
    /// Upstream DNS servers, in the order of use, for names outside the lab; none by default.
    pub dns_forwarders: Vec<IpAddr>,
    /// What the file expects of this network; no packet meets them.
    pub tests: Vec<TestCase>,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualNetwork {
    pub name: String,
    /// Lower case without spaces, as ARM normalises it.
    pub location: String,
    pub deployment_model: DeploymentModel,
    pub address_space: Vec<IpNet>,
    pub subnets: Vec<Subnet>,
    pub peerings: Vec<Peering>,
    /// One TUN for every address of the VNet that no interface owns.
    pub attach: Option<Attach>,
    /// Idle time after which a flow record ends (NSG-24).
    pub flow_timeout: Duration,
    /// Summaries that its gateways advertise instead of its address space and of what these cover; the space itself if
    /// empty (PEER-32).
    pub summarized_gateway_prefixes: Vec<IpNet>,
    /// The DNS servers of its guests, in the order of use; without any, the platform (FAB-12).
    pub dns_servers: Vec<IpAddr>,
}

/// How a virtual network was deployed (PEER-44).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeploymentModel {
    #[default]
    ResourceManager,
    Classic,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub name: String,
    pub prefixes: Vec<IpNet>,
    pub route_table: Option<RouteTableIx>,
    pub network_security_group: Option<NsgIx>,
    pub nat_gateway: Option<NatGatewayIx>,
    /// As stated; Azure treats an absent value as true, and accepts one later (SNAT-02).
    pub default_outbound_access: Option<bool>,
    pub service_endpoints: Vec<ServiceEndpoint>,
    pub private_endpoint_network_policies: PrivateEndpointNetworkPolicies,
}

impl Subnet {
    pub fn has_default_outbound_access(&self) -> bool {
        self.default_outbound_access.unwrap_or(true)
    }
}

/// One link of a peering; the other VNet has its own (PEER-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    pub name: String,
    pub remote: VnetIx,
    /// Azure keeps this side itself: it belongs to a classic virtual network, which has no links (PEER-44). It has the
    /// name of the link that it answers, and goes wherever that goes. A link of the Resource Manager is Updating until
    /// Azure has made it: here that is within one change, so it is never visible.
    pub implied: bool,
    pub state: PeeringState,
    pub extent: PeeringExtent,
    /// The remote's ranges as this link last saw them (PEER-15).
    pub remote_address_space: Vec<IpNet>,
    pub allow_virtual_network_access: bool,
    pub allow_forwarded_traffic: bool,
    pub allow_gateway_transit: bool,
    pub use_remote_gateways: bool,
}

/// State of one link (PEER-02, PEER-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeeringState {
    Initiated,
    Connected,
    Disconnected,
}

/// A machine: one namespace in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMachine {
    pub name: String,
    /// In guest order: the first is `eth0`.
    pub network_interfaces: Vec<NicIx>,
    /// Program and arguments to start when the lab is up; empty for none.
    pub run: Program,
    pub power_state: PowerState,
    /// Whether the guest's kernel forwards; by default when one of its interfaces has `enableIPForwarding`.
    pub guest_forwarding: bool,
    /// When it puts its own address in place of the source of what it forwards.
    pub guest_masquerade: Masquerade,
    /// Rules that its kernel is given when it starts.
    pub guest_filter: Option<GuestFilter>,
    /// What its kernel knows beside its subnets and the default route (NIC-08).
    pub guest_routes: Vec<GuestRoute>,
}

/// A route of a guest's own. The fabric does not look at its next hop: that only chooses the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRoute {
    pub prefix: IpNet,
    /// In a subnet of the interface.
    pub next_hop: IpAddr,
    pub nic: NicIx,
}

impl fmt::Display for GuestRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.prefix, self.next_hop)
    }
}

/// Whether a machine runs. One that is stopped keeps its interfaces, their addresses and their rules; packets to them
/// are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PowerState {
    #[default]
    Running,
    Stopped,
}

/// An interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    pub name: String,
    pub virtual_machine: VmIx,
    pub subnet: SubnetIx,
    /// The private addresses of its ipConfigurations, the primary first.
    pub addresses: Vec<IpAddr>,
    /// Of each address its entry in `ipConfigurations`; empty where the file has the short form.
    pub ip_configurations: Vec<usize>,
    /// Those that have a public address in front of them.
    pub public_addresses: Vec<InstanceAddress>,
    pub primary: bool,
    pub enable_ip_forwarding: bool,
    /// Exempt from `tcpStateTracking` (NSG-21).
    pub disable_tcp_state_tracking: bool,
    pub network_security_group: Option<NsgIx>,
    /// The guest's DNS servers instead of the virtual network's; empty means the virtual network's (FAB-12).
    pub dns_servers: Vec<IpAddr>,
    pub attach: Option<Attach>,
}

/// What hangs on one TUN. The n-th of [`Network::attachments`] is dataplane port n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    Nic(NicIx),
    Vnet(VnetIx),
    Internet,
    /// A gateway's own packets, and packets to it.
    Gateway(GatewayIx),
    /// A site's end of a connection.
    Tunnel(ConnectionIx),
    /// The platform as a virtual network sees it: it answers guests there and probes backends (FAB-12).
    Platform(VnetIx),
    /// The edge of a circuit: its own packets, and packets to it.
    Edge(CircuitIx),
    /// The customer's end of one of a circuit's links.
    CircuitLink(CircuitIx, Side),
    /// A route server's own: packets from its instances, and to them.
    RouteServer(RouteServerIx),
    /// A router of a private cloud: its own packets, and packets to it.
    CloudRouter(CloudIx, Tier),
    /// The workloads of a private cloud's segment.
    Segment(CloudIx, usize),
}

/// The switches for contested rules, and the daemon's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulation {
    pub peering_access: PeeringAccessMode,
    pub forwarded: ForwardedMode,
    pub er_vnet_to_vnet: CircuitTransit,
    pub extra_none_routes: bool,
    /// A TCP segment that follows no flow record must be a SYN (NSG-21).
    pub tcp_state_tracking: bool,
    /// Worker threads; None for one a core.
    pub workers: Option<usize>,
    /// `IFF_VNET_HDR` with checksum and segmentation offloads.
    pub offload: bool,
    /// UDP segmentation among them, which kernels know from 6.2 on.
    pub udp_segmentation: bool,
    /// Names at 168.63.129.16, and instance metadata (FAB-12).
    pub platform_services: bool,
    /// None for the best that there is: [`DeviceKind::Veth`] for machines where the kernel loads programs for the daemon,
    /// and [`DeviceKind::Tun`] elsewhere and in namespaces that exist already.
    pub device: Option<DeviceKind>,
    /// The largest packet that interfaces of virtual networks take, in bytes: 1280 (RFC 8200, section 5) to 65,535
    /// (FAB-11).
    pub mtu: u16,
    /// Flow records a NIC may hold (NSG-26).
    pub flows_per_nic: usize,
    /// How long a change takes to reach the interfaces; none by default (FAB-15).
    pub programming_delay: Duration,
    pub flow_log_pace: FlowLogPace,
}

impl Default for Emulation {
    fn default() -> Self {
        Self {
            peering_access: PeeringAccessMode::ExplicitAllow,
            forwarded: ForwardedMode::TagOnly,
            er_vnet_to_vnet: CircuitTransit::Property,
            extra_none_routes: false,
            tcp_state_tracking: false,
            workers: None,
            offload: true,
            udp_segmentation: true,
            platform_services: true,
            device: None,
            mtu: 1500,
            flows_per_nic: 500_000,
            programming_delay: Duration::ZERO,
            flow_log_pace: FlowLogPace::default(),
        }
    }
}

/// What a guest's interfaces are (FAB-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// IP packets alone, without ARP.
    Tun,
    /// Ethernet, on which the fabric answers every ARP request.
    Tap,
    /// The same, with known flows carried in the kernel.
    Veth,
}

impl DeviceKind {
    /// As a file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Veth => "veth",
        }
    }
}

/// What `allowVirtualNetworkAccess: false` does (PEER-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeeringAccessMode {
    ExplicitAllow,
    TagOnly,
}

/// What `allowForwardedTraffic: false` does (PEER-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedMode {
    TagOnly,
    Enforce,
}

/// Whether virtual networks on one circuit reach each other (ER-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitTransit {
    /// Where both gateways have `allowRemoteVnetTraffic`.
    Property,
    Always,
}

impl Network {
    /// What device an attachment gets if machines get devices of this kind. The kernel carries flows of machines, the
    /// Internet, and what is at the ends of tunnels and circuits. In a namespace that exists already, the file must ask for
    /// a kind of device.
    pub fn device_kind(&self, attachment: Attachment, machines: DeviceKind) -> DeviceKind {
        let is_pair = match attachment {
            Attachment::Nic(nic) => {
                let attach = self.nic(nic).attach.as_ref();
                attach.is_none() || self.emulation.device.is_some()
            }
            Attachment::Internet | Attachment::Tunnel(_) | Attachment::CircuitLink(..) | Attachment::Segment(..) => {
                true
            }
            Attachment::Vnet(_)
            | Attachment::Gateway(_)
            | Attachment::Platform(_)
            | Attachment::Edge(_)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..) => false,
        };
        if machines == DeviceKind::Veth && !is_pair { DeviceKind::Tun } else { machines }
    }

    /// Every TUN of this network, in port order: attached VNets first, then the interfaces of machines that
    /// run, then the Internet, then gateways, sites' tunnels, the platform, circuits, route servers and what is in private
    /// clouds.
    pub fn attachments(&self) -> Vec<Attachment> {
        let vnets = self.virtual_networks.iter().enumerate();
        let vnets = vnets.filter(|(_, vnet)| vnet.attach.is_some()).map(|(i, _)| Attachment::Vnet(VnetIx(i)));
        let nics = (0..self.network_interfaces.len()).map(NicIx).filter(|nic| self.is_running(*nic));
        let internet = self.internet.as_ref().map(|_| Attachment::Internet);
        let gateways = self.gateways().map(|(gateway, _)| Attachment::Gateway(gateway));
        let tunnels = (0..self.connections.len()).map(ConnectionIx).filter(|ix| self.site_of(*ix).is_some());
        vnets
            .chain(nics.map(Attachment::Nic))
            .chain(internet)
            .chain(gateways)
            .chain(tunnels.map(Attachment::Tunnel))
            .chain(self.platform_vnets().into_iter().map(Attachment::Platform))
            .chain(self.circuits().flat_map(|(circuit, _)| self.circuit_attachments(circuit)))
            .chain((0..self.route_servers.len()).map(RouteServerIx).map(Attachment::RouteServer))
            .chain(self.cloud_attachments())
            .collect()
    }

    /// The containers that the file names, to note their processes.
    pub fn containers(&mut self) -> impl Iterator<Item = (&str, &mut Option<u32>)> {
        let vnets = self.virtual_networks.iter_mut().filter_map(|vnet| vnet.attach.as_mut());
        let nics = self.network_interfaces.iter_mut().filter_map(|nic| nic.attach.as_mut());
        vnets.chain(nics).filter_map(|attach| match &mut attach.namespace {
            AttachNamespace::Container { name, process } => Some((name.as_str(), process)),
            AttachNamespace::Name(_) | AttachNamespace::Path(_) | AttachNamespace::Pid(_) => None,
        })
    }

    /// Puts other route tables in the place of some.
    pub fn reroute(&mut self, tables: Vec<(RouteTableIx, RouteTable)>) {
        for (at, table) in tables {
            self.route_tables[at.0] = Arc::new(table);
        }
    }

    /// The virtual networks where the platform answers guests or probes backends.
    pub fn platform_vnets(&self) -> BTreeSet<VnetIx> {
        if !self.emulation.platform_services {
            return self.probed().map(|probed| probed.vnet).collect();
        }
        let nics = (0..self.network_interfaces.len()).map(NicIx).filter(|nic| self.is_running(*nic));
        nics.map(|nic| self.nic(nic).subnet.vnet).collect()
    }

    /// Whether the machine of an interface runs.
    pub fn is_running(&self, nic: NicIx) -> bool {
        self.vm(self.nic(nic).virtual_machine).power_state == PowerState::Running
    }

    pub fn public_ip(&self, address: PublicIpIx) -> &PublicIpAddress {
        &self.public_ip_addresses[address.0]
    }

    /// Public addresses that nothing has.
    pub fn unused_public_ips(&self) -> impl Iterator<Item = PublicIpIx> {
        let interfaces = self.network_interfaces.iter().flat_map(|nic| &nic.public_addresses).map(|own| own.public);
        let frontends = self.frontends().filter_map(|(_, frontend)| match frontend.site {
            FrontendSite::Public(public) => Some(public),
            FrontendSite::Private(_) => None,
        });
        let nat_gateways = self.nat_gateways.iter().flat_map(|gateway| gateway.addresses.iter().copied());
        let gateways =
            self.virtual_network_gateways.iter().flat_map(|gateway| [gateway.public, gateway.second_public]).flatten();
        let route_servers = self.route_servers.iter().filter_map(|server| server.public);
        let used: HashSet<_> =
            interfaces.chain(frontends).chain(nat_gateways).chain(gateways).chain(route_servers).collect();
        (0..self.public_ip_addresses.len()).map(PublicIpIx).filter(move |public| !used.contains(public))
    }

    /// The private address that a public one stands for.
    pub fn behind(&self, public: IpAddr) -> Option<IpAddr> {
        let mut instances = self.network_interfaces.iter().flat_map(|nic| &nic.public_addresses);
        instances.find(|one| self.public_ip(one.public).address == public).map(|one| one.private)
    }

    /// Every frontend, in file order.
    pub fn frontends(&self) -> impl Iterator<Item = (FrontendIx, &Frontend)> {
        self.load_balancers.iter().enumerate().flat_map(|(balancer, owner)| {
            let frontends = owner.frontends.iter().enumerate();
            frontends.map(move |(frontend, it)| (FrontendIx { balancer, frontend }, it))
        })
    }

    pub fn nat_gateway(&self, gateway: NatGatewayIx) -> &NatGateway {
        &self.nat_gateways[gateway.0]
    }

    pub fn vnet(&self, vnet: VnetIx) -> &VirtualNetwork {
        &self.virtual_networks[vnet.0]
    }

    pub fn subnet(&self, subnet: SubnetIx) -> &Subnet {
        &self.vnet(subnet.vnet).subnets[subnet.subnet]
    }

    pub fn service_tag(&self, tag: PublishedTagIx) -> &PublishedTag {
        &self.service_tags[tag.0]
    }

    /// The files of packet filter rules that guests have.
    pub fn nftables_files(&self) -> BTreeMap<&str, &str> {
        let filters = self.virtual_machines.iter().filter_map(|vm| vm.guest_filter.as_ref());
        filters.filter_map(|filter| Some((filter.file.as_deref()?, filter.text.as_str()))).collect()
    }

    pub fn nic(&self, nic: NicIx) -> &NetworkInterface {
        &self.network_interfaces[nic.0]
    }

    /// Every collection of security admin rules, in file order.
    pub fn rule_collections(&self) -> impl Iterator<Item = (CollectionIx, &RuleCollection)> {
        self.network_managers.iter().enumerate().flat_map(|(manager, owner)| {
            owner.security_admin_configurations.iter().enumerate().flat_map(move |(configuration, owner)| {
                let at = move |collection| CollectionIx { manager, configuration, collection };
                owner.rule_collections.iter().enumerate().map(move |(i, collection)| (at(i), collection))
            })
        })
    }

    pub fn rule_collection_mut(&mut self, at: CollectionIx) -> &mut RuleCollection {
        let configuration = &mut self.network_managers[at.manager].security_admin_configurations[at.configuration];
        &mut configuration.rule_collections[at.collection]
    }

    pub fn rule_collection(&self, at: CollectionIx) -> &RuleCollection {
        let configuration = &self.network_managers[at.manager].security_admin_configurations[at.configuration];
        &configuration.rule_collections[at.collection]
    }

    pub fn vm(&self, vm: VmIx) -> &VirtualMachine {
        &self.virtual_machines[vm.0]
    }
}
