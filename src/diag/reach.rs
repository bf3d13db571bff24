//! Who reaches whom, and what a changed topology opens and closes.
//!
//! One idea: every pair of nodes takes the trip that `explain` takes, for each kind of packet asked about, and only its
//! outcome is kept. A pair is asked in one family: IPv4 where both have it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::Network;

use super::explain::Verdict;
use super::names::Names;
use super::nodes::nodes;
use super::traffic::Traffic;
use super::trip::Trip;
use super::walk::{Slate, Walk};

/// Trips taken for one answer: half a minute of an unoptimised build.
const MAX_TRIPS: usize = 1_000_000;

/// The answer for every ordered pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Machines, and the subnets of virtual networks that hang on one TUN.
    pub nodes: Vec<String>,
    /// What was asked.
    pub traffic: Vec<Traffic>,
    /// By source, then by destination, then by traffic.
    pub pairs: Vec<Pair>,
}

/// One node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub source: String,
    pub destination: String,
    pub traffic: Traffic,
    pub verdict: Verdict,
    pub forward: Way,
    /// None where the question does not arrive.
    #[serde(rename = "return")]
    pub back: Option<Way>,
}

/// One direction, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// A drop reason's name, `GuestNotForwarding` or `Loop`.
    pub dropped: Option<String>,
    /// The last interface it came to.
    pub at: String,
    /// The machines that forwarded it, in order.
    pub via: Vec<String>,
}

/// Sends each kind of traffic from every node to every other.
pub fn reach(network: &Network, compiled: &Compiled, traffic: &[Traffic]) -> Result<Reach, String> {
    let nodes = nodes(network, compiled);
    let trips = nodes.len().saturating_mul(nodes.len().saturating_sub(1)).saturating_mul(traffic.len());
    if trips > MAX_TRIPS {
        return Err(format!("{trips} trips are too many for one answer: at most {MAX_TRIPS}, ask about one port"));
    }
    let names = Names { network, compiled };
    let mut slate = Slate::new();
    let mut pairs = Vec::with_capacity(trips);
    for (i, source) in nodes.iter().enumerate() {
        for destination in nodes.iter().enumerate().filter_map(|(j, node)| (i != j).then_some(node)) {
            let Some(ends) = source.source.meet(network, compiled, destination.ends.clone()) else { continue };
            pairs.extend(traffic.iter().map(|&traffic| {
                let trip = Trip::take(names, &mut slate, &ends, traffic.probe);
                Pair::of(names, &source.name, &destination.name, traffic, &trip)
            }));
        }
    }
    let nodes = nodes.into_iter().map(|node| node.name).collect();
    Ok(Reach { nodes, traffic: traffic.to_vec(), pairs })
}

impl Pair {
    fn of(names: Names<'_>, source: &str, destination: &str, traffic: Traffic, trip: &Trip) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            traffic,
            verdict: if trip.blocked().is_some() { Verdict::Blocked } else { Verdict::Reachable },
            forward: Way::of(names, &trip.forward),
            back: trip.back.as_ref().map(|walk| Way::of(names, walk)),
        }
    }

    fn reachable(&self) -> bool {
        self.verdict == Verdict::Reachable
    }
}

/// `directly`, `through nva`, `NsgInbound at db/eth0`, or what becomes of the answer.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(back) = &self.back else { return self.forward.fmt(f) };
        match (&back.dropped, self.forward.via.iter().eq(back.via.iter().rev())) {
            (Some(_), _) => write!(f, "the answer: {back}"),
            (None, true) => self.forward.fmt(f),
            (None, false) => write!(f, "{}, back {back}", self.forward),
        }
    }
}

impl Way {
    fn of(names: Names<'_>, walk: &Walk) -> Self {
        let last = walk.last();
        Self {
            dropped: walk.outcome.reason().map(str::to_owned),
            at: names.nic(last.arrived().unwrap_or(last.from)),
            via: walk.appliances().map(|nic| names.node(nic)).collect(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dropped {
            Some(reason) => write!(f, "{reason} at {}", self.at),
            None if self.via.is_empty() => f.write_str("directly"),
            None => write!(f, "through {}", self.via.join(", ")),
        }
    }
}

/// What a change does to a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Shift {
    Opens,
    Closes,
    /// It arrives as before, by another way.
    Reroutes,
}

/// A pair that fares differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub shift: Shift,
    pub source: String,
    pub destination: String,
    pub traffic: Traffic,
    /// None for a node that is not there.
    pub before: Option<Pair>,
    pub after: Option<Pair>,
}

/// Compares two answers to the same question: what is only in one has a node that the other lacks.
pub fn differences(before: &Reach, after: &Reach) -> Vec<Difference> {
    let key = |pair: &Pair| (pair.source.clone(), pair.destination.clone(), pair.traffic.to_string());
    let mut new: std::collections::HashMap<_, _> = after.pairs.iter().map(|pair| (key(pair), pair)).collect();
    let old: Vec<_> = before.pairs.iter().map(|pair| (Some(pair), new.remove(&key(pair)))).collect();
    let added = after.pairs.iter().filter(|pair| new.contains_key(&key(pair))).map(|pair| (None, Some(pair)));
    old.into_iter().chain(added).filter_map(|(before, after)| difference(before, after)).collect()
}

fn difference(before: Option<&Pair>, after: Option<&Pair>) -> Option<Difference> {
    let works = |pair: Option<&Pair>| pair.is_some_and(Pair::reachable);
    let shift = match (works(before), works(after)) {
        (false, true) => Shift::Opens,
        (true, false) => Shift::Closes,
        (true, true) if ways(before?) != ways(after?) => Shift::Reroutes,
        (true, true) | (false, false) => return None,
    };
    let Pair { source, destination, traffic, .. } = after.or(before)?;
    let (source, destination, traffic) = (source.clone(), destination.clone(), *traffic);
    Some(Difference { shift, source, destination, traffic, before: before.cloned(), after: after.cloned() })
}

/// The machines passed, there and back.
fn ways(pair: &Pair) -> (&[String], Option<&[String]>) {
    (&pair.forward.via, pair.back.as_ref().map(|back| &*back.via))
}
