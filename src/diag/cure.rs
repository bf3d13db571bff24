//! The cause behind a drop, and the smallest change that removes it.
//!
//! One idea: a drop reason is a symptom. A default rule that denies, a system route to nowhere and an appliance that
//! nobody owns may all mean one missing peering link; so the topology is asked before the rule or the route is blamed.

use std::net::IpAddr;

use crate::compile::{Sender, connected};
use crate::dataplane::{Direction, DropReason, NextHop, NicId};
use crate::model::{Network, NicIx, PeeringState, RouteNextHop, RouteSource, RouteTableIx, VnetIx};

use super::change::{Edit, Flow};
use super::explain::Change;
use super::names::{Names, holds, nic_name, subnet_name};
use super::query::{Ends, Probe};
use super::walk::{Denial, Leg, Outcome, Walk};

/// Priorities from here on belong to default rules (NSG-06).
const DEFAULT_RULES: u16 = 65000;

/// What is wrong, and what to do.
pub(super) struct Cure {
    pub(super) cause: String,
    pub(super) remedy: Option<Remedy>,
}

/// A changed network. No changes: prose only.
pub(super) struct Remedy {
    pub(super) text: String,
    pub(super) changes: Vec<Change>,
    pub(super) network: Network,
}

/// A walk that does not arrive.
pub(super) struct Case<'a> {
    pub(super) names: Names<'a>,
    pub(super) ends: &'a Ends,
    pub(super) probe: Probe,
    pub(super) walk: &'a Walk,
    /// The way of the question, where the answer is what is blocked.
    pub(super) request: Option<&'a Walk>,
}

impl Case<'_> {
    pub(super) fn cure(&self) -> Cure {
        let leg = self.walk.last();
        let cure = match self.walk.outcome {
            Outcome::Delivered(nic) => Cure::untreated(format!("delivered to {}", self.names.nic(nic))),
            Outcome::GuestDrops(nic) => self.guest(nic),
            Outcome::Loop(nic) => self.circle(nic),
            Outcome::Dropped(reason) => self.dropped(leg, reason),
        };
        match self.request {
            Some(_) => Cure { cause: format!("on the way back: {}", cure.cause), ..cure },
            None => cure,
        }
    }

    fn dropped(&self, leg: &Leg, reason: DropReason) -> Cure {
        let arrived = leg.arrived().unwrap_or(leg.from);
        let found = match reason {
            DropReason::NsgOutbound | DropReason::NsgInbound => leg.denial().map(|denial| self.denied(leg, denial)),
            DropReason::NextHopNone | DropReason::NoInternet | DropReason::GatewayUnavailable => self.unrouted(leg),
            DropReason::NoRoute => Some(self.apart(leg)),
            DropReason::NextHopUnreachable => self.unreachable(leg),
            DropReason::PeeringAccess | DropReason::ForwardedTraffic => self.flag(leg, reason),
            DropReason::NotForwarding => Some(self.not_forwarding(arrived)),
            DropReason::SpoofedSource => Some(self.spoofed(leg.from)),
            DropReason::NoEndpoint => Some(self.nobody()),
            _ => None,
        };
        found.unwrap_or_else(|| Cure::untreated(format!("{}: {}", self.names.nic(arrived), reason.explanation())))
    }

    /// Whoever the packet is for.
    fn target(&self) -> Option<NicId> {
        if self.request.is_some() { Some(self.ends.source) } else { self.ends.destination.nic }
    }

    /// The VNet that an address lives in: its owner's, else one whose space holds it.
    fn home(&self, address: IpAddr) -> Option<VnetIx> {
        let ends = [
            Some((self.ends.source, self.ends.source_address)),
            self.ends.destination.nic.map(|nic| (nic, self.ends.destination.address)),
        ];
        let end = ends.into_iter().flatten().find(|(_, own)| *own == address);
        end.map(|(nic, _)| self.names.vnet(nic)).or_else(|| {
            let vnets = &self.names.network.virtual_networks;
            vnets.iter().position(|vnet| holds(vnet, address)).map(VnetIx)
        })
    }

    fn edit(&self) -> Edit {
        Edit::of(self.names.network)
    }

    fn vnet_name(&self, vnet: VnetIx) -> &str {
        &self.names.network.vnet(vnet).name
    }
}

