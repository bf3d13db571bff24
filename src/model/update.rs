//! What Azure refuses when one network takes another's place: properties that an object keeps for its life, and address
//! ranges that are in use.
//!
//! One idea: Azure changes one object at a time, so a change is possible if its objects can be changed in some order:
//! what the file drops goes first, what is new in it comes last, and in between an interface moves into a subnet once
//! that has the range, and out of one before the range goes (ADR-06). Whether there is such an order is tried out. The
//! hosts behind a VNet's one TUN are no interfaces and hold no range.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Network, NicIx, SubnetIx, VirtualNetwork, VnetIx};

/// Why Azure refuses a change. Interfaces are named `MACHINE/INTERFACE`, subnets `VNET/SUBNET`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// ADR-06, of a subnet that stays.
    #[error(
        "IpPrefix {prefix} on Subnet {subnet} has active allocations and cannot be deleted: {nic} has {address} of it"
    )]
    InUsePrefixCannotBeDeleted { path: String, subnet: String, prefix: IpNet, nic: String, address: IpAddr },
    /// ADR-06, of a subnet that goes.
    #[error(
        "Subnet {subnet} is in use by {nic} and cannot be deleted: nothing can move to {taken_by} while it is there"
    )]
    InUseSubnetCannotBeDeleted { path: String, subnet: String, nic: String, taken_by: String },
    /// SNAT-02
    #[error("defaultOutboundAccess of subnet {subnet} is {before}; it is settled when a subnet is created")]
    DefaultOutboundAccess { path: String, subnet: String, before: bool },
    /// ADR-13
    #[error(
        "{nic} is in virtual network {before} and cannot move to {after}: an interface stays in its virtual network"
    )]
    VirtualNetworkOfInterface { path: String, nic: String, before: String, after: String },
    /// ADR-13
    #[error(
        "the resource {vnet} already exists in location {before}, with {nic} in it; a resource with the same name \
         cannot be created in location {after}"
    )]
    InvalidResourceLocation { path: String, vnet: String, nic: String, before: String, after: String },
}

impl UpdateError {
    /// Azure's error code, where it is known.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::InUsePrefixCannotBeDeleted { .. } => Some("InUsePrefixCannotBeDeleted"),
            Self::InUseSubnetCannotBeDeleted { .. } => Some("InUseSubnetCannotBeDeleted"),
            Self::InvalidResourceLocation { .. } => Some("InvalidResourceLocation"),
            Self::DefaultOutboundAccess { .. } | Self::VirtualNetworkOfInterface { .. } => None,
        }
    }

    /// The rule's id in the semantics document.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::InUsePrefixCannotBeDeleted { .. } | Self::InUseSubnetCannotBeDeleted { .. } => "ADR-06",
            Self::DefaultOutboundAccess { .. } => "SNAT-02",
            Self::VirtualNetworkOfInterface { .. } | Self::InvalidResourceLocation { .. } => "ADR-13",
        }
    }

    /// Where the later file has it.
    pub fn path(&self) -> &str {
        match self {
            Self::InUsePrefixCannotBeDeleted { path, .. }
            | Self::InUseSubnetCannotBeDeleted { path, .. }
            | Self::DefaultOutboundAccess { path, .. }
            | Self::VirtualNetworkOfInterface { path, .. }
            | Self::InvalidResourceLocation { path, .. } => path,
        }
    }

    /// How to resolve it.
    pub fn help(&self) -> String {
        match self {
            Self::InUsePrefixCannotBeDeleted { prefix, .. } => format!(
                "keep {prefix}, with another range beside it if more is needed; or move the interface to another subnet \
                 or leave it out, apply, and resize then"
            ),
            Self::InUseSubnetCannotBeDeleted { subnet, .. } => format!(
                "keep {subnet}; or move its interfaces to a subnet of other ranges or leave them out, apply, and make \
                 the new subnet then"
            ),
            Self::DefaultOutboundAccess { before, .. } => {
                format!("write `defaultOutboundAccess: {before}`, or give the subnet another name and other ranges")
            }
            Self::VirtualNetworkOfInterface { nic, .. } => {
                format!("give the interface or its machine another name; or leave {nic} out, apply, and add it then")
            }
            Self::InvalidResourceLocation { before, .. } => {
                format!("keep {before}, or give the virtual network and the machines in it other names")
            }
        }
    }
}

/// Everything about a later network that keeps it from taking an earlier one's place.
pub fn update_errors(before: &Network, after: &Network) -> Vec<UpdateError> {
    let change = Change { before, after, staying: staying(before, after) };
    let known: HashMap<_, _> =
        (0..).map(VnetIx).zip(&before.virtual_networks).map(|(i, vnet)| (key(&vnet.name), i)).collect();
    let vnets = (0..).map(VnetIx).zip(&after.virtual_networks);
    let vnets = vnets.filter_map(|(new, vnet)| Some((*known.get(&key(&vnet.name))?, new)));
    let mut errors: Vec<_> = vnets.flat_map(|(old, new)| change.of_vnet(old, new)).collect();
    errors.extend(change.moved_interfaces());
    errors
}

