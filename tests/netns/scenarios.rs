//! The scenarios of Azure's rules, each by its id.

use serde_json::Value;
use vnet::wire::build;

use crate::capture::send_raw;
use crate::lab::{Lab, NEVER, SOON, eventually, ping};

/// Two VNets; `a` links to `b`, and `b` back if asked to.
fn two_vnets(back: bool) -> String {
    let back = if back { "[{name: b-a, remoteVirtualNetwork: b-peer-of-a}]" } else { "[]" };
    let back = back.replace("b-peer-of-a", "a");
    format!(
        "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]
    virtualNetworkPeerings: [{{name: a-b, remoteVirtualNetwork: b}}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.2.1.0/24}}]
    virtualNetworkPeerings: {back}
virtualMachines:
  - {{name: va, networkInterfaces: [{{subnet: a/s}}]}}
  - {{name: vb, networkInterfaces: [{{subnet: b/s}}]}}
"
    )
}

/// What differs between the variants of the chain S1 – NVA in H – S2 (CS-12 to CS-15).
struct Chain {
    forwarded: &'static str,
    s1_allows: bool,
    s2_allows: bool,
    nva_forwards: bool,
    s1_route: &'static str,
    s2_has_route: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            forwarded: "tag-only",
            s1_allows: false,
            s2_allows: false,
            nva_forwards: true,
            s1_route: "10.30.0.0/16",
            s2_has_route: true,
        }
    }
}

impl Chain {
    fn topology(&self) -> String {
        let Self { forwarded, s1_allows, s2_allows, nva_forwards, s1_route, s2_has_route } = self;
        let s2_table = if *s2_has_route { ", routeTable: rt-S2" } else { "" };
        format!(
            "
emulation: {{forwarded: {forwarded}}}
virtualNetworks:
  - name: s1
    location: westeurope
    addressSpace: [10.20.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.20.0.0/24, routeTable: rt-S1}}]
    virtualNetworkPeerings: [{{name: s1-h, remoteVirtualNetwork: h, allowForwardedTraffic: {s1_allows}}}]
  - name: s2
    location: westeurope
    addressSpace: [10.30.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.30.0.0/24{s2_table}}}]
    virtualNetworkPeerings: [{{name: s2-h, remoteVirtualNetwork: h, allowForwardedTraffic: {s2_allows}}}]
  - name: h
    location: westeurope
    addressSpace: [10.10.0.0/16]
    subnets: [{{name: s, addressPrefix: 10.10.0.0/24}}]
    virtualNetworkPeerings:
      - {{name: h-s1, remoteVirtualNetwork: s1, allowForwardedTraffic: false}}
      - {{name: h-s2, remoteVirtualNetwork: s2, allowForwardedTraffic: false}}
routeTables:
  - name: rt-S1
    routes:
      - {{name: via-nva, addressPrefix: {s1_route}, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}}
  - name: rt-S2
    routes:
      - {{name: via-nva, addressPrefix: 10.20.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4}}
virtualMachines:
  - {{name: v1, networkInterfaces: [{{subnet: s1/s, privateIPAddress: 10.20.0.4}}]}}
  - {{name: v2, networkInterfaces: [{{subnet: s2/s, privateIPAddress: 10.30.0.4}}]}}
  - name: nva
    guest: {{forwarding: true}}
    networkInterfaces: [{{subnet: h/s, privateIPAddress: 10.10.0.4, enableIPForwarding: {nva_forwards}}}]
  - {{name: hub, networkInterfaces: [{{subnet: h/s, privateIPAddress: 10.10.0.5}}]}}
"
        )
    }
}

