//! Random networks and packets, small and dense: few addresses, so that prefixes nest, rules overlap, flows meet again.

// By its path, for other tests include this file by its own.
#[path = "packets.rs"]
mod packets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use vnet::model::{
    Access, AddressPrefix, AdminAccess, AdminRule, Asg, AsgIx, Attach, AttachNamespace, Attachment, DeploymentModel,
    Direction, Emulation, ForwardedMode, Masquerade, Network, NetworkGroup, NetworkInterface, NetworkManager, NicIx,
    Nsg, NsgIx, PeeredSubnets, Peering, PeeringAccessMode, PeeringExtent, PeeringState, PortRange, PowerState,
    PrivateEndpoint, PrivateEndpointNetworkPolicies, PublishedTag, PublishedTagIx, Route, RouteDestination,
    RouteNextHop, RouteTable, RouteTableIx, RuleCollection, SecurityAdminConfiguration, SecurityProtocol, SecurityRule,
    ServiceEndpoint, ServiceTag, Subnet, SubnetIx, VirtualMachine, VirtualNetwork, VmIx, VnetIx,
};
use vnet::wire::{Protocol, Tuple, build};

/// A packet, and what identifies its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) kind: Kind,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Zero without ports, except that a ping has its identifier in both.
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Ping,
    Esp,
}

impl Sent {
    pub(crate) fn mirrored(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port, ..self }
    }

    pub(crate) fn tuple(&self) -> Tuple {
        let protocol = match self.kind {
            Kind::Tcp => Protocol::TCP,
            Kind::Udp => Protocol::UDP,
            Kind::Ping if self.src.is_ipv4() => Protocol::ICMP,
            Kind::Ping => Protocol::ICMPV6,
            Kind::Esp => Protocol::ESP,
        };
        let Self { src, dst, src_port, dst_port, .. } = *self;
        Tuple { src, dst, protocol, src_port, dst_port }
    }

    /// With these flags if it is TCP.
    pub(crate) fn bytes(&self, flags: u8) -> Vec<u8> {
        const PAYLOAD: [u8; 64] = [7; 64];
        let (src, dst) = (SocketAddr::new(self.src, self.src_port), SocketAddr::new(self.dst, self.dst_port));
        match self.kind {
            Kind::Tcp => build::tcp(src, dst, flags, &PAYLOAD),
            Kind::Udp => build::udp(src, dst, &PAYLOAD),
            Kind::Ping => build::icmp_echo(self.src, self.dst, self.src_port, 1, false),
            Kind::Esp => build::raw(self.src, self.dst, 50, &PAYLOAD),
        }
    }
}

/// SplitMix64: the same seed, the same network, on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Networks.
impl Random {
    pub(crate) fn network(&mut self) -> Network {
        let vnets = 2 + self.below(4);
        self.network_of(vnets)
    }

    pub(crate) fn network_of(&mut self, vnets: usize) -> Network {
        let tables = self.below(4);
        let groups = self.below(4);
        let mut network = Network {
            name: "twin".to_owned(),
            virtual_networks: (0..vnets).map(|k| self.vnet(k, tables, groups)).collect(),
            lost_links: Vec::new(),
            route_tables: Vec::new(),
            network_security_groups: Vec::new(),
            application_security_groups: Vec::new(),
            network_managers: Vec::new(),
            virtual_machines: Vec::new(),
            network_interfaces: Vec::new(),
            private_endpoints: Vec::new(),
            public_ip_addresses: Vec::new(),
            public_ip_prefixes: Vec::new(),
            nat_gateways: Vec::new(),
            load_balancers: Vec::new(),
            virtual_network_gateways: Vec::new(),
            local_network_gateways: Vec::new(),
            connections: Vec::new(),
            sites: Vec::new(),
            express_route_circuits: Vec::new(),
            private_clouds: Vec::new(),
            route_servers: Vec::new(),
            internet: None,
            flow_logs: Vec::new(),
            service_tags: self.service_tags(),
            emulation: Emulation {
                peering_access: *self.pick(&[PeeringAccessMode::ExplicitAllow, PeeringAccessMode::TagOnly]),
                forwarded: *self.pick(&[ForwardedMode::TagOnly, ForwardedMode::Enforce]),
                ..Emulation::default()
            },
            dns_forwarders: Vec::new(),
            tests: Vec::new(),
        };
        self.peer(&mut network);
        self.populate(&mut network, groups);
        self.reach_services(&mut network);
        network.application_security_groups = (0..self.below(4)).map(|i| self.asg(i, &network)).collect();
        let prefixes = prefixes(&network);
        network.route_tables = (0..tables).map(|i| Arc::new(self.table(i, &network, &prefixes))).collect();
        let asgs = network.application_security_groups.len();
        let tags = network.service_tags.len();
        network.network_managers = (0..self.below(3)).map(|i| self.manager(i, &network, &prefixes)).collect();
        network.network_security_groups = (0..groups).map(|i| self.nsg(i, &prefixes, (asgs, tags))).collect();
        network
    }

