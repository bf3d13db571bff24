//! Route servers: appliances run BIRD, speak with both instances, and what they announce is where packets go.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::lab::{Lab, eventually, has_program, stderr, stdout};

/// A hub with two appliances and a spoke that uses its route server; `more` goes to the hub, `rest` to the file.
fn topology(appliances: &Appliances, server: &str, rest: &str) -> String {
    let run = |name: &str| format!("[bird, -f, -c, {conf}, -s, {conf}.ctl]", conf = appliances.path(name).display());
    format!(
        "virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {{name: RouteServerSubnet, addressPrefix: 10.0.1.0/27}}
      - {{name: GatewaySubnet, addressPrefix: 10.0.9.0/27}}
      - {{name: nva, addressPrefix: 10.0.2.0/24}}
      - {{name: quiet, addressPrefix: 10.0.4.0/24, routeTable: quiet}}
    virtualNetworkPeerings: [{{name: hub-spoke, remoteVirtualNetwork: spoke, allowGatewayTransit: true}}]
  - name: spoke
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{{name: app, addressPrefix: 10.1.1.0/24}}]
    virtualNetworkPeerings: [{{name: spoke-hub, remoteVirtualNetwork: hub, useRemoteGateways: true}}]
routeTables: [{{name: quiet, disableBgpRoutePropagation: true}}]
routeServers:
  - name: rs
    virtualNetwork: hub
    bgpConnections: [{{name: to-nva1, peerIp: 10.0.2.4, peerAsn: 65001}}, {{name: to-nva2, peerIp: 10.0.2.5, peerAsn: 4200000002}}]
    {server}
virtualMachines:
  - {{name: nva1, networkInterfaces: [{{subnet: hub/nva, privateIPAddress: 10.0.2.4, enableIPForwarding: true}}], sandbox: none, run: {}}}
  - {{name: nva2, networkInterfaces: [{{subnet: hub/nva, privateIPAddress: 10.0.2.5, enableIPForwarding: true}}], sandbox: none, run: {}}}
  - {{name: app, networkInterfaces: [{{subnet: spoke/app}}]}}
  - {{name: quiet, networkInterfaces: [{{subnet: hub/quiet}}]}}
{rest}",
        run("nva1"),
        run("nva2"),
    )
}

/// The configurations of nva1, AS 65001 at 10.0.2.4, and nva2, AS 4200000002 at 10.0.2.5, which has more than 16 bits (ARS-01).
struct Appliances(TempDir);

impl Appliances {
    fn new() -> Self {
        let all = Self(TempDir::new().unwrap());
        all.say("nva1", &["192.168.80.0/24"], "");
        all.say("nva2", &["192.168.80.0/24"], "");
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What an appliance announces, and what it does to each route before.
    fn say(&self, name: &str, prefixes: &[&str], with: &str) {
        let (host, asn) = if name == "nva1" { (4, 65001_u32) } else { (5, 4_200_000_002) };
        let routes: Vec<_> = prefixes.iter().map(|prefix| format!("route {prefix} blackhole; ")).collect();
        let routes = routes.concat();
        let text = format!(
            "log stderr all;
router id 10.0.2.{host};
protocol device {{}}
protocol static {{ ipv4; {routes} }}
filter announced {{ if source != RTS_STATIC then reject; {with} accept; }}
template bgp azure {{
  local 10.0.2.{host} as {asn};
  multihop;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export filter announced; }};
}}
protocol bgp rs0 from azure {{ neighbor 10.0.1.4 as 65515; }}
protocol bgp rs1 from azure {{ neighbor 10.0.1.5 as 65515; }}
"
        );
        fs::write(self.path(name), text).unwrap();
    }

    /// Has a running appliance go by its configuration as it is now.
    fn configure(&self, lab: &Lab, name: &str) {
        let output = self.ask(lab, name, "configure");
        assert!(output.contains("Reconfigur"), "{output}");
    }

    fn ask(&self, lab: &Lab, name: &str, command: &str) -> String {
        let socket = format!("{}.ctl", self.path(name).display());
        let output = lab.exec(name, &[&["birdc", "-s", &socket][..], &command.split(' ').collect::<Vec<_>>()].concat());
        stdout(&output) + &stderr(&output)
    }
}

