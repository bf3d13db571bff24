//! A valid network becomes the tables that packets meet: effective routes, security rules, owners of addresses.
//!
//! One idea: Azure's exceptions are settled here, once, so that a lookup in the [`Snapshot`] stays dull. The names of
//! routes and rules stay behind in [`Compiled`], which answers what an id in a packet's trace means. Pure: no I/O, no
//! threads, no clock. A change of anything runs the whole of it again; what it depends on for speed alone is a memory
//! of the last run, so that a step with the same inputs gives the same, shared result.

mod flow_logs;
pub(crate) mod gateways;
mod ids;
mod memo;
mod nat;
mod nsg;
mod routes;
use std::sync::Arc;

use crate::dataplane::{
    AclId, FibId, Filters, FlowTerms, Ingress, Nic, NicId, PortId, RouteId, Snapshot, SubnetId, Vnet, VnetId,
};
use crate::model::{
    Attachment, CircuitIx, CloudIx, ConnectionIx, Direction, EffectiveRoute, GatewayIx, Learned, Network, NicIx,
    Prefixes, RouteServerIx, Side, SubnetIx, Tier, VnetIx,
};

use gateways::{Gateways, gateway_id};
use memo::{Kept, Known, Pool, Same};
use nat::{balancer, edge};
use nsg::platform::Platform;
use nsg::{Acls, KnownAcls, List};
use routes::endpoints::{KnownOwners, Owners};
use routes::fib::{Fibs, KnownFibs, Listing, Rows};
use routes::peering_links::{self, Connections};
use routes::published::Published;
use routes::user_routes::{Table, Tables, UserRoutes};
use routes::vnet_context::Surroundings;

pub use flow_logs::flow_logs;
pub use gateways::express_route::edge_id;
pub use gateways::private_cloud::router_id;
pub use ids::{Ids, senders};
pub use nsg::rule_ids::{ListedRule, RuleIds, listed_rules};
pub use nsg::written::written_addresses;
pub use nsg::{EffectiveRule, RuleOwner, RuleRef};
pub use routes::peering_links::connected;
pub use routes::prefixes::difference;

/// The default MTU of an attachment outside of virtual networks (FAB-11).
const DEFAULT_MTU: u16 = 1500;
/// A tunnel's (FAB-11).
const TUNNEL_MTU: u16 = 1400;

/// A published snapshot and the meaning of its ids.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Arc<Snapshot>,
    /// By VNet, then by subnet.
    subnets: Vec<Vec<FibId>>,
    /// The same of what is no TCP.
    beside_tcp: Vec<Vec<FibId>>,
    /// By [`FibId`].
    listings: Vec<Same<Listing>>,
    /// By [`AclId`].
    lists: Vec<Same<List>>,
    ids: Ids,
    learned: Learned,
    memory: Memory,
}

/// What a compile worked out, for the next one.
#[derive(Debug, Default)]
struct Memory {
    surroundings: Kept<Surroundings>,
    published: Kept<Prefixes>,
    tables: Known<Table, Same<UserRoutes>>,
    fibs: KnownFibs,
    owners: KnownOwners,
    acls: KnownAcls,
}

/// The sender that a [`NicId`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Nic(NicIx),
    /// A subnet of an attached VNet: every address in it that no interface owns.
    Subnet(SubnetIx),
    /// The Internet, behind the edge of the fabric.
    Internet,
    /// A gateway's own packets.
    Gateway(GatewayIx),
    /// The other end of a connection: a site.
    Tunnel(ConnectionIx),
    /// The prober of a virtual network's backends.
    Platform(VnetIx),
    /// The own packets of a circuit's edge.
    Edge(CircuitIx),
    /// A circuit's customer, on one of its links.
    CircuitLink(CircuitIx, Side),
    /// A route server's own packets.
    RouteServer(RouteServerIx),
    /// The own packets of a private cloud's router.
    CloudRouter(CloudIx, Tier),
    /// The workloads of a private cloud's segment.
    Segment(CloudIx, usize),
}

