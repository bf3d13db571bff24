//! `explain`: does a packet get there and back, by which way, and if not, what is the smallest change that lets it?
//!
//! One idea: a fix is tried before it is named. The obstacle's cure changes a copy of the network, the copy is compiled
//! and walked again, and whatever stands in the way next is listed as a further obstacle.

mod fixes;
pub(super) mod live;
mod reasons;
pub(super) mod traced_leg;
pub(super) mod verify;

use std::borrow::Cow;
use std::collections::HashSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::{Compiled, compile_next};
use crate::model::{ForwardedMode, Health, Network};

use super::change::Change;
use super::query::names::Names;
use super::query::stand_in::{self, StandIn};
use super::query::{Ends, Probe, Query, resolve};
use super::walk::ScratchFlows;
use super::walk::branches::{Branch, Branches};
use super::walk::guest_rules::{GuestMet, GuestRules, PacketResult};
use super::walk::narration::Path;
use super::walk::round_trip::{RoundTrip, foreign_links};
use fixes::{Case, Diagnosis, ProposedFix};
use reasons::reasons;

pub use crate::model::Verdict;

/// Obstacles listed at most: each is a compilation of the whole network.
const MAX_OBSTACLES: usize = 8;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `web/nic0 (10.1.1.4)`.
    pub source: String,
    /// `db/nic0 (10.2.1.10)`, or a bare address that nobody has.
    pub destination: String,
    /// `ping`, `tcp/443`, `udp/53`.
    pub probe: String,
    pub verdict: Verdict,
    /// Where there are several ways, one that does not arrive, if there is one.
    pub forward: Path,
    /// The answer's way; none where the question never arrives.
    #[serde(rename = "return")]
    pub back: Option<Path>,
    /// Every way that the hash of a flow may choose, where routes spread flows over several appliances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// Why it is blocked.
    pub cause: Option<String>,
    /// Why its rules decided so: which nearly matched, which came too late, what a tag stands for here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    pub fix: Option<Fix>,
    /// What would stand in the way next, with the fixes before it applied.
    pub further: Vec<Obstacle>,
    pub warnings: Vec<String>,
    /// Guests on the way whose own rules are not evaluated: what the other fields say is so if these let the packet and its
    /// answer pass unchanged, and the verdict is `depends` until a real packet has settled it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_rules: Vec<GuestMet>,
    /// What a real packet said to that: the verdict is its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<PacketResult>,
}

/// One thing in the way.
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
    /// Empty where only prose can say it.
    pub changes: Vec<Change>,
    /// What to type first, where the change is one in a guest, or of a link that stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Whether the changed network was compiled and the obstacle was gone.
    pub checked: bool,
}

/// Walks the packet and its answer, and finds what is in the way.
pub fn explain(network: &Network, compiled: &Compiled, query: &Query) -> Result<Explanation, String> {
    explain_with(network, compiled, &GuestRules::of(network), query)
}

/// The same where guests are known to have rules of their own.
pub fn explain_with(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    query: &Query,
) -> Result<Explanation, String> {
    match stand_in::of(network, compiled, query)? {
        Some((StandIn { network, compiled, .. }, query)) => explain_as_is(&network, &compiled, guests, &query),
        None => explain_as_is(network, compiled, guests, query),
    }
}