    fn vnet(&mut self, k: usize, tables: usize, groups: usize) -> VirtualNetwork {
        let mut address_space: Vec<IpNet> = vec![prefix(&format!("10.{k}.0.0/16"))];
        let second =
            self.chance(40).then(|| self.pick(&[format!("172.20.{k}.0/24"), format!("20.{k}.0.0/16")]).clone());
        address_space.extend(second.iter().map(|second| prefix(second)));
        let ipv6 = self.chance(40).then(|| self.pick(&[format!("fd00:{k}"), format!("2001:db8:{k}")]).clone());
        address_space.extend(ipv6.iter().map(|ipv6| prefix(&format!("{ipv6}::/48"))));
        let mut subnets = Vec::new();
        for s in 0..=self.below(3) {
            let mut prefixes = vec![prefix(&format!("10.{k}.{s}.0/24"))];
            prefixes.extend(address_space.get(1).filter(|second| s == 0 && second.prefix_len() == 24));
            prefixes.extend(ipv6.iter().filter(|_| self.chance(70)).map(|ipv6| subnet_v6(ipv6, s)));
            subnets.push(Subnet {
                name: format!("s{s}"),
                prefixes,
                route_table: (tables > 0 && self.chance(60)).then(|| RouteTableIx(self.below(tables))),
                network_security_group: (groups > 0 && self.chance(40)).then(|| NsgIx(self.below(groups))),
                nat_gateway: None,
                default_outbound_access: None,
                service_endpoints: Vec::new(),
                private_endpoint_network_policies: PrivateEndpointNetworkPolicies::default(),
            });
        }
        VirtualNetwork {
            name: format!("v{k}"),
            location: (*self.pick(&["westeurope", "eastus"])).to_owned(),
            subnets,
            deployment_model: DeploymentModel::ResourceManager,
            address_space,
            peerings: Vec::new(),
            attach: self.chance(20).then(|| Attach {
                namespace: AttachNamespace::Name(format!("v{k}")),
                interface: "tun0".to_owned(),
                addresses: Vec::new(),
                configure: true,
            }),
            flow_timeout: Duration::from_secs(240),
            summarized_gateway_prefixes: Vec::new(),
            dns_servers: Vec::new(),
        }
    }

    /// Every pair: no link, one, both, or both with a quarrel about the state.
    fn peer(&mut self, network: &mut Network) {
        let vnets = network.virtual_networks.len();
        for a in 0..vnets {
            for b in a + 1..vnets {
                let (there, back) = *self.pick(&[
                    (None, None),
                    (Some(PeeringState::Initiated), None),
                    (None, Some(PeeringState::Disconnected)),
                    (Some(PeeringState::Connected), Some(PeeringState::Disconnected)),
                    (Some(PeeringState::Connected), Some(PeeringState::Connected)),
                    (Some(PeeringState::Connected), Some(PeeringState::Connected)),
                    (Some(PeeringState::Connected), Some(PeeringState::Connected)),
                    (Some(PeeringState::Connected), Some(PeeringState::Connected)),
                ]);
                let subnets = self.chance(35);
                let only_ipv6 = self.chance(20);
                for (own, remote, state) in [(a, b, there), (b, a, back)] {
                    let Some(state) = state else { continue };
                    // Two links may name different subnets, but are of one type (PEER-52).
                    let extent = if subnets {
                        PeeringExtent::Subnets(PeeredSubnets {
                            local: self.some_subnets(network, own),
                            remote: self.some_subnets(network, remote),
                            only_ipv6,
                        })
                    } else {
                        PeeringExtent::CompleteVnets
                    };
                    let link = self.link(network, VnetIx(remote), state, extent);
                    network.virtual_networks[own].peerings.push(link);
                }
            }
        }
    }