impl Sender {
    /// The interface, where it is one.
    pub fn nic(self) -> Option<NicIx> {
        if let Self::Nic(nic) = self { Some(nic) } else { None }
    }

    /// The gateway, where it is one.
    pub fn gateway(self) -> Option<GatewayIx> {
        if let Self::Gateway(gateway) = self { Some(gateway) } else { None }
    }

    /// Of a guest in a virtual network, its subnet, and its interface unless the whole subnet is attached. Only guests have
    /// rules and flow records. None for gateways, for the platform and for what is beyond the edge.
    pub fn guest(self, network: &Network) -> Option<(SubnetIx, Option<NicIx>)> {
        match self {
            Self::Nic(nic) => Some((network.nic(nic).subnet, Some(nic))),
            Self::Subnet(subnet) => Some((subnet, None)),
            _ => None,
        }
    }

    /// The network whose flow records count together with this guest's (NSG-26): `virtual network hub`.
    pub fn flow_share(self, network: &Network) -> Option<String> {
        if let Self::Segment(cloud, _) = self {
            return Some(format!("private cloud {}", network.cloud(cloud).name));
        }
        let (subnet, _) = self.guest(network)?;
        Some(format!("virtual network {}", network.vnet(subnet.vnet).name))
    }

    /// The one sender on a TUN; none on that of a whole virtual network.
    pub fn at(attachment: Attachment) -> Option<Self> {
        Some(match attachment {
            Attachment::Nic(nic) => Self::Nic(nic),
            Attachment::Vnet(_) => return None,
            Attachment::Internet => Self::Internet,
            Attachment::Gateway(gateway) => Self::Gateway(gateway),
            Attachment::Tunnel(tunnel) => Self::Tunnel(tunnel),
            Attachment::Platform(vnet) => Self::Platform(vnet),
            Attachment::Edge(circuit) => Self::Edge(circuit),
            Attachment::CircuitLink(circuit, side) => Self::CircuitLink(circuit, side),
            Attachment::RouteServer(server) => Self::RouteServer(server),
            Attachment::CloudRouter(cloud, tier) => Self::CloudRouter(cloud, tier),
            Attachment::Segment(cloud, segment) => Self::Segment(cloud, segment),
        })
    }
}

/// Compiles the whole network, numbered in file order.
pub fn compile(network: &Network, learned: &Learned, generation: u64) -> Compiled {
    compile_numbered(network, learned, Ids::in_file_order(network), generation)
}

/// Compiles the whole network with numbers that mean something already.
pub fn compile_numbered(network: &Network, learned: &Learned, ids: Ids, generation: u64) -> Compiled {
    compile_after(network, learned, ids, generation, &Memory::default())
}

/// The same for a network that takes an earlier one's place: what follows from equal inputs is not worked out again,
/// and both share it.
pub fn compile_next(network: &Network, learned: &Learned, ids: Ids, generation: u64, earlier: &Compiled) -> Compiled {
    compile_after(network, learned, ids, generation, &earlier.memory)
}

