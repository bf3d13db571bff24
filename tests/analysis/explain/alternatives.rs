//! Changes that are tried where all others make a path asymmetric, and routes that keep a packet where it is.

use super::applied::File;
use super::tables::mended;
use super::*;

/// Two spokes and a data centre; whatever is between them passes the appliance, both ways.
const HUB: &str = "
virtualNetworks:
  - name: hub
    location: x
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: fw, addressPrefix: 10.0.1.0/24}
      - {name: shared, addressPrefix: 10.0.2.0/24}
      - {name: GatewaySubnet, addressPrefix: 10.0.255.0/27, routeTable: rt-gw}
    virtualNetworkPeerings:
      - {name: hub-s1, remoteVirtualNetwork: s1, allowGatewayTransit: true, allowForwardedTraffic: true}
      - {name: hub-s2, remoteVirtualNetwork: s2, allowGatewayTransit: true, allowForwardedTraffic: true}
  - name: s1
    location: x
    addressSpace: [10.1.0.0/16]
    subnets: [{name: app, addressPrefix: 10.1.1.0/24, routeTable: rt-spokes}]
    virtualNetworkPeerings: [{name: s1-hub, remoteVirtualNetwork: hub, useRemoteGateways: true, allowForwardedTraffic: true}]
  - name: s2
    location: x
    addressSpace: [10.2.0.0/16]
    subnets: [{name: db, addressPrefix: 10.2.1.0/24, routeTable: rt-spokes}]
    virtualNetworkPeerings: [{name: s2-hub, remoteVirtualNetwork: hub, useRemoteGateways: true, allowForwardedTraffic: true}]
