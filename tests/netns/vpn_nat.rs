//! VPN gateways that translate, with real packets: networks that all have one range, an address for many, and BGP by other
//! names (VPN-15).

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use serde_json::Value;

use crate::lab::sockets::bound;
use crate::lab::{Lab, SOON, eventually, pattern, stderr, stdout};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/vpn-nat.yaml");

/// Of the first branch.
const ONE_ADDRESS: &str = "addresses: [10.0.1.10]}\n  - {name: branch2";
const TWO_ADDRESSES: &str = "addresses: [10.0.1.10, 10.0.1.11]}\n  - {name: branch2";

fn up(edit: impl Fn(String) -> String) -> Option<Lab> {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    Lab::up(&edit(text.replace("name: vpn-nat\n", "")))
}

/// Bytes that arrive over TCP, sent to an address that the receiver does not know as its own.
fn stream(lab: &Lab, (from, to): (&str, &str), address: &str, length: usize) -> usize {
    let address: SocketAddr = address.parse().unwrap();
    let listener = lab.inside(to, || bound(|| TcpListener::bind(("0.0.0.0", address.port()))));
    let mut client = lab.inside(from, || TcpStream::connect_timeout(&address, SOON).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let sender = thread::spawn(move || client.write_all(&pattern(length)).unwrap());
    let mut received = Vec::new();
    server.read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert!(received == pattern(length), "what arrived is not what was sent");
    received.len()
}

/// Whether a datagram to such an address is answered.
fn datagram(lab: &Lab, (from, to): (&str, &str), address: &str, length: usize) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let socket = |node: &str, port| {
        let socket = lab.inside(node, || bound(|| UdpSocket::bind(("0.0.0.0", port))));
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    };
    let (server, client) = (socket(to, address.port()), socket(from, 0));
    client.connect(address).unwrap();
    client.send(&pattern(length)).unwrap();
    let mut buffer = vec![0; 65_536];
    let (received, peer) = server.recv_from(&mut buffer).unwrap();
    assert!(buffer[..received] == pattern(length), "what arrived is not what was sent");
    server.send_to(b"!", peer).unwrap();
    client.recv(&mut buffer).is_ok_and(|answered| answered == 1)
}

