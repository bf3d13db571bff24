//! `explain`: does a packet arrive, does its answer, on which path, and if not, what is the smallest change that lets
//! it?
//!
//! One idea: a fix is tried before it is named. The diagnosis changes a copy of the network, which is compiled and
//! walked again. Whatever drops the packet next is listed as a further obstacle.

mod fixes;
pub(super) mod live;
mod reasons;
pub(super) mod traced_leg;
mod trials;
pub(super) mod verify;

use std::collections::HashSet;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::Compiled;
use crate::model::{Customer, ForwardedMode, Network};

use super::change::Change;
use super::query::names::Names;
use super::query::stand_in::{self, StandIn};
use super::query::{Ends, Probe, Query, resolve, unconnected_source};
use super::walk::branches::{Branch, Branches};
use super::walk::guest_rules::{GuestMet, GuestRules, PacketResult};
use super::walk::narration::Path;
use super::walk::round_trip::{RoundTrip, foreign_links};
use super::walk::{ScratchFlows, Walk};
use fixes::{Case, Diagnosis};
use reasons::reasons;
use trials::Trials;

pub use crate::model::Verdict;

/// Obstacles listed at most: each one compiles the whole network.
const MAX_OBSTACLES: usize = 8;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `web/nic0 (10.1.1.4)`.
    pub source: String,
    /// `db/nic0 (10.2.1.10)`, or a bare address that no machine has.
    pub destination: String,
    /// `ping`, `tcp/443`, `udp/53`.
    pub probe: String,
    pub verdict: Verdict,
    /// Where there are several paths, one that does not arrive, if there is one.
    pub forward: Path,
    /// The answer's path; None where the request does not arrive.
    #[serde(rename = "return")]
    pub back: Option<Path>,
    /// Every path that a flow's hash may choose, where routes spread flows over several appliances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Why it is blocked.
    pub cause: Option<String>,
    /// Why the rules decided so: which nearly matched, which came too late, which ranges a tag has here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    pub fix: Option<Fix>,
    /// The obstacles after it, each found with the fixes before it applied.
    pub further: Vec<Obstacle>,
    pub warnings: Vec<String>,
    /// Guests on the path whose own rules are not evaluated. The other fields hold if these rules let the packet and
    /// its answer pass unchanged. The verdict is `depends` until a real packet gives one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_rules: Vec<GuestMet>,
    /// What happened to a real packet, which then gives the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<PacketResult>,
}

/// One cause that keeps the packet or its answer from arriving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    pub cause: String,
    pub fix: Option<Fix>,
}

/// The smallest change that removes an obstacle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fix {
    pub text: String,
    /// Empty where the fix is described in words only.
    pub changes: Vec<Change>,
    /// Commands to run first, where the change is made inside a guest or on an existing link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Whether the changed network was compiled and walked, and the obstacle was gone.
    pub checked: bool,
}

/// Walks the packet and its answer, and finds what stops them. `now` is any moment: a fix may change what BGP brings.
pub fn explain(network: &Network, compiled: &Compiled, query: &Query, now: Instant) -> Result<Explanation, String> {
    explain_with(network, compiled, &GuestRules::of(network), query, now)
}

/// The same with the guests' own rules as they are known.
pub fn explain_with(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    query: &Query,
    now: Instant,
) -> Result<Explanation, String> {
    match stand_in::of(network, compiled, query)? {
        Some((StandIn { network, compiled, .. }, query)) => explain_as_is(&network, &compiled, guests, &query, now),
        None => explain_as_is(network, compiled, guests, query, now),
    }
}

