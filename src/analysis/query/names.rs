//! Names for the ids in a trace, spelled the same in every answer.

use std::net::IpAddr;

use crate::analysis::query::Meant;
use crate::analysis::walk::{Leg, Walk};
use crate::compile::{Compiled, RuleOwner, RuleRef, Sender};
use crate::dataplane::{AclId, DropReason, FibId, FilterPlace, FrontendId, NextHop, NicId, RouteId, VnetId, platform};
use crate::model::{
    AddressPrefix, CircuitIx, CloudIx, ConnectionIx, Customer, DEFAULT_OUTBOUND, EffectiveRoute, FrontendIx, GatewayIx,
    GatewayKind, Internet, MANAGED_SNAT, NatGateway, Network, NicIx, PLATFORM_NODE, Peering, PublishedTagIx,
    RouteSource, ServiceTag, Side, Site, SubnetIx, Tier, VirtualNetwork, VnetIx,
};

/// A network and its tables, to look names up in.
#[derive(Clone, Copy)]
pub(in crate::analysis) struct Names<'a> {
    pub(in crate::analysis) network: &'a Network,
    pub(in crate::analysis) compiled: &'a Compiled,
}

/// The service that has this address, if the subnet has an endpoint to it: `Microsoft.Storage`.
pub fn service_endpoint(network: &Network, subnet: SubnetIx, address: IpAddr) -> Option<&str> {
    let has = |tag: &PublishedTagIx| network.service_tag(*tag).prefixes.iter().any(|prefix| prefix.contains(&address));
    let endpoints = &network.subnet(subnet).service_endpoints;
    endpoints.iter().find(|endpoint| endpoint.tags.iter().any(has)).map(|endpoint| endpoint.service.as_str())
}

/// Who refused a packet: the interface, or the network that has used its share of the flow table (NSG-26). None for an
/// interface that is no more.
pub fn refuser(network: &Network, compiled: &Compiled, nic: NicId, reason: DropReason) -> Option<String> {
    let sender = compiled.ids().sender(nic)?;
    match reason {
        DropReason::NetworkFlowLimit => sender.flow_share(network),
        _ => Some(Names { network, compiled }.nic(nic)),
    }
}

impl<'a> Names<'a> {
    /// What a question names.
    pub(in crate::analysis) fn meant(self, meant: Meant) -> String {
        match meant {
            Meant::Anyone => String::new(),
            Meant::Machine(nic) => self.node(nic),
            Meant::Customer(customer) => self.network.name_of_customer(customer).to_owned(),
        }
    }

    /// `web`, or the VNet for machines behind its one TUN.
    pub(in crate::analysis) fn node(self, nic: NicId) -> String {
        match self.compiled.sender(nic) {
            Sender::Nic(ix) => self.network.vm(self.network.nic(ix).virtual_machine).name.clone(),
            Sender::Subnet(subnet) => self.network.vnet(subnet.vnet).name.clone(),
            Sender::Internet => Internet::NAME.to_owned(),
            Sender::Gateway(gateway) => self.network.gateway(gateway).name.clone(),
            Sender::Tunnel(tunnel) => self.site(tunnel).map_or_else(String::new, |site| site.name.clone()),
            Sender::Platform(_) => PLATFORM_NODE.to_owned(),
            Sender::Edge(circuit) => self.network.circuit(circuit).name.clone(),
            Sender::CircuitLink(circuit, _) => {
                self.network.customer_name(circuit).map_or_else(String::new, str::to_owned)
            }
            Sender::RouteServer(server) => self.network.route_server(server).name.clone(),
            Sender::CloudRouter(cloud, tier) => self.network.cloud(cloud).router_name(tier).to_owned(),
            Sender::Segment(cloud, segment) => self.network.segment(cloud, segment).node.clone(),
        }
    }

