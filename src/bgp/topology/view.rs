//! What a router's sessions and routes look like to people: Azure's fields (BGP-15).

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bgp::{Path, Refusal, Source, Speaker, State};
pub use crate::model::PeerState;

use super::{Node, Peer};

/// Of routes that Azure's listing shows as used; iBGP's have none.
pub(super) const WEIGHT: u32 = 32_768;

/// A session, as `getBgpPeerStatus` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRow {
    /// The router that has the session.
    pub node: String,
    /// What leads to the peer.
    pub connection: String,
    pub local_address: IpAddr,
    pub neighbor: IpAddr,
    pub asn: u32,
    pub state: PeerState,
    /// Days, hours, minutes and seconds: `1.02:03:04`.
    pub connected_duration: String,
    pub routes_received: u32,
    /// None between an ExpressRoute gateway and an edge: inside Azure routes are worked out, and no message is sent.
    pub messages_sent: Option<u64>,
    pub messages_received: Option<u64>,
    /// Why there is no session, or the one before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A route, as `getLearnedRoutes` and `getAdvertisedRoutes` have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRow {
    pub node: String,
    pub local_address: IpAddr,
    pub network: IpNet,
    /// None of what is the router's own.
    pub next_hop: Option<IpAddr>,
    pub source_peer: IpAddr,
    pub origin: Origin,
    /// AS numbers joined by `-`.
    pub as_path: String,
    pub weight: u32,
    /// Why it is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    Network,
    EBgp,
    IBgp,
}

/// A router's sessions.
pub fn peer_rows(node: &Node, speaker: Option<&Speaker>, now: Instant) -> Vec<PeerRow> {
    node.peers.iter().map(|peer| peer_row(node, peer, speaker, now)).collect()
}

fn peer_row(node: &Node, peer: &Peer, speaker: Option<&Speaker>, now: Instant) -> PeerRow {
    let status = speaker.and_then(|speaker| speaker.status(peer.id));
    let connected = status.as_ref().and_then(|status| status.established_since);
    PeerRow {
        node: node.name.clone(),
        connection: peer.over.clone(),
        local_address: peer.local,
        neighbor: peer.remote,
        asn: peer.config.asn.0,
        state: match &status {
            None if node.foreign => PeerState::Unknown,
            None => PeerState::Connecting,
            Some(status) if status.stopped => PeerState::Stopped,
            Some(status) => match status.state {
                State::Idle => PeerState::Idle,
                State::Active | State::Connect | State::OpenSent | State::OpenConfirm => PeerState::Connecting,
                State::Established => PeerState::Connected,
            },
        },
        connected_duration: connected.map_or_else(String::new, |since| duration(now.saturating_duration_since(since))),
        routes_received: speaker.map_or(0, |speaker| used(speaker, peer)),
        messages_sent: Some(status.as_ref().map_or(0, |status| status.counters.messages_sent)),
        messages_received: Some(status.as_ref().map_or(0, |status| status.counters.messages_received)),
        last_error: one_number(node, peer)
            .or_else(|| status.and_then(|status| status.last_ending).map(|ending| ending.to_string())),
    }
}

/// How many of a peer's routes are not refused.
fn used(speaker: &Speaker, peer: &Peer) -> u32 {
    let routes = speaker.learned(peer.id).filter(|(_, _, refusal)| refusal.is_none());
    u32::try_from(routes.count()).unwrap_or(u32::MAX)
}

/// A session of a router that is not ours, by what the other end knows of it.
pub fn seen_from_the_other_end(foreign: &Node, peer: &Peer, far: (&Node, &Speaker), now: Instant) -> Option<PeerRow> {
    let (node, speaker) = far;
    let [local, remote] = peer.there;
    let own = node.peers.iter().find(|own| own.there == [remote, local])?;
    let known = peer_row(node, own, Some(speaker), now);
    Some(PeerRow {
        state: known.state,
        connected_duration: known.connected_duration,
        routes_received: u32::try_from(speaker.advertised(own.id).count()).unwrap_or(u32::MAX),
        messages_sent: known.messages_received,
        messages_received: known.messages_sent,
        last_error: known.last_error,
        ..peer_row(foreign, peer, None, now)
    })
}

