//! Which nodes reach which, and what a changed topology opens and closes.
//!
//! One idea: every pair of nodes takes the round trip that `explain` takes, for each kind of packet asked about, and
//! only its outcome is kept. A pair is tested in one address family: IPv4 where both have it.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::Network;

use super::explain::Verdict;
use super::query::names::Names;
use super::query::nodes::{Node, named, nodes};
use super::query::parse_place;
use super::query::stand_in::{self, StandIn};
use super::traffic::Traffic;
use super::walk::branches::{Branch, Branches};
use super::walk::guest_rules::{GuestMet, GuestRules, PacketResult};
use super::walk::{ScratchFlows, Walk};

/// Round trips for one answer: half a minute of an unoptimised build.
const MAX_TRIPS: usize = 1_000_000;

/// The answer for every ordered pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Machines, sites and private clouds, and the subnets of virtual networks behind one TUN.
    pub nodes: Vec<String>,
    /// The traffic that was asked about.
    pub traffic: Vec<Traffic>,
    /// By source, then by destination, then by traffic.
    pub pairs: Vec<Pair>,
}

/// The result for one ordered pair of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub source: String,
    pub destination: String,
    pub traffic: Traffic,
    pub verdict: Verdict,
    /// Where there are several paths, one that does not arrive, if there is one.
    pub forward: PathSummary,
    /// None where the request does not arrive.
    #[serde(rename = "return")]
    pub back: Option<PathSummary>,
    /// Every path that a flow's hash may choose, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Guests on the path whose own rules are not evaluated: the paths hold if these let everything pass unchanged.
    #[serde(rename = "guestRules", default, skip_serializing_if = "Vec::is_empty")]
    pub guest_rules: Vec<GuestMet>,
    /// What happened to real packets, which then give the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<PacketResult>,
}

/// A summary of one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSummary {
    /// A drop reason's name, `GuestNotForwarding`, `NoHost`, `NoRouteOnPremises`, `Loop`, `WrongHost` or `WrongSource`.
    pub dropped: Option<String>,
    /// The last interface it came to.
    pub at: String,
    /// The machines that forwarded it, in order.
    pub via: Vec<String>,
}

/// Walks each kind of traffic from every node to every other.
pub fn reach(network: &Network, compiled: &Compiled, traffic: &[Traffic]) -> Result<Reach, String> {
    reach_with(network, compiled, &GuestRules::of(network), &[], traffic)
}

/// The same among the named nodes: machines, sites, gateways, and subnets with an imagined machine.
pub fn reach_among(
    network: &Network,
    compiled: &Compiled,
    names: &[String],
    traffic: &[Traffic],
) -> Result<Reach, String> {
    reach_with(network, compiled, &GuestRules::of(network), names, traffic)
}

/// The same with the guests' own rules as they are known; among all nodes if no names are given.
pub fn reach_with(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    names: &[String],
    traffic: &[Traffic],
) -> Result<Reach, String> {
    if names.is_empty() {
        return among((network, compiled), guests, nodes(network, compiled), traffic);
    }
    let places = names.iter().map(|name| parse_place(name)).collect::<Result<Vec<_>, _>>()?;
    let subnets: Vec<_> = places.iter().filter_map(|place| stand_in::subnet(network, compiled, place)).collect();
    if subnets.is_empty() {
        return among((network, compiled), guests, named(network, compiled, names)?, traffic);
    }
    let StandIn { network, compiled, .. } = StandIn::put(network, compiled, &subnets)?;
    among((&network, &compiled), guests, named(&network, &compiled, names)?, traffic)
}

