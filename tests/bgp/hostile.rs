//! A peer with a session that sends damaged UPDATEs, as many as it likes, and again in each new session (RFC 7606): what
//! it may fill, what others hear of it, and that nothing of it is left.

use std::collections::BTreeSet;

use bytes::BytesMut;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use vnet::bgp::message::{self, Capabilities, Context, Message, Open, write_announcements};
use vnet::bgp::{Asn, Attributes, Families, PeerConfig, PeerId, Side, State, Transport};

use crate::codec::{EXTERNAL, messages};
use crate::memory::World;
use crate::sample;

const ROUTER: usize = 0;
const GOOD: usize = 1;
const HOSTILE: PeerId = PeerId(3);
/// A neighbour that writes AS numbers with two bytes.
const OLD: PeerId = PeerId(4);
const OLD_CONTEXT: Context = Context { four_byte_asn: false, ..EXTERNAL };
const PREFIXES_MAX: u32 = 1_000;

/// A router, AS 65001, with a good neighbour, an old one and a hostile one, AS 65002 to 65004.
struct Scene {
    world: World,
    /// What the old neighbour knows.
    known: BTreeSet<IpNet>,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        world.node(65001);
        world.node(65002);
        world.join((ROUTER, 65001), (GOOD, 65002));
        world.network(GOOD, "192.0.2.0/24");
        world.run_secs(5);
        for (id, asn) in [(HOSTILE, 65003), (OLD, 65004)] {
            let mut config = PeerConfig { passive: true, ..World::peer_config(ROUTER, asn) };
            config.policy.import.prefixes_max = Some(PREFIXES_MAX);
            world.nodes[ROUTER].add_peer(id, config, world.now);
        }
        let mut scene = Self { world, known: BTreeSet::new() };
        scene.connect(OLD);
        scene
    }

    fn connect(&mut self, id: PeerId) -> bool {
        let (router, now) = (&mut self.world.nodes[ROUTER], self.world.now);
        let capabilities = Capabilities {
            families: (id == HOSTILE).then_some(Families::BOTH),
            route_refresh: true,
            four_byte_asn: id == HOSTILE,
        };
        let mut said = BytesMut::new();
        let identifier = [10, 9, 9, id.0 as u8].into();
        Open { asn: Asn(65000 + id.0), hold_time: 0, identifier, capabilities }.write(&mut said);
        message::write_keepalive(&mut said);
        let welcome = router.handle_connected(id, Side::Remote, now);
        router.handle_bytes(id, Side::Remote, &said, now);
        welcome
    }

    /// Sends a message in a session that is up, after any end of the one before.
    fn say(&mut self, bytes: &[u8]) {
        for _ in 0..100 {
            if self.world.nodes[ROUTER].transport(HOSTILE, Side::Remote) == Transport::Open || self.connect(HOSTILE) {
                break;
            }
            self.world.run_secs(10);
        }
        let (router, now) = (&mut self.world.nodes[ROUTER], self.world.now);
        assert_eq!(router.status(HOSTILE).unwrap().state, State::Established, "it is let in in the end");
        router.handle_bytes(HOSTILE, Side::Remote, bytes, now);
        let waiting = router.outgoing(HOSTILE, Side::Remote).len();
        router.handle_sent(HOSTILE, Side::Remote, waiting, now);
        if router.transport(HOSTILE, Side::Remote) != Transport::Open {
            self.hang_up();
        }
        self.others_hear();
    }

    fn hang_up(&mut self) {
        let now = self.world.now;
        self.world.nodes[ROUTER].handle_closed(HOSTILE, Side::Remote, now);
    }

    /// What others are told has no fault; the good neighbour counts its own.
    fn others_hear(&mut self) {
        self.world.settle();
        loop {
            let (router, now) = (&mut self.world.nodes[ROUTER], self.world.now);
            let out = router.outgoing(OLD, Side::Remote).to_vec();
            if out.is_empty() {
                break;
            }
            router.handle_sent(OLD, Side::Remote, out.len(), now);
            for message in messages(&out, OLD_CONTEXT) {
                let Message::Update(update) = message else { continue };
                assert_eq!(update.faults, [], "{update:?}");
                self.known.retain(|prefix| !update.withdrawn.contains(prefix));
                self.known.extend(update.announced.iter().flat_map(|reach| &reach.prefixes));
            }
        }
    }

    fn check(&self) {
        let router = &self.world.nodes[ROUTER];
        let status = router.status(HOSTILE).unwrap();
        assert!(status.routes_received <= PREFIXES_MAX, "{status:?}");
        assert!(router.prefixes().count() <= 1 + PREFIXES_MAX as usize);
        for (node, peer) in [(ROUTER, GOOD), (GOOD, ROUTER)] {
            let status = self.world.nodes[node].status(PeerId(peer as u32)).unwrap();
            assert_eq!((status.state, status.counters.established), (State::Established, 1));
            assert_eq!(status.counters.faults, 0, "node {node} is told nothing that is damaged");
        }
        assert_eq!(router.status(OLD).unwrap().counters.established, 1);
    }
}

/// A sound UPDATE of the hostile peer, before it is damaged.
fn sound() -> impl Strategy<Value = BytesMut> {
    (sample::attributes(), sample::reach()).prop_map(|(attributes, (next_hop, prefixes))| {
        let as_path = attributes.as_path.prepended(Asn(65003), 1);
        let attributes = Attributes { as_path, ..attributes };
        let mut bytes = BytesMut::new();
        write_announcements(&attributes, next_hop, &prefixes, EXTERNAL, &mut bytes).unwrap();
        bytes.truncate(message::length(&bytes).unwrap().unwrap());
        bytes
    })
}

/// Behind the header, and mostly in the attributes.
fn damaged() -> impl Strategy<Value = BytesMut> {
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (sound(), damage).prop_map(|(mut bytes, damage)| {
        for (at, byte) in damage {
            let at = 19 + at.index(bytes.len() - 19) % 120.min(bytes.len() - 19);
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn damaged_updates_in_sessions_that_are_up(updates in vec(damaged(), 1..25), chunk in 1..3000usize) {
        let mut scene = Scene::new();
        scene.world.chunk = chunk;
        for update in &updates {
            scene.say(update);
            scene.check();
        }
        let told: BTreeSet<_> =
            scene.world.nodes[ROUTER].advertised(OLD).map(|(prefix, _)| *prefix).collect();
        prop_assert_eq!(&scene.known, &told, "the old neighbour knows what it was told, and no more");
        scene.hang_up();
        scene.others_hear();
        scene.check();
        let own: BTreeSet<IpNet> = ["192.0.2.0/24".parse().unwrap()].into();
        prop_assert_eq!(&scene.known, &own, "nothing of it is left");
        for node in [ROUTER, GOOD] {
            let left: BTreeSet<_> = scene.world.nodes[node].prefixes().copied().collect();
            prop_assert_eq!(&left, &own);
        }
    }
}