    /// `VPN gateway hub-gw in VNet hub`.
    pub(in crate::analysis) fn gateway(self, nic: NicId) -> String {
        let Sender::Gateway(ix) = self.compiled.sender(nic) else { return format!("gateway {}", self.nic(nic)) };
        let gateway = self.network.gateway(ix);
        let kind = match gateway.kind {
            GatewayKind::Vpn => "VPN",
            GatewayKind::ExpressRoute { .. } => "ExpressRoute",
        };
        format!("{kind} gateway {} in VNet {}", gateway.name, self.network.vnet(gateway.subnet.vnet).name)
    }

    /// The kind of a router on a packet's path: `the gateway`, `the circuit's edge`.
    pub(in crate::analysis) fn router(self, nic: NicId) -> &'static str {
        match self.compiled.sender(nic) {
            Sender::Edge(_) => "the circuit's edge",
            Sender::CloudRouter(_, Tier::Zero) => "the private cloud's Tier-0 router",
            Sender::CloudRouter(_, Tier::One(_)) => "the segments' Tier-1 router",
            _ => "the gateway",
        }
    }

    /// The site at the end of a tunnel.
    fn site(self, tunnel: ConnectionIx) -> Option<&'a Site> {
        self.network.site_of(tunnel).map(|site| self.network.site(site))
    }

    /// The machines that forward a packet, in order.
    pub(in crate::analysis) fn via(self, walk: &Walk) -> Vec<String> {
        walk.appliances().map(|nic| self.node(nic)).collect()
    }

    /// `web/nic0`, or `vnet/subnet` behind a VNet's one TUN.
    pub(in crate::analysis) fn nic(self, nic: NicId) -> String {
        match self.compiled.sender(nic) {
            Sender::Nic(ix) => nic_name(self.network, ix),
            Sender::Subnet(subnet) => subnet_name(self.network, subnet),
            Sender::Internet => internet_name(),
            Sender::Gateway(gateway) => gateway_name(self.network, gateway),
            Sender::Tunnel(tunnel) => tunnel_name(self.network, tunnel),
            Sender::Platform(vnet) => platform_name(self.network, vnet),
            Sender::Edge(circuit) => self.network.circuit(circuit).name.clone(),
            Sender::CircuitLink(circuit, side) => circuit_link_name(self.network, circuit, side),
            Sender::RouteServer(server) => self.network.route_server(server).name.clone(),
            Sender::CloudRouter(cloud, tier) => self.network.cloud(cloud).router_name(tier).to_owned(),
            Sender::Segment(cloud, segment) => segment_name(self.network, cloud, segment),
        }
    }

    /// Whether an address belongs to the interface's machine, or to a machine behind a VNet's one TUN.
    pub(in crate::analysis) fn owns(self, nic: NicId, address: IpAddr) -> bool {
        match self.compiled.sender(nic) {
            Sender::Nic(ix) => {
                let nics = &self.network.vm(self.network.nic(ix).virtual_machine).network_interfaces;
                nics.iter().any(|&nic| self.network.nic(nic).addresses.contains(&address))
            }
            Sender::Subnet(_)
            | Sender::Gateway(_)
            | Sender::Edge(_)
            | Sender::RouteServer(_)
            | Sender::CloudRouter(..) => true,
            Sender::Internet => self.network.internet.iter().any(|internet| internet.has(address)),
            Sender::Tunnel(tunnel) => self
                .site(tunnel)
                .is_some_and(|site| site.addresses.contains(&address) || site.peering_addresses().contains(&address)),
            Sender::Platform(_) => address == platform::PLATFORM,
            Sender::CircuitLink(circuit, side) => self.network.customer_addresses(circuit, side).contains(&address),
            Sender::Segment(cloud, segment) => {
                self.network.segment(cloud, segment).addresses.iter().any(|own| IpAddr::V4(*own) == address)
            }
        }
    }

    /// Whether two interfaces belong to one machine, or to one site or private cloud.
    pub(in crate::analysis) fn same_machine(self, a: NicId, b: NicId) -> bool {
        match (self.compiled.sender(a), self.compiled.sender(b)) {
            (Sender::Nic(a), Sender::Nic(b)) => {
                self.network.nic(a).virtual_machine == self.network.nic(b).virtual_machine
            }
            (one, other) => one == other || self.customer(one).is_some_and(|own| self.customer(other) == Some(own)),
        }
    }

    /// The site or private cloud at the end of a tunnel or circuit.
    pub(in crate::analysis) fn customer(self, sender: Sender) -> Option<Customer> {
        match sender {
            Sender::Tunnel(tunnel) => self.network.site_of(tunnel).map(Customer::Site),
            Sender::CircuitLink(circuit, _) => self.network.customer(circuit),
            Sender::Segment(cloud, segment) => Some(Customer::Segment(cloud, segment)),
            _ => None,
        }
    }

    /// Whether the Internet node has an address itself, so that the host's own Internet is not needed.
    pub(in crate::analysis) fn has_itself(self, address: IpAddr) -> bool {
        self.network.internet.iter().any(|internet| internet.addresses.contains(&address))
    }

    /// The subnet of any sender but the Internet, which has no routes or rules.
    pub(in crate::analysis) fn subnet(self, nic: NicId) -> SubnetIx {
        self.home(nic).expect("what has routes and rules is in a subnet")
    }

    /// None for the Internet.
    pub(in crate::analysis) fn home(self, nic: NicId) -> Option<SubnetIx> {
        subnet_of(self.network, self.compiled.sender(nic))
    }

    pub(in crate::analysis) fn vnet(self, nic: NicId) -> VnetIx {
        self.subnet(nic).vnet
    }

    /// The resource behind a public address, as the file calls it: `public IP web-ip`, `NAT gateway out`.
    pub(in crate::analysis) fn public(self, address: IpAddr, port: Option<u16>) -> String {
        let network = self.network;
        if address == DEFAULT_OUTBOUND {
            return "default outbound access".to_owned();
        }
        if address == MANAGED_SNAT {
            return "managed SNAT of private clouds".to_owned();
        }
        let holds = |gateway: &&NatGateway| {
            gateway.addresses.iter().any(|own| network.public_ip(*own).address == address)
                || gateway.prefixes.iter().any(|own| network.public_ip_prefixes[own.0].prefix.contains(&address))
        };
        if let Some((at, _)) = network.frontends().find(|(_, frontend)| frontend.address == address) {
            return self.frontend(at);
        }
        if let Some(gateway) = network.nat_gateways.iter().find(holds) {
            return format!("NAT gateway {}", gateway.name);
        }
        let rules = network.virtual_network_gateways.iter().flat_map(|gateway| &gateway.nat_rules);
        if let Some(rule) = rules.into_iter().find(|rule| rule.names(address, port)) {
            return format!("NAT rule {}", rule.name);
        }
        let public = network.public_ip_addresses.iter().find(|public| public.address == address);
        public.map_or_else(|| address.to_string(), |public| format!("public IP {}", public.name))
    }

    /// `load balancer web, frontend internal`.
    pub(in crate::analysis) fn frontend(self, at: FrontendIx) -> String {
        let balancer = &self.network.load_balancers[at.balancer];
        format!("load balancer {}, frontend {}", balancer.name, balancer.frontends[at.frontend].name)
    }

    /// A frontend by its id in the tables, with its rule: `load balancer web, rule http`.
    pub(in crate::analysis) fn balancing_rule(self, id: FrontendId, rule: u32) -> String {
        let Some((at, _)) = self.network.frontends().nth(id.0 as usize) else { return String::new() };
        let balancer = &self.network.load_balancers[at.balancer];
        let rule = balancer.rules_at(at.frontend).nth(rule as usize);
        format!(
            "load balancer {}, rule {}",
            balancer.name,
            rule.map_or_else(String::new, |rule| rule.name().to_owned())
        )
    }

    /// `NSG app on subnet spoke1/app, rule securityRules/https`.
    pub(in crate::analysis) fn rule(self, nic: NicId, place: FilterPlace, acl: AclId, rule: u32) -> String {
        let rule = self.compiled.rule(acl, rule);
        let owner = self.owner(rule.owner);
        let place = match place {
            FilterPlace::Admin => format!("VNet {}", self.network.vnet(self.vnet(nic)).name),
            FilterPlace::Nic => format!("NIC {}", self.nic(nic)),
            FilterPlace::Subnet => format!("subnet {}", subnet_name(self.network, self.subnet(nic))),
            FilterPlace::Distributed => format!("machine {}", self.nic(nic)),
        };
        format!("{owner} on {place}, rule {}", rule.name)
    }

    /// `NSG app`, or `security admin configuration guardrails of network manager org`.
    pub(in crate::analysis) fn owner(self, owner: RuleOwner) -> String {
        match owner {
            RuleOwner::Nsg(nsg) => format!("NSG {}", self.network.network_security_groups[nsg.0].name),
            RuleOwner::Collection(at) => {
                let manager = &self.network.network_managers[at.manager];
                let configuration = &manager.security_admin_configurations[at.configuration].name;
                format!("security admin configuration {configuration} of network manager {}", manager.name)
            }
            RuleOwner::Firewall { cloud, .. } => {
                format!("distributed firewall of private cloud {}", self.network.cloud(cloud).name)
            }
        }
    }

    /// A rule's place in the file, among its owner's rules.
    pub(in crate::analysis) fn rule_index(self, rule: &RuleRef) -> Option<usize> {
        let name = short(&rule.name);
        match rule.owner {
            RuleOwner::Nsg(nsg) => {
                self.network.network_security_groups[nsg.0].rules.iter().position(|candidate| candidate.name == name)
            }
            RuleOwner::Collection(at) => {
                // `COLLECTION/RULE`
                self.network.rule_collection(at).rules.iter().position(|candidate| candidate.name == short(name))
            }
            RuleOwner::Firewall { cloud, policy } => {
                // `POLICY/RULE`
                let mut policies = self.network.cloud(cloud).firewall.policies.iter();
                let policy = policies.find(|one| Some(one.place) == policy)?;
                policy.rules.iter().position(|candidate| candidate.name == short(name))
            }
        }
    }

    /// `route table via-nva, route to-spokes: 10.0.0.0/8 -> VirtualAppliance 10.0.1.4`.
    pub(in crate::analysis) fn route(self, nic: NicId, fib: FibId, route: RouteId, hop: NextHop) -> String {
        let row = self.compiled.route(fib, route);
        let subnet = self.subnet(nic);
        let table = self.network.subnet(subnet).route_table.filter(|_| row.source == RouteSource::User);
        let Some(table) = table else {
            let via = hop.vnet().and_then(|remote| self.link(subnet.vnet, VnetIx(remote.0 as usize)));
            let via = via.map(|link| format!(" (peering {})", link.name)).unwrap_or_default();
            return format!("system route {}{via}", leads(row));
        };
        let table = &self.network.route_tables[table.0].name;
        format!("route table {table}, route {}: {}", row.name.as_deref().unwrap_or_default(), leads(row))
    }

    pub(in crate::analysis) fn service(self, subnet: SubnetIx, address: IpAddr) -> Option<&'a str> {
        service_endpoint(self.network, subnet, address)
    }

    /// The private endpoint that a leg's route leads to.
    pub(in crate::analysis) fn private_endpoint(self, address: IpAddr, leg: &Leg) -> Option<&'a str> {
        let Some((_, _, NextHop::Vnet(vnet))) = leg.route() else { return None };
        let mut endpoints = self.network.private_endpoints.iter();
        let found = endpoints.find(|endpoint| endpoint.subnet.vnet.0 == vnet.0 as usize && endpoint.address == address);
        found.map(|endpoint| endpoint.name.as_str())
    }

    /// A VNet's own link to another.
    pub(in crate::analysis) fn link(self, own: VnetIx, remote: VnetIx) -> Option<&'a Peering> {
        self.network.vnet(own).peerings.iter().find(|link| link.remote == remote)
    }

    pub(in crate::analysis) fn vnet_name(self, vnet: VnetId) -> &'a str {
        &self.network.virtual_networks[vnet.0 as usize].name
    }
}

