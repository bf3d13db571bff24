//! All tables that a worker needs to forward, immutable and published as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dataplane::{Acl, Edge, FlowTerms, Frontend, FrontendId, Gateway, GatewayId, Lpm, PublicOwner, Spread};
use crate::wire::Protocol;

/// An attachment: one TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u32);

impl PortId {
    /// The port of an interface of a stopped machine; no device has this number.
    pub const NONE: Self = Self(u32::MAX);
}

/// A sender and receiver of packets with one subnet's policy: an interface, or one subnet of an attached VNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NicId(pub u32);

/// Index in [`Snapshot::vnets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VnetId(pub u32);

impl VnetId {
    /// Of what is outside of virtual networks; no network has this number.
    pub const NONE: Self = Self(u32::MAX);
}

/// A subnet within its VNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubnetId(pub u32);

impl SubnetId {
    /// Of what is in no subnet and in no segment.
    pub const NONE: Self = Self(u32::MAX);
}

/// Index in [`Snapshot::fibs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FibId(pub u32);

/// Index in [`Fib::next_hops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// Index in [`Fib::spreads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpreadId(pub u32);

/// Index in [`Snapshot::acls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclId(pub u32);

/// The published tables. Ids index its lists; `compile` guarantees that every id in it is in range.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Tables that are published later have a higher number. Remembered results are valid for one generation.
    pub generation: u64,
    /// By [`PortId`].
    pub ports: Vec<Ingress>,
    /// By [`NicId`]. No table here leads to a number that no NIC has now.
    pub nics: Vec<Nic>,
    pub fibs: Vec<Fib>,
    pub acls: Vec<Acl>,
    pub vnets: Vec<Vnet>,
    /// By [`FrontendId`].
    pub frontends: Vec<Frontend>,
    /// None if the network has no Internet.
    pub edge: Option<Edge>,
    /// By [`GatewayId`].
    pub gateways: Vec<Gateway>,
}

impl Snapshot {
    #[inline]
    pub fn nic(&self, id: NicId) -> &Nic {
        &self.nics[id.0 as usize]
    }

    #[inline]
    pub fn vnet(&self, id: VnetId) -> &Vnet {
        &self.vnets[id.0 as usize]
    }

    /// Whether an address is a NIC's own. A mapping may name a NIC that is gone, or one outside of virtual networks.
    #[inline]
    pub fn owns(&self, id: NicId, address: IpAddr) -> bool {
        let nic = self.nics.get(id.0 as usize);
        let vnet = nic.and_then(|nic| self.vnets.get(nic.vnet.0 as usize));
        vnet.is_some_and(|vnet| vnet.owners.lookup(address) == Some(Owner::Nic(id)))
    }

    #[inline]
    pub fn frontend(&self, id: FrontendId) -> &Frontend {
        &self.frontends[id.0 as usize]
    }

    #[inline]
    pub fn fib(&self, id: FibId) -> &Fib {
        &self.fibs[id.0 as usize]
    }

    #[inline]
    pub fn gateway(&self, id: GatewayId) -> &Gateway {
        &self.gateways[id.0 as usize]
    }

    #[inline]
    pub fn acl(&self, id: AclId) -> &Acl {
        &self.acls[id.0 as usize]
    }

    /// Whether a NIC itself answers from a frontend's public address (LB-20).
    pub fn floats(&self, nic: NicId, address: IpAddr) -> bool {
        let owner = self.edge.as_ref().and_then(|edge| edge.public.lookup(address));
        matches!(owner, Some(PublicOwner::Frontend(frontend)) if self.frontend(frontend).floats_at(nic))
    }