    /// Mostly all of a VNet's subnets, at least one.
    fn some_subnets(&mut self, network: &Network, vnet: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..network.virtual_networks[vnet].subnets.len()).collect();
        let some: Vec<usize> = all.iter().copied().filter(|_| self.chance(70)).collect();
        if some.is_empty() { vec![*self.pick(&all)] } else { some }
    }

    fn link(&mut self, network: &Network, remote: VnetIx, state: PeeringState, extent: PeeringExtent) -> Peering {
        let mut seen = seen(network, remote, &extent);
        if self.chance(15) && matches!(extent, PeeringExtent::CompleteVnets) {
            // A view from before the remote's space changed (PEER-18).
            seen.truncate(1);
            seen = seen.iter().map(|prefix| IpNet::new(prefix.addr(), prefix.prefix_len() + 1).unwrap()).collect();
        }
        Peering {
            name: format!("to-{}", network.vnet(remote).name),
            remote,
            implied: false,
            state,
            extent,
            remote_address_space: seen,
            allow_virtual_network_access: self.chance(75),
            allow_forwarded_traffic: self.chance(50),
            allow_gateway_transit: self.chance(10),
            use_remote_gateways: self.chance(10),
        }
    }

    /// Machines with one interface each: what a machine does with a packet is not the fabric's business.
    fn populate(&mut self, network: &mut Network, groups: usize) {
        for vnet in 0..network.virtual_networks.len() {
            for subnet in 0..network.virtual_networks[vnet].subnets.len() {
                let subnet = SubnetIx { vnet: VnetIx(vnet), subnet };
                for n in 0..=self.below(3) {
                    let prefixes = &network.subnet(subnet).prefixes;
                    let addresses = prefixes.iter().map(|prefix| nth(*prefix, 4 + n as u128)).collect();
                    let index = network.network_interfaces.len();
                    network.network_interfaces.push(NetworkInterface {
                        name: "nic0".to_owned(),
                        virtual_machine: VmIx(index),
                        subnet,
                        addresses,
                        ip_configurations: Vec::new(),
                        public_addresses: Vec::new(),
                        primary: true,
                        enable_ip_forwarding: self.chance(40),
                        disable_tcp_state_tracking: false,
                        network_security_group: (groups > 0 && self.chance(30)).then(|| NsgIx(self.below(groups))),
                        dns_servers: Vec::new(),
                        attach: None,
                    });
                    network.virtual_machines.push(VirtualMachine {
                        name: format!("vm{index}"),
                        network_interfaces: vec![NicIx(index)],
                        run: vnet::model::Program::default(),
                        power_state: PowerState::Running,
                        guest_forwarding: self.chance(50),
                        guest_masquerade: Masquerade::Off,
                        guest_filter: None,
                        guest_routes: Vec::new(),
                    });
                }
            }
        }
    }

    /// Narrow and wide tags that name the same ranges, some of them inside others'.
    pub(crate) fn service_tags(&mut self) -> Vec<PublishedTag> {
        let names = ["Storage.WestEurope", "Sql.EastUS", "Storage", "Sql", "AzureCloud.westeurope", "AzureCloud"];
        let tag = |name: &str| {
            let mut prefixes: Vec<IpNet> =
                (0..=self.below(6)).map(|_| prefix(self.pick::<&str>(&SERVICE_RANGES))).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            let region = name.split_once('.').map(|(_, region)| region.to_lowercase());
            PublishedTag { name: name.to_owned(), region, prefixes: prefixes.into() }
        };
        names.map(tag).into()
    }

    fn reach_services(&mut self, network: &mut Network) {
        use PrivateEndpointNetworkPolicies::{Disabled, Enabled, NetworkSecurityGroupEnabled, RouteTableEnabled};
        let tags = network.service_tags.len();
        for (v, vnet) in network.virtual_networks.iter_mut().enumerate() {
            for (s, subnet) in vnet.subnets.iter_mut().enumerate() {
                if self.chance(25) {
                    let tags = (0..=self.below(2)).map(|_| PublishedTagIx(self.below(tags))).collect();
                    subnet.service_endpoints.push(ServiceEndpoint { service: "Microsoft.Storage".to_owned(), tags });
                }
                subnet.private_endpoint_network_policies =
                    *self.pick(&[Disabled, Enabled, NetworkSecurityGroupEnabled, RouteTableEnabled]);
                if self.chance(30) {
                    network.private_endpoints.push(PrivateEndpoint {
                        name: format!("e{v}{s}"),
                        subnet: SubnetIx { vnet: VnetIx(v), subnet: s },
                        address: nth(subnet.prefixes[0], 9),
                    });
                }
            }
        }
    }

    fn table(&mut self, index: usize, network: &Network, prefixes: &[IpNet]) -> RouteTable {
        let mut routes: Vec<Route> = Vec::new();
        for n in 0..self.below(7) {
            let destination = if self.chance(25) {
                RouteDestination::Tag(PublishedTagIx(self.below(network.service_tags.len())))
            } else {
                RouteDestination::Prefix(*self.pick(prefixes))
            };
            if routes.iter().any(|route| route.destination == destination) {
                continue;
            }
            let ipv4 = match destination {
                RouteDestination::Prefix(prefix) => prefix.addr().is_ipv4(),
                RouteDestination::Tag(_) => self.chance(80),
            };
            let next_hop = match self.below(12) {
                0 => RouteNextHop::None,
                1 => RouteNextHop::Internet,
                2 => RouteNextHop::VirtualNetworkGateway,
                3 => RouteNextHop::VnetLocal,
                4 => RouteNextHop::VirtualAppliance(self.unlikely(ipv4)),
                5 | 6 => {
                    let mut members = vec![self.unlikely(ipv4)];
                    for _ in 0..=self.below(5) {
                        let nic = self.pick(&network.network_interfaces);
                        members.push(*self.pick(&nic.addresses));
                    }
                    RouteNextHop::VirtualApplianceEcmp(members)
                }
                _ => {
                    let nic = self.pick(&network.network_interfaces);
                    RouteNextHop::VirtualAppliance(*self.pick(&nic.addresses))
                }
            };
            routes.push(Route { name: format!("r{n}"), destination, next_hop });
        }
        RouteTable {
            name: format!("t{index}"),
            routes,
            disable_bgp_route_propagation: self.chance(20),
            disable_peering_route: self.chance(15),
        }
    }

    /// Some interfaces of one VNet (ASG-02), or none.
    pub(crate) fn asg(&mut self, index: usize, network: &Network) -> Asg {
        let home = VnetIx(self.below(network.virtual_networks.len()));
        let own = network.network_interfaces.iter().enumerate().filter(|(_, nic)| nic.subnet.vnet == home);
        let members = own.map(|(i, _)| NicIx(i)).filter(|_| self.chance(50)).collect();
        Asg { name: format!("a{index}"), members }
    }

    pub(crate) fn nsg(&mut self, index: usize, prefixes: &[IpNet], counts: (usize, usize)) -> Nsg {
        use SecurityProtocol::{Ah, Any, Esp, Icmp, Tcp, Udp};
        let mut rules: Vec<SecurityRule> = Vec::new();
        for n in 0..self.below(24) {
            let direction = *self.pick(&[Direction::Inbound, Direction::Outbound]);
            let priority = 100 + self.below(60) as u16;
            if rules.iter().any(|rule| rule.direction == direction && rule.priority == priority) {
                continue;
            }
            rules.push(SecurityRule {
                name: format!("rule{n}"),
                priority,
                direction,
                access: *self.pick(&[Access::Allow, Access::Allow, Access::Deny]),
                protocol: *self.pick(&[Any, Any, Tcp, Tcp, Udp, Icmp, Esp, Ah]),
                source: self.addresses(prefixes, counts),
                source_ports: if self.chance(85) { vec![PortRange::ALL] } else { self.ports() },
                destination: self.addresses(prefixes, counts),
                destination_ports: if self.chance(60) { vec![PortRange::ALL] } else { self.ports() },
            });
        }
        Nsg { name: format!("g{index}"), rules, flush_connection: false }
    }

    /// Two groups that may overlap, and collections for one of them or both, with equal priorities now and then.
    pub(crate) fn manager(&mut self, index: usize, network: &Network, prefixes: &[IpNet]) -> NetworkManager {
        let group = |name: &str, random: &mut Self| NetworkGroup {
            name: name.to_owned(),
            static_members: (0..network.virtual_networks.len()).map(VnetIx).filter(|_| random.chance(40)).collect(),
        };
        let network_groups = vec![group("one", self), group("two", self)];
        let rule_collections =
            (0..=self.below(2)).map(|i| self.collection(i, prefixes, network.service_tags.len())).collect();
        let configuration = SecurityAdminConfiguration { name: "c".to_owned(), rule_collections };
        NetworkManager { name: format!("m{index}"), network_groups, security_admin_configurations: vec![configuration] }
    }

    fn collection(&mut self, index: usize, prefixes: &[IpNet], tags: usize) -> RuleCollection {
        use AdminAccess::{Allow, AlwaysAllow, Deny};
        use SecurityProtocol::{Any, Icmp, Tcp, Udp};
        let mut rules: Vec<AdminRule> = Vec::new();
        for n in 0..self.below(5) {
            let priority = 1 + self.below(8) as u16;
            if rules.iter().any(|rule| rule.priority == priority) {
                continue;
            }
            rules.push(AdminRule {
                name: format!("rule{n}"),
                priority,
                direction: *self.pick(&[Direction::Inbound, Direction::Outbound]),
                access: *self.pick(&[Allow, AlwaysAllow, Deny]),
                protocol: *self.pick(&[Any, Tcp, Tcp, Udp, Icmp]),
                source: self.addresses(prefixes, (0, tags)),
                source_ports: vec![PortRange::ALL],
                destination: self.addresses(prefixes, (0, tags)),
                destination_ports: if self.chance(40) { vec![PortRange::ALL] } else { self.ports() },
            });
        }
        let applies_to_groups = self.pick(&[vec![0], vec![1], vec![0, 1]]).clone();
        RuleCollection { name: format!("k{index}"), applies_to_groups, rules }
    }

    fn addresses(&mut self, prefixes: &[IpNet], (asgs, tags): (usize, usize)) -> Vec<AddressPrefix> {
        if asgs > 0 && self.chance(25) {
            return (0..=self.below(2)).map(|_| AddressPrefix::Group(AsgIx(self.below(asgs)))).collect();
        }
        match self.below(9) {
            0..=2 => vec![AddressPrefix::Any],
            3 => vec![AddressPrefix::Tag(ServiceTag::VirtualNetwork)],
            4 => vec![AddressPrefix::Tag(ServiceTag::Internet)],
            5 => vec![AddressPrefix::Tag(ServiceTag::AzureLoadBalancer), AddressPrefix::Prefix(*self.pick(prefixes))],
            6 => vec![AddressPrefix::Tag(ServiceTag::Published(PublishedTagIx(self.below(tags))))],
            _ => (0..=self.below(3)).map(|_| AddressPrefix::Prefix(*self.pick(prefixes))).collect(),
        }
    }

    pub(crate) fn ports(&mut self) -> Vec<PortRange> {
        let mut range = || {
            let first = self.pick(&PORTS) - self.below(2) as u16;
            PortRange { first, last: first + self.below(3) as u16 }
        };
        vec![range(), range()]
    }
}

