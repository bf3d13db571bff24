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
