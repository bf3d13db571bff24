//! A user-defined route that contains the destination, but a longer route overrides it (UDR-26).
//!
//! One idea: what the user meant is tried. The route is repeated for the range that is asked about, so that it wins,
//! and the other direction gets routes through the same machines. Only if the packet and its answer then arrive, the
//! overridden route is the cause; the filter that the packet met on the unintended path is not.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::analysis::change::Edit;
use crate::analysis::query::names::{Names, subnet_name};
use crate::analysis::query::{End, Ends, Probe};
use crate::analysis::walk::branches::Branches;
use crate::analysis::walk::round_trip::RoundTrip;
use crate::analysis::walk::{Outcome, ScratchFlows, Walk};
use crate::compile::{Ids, compile_next};
use crate::dataplane::{DropReason, NicId};
use crate::model::{RouteNextHop, RouteSource, RouteState, RouteTableIx, SubnetIx, Verdict};

use super::{Case, Diagnosis};

/// Routes added for one packet: one for each hop of both directions.
const MAX_ROUTES: usize = 8;

/// A user-defined route that a longer one overrides.
pub(in crate::analysis) struct OverriddenRoute {
    /// The interface whose routes were looked up.
    router: NicId,
    table: RouteTableIx,
    /// The route's index in the table.
    at: usize,
    /// `route table rt, route all: 10.0.0.0/8 -> VirtualAppliance 10.10.0.4`
    object: String,
    winner: String,
    /// The winner's prefix.
    taken: IpNet,
}

impl OverriddenRoute {
    /// The first overridden route to a forwarding machine on a packet's path.
    pub(in crate::analysis) fn on_way(names: Names<'_>, walk: &Walk) -> Option<Self> {
        walk.legs.iter().enumerate().find_map(|(at, _)| Self::at_leg(names, walk, at))
    }

    /// The same, for the sender's own routes only.
    pub(in crate::analysis) fn of_sender(names: Names<'_>, walk: &Walk) -> Option<Self> {
        Self::at_leg(names, walk, 0)
    }

    /// A default route is meant for the rest, so it is never counted as overridden.
    fn at_leg(names: Names<'_>, walk: &Walk, leg: usize) -> Option<Self> {
        let (leg, dst) = (&walk.legs[leg], walk.dst);
        let (fib, taken, hop) = leg.route()?;
        let (router, winner) = (leg.router(), names.compiled.route(fib, taken));
        let subnet = names.home(router)?;
        let table = names.network.subnet(subnet).route_table?;
        let longest = |prefixes: &[IpNet]| {
            let holding = prefixes.iter().copied().filter(|prefix| prefix.contains(&dst));
            holding.max_by_key(IpNet::prefix_len)
        };
        let won = longest(&winner.prefixes).filter(|_| winner.source != RouteSource::User)?;
        let rows = names.compiled.effective_routes(subnet).iter().enumerate();
        let users = rows.filter(|(_, row)| row.source == RouteSource::User && row.state == RouteState::Active);
        let lost = users.filter_map(|(i, row)| {
            let prefix =
                longest(&row.prefixes).filter(|prefix| (1..won.prefix_len()).contains(&prefix.prefix_len()))?;
            Some((prefix.prefix_len(), i, row))
        });
        let (_, i, row) = lost.max_by_key(|(length, ..)| *length)?;
        let meant = names.compiled.snapshot.fib(fib).next_hops[i];
        let appliance = |nic| {
            names.compiled.snapshot.nic(nic).forwarding && !names.same_machine(nic, router) && !names.owns(nic, dst)
        };
        let forwards = meant.nic().map_or(meant.frontend().is_some(), appliance);
        let at = names.network.route_tables[table.0].named(row.name.as_deref()?)?;
        let user = crate::dataplane::RouteId(u32::try_from(i).ok()?);
        let object = names.route(router, fib, user, meant);
        let winner = names.route(router, fib, taken, hop);
        forwards.then_some(Self { router, table, at, object, winner, taken: won })
    }

    /// The same, and the route that would steer the packet.
    pub(in crate::analysis) fn steered(&self, dst: IpAddr) -> String {
        format!("{}; a route for {} in that table to the same next hop takes it", self.cause(dst), self.taken)
    }

    /// `route table rt, route all: .. does not take 10.2.0.4: system route .. is longer (UDR-26)`
    pub(in crate::analysis) fn cause(&self, dst: IpAddr) -> String {
        format!("{} does not take {dst}: {} is longer (UDR-26)", self.object, self.winner)
    }
}

impl Case<'_> {
    /// The overridden route, if the packet and its answer arrive where it wins.
    pub(super) fn overridden_route(&self) -> Option<Diagnosis> {
        let Outcome::Dropped(reason) = self.walk.outcome else { return None };
        let filter = matches!(
            reason,
            DropReason::NsgInbound
                | DropReason::NsgOutbound
                | DropReason::AdminRule
                | DropReason::PeeringAccess
                | DropReason::ForwardedTraffic
                | DropReason::SubnetNotPeered
        );
        let lost = OverriddenRoute::on_way(self.names, self.walk).filter(|_| filter)?;
        let mut mending = Mending { case: self, edit: self.edit(), routes: Vec::new() };
        let next_hop = &self.names.network.route_tables[lost.table.0].routes[lost.at].next_hop;
        let subnet = self.names.subnet(lost.router);
        mending.add(subnet, self.range_asked(self.walk.dst, lost.taken), next_hop);
        for _ in 0..MAX_ROUTES {
            if mending.is_done()? {
                let Mending { edit, routes, .. } = mending;
                return Some(Diagnosis::with_fix(
                    lost.cause(self.walk.dst),
                    format!("add {}", routes.join(", and ")),
                    edit,
                ));
            }
        }
        None
    }

    /// The subnet range of an address, or outside of the virtual networks the winner's prefix.
    fn range_asked(&self, address: IpAddr, taken: IpNet) -> IpNet {
        let home = self.home(address).into_iter();
        let subnets = home.flat_map(|vnet| &self.names.network.vnet(vnet).subnets);
        let mut ranges = subnets.flat_map(|subnet| subnet.prefixes.iter().copied());
        ranges.find(|range| range.contains(&address)).filter(|range| taken.contains(range)).unwrap_or(taken)
    }
}

