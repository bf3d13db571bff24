//! A walk in words: the interfaces it visits, and at each the decisions taken, with the object behind each.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::{Names, subnet_of};
use crate::compile::Sender;
use crate::dataplane::{
    self, Action, Admission, Direction, DropReason, FibId, FilterPlace, NextHop, NicId, PacketEnd, RouteId, TableFull,
    Translation, VnetId,
};
use crate::model::VnetIx;
use crate::wire::{Protocol, Tuple};

use super::masquerade::GuestStep;
use super::outbound::Outbound;
use super::{Leg, Outcome, Walk, outside};

/// A packet's path in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    pub delivered: bool,
    /// A drop reason's name, `GuestNotForwarding`, `NoHost`, `NoRouteOnPremises`, `Loop` or `WrongSource`.
    pub dropped: Option<String>,
    pub hops: Vec<Hop>,
}

/// An interface that the packet visits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// A machine, or the VNet for machines behind its one TUN.
    pub node: String,
    /// `machine/interface`, or `vnet/subnet`.
    pub nic: String,
    pub steps: Vec<Step>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub what: StepKind,
    /// The object that decided: `NSG app on subnet spoke1/app, rule securityRules/https`.
    pub object: String,
    pub text: String,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    Send,
    Filter,
    Route,
    Peering,
    /// A load balancer chooses a backend.
    Balance,
    /// A public address replaces a private one, or the other way round.
    Translate,
    Arrive,
    /// The guest forwards it.
    Forward,
    Deliver,
    Drop,
}

impl Path {
    pub(in crate::analysis) fn tell(names: Names<'_>, walk: &Walk) -> Self {
        let mut teller = Teller { names, src: walk.src, dst: walk.dst, router: walk.last().from, hops: Vec::new() };
        for leg in &walk.legs {
            teller.leg(leg);
        }
        teller.end(walk);
        let dropped = walk.outcome.reason().map(str::to_owned);
        Self { delivered: walk.delivered(), dropped, hops: teller.hops }
    }

    /// One leg by itself: what guests did before and after it is unknown.
    pub(in crate::analysis) fn tell_leg(names: Names<'_>, leg: &Leg, src: IpAddr, dst: IpAddr) -> Self {
        let mut teller = Teller { names, src, dst, router: leg.from, hops: Vec::new() };
        teller.leg(leg);
        let dropped = leg.dropped().map(|reason| reason.name().to_owned());
        if let (None, Some(nic)) = (&dropped, leg.arrived()) {
            teller.hand_over(leg, nic);
        }
        Self { delivered: dropped.is_none(), dropped, hops: teller.hops }
    }
}

struct Teller<'a> {
    names: Names<'a>,
    src: IpAddr,
    dst: IpAddr,
    /// The interface whose routes are looked up: the sender's, or that of a gateway that forwarded the packet.
    router: NicId,
    hops: Vec<Hop>,
}

