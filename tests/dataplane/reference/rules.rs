//! Azure's rules as plainly as they are written down: no table, no set arithmetic, no cleverness. The ids are those of
//! the specification. It shares the model with the product and nothing else.
//!
//! Here is the way of a packet; what decides whether it may pass an interface is in `filters`.

mod filters;

use std::net::IpAddr;

use ipnet::IpNet;
use vnet::dataplane::{DropReason, NextHop, Spread};
use vnet::model::{
    Attachment, ForwardedMode, Network, NicIx, Peering, PeeringAccessMode, PeeringExtent, PeeringState,
    PrivateEndpoint, PrivateEndpointNetworkPolicies, RouteDestination, RouteNextHop, SubnetIx, VnetIx,
};

use super::state::{Packet, State};
use super::topology::Kind;

use self::filters::{METADATA, PLATFORM, is_served};

/// A sender with one subnet's policy: an interface, or an address behind an attached VNet's TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    Nic(NicIx),
    Behind(SubnetIx),
}

impl Party {
    fn attachment(self) -> Attachment {
        match self {
            Self::Nic(nic) => Attachment::Nic(nic),
            Self::Behind(subnet) => Attachment::Vnet(subnet.vnet),
        }
    }
}

/// The rules, and what is known of flows that were admitted (NSG-20).
pub(crate) struct Twin<'a> {
    network: &'a Network,
    pub(crate) state: State,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hop {
    /// To its owner in this VNet.
    Vnet(VnetIx),
    Appliance(IpAddr),
    /// One of these, by the flow.
    Appliances(Vec<IpAddr>),
    Gateway,
    Internet,
    /// An Azure service, directly.
    Service,
    Nowhere,
}

/// How a party let a packet pass.
enum Admission {
    Record,
    /// Whether every NSG present let it pass by a rule of the user's, and there was one.
    Rules {
        custom: bool,
    },
}

impl<'a> Twin<'a> {
    pub(crate) fn new(network: &'a Network) -> Self {
        Self { network, state: State::new() }
    }

    /// All senders with a policy.
    pub(crate) fn parties(&self) -> Vec<Party> {
        let nics = (0..self.network.network_interfaces.len()).map(|nic| Party::Nic(NicIx(nic)));
        let attached = self.network.virtual_networks.iter().enumerate().filter(|(_, vnet)| vnet.attach.is_some());
        let behind = attached.flat_map(|(vnet, own)| {
            (0..own.subnets.len()).map(move |subnet| Party::Behind(SubnetIx { vnet: VnetIx(vnet), subnet }))
        });
        nics.chain(behind).collect()
    }

    /// NSG-22: other rules from now on, for new flows.
    pub(crate) fn change(&mut self, network: &'a Network) {
        self.network = network;
        self.state.changes += 1;
    }