/// Two systems with the same AS number have no session (BGP-13), even if another number is configured for the other.
fn one_number(node: &Node, peer: &Peer) -> Option<String> {
    let asn = node.asn;
    let why = || format!("both ends have AS number {asn}: give one of them another (BGP-13)");
    (peer.config.external && peer.config.asn == asn).then(why)
}

fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// A router's routes: its own networks and static routes, and the learned routes that it uses.
pub fn learned_rows(node: &Node, speaker: &Speaker) -> Vec<RouteRow> {
    let own = speaker.prefixes().flat_map(|prefix| speaker.best(prefix).map(move |path| (prefix, path)));
    // At Azure's borders these are learned from routers inside.
    let own = own.filter(|(_, path)| !matches!(path.source, Source::Peer(_)) && !node.is_border());
    let own = own.map(|(prefix, path)| route_row(node, node.address, node.address, *prefix, path));
    let learned = node.peers.iter().flat_map(|peer| {
        let used = speaker.learned(peer.id).filter(|(_, _, refusal)| refusal.is_none());
        used.map(|(prefix, path, _)| route_row(node, peer.local, peer.remote, *prefix, path))
    });
    let mut rows: Vec<_> = own.chain(learned).collect();
    rows.sort();
    rows
}

/// The learned routes that a router does not use, with the reason.
pub fn refused_rows(node: &Node, speaker: &Speaker) -> Vec<RouteRow> {
    let refused = node.peers.iter().flat_map(|peer| {
        let refused = speaker.learned(peer.id).filter_map(|(prefix, path, refusal)| Some((prefix, path, refusal?)));
        refused.map(|(prefix, path, refusal)| RouteRow {
            refused: Some(why(refusal).to_owned()),
            ..route_row(node, peer.local, peer.remote, *prefix, path)
        })
    });
    let mut rows: Vec<_> = refused.collect();
    rows.sort();
    rows
}

const fn why(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OwnSpace => "equal to or inside a range of the gateway's virtual networks (BGP-11)",
        Refusal::OwnAsn => "the gateway's own AS number is in its path (BGP-13)",
        Refusal::FirstAsn => "its path does not begin with the peer's AS number",
        Refusal::OwnNextHop => "its next hop is the gateway itself",
    }
}

fn route_row(node: &Node, local: IpAddr, peer: IpAddr, network: IpNet, path: &Path) -> RouteRow {
    let origin = match path.source {
        Source::Network | Source::Static => Origin::Network,
        Source::Peer(_) if path.internal => Origin::IBgp,
        Source::Peer(_) => Origin::EBgp,
    };
    RouteRow {
        node: node.name.clone(),
        local_address: local,
        network,
        next_hop: path.next_hop,
        source_peer: peer,
        origin,
        as_path: path.attributes.as_path.to_string(),
        weight: match origin {
            Origin::Network | Origin::EBgp => WEIGHT,
            Origin::IBgp => 0,
        },
        refused: None,
    }
}

/// The routes that a router has advertised to its peers, or to one of them.
pub fn advertised_rows(node: &Node, speaker: &Speaker, to: Option<IpAddr>) -> Vec<RouteRow> {
    let peers = node.peers.iter().filter(|peer| to.is_none_or(|to| peer.remote == to));
    let advertised = peers.flat_map(|peer| {
        speaker.advertised(peer.id).map(|(prefix, route)| RouteRow {
            node: node.name.clone(),
            local_address: peer.local,
            network: speaker.name_to(peer.id, *prefix),
            next_hop: Some(route.next_hop),
            source_peer: peer.remote,
            origin: if route.attributes.as_path.asns().all(|asn| asn == node.asn) {
                Origin::Network
            } else {
                Origin::EBgp
            },
            as_path: route.attributes.as_path.to_string(),
            weight: 0,
            refused: None,
        })
    });
    let mut rows: Vec<_> = advertised.collect();
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_has_days_from_the_first_on() {
        let told = [0, 3_661, 86_399, 86_400, 90_061].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(told, ["00:00:00", "01:01:01", "23:59:59", "1.00:00:00", "1.01:01:01"]);
    }
}
