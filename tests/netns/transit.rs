//! From a circuit to a tunnel and back, by sessions that all run: the site on the circuit, the branch behind the tunnel, both
//! gateways and the route server beside them (ARS-06, BGP-22).

use crate::lab::{Lab, eventually, has_program, stderr, stdout};

const TOPOLOGY: &str = "
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: RouteServerSubnet, addressPrefix: 10.1.0.0/27}
      - {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}
      - {name: s, addressPrefix: 10.1.2.0/24}
publicIPAddresses: [{name: p, sku: Standard}, {name: rs, sku: Standard}]
virtualNetworkGateways:
  - {name: vpn, virtualNetwork: hub, publicIPAddress: p, enableBgp: true}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub}
expressRouteCircuits:
  - name: london
    serviceProviderProperties: {peeringLocation: London}
    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]
localNetworkGateways:
  - {name: branch, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}}
connections:
  - {name: to-branch, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: branch, sharedKey: k, enableBgp: true}
  - {name: to-dc, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: london}
sites:
  - {name: dc, expressRouteCircuits: [london], addressSpace: [192.168.1.0/24], addresses: [192.168.1.10], bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}}
  - {name: branch, gatewayIpAddress: 198.51.100.1, addressSpace: [172.29.0.0/24], addresses: [172.29.0.10], bgpSettings: {asn: 65020, bgpPeeringAddress: 172.29.0.1}}
routeServers: [{name: rs, virtualNetwork: hub, publicIPAddress: rs, allowBranchToBranchTraffic: true}]
virtualMachines: [{name: app, networkInterfaces: [{subnet: hub/s}]}]
";

/// ARS-06, BGP-22: with a route server that lets branches hear of each other, site and branch reach each other through both
/// gateways; without that each reaches the virtual network alone. BGP-15: the sessions with the circuit's edge are listed, two
/// of them and AS 12076.
#[test]
fn ars_06_from_circuit_to_tunnel() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    let reaches = |from: &str, to: &str| lab.exec(from, &["ping", "-c1", "-W1", to]).status.success();
    eventually("the site reaches the branch", || reaches("dc", "172.29.0.10"));
    eventually("the branch reaches the site", || reaches("branch", "192.168.1.10"));
    lab.assert_ping("app", "172.29.0.10");
    lab.assert_ping("app", "192.168.1.10");
    for (from, to) in [("dc", "branch"), ("branch", "dc")] {
        let explained = lab.vnet(&["explain", from, to]);
        assert!(explained.status.success(), "{from} to {to}: {}{}", stdout(&explained), stderr(&explained));
    }
    let peers = lab.data(&["bgp", "peers", "er"]);
    let edges: Vec<_> = peers.as_array().unwrap().iter().filter(|row| row["asn"] == 12076).collect();
    assert_eq!(edges.len(), 2, "{peers}");
    assert!(edges.iter().all(|row| row["state"] == "Connected" && row["routesReceived"] == 1), "{peers}");
    assert!(edges.iter().all(|row| row["messagesSent"].is_null()), "no session of messages, so no count of 0: {peers}");
    let table = stdout(&lab.vnet(&["bgp", "peers", "er"]));
    assert!(table.contains("none are sent"), "{table}");
    let names = lab.data(&["bgp", "peers", "rs"]);
    let names: Vec<_> = names.as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap()).collect();
    assert!(names.contains(&"rs") && names.contains(&"rs#2"), "each instance by its name: {names:?}");

    let applied = lab.apply(&TOPOLOGY.replace("allowBranchToBranchTraffic: true", "allowBranchToBranchTraffic: false"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    eventually("the site knows nothing of the branch", || !reaches("dc", "172.29.0.10"));
    eventually("the branch knows nothing of the site", || !reaches("branch", "192.168.1.10"));
    lab.assert_ping("app", "172.29.0.10");
    lab.assert_ping("app", "192.168.1.10");
}

/// The same with a site that speaks no BGP on its circuit, a second branch behind a local network gateway's static ranges,
/// and an appliance that speaks with the route server where it is installed.
fn silent(active_active: bool, appliance: &str) -> String {
    let (before, rest) = TOPOLOGY.split_once(", bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}").unwrap();
    let mut text = format!("{before}{rest}");
    let mut edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    };
    edit(
        "\nconnections:",
        "\n  - {name: old, gatewayIpAddress: 198.51.100.2, localNetworkAddressSpace: [192.168.2.0/24]}\nconnections:",
    );
    edit(
        "  - {name: to-dc,",
        "  - {name: to-old, connectionType: IPsec, virtualNetworkGateway1: vpn, localNetworkGateway2: old, sharedKey: k}\n  - {name: to-dc,",
    );
    edit(
        "\nrouteServers:",
        "\n  - {name: old, gatewayIpAddress: 198.51.100.2, addressSpace: [192.168.2.0/24], addresses: [192.168.2.10], routes: [10.1.0.0/16, 192.168.1.0/24]}\nrouteServers:",
    );
    if active_active {
        edit("{name: p, sku: Standard}, ", "{name: p, sku: Standard}, {name: p2, sku: Standard}, ");
        edit(
            "virtualNetwork: hub, publicIPAddress: p, enableBgp: true",
            "activeActive: true, ipConfigurations: [{subnet: hub/GatewaySubnet, publicIPAddress: p}, {subnet: hub/GatewaySubnet, publicIPAddress: p2}], enableBgp: true",
        );
    }
    if !appliance.is_empty() {
        edit(
            "allowBranchToBranchTraffic: true",
            "allowBranchToBranchTraffic: true, bgpConnections: [{name: to-nva, peerIp: 10.1.2.9, peerAsn: 65001}]",
        );
        edit(
            "virtualMachines: [",
            &format!(
                "virtualMachines: [{{name: nva, networkInterfaces: [{{subnet: hub/s, privateIPAddress: 10.1.2.9, enableIPForwarding: true}}], sandbox: none, run: [bird, -f, -c, {appliance}, -s, {appliance}.ctl]}}, "
            ),
        );
    }
    text
}