    /// One leg of a packet: the device that gets it, or why none does.
    pub(crate) fn judge(&mut self, from: Attachment, packet: &Packet) -> Result<Attachment, DropReason> {
        carried(packet.sent.dst)?;
        if let Attachment::Platform(vnet) = from {
            return self.judge_platform(vnet, packet);
        }
        // FAB-12, FAB-16: addresses of the platform alone.
        if packet.sent.src == address(METADATA) {
            return Err(DropReason::LinkLocal);
        }
        if packet.sent.src == address(PLATFORM) {
            return Err(DropReason::SpoofedSource);
        }
        let sender = self.sender(from, packet.sent.src).ok_or(DropReason::SpoofedSource)?;
        let packet = &self.state.whole(from, packet)?;
        let sent = &packet.sent;
        let out = self.admit(sender, false, packet)?;
        // FAB-12
        if [PLATFORM, METADATA].map(address).contains(&sent.dst) {
            let there = Attachment::Platform(self.subnet(sender).vnet);
            let asked = is_served(sent) || matches!(out, Admission::Record);
            if !asked || !self.network.attachments().contains(&there) {
                return Err(DropReason::NoEndpoint);
            }
            self.begin(&[(sender, false, &out)], packet)?;
            return Ok(there);
        }
        let receiver = match self.route(self.subnet(sender), (sent.dst, sent.kind == Kind::Tcp)) {
            None => return Err(DropReason::NoRoute),
            Some(Hop::Nowhere) => return Err(DropReason::NextHopNone),
            Some(Hop::Internet) => return Err(DropReason::NoInternet),
            Some(Hop::Gateway) => return Err(DropReason::GatewayUnavailable),
            Some(Hop::Service) => return Err(DropReason::NoService),
            Some(Hop::Vnet(vnet)) if self.private_endpoint(vnet, sent.dst).is_some() => {
                return Err(DropReason::NoService);
            }
            Some(Hop::Vnet(vnet)) => self.owner(vnet, sent.dst).ok_or(DropReason::NoEndpoint)?,
            Some(Hop::Appliance(address)) => {
                self.locate(self.subnet(sender).vnet, address).ok_or(DropReason::NextHopUnreachable)?
            }
            // RSEL-06 says that a flow keeps to one, not which: that is the one thing asked of the product.
            Some(Hop::Appliances(addresses)) => {
                let members = addresses.iter().map(|_| NextHop::Unreachable);
                let address = addresses[Spread::new(members).share(&sent.tuple())];
                self.locate(self.subnet(sender).vnet, address).ok_or(DropReason::NextHopUnreachable)?
            }
        };
        let (ours, theirs) = (self.subnet(sender).vnet, self.subnet(receiver).vnet);
        if ours != theirs {
            if !self.is_peered(self.subnet(sender), self.subnet(receiver)) {
                return Err(DropReason::SubnetNotPeered);
            }
            self.may_cross(ours, theirs, sent.src, &out)?;
        }
        if !self.owns(receiver, sent.dst) && !self.forwards(receiver) {
            return Err(DropReason::NotForwarding);
        }
        let admission = self.admit(receiver, true, packet)?;
        if ours != theirs && self.needs_custom_rule(theirs, ours) && !admission.is_explicit() {
            return Err(DropReason::PeeringAccess);
        }
        self.begin(&[(sender, false, &out), (receiver, true, &admission)], packet)?;
        Ok(receiver.attachment())
    }

    /// FAB-12, LB-10: the platform's answers and probes are led by no route.
    fn judge_platform(&mut self, vnet: VnetIx, packet: &Packet) -> Result<Attachment, DropReason> {
        if ![PLATFORM, METADATA].map(address).contains(&packet.sent.src) {
            return Err(DropReason::SpoofedSource);
        }
        let packet = &self.state.whole(Attachment::Platform(vnet), packet)?;
        let sent = &packet.sent;
        let receiver = self.owner(vnet, sent.dst).ok_or(DropReason::NoEndpoint)?;
        let admission = self.admit(receiver, true, packet)?;
        self.begin(&[(receiver, true, &admission)], packet)?;
        Ok(receiver.attachment())
    }

    /// The records that a packet's passages lack.
    fn begin(&mut self, passages: &[(Party, bool, &Admission)], packet: &Packet) -> Result<(), DropReason> {
        let new = passages.iter().filter(|(_, _, admission)| !matches!(admission, Admission::Record));
        let new = new
            .map(|(party, inbound, _)| (*party, *inbound, self.timeout(*party), self.flushing_rules(*party, *inbound)));
        let new = new.collect();
        self.state.begin(new, packet)
    }
}

/// FAB-07, FAB-16: unicast only, and nothing that belongs to one link. FAB-12: the metadata service is no such thing.
fn carried(dst: IpAddr) -> Result<(), DropReason> {
    let within = |prefix: &str| prefix.parse::<IpNet>().unwrap().contains(&dst);
    if ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"].into_iter().any(within) {
        return Err(DropReason::Multicast);
    }
    if ["169.254.0.0/16", "fe80::/10"].into_iter().any(within) && !within("169.254.169.254/32") {
        return Err(DropReason::LinkLocal);
    }
    Ok(())
}