fn explain_as_is(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    query: &Query,
    now: Instant,
) -> Result<Explanation, String> {
    let names = Names { network, compiled };
    if let Some(explanation) = unconnected_source(network, compiled, &query.source)
        .and_then(|customer| explain_unconnected(names, query, customer, now))
    {
        return Ok(explanation);
    }
    let ends = resolve(network, compiled, query)?;
    let branches = Branches::take(names, &mut ScratchFlows::new(), &ends, query.probe);
    let trip = branches.worst();
    let mut obstacles = obstacles(names, &ends, (query.probe, now), trip).into_iter();
    let first = obstacles.next();
    let end = |nic, address| format!("{} ({address})", names.nic(nic));
    let destination = ends.destination;
    let explanation = Explanation {
        source: end(ends.source, ends.source_address),
        destination: destination
            .nic
            .map_or_else(|| destination.address.to_string(), |nic| end(nic, destination.address)),
        probe: query.probe.to_string(),
        verdict: branches.verdict(),
        forward: Path::tell(names, &trip.forward),
        back: trip.back.as_ref().map(|walk| Path::tell(names, walk)),
        branches: branches.named(names),
        cause: first.as_ref().map(|obstacle| obstacle.cause.clone()),
        reasons: reasons(names, trip),
        fix: first.and_then(|obstacle| obstacle.fix),
        further: obstacles.collect(),
        warnings: branches.warnings(names),
        guest_rules: Vec::new(),
        settled: None,
    };
    Ok(explanation.past(guests.met(names, &branches)))
}

/// A site that nothing leads to cannot send either: what would lead there is missing. None where the other end has no
/// address that it could meet.
fn explain_unconnected(names: Names<'_>, query: &Query, customer: Customer, now: Instant) -> Option<Explanation> {
    let Names { network, compiled } = names;
    let Query { source, destination, probe } = query.clone();
    let ends = resolve(network, compiled, &Query { source: destination, destination: source, probe }).ok()?;
    let branches = Branches::take(names, &mut ScratchFlows::new(), &ends, probe);
    let trip = branches.worst();
    let case = Case { names, ends: &ends, probe, walk: &trip.forward, request: None };
    let diagnosis = case.unconnected_to(customer)?;
    let (Obstacle { cause, fix }, _) = Trials::new(names, (&ends, probe), trip, now).remove(diagnosis);
    Some(Explanation {
        source: format!("{} ({})", network.name_of_customer(customer), ends.destination.address),
        destination: format!("{} ({})", names.nic(ends.source), ends.source_address),
        probe: probe.to_string(),
        verdict: Verdict::Blocked,
        forward: Path { delivered: false, dropped: Some("NoRouteOnPremises".to_owned()), hops: Vec::new() },
        back: None,
        branches: Vec::new(),
        cause: Some(cause),
        reasons: Vec::new(),
        fix,
        further: Vec::new(),
        warnings: Vec::new(),
        guest_rules: Vec::new(),
        settled: None,
    })
}

impl Explanation {
    /// The same with guests on the path whose own rules are not evaluated.
    pub(super) fn past(mut self, met: Vec<GuestMet>) -> Self {
        if !met.is_empty() {
            self.verdict = Verdict::Depends;
        }
        self.forward.doubt(&met);
        self.back.iter_mut().for_each(|back| back.doubt(&met));
        Self { guest_rules: met, ..self }
    }

    /// Takes a real packet's result as the verdict. If it arrived, the model's obstacles are void. If a guest with
    /// rules of its own received it and did not forward it, these rules are the cause.
    pub fn settle(&mut self, settled: PacketResult) {
        self.verdict = settled.verdict;
        let kept = settled.lost.as_ref().filter(|lost| !lost.sent_on).and_then(|lost| {
            let guest = self.guest_rules.iter().find(|guest| Some(&guest.node) == lost.at.as_ref())?;
            Some((format!("{}: {guest}", lost.text), guest.node.clone()))
        });
        if settled.verdict == Verdict::Reachable || kept.is_some() {
            (self.cause, self.fix) = (None, None);
            self.further.clear();
        }
        if let Some((cause, node)) = kept {
            let commands = vec![format!("vnet exec {node} -- nft list ruleset")];
            let text = format!("look at the rules of {node}");
            (self.cause, self.fix) = (Some(cause), Some(Fix { text, changes: Vec::new(), commands, checked: false }));
        } else if self.cause.is_none() && settled.verdict != Verdict::Reachable {
            self.cause = settled.lost.as_ref().map(|lost| lost.text.clone());
        }
        self.settled = Some(settled);
    }
}