/// Filters.
impl Case<'_> {
    fn denied(&self, leg: &Leg, denial: Denial) -> Cure {
        let rule = self.names.compiled.rule(denial.acl, denial.rule);
        let own = self.names.vnet(denial.nic);
        let other = match denial.direction {
            Direction::Inbound => self.walk.src,
            Direction::Outbound => self.walk.dst,
        };
        if rule.priority >= DEFAULT_RULES
            && let Some(cure) = self.outside_tag(leg, denial, own, other)
        {
            return cure;
        }
        let verb = if rule.priority >= DEFAULT_RULES { "no rule allows" } else { "a rule denies" };
        let object = self.names.rule(denial.nic, denial.place, denial.acl, denial.rule);
        let cause = format!("{object}: {verb} {} from {} to {}", self.probe, self.walk.src, self.walk.dst);
        let flow =
            Flow { src: self.walk.src, dst: self.walk.dst, probe: self.probe, answering: self.request.is_some() };
        let mut edit = self.edit();
        if !edit.allow(rule.nsg, denial.direction, rule.priority, &flow) {
            return Cure::untreated(cause);
        }
        let nsg = &self.names.network.network_security_groups[rule.nsg.0].name;
        Cure::with(cause, format!("add an allow rule to NSG {nsg}, before {}", rule.name), edit)
    }

    /// A default rule denies what is not in tag(VirtualNetwork): is that because of a peering?
    fn outside_tag(&self, leg: &Leg, denial: Denial, own: VnetIx, other: IpAddr) -> Option<Cure> {
        let home = self.home(other).filter(|home| *home != own)?;
        if let Some(link) = connected(self.names.network, own).find(|link| link.remote == home) {
            return (!link.allow_virtual_network_access).then(|| self.access_off(own, home));
        }
        let fib = self.names.compiled.fib(self.names.subnet(denial.nic));
        let lpm = &self.names.compiled.snapshot.fibs[fib.0 as usize].lpm;
        let routed_by_user =
            lpm.lookup(other).is_some_and(|route| self.names.compiled.route(fib, route).source == RouteSource::User);
        if denial.direction == Direction::Inbound || routed_by_user {
            return None;
        }
        Some(self.apart(leg))
    }
}