/// Whether a datagram to a closed port brings its sender the error.
fn is_refused(lab: &Lab, from: &str, address: &str) -> bool {
    let socket = lab.inside(from, || UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(address).unwrap();
    socket.send(b"?").unwrap();
    socket.recv(&mut [0; 8]).unwrap_err().kind() == ErrorKind::ConnectionRefused
}

/// VPN-15: three networks of one range reach each other by the addresses that static rules give them, from either side;
/// an error about a packet comes home, and `explain` names the rules.
#[test]
fn vpn_15_networks_of_one_range() {
    let Some(lab) = up(|text| text) else { return };
    for (from, to) in
        [("app", "172.30.2.10"), ("app", "172.30.3.10"), ("branch1", "172.30.1.4"), ("branch2", "172.30.1.4")]
    {
        lab.assert_ping(from, to);
    }
    assert_eq!(stream(&lab, ("app", "branch1"), "172.30.2.10:5000", 1 << 20), 1 << 20, "a stream, and answers to it");
    assert_eq!(stream(&lab, ("branch2", "app"), "172.30.1.4:5001", 1 << 20), 1 << 20, "the other way");
    // Larger than the tunnel's packets: in fragments, and translated all the same.
    assert!(datagram(&lab, ("branch1", "app"), "172.30.1.4:5002", 4000), "fragments");
    // A closed port: the error quotes a packet by its sender's own addresses, or it would not reach the sender.
    assert!(is_refused(&lab, "app", "172.30.3.10:9"));
    let said = lab.vnet(&["explain", "app", "172.30.3.10", "--verify"]);
    assert!(said.status.success(), "{}{}", stdout(&said), stderr(&said));
    for line in ["NAT rule branch2-in", "destination 172.30.3.10 becomes 10.0.1.10", "NAT rule net-out"] {
        assert!(stdout(&said).contains(line), "no {line} in {}", stdout(&said));
    }
    let by_name = lab.vnet(&["explain", "branch1", "app", "--verify"]);
    assert!(by_name.status.success(), "{}{}", stdout(&by_name), stderr(&by_name));
    assert!(stdout(&by_name).contains("172.30.1.4"), "by the name that the site has for it: {}", stdout(&by_name));
}

/// VPN-15: a dynamic rule translates ports (PAT) for flows that begin inside; no flow can begin outside.
#[test]
fn vpn_15_a_dynamic_rule_is_one_way() {
    let dynamic = |text: String| {
        text.replace("{name: branch1-in, mode", "{name: branch1-in, type: Dynamic, mode")
            .replace("addressSpace: 172.30.2.0/24", "addressSpace: 172.30.2.9/32")
            .replace(ONE_ADDRESS, TWO_ADDRESSES)
    };
    let Some(lab) = up(dynamic) else { return };
    assert_eq!(stream(&lab, ("branch1", "app"), "172.30.1.4:5000", 1 << 16), 1 << 16);
    assert!(datagram(&lab, ("branch1", "app"), "172.30.1.4:5001", 200));
    let peer = lab.inside("app", || TcpListener::bind("0.0.0.0:5003").unwrap());
    let client = lab.inside("branch1", || TcpStream::connect("172.30.1.4:5003").unwrap());
    let (_stream, from) = peer.accept().unwrap();
    assert_eq!(from.ip().to_string(), "172.30.2.9", "all come from the one address");
    drop(client);
    lab.assert_dropped("app", "172.30.2.9", "app", "Unsolicited");
    // Echoes by their identifiers: two that are alike at two addresses of the branch get an answer each.
    let answers = |from: &str| {
        let asked = lab.exec("branch1", &["ping", "-c2", "-i0.2", "-W2", "-e", "77", "-I", from, "172.30.1.4"]);
        stdout(&asked).contains("2 received")
    };
    assert!(answers("10.0.1.10") && answers("10.0.1.11"));
    let verified = lab.vnet(&["explain", "branch1", "app", "--verify"]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
    // An error about a datagram comes home by its port.
    assert!(is_refused(&lab, "branch1", "172.30.1.4:9"));
    // The flows that use its ports name the rule.
    let rows = lab.data(&["snat"]);
    let of_rule = |row: &&Value| row["publicAddress"] == "172.30.2.9";
    let mut sources = rows.as_array().unwrap().iter().filter(of_rule).map(|row| &row["source"]).peekable();
    assert!(sources.peek().is_some() && sources.all(|source| source == "NAT rule branch1-in"), "{rows}");
}

/// VPN-15: a static rule with port ranges is about those ports alone, each of which has another one outside, from either
/// side; all else of the address is as it was, by another rule or by none. Two machines share an address by their ports.
#[test]
fn vpn_15_a_rule_for_some_ports() {
    let rule = |name: &str, own: u8, (inside, outside): (&str, &str)| {
        format!(
            "      - {{name: {name}, mode: IngressSnat, internalMappings: [{{addressSpace: 10.0.1.{own}/32, portRange: {inside}}}], \
             externalMappings: [{{addressSpace: 172.30.9.9/32, portRange: {outside}}}]}}\n"
        )
    };
    let rules = rule("ten", 10, ("5000-5009", "6000-6009")) + &rule("eleven", 11, ("5000-5009", "7000-7009"));
    let with_ports = |text: String| {
        text.replace("      - {name: branch1-in", &(rules.clone() + "      - {name: branch1-in"))
            .replace("ingressNatRules: [branch1-in]", "ingressNatRules: [ten, eleven, branch1-in]")
            .replace(ONE_ADDRESS, TWO_ADDRESSES)
            .replace(
                "localNetworkAddressSpace: [10.0.1.0/24]}\n  - {name: branch2-lng",
                "localNetworkAddressSpace: [10.0.1.0/24, 172.30.9.9/32]}\n  - {name: branch2-lng",
            )
    };
    let Some(lab) = up(with_ports) else { return };
    for (own, outside) in [("10.0.1.10:5003", "172.30.9.9:6003"), ("10.0.1.11:5009", "172.30.9.9:7009")] {
        let listener = lab.inside("branch1", || bound(|| TcpListener::bind(own)));
        let mut client = lab.inside("app", || TcpStream::connect_timeout(&outside.parse().unwrap(), SOON).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"there").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        server.write_all(b"and back").unwrap();
        drop(server);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "and back", "{own} as {outside}");
    }
    // From inside, and larger than the tunnel's packets: in fragments, of which the first alone has ports.
    let server = lab.inside("app", || UdpSocket::bind("0.0.0.0:5100").unwrap());
    server.set_read_timeout(Some(SOON)).unwrap();
    let from = |own: &str| {
        let client = lab.inside("branch1", || bound(|| UdpSocket::bind(own)));
        client.set_read_timeout(Some(SOON)).unwrap();
        client.send_to(&pattern(4000), "172.30.1.4:5100").unwrap();
        let mut buffer = vec![0; 8000];
        let (received, from) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..received] == pattern(4000));
        server.send_to(b"!", from).unwrap();
        let (answered, of) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((answered, of.to_string().as_str()), (1, "172.30.1.4:5100"));
        from.to_string()
    };
    assert_eq!(from("10.0.1.11:5001"), "172.30.9.9:7001");
    assert_eq!(from("10.0.1.10:5010"), "172.30.2.10:5010", "another port goes by the rule for the rest");
    lab.assert_ping("app", "172.30.2.10");
    // A closed port: the error quotes the packet by its sender's own address and port.
    assert!(is_refused(&lab, "app", "172.30.9.9:6009"));
    let said = lab.vnet(&["explain", "app", "172.30.9.9:7005/Udp", "--verify"]);
    assert!(said.status.success(), "{}{}", stdout(&said), stderr(&said));
    assert!(stdout(&said).contains("NAT rule eleven"), "{}", stdout(&said));
}

