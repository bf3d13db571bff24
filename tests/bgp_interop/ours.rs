//! Our router: AS 65001 at 198.51.100.1, with 10.1.0.0/16 and fd01::/48 of its own.

use std::fs;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use vnet::bgp::driver::{Happened, Neighbour, Router};
use vnet::bgp::{Asn, Families, NextHops, Origination, PeerConfig, PeerId, PeerStatus, Source, Speaker, State};
use vnet::sys::confine::Role;
use vnet::sys::netns::Netns;

use crate::{OURS, THEIRS};

pub(crate) const PEER: PeerId = PeerId(1);

pub(crate) struct Ours {
    pub(crate) router: Router,
    told: Receiver<Happened>,
    neighbour: Neighbour,
    config: PeerConfig,
}

impl Ours {
    pub(crate) fn start(namespace: &Netns, passive: bool, password: Option<&str>) -> Self {
        let mut speaker = Speaker::new(Asn(65001), OURS, 1);
        for prefix in ["10.1.0.0/16", "fd01::/48"] {
            let prefix = prefix.parse().unwrap();
            speaker.originate(prefix, Source::Network, Origination::default(), Instant::now());
        }
        let (tell, told) = mpsc::channel();
        let tell = move |happened| drop(tell.send(happened));
        // As in a lab: the thread has no capability, and the namespace permits low ports.
        let low = || fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        namespace.run(low).unwrap().unwrap();
        let router = Router::start("ours", namespace, speaker, Role::Service, tell).unwrap();
        let mut config = PeerConfig { passive, families: Families::BOTH, ..PeerConfig::new(Asn(65002)) };
        config.policy.export.next_hops = NextHops { ipv4: Some(OURS), ipv6: Some("2001:db8::1".parse().unwrap()) };
        let neighbour = Neighbour {
            local: OURS.into(),
            remote: THEIRS.into(),
            device: None,
            password: password.map(str::to_owned),
        };
        router.add_peer(PEER, neighbour.clone(), config.clone());
        Self { router, told, neighbour, config }
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(&self) {
        self.router.remove_peer(PEER);
        self.router.add_peer(PEER, self.neighbour.clone(), self.config.clone());
    }

    /// Waits until something is so; false if it is not within the limit.
    pub(crate) fn until(&self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !so(self) {
            if Instant::now() >= end {
                return false;
            }
            // What another program thinks of it is not told.
            let _ = self.told.recv_timeout(Duration::from_millis(50));
        }
        true
    }

    /// Forgets what was told until now.
    pub(crate) fn drain(&self) {
        self.told.try_iter().for_each(drop);
    }

    pub(crate) fn status(&self) -> PeerStatus {
        self.router.look(|speaker| speaker.status(PEER)).unwrap()
    }

    pub(crate) fn state(&self) -> State {
        self.status().state
    }

    pub(crate) fn has(&self, prefix: &str) -> bool {
        let prefix = prefix.parse().unwrap();
        self.router.look(|speaker| speaker.best(&prefix).next().is_some())
    }

    pub(crate) fn hop(&self, prefix: &str) -> Option<IpAddr> {
        let prefix = prefix.parse().unwrap();
        self.router.look(|speaker| speaker.best(&prefix).next().and_then(|path| path.next_hop))
    }
}