/// Senders, and the owners of addresses.
impl Twin<'_> {
    /// NIC-02, NIC-04: a foreign source needs IP forwarding. Behind a VNet's TUN the source says which subnet sends.
    fn sender(&self, from: Attachment, src: IpAddr) -> Option<Party> {
        match from {
            Attachment::Nic(nic) => {
                let interface = self.network.nic(nic);
                let may = interface.addresses.contains(&src) || interface.enable_ip_forwarding;
                may.then_some(Party::Nic(nic))
            }
            Attachment::Vnet(vnet) => self.owner(vnet, src).filter(|owner| matches!(owner, Party::Behind(_))),
            Attachment::Internet
            | Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Platform(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => None,
        }
    }

    /// The owner of an address in a VNet.
    fn owner(&self, vnet: VnetIx, address: IpAddr) -> Option<Party> {
        let nics = self.network.network_interfaces.iter().enumerate();
        for (i, nic) in nics {
            if nic.subnet.vnet == vnet && nic.addresses.contains(&address) {
                return Some(Party::Nic(NicIx(i)));
            }
        }
        let network = self.network.vnet(vnet);
        network.attach.as_ref()?;
        if self.private_endpoint(vnet, address).is_some() {
            return None;
        }
        for (i, subnet) in network.subnets.iter().enumerate() {
            for prefix in &subnet.prefixes {
                if prefix.contains(&address) && !is_reserved(*prefix, address) {
                    return Some(Party::Behind(SubnetIx { vnet, subnet: i }));
                }
            }
        }
        None
    }

    fn private_endpoint(&self, vnet: VnetIx, address: IpAddr) -> Option<&PrivateEndpoint> {
        let mut endpoints = self.network.private_endpoints.iter();
        endpoints.find(|endpoint| endpoint.subnet.vnet == vnet && endpoint.address == address)
    }

    /// UDR-11, UDR-12: an appliance is in the own VNet or in what a connected link knows of its peer.
    fn locate(&self, own: VnetIx, address: IpAddr) -> Option<Party> {
        self.owner(own, address).or_else(|| {
            let mut links = self.connected(own).filter(|link| any_contains(&link.remote_address_space, address));
            links.find_map(|link| self.owner(link.remote, address))
        })
    }

    fn owns(&self, party: Party, address: IpAddr) -> bool {
        self.owner(self.subnet(party).vnet, address) == Some(party)
    }

    fn forwards(&self, party: Party) -> bool {
        match party {
            Party::Nic(nic) => self.network.nic(nic).enable_ip_forwarding,
            Party::Behind(_) => false,
        }
    }

    fn subnet(&self, party: Party) -> SubnetIx {
        match party {
            Party::Nic(nic) => self.network.nic(nic).subnet,
            Party::Behind(subnet) => subnet,
        }
    }
}

/// Peerings.
impl Twin<'_> {
    /// PEER-02: only a pair of links that both are Connected counts.
    fn connected(&self, own: VnetIx) -> impl Iterator<Item = &Peering> {
        self.network.vnet(own).peerings.iter().filter(move |link| {
            let mut back = self.network.vnet(link.remote).peerings.iter().filter(|back| back.remote == own);
            link.state == PeeringState::Connected && back.any(|back| back.state == PeeringState::Connected)
        })
    }

    fn link(&self, own: VnetIx, remote: VnetIx) -> Option<&Peering> {
        self.connected(own).find(|link| link.remote == remote)
    }

    /// PEER-50, PEER-53: each link names both subnets, or has complete virtual networks.
    fn is_peered(&self, sender: SubnetIx, receiver: SubnetIx) -> bool {
        [(sender, receiver), (receiver, sender)].into_iter().all(|(own, other)| {
            let link = self.link(own.vnet, other.vnet).expect("routes lead over connected pairs only");
            match &link.extent {
                PeeringExtent::CompleteVnets => true,
                PeeringExtent::Subnets(names) => {
                    names.local.contains(&own.subnet) && names.remote.contains(&other.subnet)
                }
            }
        })
    }

    /// PEER-22 on the sender's side, then PEER-23 on the receiver's (PEER-24).
    fn may_cross(&self, ours: VnetIx, theirs: VnetIx, src: IpAddr, out: &Admission) -> Result<(), DropReason> {
        if self.needs_custom_rule(ours, theirs) && !out.is_explicit() {
            return Err(DropReason::PeeringAccess);
        }
        let link = self.link(theirs, ours).expect("routes lead over connected pairs only");
        let foreign = !any_contains(&link.remote_address_space, src);
        let enforced = self.network.emulation.forwarded == ForwardedMode::Enforce;
        if enforced && foreign && !link.allow_forwarded_traffic {
            return Err(DropReason::ForwardedTraffic);
        }
        Ok(())
    }

    fn needs_custom_rule(&self, own: VnetIx, remote: VnetIx) -> bool {
        let link = self.link(own, remote).expect("routes lead over connected pairs only");
        let strict = self.network.emulation.peering_access == PeeringAccessMode::ExplicitAllow;
        strict && !link.allow_virtual_network_access
    }
}

