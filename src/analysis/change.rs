//! Edits of a topology: each changes a copy of the network and says what to write in the file.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::RuleOwner;
use crate::dataplane::Direction;
use crate::model::{
    self, Access, AddressPrefix, AdminAccess, CloudIx, CollectionIx, DeploymentModel, Internet, LinkIx, LocalGatewayIx,
    Masquerade, Network, NicIx, NsgIx, Peering, PeeringExtent, PeeringState, PortRange, PowerState, Program, Route,
    RouteDestination, RouteNextHop, RouteTable, RouteTableIx, SecurityProtocol, SecurityRule, SiteIx, SubnetIx,
    SubnetNames, VmIx, VnetIx,
};

use super::query::Probe;
use super::yaml_path;

/// One edit of the topology file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `virtualNetworks[0].subnets[1].routeTable`; an index one past the end appends.
    pub path: String,
    /// As YAML; None to remove the value.
    pub value: Option<String>,
}

/// A copy of a network, changed.
pub(super) struct Edit {
    pub(super) network: Network,
    pub(super) changes: Vec<Change>,
}

impl Edit {
    pub(super) fn of(network: &Network) -> Self {
        Self { network: network.clone(), changes: Vec::new() }
    }

    /// Makes sure that this VNet has a connected link to the other that knows its present ranges.
    pub(super) fn link(&mut self, own: VnetIx, remote: VnetIx) {
        let name = format!("{}-{}", self.network.vnet(own).name, self.network.vnet(remote).name);
        let name = unused(&name, || self.network.vnet(own).peerings.iter().map(|link| link.name.as_str()));
        let back = self.network.vnet(remote).peerings.iter().find(|link| link.remote == own);
        let extent = back.map_or(PeeringExtent::CompleteVnets, |back| back.extent.mirrored());
        let present = self.network.vnet(remote).clone();
        let implied = self.network.vnet(own).deployment_model == DeploymentModel::Classic;
        let links = &mut self.network.virtual_networks[own.0].peerings;
        if let Some(link) = links.iter_mut().find(|link| link.remote == remote) {
            link.state = PeeringState::Connected;
            link.remote_address_space = link.remote_ranges(&present);
            return;
        }
        // The file also lists links whose remote network was deleted.
        let lost = self.network.lost_links.iter().filter(|lost| lost.vnet == own).count();
        let path = format!("virtualNetworks[{}].virtualNetworkPeerings[{}]", own.0, links.len() + lost);
        let at = LinkIx { vnet: own, link: links.len() };
        let mut link = Peering {
            name: name.clone(),
            remote,
            implied,
            state: PeeringState::Connected,
            extent,
            remote_address_space: Vec::new(),
            allow_virtual_network_access: true,
            allow_forwarded_traffic: false,
            allow_gateway_transit: false,
            use_remote_gateways: false,
        };
        link.remote_address_space = link.remote_ranges(&present);
        links.push(link);
        if implied {
            return;
        }
        let subnets = self.network.subnet_names(at).map(|SubnetNames { local, remote, only_ipv6 }| {
            let only_ipv6 = if only_ipv6 { ", enableOnlyIPv6Peering: true" } else { "" };
            let (local, remote) = (local.join(", "), remote.join(", "));
            format!(", peerCompleteVnets: false, localSubnetNames: [{local}], remoteSubnetNames: [{remote}]{only_ipv6}")
        });
        let value = format!("{{name: {name}, remoteVirtualNetwork: {}{}}}", present.name, subnets.unwrap_or_default());
        self.note(path, Some(value));
    }

    /// Updates a link to its peer's present ranges (PEER-17).
    pub(super) fn sync(&mut self, own: VnetIx, remote: VnetIx) {
        self.link(own, remote);
        if let Some(path) = yaml_path::link(&self.network, own, remote) {
            self.note(format!("{path}.remoteAddressSpace"), None);
        }
    }

    /// Adds two subnets to the lists of a VNet's own link, and updates the link's remote ranges.
    pub(super) fn join_subnets(&mut self, own: SubnetIx, remote: SubnetIx) {
        let Some(path) = yaml_path::link(&self.network, own.vnet, remote.vnet) else { return };
        let name = |subnet: SubnetIx| self.network.subnet(subnet).name.clone();
        let (own_name, remote_name) = (name(own), name(remote));
        let present = self.network.vnet(remote.vnet).clone();
        let links = &mut self.network.virtual_networks[own.vnet.0].peerings;
        let Some(link) = links.iter_mut().find(|link| link.remote == remote.vnet) else { return };
        let PeeringExtent::Subnets(subnets) = &mut link.extent else { return };
        let mut notes = Vec::new();
        for (key, list, subnet, name) in [
            ("localSubnetNames", &mut subnets.local, own.subnet, own_name),
            ("remoteSubnetNames", &mut subnets.remote, remote.subnet, remote_name),
        ] {
            if !list.contains(&subnet) {
                notes.push((format!("{path}.{key}[{}]", list.len()), name));
                list.push(subnet);
            }
        }
        link.remote_address_space = link.remote_ranges(&present);
        for (path, name) in notes {
            self.note(path, Some(name));
        }
    }

