//! Routers of a network in namespaces that the test makes (root): what they learn, what becomes of it, and how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use vnet::bgp::topology::PeerState;
use vnet::daemon::engine::Engine;
use vnet::daemon::events::{EventLog, Happening};
use vnet::daemon::routers::{NodeNamespace, Routers, SilentEnd, SilentLink};
use vnet::model::{Learned, Network, Side};
use vnet::sys::caps::{self, CapabilitySet};
use vnet::sys::netlink::Netlink;
use vnet::sys::netns::{self, Netns};

use crate::{eventually, guest, network};

const LAB: &str = "
name: lab
emulation: {workers: 1, platformServices: false}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.80.0.0/16]
    subnets: [{name: GatewaySubnet, addressPrefix: 10.80.255.0/27}, {name: s, addressPrefix: 10.80.1.0/24}]
publicIPAddresses: [{name: ip, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: v, publicIPAddress: ip, sku: VpnGw1, enableBgp: true}
localNetworkGateways:
  - {name: lng, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
connections:
  - {name: tunnel, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: lng, sharedKey: a-secret, enableBgp: true}
sites:
  - {name: site, gatewayIpAddress: 198.51.100.1, addressSpace: [172.20.0.0/16], addresses: [172.20.0.10], sharedKey: a-secret,
     bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s}]}
";

/// The gateway's namespace and the site's, and the tunnel between them.
struct Places {
    gateway: Netns,
    site: Netns,
}

impl Places {
    fn new() -> Self {
        let places = Self { gateway: Netns::create().unwrap(), site: Netns::create().unwrap() };
        let set_up = |device: &str, own: &str, far: &str| {
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.link(device).unwrap();
            netlink.up(link).unwrap();
            netlink.add_address(link, net(own)).unwrap();
            netlink.add_device_route(link, net(far), 1).unwrap();
            std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
        };
        let make = || Netlink::open().unwrap().add_pair("left", "right", &places.site).unwrap();
        places.gateway.run(make).unwrap();
        places.site.run(|| set_up("right", "192.168.1.1/32", "10.80.255.30/32")).unwrap();
        places.gateway.run(|| set_up("left", "10.80.255.30/32", "192.168.1.1/32")).unwrap();
        places
    }

    fn of(&self, node: &str) -> io::Result<NodeNamespace> {
        let (namespace, device) = if node == "site" { (&self.site, "right") } else { (&self.gateway, "left") };
        let devices = BTreeMap::from([("tunnel".to_owned(), device.to_owned())]);
        Ok(NodeNamespace { namespace: namespace.try_clone()?, identity: None, devices })
    }