/// VPN-15: with `enableBgpRouteTranslationForNat` each side learns the other's range by its other name, over a session whose
/// own packets are translated too; without it by its own, which the gateway does not take.
#[test]
fn vpn_15_routes_are_translated() {
    let speaking = |translates: &str| {
        let translates = translates.to_owned();
        move |text: String| {
            text.replace("    sku: VpnGw2\n", &format!("    sku: VpnGw2\n    enableBgp: true\n    {translates}\n"))
                .replace("gatewayIpAddress: 198.51.100.51, localNetworkAddressSpace: [10.0.1.0/24]", "gatewayIpAddress: 198.51.100.51, bgpSettings: {asn: 65010, bgpPeeringAddress: 172.30.2.10}")
                .replace("localNetworkGateway2: branch1-lng,", "localNetworkGateway2: branch1-lng, enableBgp: true,")
                .replace("{name: branch1, gatewayIpAddress: 198.51.100.51,", "{name: branch1, gatewayIpAddress: 198.51.100.51, bgpSettings: {asn: 65010, bgpPeeringAddress: 10.0.1.10},")
        }
    };
    let Some(lab) = up(speaking("enableBgpRouteTranslationForNat: true")) else { return };
    let networks = |node: &str| {
        let rows = lab.data(&["bgp", "learned", node]);
        let rows = rows.as_array().unwrap().clone();
        rows.iter().map(|row| row["network"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("the gateway knows the branch by its other name", || {
        networks("gw").contains(&"172.30.2.0/24".to_owned())
    });
    eventually("the branch knows the network by its other name", || {
        networks("branch1").contains(&"172.30.1.0/24".to_owned())
    });
    eventually("packets go by it", || lab.ping("app", "172.30.2.10").is_some());
    lab.assert_ping("branch1", "172.30.1.4");
    let text = fs::read_to_string(EXAMPLE).unwrap().replace("name: vpn-nat\n", "");
    let applied = lab.apply(&speaking("enableBgpRouteTranslationForNat: false")(text));
    assert!(applied.status.success(), "{}", stderr(&applied));
    eventually("the gateway knows it no more", || !networks("gw").contains(&"172.30.2.0/24".to_owned()));
}
