//! Load balancers over IPv6.

use super::*;

/// Over IPv6: an internal load balancer and a public one in a dual-stack subnet; interfaces join by what the pools
/// are for.
const SIX: &str = "
name: six
internet: {addresses: ['2001:db8:ffff::1', 198.18.0.1]}
publicIPAddresses: [{name: six, publicIPAddressVersion: IPv6, ipAddress: '2001:db8:fe::30'}]
loadBalancers:
  - name: in
    frontendIPConfigurations: [{name: six, subnet: v/s, privateIPAddress: 'fd00:1::100', privateIPAddressVersion: IPv6}]
    backendAddressPools: [{name: web}]
    probes: [{name: tcp, protocol: Tcp, port: 8080}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: six, backendAddressPool: web, probe: tcp, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
  - name: out
    frontendIPConfigurations: [{name: six, publicIPAddress: six}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: six, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080, disableOutboundSnat: true}
    outboundRules:
      - {name: out, frontendIPConfigurations: [six], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 1000}
networkSecurityGroups:
  - name: open
    securityRules: [{name: all, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: '*', sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16, 'fd00:1::/48'], subnets: [{name: s, addressPrefixes: [10.1.1.0/24, 'fd00:1::/64'], networkSecurityGroup: open}]}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::a', loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::b', loadBalancerBackendAddressPools: [in/web, out/web]}]}
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 'fd00:1::c'}]}
";

const FAR_SIX: &str = "2001:db8:ffff::1";

fn six(node: &str) -> &'static str {
    if node == "a" { "fd00:1::a" } else { "fd00:1::b" }
}

#[test]
fn lb_01_lb_06_a_private_frontend_over_ipv6() {
    let lab = Lab::new(SIX);
    let mut seen = BTreeSet::new();
    for port in 1000..1032 {
        let (node, bytes) = lab.send("client", &tcp(("fd00:1::c", port), ("fd00:1::100", 80), SYN)).unwrap();
        assert_eq!(bytes, tcp(("fd00:1::c", port), (six(&node), 8080), SYN));
        let answer = lab.send(&node, &tcp((six(&node), 8080), ("fd00:1::c", port), SYN | ACK));
        assert_eq!(answer, Ok(("client".to_owned(), tcp(("fd00:1::100", 80), ("fd00:1::c", port), SYN | ACK))));
        seen.insert(node);
    }
    assert_eq!(seen.len(), 2);
    let (node, bytes) = lab.send("client", &tcp(("fd00:1::c", 1), ("fd00:1::100", 80), ACK)).unwrap();
    assert_eq!((node.as_str(), bytes[6], bytes[53]), ("client", 6, 0x04), "reset (LB-25)");
}

#[test]
fn lb_43_snat_05_a_public_frontend_over_ipv6_both_ways() {
    let lab = Lab::new(SIX);
    let front = "2001:db8:fe::30";
    let (node, bytes) = lab.send("internet", &tcp((FAR_SIX, 7), (front, 80), SYN)).unwrap();
    assert_eq!(bytes, tcp((FAR_SIX, 7), (six(&node), 8080), SYN));
    let answer = lab.send(&node, &tcp((six(&node), 8080), (FAR_SIX, 7), SYN | ACK));
    assert_eq!(answer, Ok(("internet".to_owned(), tcp((front, 80), (FAR_SIX, 7), SYN | ACK))));
    // What a backend begins has a port of its share.
    let (to, bytes) = lab.send("b", &udp((six("b"), 7), (FAR_SIX, 53))).unwrap();
    let port = u16::from_be_bytes([bytes[40], bytes[41]]);
    assert!((2024..3024).contains(&port), "{port}");
    assert_eq!((to.as_str(), bytes), ("internet", udp((front, port), (FAR_SIX, 53))));
    let answer = lab.send("internet", &udp((FAR_SIX, 53), (front, port)));
    assert_eq!(answer, Ok(("b".to_owned(), udp((FAR_SIX, 53), (six("b"), 7)))));
    assert_eq!(lab.send("client", &udp(("fd00:1::c", 7), (FAR_SIX, 53))), Err(DropReason::NoOutbound), "SNAT-02");
}

#[test]
fn lb_10_nsg_31_a_probe_over_ipv6_comes_from_the_router_that_guests_know() {
    let lab = Lab::new(SIX);
    let router = "fe80::1234:5678:9abc";
    let probe = tcp((router, 50_000), (six("a"), 8080), SYN);
    assert_eq!(lab.send("platform", &probe), Ok(("a".to_owned(), probe)));
    let answer = tcp((six("a"), 8080), (router, 50_000), SYN | ACK);
    assert_eq!(lab.send("a", &answer), Ok(("platform".to_owned(), answer)));
    assert_eq!(lab.send("a", &tcp((six("a"), 9), (router, 50_001), SYN)), Err(DropReason::NsgOutbound));
    let closed = SIX
        .replace("sourceAddressPrefix: '*'", "sourceAddressPrefix: AzureLoadBalancer")
        .replace("access: Allow", "access: Deny");
    let denied = Lab::new(&closed).send("client", &tcp(("fd00:1::c", 7), ("fd00:1::100", 80), SYN));
    assert_eq!(denied, Err(DropReason::NoHealthyBackend));
}