/// Effective routes as `SOURCE PREFIX NEXT-HOP`.
fn routes(lab: &Lab, target: &str) -> Vec<String> {
    let answer = lab.data(&["routes", target]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = answer["value"].as_array().unwrap().iter();
    let rows = rows.flat_map(|row| {
        let (source, next_hop) = (word(&row["source"]), word(&row["nextHopType"]));
        let prefixes = row["addressPrefix"].as_array().unwrap().clone();
        prefixes.into_iter().map(move |prefix| format!("{source} {} {next_hop}", prefix.as_str().unwrap()))
    });
    rows.collect()
}

fn assert_route(lab: &Lab, target: &str, row: &str) {
    let routes = routes(lab, target);
    assert!(routes.iter().any(|route| route == row), "no `{row}` among {routes:#?}");
}

#[test]
fn cs_01_a_global_peering_of_contoso_and_fabrikam() {
    let Some(lab) = Lab::up(include_str!("../../config/contoso-fabrikam.yaml")) else { return };
    let expected = [
        "Default 10.1.26.0/25 VnetLocal",
        "Default 10.10.26.0/24 VNetGlobalPeering",
        "Default 0.0.0.0/0 Internet",
        "Default 10.0.0.0/8 None",
        "Default 172.16.0.0/12 None",
        "Default 192.168.0.0/16 None",
        "Default 100.64.0.0/10 None",
    ];
    for row in expected {
        assert_route(&lab, "contoso-vm", row);
    }
    assert_eq!(routes(&lab, "contoso-vm").len(), expected.len());
    lab.assert_ping("contoso-vm", "10.10.26.4");
    lab.assert_ping("fabrikam-vm", "10.1.26.4");
}

#[test]
fn cs_02_one_link_is_no_peering() {
    let Some(lab) = Lab::up(&two_vnets(false)) else { return };
    assert!(!routes(&lab, "va").iter().any(|route| route.contains("10.2.0.0/16")));
    lab.assert_dropped("va", "10.2.1.4", "va", "NextHopNone");
    drop(lab);

    let Some(lab) = Lab::up(&two_vnets(true)) else { return };
    assert_route(&lab, "va", "Default 10.2.0.0/16 VNetPeering");
    lab.assert_ping("va", "10.2.1.4");
    lab.assert_ping("vb", "10.1.1.4");
}

#[test]
fn cs_03_peering_is_not_transitive() {
    let Some(lab) = Lab::up(&Chain::default().topology().replace(", routeTable: rt-S1", "")) else { return };
    lab.assert_ping("v1", "10.10.0.5");
    lab.assert_dropped("v1", "10.30.0.4", "v1", "NextHopNone");
}

#[test]
fn cs_12_a_chain_through_an_appliance_and_forwarded_traffic() {
    let Some(lab) = Lab::up(&Chain::default().topology()) else { return };
    let at_nva = lab.capture("nva");
    lab.assert_ping("v1", "10.30.0.4");
    // Each packet enters and leaves the appliance.
    assert_eq!(at_nva.count("10.20.0.4", "10.30.0.4", 2, SOON), 2);
    drop(lab);

    let enforced = Chain { forwarded: "enforce", ..Chain::default() };
    let Some(lab) = Lab::up(&enforced.topology()) else { return };
    lab.assert_dropped("v1", "10.30.0.4", "nva", "ForwardedTraffic");
    drop(lab);

    let s2_allows = Chain { s2_allows: true, ..enforced };
    let Some(lab) = Lab::up(&s2_allows.topology()) else { return };
    let at_s2 = lab.capture("v2");
    lab.assert_dropped("v1", "10.30.0.4", "nva", "ForwardedTraffic");
    assert_eq!(at_s2.count("10.20.0.4", "10.30.0.4", 1, SOON), 1, "the request reaches S2");
    drop(lab);

    let Some(lab) = Lab::up(&Chain { s1_allows: true, ..s2_allows }.topology()) else { return };
    lab.assert_ping("v1", "10.30.0.4");
}

#[test]
fn cs_13_an_appliance_without_ip_forwarding() {
    let Some(lab) = Lab::up(&Chain { nva_forwards: false, ..Chain::default() }.topology()) else { return };
    lab.assert_dropped("v1", "10.30.0.4", "v1", "NotForwarding");
    assert_route(&lab, "v1", "User 10.30.0.0/16 VirtualAppliance");
}

#[test]
fn cs_14_no_way_back() {
    let Some(lab) = Lab::up(&Chain { s2_has_route: false, ..Chain::default() }.topology()) else { return };
    let at_s2 = lab.capture("v2");
    lab.assert_dropped("v1", "10.30.0.4", "v2", "NextHopNone");
    assert_eq!(at_s2.count("10.20.0.4", "10.30.0.4", 1, SOON), 1, "the request reaches S2");
}

#[test]
fn cs_15_the_longer_peering_route_wins() {
    let Some(lab) = Lab::up(&Chain { s1_route: "10.0.0.0/8", ..Chain::default() }.topology()) else { return };
    let (at_nva, also_at_nva) = (lab.capture("nva"), lab.capture("nva"));
    lab.assert_ping("v1", "10.10.0.5");
    lab.assert_ping("v1", "10.30.0.4");
    assert_eq!(at_nva.count("10.20.0.4", "10.30.0.4", 2, SOON), 2);
    assert_eq!(also_at_nva.count("10.20.0.4", "10.10.0.5", 1, NEVER), 0, "the hub is reached directly");
    let routes = routes(&lab, "v1");
    assert!(routes.contains(&"User 10.0.0.0/8 VirtualAppliance".into()), "{routes:#?}");
    assert!(!routes.contains(&"Default 10.0.0.0/8 None".into()), "{routes:#?}");
    assert!(routes.contains(&"Default 172.16.0.0/12 None".into()), "{routes:#?}");
}

#[test]
fn cs_16_an_appliance_between_machines_of_one_subnet() {
    let topology = |more: &str| {
        format!(
            "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.40.0.0/16]
    subnets:
      - {{name: s, addressPrefix: 10.40.0.0/24, routeTable: rt}}
      - {{name: nva, addressPrefix: 10.40.9.0/24}}
routeTables:
  - name: rt
    routes:
      - {{name: all, addressPrefix: 10.40.0.0/16, nextHopType: VirtualAppliance, nextHopIpAddress: 10.40.9.4}}
      {more}
virtualMachines:
  - {{name: v4, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: v5, networkInterfaces: [{{subnet: v/s}}]}}
  - {{name: nva, networkInterfaces: [{{subnet: v/nva, enableIPForwarding: true}}]}}
"
        )
    };
    let Some(lab) = Lab::up(&topology("")) else { return };
    let at_nva = lab.capture("nva");
    lab.assert_ping("v4", "10.40.0.5");
    assert_eq!(at_nva.count("10.40.0.4", "10.40.0.5", 2, SOON), 2);
    drop(lab);

    let Some(lab) = Lab::up(&topology("- {name: own, addressPrefix: 10.40.0.0/24, nextHopType: VnetLocal}")) else {
        return;
    };
    let at_nva = lab.capture("nva");
    lab.assert_ping("v4", "10.40.0.5");
    assert_eq!(at_nva.count("10.40.0.4", "10.40.0.5", 1, NEVER), 0, "the way is direct");
}

#[test]
fn cs_18_a_route_back_to_the_appliance_circles_in_the_guest() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.40.0.0/16]
    subnets: [{name: s, addressPrefix: 10.40.0.0/24, routeTable: rt}]