/// The subnet whose routes and rules a sender has.
pub(in crate::analysis) fn subnet_of(network: &Network, sender: Sender) -> Option<SubnetIx> {
    match sender {
        Sender::Nic(nic) => Some(network.nic(nic).subnet),
        Sender::Subnet(subnet) => Some(subnet),
        Sender::Gateway(gateway) => Some(network.gateway(gateway).subnet),
        Sender::RouteServer(server) => Some(network.route_server(server).subnet),
        _ => None,
    }
}

/// A gateway's name, in the form of an interface's: `hub-gw/eth0`.
pub(in crate::analysis) fn gateway_name(network: &Network, gateway: GatewayIx) -> String {
    network.gateway(gateway).name.clone()
}

/// The platform's node in a virtual network, which probes and answers there: `AzurePlatform/hub`.
pub(in crate::analysis) fn platform_name(network: &Network, vnet: VnetIx) -> String {
    format!("{PLATFORM_NODE}/{}", network.vnet(vnet).name)
}

/// A site and the connection that leads there: `dc1/hub-dc1`.
pub(in crate::analysis) fn tunnel_name(network: &Network, tunnel: ConnectionIx) -> String {
    let site = network.site_of(tunnel).map_or("", |site| &network.site(site).name);
    format!("{site}/{}", network.connection(tunnel).name)
}