/// A lab with appliances that speak BGP; what they advertise, 192.168.80.10, is an address of each.
fn up(server: &str, rest: &str) -> Option<(Lab, Appliances)> {
    if !has_program("bird") {
        return None;
    }
    let appliances = Appliances::new();
    let lab = Lab::up(&topology(&appliances, server, rest))?;
    for name in ["nva1", "nva2"] {
        assert!(lab.exec(name, &["ip", "address", "add", "192.168.80.10/32", "dev", "lo"]).status.success());
    }
    Some((lab, appliances))
}

/// The next hops of a node's rows to a prefix, one each (SYS-09a); none without one.
fn hops(lab: &Lab, node: &str, prefix: &str) -> Vec<String> {
    let routes = lab.data(&["routes", node]);
    let rows = routes["value"].as_array().unwrap().iter().filter(|row| row["addressPrefix"][0] == prefix);
    let hop = |row: &serde_json::Value| {
        assert_eq!([&row["source"], &row["nextHopType"]], ["VirtualNetworkGateway"; 2], "ARS-08: {row}");
        assert_eq!(row["nextHopIpAddress"].as_array().unwrap().len(), 1, "{row}");
        row["nextHopIpAddress"][0].as_str().unwrap().to_owned()
    };
    rows.map(hop).collect()
}

fn leads(lab: &Lab, node: &str, prefix: &str, to: &[&str]) {
    let mut last = Vec::new();
    eventually(&format!("{node} goes to {prefix} by {to:?}, not {last:?}"), || {
        last = hops(lab, node, prefix);
        last == to
    });
}

/// ARS-02, ARS-03, ARS-05, ARS-08, RSEL-06, UDR-34: what two appliances announce leads to both, in the hub and in the spoke, and
/// to one when the other has withdrawn it or is gone; a table without propagation has none of it.
#[test]
fn ars_03_flows_are_spread_over_the_appliances_that_announce() {
    let Some((lab, appliances)) = up("", "") else { return };
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.4", "10.0.2.5"]);
    lab.assert_ping("app", "192.168.80.10");
    assert_eq!(hops(&lab, "quiet", "192.168.80.0/24"), [""; 0]);
    lab.assert_dropped("quiet", "192.168.80.10", "quiet", "NextHopNone");
    let explained = lab.vnet(&["explain", "app", "192.168.80.10"]);
    let explained = stdout(&explained);
    assert!(explained.contains("verdict  reachable"), "what an appliance announces is behind it: {explained}");
    eventually("the appliance hears of the spoke", || {
        appliances.ask(&lab, "nva1", "show route 10.1.0.0/16 all").contains("BGP.as_path: 65515")
    });

    // ARS-02: the other appliance learns the next hop.
    appliances.say("nva2", &["192.168.90.0/24"], "");
    appliances.configure(&lab, "nva2");
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.4"]);
    leads(&lab, "app", "192.168.90.0/24", &["10.0.2.5"]);
    eventually("the next hop is as it was", || {
        let route = appliances.ask(&lab, "nva1", "show route 192.168.90.0/24 all");
        route.contains("BGP.next_hop: 10.0.2.5") && route.contains("BGP.as_path: 65515 4200000002")
    });
    lab.assert_ping("app", "192.168.80.10");
    appliances.ask(&lab, "nva1", "down");
    leads(&lab, "app", "192.168.80.0/24", &[]);
    let told = |event: &str| {
        let events = lab.data(&["events"]);
        events.as_array().unwrap().iter().filter(|one| one["event"] == event).count()
    };
    eventually("both instances tell of the session's end", || told("BgpSessionDown") >= 2);
    assert_eq!(told("BgpSessionDown"), 2);
    eventually("changes of routes are told", || told("BgpRoutesChanged") >= 3);
}

