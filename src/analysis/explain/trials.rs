//! Fixes are tried before one is named: each on a copy of the network, which is compiled and walked again.
//!
//! One idea: a fix is judged by all that it does, not only by the packet that it is proposed for. The nodes of the
//! network ask each other before and after it. A fix that closes a pair, or that sends a flow and its answer through
//! different appliances, is not proposed. Of the others the one that opens least is, unless the rest of the file shows what
//! was meant.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use crate::analysis::change::Change;
use crate::analysis::query::names::Names;
use crate::analysis::query::nodes::{Node, nodes};
use crate::analysis::query::{Ends, Probe};
use crate::analysis::walk::branches::Branches;
use crate::analysis::walk::round_trip::RoundTrip;
use crate::analysis::walk::{ScratchFlows, Walk};
use crate::bgp::topology::relearned;
use crate::compile::compile_next;
use crate::dataplane::{NextHop, NicId};
use crate::model::{Health, Learned, Network, Verdict};

use super::fixes::{Diagnosis, ProposedFix};
use super::{Fix, Obstacle};

/// Nodes that ask each other at most: a thousand pairs take less time than a large network's compilation.
const MAX_NODES: usize = 32;

/// A question whose obstacles are removed one after another.
pub(super) struct Trials<'a> {
    names: Names<'a>,
    ends: &'a Ends,
    probe: Probe,
    /// The nodes that ask each other.
    sample: Vec<String>,
    /// How far the packet or its answer comes with all fixes so far.
    blocked: Option<Blocked>,
    /// Some flows arrive as it is, and pass different appliances each way: that is the file's own design.
    was_skewed: bool,
    /// With all fixes so far.
    network: Cow<'a, Network>,
    learned: Cow<'a, Learned>,
    /// Any moment: a fix may change what BGP brings.
    now: Instant,
    /// None until a fix is tried.
    pairs: Option<Pairs>,
}

/// A fix that was tried.
struct Trial {
    fix: ProposedFix,
    learned: Option<Learned>,
    pairs: Option<Pairs>,
    blocked: Option<Blocked>,
    removes: bool,
    effects: Effects,
    /// Whether the packet then arrives, with or without its answer.
    delivers: bool,
    /// The next obstacle.
    after: Option<Diagnosis>,
}

/// What a change does beside removing an obstacle.
#[derive(Default)]
struct Effects {
    harm: Option<Harm>,
    /// Other pairs that it opens, and those among them whose two directions pass different appliances.
    opened: usize,
    skewed: usize,
}

/// Why a fix is not proposed, with the pair that it harms.
enum Harm {
    Closes(String, String),
    Skews(String, String),
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closes(from, to) => write!(f, "it closes {from} to {to}"),
            Self::Skews(from, to) => write!(f, "it makes the path from {from} to {to} asymmetric"),
        }
    }
}

