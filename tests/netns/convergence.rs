//! How soon what BGP says is what packets go by, in a lab of a hundred virtual networks; and that a peer which says something
//! else all the time has no more than its share. The times are printed, and not judged: they are the machine's.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ipnet::{IpNet, Ipv4Net};
use vnet::bgp::driver::{Neighbour, Router};
use vnet::bgp::{Asn, Export, NextHops, Origination, PeerConfig, PeerId, Policy, Source, Speaker};
use vnet::sys::confine::Role;

use crate::lab::{Lab, SOON, eventually};

const SITE: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 30);
/// BGP-08.
const PREFIXES: u32 = 4_000;
/// A build without optimisation makes 400,000 rows on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Two changes of the tables are at least so far apart.
const PACE: Duration = Duration::from_millis(20);

/// A hub with a gateway and 99 spokes that use it; the site's router is the test's.
fn topology() -> String {
    let spokes = 1..100;
    let links: Vec<_> = spokes
        .clone()
        .map(|i| format!("      - {{name: s{i}, remoteVirtualNetwork: s{i}, allowGatewayTransit: true}}\n"))
        .collect();
    let spokes: Vec<_> = spokes
        .map(|i| {
            format!(
                "  - {{name: s{i}, location: westeurope, addressSpace: [10.{i}.0.0/16], subnets: [{{name: s, addressPrefix: \
                 10.{i}.1.0/24}}], virtualNetworkPeerings: [{{name: hub, remoteVirtualNetwork: hub, useRemoteGateways: true}}]}}\n"
            )
        })
        .collect();
    let (links, spokes) = (links.concat(), spokes.concat());
    format!(
        "virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.0.1.0/24}}, {{name: GatewaySubnet, addressPrefix: 10.0.255.0/27}}]
    virtualNetworkPeerings:
{links}{spokes}publicIPAddresses: [{{name: p, sku: Standard}}]
virtualNetworkGateways: [{{name: gw, virtualNetwork: hub, publicIPAddress: p, enableBgp: true}}]
localNetworkGateways: [{{name: l, gatewayIpAddress: 198.51.100.1, bgpSettings: {{asn: 65010, bgpPeeringAddress: {SITE}}}}}]
connections: [{{name: c, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: l, sharedKey: k, enableBgp: true}}]
sites: [{{name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], ownRouter: true, bgpSettings: {{asn: 65010, bgpPeeringAddress: {SITE}}}}}]
virtualMachines:
  - {{name: app, networkInterfaces: [{{subnet: s7/s}}]}}
  - {{name: files, networkInterfaces: [{{subnet: hub/s}}]}}
"
    )
}

/// The site's router.
fn router(lab: &Lab) -> Router {
    let speaker = Speaker::new(Asn(65010), SITE, 7);
    let router = Router::start("site", &lab.node("dc"), speaker, Role::Service, |_| {}).unwrap();
    let export = Export { next_hops: NextHops { ipv4: Some(SITE), ipv6: None }, ..Export::default() };
    let policy = Policy { export, ..Policy::default() };
    let neighbour = Neighbour { local: SITE.into(), remote: IpAddr::from(GATEWAY), device: None, password: None };
    router.add_peer(PeerId(0), neighbour, PeerConfig { policy, ..PeerConfig::new(Asn(65515)) });
    router
}

/// The n-th of unused ranges.
fn prefix(n: u32) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 0).to_bits() + (n << 8)), 24).into()
}

fn say(router: &Router, prefixes: impl Iterator<Item = IpNet>, on: bool) -> Duration {
    let began = since_midnight();
    router.change(|speaker, now| {
        for prefix in prefixes {
            if on {
                speaker.originate(prefix, Source::Network, Origination::default(), now);
            } else {
                speaker.withdraw(prefix, Source::Network, now);
            }
        }
    });
    began
}

fn since_midnight() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::new(now.as_secs() % 86_400, now.subsec_nanos())
}

/// Routes that have come and gone since an event, and when the last did.
fn changed(lab: &Lab, after: u64) -> (u64, u64, Duration) {
    let events = lab.data(&["events"]);
    let mut all = (0, 0, Duration::ZERO);
    for event in events.as_array().unwrap().iter().filter(|event| event["number"].as_u64().unwrap() > after) {
        if event["event"] == "BgpRoutesChanged" {
            let time = event["time"].as_str().unwrap();
            let clock: Vec<f64> = time[11..time.len() - 1].split(':').map(|part| part.parse().unwrap()).collect();
            let at = Duration::from_secs_f64(clock[0].mul_add(3600.0, clock[1].mul_add(60.0, clock[2])));
            all = (all.0 + event["learned"].as_u64().unwrap(), all.1 + event["withdrawn"].as_u64().unwrap(), at);
        }
    }
    all
}