fn explain_as_is(
    network: &Network,
    compiled: &Compiled,
    guests: &GuestRules,
    query: &Query,
) -> Result<Explanation, String> {
    let ends = resolve(network, compiled, query)?;
    let names = Names { network, compiled };
    let branches = Branches::take(names, &mut ScratchFlows::new(), &ends, query.probe);
    let trip = branches.worst();
    let mut obstacles = obstacles(names, &ends, query.probe, trip).into_iter();
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
        branches: branches.told(names),
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

impl Explanation {
    /// The same past guests whose own rules are not evaluated.
    pub(super) fn past(mut self, met: Vec<GuestMet>) -> Self {
        if !met.is_empty() {
            self.verdict = Verdict::Depends;
        }
        self.forward.doubt(&met);
        self.back.iter_mut().for_each(|back| back.doubt(&met));
        Self { guest_rules: met, ..self }
    }

    /// Lets a real packet decide. What the model has against one that arrived is not so; one that a guest with rules of its
    /// own kept met these.
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

/// What explaining asks of a trip.
impl RoundTrip {
    fn diagnose(&self, names: Names<'_>, ends: &Ends, probe: Probe) -> Option<Diagnosis> {
        let walk = self.blocked()?;
        let request = self.back.is_some().then_some(&self.forward);
        Some(Case { names, ends, probe, walk, request }.diagnose())
    }
}

/// What may surprise, whether it arrives or not.
impl Branches {
    fn warnings(&self, names: Names<'_>) -> Vec<String> {
        let mut warnings: Vec<_> = self.asymmetry(names).into_iter().collect();
        warnings.extend(self.cut_short().then(|| {
            format!("there are more ways than can be looked at: the verdict is about the first {}", self.trips().len())
        }));
        let mut told = HashSet::new();
        for walk in self.trips().iter().flat_map(RoundTrip::walks) {
            warnings.extend(walk.floats_at(names.compiled).map(|nic| {
                format!(
                    "the rule of {0} has enableFloatingIP: the guest of {1} needs `ip address add {2} dev lo` (LB-20)",
                    walk.last.dst,
                    names.node(nic),
                    IpNet::from(walk.last.dst)
                )
            }));
            // Where it is enforced, or where the packet ends on the way, the flag says nothing about this one.
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
        warnings.retain(|warning| told.insert(warning.clone()));
        warnings
    }

    fn asymmetry(&self, names: Names<'_>) -> Option<String> {
        let (there, back) = self.trips().iter().find_map(|trip| trip.asymmetry(names))?;
        let list = |way: &[String]| if way.is_empty() { "no appliance".to_owned() } else { way.join(", ") };
        let (there, back) = (list(&there), list(&back));
        Some(if self.trips().len() > 1 {
            format!(
                "asymmetric path: each direction of a flow chooses its appliance by its own hash, so a request may pass {there} and its answer {back}; a stateful appliance sees half of such a flow"
            )
        } else {
            format!(
                "asymmetric path: the request passes {there}, the answer {back}; a stateful appliance sees half of the flow"
            )
        })
    }
}

/// Everything in the way, each found with the fixes before it applied.
fn obstacles(names: Names<'_>, ends: &Ends, probe: Probe, trip: &RoundTrip) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut next = trip.diagnose(names, ends, probe);
    let mut learned = Cow::Borrowed(names.compiled.learned());
    while let Some(Diagnosis { cause, fix: proposed }) = next.take() {
        let Some(ProposedFix { text, changes, commands, probed, network }) = proposed else {
            found.push(Obstacle { cause, fix: None });
            break;
        };
        // The ends are known by number: a change of properties leaves everybody theirs, and rules may be new.
        let ids = names.compiled.ids().as_edited(&network);
        if let Some(health) = learned.health.as_ref().filter(|_| !probed.is_empty()) {
            let (mut health, up) = (health.clone(), Health { up: true, since: 0, reason: String::new() });
            health.extend(probed.into_iter().map(|key| (key, up.clone())));
            learned.to_mut().health = Some(health);
        }
        let compiled = compile_next(&network, &learned, ids, 0, names.compiled);
        let names = Names { network: &network, compiled: &compiled };
        let after = Branches::take(names, &mut ScratchFlows::new(), ends, probe).worst().diagnose(names, ends, probe);
        let checked = removes(&changes, &cause, after.as_ref().map(|after| after.cause.as_str()));
        found.push(Obstacle { cause, fix: Some(Fix { text, changes, commands, checked }) });
        if checked && found.len() < MAX_OBSTACLES {
            next = after;
        }
    }
    found
}

/// Whether changes have removed an obstacle, by what is in the way with them made.
fn removes(changes: &[Change], cause: &str, after: Option<&str>) -> bool {
    !changes.is_empty() && after != Some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_is_removed_if_something_changed_and_it_is_not_met_again() {
        let changes = [Change { path: "internet".to_owned(), value: None }];
        assert!(removes(&changes, "a rule", None));
        assert!(removes(&changes, "a rule", Some("another")));
        assert!(!removes(&changes, "a rule", Some("a rule")));
        // What only prose says nobody has tried.
        assert!(!removes(&[], "a rule", None));
        assert!(!removes(&[], "a rule", Some("another")));
    }
}