    /// Whether an address is behind a port.
    pub fn is_behind(&self, port: PortId, address: IpAddr) -> bool {
        let vnet = match self.ports.get(port.0 as usize) {
            Some(Ingress::Nic(nic)) => self.nic(*nic).vnet,
            Some(Ingress::Vnet(vnet)) => *vnet,
            Some(Ingress::Internet | Ingress::Tunnel { .. } | Ingress::Platform { .. } | Ingress::Vacant) | None => {
                return false;
            }
        };
        matches!(self.vnet(vnet).owners.lookup(address), Some(Owner::Nic(nic)) if self.nic(nic).port == port)
    }
}

/// The sender on a port.
#[derive(Debug)]
pub enum Ingress {
    /// An interface's own TUN.
    Nic(NicId),
    /// A whole VNet's TUN. The packet's source decides, by the owner table of this VNet; an owner on another port makes
    /// it a spoofed source.
    Vnet(VnetId),
    /// The Internet's.
    Internet,
    /// The far end of a tunnel, which is up or not; or an edge router's own end, which is in no virtual network.
    Tunnel { tunnel: NicId, gateway: GatewayId, up: bool },
    /// The platform, in a VNet.
    Platform { nic: NicId, vnet: VnetId },
    /// None: the port's number is free, and a worker may still hold its device for a moment.
    Vacant,
}

/// One sender and receiver.
#[derive(Debug)]
pub struct Nic {
    pub port: PortId,
    pub vnet: VnetId,
    /// Of a machine of a private cloud its segment, by a number that is the cloud's own.
    pub subnet: SubnetId,
    /// The routes for TCP.
    pub fib: FibId,
    /// The routes for other protocols: the same without service endpoints, which carry TCP only (SYS-11).
    pub fib_beside_tcp: FibId,
    /// `enableIPForwarding` (NIC-02).
    pub forwarding: bool,
    /// Evaluated in this order (ADM-01, NSG-10): the admin rules, the NIC's NSG, the subnet's.
    pub outbound: Filters,
    /// The admin rules, the subnet's NSG, the NIC's.
    pub inbound: Filters,
    /// The rules that may deny the platform's services: those that name them by tag (NSG-30).
    pub platform: Filters,
    /// Largest IP packet its device takes.
    pub mtu: u16,
    /// The terms of its flow records.
    pub flows: FlowTerms,
}

impl Nic {
    /// Whether it is in a virtual network. Beyond, a NIC's rules are those of a distributed firewall (AVS-12).
    #[inline]
    pub fn is_in_vnet(&self) -> bool {
        self.vnet != VnetId::NONE
    }

    /// The routes for a protocol.
    #[inline]
    pub fn fib_of(&self, protocol: Protocol) -> FibId {
        if protocol == Protocol::TCP { self.fib } else { self.fib_beside_tcp }
    }
}

#[cfg(test)]
impl Nic {
    /// For a test: at this port, without any rule.
    pub(crate) fn at_port(port: PortId) -> Self {
        Self {
            port,
            vnet: VnetId(0),
            subnet: SubnetId::NONE,
            fib: FibId(0),
            fib_beside_tcp: FibId(0),
            forwarding: false,
            outbound: Filters::default(),
            inbound: Filters::default(),
            platform: Filters::default(),
            mtu: 1500,
            flows: FlowTerms::default(),
        }
    }
}

/// The filters of a NIC in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// The security admin rules of its VNet; a packet that none of them matches goes on (ADM-03).
    pub admin: Option<AclId>,
    pub nic: Option<AclId>,
    pub subnet: Option<AclId>,
}

/// One subnet's routes; subnets with equal routes share one. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Fib {
    pub lpm: Lpm<RouteId>,
    /// By [`RouteId`].
    pub next_hops: Arc<[NextHop]>,
    /// By [`SpreadId`].
    pub spreads: Arc<[Spread]>,
}

impl Fib {
    #[inline]
    pub fn spread(&self, id: SpreadId) -> &Spread {
        &self.spreads[id.0 as usize]
    }
}