/// Routes and peerings.
impl Case<'_> {
    /// The chosen route leads to nothing: the user's own route is to blame, or the lack of a better one.
    fn unrouted(&self, leg: &Leg) -> Option<Cure> {
        let Some((table, at)) = self.user_route(leg) else { return Some(self.apart(leg)) };
        let (fib, route, hop) = leg.route()?;
        let object = self.names.route(leg.from, fib, route, hop);
        let what = match hop {
            NextHop::None => "drops",
            NextHop::Gateway => "leads to a gateway, and this network has none:",
            NextHop::Internet => "leads to the Internet, where this network has nothing:",
            NextHop::Vnet(_) | NextHop::Nic(_) | NextHop::Unreachable => "leads away",
        };
        let cause = format!("{object} {what} {}", self.walk.dst);
        let mut edit = self.edit();
        edit.remove_route(table, at);
        let name = &self.names.network.route_tables[table.0].routes[at].name;
        Some(Cure::with(cause, format!("remove route {name}, or give it another next hop"), edit))
    }

    /// Nobody told the sender's subnet where the destination is: the sender's VNet and the destination's are apart.
    fn apart(&self, leg: &Leg) -> Cure {
        let own = self.names.vnet(leg.from);
        let dst = self.walk.dst;
        let Some(home) = self.home(dst).filter(|home| *home != own) else {
            return Cure::untreated(format!("nobody in this network has the address {dst}"));
        };
        if let Some(cure) = self.no_way_back(leg, home) {
            return cure;
        }
        let network = self.names.network;
        let (ours, theirs) = (self.names.link(own, home), self.names.link(home, own));
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let cause = match (ours, theirs) {
            (Some(ours), Some(_)) if connected(network, own).any(|link| link.remote == home) => {
                let cause =
                    format!("peering {} does not know the range of {dst}: VNet {b} changed its space", ours.name);
                let mut edit = self.edit();
                edit.sync(own, home);
                return Cure::with(cause, format!("sync peering {}", ours.name), edit);
            }
            (Some(ours), Some(_)) => {
                let state = match ours.state {
                    PeeringState::Initiated => "Initiated",
                    PeeringState::Connected => "Connected on one side only",
                    PeeringState::Disconnected => "Disconnected",
                };
                format!("peering {} is {state}", ours.name)
            }
            (Some(ours), None) => format!("peering {} is only Initiated: VNet {b} has no link back to {a}", ours.name),
            (None, Some(theirs)) => {
                format!("peering {} is only Initiated: VNet {a} has no link back to {b}", theirs.name)
            }
            (None, None) => return self.not_transitive(leg, own, home),
        };
        self.peer(cause, own, home)
    }

    /// Two VNets without links: perhaps a hub between them, perhaps with an appliance that could carry the packet.
    fn not_transitive(&self, leg: &Leg, own: VnetIx, home: VnetIx) -> Cure {
        let network = self.names.network;
        let (a, b) = (self.vnet_name(own), self.vnet_name(home));
        let is_hub = |hub: VnetIx| connected(network, hub).any(|link| link.remote == home);
        let Some(hub) = connected(network, own).map(|link| link.remote).find(|&hub| is_hub(hub)) else {
            return self.peer(format!("VNet {a} and VNet {b} are not peered"), own, home);
        };
        let cause = format!(
            "VNet {a} and VNet {b} are not peered: both are peered with {}, but peering is not transitive",
            self.vnet_name(hub)
        );
        match self.appliance(hub) {
            Some((nic, address)) => self.route_through(leg, cause, home, nic, address),
            None => self.peer(cause, own, home),
        }
    }

    /// The question passed an appliance; the answer has no route to it (CH-03).
    fn no_way_back(&self, leg: &Leg, home: VnetIx) -> Option<Cure> {
        let through = self.request?.appliances().next_back()?;
        let Sender::Nic(nic) = self.names.compiled.sender(through) else { return None };
        let address = self.address_of(nic)?;
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.from));
        let cause = format!(
            "no route back: the request came through {} ({address}), but subnet {subnet} has no route to {} through it",
            nic_name(self.names.network, nic),
            self.walk.dst
        );
        Some(self.route_through(leg, cause, home, nic, address))
    }

    fn route_through(&self, leg: &Leg, cause: String, home: VnetIx, nic: NicIx, address: IpAddr) -> Cure {
        let network = self.names.network;
        let space = network.vnet(home).address_space.iter().find(|prefix| prefix.contains(&self.walk.dst));
        let prefix = space.copied().unwrap_or_else(|| self.walk.dst.into());
        let subnet = self.names.subnet(leg.from);
        let mut edit = self.edit();
        edit.route(subnet, &format!("to-{}", self.vnet_name(home)), prefix, address);
        let text = format!(
            "route {prefix} from subnet {} to {} ({address})",
            subnet_name(network, subnet),
            nic_name(network, nic)
        );
        Cure::with(cause, text, edit)
    }

    /// Nobody in reach owns the next hop (UDR-11, UDR-12).
    fn unreachable(&self, leg: &Leg) -> Option<Cure> {
        let (fib, route, hop) = leg.route()?;
        let (table, at) = self.user_route(leg)?;
        let RouteNextHop::VirtualAppliance(address) = self.names.network.route_tables[table.0].routes[at].next_hop
        else {
            return None;
        };
        let own = self.names.vnet(leg.from);
        let object = self.names.route(leg.from, fib, route, hop);
        let network = self.names.network;
        let owner = network.network_interfaces.iter().find(|nic| nic.addresses.contains(&address));
        if let Some(vnet) = owner.map(|nic| nic.subnet.vnet).filter(|vnet| *vnet != own) {
            let cause = format!(
                "{object}: the next hop is in VNet {}, which VNet {} is not directly peered with",
                self.vnet_name(vnet),
                self.vnet_name(own)
            );
            return Some(self.peer(cause, own, vnet));
        }
        let cause = format!("{object}: nobody has the next hop's address {address}");
        let near = std::iter::once(own).chain(connected(network, own).map(|link| link.remote));
        let mut appliances = near.filter_map(|vnet| self.appliance(vnet));
        let (Some((nic, to)), None) = (appliances.next(), appliances.next()) else {
            return Some(Cure::untreated(cause));
        };
        let mut edit = self.edit();
        edit.move_next_hop(table, at, to);
        Some(Cure::with(cause, format!("point it at {} ({to})", nic_name(network, nic)), edit))
    }

    fn flag(&self, leg: &Leg, reason: DropReason) -> Option<Cure> {
        let (own, remote) = leg.refusing_link(self.names.compiled, reason)?;
        if reason == DropReason::PeeringAccess {
            return Some(self.access_off(own, remote));
        }
        let link = self.names.link(own, remote)?;
        let cause = format!(
            "peering {}, flag allowForwardedTraffic is off: {} is not an address of VNet {}",
            link.name,
            self.walk.src,
            self.vnet_name(remote)
        );
        let mut edit = self.edit();
        edit.allow_forwarded(own, remote);
        Some(Cure::with(cause, format!("set allowForwardedTraffic on peering {}", link.name), edit))
    }

    fn access_off(&self, own: VnetIx, remote: VnetIx) -> Cure {
        let name = self.names.link(own, remote).map_or("?", |link| &link.name);
        let cause = format!(
            "peering {name}, flag allowVirtualNetworkAccess is off, and no custom rule on the side of VNet {} allows the flow",
            self.vnet_name(own)
        );
        let mut edit = self.edit();
        edit.allow_access(own, remote);
        Cure::with(cause, format!("set allowVirtualNetworkAccess on peering {name}"), edit)
    }

    /// Peers two VNets; not where their ranges overlap (PEER-07).
    fn peer(&self, cause: String, own: VnetIx, remote: VnetIx) -> Cure {
        let network = self.names.network;
        let (ours, theirs) = (&network.vnet(own).address_space, &network.vnet(remote).address_space);
        if ours.iter().any(|a| theirs.iter().any(|b| a.contains(b) || b.contains(a))) {
            return Cure::untreated(format!("{cause}; their address spaces overlap, so they cannot be"));
        }
        let mut edit = self.edit();
        edit.link(own, remote);
        edit.link(remote, own);
        let text = match edit.changes.len() {
            1 => "add the missing link".to_owned(),
            2 => format!("peer VNet {} and VNet {}, a link each way", self.vnet_name(own), self.vnet_name(remote)),
            _ => "delete both links and create them again".to_owned(),
        };
        Cure::with(cause, text, edit)
    }

    /// The user-defined route that the leg took.
    fn user_route(&self, leg: &Leg) -> Option<(RouteTableIx, usize)> {
        let (fib, route, _) = leg.route()?;
        let row = self.names.compiled.route(fib, route);
        let table = self.names.network.subnet(self.names.subnet(leg.from)).route_table?;
        let mut routes = self.names.network.route_tables[table.0].routes.iter();
        let at = routes.position(|route| row.source == RouteSource::User && route.prefix == row.prefix)?;
        Some((table, at))
    }

    /// An interface of this VNet that forwards, guest and all, with its address of the packet's family.
    fn appliance(&self, vnet: VnetIx) -> Option<(NicIx, IpAddr)> {
        let network = self.names.network;
        let mut nics = network.network_interfaces.iter().enumerate().filter(|(_, nic)| {
            nic.subnet.vnet == vnet && nic.enable_ip_forwarding && network.vm(nic.virtual_machine).guest_forwarding
        });
        nics.find_map(|(i, _)| Some((NicIx(i), self.address_of(NicIx(i))?)))
    }

    fn address_of(&self, nic: NicIx) -> Option<IpAddr> {
        let addresses = &self.names.network.nic(nic).addresses;
        addresses.iter().copied().find(|address| address.is_ipv4() == self.walk.dst.is_ipv4())
    }
}