fn last_event(lab: &Lab) -> u64 {
    lab.data(&["events"]).as_array().unwrap().last().unwrap()["number"].as_u64().unwrap()
}

/// Says that prefixes are there, or are not, and waits until all tables have it; how long that took, to the last change.
fn settle(lab: &Lab, router: &Router, prefixes: std::ops::Range<u32>, on: bool) -> Duration {
    let (count, after) = (u64::from(prefixes.end - prefixes.start), last_event(lab));
    let began = say(router, prefixes.map(prefix), on);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (learned, withdrawn, last) = changed(lab, after);
        if (if on { learned } else { withdrawn }) == count {
            return last.saturating_sub(began);
        }
        assert!(Instant::now() < deadline, "{learned} learned and {withdrawn} withdrawn of {count}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn generation(lab: &Lab) -> u64 {
    lab.data(&["status"])["generation"].as_u64().unwrap()
}

/// SYS-10, BGP-08: one prefix, and as many as a peer may say; every spoke's table has them, and none that is withdrawn.
#[test]
fn routes_reach_every_table() {
    let Some(lab) = Lab::up(&topology()) else { return };
    let router = router(&lab);
    let mut learned = vec![];
    let mut withdrawn = vec![];
    settle(&lab, &router, 0..1, true);
    for _ in 0..5 {
        withdrawn.push(settle(&lab, &router, 0..1, false));
        learned.push(settle(&lab, &router, 0..1, true));
    }
    let all = settle(&lab, &router, 1..PREFIXES, true);
    let listing = lab.data(&["routes", "s99/s"]);
    let count = |listing: &serde_json::Value| {
        listing["value"].as_array().unwrap().iter().filter(|row| row["nextHopType"] == "VirtualNetworkGateway").count()
    };
    assert_eq!(count(&listing), PREFIXES as usize + 1, "and the peer itself");
    let gone = settle(&lab, &router, 1..PREFIXES, false);
    assert_eq!(count(&lab.data(&["routes", "s99/s"])), 2);
    learned.sort();
    withdrawn.sort();
    crate::lab::say(&format!(
        "a route learned is live after {:.1?} (at most {:.1?}), one withdrawn after {:.1?} (at most {:.1?}), in 100 virtual \
         networks; 4,000 are after {all:.1?}, and gone after {gone:.1?}",
        learned[2], learned[4], withdrawn[2], withdrawn[4]
    ));
}

/// A peer that flaps costs a change of the tables in 20 ms at most, while packets go on; what it said last is what counts.
#[test]
fn a_peer_that_flaps_has_no_more_than_its_share() {
    let Some(lab) = Lab::up(&topology()) else { return };
    let router = router(&lab);
    settle(&lab, &router, 0..1, true);
    let (began, before) = (Instant::now(), generation(&lab));
    let (flaps, answers) = thread::scope(|scope| {
        let flapping = scope.spawn(|| {
            let mut flaps = 0_u32;
            while began.elapsed() < Duration::from_secs(2) {
                say(&router, std::iter::once(prefix(1)), flaps.is_multiple_of(2));
                flaps += 1;
                // Long enough for the other end to hear it.
                thread::sleep(Duration::from_millis(1));
            }
            flaps
        });
        let mut answers = Vec::new();
        while !flapping.is_finished() {
            answers.push(lab.inside("app", || crate::lab::ping("10.0.1.4", 64, SOON)).is_some());
        }
        (flapping.join().unwrap(), answers)
    });
    let elapsed = began.elapsed();
    let changes = generation(&lab) - before;
    let most = elapsed.as_millis() / PACE.as_millis() + 2;
    assert!(u128::from(flaps) > 2 * most, "{flaps} flaps in {elapsed:?} prove nothing");
    assert!(u128::from(changes) <= most, "{changes} changes in {elapsed:?} for {flaps} flaps");
    assert!(answers.iter().all(|answered| *answered), "a ping was lost of {}", answers.len());
    say(&router, std::iter::once(prefix(2)), true);
    eventually("what was said last is what counts", || {
        let listing = lab.data(&["routes", "app"]).to_string();
        listing.contains(&prefix(2).to_string()) && listing.contains(&prefix(0).to_string())
    });
    crate::lab::say(&format!(
        "{flaps} flaps in {elapsed:.1?} made {changes} changes; {} pings, none lost",
        answers.len()
    ));
}