/// BIRD's configuration of an appliance that announces 192.168.80.0/24 to both instances of the route server.
const APPLIANCE: &str = "log stderr all;
router id 10.1.2.9;
protocol device {}
protocol static { ipv4; route 192.168.80.0/24 blackhole; }
template bgp azure {
  local 10.1.2.9 as 65001;
  multihop;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { import all; export where source = RTS_STATIC; };
}
protocol bgp rs0 from azure { neighbor 10.1.0.4 as 65515; }
protocol bgp rs1 from azure { neighbor 10.1.0.5 as 65515; }
";

/// What a site's kernel has on one device, without the host routes to Microsoft's end.
fn on(lab: &Lab, device: &str) -> Vec<String> {
    let routes = stdout(&lab.exec("dc", &["ip", "-4", "route", "show", "dev", device]));
    let prefixes = routes.lines().filter_map(|line| line.split(' ').next()).filter(|prefix| prefix.contains('/'));
    prefixes.map(str::to_owned).collect()
}

/// Both links have these routes and no others, or one of them.
fn both(lab: &Lab, what: &str, prefixes: &[&str]) {
    eventually(what, || ["er0", "er1"].iter().all(|device| on(lab, device) == prefixes));
}

fn succeeds(lab: &Lab, arguments: &[&str]) {
    let done = lab.vnet(arguments);
    assert!(done.status.success(), "{arguments:?}: {}{}", stdout(&done), stderr(&done));
}

/// The way back may be learned a moment later.
fn reaches(lab: &Lab, from: &str, to: &str) {
    eventually(&format!("{from} reaches {to}"), || lab.ping(from, to).is_some_and(|answer| answer.arrived));
}

