//! A valid network becomes the tables that packets meet: effective routes, security rules, owners of addresses.
//!
//! One idea: Azure's exceptions are settled here, once, so that a lookup in the [`Snapshot`] stays dull. The names of
//! routes and rules stay behind in [`Compiled`], which answers what an id in a packet's trace means. Pure: no I/O, no
//! threads, no clock; a change of anything runs the whole of it again.

mod acls;
mod admin;
mod fib;
mod groups;
mod ids;
mod links;
mod owners;
mod platform;
mod prefixes;
mod private_access;
mod published;
mod routes;
mod rule_ids;
mod settle;
mod tags;
mod written;

use std::collections::HashMap;
use std::sync::Arc;

use crate::dataplane::{
    AclId, FibId, Filters, FlowTerms, Ingress, Nic, NicId, PortId, RouteId, Snapshot, SubnetId, Vnet, VnetId,
};
use crate::model::{Attachment, Direction, EffectiveRoute, Network, NicIx, SubnetIx, VnetIx};

use acls::Acls;
use fib::Fibs;
use owners::Owners;
use platform::Platform;

pub use acls::{EffectiveRule, RuleOwner, RuleRef};
pub use ids::{Ids, senders};
pub use links::connected;
pub use prefixes::difference;
pub use rule_ids::{ListedRule, RuleIds, listed_rules};
pub use written::written_addresses;

/// The MTU of an attachment nobody has said anything about (FAB-11).
const DEFAULT_MTU: u16 = 1500;

/// What the running system tells, as opposed to what the file says.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// By attachment; 1500 where it is missing.
    pub mtu: HashMap<Attachment, u16>,
}

/// A published snapshot and the meaning of its ids.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Arc<Snapshot>,
    /// By VNet, then by subnet.
    subnets: Vec<Vec<FibId>>,
    /// By [`FibId`], then by [`RouteId`].
    routes: Vec<Vec<EffectiveRoute>>,
    /// By [`AclId`], then by rule.
    rules: Vec<Vec<EffectiveRule>>,
    ids: Ids,
}

/// What a [`NicId`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Nic(NicIx),
    /// A subnet of an attached VNet: every address in it that no interface owns.
    Subnet(SubnetIx),
}

/// Compiles the whole network, numbered in file order.
pub fn compile(network: &Network, learned: &Learned, generation: u64) -> Compiled {
    compile_numbered(network, learned, Ids::in_file_order(network), generation)
}

/// Compiles the whole network with numbers that mean something already.
pub fn compile_numbered(network: &Network, learned: &Learned, ids: Ids, generation: u64) -> Compiled {
    let owners = Owners::new(network, &ids);
    let fibs = Fibs::new(network, &owners);
    let mut acls = Acls::new(network, ids.rules());
    let mut platform = Platform::of(network);
    let (senders, attachments) = ids.slots();
    let mut numbered = |sender| nic(network, learned, &ids, &fibs, (&mut acls, &mut platform), sender);
    let nics = senders.iter().map(|sender| sender.map_or_else(nobody, &mut numbered)).collect();
    let ports = attachments.iter().map(|attachment| ingress(&ids, *attachment)).collect();
    let vnets = (0..network.virtual_networks.len()).map(VnetIx).zip(owners.into_tables());
    let vnets = vnets.map(|(vnet, owners)| Vnet { owners, links: links::of(network, vnet) }).collect();
    let Fibs { tables: fibs, spreads, subnets, routes } = fibs;
    let (acls, rules) = acls.into_parts();
    let snapshot = Snapshot { generation, ports, nics, fibs, spreads: spreads.all, acls, vnets };
    Compiled { snapshot: Arc::new(snapshot), subnets, routes, rules, ids }
}

