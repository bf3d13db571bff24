//! Every path that a request may take, where routes spread flows over several appliances (RSEL-06).
//!
//! One idea: only the source port of a flow is free, and ports that hash to the same members everywhere take the same
//! path. Ports are tried in order; a port is walked only where no earlier round trip stands for it.

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::analysis::query::{EPHEMERAL, Ends, Probe};
use crate::model::Verdict;
use crate::wire::Tuple;

use super::round_trip::RoundTrip;
use super::{Choice, ScratchFlows, Walk};

/// The last port that every guest may choose: in both RFC 6335's dynamic range and Linux's default range.
const LAST_PORT: u16 = 60_999;
/// Paths walked at most: 64 appliances there and 16 back.
const MAX_BRANCHES: usize = 1024;
/// A path that one in N flows takes is missed with a probability of e^-32.
const PATIENCE: usize = 32;

/// The different round trips of one question, by source port. Never empty.
#[derive(Debug)]
pub(in crate::analysis) struct Branches(Vec<RoundTrip>);

/// One of several paths, described by the machines that forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// A source port whose flow takes this path; a ping's identifier.
    pub source_port: u16,
    pub via: Vec<String>,
    /// None where the request does not arrive.
    pub via_return: Option<Vec<String>>,
    /// A drop reason's name, `GuestNotForwarding`, `NoHost`, `NoRouteOnPremises`, `Loop`, `WrongHost` or `WrongSource`.
    pub dropped: Option<String>,
}

impl Branches {
    pub(in crate::analysis) fn take(names: Names<'_>, scratch: &mut ScratchFlows, ends: &Ends, probe: Probe) -> Self {
        let flow = |port| probe.flow(ends.source_address, ends.destination.address, port);
        let take = |port| Met::of(names, RoundTrip::take(names, scratch, ends, probe, port));
        let speaks_for = |met: &Met<'_>, port| {
            let (own, other) = (flow(met.trip.source_port), flow(port));
            alike(&met.there, &own, &other) && alike(&met.back, &own.mirrored(), &other.mirrored())
        };
        Self(explore(take, speaks_for).into_iter().map(|met| met.trip).collect())
    }

    pub(in crate::analysis) fn trips(&self) -> &[RoundTrip] {
        &self.0
    }

    /// The first round trip whose request does not arrive, else whose answer does not, else the first.
    pub(in crate::analysis) fn worst(&self) -> &RoundTrip {
        let lost = self.0.iter().filter(|trip| trip.blocked().is_some());
        lost.min_by_key(|trip| trip.back.is_some()).unwrap_or(&self.0[0])
    }

    pub(in crate::analysis) fn verdict(&self) -> Verdict {
        match self.0.iter().filter(|trip| trip.blocked().is_none()).count() {
            0 => self.worst().verdict(),
            arriving if arriving == self.0.len() => Verdict::Reachable,
            _ => Verdict::Depends,
        }
    }

    /// Whether there may be more paths than were walked.
    pub(in crate::analysis) fn cut_short(&self) -> bool {
        self.0.len() == MAX_BRANCHES
    }

    /// Empty where there is only one path.
    pub(in crate::analysis) fn named(&self, names: Names<'_>) -> Vec<Branch> {
        let several = self.0.iter().filter(|_| self.0.len() > 1);
        several.map(|trip| Branch::of(names, trip)).collect()
    }
}

impl Branch {
    fn of(names: Names<'_>, trip: &RoundTrip) -> Self {
        Self {
            source_port: trip.source_port,
            via: names.via(&trip.forward),
            via_return: trip.back.as_ref().map(|walk| names.via(walk)),
            dropped: trip.blocked().and_then(|walk| walk.outcome.reason()).map(str::to_owned),
        }
    }
}

/// A round trip and what chose its members.
struct Met<'a> {
    trip: RoundTrip,
    there: Vec<Choice<'a>>,
    back: Vec<Choice<'a>>,
}

impl<'a> Met<'a> {
    fn of(names: Names<'a>, trip: RoundTrip) -> Self {
        let choices = |walk: &Walk| walk.choices(names.compiled).collect();
        let (there, back) = (choices(&trip.forward), trip.back.as_ref().map(choices).unwrap_or_default());
        Self { trip, there, back }
    }
}

/// Whether two flows hash to the same member everywhere.
pub(in crate::analysis) fn alike(choices: &[Choice<'_>], a: &Tuple, b: &Tuple) -> bool {
    choices.iter().all(|choice| choice.share(a) == choice.share(b))
}

/// Takes every source port that no earlier result stands for; stops after a long run of ports that bring nothing new.
pub(in crate::analysis) fn explore<T>(mut take: impl FnMut(u16) -> T, speaks_for: impl Fn(&T, u16) -> bool) -> Vec<T> {
    let mut taken = vec![take(EPHEMERAL)];
    let mut idle = 0;
    for port in EPHEMERAL + 1..=LAST_PORT {
        if idle == PATIENCE * taken.len() || taken.len() == MAX_BRANCHES {
            break;
        }
        if taken.iter().any(|taken| speaks_for(taken, port)) {
            idle += 1;
        } else {
            taken.push(take(port));
            idle = 0;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_ways_are_found_and_a_single_one_costs_one_walk() {
        // 256 paths; a port takes one by a scrambled number.
        let way = |port: u16| (u32::from(port).wrapping_mul(0x9e37_79b1) >> 24) as u8;
        let found = explore(|port| port, |taken, port| way(*taken) == way(port));
        assert_eq!(found.len(), 256);
        let mut walked = 0;
        assert_eq!(explore(|_| walked += 1, |(), _| true).len(), 1);
        assert_eq!(walked, 1);
    }

    #[test]
    fn too_many_ways_are_cut_short() {
        assert_eq!(explore(|port| port, |taken, port| *taken == port).len(), MAX_BRANCHES);
    }
}