struct Change<'a> {
    before: &'a Network,
    after: &'a Network,
    /// Interfaces that are in both, as each numbers them.
    staying: Vec<(NicIx, NicIx)>,
}

/// A range of a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Range {
    /// In lower case.
    subnet: String,
    prefix: IpNet,
}

/// An interface that stays in its VNet: the ranges it has addresses of, and those it will have.
struct Holder {
    nic: NicIx,
    before: Vec<Range>,
    after: Vec<Range>,
}

impl Change<'_> {
    /// What concerns a VNet that stays, as each network numbers it.
    fn of_vnet(&self, old: VnetIx, new: VnetIx) -> Vec<UpdateError> {
        let mut errors: Vec<_> = self.moved_vnet(old, new).into_iter().collect();
        errors.extend(self.outbound_access(old, new));
        if errors.is_empty() && ranges(self.before.vnet(old)) != ranges(self.after.vnet(new)) {
            errors.extend(self.ranges_in_use(old, new));
        }
        errors
    }

    fn moved_vnet(&self, old: VnetIx, new: VnetIx) -> Option<UpdateError> {
        let (before, after) = (self.before.vnet(old), self.after.vnet(new));
        let stays = |(was, is): &&(NicIx, NicIx)| {
            self.before.nic(*was).subnet.vnet == old && self.after.nic(*is).subnet.vnet == new
        };
        if before.location == after.location {
            return None;
        }
        let (_, nic) = self.staying.iter().find(stays)?;
        Some(UpdateError::InvalidResourceLocation {
            path: format!("virtualNetworks[{}].location", new.0),
            vnet: after.name.clone(),
            nic: nic_name(self.after, *nic),
            before: before.location.clone(),
            after: after.location.clone(),
        })
    }

    fn outbound_access(&self, old: VnetIx, new: VnetIx) -> impl Iterator<Item = UpdateError> {
        let (before, after) = (self.before.vnet(old), self.after.vnet(new));
        let changed = after.subnets.iter().enumerate().filter_map(move |(i, subnet)| {
            let was = before.subnets.iter().find(|was| key(&was.name) == key(&subnet.name))?;
            // An absent value may be set once.
            let stated = was.default_outbound_access?;
            (stated != subnet.has_default_outbound_access()).then_some((i, subnet, stated))
        });
        changed.map(move |(i, subnet, before)| UpdateError::DefaultOutboundAccess {
            path: format!("{}.defaultOutboundAccess", subnet_path(new, i)),
            subnet: format!("{}/{}", after.name, subnet.name),
            before,
        })
    }

    /// Tries to get from the earlier ranges to the later ones, a subnet or an interface at a time.
    fn ranges_in_use(&self, old: VnetIx, new: VnetIx) -> Vec<UpdateError> {
        let (before, after) = (ranges(self.before.vnet(old)), ranges(self.after.vnet(new)));
        let (mut standing, wanted): (HashSet<_>, HashSet<_>) = (before.iter().collect(), after.iter().collect());
        let holders = self.holders(old, new);
        let mut waiting: Vec<_> = holders.iter().collect();
        loop {
            let left = waiting.len() + standing.symmetric_difference(&wanted).count();
            waiting.retain(|holder| !holder.after.iter().all(|range| standing.contains(range)));
            let held: HashSet<_> = waiting.iter().flat_map(|holder| &holder.before).collect();
            let changing: HashSet<_> = standing.symmetric_difference(&wanted).map(|range| &range.subnet).collect();
            for subnet in changing {
                let of_it = |range: &&&Range| range.subnet == *subnet;
                let gone: Vec<_> = standing.difference(&wanted).filter(of_it).copied().collect();
                let made: Vec<_> = wanted.difference(&standing).filter(of_it).copied().collect();
                let others = || standing.iter().filter(|range| range.subnet != *subnet);
                let taken = made.iter().any(|range| others().any(|other| overlap(range.prefix, other.prefix)));
                if !taken && !gone.iter().any(|range| held.contains(range)) {
                    standing.retain(|range| !gone.contains(range));
                    standing.extend(made);
                }
            }
            if left == waiting.len() + standing.symmetric_difference(&wanted).count() {
                break;
            }
        }
        let mut seen = HashSet::new();
        let stuck = before.iter().filter(|range| standing.contains(range) && !wanted.contains(range));
        let errors = stuck.filter_map(|range| Some((range, self.in_use(range, new, &waiting, &after)?)));
        errors.filter(|(range, _)| seen.insert(&range.subnet)).map(|(_, error)| error).collect()
    }

    /// A range that cannot go. Its subnet stays, or something else is to be in its place.
    fn in_use(&self, range: &Range, vnet: VnetIx, waiting: &[&Holder], after: &[Range]) -> Option<UpdateError> {
        let holder = waiting.iter().find(|holder| holder.before.contains(range))?;
        let nic = nic_name(self.before, holder.nic);
        if let Some((path, subnet)) = self.subnet(vnet, &range.subnet) {
            let has = |address: &&IpAddr| range.prefix.contains(*address);
            let address = *self.before.nic(holder.nic).addresses.iter().find(has)?;
            let path = format!("{path}.addressPrefix");
            return Some(UpdateError::InUsePrefixCannotBeDeleted { path, subnet, prefix: range.prefix, nic, address });
        }
        let in_its_place = after.iter().find(|other| overlap(other.prefix, range.prefix))?;
        let (path, taken_by) = self.subnet(vnet, &in_its_place.subnet)?;
        let before = self.before.nic(holder.nic).subnet;
        let subnet = format!("{}/{}", self.before.vnet(before.vnet).name, self.before.subnet(before).name);
        Some(UpdateError::InUseSubnetCannotBeDeleted { path, subnet, nic, taken_by })
    }

    /// The later network's subnet of that name: its path and its full name.
    fn subnet(&self, vnet: VnetIx, name: &str) -> Option<(String, String)> {
        let own = self.after.vnet(vnet);
        let index = own.subnets.iter().position(|subnet| key(&subnet.name) == name)?;
        Some((subnet_path(vnet, index), format!("{}/{}", own.name, own.subnets[index].name)))
    }

    /// The interfaces that stay in a VNet.
    fn holders(&self, old: VnetIx, new: VnetIx) -> Vec<Holder> {
        let holders = self.staying.iter().filter_map(|&(was, is)| {
            let (before, after) = (self.before.nic(was), self.after.nic(is));
            let here = before.subnet.vnet == old && after.subnet.vnet == new;
            here.then(|| Holder {
                nic: was,
                before: held(self.before, before.subnet, &before.addresses),
                after: held(self.after, after.subnet, &after.addresses),
            })
        });
        holders.collect()
    }

    fn moved_interfaces(&self) -> impl Iterator<Item = UpdateError> {
        self.staying.iter().filter_map(|&(was, is)| {
            let vnet = |network: &Network, nic: NicIx| network.vnet(network.nic(nic).subnet.vnet).name.clone();
            let (before, after) = (vnet(self.before, was), vnet(self.after, is));
            let vm = self.after.nic(is).virtual_machine;
            let index = self.after.vm(vm).network_interfaces.iter().position(|nic| *nic == is)?;
            let path = format!("virtualMachines[{}].networkInterfaces[{index}].subnet", vm.0);
            let nic = nic_name(self.after, is);
            let moved = key(&before) != key(&after);
            moved.then_some(UpdateError::VirtualNetworkOfInterface { path, nic, before, after })
        })
    }
}