    /// What the site's kernel has learned.
    fn routes(&self) -> BTreeSet<String> {
        let ip = || std::process::Command::new("ip").args(["route", "show", "proto", "bgp"]).output().unwrap().stdout;
        let text = String::from_utf8(self.site.run(ip).unwrap()).unwrap();
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

struct Lab {
    engine: Arc<Engine>,
    events: Arc<EventLog>,
    routers: Routers,
    places: Places,
}

impl Lab {
    fn start() -> Option<Self> {
        if !caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
            return None;
        }
        let network = network(LAB);
        let tuns = network.attachments().iter().map(|_| guest().0).collect();
        let engine = Arc::new(Engine::start(network, tuns, Learned::default()).unwrap());
        let events = Arc::new(EventLog::default());
        let routers = Routers::new(Arc::clone(&engine), Arc::clone(&events));
        let lab = Self { engine, events, routers, places: Places::new() };
        lab.apply(&lab.engine.network());
        Some(lab)
    }

    fn apply(&self, network: &Network) {
        let complaints = self.routers.apply(network, |node| self.places.of(node));
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    fn learned(&self) -> Vec<String> {
        let learned = self.engine.compiled().learned().clone();
        learned.bgp.by_connection.get("tunnel").into_iter().flatten().map(ToString::to_string).collect()
    }

    fn states(&self) -> Vec<PeerState> {
        self.routers.peers(None).unwrap().iter().map(|row| row.state).collect()
    }

    fn happened(&self, is_it: impl Fn(&Happening) -> bool) -> usize {
        self.events.latest().iter().filter(|event| is_it(&event.happening)).count()
    }
}

#[test]
fn what_routers_learn_is_published_and_withdrawn() {
    let Some(lab) = Lab::start() else { return };
    eventually(|| lab.learned().contains(&"172.20.0.0/16".to_owned()));
    eventually(|| lab.states() == [PeerState::Connected; 2]);
    eventually(|| lab.places.routes().contains("10.80.0.0/16"));
    eventually(|| lab.happened(|it| matches!(it, Happening::BgpSessionUp { .. })) == 2);
    let changed = |it: &Happening| matches!(it, Happening::BgpRoutesChanged { connection, learned, withdrawn: 0 } if connection == "tunnel" && *learned > 0);
    eventually(|| lab.happened(changed) >= 1);

    let all = |rows: Vec<vnet::bgp::topology::RouteRow>| {
        rows.into_iter().map(|row| (row.node, row.network.to_string())).collect::<Vec<_>>()
    };
    let has =
        |rows: &[(String, String)], node: &str, network: &str| rows.contains(&(node.to_owned(), network.to_owned()));
    let learned = all(lab.routers.learned(None).unwrap());
    assert!(has(&learned, "gw", "172.20.0.0/16") && has(&learned, "site", "10.80.0.0/16"), "{learned:?}");
    let own = all(lab.routers.learned(Some("SITE")).unwrap());
    assert!(!own.is_empty() && own.iter().all(|(node, _)| node == "site"), "{own:?}");
    let told = all(lab.routers.advertised(Some("gw"), "192.168.1.1".parse().ok()).unwrap());
    assert!(has(&told, "gw", "10.80.0.0/16"), "{told:?}");
    assert!(lab.routers.advertised(Some("gw"), "192.168.1.9".parse().ok()).unwrap().is_empty());
    assert!(lab.routers.refused(None).unwrap().iter().all(|row| row.refused.is_some()));
    let peers = lab.routers.peers(Some("gw")).unwrap();
    assert_eq!(
        peers.iter().map(|row| (row.node.as_str(), row.neighbor.to_string())).collect::<Vec<_>>(),
        [("gw", "192.168.1.1".to_owned())]
    );
    for unknown in [lab.routers.peers(Some("none")).err(), lab.routers.learned(Some("none")).err()] {
        let unknown = unknown.unwrap();
        assert!(unknown.contains("none") && unknown.contains("gw") && unknown.contains("site"), "{unknown}");
    }

    // The same again: no session ends.
    lab.apply(&lab.engine.network());
    assert_eq!(lab.states(), [PeerState::Connected; 2]);
    // Without the gateway there is no tunnel: the sessions end, and what was learned goes.
    lab.engine.learn(|learned| {
        learned.down.insert("gw".to_owned());
    });
    lab.apply(&lab.engine.network());
    eventually(|| lab.learned().is_empty() && lab.places.routes().is_empty());
    // The end that is told first may hear of it from the other.
    eventually(|| lab.happened(|it| matches!(it, Happening::BgpSessionDown { .. })) == 2);
    let down = |it: &Happening| matches!(it, Happening::BgpSessionDown { reason, .. } if reason == "there is no tunnel any more");
    assert!(lab.happened(down) >= 1);
    let withdrawn =
        |it: &Happening| matches!(it, Happening::BgpRoutesChanged { learned: 0, withdrawn, .. } if *withdrawn > 0);
    eventually(|| lab.happened(withdrawn) >= 1);
    lab.engine.learn(|learned| {
        learned.down.remove("gw");
    });
    lab.apply(&lab.engine.network());
    eventually(|| lab.learned().contains(&"172.20.0.0/16".to_owned()) && lab.places.routes().contains("10.80.0.0/16"));
    eventually(|| lab.happened(|it| matches!(it, Happening::BgpSessionUp { .. })) == 4);

    // Other routes of the site come by the same session.
    let wider = network(&LAB.replace("172.20.0.0/16]", "172.20.0.0/16, 172.21.0.0/16]"));
    lab.apply(&wider);
    eventually(|| lab.learned().len() >= 2 && lab.learned().contains(&"172.21.0.0/16".to_owned()));
    lab.apply(&lab.engine.network());
    eventually(|| !lab.learned().contains(&"172.21.0.0/16".to_owned()));
    assert_eq!(lab.happened(|it| matches!(it, Happening::BgpSessionUp { .. })), 4);

    lab.routers.end();
    lab.routers.end();
    assert!(lab.routers.peers(None).unwrap().is_empty());
}

/// A router whose place cannot be entered is told of, and the others run.
#[test]
fn a_router_without_a_place_is_named() {
    let Some(lab) = Lab::start() else { return };
    let place = |node: &str| if node == "site" { Err(io::Error::other("it is gone")) } else { lab.places.of(node) };
    let complaints = lab.routers.apply(&lab.engine.network(), place);
    assert_eq!(complaints, ["site does not speak BGP: it is gone"]);
    let peers = lab.routers.peers(None).unwrap();
    assert_eq!(peers.iter().map(|row| row.node.as_str()).collect::<Vec<_>>(), ["gw"]);
}

const CIRCUIT: &str = "
name: lab
emulation: {workers: 1, platformServices: false}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.80.0.0/16]
    subnets: [{name: GatewaySubnet, addressPrefix: 10.80.255.0/27}, {name: s, addressPrefix: 10.80.1.0/24}]
publicIPAddresses: [{name: ip, sku: Standard}]
virtualNetworkGateways: [{name: er, gatewayType: ExpressRoute, virtualNetwork: v, publicIPAddress: ip}]
expressRouteCircuits:
  - {name: c, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30,
     secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]}