fn compile_after(network: &Network, learned: &Learned, ids: Ids, generation: u64, earlier: &Memory) -> Compiled {
    let connections = Connections::among(network);
    let gateways = Gateways::of(network, learned);
    let mut pool = Pool::after(&earlier.surroundings);
    let surroundings: Vec<_> =
        Surroundings::of_all((network, learned), &connections, &gateways).map(|of| pool.share(of)).collect();
    let (owners, known_owners) = Owners::new(network, &ids, &earlier.owners);
    let mut rows = Rows {
        surroundings: &surroundings,
        tables: Tables::of(network, &earlier.tables),
        published: Published::of(network, &earlier.published),
    };
    let (fibs, known_fibs) = Fibs::new(network, (&owners, &ids), &connections, &mut rows, &earlier.fibs);
    let mut acls = Acls::new(network, ids.rules(), &mut rows, &earlier.acls);
    let mut platform = Platform::of(network);
    let (senders, attachments) = ids.slots();
    let mut numbered = |sender| nic(network, learned, &ids, &fibs, (&mut acls, &mut platform), sender);
    let nics = senders.iter().map(|sender| sender.map_or_else(absent, &mut numbered)).collect();
    let ports = attachments.iter().map(|attachment| ingress(network, learned, &ids, *attachment)).collect();
    let vnets = (0..network.virtual_networks.len()).map(VnetIx).zip(owners.into_tables());
    let links = |vnet| peering_links::of(network, &connections, vnet);
    let platform = |vnet| ids.nic(Sender::Platform(vnet));
    let vnets = vnets.map(|(vnet, owners)| Vnet { owners, links: links(vnet), platform: platform(vnet) }).collect();
    let (lists, known_acls) = acls.into_parts();
    let acls = lists.iter().map(|list| list.table.clone()).collect();
    let memory = Memory {
        surroundings: pool.into_kept(),
        published: rows.published.into_kept(),
        tables: rows.tables.into_known(),
        fibs: known_fibs,
        owners: known_owners,
        acls: known_acls,
    };
    let edge = edge::of(network, &ids);
    let tunnels = gateways.tables(network, learned, &ids);
    let Fibs { tables: fibs, subnets, beside_tcp, listings } = fibs;
    let frontends = Vec::new();
    let mut snapshot = Snapshot { generation, ports, nics, fibs, acls, vnets, edge, frontends, gateways: tunnels };
    snapshot.frontends = balancer::frontends(network, learned, &ids, &snapshot);
    Compiled {
        snapshot: Arc::new(snapshot),
        subnets,
        beside_tcp,
        listings,
        lists,
        ids,
        learned: learned.clone(),
        memory,
    }
}

fn nic(
    network: &Network,
    learned: &Learned,
    ids: &Ids,
    fibs: &Fibs,
    (acls, platform): (&mut Acls<'_, '_>, &mut Platform),
    sender: Sender,
) -> Nic {
    let (subnet, forwarding, tracks_tcp) = match sender {
        Sender::Nic(ix) => {
            let nic = network.nic(ix);
            (nic.subnet, nic.enable_ip_forwarding, !nic.disable_tcp_state_tracking)
        }
        // A foreign source names no subnet, so what stands behind a VNet's one TUN cannot forward.
        Sender::Subnet(subnet) => (subnet, false, true),
        Sender::Internet => return beyond(learned, ids, Attachment::Internet, DEFAULT_MTU),
        Sender::Tunnel(tunnel) => return beyond(learned, ids, Attachment::Tunnel(tunnel), TUNNEL_MTU),
        Sender::Platform(vnet) => return beyond(learned, ids, Attachment::Platform(vnet), DEFAULT_MTU),
        Sender::Edge(_) | Sender::CircuitLink(..) | Sender::CloudRouter(..) => {
            return beyond(learned, ids, sender.attachment(), DEFAULT_MTU);
        }
        Sender::Segment(cloud, machine) => {
            return gateways::private_cloud::machine(
                (network, ids, acls),
                (cloud, machine),
                beyond(learned, ids, sender.attachment(), DEFAULT_MTU),
            );
        }
        // What it sends itself is an answer of its kernel's or BGP.
        Sender::Gateway(gateway) => (network.gateway(gateway).subnet, true, false),
        Sender::RouteServer(server) => (network.route_server(server).subnet, false, false),
    };
    let mut filters = |direction| acls.filters(sender, direction);
    let (outbound, inbound) = (filters(Direction::Outbound), filters(Direction::Inbound));
    let attachment = sender.attachment();
    Nic {
        port: port(network, ids, attachment),
        vnet: vnet_id(subnet.vnet),
        subnet: subnet_id(subnet.subnet),
        fib: fibs.of(subnet),
        fib_beside_tcp: fibs.beside_tcp(subnet),
        forwarding,
        outbound,
        inbound,
        platform: platform.filters(acls, outbound),
        mtu: learned.mtu.get(&attachment).copied().unwrap_or(network.emulation.mtu),
        flows: FlowTerms {
            timeout_secs: u16::try_from(network.vnet(subnet.vnet).flow_timeout.as_secs()).unwrap_or(u16::MAX),
            share: ids.share(subnet.vnet),
            strict_tcp: network.emulation.tcp_state_tracking && tracks_tcp,
            logged: !flow_logs(network, sender).is_empty(),
            outbound_rules: acls.mark(outbound),
            inbound_rules: acls.mark(inbound),
        },
    }
}

