//! What a real packet did, compared with the model's answer for exactly that flow.
//!
//! One idea: both are described in the same words, so they agree where the decisions read the same, leg for leg. What a
//! guest does between two legs shows in the interface where the next leg begins.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::analysis::query::names::Names;
use crate::analysis::query::{Query, resolve};
use crate::analysis::walk::masquerade::GuestStep;
use crate::analysis::walk::narration::{Path, Step, StepKind};
use crate::analysis::walk::round_trip::RoundTrip;
use crate::analysis::walk::{Leg, ScratchFlows, Walk};
use crate::compile::Compiled;
use crate::dataplane::{self, PacketEnd, Translation};
use crate::model::{Network, Verdict};
use crate::wire::Tuple;

use super::traced_leg::{PacketWords, Sighting};

/// The path of one flow's first packet and of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retraced {
    source_port: u16,
    forward: Path,
    back: Option<Path>,
    /// The packet's addresses at the start of each leg: guests may translate them.
    there: Vec<Flow>,
    home: Vec<Flow>,
}

/// The model's answer compared with a real packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub agrees: bool,
    /// What real packets did.
    pub verdict: Verdict,
    /// The probe's source port; a ping's identifier.
    pub source_port: u16,
    /// Where model and packets differ.
    pub differences: Vec<String>,
    /// What the packets met, leg by leg.
    pub forward: Vec<Sighting>,
    #[serde(rename = "return")]
    pub back: Vec<Sighting>,
}

/// Walks the question's flow from this source port. Some of its packets were `seen` to leave these interfaces: a site's
/// kernel chooses among several equal links.
pub fn retrace(
    network: &Network,
    compiled: &Compiled,
    query: &Query,
    (source_port, seen): (u16, &[String]),
) -> Result<Retraced, String> {
    let ends = resolve(network, compiled, query)?;
    let names = Names { network, compiled };
    let trip = RoundTrip::take_by(names, &mut ScratchFlows::new(), &ends, (query.probe, source_port), seen);
    let asked = query.probe.flow(ends.source_address, ends.destination.address, source_port);
    let answer = trip.forward.last.mirrored();
    Ok(Retraced {
        source_port,
        forward: Path::tell(names, &trip.forward),
        back: trip.back.as_ref().map(|walk| Path::tell(names, walk)),
        there: flows(&trip.forward, asked),
        home: trip.back.as_ref().map_or_else(Vec::new, |walk| flows(walk, answer)),
    })
}

/// The packet's tuple on each leg, for a packet that begins as `packet`.
fn flows(walk: &Walk, mut packet: Tuple) -> Vec<Flow> {
    let begins = |leg: &Leg| {
        match leg.guest {
            GuestStep::Unchanged => {}
            GuestStep::Masked(own) => packet.src = own,
            GuestStep::Restored(to) => packet.dst = to,
        }
        let flow = Flow { src: packet.src, dst: packet.dst, ports: (packet.src_port, packet.dst_port) };
        for step in &leg.steps {
            match *step {
                dataplane::Step::Translate(Translation { end: PacketEnd::Source, to, .. }) => {
                    (packet.src, packet.src_port) = to;
                }
                dataplane::Step::Translate(Translation { end: PacketEnd::Destination, to, .. }) => {
                    (packet.dst, packet.dst_port) = to;
                }
                _ => {}
            }
        }
        flow
    };
    walk.legs.iter().map(begins).collect()
}

/// Compares it with captured packets, and with whether the probe was answered.
pub fn verify(foretold: &Retraced, seen: &[Sighting], answered: bool) -> Verification {
    let Retraced { source_port, forward, back, there, home } = foretold;
    let there = chain(there, seen, first_nic(forward));
    let home = chain(home, seen, back.as_ref().and_then(first_nic));
    let arrives = forward.delivered && back.as_ref().is_some_and(|back| back.delivered);
    let elsewhere = forward.dropped.as_deref() == Some("WrongHost");
    let word = |arrives| match (arrives, elsewhere) {
        (true, _) => Verdict::Reachable,
        (false, true) => Verdict::WrongHost,
        (false, false) => Verdict::Blocked,
    };
    let mut differences = Vec::new();
    if arrives != answered {
        let did = if answered { "was answered" } else { "was not answered" };
        differences.push(format!("the model says {}, the probe {did}", word(arrives)));
    }
    let way = difference("there", Some(forward), &there);
    // If the request took another path, its answer proves nothing; an answer with translated addresses was not
    // captured.
    let renamed = forward.hops.iter().flat_map(|hop| &hop.steps).any(|step| matches!(step.what, StepKind::Translate));
    let back = || difference("back", back.as_ref(), &home).filter(|_| !renamed && !elsewhere);
    differences.extend(way.or_else(back));
    Verification {
        agrees: differences.is_empty(),
        verdict: word(answered),
        source_port: *source_port,
        differences,
        forward: there.into_iter().cloned().collect(),
        back: home.into_iter().cloned().collect(),
    }
}

