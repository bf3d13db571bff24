//! A valid network becomes the tables that packets meet: effective routes, security rules, owners of addresses.
//!
//! One idea: Azure's exceptions are settled here, once, so that a lookup in the [`Snapshot`] stays dull. The names of
//! routes and rules stay behind in [`Compiled`], which answers what an id in a packet's trace means. Pure: no I/O, no
//! threads, no clock; a change of anything runs the whole of it again.

mod acls;
mod fib;
mod links;
mod owners;
mod prefixes;
mod routes;
mod tags;

use std::collections::HashMap;
use std::sync::Arc;

use crate::dataplane::{AclId, FibId, Ingress, Nic, NicId, PortId, RouteId, Snapshot, Vnet, VnetId};
use crate::model::{Attachment, Direction, EffectiveRoute, Network, NicIx, SubnetIx, VnetIx};

use acls::Acls;
use fib::Fibs;
use owners::Owners;

pub use acls::{EffectiveRule, RuleRef};
pub use links::connected;
pub use prefixes::difference;

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
    /// By [`NicId`].
    senders: Vec<Sender>,
}

/// What a [`NicId`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Nic(NicIx),
    /// A subnet of an attached VNet: every address in it that no interface owns.
    Subnet(SubnetIx),
}

/// Compiles the whole network.
pub fn compile(network: &Network, learned: &Learned, generation: u64) -> Compiled {
    let senders = senders(network);
    let owners = Owners::new(network, &senders);
    let fibs = Fibs::new(network, &owners);
    let mut acls = Acls::default();
    let ports = network.attachments().into_iter().zip((0..).map(PortId)).collect();
    let nics = senders.iter().map(|&sender| nic(network, learned, &ports, &fibs, &mut acls, sender)).collect();
    let vnets = (0..network.virtual_networks.len()).map(VnetIx).zip(owners.into_tables());
    let vnets = vnets.map(|(vnet, owners)| Vnet { owners, links: links::of(network, vnet) }).collect();
    let (fibs, subnets, routes) = fibs.into_parts();
    let (acls, rules) = acls.into_parts();
    let snapshot = Snapshot { generation, ports: ingresses(network), nics, fibs, acls, vnets };
    Compiled { snapshot: Arc::new(snapshot), subnets, routes, rules, senders }
}

fn nic(
    network: &Network,
    learned: &Learned,
    ports: &HashMap<Attachment, PortId>,
    fibs: &Fibs,
    acls: &mut Acls,
    sender: Sender,
) -> Nic {
    let (subnet, nsg, forwarding) = match sender {
        Sender::Nic(ix) => {
            let nic = network.nic(ix);
            (nic.subnet, nic.network_security_group, nic.enable_ip_forwarding)
        }
        // A foreign source names no subnet, so what stands behind a VNet's one TUN cannot forward.
        Sender::Subnet(subnet) => (subnet, None, false),
    };
    let mut filters = |direction| acls.filters(network, subnet, nsg, direction);
    let attachment = sender.attachment();
    Nic {
        port: ports[&attachment],
        vnet: vnet_id(subnet.vnet),
        fib: fibs.of(subnet),
        forwarding,
        outbound: filters(Direction::Outbound),
        inbound: filters(Direction::Inbound),
        mtu: learned.mtu.get(&attachment).copied().unwrap_or(DEFAULT_MTU),
        flow_timeout_secs: u32::try_from(network.vnet(subnet.vnet).flow_timeout.as_secs()).unwrap_or(u32::MAX),
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
        self.senders[nic.0 as usize]
    }

    pub fn nic_of(&self, nic: NicIx) -> NicId {
        nic_id(nic)
    }

    /// What stands for a subnet of an attached VNet; None where the VNet has no TUN of its own.
    pub fn subnet_nic(&self, subnet: SubnetIx) -> Option<NicId> {
        let found = self.senders.iter().position(|&sender| sender == Sender::Subnet(subnet))?;
        Some(NicId(found as u32))
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

/// Interfaces first, then the subnets of attached VNets: the order of [`NicId`]s.
fn senders(network: &Network) -> Vec<Sender> {
    let nics = (0..network.network_interfaces.len()).map(|i| Sender::Nic(NicIx(i)));
    let attached = network.virtual_networks.iter().enumerate().filter(|(_, vnet)| vnet.attach.is_some());
    let subnets = attached.flat_map(|(i, vnet)| {
        (0..vnet.subnets.len()).map(move |subnet| Sender::Subnet(SubnetIx { vnet: VnetIx(i), subnet }))
    });
    nics.chain(subnets).collect()
}

fn ingresses(network: &Network) -> Vec<Ingress> {
    let ingress = |attachment| match attachment {
        Attachment::Nic(nic) => Ingress::Nic(nic_id(nic)),
        Attachment::Vnet(vnet) => Ingress::Vnet(vnet_id(vnet)),
    };
    network.attachments().into_iter().map(ingress).collect()
}

fn nic_id(nic: NicIx) -> NicId {
    NicId(nic.0 as u32)
}

fn vnet_id(vnet: VnetIx) -> VnetId {
    VnetId(vnet.0 as u32)
}