fn among(
    (network, compiled): (&Network, &Compiled),
    guests: &GuestRules,
    nodes: Vec<Node>,
    traffic: &[Traffic],
) -> Result<Reach, String> {
    let trips = nodes.len().saturating_mul(nodes.len().saturating_sub(1)).saturating_mul(traffic.len());
    if trips > MAX_TRIPS {
        return Err(too_many(trips));
    }
    let names = Names { network, compiled };
    let mut scratch = ScratchFlows::new();
    let (mut pairs, mut taken) = (Vec::with_capacity(trips), 0);
    for (i, source) in nodes.iter().enumerate() {
        for destination in nodes.iter().enumerate().filter_map(|(j, node)| (i != j).then_some(node)) {
            let Some(ends) = source.source.meet(network, compiled, destination.ends.clone()) else { continue };
            for &traffic in traffic {
                let branches = Branches::take(names, &mut scratch, &ends, traffic.probe);
                taken += branches.trips().len();
                if taken > MAX_TRIPS {
                    return Err(too_many(taken));
                }
                let pair = Pair::of(names, &source.name, &destination.name, traffic, &branches);
                pairs.push(pair.past(guests.met(names, &branches)));
            }
        }
    }
    let nodes = nodes.into_iter().map(|node| node.name).collect();
    Ok(Reach { nodes, traffic: traffic.to_vec(), pairs })
}

fn too_many(trips: usize) -> String {
    format!("{trips} trips are too many for one answer: at most {MAX_TRIPS}, ask about one port")
}

impl Pair {
    fn of(names: Names<'_>, source: &str, destination: &str, traffic: Traffic, branches: &Branches) -> Self {
        let trip = branches.worst();
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            traffic,
            verdict: branches.verdict(),
            forward: PathSummary::of(names, &trip.forward),
            back: trip.back.as_ref().map(|walk| PathSummary::of(names, walk)),
            branches: branches.named(names),
            guest_rules: Vec::new(),
            settled: None,
        }
    }

    /// The same with guests on the path whose own rules are not evaluated.
    fn past(self, met: Vec<GuestMet>) -> Self {
        let verdict = if met.is_empty() { self.verdict } else { Verdict::Depends };
        Self { verdict, guest_rules: met, ..self }
    }

    /// Takes a real packet's result as the verdict.
    pub fn settle(&mut self, settled: PacketResult) {
        self.verdict = settled.verdict;
        self.settled = Some(settled);
    }

    /// The verdict as if guests let everything pass unchanged.
    fn by_the_model(&self) -> Verdict {
        let arrives = |dropped: &Option<String>| dropped.is_none();
        let arriving = self.branches.iter().filter(|branch| arrives(&branch.dropped)).count();
        match (self.guest_rules.is_empty(), self.branches.len()) {
            (true, _) => self.verdict,
            (false, 0)
                if arrives(&self.forward.dropped) && self.back.as_ref().is_some_and(|back| arrives(&back.dropped)) =>
            {
                Verdict::Reachable
            }
            (false, 0) => Verdict::Blocked,
            (false, _) if arriving == 0 => Verdict::Blocked,
            (false, all) if arriving == all => Verdict::Reachable,
            (false, _) => Verdict::Depends,
        }
    }

    /// A rank: blocked, depends, reachable.
    fn rank(&self) -> u8 {
        match self.by_the_model() {
            Verdict::Blocked | Verdict::WrongHost => 0,
            Verdict::Depends => 1,
            Verdict::Reachable => 2,
        }
    }

    /// The machines that forward the request, on each possible path; each list once.
    pub fn ways_there(&self) -> Vec<&[String]> {
        let mut ways: Vec<&[String]> = self.branches.iter().map(|branch| &*branch.via).collect();
        if ways.is_empty() {
            ways.push(&self.forward.via);
        }
        ways.sort_unstable();
        ways.dedup();
        ways
    }
}