routeTables:
  - name: rt-spokes
    disableBgpRoutePropagation: true
    routes:
      - {name: s1, addressPrefix: 10.1.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
      - {name: s2, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
      - {name: dc, addressPrefix: 192.168.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
      - {name: inet, addressPrefix: 0.0.0.0/0, nextHopType: None}
  - name: rt-gw
    routes:
      - {name: s1, addressPrefix: 10.1.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
      - {name: s2, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: hub, publicIPAddress: p}]
localNetworkGateways: [{name: lng, gatewayIpAddress: 198.51.100.50, localNetworkAddressSpace: [192.168.50.0/24]}]
connections: [{name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: lng, sharedKey: k}]
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]}
virtualMachines:
  - {name: fw, networkInterfaces: [{subnet: hub/fw, privateIPAddress: 10.0.1.4, enableIPForwarding: true}]}
  - {name: files, networkInterfaces: [{subnet: hub/shared}]}
  - {name: app, networkInterfaces: [{subnet: s1/app}]}
  - {name: db, networkInterfaces: [{subnet: s2/db}]}
";
const DC: &str =
    "      - {name: dc, addressPrefix: 192.168.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}\n";

fn one(path: &str, value: &str) -> Vec<(String, String)> {
    vec![(path.to_owned(), value.to_owned())]
}

/// What is proposed where nothing is: the text alone.
fn harmful(yaml: &str, (source, destination): (&str, &str)) -> String {
    let fix = File::parse(yaml).ask(source, destination).fix.unwrap();
    assert_eq!((fix.checked, fix.changes.len()), (false, 0), "{}", fix.text);
    fix.text
}

/// UDR-34, CH-03: routes of gateways would come past the appliance that the other direction passes.
#[test]
fn ch_03_a_site_is_reached_through_the_appliance_of_the_other_direction() {
    let missing = with(HUB, DC, "");
    let (text, changes) = mended(&missing, ("dc", "db"));
    assert_eq!(text, "route 192.168.50.0/24 from subnet s2/db to fw/eth0 (10.0.1.4), the request's way");
    let route =
        "{name: to-dc, addressPrefix: 192.168.50.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}";
    assert_eq!(changes, one("routeTables[0].routes[3]", route));
    let (text, changes) = mended(&missing, ("db", "dc"));
    assert_eq!(text, "route 192.168.50.0/24 from subnet s2/db to fw/eth0 (10.0.1.4), the answer's way");
    assert_eq!(changes, one("routeTables[0].routes[3]", route));
    // The route is there, and leads to another machine.
    let files = with(HUB, DC, &DC.replace("10.0.1.4", "10.0.2.5"));
    let files = with(&files, "{subnet: hub/shared}", "{subnet: hub/shared, privateIPAddress: 10.0.2.4}");
    let (text, changes) = mended(&files, ("dc", "db"));
    assert_eq!(text, "point it at fw/eth0 (10.0.1.4)");
    assert_eq!(changes, one("routeTables[0].routes[2].nextHopIpAddress", "10.0.1.4"));
}

/// UDR-26: one part of a route's address is wrong, and the file has nothing else in that range.
#[test]
fn udr_26_a_mistyped_range_is_put_right() {
    let right = one("routeTables[0].routes[2].addressPrefix", "192.168.0.0/16");
    for typo in ["192.186.0.0/16", "191.168.0.0/16"] {
        let yaml = with(HUB, "192.168.0.0/16", typo);
        for ask in [("app", "dc"), ("dc", "db")] {
            let (text, changes) = mended(&yaml, ask);
            assert_eq!((text.as_str(), &changes), ("set addressPrefix of route dc to 192.168.0.0/16", &right));
        }
    }
    let (text, changes) = mended(&with(HUB, "192.168.0.0/16", "192.168.5.0/24"), ("dc", "db"));
    assert_eq!(text, "set addressPrefix of route dc to 192.168.50.0/24");
    assert_eq!(changes, one("routeTables[0].routes[2].addressPrefix", "192.168.50.0/24"));
    // Near misses: two parts differ, there is but one part, another hop, and ranges that something has.
    let routed = "route 192.168.50.0/24 from subnet s2/db to fw/eth0 (10.0.1.4), the request's way";
    for other in ["191.186.0.0/16", "193.0.0.0/8", "192.169.50.0/24"] {
        let yaml = with(HUB, "192.168.0.0/16", other);
        let (text, _) = mended(&yaml, ("dc", "db"));
        let is_typo = other.starts_with("192.169");
        assert_eq!(text == routed, !is_typo, "{other}: {text}");
    }
    let nowhere = DC.replace("VirtualAppliance, nextHopIpAddress: 10.0.1.4", "None").replace("192.168", "192.186");
    assert_eq!(mended(&with(HUB, DC, &nowhere), ("dc", "db")).0, routed);
    let typo = with(HUB, "192.168.0.0/16", "192.186.0.0/16");
    let site = "addressSpace: [192.186.5.0/24, 192.168.50.0/24], addresses";
    let local = "localNetworkGateways: [{name: far, gatewayIpAddress: 198.51.100.60, localNetworkAddressSpace: [192.186.5.0/24]}, ";
    let vnet = "virtualNetworks:\n  - {name: far, location: x, addressSpace: [192.186.5.0/24], subnets: [{name: s, addressPrefix: 192.186.5.0/24}]}";
    for (part, known) in [
        ("addressSpace: [192.168.50.0/24], addresses", site),
        ("localNetworkGateways: [", local),
        ("virtualNetworks:", vnet),
    ] {
        assert_eq!(mended(&with(&typo, part, known), ("dc", "db")).0, routed, "{known}");
    }
}

/// UDR-26: also a route between virtual networks, where no other fix is harmful.
#[test]
fn udr_26_a_mistyped_range_of_a_network_is_put_right() {
    let hub = with(HUB, "      - {name: inet, addressPrefix: 0.0.0.0/0, nextHopType: None}\n", "");
    let yaml = with(&hub, "{name: s2, addressPrefix: 10.2.0.0/16", "{name: s2, addressPrefix: 10.12.0.0/16");
    let (text, changes) = mended(&yaml, ("app", "db"));
    assert_eq!(text, "set addressPrefix of route s2 to 10.2.0.0/16");
    assert_eq!(changes, one("routeTables[0].routes[1].addressPrefix", "10.2.0.0/16"));
    // A prefix of one octet has no other part that is right (near miss).
    let short = with(&hub, "{name: s2, addressPrefix: 10.2.0.0/16", "{name: s2, addressPrefix: 11.0.0.0/8");
    assert_eq!(mended(&short, ("app", "db")).0, "route 10.2.0.0/16 from subnet s1/app to fw/eth0 (10.0.1.4)");
}

/// UDR-16: a route to VnetLocal for what is in another network.
#[test]
fn udr_16_a_route_that_keeps_a_packet_in_its_network_gives_way() {
    let longer =
        with(HUB, DC, &format!("{DC}      - {{name: old, addressPrefix: 10.2.1.0/25, nextHopType: VnetLocal}}\n"));
    let cause = "route table rt-spokes, route old: 10.2.1.0/25 -> VnetLocal keeps 10.2.1.4 in VNet s1, where no machine \
                 has it: db/eth0 has it";
    assert_eq!(File::parse(&longer).ask("app", "db").cause.as_deref(), Some(cause));
    let (text, changes) = mended(&longer, ("app", "db"));
    assert_eq!(
        (text.as_str(), changes),
        ("remove route old, or give it another next hop", one("routeTables[0].routes[3]", ""))
    );
    // Nothing else would lead there: the route itself is led where the answer passes.
    let s2 = "{name: s2, addressPrefix: 10.2.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}";
    let kept = HUB.replacen(s2, "{name: s2, addressPrefix: 10.2.0.0/16, nextHopType: VnetLocal}", 1);
    let (text, changes) = mended(&kept, ("app", "db"));
    assert_eq!(
        (text.as_str(), changes),
        ("point route s2 at fw/eth0 (10.0.1.4), the answer's way", one("routeTables[0].routes[1]", s2))
    );
}

/// UDR-12: removed where nothing that can be put in its place is symmetric.
#[test]
fn udr_12_a_route_to_an_address_without_a_machine_is_taken_away() {
    let gateway = "  - name: rt-gw\n    routes:\n";
    let yaml = with(
        HUB,
        gateway,
        &format!(
            "{gateway}      - {{name: hub, addressPrefix: 10.0.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.5}}\n"
        ),
    );
    let (text, changes) = mended(&yaml, ("dc", "files"));
    assert_eq!((text.as_str(), changes), ("remove route hub", one("routeTables[1].routes[0]", "")));
}

/// Two hubs with an appliance each, and a spoke at each of them.
const HUBS: &str = "
virtualNetworks:
  - name: he
    location: x
    addressSpace: [10.0.0.0/16]
    subnets: [{name: fw, addressPrefix: 10.0.1.0/24, routeTable: rt-fe}]
    virtualNetworkPeerings:
      - {name: e-n, remoteVirtualNetwork: hn, allowForwardedTraffic: true}
      - {name: e-s1, remoteVirtualNetwork: s1, allowForwardedTraffic: true}
  - name: hn
    location: x
    addressSpace: [10.100.0.0/16]
    subnets: [{name: fw, addressPrefix: 10.100.1.0/24, routeTable: rt-fn}]
    virtualNetworkPeerings:
      - {name: n-e, remoteVirtualNetwork: he, allowForwardedTraffic: true}
      - {name: n-s2, remoteVirtualNetwork: s2, allowForwardedTraffic: true}
  - name: s1
    location: x
    addressSpace: [10.1.0.0/16]
    subnets: [{name: a, addressPrefix: 10.1.1.0/24, routeTable: rt-e}]
    virtualNetworkPeerings: [{name: s1-e, remoteVirtualNetwork: he, allowForwardedTraffic: true}]
  - name: s2
    location: x
    addressSpace: [10.101.0.0/16]
    subnets: [{name: a, addressPrefix: 10.101.1.0/24, routeTable: rt-n}]
    virtualNetworkPeerings: [{name: s2-n, remoteVirtualNetwork: hn, allowForwardedTraffic: true}]
routeTables:
  - {name: rt-e, routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]}
  - {name: rt-n, routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.100.1.4}]}
  - {name: rt-fe, routes: [{name: north, addressPrefix: 10.101.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.100.1.4}]}
  - {name: rt-fn, routes: [{name: s1, addressPrefix: 10.1.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]}
virtualMachines:
  - {name: fe, networkInterfaces: [{subnet: he/fw, privateIPAddress: 10.0.1.4, enableIPForwarding: true}]}
  - {name: fn, networkInterfaces: [{subnet: hn/fw, privateIPAddress: 10.100.1.4, enableIPForwarding: true}]}
  - {name: m1, networkInterfaces: [{subnet: s1/a}]}
  - {name: m2, networkInterfaces: [{subnet: s2/a}]}
";

/// UDR-12: a next hop in a network that is not peered is led to the appliance that the request passed.
#[test]
fn udr_12_a_next_hop_out_of_reach_is_led_to_the_appliance_that_the_request_passed() {
    let all = "10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: ";
    let yaml = with(HUBS, &format!("{all}10.100.1.4"), &format!("{all}10.0.1.4"));
    let (text, changes) = mended(&yaml, ("m1", "m2"));
    assert_eq!(text, "point route all at fn/eth0 (10.100.1.4), the request's way");
    assert_eq!(changes, one("routeTables[1].routes[0].nextHopIpAddress", "10.100.1.4"));
}

/// UDR-17: of a loop through two appliances, the route that leads back is taken away.
#[test]
fn udr_17_the_route_that_closes_a_loop_is_taken_away() {
    let back = "{name: back, addressPrefix: 10.101.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}";
    let table = "{name: rt-fn, routes: [";
    let looped = with(HUBS, table, &format!("{table}{back}, "));
    let (text, changes) = mended(&looped, ("m1", "m2"));
    assert_eq!(
        (text.as_str(), changes),
        ("remove route back from route table rt-fn", one("routeTables[3].routes[0]", ""))
    );
    // Where another subnet has the table too, this is left to the user.
    let shared = with(
        &looped,
        "addressPrefix: 10.100.1.0/24, routeTable: rt-fn}",
        "addressPrefix: 10.100.1.0/24, routeTable: rt-fn}, {name: t, addressPrefix: 10.100.2.0/24, routeTable: rt-fn}",
    );
    assert_eq!(
        harmful(&shared, ("m1", "m2")),
        "take the route for 10.101.1.4 that closes the loop out of subnet hn/fw"
    );
}

/// CH-03: a route for a whole network would skew another pair; one for the subnet does not.
#[test]
fn ch_03_a_route_for_the_subnet_alone_where_a_wider_one_skews() {
    let intact = std::fs::read_to_string("config/hub-gateway.yaml").unwrap();
    let missing =
        with(&intact, "      - {name: spoke1, addressPrefix: 10.1.2.0/24, nextHopType: VirtualNetworkGateway}\n", "");
    let (text, changes) = mended(&missing, ("jobs", "db"));
    assert_eq!(text, "route 10.1.2.0/24 from subnet spoke2/db to gateway hub-gw of VNet hub, the request's way");
    let route = "{name: to-spoke1, addressPrefix: 10.1.2.0/24, nextHopType: VirtualNetworkGateway}";
    assert_eq!(changes, one("routeTables[2].routes[1]", route));
    // A rule behind it is another obstacle.
    let denied = with(&missing, "addressPrefix: 10.1.2.0/24", "addressPrefix: 10.1.2.0/24, networkSecurityGroup: no")
        + "networkSecurityGroups:\n  - name: no\n    securityRules: [{name: no, priority: 100, direction: Inbound, access: Deny, \
           protocol: Tcp, sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '443'}]\n";
    let answer = File::parse(&denied).ask("db", "jobs:443");
    let fix = answer.fix.unwrap();
    assert_eq!((fix.checked, changes_of(&fix)), (true, one("routeTables[2].routes[1]", route)));
    let further: Vec<_> =
        answer.further.iter().filter_map(|obstacle| obstacle.fix.as_ref()).map(|fix| fix.checked).collect();
    assert_eq!(further, [true]);
}

fn changes_of(fix: &Fix) -> Vec<(String, String)> {
    changes(fix).into_iter().map(|(path, value)| (path.to_owned(), value.to_owned())).collect()
}
