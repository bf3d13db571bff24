//! Guests with packet filter or translation rules of their own, which nothing here evaluates.
//!
//! One idea: the hooks that have rules are known, so an answer can name the rules that a packet meets. Only a real
//! packet shows what they do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::dataplane::NicId;
use crate::model::{GuestFilter, Network, Verdict};

use super::branches::Branches;
use super::narration::{Path, StepKind};
use super::round_trip::RoundTrip;
use super::{Outcome, Walk};

/// The netfilter hook that a rule is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    pub const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    fn of_nftables(name: &str) -> Option<Self> {
        match name {
            "ingress" => Some(Self::Prerouting),
            "egress" => Some(Self::Postrouting),
            name => Self::ALL.into_iter().find(|hook| hook.name() == name),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// Rules of one guest at the same hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesThere {
    pub ipv4: bool,
    pub ipv6: bool,
    pub hooks: Vec<Hook>,
    /// None where only a file says that they exist.
    pub count: Option<usize>,
}

/// By a node's name in lower case. Nodes without rules may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestRules(BTreeMap<String, Vec<RulesThere>>);

/// A guest whose own rules a packet or its answer meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestMet {
    pub node: String,
    /// The number of rules that it meets; None where only a file says that they exist.
    pub rules: Option<usize>,
    pub hooks: Vec<Hook>,
}

/// What happened to a real packet that passes such guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketResult {
    pub verdict: Verdict,
    /// The machines that were seen forwarding the packet, in order; None where a capture may have missed it.
    pub via: Option<Vec<String>>,
    pub via_return: Option<Vec<String>>,
    /// Of a ping, its identifier.
    pub source_port: u16,
    /// For a packet that was not answered.
    pub lost: Option<LastSeen>,
}

/// Where a packet or its answer was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSeen {
    /// None where only the sender saw it.
    pub at: Option<String>,
    /// Whether that machine forwarded it.
    pub sent_on: bool,
    pub text: String,
}

impl RulesThere {
    /// An `include` may add rules at any hook.
    fn of_file(filter: &GuestFilter) -> Self {
        let named: BTreeSet<Hook> = filter.hooks().filter_map(Hook::of_nftables).collect();
        let hooks = if named.is_empty() { Hook::ALL.to_vec() } else { named.into_iter().collect() };
        Self { ipv4: true, ipv6: true, hooks, count: None }
    }
}

impl GuestRules {
    /// The rules that a topology file declares.
    pub fn of(network: &Network) -> Self {
        let mut rules = Self::default();
        for vm in &network.virtual_machines {
            if let Some(filter) = &vm.guest_filter {
                rules.found(&vm.name, vec![RulesThere::of_file(filter)]);
            }
        }
        rules
    }

    /// Rules found in a node's namespace replace those of its file.
    pub fn found(&mut self, node: &str, rules: Vec<RulesThere>) {
        self.0.insert(node.to_lowercase(), rules);
    }

    /// Takes over the nodes of another set.
    pub fn extend(&mut self, found: Self) {
        self.0.extend(found.0);
    }

    /// The guests with rules that a packet meets on one of these paths.
    pub(in crate::analysis) fn met(&self, names: Names<'_>, branches: &Branches) -> Vec<GuestMet> {
        self.met_by(names, branches.trips().iter().flat_map(RoundTrip::walks))
    }

    pub(in crate::analysis) fn met_by<'a>(
        &self,
        names: Names<'_>,
        walks: impl Iterator<Item = &'a Walk>,
    ) -> Vec<GuestMet> {
        if self.0.values().all(Vec::is_empty) {
            return Vec::new();
        }
        // For each node, the hooks that packets pass, with their IP version.
        let mut passed: BTreeMap<String, BTreeSet<(bool, Hook)>> = BTreeMap::new();
        let mut order = Vec::new();
        for walk in walks {
            for (nic, hooks) in visits(walk) {
                let node = names.node(nic);
                if !order.contains(&node) {
                    order.push(node.clone());
                }
                passed.entry(node).or_default().extend(hooks.iter().map(|hook| (walk.src.is_ipv4(), *hook)));
            }
        }
        order.into_iter().filter_map(|node| self.met_at(&passed[&node], node)).collect()
    }

    fn met_at(&self, passed: &BTreeSet<(bool, Hook)>, node: String) -> Option<GuestMet> {
        let (mut rules, mut hooks) = (Some(0), BTreeSet::new());
        for there in self.0.get(&node.to_lowercase())? {
            let meets = |hook: &&Hook| {
                there.ipv4 && passed.contains(&(true, **hook)) || there.ipv6 && passed.contains(&(false, **hook))
            };
            let met: Vec<_> = there.hooks.iter().filter(meets).copied().collect();
            if !met.is_empty() {
                hooks.extend(met);
                rules = rules.zip(there.count).map(|(all, more)| all + more);
            }
        }
        (!hooks.is_empty()).then(|| GuestMet { node, rules, hooks: hooks.into_iter().collect() })
    }
}

/// The interfaces whose guests a packet meets, and the hooks there: its sender's, those that forward it, its
/// receiver's.
fn visits(walk: &Walk) -> impl Iterator<Item = (NicId, &'static [Hook])> {
    let sender = (walk.legs[0].from, &[Hook::Output, Hook::Postrouting][..]);
    let forward = |leg: NicId| (leg, &[Hook::Prerouting, Hook::Forward, Hook::Postrouting][..]);
    let end = match walk.outcome {
        Outcome::Delivered(nic) | Outcome::WrongHost { nic, .. } | Outcome::WrongSource { nic, .. } => {
            Some((nic, &[Hook::Prerouting, Hook::Input][..]))
        }
        Outcome::GuestDrops(nic) | Outcome::NoHost(nic) => Some((nic, &[Hook::Prerouting][..])),
        Outcome::Dropped(_) | Outcome::NoRoute(_) | Outcome::Loop(_) => None,
    };
    [sender].into_iter().chain(walk.appliances().map(forward)).chain(end)
}

/// `fw has 6 firewall rules of its own (forward, postrouting)`.
impl fmt::Display for GuestMet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hooks = self.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
        write!(f, "{} has {} of its own ({hooks})", self.node, self.rules_in_words())
    }
}

impl GuestMet {
    fn rules_in_words(&self) -> String {
        match self.rules {
            None => "firewall rules".to_owned(),
            Some(1) => "1 firewall rule".to_owned(),
            Some(rules) => format!("{rules} firewall rules"),
        }
    }
}

impl Path {
    /// Marks each step in which one of these guests forwards as depending on the guest's own rules.
    pub(in crate::analysis) fn doubt(&mut self, met: &[GuestMet]) {
        for hop in &mut self.hops {
            let Some(guest) = met.iter().find(|guest| guest.node == hop.node) else { continue };
            for step in hop.steps.iter_mut().filter(|step| step.what == StepKind::Forward) {
                step.text = format!("{}, if its own {} let it", step.text, guest.rules_in_words());
            }
        }
    }
}