/// ARS-03, ARS-04, ARS-07: the shorter path alone is taken, no announcement takes what is the virtual networks' own, and what
/// is not to be passed on is not.
#[test]
fn ars_03_the_shorter_path_wins_alone() {
    let Some((lab, appliances)) = up("", "") else { return };
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.4", "10.0.2.5"]);
    appliances.say("nva1", &["192.168.80.0/24"], "bgp_path.prepend(65001);");
    appliances.configure(&lab, "nva1");
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.5"]);
    appliances.say("nva2", &["192.168.80.0/24", "10.1.1.0/25"], "bgp_community.add((65535, 65282));");
    appliances.configure(&lab, "nva2");
    eventually("the route server knows the part of the spoke", || {
        lab.data(&["bgp", "learned", "rs"]).as_array().unwrap().iter().any(|row| row["network"] == "10.1.1.0/25")
    });
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.5"]);
    lab.assert_ping("quiet", "10.1.1.4");
    lab.assert_ping("nva1", "10.1.1.4");
    let told = appliances.ask(&lab, "nva1", "show route 10.1.1.0/25");
    assert!(told.contains("not found"), "NO_ADVERTISE: {told}");
}

/// ARS-01, LIM-24: a thousand and one routes are too many, and others are not concerned.
#[test]
fn lim_24_too_many_routes_end_a_session() {
    let Some((lab, appliances)) = up("", "") else { return };
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.4", "10.0.2.5"]);
    let many: Vec<_> = (0..1000).map(|i| format!("172.{}.{}.0/24", 16 + i / 256, i % 256)).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    appliances.say("nva1", &many, "");
    appliances.configure(&lab, "nva1");
    leads(&lab, "app", "172.19.231.0/24", &["10.0.2.4"]);
    many.push("172.31.0.0/24");
    appliances.say("nva1", &many, "");
    appliances.configure(&lab, "nva1");
    leads(&lab, "app", "172.19.231.0/24", &[]);
    assert_eq!(hops(&lab, "app", "192.168.80.0/24"), ["10.0.2.5"]);
    eventually("the reason is told", || {
        let events = lab.data(&["events"]);
        let mut ends = events.as_array().unwrap().iter().filter(|event| event["event"] == "BgpSessionDown");
        ends.any(|event| event["reason"].as_str().unwrap().contains("Maximum Number of Prefixes"))
    });
}

/// ARS-06: with branch-to-branch traffic a site hears of what appliances announce, and appliances of the site; without it
/// neither does, and packets go both ways all the same where a route exists.
#[test]
fn ars_06_sites_and_appliances_hear_of_each_other() {
    let gateway = "publicIPAddresses: [{name: p, sku: Standard}]
virtualNetworkGateways: [{name: gw, virtualNetwork: hub, publicIPAddress: p, enableBgp: true}]
localNetworkGateways: [{name: l, gatewayIpAddress: 198.51.100.1, bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.50.1}}]
connections: [{name: c, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: l, sharedKey: k, enableBgp: true}]
sites: [{name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], bgpSettings: {asn: 65010, bgpPeeringAddress: 192.168.50.1}}]
";
    let Some((lab, appliances)) = up("", gateway) else { return };
    let dc_knows =
        |prefix: &str| stdout(&lab.exec("dc", &["ip", "route"])).lines().any(|line| line.starts_with(prefix));
    let nva_knows = || appliances.ask(&lab, "nva1", "show route 192.168.50.0/24 all");
    leads(&lab, "app", "192.168.80.0/24", &["10.0.2.4", "10.0.2.5"]);
    eventually("the site hears of the hub", || dc_knows("10.0.0.0/16"));
    assert!(!dc_knows("192.168.80.0/24"));
    assert!(nva_knows().contains("not found"));
    lab.apply(&topology(&appliances, "allowBranchToBranchTraffic: true", gateway));
    eventually("the site hears of what appliances announce", || dc_knows("192.168.80.0/24"));
    eventually("appliances hear of the site", || nva_knows().contains("BGP.as_path: 65515 65010"));
    lab.assert_ping("dc", "192.168.80.10");
    lab.apply(&topology(&appliances, "", gateway));
    eventually("the site forgets it", || !dc_knows("192.168.80.0/24"));
}