/// Routes that are added one after another, until both directions pass the same machines.
struct Mending<'a> {
    case: &'a Case<'a>,
    edit: Edit,
    routes: Vec<String>,
}

impl Mending<'_> {
    fn add(&mut self, subnet: SubnetIx, prefix: IpNet, next_hop: &RouteNextHop) {
        let before = self.case.names.network;
        let to = match next_hop {
            RouteNextHop::VirtualAppliance(address) => address.to_string(),
            RouteNextHop::VirtualApplianceEcmp(_)
            | RouteNextHop::VirtualNetworkGateway
            | RouteNextHop::VnetLocal
            | RouteNextHop::Internet
            | RouteNextHop::None => "the same next hops".to_owned(),
        };
        self.edit.route(subnet, "through-appliance", prefix, next_hop);
        let table = self.edit.network.subnet(subnet).route_table.map(|table| &self.edit.network.route_tables[table.0]);
        let table = table.map_or_else(String::new, |table| table.name.clone());
        let subnet = subnet_name(before, subnet);
        self.routes.push(format!("route {prefix} -> {to} to route table {table} of subnet {subnet}"));
    }

    /// Whether both directions arrive on the same path; else adds a route where one direction leaves the other's path.
    /// What the other end begins follows too, if it would not arrive any more: an appliance that puts its own address in
    /// place of the sender's answers for itself, so that only one direction needs a route. None where no route helps.
    fn is_done(&mut self) -> Option<bool> {
        let Case { names: before, ends, probe, request, .. } = *self.case;
        let network = self.edit.network.clone();
        let ids: Ids = before.compiled.ids().as_edited(&network);
        let compiled = compile_next(&network, before.compiled.learned(), ids, 0, before.compiled);
        let names = Names { network: &network, compiled: &compiled };
        let trips = Branches::take(names, &mut ScratchFlows::new(), ends, probe);
        let RoundTrip { forward, back, .. } = trips.worst();
        let back = back.as_ref()?;
        // The direction that was asked about leads; the other one must follow it.
        let (leading, following) = if request.is_some() { (back, forward) } else { (forward, back) };
        if !leading.delivered() {
            return None;
        }
        if strays(names, leading, following).is_some() {
            return self.follow(names, leading, following).map(|()| false);
        }
        if !following.delivered() {
            return None;
        }
        let Some(opposite) = opposite(ends).filter(|opposite| arrives(before, opposite, probe)) else {
            return Some(true);
        };
        let trips = Branches::take(names, &mut ScratchFlows::new(), &opposite, probe);
        let RoundTrip { forward: begun, .. } = trips.worst();
        if trips.verdict() == Verdict::Reachable {
            return Some(true);
        }
        self.follow(names, forward, begun).map(|()| false)
    }

    /// Adds a route where a direction leaves the other's path.
    fn follow(&mut self, names: Names<'_>, leading: &Walk, following: &Walk) -> Option<()> {
        let Case { ends, probe, .. } = *self.case;
        let (router, through) = strays(names, leading, following)?;
        let subnet = names.home(router)?;
        let case = Case { names, ends, probe, walk: following, request: Some(leading) };
        let (address, _) = case.met_at(leading, through)?;
        let taken = following.legs.iter().find(|leg| leg.router() == router)?.route()?;
        let taken = names.compiled.route(taken.0, taken.1).prefixes.iter().copied();
        let taken = taken.filter(|prefix| prefix.contains(&following.dst)).max_by_key(IpNet::prefix_len)?;
        let range = case.range_asked(following.dst, taken);
        self.add(subnet, range, &RouteNextHop::VirtualAppliance(address));
        Some(())
    }
}

/// The question from the other end: a flow that the asked one begins.
fn opposite(ends: &Ends) -> Option<Ends> {
    let asked = &ends.destination;
    let source = End::machine(ends.source, ends.source_address);
    Some(Ends { source: asked.nic?, source_address: asked.address, destination: source })
}

fn arrives(names: Names<'_>, ends: &Ends, probe: Probe) -> bool {
    Branches::take(names, &mut ScratchFlows::new(), ends, probe).verdict() == Verdict::Reachable
}

/// The first sender of a direction that bypasses the machine that the other direction passed, and that machine.
fn strays(names: Names<'_>, leading: &Walk, following: &Walk) -> Option<(NicId, NicId)> {
    let mut through: Vec<_> = leading.appliances().collect();
    through.reverse();
    let taken: Vec<_> = following.appliances().collect();
    let at = through
        .iter()
        .enumerate()
        .position(|(i, nic)| taken.get(i).is_none_or(|taken| !names.same_machine(*taken, *nic)))?;
    Some((following.legs.get(at)?.router(), through[at]))
}
