//! Tests of BGP sessions (`bgp`): what the routers of the file would say to each other, and what those of the lab have said.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use crate::bgp::topology::{Node, PeerRow, RouteRow, learned_rows, peer_rows};
use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::daemon::api::client;
use crate::daemon::api::protocol::{BgpQuestion, BgpTopic, Request, Response};
use crate::lab::Record;
use crate::model::{BgpPeer, BgpTest, PeerState, TestCase};

use super::said::{Answers, Foretold, Said};
use super::session::Session;

/// The ends of a session: the router's name, and the peer's address.
type Sessions = BTreeSet<(String, IpAddr)>;

impl Session<'_> {
    pub(super) fn bgp(&self, case: &TestCase, wanted: &BgpTest) -> Result<Answers, Failure> {
        let sessions = self.sessions(wanted);
        let model = if case.packets_only {
            Foretold::Unknown("only the lab is to be asked".to_owned())
        } else {
            self.foretold_sessions(wanted, &sessions)
        };
        let seen = match self.ground {
            None => None,
            Some(lab) => {
                let Response::BgpPeers(peers) = ask(lab, wanted, BgpTopic::Peers)? else {
                    return Ok(refused(wanted, model));
                };
                let learned = match ask(lab, wanted, BgpTopic::Learned)? {
                    Response::BgpRoutes(routes) => routes,
                    other => return Err(unexpected(&other)),
                };
                Some(Ok(Said::of_sessions(wanted, &sessions, &peers, &learned)))
            }
        };
        Ok(Answers { expected: expected(wanted), model, seen })
    }

    /// The sessions that the test is about.
    fn sessions(&self, wanted: &BgpTest) -> Sessions {
        let nodes: Vec<&Node> = self.model.converged().nodes().iter().map(|(node, _)| node).collect();
        let is = |name: &str, wanted: &str| {
            name.eq_ignore_ascii_case(wanted)
                || nodes.iter().any(|node| node.name.eq_ignore_ascii_case(name) && node.is(wanted))
        };
        let own = nodes.iter().filter(|node| node.is(&wanted.on));
        let peers = own.flat_map(|node| node.peers.iter().map(move |peer| (node, peer)));
        let meant = peers.filter(|(_, peer)| match &wanted.peer {
            BgpPeer::Address(address) => peer.remote == *address,
            BgpPeer::Name(name) => {
                peer.over.eq_ignore_ascii_case(name) || peer.node.as_ref().is_some_and(|node| is(node, name))
            }
        });
        meant.map(|(node, peer)| (node.name.clone(), peer.remote)).collect()
    }

    fn foretold_sessions(&self, wanted: &BgpTest, sessions: &Sessions) -> Foretold {
        let now = Instant::now();
        let nodes = self.model.converged().nodes().iter().filter(|(node, _)| node.is(&wanted.on));
        let (mut peers, mut learned) = (Vec::new(), Vec::new());
        for (node, speaker) in nodes {
            if node.foreign {
                return Foretold::Unknown(format!("a program of its own speaks for {}", node.name));
            }
            peers.extend(peer_rows(node, Some(speaker), now));
            learned.extend(learned_rows(node, speaker));
        }
        Foretold::Says(Said::of_sessions(wanted, sessions, &peers, &learned))
    }
}

fn ask(lab: &Record, wanted: &BgpTest, what: BgpTopic) -> Result<Response, Failure> {
    Ok(client::ask(&lab.socket, &Request::Bgp(BgpQuestion { what, node: Some(wanted.on.clone()), peer: None }))?)
}

fn refused(wanted: &BgpTest, model: Foretold) -> Answers {
    Answers { expected: expected(wanted), model, seen: Some(Err("the daemon lists no sessions".to_owned())) }
}

fn expected(wanted: &BgpTest) -> String {
    let list = |ranges: &[_]| ranges.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let with = if wanted.prefixes.is_empty() { String::new() } else { format!(" with {}", list(&wanted.prefixes)) };
    let without = if wanted.absent.is_empty() { String::new() } else { format!(" without {}", list(&wanted.absent)) };
    format!("{}{with}{without}", wanted.state)
}