/// An attachment outside of virtual networks: the pipeline uses its port and its MTU alone.
fn beyond(learned: &Learned, ids: &Ids, attachment: Attachment, mtu: u16) -> Nic {
    Nic {
        port: ids.port(attachment).expect("every attachment has a number"),
        mtu: learned.mtu.get(&attachment).copied().unwrap_or(mtu),
        ..absent()
    }
}

fn port(network: &Network, ids: &Ids, attachment: Attachment) -> PortId {
    match attachment {
        Attachment::Nic(nic) if !network.is_running(nic) => PortId::NONE,
        _ => ids.port(attachment).expect("every attachment has a number"),
    }
}

/// Fills the gap of an unused number: no address and no port leads here.
fn absent() -> Nic {
    Nic {
        port: PortId::NONE,
        vnet: VnetId::NONE,
        subnet: SubnetId::NONE,
        fib: FibId(u32::MAX),
        fib_beside_tcp: FibId(u32::MAX),
        forwarding: false,
        outbound: Filters::default(),
        inbound: Filters::default(),
        platform: Filters::default(),
        mtu: 0,
        flows: FlowTerms::default(),
    }
}

impl Sender {
    /// The TUN it is reached by.
    pub fn attachment(self) -> Attachment {
        match self {
            Self::Nic(nic) => Attachment::Nic(nic),
            Self::Subnet(subnet) => Attachment::Vnet(subnet.vnet),
            Self::Internet => Attachment::Internet,
            Self::Gateway(gateway) => Attachment::Gateway(gateway),
            Self::Tunnel(tunnel) => Attachment::Tunnel(tunnel),
            Self::Platform(vnet) => Attachment::Platform(vnet),
            Self::Edge(circuit) => Attachment::Edge(circuit),
            Self::CircuitLink(circuit, side) => Attachment::CircuitLink(circuit, side),
            Self::RouteServer(server) => Attachment::RouteServer(server),
            Self::CloudRouter(cloud, tier) => Attachment::CloudRouter(cloud, tier),
            Self::Segment(cloud, segment) => Attachment::Segment(cloud, segment),
        }
    }
}

impl Compiled {
    /// A subnet's routes as Azure lists them: by source, then by prefix (DIAG-02), the Invalid ones included.
    pub fn effective_routes(&self, subnet: SubnetIx) -> &[Arc<EffectiveRoute>] {
        &self.listings[self.fib(subnet).0 as usize].routes
    }

    /// The rows of what is no TCP, which service endpoints do not carry (SYS-11).
    pub fn effective_routes_beside_tcp(&self, subnet: SubnetIx) -> &[Arc<EffectiveRoute>] {
        &self.listings[self.fib_beside_tcp(subnet).0 as usize].routes
    }

    /// The table that a subnet's TCP packets are routed by: what is listed.
    pub fn fib(&self, subnet: SubnetIx) -> FibId {
        self.subnets[subnet.vnet.0][subnet.subnet]
    }

    /// The one that its other packets are: the same where it has no service endpoint (SYS-11).
    pub fn fib_beside_tcp(&self, subnet: SubnetIx) -> FibId {
        self.beside_tcp[subnet.vnet.0][subnet.subnet]
    }