/// ER-12, ARS-06, BGP-22: a site that speaks no BGP on its circuit gets what the edge has heard as routes of its kernel, and
/// loses them with what said them: a branch's session, a file's static ranges, an appliance, a link.
fn edge_tells(active_active: bool) {
    let dir = tempfile::TempDir::new().unwrap();
    let conf = dir.path().join("nva");
    std::fs::write(&conf, APPLIANCE).unwrap();
    let conf = if has_program("bird") { conf.display().to_string() } else { String::new() };
    let topology = silent(active_active, &conf);
    let Some(lab) = Lab::up(&topology) else { return };
    let appliance: &[&str] = if conf.is_empty() { &[] } else { &["192.168.80.0/24"] };
    let all = [&["10.1.0.0/16", "172.29.0.0/24", "192.168.2.0/24"], appliance].concat();
    both(&lab, "the site has all that the edge hears", &all);
    for to in ["172.29.0.10", "192.168.2.10"] {
        reaches(&lab, "dc", to);
    }
    for from in ["branch", "old"] {
        reaches(&lab, from, "192.168.1.10");
    }
    // A later file.
    let more = topology.replace("addressSpace: [172.29.0.0/24]", "addressSpace: [172.29.0.0/24, 172.29.9.0/24]");
    assert_ne!(more, topology);
    assert!(lab.apply(&more).status.success());
    let with_more = [&["10.1.0.0/16", "172.29.0.0/24", "172.29.9.0/24", "192.168.2.0/24"], appliance].concat();
    both(&lab, "one more range of the branch", &with_more);
    let apart = topology.replace("allowBranchToBranchTraffic: true", "allowBranchToBranchTraffic: false");
    assert!(lab.apply(&apart).status.success());
    both(&lab, "branches apart", &["10.1.0.0/16"]);
    assert!(lab.apply(&topology).status.success());
    both(&lab, "branches together again", &all);
    // The gateway.
    let instances: &[&str] = if active_active { &["1", "2"] } else { &["1"] };
    for instance in instances {
        succeeds(&lab, &["gateway", "failover", "vpn", "--instance", instance, "--seconds", "3600"]);
    }
    both(&lab, "without the VPN gateway", &[&["10.1.0.0/16"], appliance].concat());
    for instance in instances {
        succeeds(&lab, &["gateway", "failover", "vpn", "--instance", instance, "--seconds", "0"]);
    }
    both(&lab, "with it again", &all);
    reaches(&lab, "dc", "172.29.0.10");
    // The links: what has failed or is switched off has no routes, and has all that is known by then when it is back.
    succeeds(&lab, &["circuit", "fail", "london", "primary", "--seconds", "3600"]);
    eventually("the failed link has none", || on(&lab, "er0").is_empty());
    assert!(lab.apply(&more).status.success());
    eventually("the other link hears on", || on(&lab, "er1") == with_more);
    reaches(&lab, "dc", "172.29.0.10");
    succeeds(&lab, &["circuit", "fail", "london", "--seconds", "0"]);
    both(&lab, "mended", &with_more);
    lab.switch("dc", "er1", "down");
    eventually("the first is left", || on(&lab, "er1").is_empty() && on(&lab, "er0") == with_more);
    lab.switch("dc", "er1", "up");
    both(&lab, "switched on", &with_more);
    lab.flap("dc", "er1");
    both(&lab, "on again before anyone looked", &with_more);
    // No peer is there to advertise anything to it.
    succeeds(&lab, &["gateway", "failover", "er", "--seconds", "3600"]);
    both(&lab, "without the ExpressRoute gateway", &[]);
    succeeds(&lab, &["gateway", "failover", "er", "--seconds", "0"]);
    both(&lab, "with it", &with_more);
}

#[test]
fn ars_06_a_silent_site_and_an_active_standby_gateway() {
    edge_tells(false);
}

#[test]
fn ars_06_a_silent_site_and_an_active_active_gateway() {
    edge_tells(true);
}

/// ER-02: a site on two circuits sends what both say over the first's primary link, then its secondary, then the other's; and
/// a site that begins to speak BGP leaves nothing of this behind.
#[test]
fn er_02_a_silent_site_on_two_circuits() {
    let second = TOPOLOGY
        .replace("\nlocalNetworkGateways:", "\n  - name: paris\n    serviceProviderProperties: {peeringLocation: Paris}\n    peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.1.0/30, secondaryPeerAddressPrefix: 172.30.1.4/30, vlanId: 10}]\nlocalNetworkGateways:")
        .replace("\nsites:", "\n  - {name: to-paris, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: paris}\nsites:")
        .replace("expressRouteCircuits: [london]", "expressRouteCircuits: [london, paris]");
    let quiet = second.replace(", bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.1.1}", "");
    let Some(lab) = Lab::up(&quiet) else { return };
    let first = |device: &str| {
        let way = stdout(&lab.exec("dc", &["ip", "route", "get", "172.29.0.10"]));
        way.contains(&format!("dev {device} "))
    };
    for (fail, left) in [("", "er0"), ("london primary", "er1"), ("london secondary", "er2"), ("paris primary", "er3")]
    {
        if !fail.is_empty() {
            succeeds(
                &lab,
                &[&["circuit", "fail"], &fail.split(' ').collect::<Vec<_>>()[..], &["--seconds", "3600"]].concat(),
            );
        }
        eventually(&format!("{left} after {fail}"), || first(left));
        reaches(&lab, "dc", "172.29.0.10");
    }
    for circuit in ["london", "paris"] {
        succeeds(&lab, &["circuit", "fail", circuit, "--seconds", "0"]);
    }
    eventually("the first again", || first("er0"));
    assert!(lab.apply(&second).status.success());
    eventually("what BGP says alone", || {
        let routes = stdout(&lab.exec("dc", &["ip", "route", "show", "172.29.0.0/24"]));
        routes.contains("proto bgp") && !routes.contains("scope link metric")
    });
}
