//! Destinations beyond the edge: followed there, and told what is known there.

use super::applied::File;
use super::{Path, SITE, StepKind, Verdict, ask, changes, compile, hop_query, load, next_hop, nodes, with};
use vnet::model::Learned;

const INTERNET: &str = include_str!("../../../config/internet.yaml");
const CIRCUIT: &str = include_str!("../../../config/private-cloud-full.yaml");

/// The answer, its cause, and that the fix makes the file one where the address answers.
fn followed(yaml: &str, source: &str, address: &str, cause: &str) {
    let file = File::parse(yaml);
    let answer = file.ask(source, address);
    assert_eq!(answer.verdict, Verdict::Blocked);
    let found = answer.cause.unwrap();
    assert!(found.starts_with(cause), "{found}");
    assert!(!found.contains("nobody has the address"), "{found}");
    let fix = answer.fix.unwrap();
    assert!(fix.checked, "{fix:?}");
    assert_eq!(file.with(&fix).ask(source, address).verdict, Verdict::Reachable);
}

#[test]
fn udr_15_a_public_address_is_followed_to_the_edge() {
    let by = "8.8.8.8 is beyond the edge: the packet leaves by system route 0.0.0.0/0 -> Internet";
    followed(
        INTERNET,
        "app",
        "8.8.8.8:443",
        &format!("{by}, as 203.0.113.10 (NAT gateway out); the node `internet` has no such"),
    );
    followed(
        INTERNET,
        "web",
        "8.8.8.8",
        &format!("{by}, as 203.0.113.77 (public IP web-ip); the node `internet` has no such"),
    );
    followed(super::PAIR, "va", "8.8.8.8:443", &format!("{by}, as"));
    // A private subnet has nothing to leave by: that is the next thing in the way.
    let answer = ask(INTERNET, "vault", "8.8.8.8:443");
    assert!(answer.cause.unwrap().starts_with(&format!("{by}; the node")));
    assert!(answer.further[0].cause.contains("defaultOutboundAccess off"), "{:?}", answer.further);
}

#[test]
fn vpn_12_an_address_in_a_local_network_gateways_range_is_followed_to_the_site() {
    followed(
        SITE,
        "app",
        "192.168.50.77",
        "192.168.50.77 is beyond the edge, in 192.168.50.0/24 of dc: the packet arrives at dc over dc/hub-dc, whose `addresses`",
    );
    let fix = ask(SITE, "app", "192.168.50.77").fix.unwrap();
    assert_eq!(changes(&fix), [("sites[0].addresses", "['192.168.50.10', '192.168.50.77']")]);
    // Without the site the tunnel has no other end.
    let sites = SITE.find("\nsites:").unwrap();
    let machines = SITE.find("\nvirtualMachines:").unwrap();
    let tests = SITE.find("\ntests:").unwrap();
    let alone = format!("{}{}\n", &SITE[..sites], &SITE[machines..tests]);
    let cause = ask(&alone, "app", "192.168.50.10").cause.unwrap();
    let known = "192.168.50.10 is in the range of local network gateway dc-lng (198.51.100.50), which connection hub-dc of \
                 gateway hub-gw leads to; gateway hub-gw cannot send to 192.168.50.10";
    assert!(cause.starts_with(known), "{cause}");
    // Nothing knows it: neither a network nor a gateway.
    let cause = ask(SITE, "app", "192.168.77.1").cause.unwrap();
    let route = "system route 192.168.0.0/16 -> None is all there is";
    assert_eq!(
        cause,
        format!("192.168.77.1 is in no range of this network or of what its gateways lead to, and {route}")
    );
}

/// VPN-11, VPN-12: what the file can say, it is told to say.
#[test]
fn vpn_12_ranges_that_are_missing_are_added() {
    let space = "addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]";
    let yaml = with(SITE, space, "addressSpace: [192.168.50.0/24, 192.168.51.0/24], addresses: [192.168.51.10]");
    let file = File::parse(&yaml);
    let fix = file.ask("app", "dc").fix.unwrap();
    assert_eq!(changes(&fix), [("localNetworkGateways[0].localNetworkAddressSpace[1]", "192.168.51.0/24")]);
    assert!(fix.checked);
    assert_eq!(file.with(&fix).ask("app", "dc").verdict, Verdict::Reachable);
    let keys = "addresses: [192.168.50.10], sharedKey: a-secret";
    let file = File::parse(&with(SITE, keys, &format!("{keys}, routes: [10.10.0.0/16]")));
    let fix = file.ask("dc", "app").fix.unwrap();
    assert_eq!(changes(&fix), [("sites[0].routes[1]", "10.20.0.0/16")]);
    assert_eq!(file.with(&fix).ask("dc", "app").verdict, Verdict::Reachable);
}

/// A branch of the virtual network's own range: its machines share one address by ports, the network's have one each.
const NATTED: &str = "
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.1.0/24]
    subnets: [{name: s, addressPrefix: 10.0.1.0/25}, {name: GatewaySubnet, addressPrefix: 10.0.1.224/27}]