    /// The row that a route step names.
    pub fn route(&self, fib: FibId, route: RouteId) -> &EffectiveRoute {
        &self.listings[fib.0 as usize].routes[route.0 as usize]
    }

    pub fn sender(&self, nic: NicId) -> Sender {
        self.ids.sender(nic).expect("a trace names numbered senders only")
    }

    pub fn nic_of(&self, nic: NicIx) -> NicId {
        self.ids.nic(Sender::Nic(nic)).expect("every interface has a number")
    }

    /// What stands for a subnet of an attached VNet; None where the VNet has no TUN of its own.
    pub fn subnet_nic(&self, subnet: SubnetIx) -> Option<NicId> {
        self.ids.nic(Sender::Subnet(subnet))
    }

    /// What it was compiled with, beside the network.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The numbers it was compiled with.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The rule that an admission step names.
    pub fn rule(&self, acl: AclId, rule: u32) -> &RuleRef {
        &self.effective_rules(acl)[rule as usize].rule
    }

    /// The rules of an ACL in the order of evaluation, tags expanded.
    pub fn effective_rules(&self, acl: AclId) -> &[EffectiveRule] {
        &self.lists[acl.0 as usize].rules
    }
}

fn ingress(network: &Network, learned: &Learned, ids: &Ids, attachment: Option<Attachment>) -> Ingress {
    match attachment {
        Some(Attachment::Nic(nic)) => Ingress::Nic(ids.nic(Sender::Nic(nic)).expect("every interface has a number")),
        Some(Attachment::Vnet(vnet)) => Ingress::Vnet(vnet_id(vnet)),
        Some(Attachment::Internet) => Ingress::Internet,
        Some(Attachment::Gateway(gateway)) => {
            Ingress::Nic(ids.nic(Sender::Gateway(gateway)).expect("every gateway has a number"))
        }
        Some(Attachment::RouteServer(server)) => {
            Ingress::Nic(ids.nic(Sender::RouteServer(server)).expect("every route server has a number"))
        }
        Some(Attachment::Tunnel(tunnel)) => Ingress::Tunnel {
            tunnel: ids.nic(Sender::Tunnel(tunnel)).expect("every tunnel has a number"),
            gateway: gateway_id(network.connection(tunnel).gateway),
            up: learned.tunnel_is_up(network, tunnel),
        },
        Some(Attachment::Platform(vnet)) => Ingress::Platform {
            nic: ids.nic(Sender::Platform(vnet)).expect("the platform has a number"),
            vnet: vnet_id(vnet),
        },
        Some(Attachment::Edge(circuit)) => Ingress::Tunnel {
            tunnel: ids.nic(Sender::Edge(circuit)).expect("every edge has a number"),
            gateway: edge_id(network, circuit),
            up: true,
        },
        Some(Attachment::CircuitLink(circuit, side)) => Ingress::Tunnel {
            tunnel: ids.nic(Sender::CircuitLink(circuit, side)).expect("every link has a number"),
            gateway: edge_id(network, circuit),
            up: network.circuit_fault(circuit).is_none() && learned.link_is_up(network, circuit, side),
        },
        Some(Attachment::CloudRouter(cloud, tier)) => Ingress::Tunnel {
            tunnel: ids.nic(Sender::CloudRouter(cloud, tier)).expect("every router has a number"),
            gateway: router_id(network, cloud, tier),
            up: true,
        },
        Some(Attachment::Segment(cloud, segment)) => Ingress::Tunnel {
            tunnel: ids.nic(Sender::Segment(cloud, segment)).expect("every segment has a number"),
            gateway: router_id(network, cloud, Tier::One(network.segment(cloud, segment).router)),
            up: true,
        },
        None => Ingress::Vacant,
    }
}

fn vnet_id(vnet: VnetIx) -> VnetId {
    VnetId(vnet.0 as u32)
}

fn subnet_id(subnet: usize) -> SubnetId {
    SubnetId(subnet as u32)
}
