//! All names of a flow on its path: guests and the fabric translate its addresses and ports.
//!
//! One idea: a guest's own connection tracking knows what it made of a flow, so its rules need not be read. Where only
//! the destination was translated, the source identifies the flow as well. Linux forgets a refused connection at once;
//! there the source port must do.

use crate::sys::conntrack;
use crate::sys::netns::Netns;

use super::forwarders::{Flow, Seen};

/// Names of one flow that are followed.
const MOST: usize = 16;

/// The names of a flow, the sender's own first.
pub(in crate::lab) fn names(flow: Flow, refused: bool, seen: &Seen, machines: &[(String, Netns)]) -> Vec<Flow> {
    let mut names = vec![flow];
    let mut next = 0;
    while next < names.len() && names.len() < MOST {
        let name = names[next];
        next += 1;
        let add = |names: &mut Vec<Flow>, found: Option<Flow>| {
            let new = found.filter(|other| !names.contains(other));
            names.extend(new);
            new.is_some()
        };
        for (machine, namespace) in machines {
            let alike = |other: &Flow| other.protocol == name.protocol && other.src == name.src && *other != name;
            let mut known = add(&mut names, seen.flows(machine).find(alike));
            if !seen.passed(machine, name) {
                continue;
            }
            known |= add(&mut names, translated(name, namespace));
            let by_port = |other: &Flow| {
                let same = other.protocol == name.protocol && other.src.1 == name.src.1;
                same && names.iter().all(|name| *name != *other && name.answer() != *other)
            };
            if refused && !known {
                let found = seen.flows(machine).find(by_port);
                add(&mut names, found);
            }
        }
    }
    names
}

/// What a machine sends on in place of a flow.
fn translated(flow: Flow, namespace: &Netns) -> Option<Flow> {
    let Flow { protocol, src, dst } = flow;
    let asked = conntrack::Direction { protocol, src, dst };
    // A machine that is gone, or tracks nothing, translates nothing.
    let answers = namespace.run(|| conntrack::answers(&asked)).and_then(|answers| answers).ok()??;
    Some(Flow { protocol, src: answers.src, dst: answers.dst }.answer())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::lab::tests::Place;

    fn flow(src: ([u8; 4], u16), dst: ([u8; 4], u16)) -> Flow {
        Flow::tcp((src.0.into(), src.1), (dst.0.into(), dst.1))
    }

    const CLIENT: ([u8; 4], u16) = ([10, 1, 1, 4], 4000);
    const ASKED: ([u8; 4], u16) = ([10, 1, 1, 5], 80);
    const BEYOND: ([u8; 4], u16) = ([10, 1, 1, 9], 8080);

    /// What a guest made of a flow, by what it tracks (nothing here), by the same source, or by the same port.
    #[test]
    fn a_flow_has_other_names_where_its_source_stays_or_once_it_was_refused_its_port() {
        let Some(place) = Place::new() else { return };
        let sent = flow(CLIENT, ASKED);
        let moved = flow(CLIENT, BEYOND);
        let hidden = flow(([10, 1, 1, 6], CLIENT.1), BEYOND);
        let found = |refused, saw: &[Flow]| {
            let saw: Vec<_> = saw.iter().map(|flow| ("fw", *flow, [64, 63])).collect();
            names(sent, refused, &Seen::told(&saw), &[("fw".to_owned(), place.namespace.try_clone().unwrap())])
        };
        for refused in [false, true] {
            assert_eq!(found(refused, &[sent]), [sent]);
            assert_eq!(found(refused, &[sent, moved]), [sent, moved], "its destination alone was translated");
            assert_eq!(found(refused, &[hidden]), [sent], "it never came to this machine");
        }
        assert_eq!(found(false, &[sent, hidden]), [sent], "others may use the port, too");
        assert_eq!(found(true, &[sent, hidden]), [sent, hidden]);
        let other_port = flow(([10, 1, 1, 6], 4001), BEYOND);
        assert_eq!(found(true, &[sent, other_port, sent.answer()]), [sent], "nor is its answer another name");
        let datagram = Flow::udp(hidden.src, hidden.dst);
        assert_eq!(found(true, &[sent, datagram]), [sent]);
    }
}