/// What a route does, decided when it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// Deliver to the owner of the destination in this VNet: the own one or a peer.
    Vnet(VnetId),
    /// Deliver to this appliance, for any destination.
    Nic(NicId),
    /// Deliver to one of several appliances, chosen by the flow. A member is never a spread itself.
    Spread(SpreadId),
    /// Through one of a load balancer's backends, chosen by the flow (LB-32).
    Frontend(FrontendId),
    /// An appliance with an address that no reachable NIC owns.
    Unreachable,
    /// A virtual network gateway, which has routes of its own.
    Gateway(GatewayId),
    /// Into a tunnel: only a gateway's own routes lead there.
    Tunnel(NicId),
    /// A gateway that does not exist, or a tunnel that is down.
    NoGateway,
    /// Out of the fabric.
    Internet,
    /// An Azure service, over the subnet's service endpoint: out of the fabric, not over the Internet.
    Service,
    /// Drop.
    None,
}

impl NextHop {
    /// The virtual network that it delivers in.
    pub fn vnet(self) -> Option<VnetId> {
        if let Self::Vnet(vnet) = self { Some(vnet) } else { None }
    }

    /// The one appliance that it delivers to.
    pub fn nic(self) -> Option<NicId> {
        if let Self::Nic(nic) = self { Some(nic) } else { None }
    }

    pub fn spread(self) -> Option<SpreadId> {
        if let Self::Spread(spread) = self { Some(spread) } else { None }
    }

    pub fn frontend(self) -> Option<FrontendId> {
        if let Self::Frontend(frontend) = self { Some(frontend) } else { None }
    }
}

/// A VNet for the packet path.
#[derive(Debug)]
pub struct Vnet {
    /// The owner of each address: host prefixes for interfaces and reserved addresses, subnet prefixes for an attached
    /// VNet.
    pub owners: Lpm<Owner>,
    /// Peered VNets with Connected links, sorted by id: what this VNet's own link to each says.
    pub links: Vec<(VnetId, Link)>,
    /// The NIC of the platform, which answers requests and probes backends.
    pub platform: Option<NicId>,
}

/// The owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Behind this NIC.
    Nic(NicId),
    /// A load balancer's frontend.
    Frontend(FrontendId),
    /// Reserved by the platform: no machine answers (ADR-01, FAB-03).
    Reserved,
    /// A private endpoint: the Azure service behind it does not exist in a lab (SYS-12).
    Service,
}

/// One VNet's own link to a peer, reduced to what applies to packets.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Flows across need an explicit custom allow rule on this side (PEER-22).
    pub explicit_allow: bool,
    /// In mode enforce with `allowForwardedTraffic` off: the sources that may enter over this link (PEER-23).
    pub sources: Option<Lpm<()>>,
    /// The own subnets that take part, where not all do (PEER-53).
    pub participants: Option<SubnetSet>,
}

/// Some of a VNet's subnets, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetSet(Box<[u64]>);

impl FromIterator<SubnetId> for SubnetSet {
    fn from_iter<T: IntoIterator<Item = SubnetId>>(subnets: T) -> Self {
        let mut words = Vec::new();
        for SubnetId(subnet) in subnets {
            let word = (subnet / u64::BITS) as usize;
            words.resize(words.len().max(word + 1), 0);
            words[word] |= 1 << (subnet % u64::BITS);
        }
        Self(words.into())
    }
}

impl Link {
    /// Whether an own subnet takes part in the peering.
    #[inline]
    pub fn joins(&self, SubnetId(subnet): SubnetId) -> bool {
        let bit = |set: &SubnetSet| {
            let word = set.0.get((subnet / u64::BITS) as usize).copied().unwrap_or(0);
            word >> (subnet % u64::BITS) & 1 == 1
        };
        self.participants.as_ref().is_none_or(bit)
    }
}

impl Vnet {
    /// This VNet's link to a peer, if both links are Connected.
    pub fn link(&self, peer: VnetId) -> Option<&Link> {
        let found = self.links.binary_search_by_key(&peer, |(id, _)| *id).ok()?;
        Some(&self.links[found].1)
    }
}