/// Routes.
impl Twin<'_> {
    /// RSEL-01, RSEL-02: the longest prefix, a user's before the system's.
    fn route(&self, subnet: SubnetIx, (dst, is_tcp): (IpAddr, bool)) -> Option<Hop> {
        // SYS-11, RSEL-04: no route of any length overrides a service endpoint; it carries TCP alone.
        let mut services = self.network.subnet(subnet).service_endpoints.iter().flat_map(|endpoint| &endpoint.tags);
        if is_tcp
            && services.any(|tag| any_contains(&self.network.service_tag(*tag).prefixes, dst))
            && self.has(subnet, dst)
        {
            return Some(Hop::Service);
        }
        let mut best: Option<(u8, u8, Hop)> = None;
        for (prefix, rank, hop) in self.candidates(subnet) {
            let better = best.as_ref().is_none_or(|&(length, best, _)| (prefix.prefix_len(), rank) > (length, best));
            if prefix.contains(&dst) && better {
                best = Some((prefix.prefix_len(), rank, hop));
            }
        }
        best.map(|(_, _, hop)| hop)
    }

    /// Every route a subnet has: prefix, rank among equals, hop.
    fn candidates(&self, subnet: SubnetIx) -> Vec<(IpNet, u8, Hop)> {
        let own = self.network.vnet(subnet.vnet);
        let mut all = Vec::new();
        // UDR: a user's route wins over any system route of its prefix.
        for (prefix, rank, next_hop) in self.user_routes(subnet) {
            let hop = match next_hop {
                RouteNextHop::VnetLocal => Hop::Vnet(subnet.vnet),
                RouteNextHop::VirtualAppliance(address) => Hop::Appliance(address),
                RouteNextHop::VirtualApplianceEcmp(addresses) => Hop::Appliances(addresses),
                RouteNextHop::VirtualNetworkGateway => Hop::Gateway,
                RouteNextHop::Internet => Hop::Internet,
                RouteNextHop::None => Hop::Nowhere,
            };
            all.push((prefix, rank, hop));
        }
        // SYS-12
        for endpoint in &self.network.private_endpoints {
            let (vnet, address) = (endpoint.subnet.vnet, endpoint.address);
            let peered = self
                .connected(subnet.vnet)
                .any(|link| link.remote == vnet && any_contains(&link.remote_address_space, address));
            if (vnet == subnet.vnet || peered) && !self.is_overruled(subnet, endpoint) {
                all.push((IpNet::from(address), 4, Hop::Vnet(vnet)));
            }
        }
        // SYS-02
        for prefix in &own.address_space {
            all.push((*prefix, 4, Hop::Vnet(subnet.vnet)));
        }
        // SYS-08, SYS-09, and a table's `disablePeeringRoute: All`
        let table = self.network.subnet(subnet).route_table.map(|table| &self.network.route_tables[table.0]);
        let peering = !table.is_some_and(|table| table.disable_peering_route);
        for link in self.connected(subnet.vnet).filter(|_| peering) {
            for prefix in &link.remote_address_space {
                all.push((*prefix, 3, Hop::Vnet(link.remote)));
            }
        }
        // SYS-03, FAB-16
        all.push(("0.0.0.0/0".parse().unwrap(), 2, Hop::Internet));
        if own.address_space.iter().any(|prefix| matches!(prefix, IpNet::V6(_))) {
            all.push(("::/0".parse().unwrap(), 2, Hop::Internet));
        }
        // SYS-04, unless SYS-05 or SYS-06a
        for none in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"] {
            let none: IpNet = none.parse().unwrap();
            let covered = own.address_space.iter().any(|prefix| prefix.contains(&none));
            if !covered && !self.default_is_taken(subnet) {
                all.push((none, 1, Hop::Nowhere));
            }
        }
        all
    }

    /// SYS-06a: the default route goes to an appliance or a gateway.
    fn default_is_taken(&self, subnet: SubnetIx) -> bool {
        self.user_routes(subnet).into_iter().any(|(prefix, _, next_hop)| {
            let taken = matches!(
                next_hop,
                RouteNextHop::VirtualAppliance(_)
                    | RouteNextHop::VirtualApplianceEcmp(_)
                    | RouteNextHop::VirtualNetworkGateway
            );
            taken && prefix == "0.0.0.0/0".parse::<IpNet>().unwrap()
        })
    }

    /// SYS-12: a route as long as the endpoint's VNet or longer, where the endpoint's subnet lets routes count.
    fn is_overruled(&self, subnet: SubnetIx, endpoint: &PrivateEndpoint) -> bool {
        let policies = self.network.subnet(endpoint.subnet).private_endpoint_network_policies;
        let obeys = matches!(
            policies,
            PrivateEndpointNetworkPolicies::Enabled | PrivateEndpointNetworkPolicies::RouteTableEnabled
        );
        let space = &self.network.vnet(endpoint.subnet.vnet).address_space;
        obeys
            && self.user_routes(subnet).into_iter().any(|(prefix, _, _)| {
                prefix.contains(&endpoint.address) && space.iter().any(|range| range.contains(&prefix))
            })
    }

    /// Prefix, rank among equals, next hop. UDR-06: a prefix before any tag, a region's tag before the service's, a
    /// service's before AzureCloud's.
    fn user_routes(&self, subnet: SubnetIx) -> Vec<(IpNet, u8, RouteNextHop)> {
        let table = self.network.subnet(subnet).route_table;
        let mut all = Vec::new();
        for route in table.into_iter().flat_map(|table| &self.network.route_tables[table.0].routes) {
            let tag = match route.destination {
                RouteDestination::Prefix(prefix) => {
                    all.push((prefix, 9, route.next_hop.clone()));
                    continue;
                }
                RouteDestination::Tag(tag) => self.network.service_tag(tag),
            };
            let rank = match (tag.name.starts_with("AzureCloud"), tag.name.contains('.')) {
                (false, true) => 8,
                (false, false) => 7,
                (true, true) => 6,
                (true, false) => 5,
            };
            for prefix in tag.prefixes.iter() {
                let fits = match &route.next_hop {
                    RouteNextHop::VirtualAppliance(address) => address.is_ipv4() == prefix.addr().is_ipv4(),
                    RouteNextHop::VirtualApplianceEcmp(all) => all[0].is_ipv4() == prefix.addr().is_ipv4(),
                    _ => self.has(subnet, prefix.addr()),
                };
                if fits {
                    all.push((*prefix, rank, route.next_hop.clone()));
                }
            }
        }
        all
    }

    /// Whether a VNet has an address's family: IPv4 always.
    fn has(&self, subnet: SubnetIx, address: IpAddr) -> bool {
        let mut space = self.network.vnet(subnet.vnet).address_space.iter();
        address.is_ipv4() || space.any(|prefix| matches!(prefix, IpNet::V6(_)))
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Admission {
    /// PEER-22: admitted before, or by the user's own rules.
    fn is_explicit(&self) -> bool {
        match self {
            Self::Record => true,
            Self::Rules { custom } => *custom,
        }
    }
}

/// ADR-01: an IPv4 subnet's first four addresses and its last, an IPv6 subnet's first four.
fn is_reserved(prefix: IpNet, address: IpAddr) -> bool {
    match (prefix.network(), address) {
        (IpAddr::V4(network), IpAddr::V4(own)) => {
            own.to_bits() - network.to_bits() < 4 || prefix.broadcast() == address
        }
        (IpAddr::V6(network), IpAddr::V6(own)) => own.to_bits() - network.to_bits() < 4,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn any_contains(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}