routeTables:
  - name: rt
    routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, nextHopIpAddress: 10.40.0.9}]
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.40.0.4}]}
  - {name: nva, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.40.0.9, enableIPForwarding: true}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    let at_nva = lab.capture("nva");
    let answer = lab.inside("client", || ping("8.8.8.8", 8, SOON)).unwrap();
    // The appliance's own kernel gives up: the fabric never decrements (FAB-05).
    assert_eq!((answer.from, answer.arrived), ("10.40.0.9".parse().unwrap(), false));
    // In with hop limit 8, out with 7, in with 7, and so on; at 1 it goes out no more.
    assert_eq!(at_nva.count("10.40.0.4", "8.8.8.8", 16, NEVER), 15);
    assert_eq!(lab.drops("nva", "NoInternet"), 0, "no packet leaves");
}

#[test]
fn cs_49_deny_all_between_machines_of_one_subnet() {
    let topology = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24, networkSecurityGroup: closed}]
networkSecurityGroups:
  - name: closed
    securityRules:
      - {name: in, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
      - {name: out, priority: 4096, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: v4, networkInterfaces: [{subnet: v/s}]}
  - {name: v5, networkInterfaces: [{subnet: v/s}]}
";
    let Some(lab) = Lab::up(topology) else { return };
    lab.assert_dropped("v4", "10.1.1.5", "v4", "NsgOutbound");
}

