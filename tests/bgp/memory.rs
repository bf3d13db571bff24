//! Speakers joined in memory: a clock that jumps to the next thing to do, and byte pipes for TCP.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vnet::bgp::{
    Asn, Event, Families, NextHops, Origination, Path, PeerConfig, PeerId, Policy, Side, Source, Speaker, State,
    Transport,
};

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The two ends of a link: a node and its number for the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    ends: [(usize, PeerId); 2],
    /// The connection that either end opened, if there is one.
    open: [bool; 2],
    /// Nothing passes, and no end gets an error.
    cut: bool,
}

pub(crate) struct World {
    pub(crate) nodes: Vec<Speaker>,
    pub(crate) links: Vec<Link>,
    pub(crate) now: Instant,
    /// Bytes that pass in one go.
    pub(crate) chunk: usize,
    pub(crate) events: Vec<(usize, Event)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { nodes: vec![], links: vec![], now, chunk: 1000, events: vec![] }
    }

    /// Its identifier is 10.255.0.n, n its place plus one.
    pub(crate) fn node(&mut self, asn: u32) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Speaker::new(Asn(asn), address(place), place as u64));
        place
    }

    /// What `node` has to know of `peer`: its address is its identifier, both families.
    pub(crate) fn peer_config(node: usize, asn: u32) -> PeerConfig {
        let mut policy = Policy::default();
        let v6 = format!("fd00::{}", node + 1).parse().unwrap();
        policy.export.next_hops = NextHops { ipv4: Some(address(node)), ipv6: Some(v6) };
        PeerConfig { families: Families::BOTH, policy, ..PeerConfig::new(Asn(asn)) }
    }

    /// Joins two nodes; each numbers the other by its place.
    pub(crate) fn link(&mut self, a: (usize, PeerConfig), b: (usize, PeerConfig)) -> usize {
        let ids = [PeerId(b.0 as u32), PeerId(a.0 as u32)];
        let ends = [(a.0, ids[0]), (b.0, ids[1])];
        self.nodes[a.0].add_peer(ids[0], a.1, self.now);
        self.nodes[b.0].add_peer(ids[1], b.1, self.now);
        self.links.push(Link { ends, open: [false; 2], cut: false });
        self.links.len() - 1
    }

    /// Joins two nodes with ordinary configurations.
    pub(crate) fn join(&mut self, a: (usize, u32), b: (usize, u32)) -> usize {
        let (towards_b, towards_a) = (Self::peer_config(a.0, b.1), Self::peer_config(b.0, a.1));
        self.link((a.0, towards_b), (b.0, towards_a))
    }

    pub(crate) fn network(&mut self, node: usize, prefix: &str) {
        let now = self.now;
        self.nodes[node].originate(net(prefix), Source::Network, Origination::default(), now);
    }

    pub(crate) fn cut(&mut self, link: usize, cut: bool) {
        self.links[link].cut = cut;
    }

    /// TCP is reset at both ends.
    pub(crate) fn reset(&mut self, link: usize) {
        let now = self.now;
        let Link { ends, open, .. } = &mut self.links[link];
        for (opener, open) in open.iter_mut().enumerate().filter(|(_, open)| **open) {
            *open = false;
            for (end, (node, id)) in ends.iter().enumerate() {
                self.nodes[*node].handle_closed(*id, side(opener, end), now);
            }
        }
    }

    /// Lets everything happen that happens within so much time.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let next = self.nodes.iter().filter_map(Speaker::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    pub(crate) fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    /// Lets everything happen that takes no time.
    pub(crate) fn settle(&mut self) {
        let mut steps = 0;
        while (0..self.links.len()).map(|link| self.step(link)).fold(false, |any, moved| any | moved) {
            steps += 1;
            assert!(steps < 1_000_000, "they never stop talking");
        }
        for (place, node) in self.nodes.iter_mut().enumerate() {
            self.events.extend(std::iter::from_fn(|| node.poll_event()).map(|event| (place, event)));
        }
    }

    /// Whether something moved.
    fn step(&mut self, link: usize) -> bool {
        let mut moved = false;
        for opener in 0..2 {
            if !self.links[link].cut {
                moved |=
                    if self.links[link].open[opener] { self.pass(link, opener) } else { self.connect(link, opener) };
            }
        }
        moved
    }

    fn connect(&mut self, link: usize, opener: usize) -> bool {
        let Link { ends, open, .. } = &mut self.links[link];
        let ((node, id), (peer, peer_id)) = (ends[opener], ends[1 - opener]);
        if self.nodes[node].transport(id, Side::Local) != Transport::Connecting {
            return false;
        }
        if !self.nodes[peer].handle_connected(peer_id, Side::Remote, self.now) {
            self.nodes[node].handle_closed(id, Side::Local, self.now);
        } else if self.nodes[node].handle_connected(id, Side::Local, self.now) {
            open[opener] = true;
        } else {
            self.nodes[peer].handle_closed(peer_id, Side::Remote, self.now);
        }
        true
    }

    fn pass(&mut self, link: usize, opener: usize) -> bool {
        let Link { ends, .. } = self.links[link];
        let mut moved = false;
        for from in 0..2 {
            let ((node, id), (peer, peer_id)) = (ends[from], ends[1 - from]);
            let (out, into) = (side(opener, from), side(opener, 1 - from));
            let bytes = self.nodes[node].outgoing(id, out).to_vec();
            let bytes = &bytes[..bytes.len().min(self.chunk)];
            if !bytes.is_empty() {
                self.nodes[node].handle_sent(id, out, bytes.len(), self.now);
                self.nodes[peer].handle_bytes(peer_id, into, bytes, self.now);
                moved = true;
            }
        }
        let gone = |end: usize| {
            let (node, id) = ends[end];
            let (transport, out) = (self.nodes[node].transport(id, side(opener, end)), side(opener, end));
            transport == Transport::Absent
                || transport == Transport::Closing && self.nodes[node].outgoing(id, out).is_empty()
        };
        if gone(0) || gone(1) {
            self.links[link].open[opener] = false;
            for (end, (node, id)) in ends.into_iter().enumerate() {
                self.nodes[node].handle_closed(id, side(opener, end), self.now);
            }
            moved = true;
        }
        moved
    }

    /// Of the session as `node` sees it.
    pub(crate) fn state(&self, node: usize, peer: usize) -> State {
        self.nodes[node].status(PeerId(peer as u32)).unwrap().state
    }

    pub(crate) fn best(&self, node: usize, prefix: &str) -> Vec<Path> {
        self.nodes[node].best(&net(prefix)).cloned().collect()
    }

    /// The AS path of the best way, as Azure prints it.
    pub(crate) fn as_path(&self, node: usize, prefix: &str) -> Option<String> {
        self.best(node, prefix).first().map(|path| path.attributes.as_path.to_string())
    }

    /// The peer that a node would send packets to.
    pub(crate) fn via(&self, node: usize, prefix: &str) -> Vec<usize> {
        let mut via: Vec<_> = self
            .best(node, prefix)
            .iter()
            .map(|path| match path.source {
                Source::Peer(PeerId(peer)) => peer as usize,
                Source::Network | Source::Static => node,
            })
            .collect();
        via.sort_unstable();
        via
    }
}

pub(crate) fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, 0, node as u8 + 1)
}

fn side(opener: usize, end: usize) -> Side {
    if opener == end { Side::Local } else { Side::Remote }
}
