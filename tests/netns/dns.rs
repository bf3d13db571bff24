//! The platform's resolver, asked by real clients.

use std::net::UdpSocket;
use std::time::Duration;

use crate::lab::{Lab, has_program, stderr, stdout};

const PLATFORM: &str = "168.63.129.16:53";
/// Long enough on a busy machine; a question that is dropped costs it whole.
const PATIENCE: Duration = Duration::from_secs(2);

const TOPOLOGY: &str = "
emulation: {dns: true}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets: [{name: s, addressPrefixes: [10.1.0.0/24, 'fd00:1::/64'], networkSecurityGroup: none}]
    virtualNetworkPeerings: [{name: v-w, remoteVirtualNetwork: w}]
  - name: w
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: w-v, remoteVirtualNetwork: v}]
networkSecurityGroups:
  - name: none
    securityRules:
      - {name: in, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
      - {name: out, priority: 4096, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s}]}
  - {name: DB, networkInterfaces: [{subnet: v/s}]}
  - {name: far, networkInterfaces: [{subnet: w/s}]}
";

const A: u8 = 1;
const PTR: u8 = 12;
const AAAA: u8 = 28;

/// The answer's code, and the data of its records; none if nobody answers.
fn ask(lab: &Lab, node: &str, name: &str, kind: u8) -> Option<(u8, Vec<Vec<u8>>)> {
    let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    let reply = lab.inside(node, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query, PLATFORM).unwrap();
        let mut reply = vec![0; 512];
        let (length, from) = socket.recv_from(&mut reply).ok()?;
        assert_eq!(from.to_string(), PLATFORM);
        reply.truncate(length);
        Some(reply)
    })?;
    assert_eq!(reply[..2], [0xab, 0xcd]);
    let mut records = Vec::new();
    let mut rest = &reply[query.len()..];
    for _ in 0..reply[7] {
        let length = usize::from(rest[11]);
        records.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    Some((reply[3] & 0xf, records))
}

#[test]
fn fab_12_and_nsg_30_names_of_the_virtual_network_resolve_whatever_its_groups_deny() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    assert_eq!(ask(&lab, "web", "db.internal.cloudapp.net", A), Some((0, vec![vec![10, 1, 0, 5]])));
    assert_eq!(ask(&lab, "web", "Db", A), Some((0, vec![vec![10, 1, 0, 5]])));
    let six = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5].to_vec();
    assert_eq!(ask(&lab, "web", "db.internal.cloudapp.net", AAAA), Some((0, vec![six])));
    let name = b"\x02db\x08internal\x08cloudapp\x03net\0".to_vec();
    assert_eq!(ask(&lab, "web", "5.0.1.10.in-addr.arpa", PTR), Some((0, vec![name])));
    assert_eq!(ask(&lab, "web", "nobody.internal.cloudapp.net", A), Some((3, vec![])), "there is no such name");
    assert_eq!(ask(&lab, "web", "example.com", A), Some((5, vec![])), "it asks nobody else");
    if has_program("getent") {
        let found = lab.exec("web", &["getent", "ahostsv4", "db.internal.cloudapp.net"]);
        assert!(stdout(&found).starts_with("10.1.0.5 "), "{}{}", stdout(&found), stderr(&found));
    }
}

#[test]
fn peer_12_names_do_not_resolve_across_a_peering() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    assert_eq!(ask(&lab, "far", "web.internal.cloudapp.net", A), Some((3, vec![])));
    assert_eq!(ask(&lab, "far", "far.internal.cloudapp.net", A), Some((0, vec![vec![10, 2, 0, 4]])));
}

#[test]
fn nsg_30_a_rule_that_names_the_resolver_takes_it_away_and_machines_that_come_are_known() {
    let Some(lab) = Lab::up(TOPOLOGY) else { return };
    let new = "  - {name: new, networkInterfaces: [{subnet: v/s}]}\n";
    lab.apply(&format!("{TOPOLOGY}{new}"));
    assert_eq!(ask(&lab, "DB", "new", A), Some((0, vec![vec![10, 1, 0, 6]])));
    let denial = "    securityRules:
      - {name: dns, priority: 100, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: AzurePlatformDNS, destinationPortRange: '*'}
";
    lab.apply(&TOPOLOGY.replacen("    securityRules:\n", denial, 1));
    assert_eq!(ask(&lab, "web", "db", A), None);
    assert!(lab.drops("web", "NsgOutbound") > 0);
}