    pub(super) fn allow_access(&mut self, own: VnetIx, remote: VnetIx) {
        self.with_link(own, remote, "allowVirtualNetworkAccess", |link| link.allow_virtual_network_access = true);
    }

    pub(super) fn allow_forwarded(&mut self, own: VnetIx, remote: VnetIx) {
        self.with_link(own, remote, "allowForwardedTraffic", |link| link.allow_forwarded_traffic = true);
    }

    /// Lets the guest forward, and its first interface too if none does.
    pub(super) fn enable_ip_forwarding(&mut self, nic: NicIx) {
        let vm = self.network.nic(nic).virtual_machine;
        let first =
            !self.network.vm(vm).network_interfaces.iter().any(|&nic| self.network.nic(nic).enable_ip_forwarding);
        self.network.virtual_machines[vm.0].guest_forwarding |= first;
        self.network.network_interfaces[nic.0].enable_ip_forwarding = true;
        let path = format!("{}.enableIPForwarding", yaml_path::nic(&self.network, nic));
        self.note(path, Some("true".to_owned()));
    }

    pub(super) fn start(&mut self, vm: VmIx) {
        self.network.virtual_machines[vm.0].power_state = PowerState::Running;
        self.note(format!("virtualMachines[{}].powerState", vm.0), Some("running".to_owned()));
    }

    pub(super) fn forward_in_guest(&mut self, vm: VmIx) {
        self.network.virtual_machines[vm.0].guest_forwarding = true;
        self.note(format!("virtualMachines[{}].guest.forwarding", vm.0), Some("true".to_owned()));
    }

    /// Lets a guest masquerade what it forwards.
    pub(super) fn masquerade_in_guest(&mut self, vm: VmIx) {
        self.network.virtual_machines[vm.0].guest_masquerade = Masquerade::Internet;
        self.note(format!("virtualMachines[{}].guest.masquerade", vm.0), Some("true".to_owned()));
    }

    fn table(&mut self, table: RouteTableIx) -> &mut RouteTable {
        Arc::make_mut(&mut self.network.route_tables[table.0])
    }

    /// Has a VNet use the gateways of a peer (PEER-30).
    pub(super) fn use_gateways(&mut self, own: VnetIx, remote: VnetIx) {
        let lacks = |vnet: VnetIx, other, set: fn(&Peering) -> bool| {
            self.network.vnet(vnet).peerings.iter().any(|link| link.remote == other && !set(link))
        };
        let transit = lacks(remote, own, |link| link.allow_gateway_transit);
        let remote_gateways = lacks(own, remote, |link| link.use_remote_gateways);
        if transit {
            self.with_link(remote, own, "allowGatewayTransit", |link| link.allow_gateway_transit = true);
        }
        if remote_gateways {
            self.with_link(own, remote, "useRemoteGateways", |link| link.use_remote_gateways = true);
        }
    }

    /// Lets gateway routes into a table's subnets (UDR-34).
    pub(super) fn enable_propagation(&mut self, table: RouteTableIx) {
        self.table(table).disable_bgp_route_propagation = false;
        self.note(format!("routeTables[{}].disableBgpRoutePropagation", table.0), Some("false".to_owned()));
    }

    pub(super) fn enable_peering_routes(&mut self, table: RouteTableIx) {
        self.table(table).disable_peering_route = false;
        self.note(format!("routeTables[{}].disablePeeringRoute", table.0), Some("None".to_owned()));
    }

    pub(super) fn remove_route(&mut self, table: RouteTableIx, route: usize) {
        self.table(table).routes.remove(route);
        self.note(format!("routeTables[{}].routes[{route}]", table.0), None);
    }

    /// Gives a route another next hop.
    pub(super) fn lead_to(&mut self, table: RouteTableIx, route: usize, next_hop: RouteNextHop) {
        let Route { name, destination, .. } = self.network.route_tables[table.0].routes[route].clone();
        let destination = self.destination(destination);
        let value = route_value(&name, destination, &next_hop);
        self.table(table).routes[route].next_hop = next_hop;
        self.note(format!("routeTables[{}].routes[{route}]", table.0), Some(value));
    }