/// By machine and interface.
fn staying(before: &Network, after: &Network) -> Vec<(NicIx, NicIx)> {
    let nics = |network: &Network| (0..network.network_interfaces.len()).map(NicIx);
    let name = |network: &Network, nic: NicIx| key(&nic_name(network, nic));
    let known: HashMap<_, _> = nics(before).map(|nic| (name(before, nic), nic)).collect();
    nics(after).filter_map(|nic| Some((*known.get(&name(after, nic))?, nic))).collect()
}

/// Every range of a VNet, in its order.
fn ranges(vnet: &VirtualNetwork) -> Vec<Range> {
    let range = |subnet: &str, prefix: &IpNet| Range { subnet: key(subnet), prefix: *prefix };
    vnet.subnets.iter().flat_map(|own| own.prefixes.iter().map(move |prefix| range(&own.name, prefix))).collect()
}

/// The ranges of a subnet that these addresses are of.
fn held(network: &Network, subnet: SubnetIx, addresses: &[IpAddr]) -> Vec<Range> {
    let subnet = network.subnet(subnet);
    let in_use = subnet.prefixes.iter().filter(|prefix| addresses.iter().any(|address| prefix.contains(address)));
    in_use.map(|prefix| Range { subnet: key(&subnet.name), prefix: *prefix }).collect()
}

fn nic_name(network: &Network, nic: NicIx) -> String {
    let nic = network.nic(nic);
    format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
}

fn subnet_path(vnet: VnetIx, subnet: usize) -> String {
    format!("virtualNetworks[{}].subnets[{subnet}]", vnet.0)
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// As ARM compares names.
fn key(name: &str) -> String {
    name.to_lowercase()
}