connections: [{name: hub-c, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: c}]
sites: [{name: dc, expressRouteCircuits: [c], addressSpace: [192.168.1.0/24], addresses: [192.168.1.10]}]
virtualMachines: [{name: web, networkInterfaces: [{subnet: v/s}]}]
";

/// A customer without BGP has the routes that Azure tells it of in its kernel: with their link, and no longer.
#[test]
fn er_02_a_silent_customer_is_told_what_its_link_leads_to() {
    if !caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        return;
    }
    let network = network(CIRCUIT);
    let tuns = network.attachments().iter().map(|_| guest().0).collect();
    let engine = Arc::new(Engine::start(network, tuns, Learned::default()).unwrap());
    let routers = Routers::new(Arc::clone(&engine), Arc::default());
    let places = Places::new();
    let identity = places.site.run(|| netns::identity(Path::new(netns::CURRENT))).unwrap();
    let link = |device: &str, side, metric| {
        let end = SilentEnd::Link { circuit: "c".to_owned(), side };
        let place = NodeNamespace { identity, ..places.of("site").unwrap() };
        SilentLink { end, place, device: device.to_owned(), metric }
    };
    let metrics = || {
        let ip = || std::process::Command::new("ip").args(["route", "show", "dev", "right"]).output().unwrap().stdout;
        let text = String::from_utf8(places.site.run(ip).unwrap()).unwrap();
        let told = text.lines().filter(|line| line.starts_with("10.80.0.0/16"));
        told.filter_map(|line| line.split(" metric ").nth(1)?.trim().parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let primary = || link("right", Side::Primary, 100);
    assert_eq!((routers.tell_silent(vec![primary()]), metrics()), (vec![], vec![100]));
    assert_eq!((routers.tell_silent(vec![primary()]), metrics()), (vec![], vec![100]), "the same again");
    assert_eq!((routers.tell_silent(vec![link("right", Side::Primary, 200)]), metrics()), (vec![], vec![200]));
    let fail = |down: bool| {
        engine.learn(|learned| {
            if down {
                learned.down.insert("c-primary".to_owned())
            } else {
                learned.down.remove("c-primary")
            };
        })
    };
    assert!(fail(true));
    assert_eq!((routers.tell_silent(vec![primary()]), metrics()), (vec![], vec![]), "the link is down");
    assert_eq!((routers.tell_silent(vec![link("right", Side::Secondary, 7)]), metrics()), (vec![], vec![7]));
    assert!(fail(false));
    let complaints = routers.tell_silent(vec![primary(), link("none", Side::Secondary, 1)]);
    assert!(complaints.len() == 1 && complaints[0].starts_with("none of c does not have the routes"), "{complaints:?}");
    assert_eq!(metrics(), [100]);
    let unknown = SilentLink { end: SilentEnd::Client("nobody".to_owned()), ..primary() };
    assert_eq!((routers.tell_silent(vec![unknown]), metrics()), (vec![], vec![]));
    assert_eq!((routers.tell_silent(vec![primary()]), metrics()), (vec![], vec![100]));
    assert_eq!((routers.tell_silent(Vec::new()), metrics()), (vec![], vec![]), "nothing is left behind");
}

/// ER-01: a circuit's sessions are the fabric's own. They are listed with those of routers that run, all or a gateway's.
#[test]
fn er_01_sessions_with_a_circuits_edge_are_listed_without_a_router() {
    let network = network(CIRCUIT);
    let tuns = network.attachments().iter().map(|_| guest().0).collect();
    let engine = Arc::new(Engine::start(network, tuns, Learned::default()).unwrap());
    let routers = Routers::new(engine, Arc::default());
    for node in [None, Some("er"), Some("ER")] {
        let rows = routers.peers(node).unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.node.as_str(), row.asn)).collect::<Vec<_>>(),
            [("er", 12076); 2],
            "{node:?}"
        );
    }
    assert!(routers.peers(Some("gw")).is_err(), "nobody of that name speaks BGP");
    let learned = routers.learned(Some("er")).unwrap();
    assert!(learned.iter().any(|row| row.network == net("192.168.1.0/24")), "{learned:?}");
}