/// `directly`, `through nva`, `NsgInbound at db/eth0`, or the answer's outcome; of several paths, how many arrive.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(PacketResult { via, lost, .. }) = &self.settled {
            return match (lost, via) {
                (Some(lost), _) => write!(f, "{}, by a real packet", lost.text),
                (None, Some(via)) => write!(f, "{}, by a real packet", through(via)),
                (None, None) => f.write_str("by a real packet"),
            };
        }
        if !self.guest_rules.is_empty() {
            let guests: Vec<_> = self.guest_rules.iter().map(ToString::to_string).collect();
            return f.write_str(&guests.join("; "));
        }
        let arriving = self.branches.iter().filter(|branch| branch.dropped.is_none()).count();
        match (self.verdict, self.branches.len()) {
            (Verdict::Reachable, 2..) => {
                let ways: Vec<_> = self.ways_there().iter().map(|way| through(way)).collect();
                return f.write_str(&ways.join(" or "));
            }
            (Verdict::Depends, all) => write!(f, "{arriving} of {all} ways, else ")?,
            (Verdict::Reachable, 0 | 1) | (Verdict::Blocked | Verdict::WrongHost, _) => {}
        }
        let Some(back) = &self.back else { return self.forward.fmt(f) };
        match (&back.dropped, self.forward.via.iter().eq(back.via.iter().rev())) {
            (Some(_), _) => write!(f, "the answer: {back}"),
            (None, true) => self.forward.fmt(f),
            (None, false) => write!(f, "{}, back {back}", self.forward),
        }
    }
}

fn through(via: &[String]) -> String {
    if via.is_empty() { "directly".to_owned() } else { format!("through {}", via.join(", ")) }
}

impl PathSummary {
    fn of(names: Names<'_>, walk: &Walk) -> Self {
        let last = walk.last();
        Self {
            dropped: walk.outcome.reason().map(str::to_owned),
            at: names.nic(last.arrived().unwrap_or(last.from)),
            via: names.via(walk),
        }
    }
}

impl fmt::Display for PathSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dropped {
            Some(reason) => write!(f, "{reason} at {}", self.at),
            None => f.write_str(&through(&self.via)),
        }
    }
}

/// The effect of a change on a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Shift {
    Opens,
    Closes,
    /// It arrives as before, on another path.
    Reroutes,
}

/// A pair whose result differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub shift: Shift,
    pub source: String,
    pub destination: String,
    pub traffic: Traffic,
    /// None for a node that does not exist.
    pub before: Option<Pair>,
    pub after: Option<Pair>,
}

/// Compares two answers to the same question: a pair that only one has belongs to a node that the other lacks.
pub fn differences(before: &Reach, after: &Reach) -> Vec<Difference> {
    let key = |pair: &Pair| (pair.source.clone(), pair.destination.clone(), pair.traffic.to_string());
    let mut new: std::collections::HashMap<_, _> = after.pairs.iter().map(|pair| (key(pair), pair)).collect();
    let old: Vec<_> = before.pairs.iter().map(|pair| (Some(pair), new.remove(&key(pair)))).collect();
    let added = after.pairs.iter().filter(|pair| new.contains_key(&key(pair))).map(|pair| (None, Some(pair)));
    old.into_iter().chain(added).filter_map(|(before, after)| difference(before, after)).collect()
}

fn difference(before: Option<&Pair>, after: Option<&Pair>) -> Option<Difference> {
    let rank = |pair: Option<&Pair>| pair.map_or(0, Pair::rank);
    let shift = match rank(before).cmp(&rank(after)) {
        Ordering::Less => Shift::Opens,
        Ordering::Greater => Shift::Closes,
        Ordering::Equal if rank(after) > 0 && ways(before?) != ways(after?) => Shift::Reroutes,
        Ordering::Equal => return None,
    };
    let Pair { source, destination, traffic, .. } = after.or(before)?;
    let (source, destination, traffic) = (source.clone(), destination.clone(), *traffic);
    Some(Difference { shift, source, destination, traffic, before: before.cloned(), after: after.cloned() })
}

/// The machines passed, request and answer.
fn ways(pair: &Pair) -> Vec<(&[String], Option<&[String]>)> {
    if pair.branches.is_empty() {
        return vec![(&pair.forward.via, pair.back.as_ref().map(|back| &*back.via))];
    }
    let mut ways: Vec<_> = pair.branches.iter().map(|branch| (&*branch.via, branch.via_return.as_deref())).collect();
    ways.sort_unstable();
    ways
}