virtualNetworkGateways:
  - name: gw
    virtualNetwork: v
    publicIPAddress: gw
    sku: VpnGw2
    natRules:
      - {name: net-out, mode: EgressSnat, internalMappings: [{addressSpace: 10.0.1.0/24}], externalMappings: [{addressSpace: 172.30.1.0/24}]}
      - {name: branch-in, type: Dynamic, mode: IngressSnat, internalMappings: [{addressSpace: 10.0.1.0/24}], externalMappings: [{addressSpace: 172.30.3.9/32}]}
publicIPAddresses: [{name: gw, sku: Standard}]
localNetworkGateways: [{name: branch, gatewayIpAddress: 198.51.100.52, localNetworkAddressSpace: [10.0.1.0/24]}]
connections:
  - {name: to-branch, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: branch, sharedKey: k, ingressNatRules: [branch-in], egressNatRules: [net-out]}
sites: [{name: branch, gatewayIpAddress: 198.51.100.52, addressSpace: [10.0.1.0/24], addresses: [10.0.1.10]}]
virtualMachines: [{name: app, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.1.4}]}]
";

/// VPN-15: a dynamic rule carries pings as well as ports, and each rule on the way is named.
#[test]
fn vpn_15_what_nat_rules_translate_is_reported() {
    for destination in ["app", "app:80"] {
        let answer = ask(NATTED, "branch", destination);
        assert_eq!(answer.verdict, Verdict::Reachable, "{:?}", answer.cause);
        let steps = answer.forward.hops.iter().flat_map(|hop| &hop.steps);
        let rules = steps.filter(|step| step.what == StepKind::Translate).map(|step| step.object.as_str());
        assert_eq!(rules.collect::<Vec<_>>(), ["NAT rule net-out", "NAT rule branch-in"], "{destination}");
    }
}

/// VPN-16: the gateway that does not carry a packet is on its path.
#[test]
fn vpn_16_the_gateway_that_carries_no_such_pair_is_met() {
    let selective =
        with(SITE, "connectionType: IPsec,", "connectionType: IPsec, usePolicyBasedTrafficSelectors: true,");
    let space = "addressSpace: [192.168.50.0/24], addresses: [192.168.50.10]";
    let answer =
        ask(&with(&selective, space, "addressSpace: [192.168.51.0/24], addresses: [192.168.51.10]"), "dc", "app");
    assert_eq!(answer.forward.dropped.as_deref(), Some("TrafficSelector"));
    assert_eq!(nodes(&answer.forward), ["dc", "hub-gw"]);
}

#[test]
fn er_05_an_address_at_a_circuit_is_followed_to_its_customer() {
    followed(
        CIRCUIT,
        "app",
        "192.168.90.99",
        "192.168.90.99 is beyond the edge, in 192.168.90.0/24 of dc: the packet arrives at dc over dc/er-london",
    );
    followed(
        CIRCUIT,
        "app",
        "10.176.1.99",
        "10.176.1.99 is beyond the edge, in segment web of sddc-web: the packet arrives at sddc-web",
    );
}

/// AVS-06: each router of a private cloud is named with the route that it uses.
#[test]
fn avs_06_routers_of_a_private_cloud_are_named() {
    let answer = ask(CIRCUIT, "sddc-web", "sddc-data");
    assert_eq!(nodes(&answer.forward), ["sddc-web", "sddc-T1", "sddc-T0", "sddc-T1-data", "sddc-data"]);
    let routes = |path: &Path| -> Vec<String> {
        let steps = path.hops.iter().flat_map(|hop| &hop.steps).filter(|step| step.what == StepKind::Route);
        steps.map(|step| format!("{} {}", step.object, step.text)).collect()
    };
    assert_eq!(
        routes(&answer.forward),
        [
            "default route to sddc-T0",
            "segment data, 10.176.3.0/24 to sddc-T1-data",
            "segment data, 10.176.3.0/24 to the segment, which is its own"
        ]
    );
    let answer = ask(CIRCUIT, "sddc-web", "app");
    assert_eq!(nodes(&answer.forward)[..4], ["sddc-web", "sddc-T1", "sddc-T0", "sddc-circuit"]);
    assert!(routes(&answer.forward).contains(&"routes of the circuit to the edge of sddc-circuit".to_owned()));
    let cut = CIRCUIT.replace("internet: Enabled ", "internet: Disabled ");
    let answer = ask(&cut, "sddc-web", "198.51.100.10");
    assert_eq!(answer.forward.dropped.as_deref(), Some("GatewayUnavailable"));
    assert_eq!(routes(&answer.forward), ["default route to sddc-T0"], "a route that is missing is not named");
    let network = load(CIRCUIT);
    let compiled = compile(&network, &Learned::default(), 1);
    let refused = next_hop(&network, &compiled, &hop_query("sddc-data", None, "10.90.1.4")).unwrap_err();
    assert!(refused.contains("its next hop is always Tier-1 router sddc-T1-data, 10.176.3.1"), "{refused}");
}
