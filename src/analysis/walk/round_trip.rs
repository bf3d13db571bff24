//! A packet's path and its answer's, over the same flow records.

use crate::analysis::query::names::{Names, holds};
use crate::analysis::query::{Ends, Meant, Probe};
use crate::model::{Peering, Verdict, VnetIx};
use crate::wire::Tuple;

use super::masquerade::Masks;
use super::{Outcome, ScratchFlows, Walk, answering, outside};

/// The flow to walk: its ends, and the interfaces where its packets were seen, if a real one was traced.
struct WalkedFlow<'a> {
    ends: &'a Ends,
    /// The 5-tuple as the asking guest knows it.
    flow: Tuple,
    seen: &'a [String],
}

/// A packet's path, and its answer's path if the packet arrives.
#[derive(Debug)]
pub(in crate::analysis) struct RoundTrip {
    /// The source port that the asking guest chose; a ping's identifier.
    pub(in crate::analysis) source_port: u16,
    pub(in crate::analysis) forward: Walk,
    /// None where the packet does not arrive.
    pub(in crate::analysis) back: Option<Walk>,
}

impl RoundTrip {
    /// Walks a new flow: clears the records first.
    pub(in crate::analysis) fn take(
        names: Names<'_>,
        scratch: &mut ScratchFlows,
        ends: &Ends,
        probe: Probe,
        source_port: u16,
    ) -> Self {
        Self::take_by(names, scratch, ends, (probe, source_port), &[])
    }

    /// The same where packets were `seen` to leave these interfaces: a site may have several equal links.
    pub(in crate::analysis) fn take_by(
        names: Names<'_>,
        scratch: &mut ScratchFlows,
        ends: &Ends,
        (probe, source_port): (Probe, u16),
        seen: &[String],
    ) -> Self {
        scratch.clear();
        let (src, dst) = (ends.source_address, ends.destination.address);
        let answer = |asked: &Tuple| probe.at(asked.dst_port).answer(asked.src, asked.dst, asked.src_port);
        let walked = WalkedFlow { ends, flow: probe.flow(src, dst, source_port), seen };
        Self::of(names, scratch, &walked, &probe.request(src, dst, source_port), answer)
    }

    /// Walks a packet of a flow that may have records already, and one that answers it.
    pub(in crate::analysis) fn go_on(
        names: Names<'_>,
        scratch: &ScratchFlows,
        ends: &Ends,
        probe: Probe,
        source_port: u16,
    ) -> Self {
        let (src, dst) = (ends.source_address, ends.destination.address);
        let answer = |asked: &Tuple| probe.at(asked.dst_port).onward_answer(asked.src, asked.dst, asked.src_port);
        let walked = WalkedFlow { ends, flow: probe.flow(src, dst, source_port), seen: &[] };
        Self::of(names, scratch, &walked, &probe.onward(src, dst, source_port), answer)
    }

    fn of(
        names: Names<'_>,
        scratch: &ScratchFlows,
        walked: &WalkedFlow<'_>,
        request: &[u8],
        answer: impl Fn(&Tuple) -> Vec<u8>,
    ) -> Self {
        let Names { network, compiled } = names;
        let WalkedFlow { ends, flow, seen } = *walked;
        let mut masks = Masks::default();
        let from = outside::taken(names, ends.source, ends.destination.address, seen);
        let forward = Walk::take(names, scratch, &mut masks, from, request).meant_for(names, ends.destination.meant);
        let back = if let Outcome::Delivered(arrived) = forward.outcome {
            // As the answering machine sees it: the other end's address may have been translated on the path.
            let asked = &forward.last;
            let from = outside::taken(names, answering(network, compiled, arrived, asked.src), asked.src, seen);
            let back = Walk::take(names, scratch, &mut masks, from, &answer(asked));
            Some(back.meant_for(names, Meant::Machine(ends.source)).answering(&flow))
        } else {
            None
        };
        Self { source_port: flow.src_port, forward, back }
    }

    /// The machines that forward, first of the request, then of the answer; None if both directions pass the same ones.
    pub(in crate::analysis) fn asymmetry(&self, names: Names<'_>) -> Option<(Vec<String>, Vec<String>)> {
        let (there, back) = (names.via(&self.forward), names.via(self.back.as_ref()?));
        (!there.iter().eq(back.iter().rev())).then_some((there, back))
    }

    pub(in crate::analysis) fn verdict(&self) -> Verdict {
        match self.blocked().map(|walk| &walk.outcome) {
            None => Verdict::Reachable,
            Some(Outcome::WrongHost { .. }) => Verdict::WrongHost,
            Some(_) => Verdict::Blocked,
        }
    }

    /// The first walk that does not arrive.
    pub(in crate::analysis) fn blocked(&self) -> Option<&Walk> {
        self.walks().find(|walk| !walk.delivered())
    }

    pub(in crate::analysis) fn walks(&self) -> impl Iterator<Item = &Walk> {
        [Some(&self.forward), self.back.as_ref()].into_iter().flatten()
    }
}

/// The links over which a packet enters a VNet although its source is not in the peered one: an appliance forwarded it
/// (PEER-23). Each link comes with the entered VNet, which owns it (PEER-24). What a gateway forwards needs no such
/// link (PEER-25).
pub(in crate::analysis) fn foreign_links<'a>(
    names: Names<'a>,
    walk: &Walk,
) -> impl Iterator<Item = (VnetIx, &'a Peering)> {
    walk.legs.iter().filter(|leg| leg.gateway().is_none()).filter_map(move |leg| {
        let (from, into) = leg.crossing()?;
        let link = names.link(into, from)?;
        let known = link.remote_address_space.iter().any(|prefix| prefix.contains(&leg.src));
        // A range that the link does not know yet is still the peer's (PEER-18).
        let began_there = holds(names.network.vnet(from), leg.src);
        (!known && !began_there).then_some((into, link))
    })
}