fn first_nic(path: &Path) -> Option<&str> {
    path.hops.first().map(|hop| hop.nic.as_str())
}

/// The legs of the first packet that is one of these, in order: a leg begins at the machine where the one before it
/// ended. Retries repeat legs; the first attempt is the one that met no flow record.
fn chain<'a>(flows: &[Flow], seen: &'a [Sighting], from: Option<&str>) -> Vec<&'a Sighting> {
    let is_one = |leg: &Sighting| leg.packet.as_ref().is_some_and(|packet| flows.iter().any(|flow| flow.has(packet)));
    let mut legs: Vec<&Sighting> = Vec::new();
    loop {
        let begins = |leg: &Sighting| match legs.last() {
            None => from.is_none_or(|nic| leg.nic == nic),
            Some(last) => last.path.delivered && last.path.hops.last().is_some_and(|end| end.node == leg.node),
        };
        let next = seen.iter().filter(|leg| is_one(leg));
        let mut next = next.filter(|leg| begins(leg) && legs.iter().all(|earlier| earlier.nic != leg.nic));
        match next.next() {
            Some(leg) => legs.push(leg),
            None => return legs,
        }
    }
}

/// One direction's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flow {
    src: IpAddr,
    dst: IpAddr,
    /// For a ping, its identifier as both ports.
    ports: (u16, u16),
}

impl Flow {
    fn has(&self, packet: &PacketWords) -> bool {
        let id = packet.icmp.as_ref().and_then(|icmp| icmp.id);
        let ports = packet.source_port.zip(packet.destination_port).or_else(|| id.zip(id));
        (packet.source_ip_address, packet.destination_ip_address, ports) == (self.src, self.dst, Some(self.ports))
    }
}

/// The first decision that differs from the model's.
fn difference(way: &str, foretold: Option<&Path>, taken: &[&Sighting]) -> Option<String> {
    let foretold: Vec<_> = foretold.into_iter().flat_map(decisions).collect();
    let taken: Vec<_> = taken.iter().flat_map(|leg| decisions(&leg.path)).collect();
    let same = foretold.iter().zip(&taken).take_while(|(foretold, taken)| foretold == taken).count();
    let words = |(nic, step): &(&str, &Step)| format!("at {nic} `{}` [{}]", step.text, step.object);
    match (foretold.get(same), taken.get(same)) {
        (None, None) => None,
        (Some(foretold), Some(taken)) => {
            Some(format!("{way}: the model says {}, the packet met {}", words(foretold), words(taken)))
        }
        (Some(foretold), None) => {
            Some(format!("{way}: the model goes on {}, but the packet was not seen there", words(foretold)))
        }
        (None, Some(taken)) => Some(format!("{way}: the model ends, but the packet went on {}", words(taken))),
    }
}

/// The fabric's decisions, and where they were taken; guests' decisions are left out.
fn decisions(path: &Path) -> impl Iterator<Item = (&str, &Step)> {
    let by_guest = matches!(
        path.dropped.as_deref(),
        Some("GuestNotForwarding" | "NoHost" | "NoRouteOnPremises" | "Loop" | "WrongHost" | "WrongSource")
    );
    let steps = path.hops.iter().flat_map(|hop| hop.steps.iter().map(|step| (hop.nic.as_str(), step)));
    steps.filter(move |(_, step)| match step.what {
        StepKind::Filter | StepKind::Route | StepKind::Peering | StepKind::Balance => true,
        StepKind::Drop => !by_guest,
        // The translated port is chosen at random.
        StepKind::Translate | StepKind::Send | StepKind::Arrive | StepKind::Forward | StepKind::Deliver => false,
    })
}