fn nic(
    network: &Network,
    learned: &Learned,
    ids: &Ids,
    fibs: &Fibs,
    (acls, platform): (&mut Acls<'_>, &mut Platform),
    sender: Sender,
) -> Nic {
    let (subnet, forwarding, tracks_tcp) = match sender {
        Sender::Nic(ix) => {
            let nic = network.nic(ix);
            (nic.subnet, nic.enable_ip_forwarding, !nic.disable_tcp_state_tracking)
        }
        // A foreign source names no subnet, so what stands behind a VNet's one TUN cannot forward.
        Sender::Subnet(subnet) => (subnet, false, true),
    };
    let mut filters = |direction| acls.filters(sender, direction);
    let (outbound, inbound) = (filters(Direction::Outbound), filters(Direction::Inbound));
    let attachment = sender.attachment();
    Nic {
        port: ids.port(attachment).expect("every attachment has a number"),
        vnet: vnet_id(subnet.vnet),
        subnet: subnet_id(subnet.subnet),
        fib: fibs.of(subnet),
        forwarding,
        outbound,
        inbound,
        platform: platform.filters(acls, outbound),
        mtu: learned.mtu.get(&attachment).copied().unwrap_or(DEFAULT_MTU),
        flows: FlowTerms {
            timeout_secs: u16::try_from(network.vnet(subnet.vnet).flow_timeout.as_secs()).unwrap_or(u16::MAX),
            strict_tcp: network.emulation.tcp_state_tracking && tracks_tcp,
            logged: false,
            outbound_rules: acls.mark(outbound),
            inbound_rules: acls.mark(inbound),
        },
    }
}

/// Fills the gap of a number that nobody has: no owner and no port leads here.
fn nobody() -> Nic {
    Nic {
        port: PortId(u32::MAX),
        vnet: VnetId(u32::MAX),
        subnet: SubnetId(u32::MAX),
        fib: FibId(u32::MAX),
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
    fn attachment(self) -> Attachment {
        match self {
            Self::Nic(nic) => Attachment::Nic(nic),
            Self::Subnet(subnet) => Attachment::Vnet(subnet.vnet),
        }
    }
}

impl Compiled {
    /// A subnet's routes as Azure lists them: by source, then by prefix (DIAG-02), the Invalid ones included.
    pub fn effective_routes(&self, subnet: SubnetIx) -> &[EffectiveRoute] {
        &self.routes[self.fib(subnet).0 as usize]
    }

    /// The table that a subnet's packets are routed by.
    pub fn fib(&self, subnet: SubnetIx) -> FibId {
        self.subnets[subnet.vnet.0][subnet.subnet]
    }

    /// The row that a route step names.
    pub fn route(&self, fib: FibId, route: RouteId) -> &EffectiveRoute {
        &self.routes[fib.0 as usize][route.0 as usize]
    }

    pub fn sender(&self, nic: NicId) -> Sender {
        self.ids.sender(nic).expect("a trace names only those who have a number")
    }

    pub fn nic_of(&self, nic: NicIx) -> NicId {
        self.ids.nic(Sender::Nic(nic)).expect("every interface has a number")
    }

    /// What stands for a subnet of an attached VNet; None where the VNet has no TUN of its own.
    pub fn subnet_nic(&self, subnet: SubnetIx) -> Option<NicId> {
        self.ids.nic(Sender::Subnet(subnet))
    }

    /// The numbers it was compiled with.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The rule that an admission step names.
    pub fn rule(&self, acl: AclId, rule: u32) -> &RuleRef {
        &self.rules[acl.0 as usize][rule as usize].rule
    }

    /// The rules of an ACL in the order of evaluation, tags expanded.
    pub fn effective_rules(&self, acl: AclId) -> &[EffectiveRule] {
        &self.rules[acl.0 as usize]
    }
}

fn ingress(ids: &Ids, attachment: Option<Attachment>) -> Ingress {
    match attachment {
        Some(Attachment::Nic(nic)) => Ingress::Nic(ids.nic(Sender::Nic(nic)).expect("every interface has a number")),
        Some(Attachment::Vnet(vnet)) => Ingress::Vnet(vnet_id(vnet)),
        None => Ingress::Vacant,
    }
}

fn vnet_id(vnet: VnetIx) -> VnetId {
    VnetId(vnet.0 as u32)
}

fn subnet_id(subnet: usize) -> SubnetId {
    SubnetId(subnet as u32)
}