impl<'a> Trials<'a> {
    pub(super) fn new(names: Names<'a>, (ends, probe): (&'a Ends, Probe), trip: &RoundTrip, now: Instant) -> Self {
        let (network, learned) = (Cow::Borrowed(names.network), Cow::Borrowed(names.compiled.learned()));
        let (sample, blocked) = (sample(names, ends), Blocked::of(trip));
        let branches = Branches::take(names, &mut ScratchFlows::new(), ends, probe);
        let was_skewed =
            branches.trips().iter().any(|trip| trip.blocked().is_none() && trip.asymmetry(names).is_some());
        Self { names, ends, probe, sample, blocked, was_skewed, network, learned, now, pairs: None }
    }

    /// The obstacle with the best of its fixes, and the next obstacle.
    pub(super) fn remove(&mut self, diagnosis: Diagnosis) -> (Obstacle, Option<Diagnosis>) {
        let cause = diagnosis.cause;
        let mut tried: Vec<_> = diagnosis.fixes.into_iter().map(|fix| self.attempt(&cause, fix)).collect();
        let mut changing = tried.iter().filter(|trial| !trial.fix.changes.is_empty()).peekable();
        if changing.peek().is_some() && changing.all(|trial| trial.effects.harm.is_some()) {
            let others = diagnosis.alternatives.into_iter().map(|fix| self.attempt(&cause, fix));
            tried.extend(others.filter(|trial| trial.removes));
        }
        let Some(best) = tried.into_iter().min_by_key(Trial::rank) else {
            return (Obstacle { cause, fix: None }, None);
        };
        let Trial {
            fix: ProposedFix { text, changes, commands, network, .. },
            learned,
            pairs,
            blocked,
            removes,
            effects,
            after,
            ..
        } = best;
        if let Some(harm) = effects.harm {
            let text = format!("{text}: possible, but {harm}");
            let fix = Fix { text, changes: Vec::new(), commands: Vec::new(), checked: false };
            return (Obstacle { cause, fix: Some(fix) }, None);
        }
        self.network = Cow::Owned(network);
        self.learned = learned.map_or(self.learned.clone(), Cow::Owned);
        (self.pairs, self.blocked) = (pairs, blocked);
        let fix = Fix { text, changes, commands, checked: removes };
        (Obstacle { cause, fix: Some(fix) }, after.filter(|_| removes))
    }

    fn attempt(&mut self, cause: &str, fix: ProposedFix) -> Trial {
        if fix.changes.is_empty() {
            return Trial {
                fix,
                learned: None,
                pairs: None,
                blocked: None,
                removes: false,
                effects: Effects::default(),
                delivers: false,
                after: None,
            };
        }
        let mut learned = self.learned.clone().into_owned();
        if let Some(health) = &mut learned.health {
            let up = Health { up: true, since: 0, reason: String::new() };
            health.extend(fix.probed.iter().map(|key| (key.clone(), up.clone())));
        }
        if let Some(exchanged) = relearned((&self.network, &fix.network), &learned, self.now) {
            learned = exchanged;
        }
        // The ends are numbered: a change of properties keeps every number, and rules may be new.
        let ids = self.names.compiled.ids().as_edited(&fix.network);
        let compiled = compile_next(&fix.network, &learned, ids, 0, self.names.compiled);
        let names = Names { network: &fix.network, compiled: &compiled };
        let branches = Branches::take(names, &mut ScratchFlows::new(), self.ends, self.probe);
        let worst = branches.worst();
        let blocked = Blocked::of(worst);
        let (delivers, after) = (worst.back.is_some(), worst.diagnose(names, self.ends, self.probe));
        let before = self.pairs.get_or_insert_with(|| Pairs::ask(self.names, &self.sample, self.probe));
        let pairs = Pairs::ask(names, &self.sample, self.probe);
        let asked = Fate::of(names, &branches);
        let mut effects = before.effects(&pairs, &self.sample);
        let is_new = asked == Fate::Skewed && !self.was_skewed;
        if is_new && self.blocked.as_ref().is_none_or(|blocked| blocked.is_led_elsewhere(names, worst)) {
            let to = &self.ends.destination;
            let to = to.nic.map_or_else(|| to.address.to_string(), |nic| names.node(nic));
            effects.harm.get_or_insert(Harm::Skews(names.node(self.ends.source), to));
        }
        let removes = removes(&fix.changes, cause, after.as_ref().map(|after| after.cause.as_str()));
        Trial { fix, learned: Some(learned), pairs: Some(pairs), blocked, removes, effects, delivers, after }
    }
}

impl Trial {
    /// The least is the best. What the file shows to be meant may open more than another change. Openings are compared
    /// only between changes after which the packet arrives: one that leaves more to do opens less for now.
    fn rank(&self) -> (bool, bool, bool, bool, usize, bool, usize) {
        let Effects { harm, opened, skewed } = &self.effects;
        let arrives = self.removes && self.after.is_none();
        let (skewed, opened) = if arrives { (*skewed, *opened) } else { (0, 0) };
        (harm.is_some(), !self.removes, !arrives, !self.delivers, skewed, !self.fix.is_meant, opened)
    }
}

/// The path of a packet that does not arrive.
struct Blocked {
    is_answer: bool,
    decisions: Vec<(NicId, NextHop)>,
    appliances: Vec<NicId>,
}

impl Blocked {
    fn of(trip: &RoundTrip) -> Option<Self> {
        let walk = trip.blocked()?;
        let (decisions, appliances) = (decisions(walk), walk.appliances().collect());
        Some(Self { is_answer: trip.back.is_some(), decisions, appliances })
    }

    /// Whether the path that the packet then takes is the change's own, so that asymmetry is too. It is not where all
    /// routes lead as before, nor where the packet passes the appliances that it had passed, and the other direction
    /// none beside them.
    fn is_led_elsewhere(&self, names: Names<'_>, trip: &RoundTrip) -> bool {
        let (forward, Some(back)) = (&trip.forward, &trip.back) else { return false };
        let (walk, other) = if self.is_answer { (back, forward) } else { (forward, back) };
        let is_passed = |nic: NicId| self.appliances.iter().any(|passed| names.same_machine(*passed, nic));
        let as_before = walk.appliances().eq(self.appliances.iter().copied()) && other.appliances().all(is_passed);
        !decisions(walk).starts_with(&self.decisions) && !as_before
    }
}