    /// As the file spells it.
    fn destination(&self, destination: RouteDestination) -> String {
        match destination {
            RouteDestination::Prefix(prefix) => prefix.to_string(),
            RouteDestination::Tag(tag) => self.network.service_tag(tag).name.clone(),
        }
    }

    pub(super) fn move_next_hop(&mut self, table: RouteTableIx, route: usize, to: IpAddr) {
        self.table(table).routes[route].next_hop = RouteNextHop::VirtualAppliance(to);
        self.note(format!("routeTables[{}].routes[{route}].nextHopIpAddress", table.0), Some(to.to_string()));
    }

    /// Removes one next hop of several; a route to two becomes a plain route to one.
    pub(super) fn drop_next_hop(&mut self, table: RouteTableIx, route: usize, address: IpAddr) {
        let destination = self.destination(self.network.route_tables[table.0].routes[route].destination);
        let Route { name, next_hop, .. } = &mut self.table(table).routes[route];
        let RouteNextHop::VirtualApplianceEcmp(addresses) = next_hop else { return };
        let Some(at) = addresses.iter().position(|member| *member == address) else { return };
        addresses.remove(at);
        let path = format!("routeTables[{}].routes[{route}]", table.0);
        let [one] = addresses[..] else {
            return self.note(format!("{path}.nextHop.nextHopIpAddresses[{at}]"), None);
        };
        *next_hop = RouteNextHop::VirtualAppliance(one);
        let value = route_value(name, destination, next_hop);
        self.note(path, Some(value));
    }

    /// Routes a prefix to this next hop, in the subnet's table or a new one. An existing route for the prefix is
    /// changed.
    pub(super) fn route(&mut self, subnet: SubnetIx, name: &str, prefix: IpNet, next_hop: &RouteNextHop) {
        let destination = RouteDestination::Prefix(prefix);
        let Some(table) = self.network.subnet(subnet).route_table else {
            return self.first_route(subnet, Route { name: name.to_owned(), destination, next_hop: next_hop.clone() });
        };
        let routes = &mut self.table(table).routes;
        let known = routes.iter().position(|route| route.destination == destination);
        let at = known.unwrap_or(routes.len());
        let name = match known {
            Some(at) => routes[at].name.clone(),
            None => unused(name, || routes.iter().map(|route| route.name.as_str())),
        };
        let value = route_value(&name, prefix, next_hop);
        routes.splice(at..routes.len().min(at + 1), [Route { name, destination, next_hop: next_hop.clone() }]);
        self.note(format!("routeTables[{}].routes[{at}]", table.0), Some(value));
    }

    /// A table for a subnet that has none.
    fn first_route(&mut self, subnet: SubnetIx, route: Route) {
        let tables = &self.network.route_tables;
        let name = format!("{}-routes", self.network.subnet(subnet).name);
        let name = unused(&name, || tables.iter().map(|table| table.name.as_str()));
        let table = tables.len();
        let prefix = route.prefix().map_or_else(String::new, |prefix| prefix.to_string());
        let value = route_value(&route.name, prefix, &route.next_hop);
        self.note(format!("routeTables[{table}]"), Some(format!("{{name: {name}, routes: [{value}]}}")));
        let path = format!("virtualNetworks[{}].subnets[{}].routeTable", subnet.vnet.0, subnet.subnet);
        self.note(path, Some(name.clone()));
        self.network.route_tables.push(Arc::new(RouteTable {
            name,
            routes: vec![route],
            disable_bgp_route_propagation: false,
            disable_peering_route: false,
        }));
        let subnet = &mut self.network.virtual_networks[subnet.vnet.0].subnets[subnet.subnet];
        subnet.route_table = Some(RouteTableIx(table));
    }

    /// Adds an allow rule for one flow before a rule of this priority; false where no priority is free.
    pub(super) fn allow(&mut self, nsg: NsgIx, direction: Direction, below: u16, flow: &Flow) -> bool {
        let direction = model_direction(direction);
        let rules = &mut self.network.network_security_groups[nsg.0].rules;
        let rival = |rule: &SecurityRule| rule.direction == direction;
        let Some((priority, moved)) = make_room(rules, rival, (100, below)) else { return false };
        let rule = flow.rule(unused_rule(&flow.name(), rules), priority, direction, Access::Allow);
        let value = format!(
            "{{name: {}, priority: {priority}, direction: {direction:?}, access: Allow, protocol: {:?}, \
             sourceAddressPrefix: {}, sourcePortRange: '{}', destinationAddressPrefix: {}, destinationPortRange: '{}'}}",
            rule.name,
            rule.protocol,
            flow.src,
            port_text(rule.source_ports[0]),
            flow.dst,
            port_text(rule.destination_ports[0])
        );
        let path = yaml_path::rule(RuleOwner::Nsg(nsg), rules.len());
        rules.push(rule);
        self.note_moved(RuleOwner::Nsg(nsg), &moved);
        self.note(path, Some(value));
        true
    }