/// The diagnosis of a round trip.
impl RoundTrip {
    fn diagnose(&self, names: Names<'_>, ends: &Ends, probe: Probe) -> Option<Diagnosis> {
        let walk = self.blocked()?;
        let request = self.back.is_some().then_some(&self.forward);
        Some(Case { names, ends, probe, walk, request }.diagnose())
    }
}

/// Warnings: unexpected behaviour, whether the packet arrives or not.
impl Branches {
    fn warnings(&self, names: Names<'_>) -> Vec<String> {
        let mut warnings: Vec<_> = self.asymmetry(names).into_iter().collect();
        warnings.extend(self.cut_short().then(|| {
            format!("there are more ways than can be looked at: the verdict is about the first {}", self.trips().len())
        }));
        let mut seen = HashSet::new();
        for walk in self.trips().iter().flat_map(RoundTrip::walks) {
            warnings.extend(walk.floats_at(names.compiled).map(|nic| {
                format!(
                    "the rule of {0} has enableFloatingIP: the guest of {1} needs `ip address add {2} dev lo` (LB-20)",
                    walk.last.dst,
                    names.node(nic),
                    IpNet::from(walk.last.dst)
                )
            }));
            // Where the flag is enforced, or where the packet is dropped earlier, no warning applies.
            let contested = names.network.emulation.forwarded == ForwardedMode::TagOnly && walk.delivered();
            let off = foreign_links(names, walk).filter(|(_, link)| contested && !link.allow_forwarded_traffic);
            warnings.extend(off.map(|(into, link)| {
                format!(
                    "{} enters VNet {} over peering {}, which has allowForwardedTraffic off: Azure's documents disagree on whether it may",
                    walk.src,
                    names.network.vnet(into).name,
                    link.name
                )
            }));
        }
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }

    fn asymmetry(&self, names: Names<'_>) -> Option<String> {
        let (there, back) = self.trips().iter().find_map(|trip| trip.asymmetry(names))?;
        let list = |way: &[String]| if way.is_empty() { "no appliance".to_owned() } else { way.join(", ") };
        let (there, back) = (list(&there), list(&back));
        let spread = |way: fn(&RoundTrip) -> Option<&Walk>| {
            let ways: HashSet<_> = self.trips().iter().filter_map(|trip| Some(names.via(way(trip)?))).collect();
            ways.len() > 1
        };
        Some(match (spread(|trip| Some(&trip.forward)), spread(|trip| trip.back.as_ref())) {
            (true, true) => format!(
                "asymmetric path: each direction of a flow chooses its appliance by its own hash, so a request may pass {there} and its answer {back}; a stateful appliance sees half of such a flow"
            ),
            (true, false) => format!(
                "asymmetric path: a request may pass {there}, and every answer passes {back}; a stateful appliance sees half of such a flow"
            ),
            (false, true) => format!(
                "asymmetric path: every request passes {there}, and an answer may pass {back}; a stateful appliance sees half of such a flow"
            ),
            (false, false) => format!(
                "asymmetric path: the request passes {there}, the answer {back}; a stateful appliance sees half of the flow"
            ),
        })
    }
}

/// All obstacles, each found with the fixes before it applied.
fn obstacles(names: Names<'_>, ends: &Ends, (probe, now): (Probe, Instant), trip: &RoundTrip) -> Vec<Obstacle> {
    let (mut found, mut trials) = (Vec::new(), Trials::new(names, (ends, probe), trip, now));
    let mut next = trip.diagnose(names, ends, probe);
    while let Some(diagnosis) = next.take().filter(|_| found.len() < MAX_OBSTACLES) {
        let (obstacle, after) = trials.remove(diagnosis);
        found.push(obstacle);
        next = after;
    }
    found
}
