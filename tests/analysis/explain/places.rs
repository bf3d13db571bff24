//! Ends of a question beside machines: empty subnets, gateways and their instances, sites.

use std::collections::BTreeSet;

use vnet::analysis::{self, EffectiveGroup, Probe, reach_among, traffic};

use super::{Learned, Verdict, ask, compile, load, try_ask};

const FILE: &str = "
name: p
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: app, addressPrefix: 10.1.1.0/24, networkSecurityGroup: n}
      - {name: empty, addressPrefix: 10.1.2.0/29, networkSecurityGroup: n, routeTable: away}
      - {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}
  - {name: off, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}]}
routeTables: [{name: away, routes: [{name: none, addressPrefix: 192.168.1.0/24, nextHopType: None}]}]
networkSecurityGroups: [{name: own}, {name: n, securityRules: [{name: web, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: 81}]}]
publicIPAddresses: [{name: p, sku: Standard}, {name: r, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, activeActive: true, sku: VpnGw2, ipConfigurations: [{subnet: hub/GatewaySubnet, publicIPAddress: p}, {subnet: hub/GatewaySubnet, publicIPAddress: r}]}
localNetworkGateways: [{name: dc-lng, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [192.168.1.0/24]}]
connections: [{name: c, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc-lng, sharedKey: k}]
sites: [{name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.1.0/24], addresses: [192.168.1.10], sharedKey: k}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: hub/app, networkSecurityGroup: own}]}
  - {name: off, powerState: stopped, networkInterfaces: [{subnet: hub/app}]}
";

/// A machine that would be there has the subnet's routes and rules.
#[test]
fn diag_13_a_subnet_is_an_end() {
    let answer = ask(FILE, "hub/empty", "a:80");
    assert_eq!((answer.verdict, answer.source.as_str()), (Verdict::Reachable, "hub/empty/eth0 (10.1.2.4)"));
    assert_eq!(ask(FILE, "a", "hub/empty:80").verdict, Verdict::Reachable);
    let denied = ask(FILE, "a", "hub/empty:81");
    assert!(denied.cause.unwrap().starts_with("NSG n on subnet hub/empty, rule securityRules/web"));
    let routed = ask(FILE, "hub/empty", "dc");
    assert!(routed.cause.unwrap().starts_with("route table away, route none"), "its own table");
    assert_eq!(ask(FILE, "hub/empty", "hub/empty:80").verdict, Verdict::Reachable, "two of them have two addresses");
    // A machine has the name of a virtual network, and neither hides the other.
    assert_eq!(ask(FILE, "off/s", "off/s:80").source, "off/s/eth0 (10.2.0.4)");
    assert!(ask(FILE, "off/eth0", "a").cause.unwrap().contains("machine off is stopped"));
    assert!(try_ask(FILE, "hub/nowhere", "a").is_err());
    // Three addresses are free, of which two machines take two.
    let full = format!(
        "{FILE}  - {{name: x, networkInterfaces: [{{subnet: hub/empty}}]}}\n  - {{name: y, networkInterfaces: [{{subnet: hub/empty}}]}}\n"
    );
    assert_eq!(ask(&full, "hub/empty", "a").source, "hub/empty/eth0 (10.1.2.6)");
    assert!(try_ask(&full, "hub/empty", "hub/empty").unwrap_err().contains("no free address"));
}

/// VPN-06: an instance answers, and is one by its own name.
#[test]
fn vpn_06_a_gateway_and_its_instances_are_ends() {
    for (name, address) in [("gw", "10.1.255.4"), ("gw#2", "10.1.255.5"), ("hub/GatewaySubnet", "10.1.255.4")] {
        let from = ask(FILE, name, "a");
        assert_eq!((from.verdict, from.source), (Verdict::Reachable, format!("gw ({address})")), "{name}");
        let to = ask(FILE, "a", name);
        assert_eq!((to.verdict, to.destination), (Verdict::Reachable, format!("gw ({address})")), "{name}");
    }
    assert!(try_ask(FILE, "gw#3", "a").is_err());
}

fn groups(target: &str) -> Vec<EffectiveGroup> {
    let network = load(FILE);
    analysis::rules(&network, &compile(&network, &Learned::default(), 1), target, |_| Some(7)).unwrap()
}

#[test]
fn diag_03_subnets_have_rules_and_gateways_have_none() {
    for (target, hits) in [("hub/app", Some(7)), ("hub/empty", None), ("off", Some(7))] {
        let groups = groups(target);
        let [group] = &groups[..] else { panic!("{target}: {groups:?}") };
        assert_eq!(group.network_security_group.as_ref().unwrap().id, "n");
        assert_eq!(
            group.effective_security_rules[0].hits, hits,
            "{target}: a machine that does not exist has no counters"
        );
        assert_eq!(group.tag_map["VirtualNetwork"][0].to_string(), "10.1.0.0/16");
    }
    assert_eq!(groups("a").len(), 2, "its interface has a group of its own, which the subnet has not");
    for target in ["gw", "gw#2", "dc", "hub/GatewaySubnet"] {
        assert_eq!(groups(target), [], "{target}");
    }
    let network = load(FILE);
    let compiled = compile(&network, &Learned::default(), 1);
    assert!(analysis::rules(&network, &compiled, "nobody", |_| None).is_err());
}

#[test]
fn reach_is_asked_among_some() {
    let network = load(FILE);
    let compiled = compile(&network, &Learned::default(), 1);
    let asked = traffic(&network, Some(Probe::Tcp(80)), BTreeSet::new());
    let names = ["hub/empty", "a", "gw#2", "off", "dc"].map(str::to_owned);
    let reach = reach_among(&network, &compiled, &names, &asked).unwrap();
    assert_eq!(reach.nodes, names);
    assert_eq!(reach.pairs.len(), 20);
    let verdict = |from: &str, to: &str| {
        reach.pairs.iter().find(|pair| (pair.source.as_str(), pair.destination.as_str()) == (from, to)).unwrap().verdict
    };
    assert_eq!(verdict("hub/empty", "a"), Verdict::Reachable);
    assert_eq!(verdict("hub/empty", "dc"), Verdict::Blocked, "its table");
    assert_eq!(verdict("a", "dc"), Verdict::Reachable);
    assert_eq!(verdict("gw#2", "a"), Verdict::Reachable);
    assert_eq!(verdict("a", "off"), Verdict::Blocked);
    let unknown = reach_among(&network, &compiled, &["nobody".to_owned()], &asked);
    assert!(unknown.unwrap_err().contains("`nobody`"));
}

/// DIAG-01: a gateway has no effective routes, and the answer says what shows its own.
#[test]
fn diag_01_a_gateway_has_no_effective_routes() {
    let network = load(super::SITE);
    let compiled = compile(&network, &Learned::default(), 1);
    for name in ["hub-gw", "HUB-GW", "hub-gw#2"] {
        let error = analysis::routes_of(&network, &compiled, name).unwrap_err();
        assert!(error.contains("`hub-gw` is a virtual network gateway"), "{error}");
        assert!(error.contains("`vnet bgp learned hub-gw`") && error.contains("`vnet routes hub/GatewaySubnet`"));
    }
}