/// A circuit's customer and one of the links: `dc/er-london-primary`.
pub(in crate::analysis) fn circuit_link_name(network: &Network, circuit: CircuitIx, side: Side) -> String {
    format!("{}/{}", network.customer_name(circuit).unwrap_or_default(), network.circuit_link_name(circuit, side))
}

/// The workloads of a private cloud's segment, and the segment: `sddc-web/web`.
pub(in crate::analysis) fn segment_name(network: &Network, cloud: CloudIx, segment: usize) -> String {
    let segment = network.segment(cloud, segment);
    format!("{}/{}", segment.node, segment.name)
}

/// The Internet node's name, in the form of an interface's.
pub(in crate::analysis) fn internet_name() -> String {
    format!("{}/{}", Internet::NAME, Internet::INTERFACE)
}

/// A rule's name without what it begins with: `securityRules/x` is `x`.
pub(in crate::analysis) fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

pub(in crate::analysis) fn subnet_name(network: &Network, subnet: SubnetIx) -> String {
    format!("{}/{}", network.vnet(subnet.vnet).name, network.subnet(subnet).name)
}

pub(in crate::analysis) fn nic_name(network: &Network, nic: NicIx) -> String {
    let nic = network.nic(nic);
    format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
}

/// A rule's address field as the file has it: `*`, a prefix, or the name of a tag or group.
pub(in crate::analysis) fn address_field(network: &Network, field: &AddressPrefix) -> String {
    match field {
        AddressPrefix::Any => "*".to_owned(),
        AddressPrefix::Prefix(prefix) => prefix.to_string(),
        AddressPrefix::Tag(ServiceTag::Published(tag)) => network.service_tag(*tag).name.clone(),
        AddressPrefix::Tag(ServiceTag::Platform(service)) => service.to_string(),
        AddressPrefix::Tag(ServiceTag::VirtualNetwork) => "VirtualNetwork".to_owned(),
        AddressPrefix::Tag(ServiceTag::Internet) => "Internet".to_owned(),
        AddressPrefix::Tag(ServiceTag::AzureLoadBalancer) => "AzureLoadBalancer".to_owned(),
        AddressPrefix::Group(group) => network.application_security_groups[group.0].name.clone(),
    }
}

/// Whether a VNet's address space contains an address.
pub(in crate::analysis) fn holds(vnet: &VirtualNetwork, address: IpAddr) -> bool {
    vnet.address_space.iter().any(|prefix| prefix.contains(&address))
}

/// `10.0.0.0/8 -> VirtualAppliance 10.0.1.4`, and all next hops if there are several.
fn leads(row: &EffectiveRoute) -> String {
    let to = row.service_tag.clone().unwrap_or_else(|| row.prefixes.to_string());
    let mut words = vec![to, "->".to_owned(), row.next_hop_type.to_string()];
    words.extend(row.next_hop_ip.iter().map(ToString::to_string));
    words.join(" ")
}