/// Where routes led, sender by sender.
fn decisions(walk: &Walk) -> Vec<(NicId, NextHop)> {
    walk.legs.iter().filter_map(|leg| Some((leg.router(), leg.route()?.2))).collect()
}

/// Whether changes removed an obstacle, judged by the obstacle that is met after them.
fn removes(changes: &[Change], cause: &str, after: Option<&str>) -> bool {
    !changes.is_empty() && after != Some(cause)
}

/// The two ends, then a node of each subnet, then others.
fn sample(names: Names<'_>, ends: &Ends) -> Vec<String> {
    let mut seen = HashSet::new();
    let asked = [Some(ends.source), ends.destination.nic];
    let mut all: Vec<_> = nodes(names.network, names.compiled)
        .into_iter()
        .map(|node| {
            let nics: Vec<_> = node.ends.iter().filter_map(|end| end.nic).collect();
            let is_end = nics.iter().any(|nic| asked.contains(&Some(*nic)));
            let home = nics.first().and_then(|nic| names.home(*nic));
            let is_first = home.is_none_or(|subnet| seen.insert(subnet));
            (!is_end, !is_first, node.name)
        })
        .collect();
    all.sort_by_key(|(not_end, not_first, _)| (*not_end, *not_first));
    all.into_iter().take(MAX_NODES).map(|(.., name)| name).collect()
}

/// What becomes of a packet and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Blocked,
    /// On some of several paths.
    Partly,
    /// Both arrive, and pass different appliances.
    Skewed,
    Straight,
}

impl Fate {
    fn of(names: Names<'_>, branches: &Branches) -> Self {
        match branches.verdict() {
            Verdict::Blocked | Verdict::WrongHost => Self::Blocked,
            Verdict::Depends => Self::Partly,
            Verdict::Reachable => match branches.trips() {
                [one] if one.asymmetry(names).is_some() => Self::Skewed,
                // Where hashes choose among appliances, each direction has its own choice.
                _ => Self::Straight,
            },
        }
    }

    fn level(self) -> u8 {
        match self {
            Self::Blocked => 0,
            Self::Partly => 1,
            Self::Skewed | Self::Straight => 2,
        }
    }
}

/// The fate of a ping and of the packet that was asked about, between every two nodes of the sample.
struct Pairs(HashMap<(usize, usize, Probe), Fate>);

impl Pairs {
    fn ask(names: Names<'_>, sample: &[String], asked: Probe) -> Self {
        let mut all: HashMap<String, Node> =
            nodes(names.network, names.compiled).into_iter().map(|node| (node.name.clone(), node)).collect();
        let sample: Vec<_> = sample.iter().map(|name| all.remove(name)).collect();
        let probes: HashSet<_> = [Probe::Ping, asked].into();
        let (mut scratch, mut fates) = (ScratchFlows::new(), HashMap::new());
        for (i, source) in sample.iter().enumerate() {
            for (j, destination) in sample.iter().enumerate().filter(|(j, _)| *j != i) {
                let (Some(source), Some(destination)) = (source, destination) else { continue };
                let ends = source.source.meet(names.network, names.compiled, destination.ends.iter().cloned());
                let Some(ends) = ends else { continue };
                for probe in &probes {
                    let branches = Branches::take(names, &mut scratch, &ends, *probe);
                    fates.insert((i, j, *probe), Fate::of(names, &branches));
                }
            }
        }
        Self(fates)
    }

    fn effects(&self, after: &Self, sample: &[String]) -> Effects {
        let mut effects = Effects::default();
        let mut all: Vec<_> = self.0.iter().collect();
        // Which harm is named must not depend on the order in a hash map.
        all.sort_by_key(|((i, j, _), _)| (*i, *j));
        for (key @ (i, j, _), before) in all {
            let after = after.0.get(key).copied().unwrap_or(Fate::Blocked);
            let pair = || (sample[*i].clone(), sample[*j].clone());
            match after.level().cmp(&before.level()) {
                Ordering::Less => {
                    let (from, to) = pair();
                    effects.harm.get_or_insert(Harm::Closes(from, to));
                }
                Ordering::Equal if after == Fate::Skewed && *before == Fate::Straight => {
                    let (from, to) = pair();
                    effects.harm.get_or_insert(Harm::Skews(from, to));
                }
                Ordering::Equal => {}
                Ordering::Greater => {
                    effects.opened += 1;
                    effects.skewed += usize::from(after == Fate::Skewed);
                }
            }
        }
        effects
    }
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
        // A fix in words only has not been tried.
        assert!(!removes(&[], "a rule", None));
        assert!(!removes(&[], "a rule", Some("another")));
    }
}