    /// Adds an admin rule that passes one flow on to the NSGs, before an admin rule of this priority; false where no
    /// priority is free.
    pub(super) fn permit(&mut self, at: CollectionIx, direction: Direction, below: u16, flow: &Flow) -> bool {
        let direction = model_direction(direction);
        let rules = &mut self.network.rule_collection_mut(at).rules;
        let Some((priority, moved)) = make_room(rules, |_| true, (1, below)) else { return false };
        let rule = flow.rule(unused_rule(&flow.name(), rules), priority, direction, AdminAccess::Allow);
        let path = yaml_path::rule(RuleOwner::Collection(at), rules.len());
        let ports = |key: &str, ranges: &[PortRange]| match ranges[0] {
            PortRange::ALL => String::new(),
            range => format!(", {key}: ['{}']", port_text(range)),
        };
        let value = format!(
            "{{name: {}, priority: {priority}, direction: {direction:?}, access: Allow, protocol: {:?}, sources: ['{}']{}, \
             destinations: ['{}']{}}}",
            rule.name,
            rule.protocol,
            flow.src,
            ports("sourcePortRanges", &rule.source_ports),
            flow.dst,
            ports("destinationPortRanges", &rule.destination_ports)
        );
        rules.push(rule);
        self.note_moved(RuleOwner::Collection(at), &moved);
        self.note(path, Some(value));
        true
    }

    pub(super) fn note_moved(&mut self, owner: RuleOwner, moved: &[(usize, u16)]) {
        for (rule, priority) in moved {
            self.note(format!("{}.priority", yaml_path::rule(owner, *rule)), Some(priority.to_string()));
        }
    }

    /// Adds an address that answers on the Internet. A file without the list has default addresses, which are written
    /// too.
    pub(super) fn add_to_internet(&mut self, address: IpAddr) {
        let Some(internet) = &mut self.network.internet else {
            self.network.internet =
                Some(Internet { addresses: vec![address], run: Program::default(), host_egress: false });
            return self.note("internet".to_owned(), Some(format!("{{addresses: ['{address}']}}")));
        };
        internet.addresses.push(address);
        let all = list(&internet.addresses);
        self.note("internet.addresses".to_owned(), Some(all));
    }

    /// Adds an address that answers at a site. A file without the list has default addresses: the whole list is written.
    pub(super) fn add_to_site(&mut self, at: SiteIx, address: IpAddr) {
        let addresses = &mut self.network.sites[at.0].addresses;
        addresses.push(address);
        let all = list(addresses);
        self.note(format!("sites[{}].addresses", at.0), Some(all));
    }

    /// Adds an address that answers in a private cloud's segment. The same holds for its list.
    pub(super) fn add_to_segment(&mut self, at: CloudIx, segment: usize, address: IpAddr) {
        let IpAddr::V4(address) = address else { return };
        let cloud = &mut self.network.private_clouds[at.0];
        let place = cloud.place(segment);
        let addresses = &mut cloud.segments[segment].addresses;
        addresses.push(address);
        let all = list(addresses);
        self.note(format!("privateClouds[{}].segments[{place}].addresses", at.0), Some(all));
    }

    /// Adds a range that a static local network gateway leads to (VPN-12).
    pub(super) fn name_range(&mut self, at: LocalGatewayIx, range: IpNet) {
        let ranges = &mut self.network.local_network_gateways[at.0].address_space;
        ranges.push(range);
        let path = format!("localNetworkGateways[{}].localNetworkAddressSpace[{}]", at.0, ranges.len() - 1);
        self.note(path, Some(range.to_string()));
    }

    /// Adds a range that a site's router sends into its tunnels.
    pub(super) fn route_at_site(&mut self, at: SiteIx, range: IpNet) {
        let routes = &mut self.network.sites[at.0].routes;
        routes.push(range);
        let path = format!("sites[{}].routes[{}]", at.0, routes.len() - 1);
        self.note(path, Some(range.to_string()));
    }

    fn with_link(&mut self, own: VnetIx, remote: VnetIx, flag: &str, set: impl FnOnce(&mut Peering)) {
        let Some(path) = yaml_path::link(&self.network, own, remote) else { return };
        let links = &mut self.network.virtual_networks[own.0].peerings;
        if let Some(link) = links.iter_mut().find(|link| link.remote == remote) {
            set(link);
        }
        self.note(format!("{path}.{flag}"), Some("true".to_owned()));
    }