impl Said {
    fn of_sessions(wanted: &BgpTest, sessions: &Sessions, peers: &[PeerRow], learned: &[RouteRow]) -> Self {
        let is_meant = |node: &str, peer: IpAddr| {
            sessions.iter().any(|(name, address)| name.eq_ignore_ascii_case(node) && *address == peer)
        };
        let rows: Vec<_> = peers.iter().filter(|row| is_meant(&row.node, row.neighbor)).collect();
        let told = |range: &_| learned.iter().any(|row| row.network == *range && is_meant(&row.node, row.source_peer));
        let mut states: Vec<PeerState> = rows.iter().map(|row| row.state).collect();
        states.sort_by_key(ToString::to_string);
        states.dedup();
        let (missing, there): (Vec<_>, Vec<_>) = (
            wanted.prefixes.iter().filter(|range| !told(range)).collect(),
            wanted.absent.iter().filter(|range| told(range)).collect(),
        );
        let holds = states == [wanted.state] && missing.is_empty() && there.is_empty();
        let state = match &states[..] {
            [] => "no session".to_owned(),
            states => states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
        };
        let error = rows.iter().filter(|row| row.state != wanted.state).find_map(|row| row.last_error.as_ref());
        let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
        let missing = missing.iter().map(|range| format!("not {range}"));
        let told_of = missing.chain(there.iter().map(ToString::to_string));
        let text = std::iter::once(state).chain(told_of).collect::<Vec<_>>().join(", ");
        let asked = wanted.prefixes.iter().chain(&wanted.absent).map(|range| format!("{range} {}", told(range)));
        // A session that is not up goes through several states.
        let up = !states.is_empty() && states.iter().all(|state| *state == PeerState::Connected);
        let fact = std::iter::once(up.to_string()).chain(asked).collect::<Vec<_>>().join(", ");
        Self { holds, text: format!("{text}{error}"), fact: Some(fact) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn peer(node: &str, neighbor: &str, state: PeerState, error: Option<&str>) -> PeerRow {
        serde_json::from_value(json!({
            "node": node, "connection": "c", "localAddress": "10.0.0.1", "neighbor": neighbor, "asn": 65010, "state": state,
            "connectedDuration": "", "routesReceived": 0, "messagesSent": 0, "messagesReceived": 0, "lastError": error
        }))
        .unwrap()
    }

    fn route(node: &str, peer: &str, network: &str) -> RouteRow {
        serde_json::from_value(json!({
            "node": node, "localAddress": "10.0.0.1", "network": network, "nextHop": null, "sourcePeer": peer,
            "origin": "EBgp", "asPath": "65010", "weight": 0
        }))
        .unwrap()
    }

    /// Sessions of one router with two peers are one question: all must be as the test says.
    #[test]
    fn sessions_are_said_to_be_up_only_where_all_are() {
        use PeerState::{Connected, Connecting, Idle};
        let sessions: Sessions = ["10.0.0.8", "10.0.0.9"].map(|peer| ("gw".to_owned(), peer.parse().unwrap())).into();
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let wanted = |state, prefixes: &[&str], absent: &[&str]| BgpTest {
            on: "gw".to_owned(),
            peer: BgpPeer::Name("c".to_owned()),
            state,
            prefixes: nets(prefixes),
            absent: nets(absent),
        };
        let said = |wanted: &BgpTest, states: &[PeerState], routes: &[RouteRow]| {
            let peers = states.iter().zip(["10.0.0.8", "10.0.0.9"]);
            let mut peers: Vec<_> = peers
                .map(|(state, peer_)| peer("GW", peer_, *state, (*state == Idle).then_some("it is away")))
                .collect();
            // A session of another router, and one with another peer: the test names neither.
            peers.extend([peer("er", "10.0.0.8", Idle, Some("no")), peer("gw", "10.0.0.7", Idle, Some("no"))]);
            let Said { holds, text, fact } = Said::of_sessions(wanted, &sessions, &peers, routes);
            (holds, text, fact.unwrap_or_default())
        };
        let is = |holds: bool, text: &str, fact: &str| (holds, text.to_owned(), fact.to_owned());
        let up = wanted(Connected, &[], &[]);
        assert_eq!(said(&up, &[Connected, Connected], &[]), is(true, "Connected", "true"));
        assert_eq!(said(&up, &[Connected, Idle], &[]), is(false, "Connected and Idle (it is away)", "false"));
        assert_eq!(said(&up, &[Idle, Connecting], &[]), is(false, "Connecting and Idle (it is away)", "false"));
        assert_eq!(said(&up, &[], &[]), is(false, "no session", "false"));
        let down = wanted(Idle, &[], &[]);
        assert_eq!(said(&down, &[Idle, Idle], &[]), is(true, "Idle", "false"));

        let (one, two) = ("10.1.0.0/16", "10.2.0.0/16");
        let with = wanted(Connected, &[one], &[two]);
        assert_eq!(expected(&with), "Connected with 10.1.0.0/16 without 10.2.0.0/16");
        assert_eq!(expected(&up), "Connected");
        let both = [Connected; 2];
        let fine = [route("gw", "10.0.0.9", one), route("gw", "10.0.0.7", two), route("er", "10.0.0.8", two)];
        assert_eq!(
            said(&with, &both, &fine),
            is(true, "Connected", "true, 10.1.0.0/16 true, 10.2.0.0/16 false"),
            "others learn that too"
        );
        assert_eq!(
            said(&with, &both, &[route("gw", "10.0.0.8", two)]),
            is(false, "Connected, not 10.1.0.0/16, 10.2.0.0/16", "true, 10.1.0.0/16 false, 10.2.0.0/16 true")
        );
    }
}
