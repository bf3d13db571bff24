//! What is in the file already is used before something new is proposed, and only what is missing is changed.

use super::applied::File;
use super::balancers::mended;
use super::{try_ask, with};

const INTERNET: &str = include_str!("../../../config/internet.yaml");
const NAT: &str = include_str!("../../../config/vpn-nat.yaml");
const PUBLIC: &str = include_str!("../../../config/public-load-balancer.yaml");

/// SNAT-05: an outbound rule of one protocol carries both; the addresses of running flows stay.
#[test]
fn snat_05_an_outbound_rule_is_made_for_both_protocols() {
    let yaml = with(PUBLIC, "protocol: All, allocatedOutboundPorts", "protocol: Tcp, allocatedOutboundPorts");
    let change = ("loadBalancers[0].outboundRules[0].protocol", "All");
    mended(&yaml, ("web1", "internet:53/udp"), "its outbound rule out is not for UDP", &[change]);
}

/// SNAT-03: a NAT gateway that no subnet has comes before a new one.
#[test]
fn snat_03_an_unused_nat_gateway_is_attached() {
    let yaml = with(INTERNET, "10.60.2.0/24, natGateway: out", "10.60.2.0/24, defaultOutboundAccess: false");
    let change = ("virtualNetworks[0].subnets[1].natGateway", "out");
    mended(&yaml, ("app", "internet:443"), "defaultOutboundAccess off", &[change]);
}

/// SNAT-03: so does a public address that nothing has.
#[test]
fn snat_03_an_unused_public_address_is_given() {
    let yaml = "
internet: {}
publicIPAddresses: [{name: used, ipAddress: 203.0.113.5}, {name: spare, ipAddress: 203.0.113.6}]
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/24, defaultOutboundAccess: false}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s}]}
  - {name: b, networkInterfaces: [{subnet: v/s, publicIPAddress: used}]}
";
    let path = "virtualMachines[0].networkInterfaces[0].publicIPAddress";
    mended(yaml, ("a", "internet:443"), "no public address", &[(path, "spare")]);
}

/// PIP-04: a group that nothing has, and that allows the port, is attached to the subnet.
#[test]
fn pip_04_an_unattached_group_is_used() {
    let yaml = with(PUBLIC, "10.80.1.0/24, networkSecurityGroup: web", "10.80.1.0/24");
    let change = ("virtualNetworks[0].subnets[0].networkSecurityGroup", "web");
    mended(&yaml, ("internet", "203.0.113.30:80"), "has an NSG", &[change]);
    // One that is for another port is not meant.
    let other = with(&yaml, "['8080', '22']", "['8081', '22']");
    let fix = File::parse(&other).ask("internet", "203.0.113.30:80").fix.unwrap();
    assert_eq!(fix.changes[0].path, "networkSecurityGroups[1]");
}

/// PIP-01: the Internet cannot ask a machine without a public address; one that nothing has is named.
#[test]
fn pip_01_an_unused_public_address_is_named() {
    let yaml = with(INTERNET, "{subnet: shop/web, publicIPAddress: web-ip}", "{subnet: shop/web}");
    let error = try_ask(&yaml, "internet", "web:443").unwrap_err();
    assert!(error.ends_with("the Internet cannot ask it; give it web-ip, which nothing has"), "{error}");
}

/// VPN-15: an ingress rule that no connection has is given to the one without a rule for that range.
#[test]
fn vpn_15_a_nat_rule_is_named_in_a_connection() {
    let mut file = File::parse(NAT);
    let connections = file.0["connections"].as_array_mut().unwrap();
    let at = connections.iter().position(|one| one["ingressNatRules"][0] == "branch1-in").unwrap();
    connections[at].as_object_mut().unwrap().remove("ingressNatRules");
    let path = format!("connections[{at}].ingressNatRules");
    let cause = "172.30.2.10 is what NAT rule branch1-in of gateway gw makes of 10.0.1.0/24";
    mended(&file.0.to_string(), ("app", "172.30.2.10"), cause, &[(&path, "[branch1-in]")]);
}