/// Ports that packets use; rules name these or their neighbours.
const PORTS: [u16; 5] = [53, 80, 443, 1433, 50000];

/// Ranges of services: inside each other, of a VNet's space, of a block that Azure drops, of both families.
const SERVICE_RANGES: [&str; 12] = [
    "20.0.0.0/8",
    "20.1.0.0/16",
    "20.1.2.0/24",
    "20.1.2.3/32",
    "20.200.0.0/16",
    "8.8.8.0/24",
    "8.0.0.0/7",
    "11.0.0.0/8",
    "10.9.0.0/16",
    "2001:db8:1::/48",
    "2001:db8:9::/48",
    "3fff::/16",
];

/// The ranges of its remote that a link joins (PEER-54).
fn seen(network: &Network, remote: VnetIx, extent: &PeeringExtent) -> Vec<IpNet> {
    let remote = network.vnet(remote);
    let PeeringExtent::Subnets(subnets) = extent else { return remote.address_space.clone() };
    let mut ranges = Vec::new();
    for &subnet in &subnets.remote {
        for range in &remote.subnets[subnet].prefixes {
            if !subnets.only_ipv6 || range.addr().is_ipv6() {
                ranges.push(*range);
            }
        }
    }
    ranges
}

/// What routes and rules are written with: everything, blocks, VNets, halves of VNets, subnets, hosts.
fn prefixes(network: &Network) -> Vec<IpNet> {
    let blocks = ["0.0.0.0/0", "::/0", "10.0.0.0/8", "172.16.0.0/12", "20.0.0.0/8", "128.0.0.0/1", "fd00::/8"];
    let mut all: Vec<IpNet> = blocks.iter().map(|block| prefix(block)).collect();
    for vnet in &network.virtual_networks {
        for space in &vnet.address_space {
            all.extend([*space, IpNet::new(space.addr(), space.prefix_len() + 1).unwrap()]);
        }
        all.extend(vnet.subnets.iter().flat_map(|subnet| subnet.prefixes.iter().copied()));
    }
    all.extend(network.network_interfaces.iter().map(|nic| IpNet::from(nic.addresses[0])));
    all
}

fn nth(prefix: IpNet, n: u128) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(network) => (network.to_bits() + n as u32).to_be_bytes().into(),
        IpAddr::V6(network) => (network.to_bits() + n).to_be_bytes().into(),
    }
}

fn below(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_sub(1)).into(),
    }
}

fn above(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add(1)).into(),
    }
}

fn subnet_v6(vnet: &str, subnet: usize) -> IpNet {
    // Three groups or two: the subnet's number is the fourth.
    let zeros = if vnet.matches(':').count() == 1 { ":0" } else { "" };
    prefix(&format!("{vnet}{zeros}:{subnet}::/64"))
}

pub(crate) fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}