    fn note(&mut self, path: String, value: Option<String>) {
        self.changes.push(Change { path, value });
    }
}

/// Quoted: an IPv6 address may have a colon at its end.
fn list(addresses: &[impl Display]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn route_value(name: &str, destination: impl Display, next_hop: &RouteNextHop) -> String {
    let to = match next_hop {
        RouteNextHop::VirtualAppliance(address) => format!("VirtualAppliance, nextHopIpAddress: {address}"),
        RouteNextHop::VirtualApplianceEcmp(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("VirtualApplianceEcmp, nextHop: {{nextHopIpAddresses: [{}]}}", addresses.join(", "))
        }
        RouteNextHop::VirtualNetworkGateway => "VirtualNetworkGateway".to_owned(),
        RouteNextHop::VnetLocal => "VnetLocal".to_owned(),
        RouteNextHop::Internet => "Internet".to_owned(),
        RouteNextHop::None => "None".to_owned(),
    };
    format!("{{name: {name}, addressPrefix: {destination}, nextHopType: {to}}}")
}

/// A name that is not in use yet; ARM compares names without regard to case.
pub(super) fn unused<'a, I: Iterator<Item = &'a str>>(name: &str, taken: impl Fn() -> I) -> String {
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !taken().any(|other| other.eq_ignore_ascii_case(name)));
    free.expect("there are more numbers than names")
}

pub(super) fn unused_rule<A>(name: &str, rules: &[SecurityRule<A>]) -> String {
    unused(name, || rules.iter().map(|rule| rule.name.as_str()))
}

/// A free priority before another. Where there is none, the rules from there on move back by one, in their order; each
/// is returned with its new priority.
pub(super) fn make_room<A>(
    rules: &mut [SecurityRule<A>],
    is_rival: impl Fn(&SecurityRule<A>) -> bool,
    (first, below): (u16, u16),
) -> Option<(u16, Vec<(usize, u16)>)> {
    const LAST: u16 = 4096;
    let taken = |priority: &u16| rules.iter().any(|rule| is_rival(rule) && rule.priority == *priority);
    if let Some(free) = (first..below.min(LAST + 1)).rev().find(|priority| !taken(priority)) {
        return Some((free, Vec::new()));
    }
    let end = (below..=LAST).find(|priority| !taken(priority))?;
    let mut moved = Vec::new();
    for (at, rule) in rules.iter_mut().enumerate() {
        if is_rival(rule) && (below..end).contains(&rule.priority) {
            rule.priority += 1;
            moved.push((at, rule.priority));
        }
    }
    Some((below, moved))
}

/// The flow that an allow rule must match.
pub(super) struct Flow {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) probe: Probe,
    /// For an answer: the probed port is the source's.
    pub(super) answering: bool,
}

impl Flow {
    /// Protocol, source ports and destination ports.
    pub(super) fn ports(&self) -> (SecurityProtocol, PortRange, PortRange) {
        let (protocol, port) = match self.probe {
            Probe::Ping => return (SecurityProtocol::Icmp, PortRange::ALL, PortRange::ALL),
            Probe::Tcp(port) => (SecurityProtocol::Tcp, port),
            Probe::Udp(port) => (SecurityProtocol::Udp, port),
        };
        let port = PortRange { first: port, last: port };
        if self.answering { (protocol, port, PortRange::ALL) } else { (protocol, PortRange::ALL, port) }
    }

    /// An allow rule for this flow and no other.
    fn rule<A>(&self, name: String, priority: u16, direction: model::Direction, access: A) -> SecurityRule<A> {
        let (protocol, source_ports, destination_ports) = self.ports();
        SecurityRule {
            name,
            priority,
            direction,
            access,
            protocol,
            source: vec![AddressPrefix::Prefix(self.src.into())],
            source_ports: vec![source_ports],
            destination: vec![AddressPrefix::Prefix(self.dst.into())],
            destination_ports: vec![destination_ports],
        }
    }

    /// `allow-tcp-443`.
    pub(super) fn name(&self) -> String {
        format!("allow-{}", self.probe).replace('/', "-")
    }
}

fn model_direction(direction: Direction) -> model::Direction {
    match direction {
        Direction::Inbound => model::Direction::Inbound,
        Direction::Outbound => model::Direction::Outbound,
    }
}

fn port_text(range: PortRange) -> String {
    if range == PortRange::ALL { "*".to_owned() } else { range.first.to_string() }
}