/// The half that needs no change of a running lab: a session lives by its record while new ones are refused.
#[test]
fn cs_50_a_session_lives_by_its_record() {
    let Some(lab) = Lab::up(include_str!("../../config/nsg-tiers.yaml")) else { return };
    // web -> app:8080 is allowed inbound at app; nothing is allowed inbound at web but 80 and 443, and app's answers pass.
    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8080, 200_000), Some(200_000));
    // The same pair the other way round, as a new flow: web's rules let VirtualNetwork in, app's do not.
    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8081, 0), None);
    assert!(lab.drops("web", "NsgInbound") > 0);
    // db may not begin anything, but answers what app begins.
    assert_eq!(lab.tcp("app", "db", "10.40.3.4", 5432, 200_000), Some(200_000));
    assert_eq!(lab.tcp("db", "app", "10.40.2.4", 8080, 0), None);
    assert!(lab.drops("db", "NsgOutbound") > 0);
}

#[test]
fn cs_54_the_fabric_is_no_hop() {
    let Some(lab) = Lab::up(&Chain::default().topology()) else { return };
    // FAB-03: the subnet's first address answers nobody.
    assert_eq!(lab.ping("v1", "10.20.0.1"), None);
    // FAB-05: a peered machine is one hop away, one behind a Linux appliance two.
    let at = |to: &'static str, hop_limit| lab.inside("v1", || ping(to, hop_limit, SOON)).unwrap();
    assert!(at("10.10.0.5", 1).arrived);
    assert_eq!(at("10.30.0.4", 1).from.to_string(), "10.10.0.4");
    assert!(at("10.30.0.4", 2).arrived);
}

#[test]
fn cs_55_what_azure_does_not_carry() {
    let Some(lab) = Lab::up(&two_vnets(true)) else { return };
    let (src, dst) = ("10.1.1.4".parse().unwrap(), "10.2.1.4".parse().unwrap());
    let to = |address: &str| build::udp("10.1.1.4:4000".parse().unwrap(), address.parse().unwrap(), b"hello");
    let dropped = [
        (build::raw(src, dst, 47, &[0; 16]), "BlockedProtocol"),
        (build::raw(src, dst, 4, &build::icmp_echo(src, dst, 1, 1, false)), "BlockedProtocol"),
        (to("224.0.0.1:4000"), "Multicast"),
    ];
    for (packet, reason) in dropped {
        let before = lab.drops("va", reason);
        lab.inside("va", || send_raw(&packet));
        eventually(reason, || lab.drops("va", reason) == before + 1);
    }
    let total = || -> u64 {
        let rows = lab.data(&["drops"]);
        rows.as_array()
            .unwrap()
            .iter()
            .filter(|row| row["node"] == "va")
            .map(|row| row["packets"].as_u64().unwrap())
            .sum()
    };
    let before = total();
    // The guest's own kernel knows the subnet's broadcast address and needs the raw socket's leave.
    lab.inside("va", || send_raw(&to("10.1.1.255:4000")));
    eventually("the broadcast is dropped", || total() > before);

    let at_b = lab.capture("vb");
    lab.inside("va", || send_raw(&build::raw(src, dst, 50, &[0; 32])));
    assert_eq!(at_b.count("10.1.1.4", "10.2.1.4", 1, SOON), 1, "ESP between machines is carried");
}
