//! Routes to several appliances with real packets: each flow goes where the model says, and a changed route moves flows
//! that are under way.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::capture::Capture;
use crate::lab::sockets::bound;
use crate::lab::{Lab, SOON, stderr};

const SPREAD: &str = "
virtualNetworks:
  - name: h
    location: westeurope
    addressSpace: [10.10.0.0/16]
    subnets: [{name: s, addressPrefix: 10.10.0.0/24}]
    virtualNetworkPeerings: [{name: h-s1, remoteVirtualNetwork: s1}, {name: h-s2, remoteVirtualNetwork: s2}]
  - name: s1
    location: westeurope
    addressSpace: [10.20.0.0/16]
    subnets: [{name: s, addressPrefix: 10.20.0.0/24, routeTable: rt-s1}]
    virtualNetworkPeerings: [{name: s1-h, remoteVirtualNetwork: h, allowForwardedTraffic: true}]
  - name: s2
    location: westeurope
    addressSpace: [10.30.0.0/16]
    subnets: [{name: s, addressPrefix: 10.30.0.0/24, routeTable: rt-s2}]
    virtualNetworkPeerings: [{name: s2-h, remoteVirtualNetwork: h, allowForwardedTraffic: true}]
routeTables:
  - name: rt-s1
    routes:
      - {name: to-s2, addressPrefix: 10.30.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}}
  - name: rt-s2
    routes:
      - {name: to-s1, addressPrefix: 10.20.0.0/16, nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}}
virtualMachines:
  - {name: nva1, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
  - {name: nva2, networkInterfaces: [{subnet: h/s, enableIPForwarding: true}]}
  - {name: v1, networkInterfaces: [{subnet: s1/s}]}
  - {name: v2, networkInterfaces: [{subnet: s2/s}]}
";

const SERVER: &str = "10.30.0.4:7000";

/// The ways that `explain` tells of datagrams from v1 to v2: a source port, and the appliance there and back.
fn ways(lab: &Lab) -> Vec<(u16, String, String)> {
    let output = lab.vnet(&["explain", "v1", "v2:7000/udp", "-o", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["verdict"], "reachable");
    let branches = answer["branches"].as_array().unwrap().iter();
    let name = |way: &serde_json::Value| way[0].as_str().unwrap().to_owned();
    let way = |branch: &serde_json::Value| {
        let port = u16::try_from(branch["sourcePort"].as_u64().unwrap()).unwrap();
        (port, name(&branch["via"]), name(&branch["viaReturn"]))
    };
    branches.map(way).collect()
}

/// Asks once and is answered; the appliances that were seen to forward, there and back.
fn round_trip(lab: &Lab, client: &UdpSocket, server: &UdpSocket) -> (String, String) {
    let watch = || ["nva1", "nva2"].map(|nva| (nva, lab.capture(nva)));
    let (there, back) = (watch(), watch());
    let mut buffer = [0; 16];
    client.send_to(b"?", SERVER).unwrap();
    let (_, peer) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    server.send_to(b"!", peer).unwrap();
    client.recv_from(&mut buffer).unwrap();
    // Both came through, so the appliance that forwarded them has seen them: in and out again.
    let seen = |captures: &[(&str, Capture)], src, dst| {
        let passed = |capture: &Capture| capture.count(src, dst, 2, Duration::from_millis(50)) == 2;
        let nvas: Vec<_> = captures.iter().filter(|(_, capture)| passed(capture)).map(|(nva, _)| *nva).collect();
        nvas.join(" ")
    };
    (seen(&there, "10.20.0.4", "10.30.0.4"), seen(&back, "10.30.0.4", "10.20.0.4"))
}

fn socket_at(lab: &Lab, node: &str, address: SocketAddr) -> UdpSocket {
    let socket = lab.inside(node, || bound(|| UdpSocket::bind(address)));
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

#[test]
fn rsel_06_flows_take_the_ways_that_explain_tells() {
    let Some(lab) = Lab::up(SPREAD) else { return };
    let server = socket_at(&lab, "v2", SERVER.parse().unwrap());
    let ways = ways(&lab);
    assert_eq!(ways.len(), 4, "each of two there, each of two back");
    let mut moved = None;
    for (port, there, back) in ways {
        let client = socket_at(&lab, "v1", SocketAddr::from(([10, 20, 0, 4], port)));
        for _ in 0..3 {
            assert_eq!(round_trip(&lab, &client, &server), (there.clone(), back.clone()), "port {port}");
        }
        moved = (there == "nva2" && back == "nva2").then_some(client).or(moved);
    }
    // RSEL-07: the flow of the second appliance goes on through the first, at its next packet.
    let client = moved.unwrap();
    let one = "nextHopType: VirtualAppliance, nextHopIpAddress: 10.10.0.4";
    let both = "nextHopType: VirtualApplianceEcmp, nextHop: {nextHopIpAddresses: [10.10.0.4, 10.10.0.5]}";
    lab.apply(&lab.named(&SPREAD.replace(both, one)));
    assert_eq!(round_trip(&lab, &client, &server), ("nva1".to_owned(), "nva1".to_owned()));
}