impl Teller<'_> {
    fn leg(&mut self, leg: &Leg) {
        let first = self.hops.is_empty();
        self.visit(leg.from);
        self.router = leg.from;
        if first {
            let text = format!("{} sends to {}", self.src, self.dst);
            self.say(StepKind::Send, self.nic(leg.from), text);
        } else {
            let text = match leg.guest {
                GuestStep::Unchanged => "the guest forwards it unchanged".to_owned(),
                GuestStep::Masked(own) => format!("the guest forwards it from its own address {own}"),
                GuestStep::Restored(to) => {
                    self.dst = to;
                    format!("the guest knows the flow and forwards it to {to}")
                }
            };
            self.say(StepKind::Forward, self.nic(leg.from), text);
        }
        for step in &leg.steps {
            self.step(leg, *step);
        }
    }

    fn step(&mut self, leg: &Leg, step: dataplane::Step) {
        match step {
            // Described by `leg`, by `end` in the guest's own words, and by the drop that follows.
            dataplane::Step::Sent { .. } | dataplane::Step::Delivered { .. } | dataplane::Step::NoPort { .. } => {}
            dataplane::Step::Admit { nic, direction, admission } => self.filter(nic, direction, admission),
            dataplane::Step::Route { fib, route, next_hop } => self.route(self.router, fib, route, next_hop),
            dataplane::Step::Cross { from, into, .. } => self.cross(from, into),
            dataplane::Step::Gateway { nic } => {
                self.visit(nic);
                self.router = nic;
                let router = self.names.router(nic);
                self.say(
                    StepKind::Forward,
                    self.nic(nic),
                    format!("{router} forwards it, with a time to live that is one less"),
                );
                let Names { network, compiled } = self.names;
                if let Some((object, text)) = outside::learned(network, compiled, nic, self.dst) {
                    self.say(StepKind::Route, object, text);
                }
            }
            dataplane::Step::Translate(translation) => self.translate(translation),
            dataplane::Step::Reset { nic } => {
                let text = "its port mapping has ended: the sender gets a reset".to_owned();
                self.say(StepKind::Translate, self.nic(nic), text);
            }
            dataplane::Step::Balance { frontend, rule, backend } => {
                let rules = &self.names.compiled.snapshot.frontend(frontend).rules[rule as usize];
                let up = match rules.eligible.len() {
                    1 => "the only backend that is up".to_owned(),
                    several => format!("one of {several} backends that are up"),
                };
                let text = format!("to {}, {up}", self.names.nic(backend));
                self.say(StepKind::Balance, self.names.balancing_rule(frontend, rule), text);
            }
            dataplane::Step::NoRoom { nic, full } => {
                let table = match full {
                    TableFull::Nic => "the interface has as many as it may".to_owned(),
                    TableFull::NicShare => "the interface has its share of the table".to_owned(),
                    TableFull::NetworkShare => {
                        let share = self.names.compiled.sender(nic).flow_share(self.names.network);
                        format!("{} has its share of the table", share.unwrap_or_else(|| "its network".to_owned()))
                    }
                };
                self.say(StepKind::Drop, self.nic(nic), format!("no room for another flow record: {table}"));
            }
            dataplane::Step::Arrive { nic } => {
                self.visit(nic);
                self.say(StepKind::Arrive, self.nic(nic), "the packet arrives".to_owned());
            }
            dataplane::Step::Dropped { reason } => {
                let object = self.culprit(leg, reason);
                self.say(StepKind::Drop, object, reason.to_string());
            }
        }
    }

    fn filter(&mut self, nic: NicId, direction: Direction, admission: Admission) {
        let way = match direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        let (object, text) = match admission {
            Admission::Record => (self.nic(nic), format!("{way}: follows the flow record")),
            Admission::Refused => {
                (self.nic(nic), format!("{way}: follows a flow record that flushConnection has ended since"))
            }
            Admission::Platform => (self.nic(nic), format!("{way}: platform traffic, rules do not concern it")),
            Admission::NoFilter => (self.nic(nic), format!("{way}: no NSG on NIC or subnet, everything is allowed")),
            Admission::Rule { place, acl, rule, allow } => {
                let decider = self.names.compiled.rule(acl, rule);
                let verb = match (allow, decider.action, place) {
                    (false, _, _) => "denies",
                    (true, Action::AlwaysAllow, _) => "always allows, no NSG is asked",
                    (true, _, FilterPlace::Admin) => "allows, the NSGs are asked",
                    (true, _, FilterPlace::Nic | FilterPlace::Subnet | FilterPlace::Distributed) => "allows",
                };
                let priority = decider.priority;
                (self.names.rule(nic, place, acl, rule), format!("{way}: {verb}, priority {priority}"))
            }
        };
        self.say(StepKind::Filter, object, text);
    }

    fn route(&mut self, from: NicId, fib: FibId, route: RouteId, hop: NextHop) {
        let text = match hop {
            NextHop::Vnet(vnet) => format!("to {} in VNet {}", self.dst, self.names.vnet_name(vnet)),
            NextHop::Nic(nic) => format!("to the appliance {}", self.names.nic(nic)),
            NextHop::Frontend(_) => "to an appliance behind a load balancer".to_owned(),
            NextHop::Spread(_) => "to one of several appliances".to_owned(),
            NextHop::Unreachable => {
                "to an appliance address that no NIC of this VNet or of a directly peered one has".to_owned()
            }
            NextHop::Gateway(gateway) => {
                let nic = self.names.compiled.snapshot.gateway(gateway).nic;
                // At the gateway itself the route leads out of it.
                let to = format!("to the {}", self.names.gateway(nic));
                if from == nic { format!("over the connection that leads to {}", self.dst) } else { to }
            }
            NextHop::NoGateway | NextHop::Tunnel(_) => {
                "to a virtual network gateway, which this VNet does not have".to_owned()
            }
            NextHop::Internet => "out to the Internet".to_owned(),
            NextHop::Service => {
                let service = self.names.service(self.names.subnet(from), self.dst);
                format!("to {}, over the subnet's service endpoint", service.unwrap_or("an Azure service"))
            }
            NextHop::None => "to nowhere".to_owned(),
        };
        let object = self.names.route(from, fib, route, hop);
        // The gateway's own step names the edge that it uses.
        let to_gateway = matches!(hop, NextHop::Gateway(_));
        let several = if to_gateway { 1 } else { self.names.compiled.route(fib, route).next_hop_ip.len() };
        let text = match self.carried_for_tcp(from, fib) {
            Some(service) => format!("{text}: the service endpoint for {service} carries TCP alone"),
            None => text,
        };
        let text = if several > 1 { format!("{text}, one of {several} by the flow's hash") } else { text };
        self.say(StepKind::Route, object, text);
    }

    /// The service whose endpoint would match the packet if it were TCP (SYS-11).
    fn carried_for_tcp(&self, from: NicId, fib: FibId) -> Option<&str> {
        let Names { network, compiled } = self.names;
        let subnet = subnet_of(network, compiled.sender(from))?;
        let is_other = fib == compiled.fib_beside_tcp(subnet) && fib != compiled.fib(subnet);
        self.names.service(subnet, self.dst).filter(|_| is_other)
    }

    fn cross(&mut self, from: VnetId, into: VnetId) {
        let link = self.names.link(VnetIx(from.0 as usize), VnetIx(into.0 as usize));
        let object = format!("peering {}", link.map_or("?", |link| &link.name));
        let text = format!("from VNet {} into VNet {}", self.names.vnet_name(from), self.names.vnet_name(into));
        self.say(StepKind::Peering, object, text);
    }

    fn translate(&mut self, translation: Translation) {
        let Translation { end, from, to } = translation;
        let (address, port) = translation.public();
        let object = self.names.public(address, Some(port));
        // A one-to-one translation keeps the port.
        let whole = |(address, port): (IpAddr, u16)| match address {
            IpAddr::V4(_) if from.1 != to.1 => format!("{address}:{port}"),
            IpAddr::V6(_) if from.1 != to.1 => format!("[{address}]:{port}"),
            IpAddr::V4(_) | IpAddr::V6(_) => address.to_string(),
        };
        let which = match end {
            PacketEnd::Source => "source",
            PacketEnd::Destination => {
                self.dst = to.0;
                "destination"
            }
        };
        let before = self.passed_over(&translation).unwrap_or_default();
        self.say(StepKind::Translate, object, format!("{which} {} becomes {}{before}", whole(from), whole(to)));
    }

    /// A NAT gateway comes before the interface's own public address.
    fn passed_over(&self, translation: &Translation) -> Option<String> {
        let Sender::Nic(ix) = self.names.compiled.sender(self.router) else { return None };
        let Outbound::NatGateway(_) = self.names.outbound(ix, translation.from.0) else { return None };
        let own = self.names.own_public(ix, translation.from.0).filter(|_| translation.end == PacketEnd::Source)?;
        Some(format!(", before public IP {own} of its own (SNAT-01)"))
    }

    /// What a guest does with the packet after the fabric delivered it.
    fn end(&mut self, walk: &Walk) {
        match walk.outcome {
            Outcome::Delivered(nic) => self.deliver(nic),
            Outcome::Dropped(_) => {}
            Outcome::GuestDrops(nic) => {
                let object = format!("machine {} without guest forwarding", self.names.node(nic));
                self.say(StepKind::Drop, object, "the guest drops it: its kernel does not forward".to_owned());
            }
            Outcome::NoRoute(nic) => {
                let text = format!("its device has no route to {}", self.dst);
                self.say(StepKind::Drop, self.nic(nic), text);
            }
            Outcome::NoHost(nic) => {
                self.say(StepKind::Drop, self.nic(nic), format!("no machine there has {}", self.dst));
            }
            Outcome::Loop(nic) => {
                let text = "it loops: the guest sends it the same way again until its time to live is 0".to_owned();
                self.say(StepKind::Drop, self.nic(nic), text);
            }
            Outcome::WrongHost { nic, meant } => {
                let (has, meant) = (self.names.node(nic), self.names.meant(meant));
                let text = format!("delivered to {}, which {has} has too: {meant} was meant", self.dst);
                self.say(StepKind::Drop, self.nic(nic), text);
            }
            Outcome::WrongSource { nic, asked } => {
                let text = format!("comes from {}, and {} was asked", source(&walk.last), source(&asked.mirrored()));
                self.say(StepKind::Drop, self.nic(nic), text);
            }
        }
    }

    fn deliver(&mut self, nic: NicId) {
        let sent_on = matches!(self.names.compiled.sender(nic), Sender::Internet) && !self.names.has_itself(self.dst);
        let text = if sent_on {
            format!("sent on to {} through the host, from its address (egress: host)", self.dst)
        } else {
            format!("delivered to {}", self.dst)
        };
        self.say(StepKind::Deliver, self.nic(nic), text);
    }

    /// The end of a leg: the destination, or a guest that may forward.
    fn hand_over(&mut self, leg: &Leg, nic: NicId) {
        if self.names.owns(nic, self.dst) || leg.floats(self.names.compiled, self.dst) {
            return self.deliver(nic);
        }
        let text = format!("handed to the guest of {}, to forward to {}", self.names.node(nic), self.dst);
        self.say(StepKind::Deliver, self.nic(nic), text);
    }

    /// The object to look at for a drop.
    fn culprit(&self, leg: &Leg, reason: DropReason) -> String {
        let arrived = leg.arrived().unwrap_or(leg.from);
        match reason {
            DropReason::NsgOutbound
            | DropReason::NsgInbound
            | DropReason::AdminRule
            | DropReason::DistributedFirewall => self.denial(leg).unwrap_or_else(|| self.nic(arrived)),
            DropReason::NotForwarding => format!("{} without enableIPForwarding", self.nic(arrived)),
            DropReason::SpoofedSource => format!("{} without enableIPForwarding", self.nic(leg.from)),
            DropReason::PeeringAccess => self.flag(leg, reason, "allowVirtualNetworkAccess"),
            DropReason::ForwardedTraffic => self.flag(leg, reason, "allowForwardedTraffic"),
            DropReason::SubnetNotPeered => self.crossed_link(leg).unwrap_or_else(|| self.nic(arrived)),
            DropReason::NoService => match self.names.private_endpoint(self.dst, leg) {
                Some(endpoint) => format!("private endpoint {endpoint}"),
                None => self.chosen_route(leg).unwrap_or_else(|| self.nic(leg.from)),
            },
            DropReason::NextHopNone
            | DropReason::NextHopUnreachable
            | DropReason::GatewayUnavailable
            | DropReason::NoInternet
            | DropReason::NoEndpoint => self.chosen_route(leg).unwrap_or_else(|| self.nic(leg.from)),
            DropReason::SnatExhausted
            | DropReason::NotTranslatable
            | DropReason::NoMapping
            | DropReason::Unsolicited
            | DropReason::NoBalancingRule
            | DropReason::NoHealthyBackend
            | DropReason::Hairpin => {
                self.names.device(leg.from, leg.src, self.dst).unwrap_or_else(|| self.nic(arrived))
            }
            _ => self.nic(arrived),
        }
    }

    fn denial(&self, leg: &Leg) -> Option<String> {
        leg.denial().map(|denial| self.names.rule(denial.nic, denial.place, denial.acl, denial.rule))
    }

    fn flag(&self, leg: &Leg, reason: DropReason, flag: &str) -> String {
        let link = leg.refusing_link(reason).and_then(|(own, remote)| self.names.link(own, remote));
        format!("peering {}, flag {flag}", link.map_or("?", |link| &link.name))
    }

    fn crossed_link(&self, leg: &Leg) -> Option<String> {
        let (from, into) = leg.crossing()?;
        self.names.link(from, into).map(|link| format!("peering {}", link.name))
    }

    fn chosen_route(&self, leg: &Leg) -> Option<String> {
        leg.route().map(|(fib, route, hop)| self.names.route(leg.router(), fib, route, hop))
    }

    fn nic(&self, nic: NicId) -> String {
        format!("NIC {}", self.names.nic(nic))
    }

    /// Steps from here on happen at this interface.
    fn visit(&mut self, nic: NicId) {
        let name = self.names.nic(nic);
        if self.hops.last().is_none_or(|hop| hop.nic != name) {
            self.hops.push(Hop { node: self.names.node(nic), nic: name, steps: Vec::new() });
        }
    }

    fn say(&mut self, what: StepKind, object: String, text: String) {
        let hop = self.hops.last_mut().expect("a leg visits its sender first");
        hop.steps.push(Step { what, object, text });
    }
}

/// A packet's source, with its port if it has one.
pub(in crate::analysis) fn source(packet: &Tuple) -> String {
    match packet.protocol {
        Protocol::TCP | Protocol::UDP => SocketAddr::new(packet.src, packet.src_port).to_string(),
        _ => packet.src.to_string(),
    }
}