/// A client's own kernel has what its gateway learns by BGP, beside what its profile has.
#[test]
fn vpn_44_a_client_is_told_what_its_gateway_has_learned() {
    if !caps::has(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        return;
    }
    let network = network(include_str!("../../config/point-to-site.yaml"));
    let tuns = network.attachments().iter().map(|_| guest().0).collect();
    let engine = Arc::new(Engine::start(network, tuns, Learned::default()).unwrap());
    let routers = Routers::new(Arc::clone(&engine), Arc::default());
    let places = Places::new();
    let identity = places.site.run(|| netns::identity(Path::new(netns::CURRENT))).unwrap();
    let tell = || {
        let end = SilentEnd::Client("laptop".to_owned());
        let place = NodeNamespace { identity, ..places.of("site").unwrap() };
        let link = SilentLink { end, place, device: "right".to_owned(), metric: 100 };
        assert_eq!(routers.tell_silent(vec![link]), [""; 0]);
        let ip = || std::process::Command::new("ip").args(["route", "show", "dev", "right"]).output().unwrap().stdout;
        let text = String::from_utf8(places.site.run(ip).unwrap()).unwrap();
        let told = text.lines().filter(|line| line.contains(" metric 100"));
        told.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let learn = |prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
        assert!(engine.learn(|learned| _ = learned.bgp.by_connection.insert("hub-dc".to_owned(), prefixes)));
    };
    assert_eq!(tell(), [""; 0], "its profile is no matter of BGP");
    learn(&["192.168.50.0/24", "192.168.60.0/24"]);
    assert_eq!(tell(), ["192.168.50.0/24", "192.168.60.0/24"]);
    learn(&["192.168.60.0/24"]);
    assert_eq!(tell(), ["192.168.60.0/24"]);
}
