//! What became of packets, by what counters and guests say.
//!
//! One idea: a drop is proven by its counter, an arrival by the answer, a path by the machines that saw the packets with
//! two hop limits. So nothing waits for silence: it ends when the proof is there, and fails when it never comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::expect::{Expect, Lost};
use crate::lab::NEVER;
use crate::sight::{Sight, Traffic};
use crate::stage::Stage;

/// How long the first attempt waits for its answer; each later one waits twice as long.
const FIRST_ATTEMPT: Duration = Duration::from_millis(10);
/// Dropped now and then in any scenario: guests send packets of their own accord.
const NOISE: [&str; 4] = ["Multicast", "LinkLocal", "Ipv6Control", "RoutingLoop"];

/// Packets dropped, by node and reason.
pub(crate) type Drops = BTreeMap<(String, String), u64>;

/// What counters and guests say from a moment on.
pub(crate) struct Watch {
    traffic: Traffic,
    /// The same once it has arrived: a public address has become a private one.
    arrival: Traffic,
    owner: Option<String>,
    before: Drops,
    sight: Sight,
    /// Sent all at once without an answer in view; else None.
    burst: Option<usize>,
}

impl Watch {
    pub(crate) fn begin(stage: &Stage, traffic: Traffic, owner: Option<String>) -> Self {
        let arrival = Traffic { dst: stage.private(traffic.dst), ..traffic };
        let sight = Sight::open(&stage.lab, stage.nodes());
        Self { traffic, arrival, owner, before: stage.drops(), sight, burst: None }
    }

    /// The same for packets without answers: all of them must arrive, or be dropped.
    pub(crate) fn of_burst(self, packets: usize) -> Self {
        Self { burst: Some(packets), ..self }
    }

    /// Repeats the question until what is expected is proven, or can no longer come.
    pub(crate) fn fate(
        &mut self,
        stage: &Stage,
        expect: &Expect,
        mut attempt: impl FnMut(Duration) -> Outcome<bool>,
    ) -> Outcome {
        let began = Instant::now();
        let mut wait = FIRST_ATTEMPT;
        loop {
            let answered = attempt(wait).map_err(|error| format!("{error}; {}", self.story(stage)))?;
            wait *= 2;
            self.sight.look();
            let answered = answered || self.burst.is_some_and(|packets| self.arrived() >= packets);
            let proven = match expect {
                Expect::Ok { .. } => answered,
                _ if answered => return Err(format!("it arrived; {}", self.story(stage)).into()),
                Expect::Drop { node, reason, .. } => self.rose(stage, node, reason) >= self.burst.unwrap_or(1) as u64,
                Expect::LostAt(node) => self.sight.count(node, self.traffic) > 0 && began.elapsed() > NEVER,
            };
            if proven {
                return self.details(stage, expect).map_err(|error| format!("{error}; {}", self.story(stage)).into());
            }
            if began.elapsed() > stage.patience {
                return Err(format!("that never came true; {}", self.story(stage)).into());
            }
        }
    }

    /// What must hold besides, once the fate is known.
    fn details(&self, stage: &Stage, expect: &Expect) -> Outcome {
        match expect {
            Expect::Ok { via, back, from } => {
                if let Some(from) = from {
                    self.came_from(*from)?;
                }
                self.went(via.as_deref(), self.traffic, "the packet")?;
                self.went(back.as_deref(), self.traffic.answer(), "the answer")
            }
            Expect::Drop { what, .. } => match (what, self.arrived() > 0) {
                (Lost::Request, true) => Err("the packet arrived, so the answer was dropped".into()),
                (Lost::Answer, false) => Err("the packet never arrived".into()),
                (Lost::Request, false) | (Lost::Answer, true) => Ok(()),
            },
            Expect::LostAt(_) => {
                let drops = stage.drops().into_iter().filter(|(at, count)| self.before.get(at) != Some(count));
                match drops.map(|((_, reason), _)| reason).find(|reason| !NOISE.contains(&reason.as_str())) {
                    Some(reason) => Err(format!("the fabric dropped it: {reason}").into()),
                    None => Ok(()),
                }
            }
        }
    }

    fn arrived(&self) -> usize {
        self.owner.as_ref().map_or(0, |owner| self.sight.count(owner, self.arrival))
    }

    fn came_from(&self, src: IpAddr) -> Outcome {
        let seen = Traffic { src, src_port: None, ..self.arrival };
        let count = self.owner.as_ref().map_or(0, |owner| self.sight.count(owner, seen));
        if count > 0 { Ok(()) } else { Err(format!("its receiver never saw it from {src}").into()) }
    }

    fn went(&self, expected: Option<&[String]>, traffic: Traffic, what: &str) -> Outcome {
        let seen = self.sight.forwarders(traffic);
        match expected {
            Some(expected) if expected != seen => Err(format!("{what} went {}", way(&seen)).into()),
            Some(_) | None => Ok(()),
        }
    }

    fn rose(&self, stage: &Stage, node: &str, reason: &str) -> u64 {
        let at = (node.to_owned(), reason.to_owned());
        let now = stage.drops().get(&at).copied().unwrap_or(0);
        now.saturating_sub(self.before.get(&at).copied().unwrap_or(0))
    }

    /// What did happen, for the message of a failure.
    fn story(&self, stage: &Stage) -> String {
        let now = stage.drops();
        let rose = now.iter().filter(|(at, count)| self.before.get(*at) != Some(*count));
        let rose: Vec<_> = rose.map(|((node, reason), _)| format!("drop@{node} {reason}")).collect();
        let witnesses = |traffic| self.sight.witnesses(traffic).join(" ");
        format!(
            "counted meanwhile: [{}]; the packet was seen at [{}], the answer at [{}]",
            rose.join(", "),
            witnesses(self.traffic),
            witnesses(self.traffic.answer())
        )
    }
}

pub(crate) fn way(nodes: &[String]) -> String {
    if nodes.is_empty() { "direct".to_owned() } else { format!("via {}", nodes.join(" ")) }
}