/// Appliances and ends.
impl Case<'_> {
    fn guest(&self, nic: NicId) -> Cure {
        let node = self.names.node(nic);
        let cause =
            format!("machine {node} does not forward: its NIC lets the packet in, its kernel drops it (NIC-05)");
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Cure::untreated(cause) };
        let mut edit = self.edit();
        edit.forward_in_guest(self.names.network.nic(ix).virtual_machine);
        Cure::with(cause, format!("let the guest of {node} forward"), edit)
    }

    fn not_forwarding(&self, nic: NicId) -> Cure {
        let cause =
            format!("NIC {} without enableIPForwarding: {} is not its address", self.names.nic(nic), self.walk.dst);
        self.forwarding(nic, cause)
    }

    fn spoofed(&self, nic: NicId) -> Cure {
        let name = self.names.nic(nic);
        let target = self.request.and(self.ends.destination.nic);
        if target.is_some_and(|target| self.names.node(target) == self.names.node(nic)) {
            let cause = format!("the guest answers from NIC {name}, which does not own {}", self.walk.src);
            let text = "add a route in the guest that answers from the NIC that was asked".to_owned();
            let remedy = Remedy { text, changes: Vec::new(), network: self.names.network.clone() };
            return Cure { cause, remedy: Some(remedy) };
        }
        self.forwarding(nic, format!("NIC {name} without enableIPForwarding: {} is not its address", self.walk.src))
    }

    fn forwarding(&self, nic: NicId, cause: String) -> Cure {
        let Sender::Nic(ix) = self.names.compiled.sender(nic) else { return Cure::untreated(cause) };
        let mut edit = self.edit();
        edit.enable_ip_forwarding(ix);
        Cure::with(cause, format!("set enableIPForwarding on NIC {}", self.names.nic(nic)), edit)
    }

    /// An appliance whose own subnet routes back to it (UDR-17), or several that route to each other.
    fn circle(&self, nic: NicId) -> Cure {
        let from = self.walk.legs.iter().position(|leg| leg.from == nic).unwrap_or(0);
        let circle: Vec<_> = self.walk.legs[from..].iter().map(|leg| self.names.nic(leg.from)).collect();
        let leg = self.walk.last();
        let object =
            leg.route().map(|(fib, route, hop)| self.names.route(leg.from, fib, route, hop)).unwrap_or_default();
        let subnet = subnet_name(self.names.network, self.names.subnet(leg.from));
        let (cause, text) = if circle.len() == 1 {
            let node = self.names.node(nic);
            let cause = format!("loop at {node}: its own subnet {subnet} uses {object}, which leads back to it");
            (cause, format!("move {node} to a subnet of its own, without that route"))
        } else {
            let cause = format!("loop through {}: {object} closes it", circle.join(", "));
            (cause, format!("take the route for {} that closes the loop out of subnet {subnet}", self.walk.dst))
        };
        Cure { cause, remedy: Some(Remedy { text, changes: Vec::new(), network: self.names.network.clone() }) }
    }

    fn nobody(&self) -> Cure {
        let dst = self.walk.dst;
        let prefixes = self.names.network.virtual_networks.iter().flat_map(|vnet| {
            vnet.subnets.iter().flat_map(move |subnet| subnet.prefixes.iter().map(move |prefix| (vnet, subnet, prefix)))
        });
        let subnet = prefixes.into_iter().find(|(_, _, prefix)| prefix.contains(&dst));
        Cure::untreated(match (self.target(), subnet) {
            (None, Some((vnet, subnet, _))) => {
                format!("nobody has the address {dst}: it is in subnet {}/{}, free or reserved", vnet.name, subnet.name)
            }
            (None, None) => format!("nobody in this network has the address {dst}"),
            (Some(nic), _) => {
                format!("the route leads to a VNet where nobody has {dst}: {} has it", self.names.nic(nic))
            }
        })
    }
}

impl Cure {
    fn untreated(cause: String) -> Self {
        Self { cause, remedy: None }
    }

    fn with(cause: String, text: String, edit: Edit) -> Self {
        Self { cause, remedy: Some(Remedy { text, changes: edit.changes, network: edit.network }) }
    }
}
