//! The edge of the fabric in memory: from a file's public addresses and NAT gateways to translated packets and back.
//!
//! Each test sends packets through the tables of one small topology, on a clock of its own. What leaves and comes in is
//! compared with the same packet written afresh with the other addresses, so checksums are right to the bit.

use std::net::{IpAddr, SocketAddr};

use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{DropReason, FlowLimits, Flows, PortId, Quiet, Timestamp, Verdict, process};
use vnet::model::{Attachment, Learned, Network};
use vnet::wire::{Offload, Packet, build};

const FILE: &str = "
name: edge
internet: {addresses: [198.18.0.1, 198.18.0.2, '2001:db8:ffff::1']}
publicIPAddresses:
  - {name: pip, ipAddress: 203.0.113.77}
  - {name: bare, ipAddress: 203.0.113.78}
  - {name: both, ipAddress: 203.0.113.79}
  - {name: six, ipAddress: '2001:db8:feed::77', publicIPAddressVersion: IPv6}
  - {name: out, ipAddress: 203.0.113.10}
natGateways: [{name: out, publicIpAddresses: [out], idleTimeoutInMinutes: 10}]
networkSecurityGroups:
  - name: open
    securityRules:
      - {name: in, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: Internet,
         sourcePortRange: '*', destinationAddressPrefix: 10.1.0.0/16, destinationPortRange: '*'}
      - {name: in6, priority: 110, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: Internet,
         sourcePortRange: '*', destinationAddressPrefix: 'fd00::/16', destinationPortRange: '*'}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets:
      - {name: open, addressPrefixes: [10.1.1.0/24, 'fd00:1:0:1::/64'], networkSecurityGroup: open}
      - {name: plain, addressPrefix: 10.1.2.0/24}
      - {name: nat, addressPrefix: 10.1.3.0/24, natGateway: out, networkSecurityGroup: open}
      - {name: private, addressPrefix: 10.1.4.0/24, defaultOutboundAccess: false}
virtualMachines:
  - name: web
    networkInterfaces:
      - ipConfigurations:
          - {name: a, subnet: v/open, privateIPAddress: 10.1.1.4, publicIPAddress: pip}
          - {name: b, subnet: v/open, privateIPAddress: 10.1.1.5}
          - {name: c, subnet: v/open, privateIPAddress: 'fd00:1:0:1::4', privateIPAddressVersion: IPv6, publicIPAddress: six}
  - {name: bare, networkInterfaces: [{subnet: v/plain, privateIPAddress: 10.1.2.4, publicIPAddress: bare}]}
  - {name: app, networkInterfaces: [{subnet: v/nat, privateIPAddress: 10.1.3.4}]}
  - {name: both, networkInterfaces: [{subnet: v/nat, privateIPAddress: 10.1.3.5, publicIPAddress: both}]}
  - {name: jobs, networkInterfaces: [{subnet: v/plain, privateIPAddress: 10.1.2.5}]}
  - {name: vault, networkInterfaces: [{subnet: v/private, privateIPAddress: 10.1.4.4}]}
  - {name: nva, networkInterfaces: [{subnet: v/plain, privateIPAddress: 10.1.2.9, enableIPForwarding: true}]}
";

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;

const HOST: &str = "198.18.0.1";

struct Lab {
    network: Network,
    compiled: Compiled,
    flows: Flows,
    now: u64,
}

/// Where a packet came out, and what it was then.
#[derive(Debug, PartialEq, Eq)]
struct Out {
    at: String,
    bytes: Vec<u8>,
}

impl Lab {
    fn new(file: &str) -> Self {
        let network = config::load(file, "edge.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
        let compiled = compile(&network, &Learned::default(), 1);
        Self { network, compiled, flows: Flows::new(FlowLimits { per_nic: 1000, total: 1000 }), now: 1 }
    }

    /// The same flows under another file.
    fn apply(&mut self, file: &str) {
        let Self { network, compiled, .. } = Self::new(file);
        (self.network, self.compiled) = (network, compiled);
    }

    fn node(&self, port: PortId) -> String {
        match self.compiled.ids().attachment(port).unwrap() {
            Attachment::Nic(nic) => self.network.vm(self.network.nic(nic).virtual_machine).name.clone(),
            Attachment::Internet => "internet".to_owned(),
            Attachment::Gateway(_)
            | Attachment::Tunnel(_)
            | Attachment::Platform(_)
            | Attachment::Edge(_)
            | Attachment::CircuitLink(..)
            | Attachment::RouteServer(_)
            | Attachment::CloudRouter(..)
            | Attachment::Segment(..) => {
                unreachable!("this network has no gateway and no probe")
            }
            Attachment::Vnet(_) => unreachable!("no VNet is attached"),
        }
    }

    fn send(&self, node: &str, bytes: &[u8]) -> Result<Out, DropReason> {
        self.send_offloaded(node, bytes, Offload::default()).map(|(out, _)| out)
    }

    fn send_offloaded(&self, node: &str, bytes: &[u8], offload: Offload) -> Result<(Out, Offload), DropReason> {
        let port = (0..16).map(PortId).find(|port| self.node(*port) == node).unwrap();
        let mut bytes = bytes.to_vec();
        let mut packet = Packet::parse(&mut bytes, offload).unwrap();
        let now = Timestamp(self.now * 1_000_000_000);
        match process(&self.compiled.snapshot, &self.flows, port, now, &mut packet, &mut Quiet) {
            Verdict::Forward(port) => {
                let out = Out { at: self.node(port), bytes: packet.bytes().to_vec() };
                Ok((out, packet.offload()))
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// The port that a flow got: sends its first packet, which must leave from this address.
    fn mapped(&self, node: &str, bytes: &[u8], public: &str) -> u16 {
        let mut out = self.send(node, bytes).unwrap();
        assert_eq!(out.at, "internet");
        let packet = Packet::parse(&mut out.bytes, Offload::default()).unwrap();
        assert_eq!(packet.src(), ip(public));
        packet.tuple().src_port
    }
}

fn lab() -> Lab {
    Lab::new(FILE)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

fn tcp(src: (&str, u16), dst: (&str, u16), flags: u8) -> Vec<u8> {
    build::tcp(at(src.0, src.1), at(dst.0, dst.1), flags, b"data")
}

fn udp(src: (&str, u16), dst: (&str, u16)) -> Vec<u8> {
    build::udp(at(src.0, src.1), at(dst.0, dst.1), b"data")
}

fn ping(src: &str, dst: &str, reply: bool) -> Vec<u8> {
    build::icmp_echo(ip(src), ip(dst), 7, 1, reply)
}

#[expect(clippy::unnecessary_wraps, reason = "what tests compare with")]
fn out(node: &str, bytes: Vec<u8>) -> Result<Out, DropReason> {
    Ok(Out { at: node.to_owned(), bytes })
}

#[test]
fn pip_01_pip_03_nsg_05_a_public_address_stands_for_one_that_rules_know() {
    let lab = lab();
    assert_eq!(lab.send("web", &ping("10.1.1.4", HOST, false)), out("internet", ping("203.0.113.77", HOST, false)));
    assert_eq!(lab.send("internet", &ping(HOST, "203.0.113.77", true)), out("web", ping(HOST, "10.1.1.4", true)));
    let esp = |src, dst| build::raw(ip(src), ip(dst), 50, b"\x00\x00\x00\x01\x00\x00\x00\x01");
    assert_eq!(lab.send("web", &esp("10.1.1.4", HOST)), out("internet", esp("203.0.113.77", HOST)));
    let inward = tcp((HOST, 999), ("203.0.113.77", 443), SYN);
    assert_eq!(lab.send("internet", &inward), out("web", tcp((HOST, 999), ("10.1.1.4", 443), SYN)));
    let answer = tcp(("10.1.1.4", 443), (HOST, 999), SYN | ACK);
    assert_eq!(lab.send("web", &answer), out("internet", tcp(("203.0.113.77", 443), (HOST, 999), SYN | ACK)));
}

#[test]
fn pip_01_over_ipv6_too() {
    let lab = lab();
    let (own, public, host) = ("fd00:1:0:1::4", "2001:db8:feed::77", "2001:db8:ffff::1");
    assert_eq!(lab.send("web", &udp((own, 5), (host, 53))), out("internet", udp((public, 5), (host, 53))));
    assert_eq!(lab.send("internet", &ping(host, public, false)), out("web", ping(host, own, false)));
}

#[test]
fn pip_04_a_public_address_without_nsg_is_closed_and_answers_come_back() {
    let lab = lab();
    let inward = tcp((HOST, 999), ("203.0.113.78", 80), SYN);
    assert_eq!(lab.send("internet", &inward), Err(DropReason::NoSecurityGroup));
    lab.send("bare", &tcp(("10.1.2.4", 5000), (HOST, 80), SYN)).unwrap();
    let answer = tcp((HOST, 80), ("203.0.113.78", 5000), SYN | ACK);
    assert_eq!(lab.send("internet", &answer), out("bare", tcp((HOST, 80), ("10.1.2.4", 5000), SYN | ACK)));
}

#[test]
fn snat_02_default_outbound_is_a_port_of_a_shared_address() {
    let lab = lab();
    let port = lab.mapped("jobs", &udp(("10.1.2.5", 5000), (HOST, 53)), "203.0.113.254");
    let answer = udp((HOST, 53), ("203.0.113.254", port));
    assert_eq!(lab.send("internet", &answer), out("jobs", udp((HOST, 53), ("10.1.2.5", 5000))));
    assert_eq!(lab.mapped("jobs", &udp(("10.1.2.5", 5000), (HOST, 53)), "203.0.113.254"), port, "the same flow");
}

#[test]
fn snat_03_and_snat_04_a_source_without_translation_stays_inside() {
    let lab = lab();
    assert_eq!(lab.send("vault", &udp(("10.1.4.4", 1), (HOST, 53))), Err(DropReason::NoOutbound));
    // A public address on any of a machine's configurations switches default outbound access off.
    assert_eq!(lab.send("web", &udp(("10.1.1.5", 1), (HOST, 53))), Err(DropReason::NoOutbound));
}

#[test]
fn udr_18_nothing_stands_for_a_foreign_source() {
    let lab = lab();
    assert_eq!(lab.send("nva", &udp(("10.1.4.4", 1), (HOST, 53))), Err(DropReason::NoOutbound));
    lab.mapped("nva", &udp(("10.1.2.9", 1), (HOST, 53)), "203.0.113.254");
}

#[test]
fn udr_15_the_internet_carries_public_addresses_in_use() {
    let lab = lab();
    for unused in ["192.168.1.1", "100.64.0.1", "8.8.8.8"] {
        let dropped = lab.send("jobs", &udp(("10.1.2.5", 1), (unused, 53))).unwrap_err();
        assert!(matches!(dropped, DropReason::NoInternet | DropReason::NextHopNone), "{unused}: {dropped}");
    }
    assert_eq!(lab.send("internet", &udp(("8.8.8.8", 53), ("203.0.113.77", 1))), Err(DropReason::SpoofedSource));
    assert_eq!(lab.send("internet", &udp((HOST, 53), ("203.0.113.99", 1))), Err(DropReason::NoEndpoint));
    assert_eq!(lab.send("internet", &udp((HOST, 53), ("10.1.2.5", 1))), Err(DropReason::NoEndpoint));
}

#[test]
fn cs_63_nat_02_nat_03_new_flows_take_the_gateway_and_answers_the_way_they_came() {
    let lab = lab();
    lab.mapped("both", &tcp(("10.1.3.5", 5000), (HOST, 80), SYN), "203.0.113.10");
    let inward = tcp((HOST, 999), ("203.0.113.79", 443), SYN);
    assert_eq!(lab.send("internet", &inward), out("both", tcp((HOST, 999), ("10.1.3.5", 443), SYN)));
    let answer = tcp(("10.1.3.5", 443), (HOST, 999), SYN | ACK);
    assert_eq!(lab.send("both", &answer), out("internet", tcp(("203.0.113.79", 443), (HOST, 999), SYN | ACK)));
    assert_eq!(lab.send("both", &ping("10.1.3.5", HOST, false)), Err(DropReason::NotTranslatable));
    assert_eq!(lab.send("internet", &ping(HOST, "203.0.113.79", false)), out("both", ping(HOST, "10.1.3.5", false)));
    assert_eq!(lab.send("both", &ping("10.1.3.5", HOST, true)), out("internet", ping("203.0.113.79", HOST, true)));
}

#[test]
fn nat_03_unsolicited_packets_do_not_pass() {
    let lab = lab();
    let port = lab.mapped("app", &udp(("10.1.3.4", 5000), (HOST, 53)), "203.0.113.10");
    assert_eq!(lab.send("internet", &udp(("198.18.0.2", 53), ("203.0.113.10", port))), Err(DropReason::Unsolicited));
    assert_eq!(lab.send("internet", &udp((HOST, 54), ("203.0.113.10", port))), Err(DropReason::Unsolicited));
    assert_eq!(lab.send("internet", &ping(HOST, "203.0.113.10", false)), Err(DropReason::Unsolicited));
    assert!(lab.send("internet", &udp((HOST, 53), ("203.0.113.10", port))).is_ok());
}

#[test]
fn nat_04_a_segment_without_its_mapping_is_answered_by_a_reset() {
    let mut lab = lab();
    let port = lab.mapped("app", &tcp(("10.1.3.4", 5000), (HOST, 80), SYN), "203.0.113.10");
    lab.send("internet", &tcp((HOST, 80), ("203.0.113.10", port), SYN | ACK)).unwrap();
    lab.send("app", &tcp(("10.1.3.4", 5000), (HOST, 80), ACK)).unwrap();
    lab.now += 599;
    assert_eq!(lab.mapped("app", &tcp(("10.1.3.4", 5000), (HOST, 80), ACK), "203.0.113.10"), port, "10 minutes");
    lab.now += 601;
    let mut reset = lab.send("app", &tcp(("10.1.3.4", 5000), (HOST, 80), ACK)).unwrap();
    assert_eq!(reset.at, "app");
    let packet = Packet::parse(&mut reset.bytes, Offload::default()).unwrap();
    assert_eq!((packet.src(), packet.dst(), packet.len()), (ip(HOST), ip("10.1.3.4"), 40));
    assert_eq!((packet.tuple().src_port, packet.tuple().dst_port), (80, 5000));
    assert!(matches!(packet.transport(), vnet::wire::Transport::Ports { tcp_flags: RST, .. }));
    let own = tcp(("10.1.3.4", 5000), (HOST, 80), RST);
    assert_eq!(lab.send("app", &own), Err(DropReason::NoMapping), "a reset is not answered");
}

#[test]
fn nat_05_a_flow_keeps_what_stands_for_it() {
    let without = FILE.replace(", natGateway: out", "");
    let mut lab = Lab::new(&without);
    let (first, second) = (tcp(("10.1.3.5", 5000), (HOST, 80), SYN), tcp(("10.1.3.5", 5001), (HOST, 80), SYN));
    assert_eq!(lab.send("both", &first), out("internet", tcp(("203.0.113.79", 5000), (HOST, 80), SYN)));
    let port = lab.mapped("app", &tcp(("10.1.3.4", 6000), (HOST, 80), SYN), "203.0.113.254");
    lab.apply(FILE);
    let goes_on = tcp(("10.1.3.5", 5000), (HOST, 80), ACK);
    assert_eq!(lab.send("both", &goes_on), out("internet", tcp(("203.0.113.79", 5000), (HOST, 80), ACK)));
    lab.mapped("both", &second, "203.0.113.10");
    assert_eq!(lab.mapped("app", &tcp(("10.1.3.4", 6000), (HOST, 80), ACK), "203.0.113.254"), port);
    lab.mapped("app", &tcp(("10.1.3.4", 6001), (HOST, 80), SYN), "203.0.113.10");
}

#[test]
fn nat_07_a_route_to_an_appliance_bypasses_the_gateway() {
    let file = FILE.replace("natGateway: out,", "natGateway: out, routeTable: t,").replace(
        "virtualMachines:",
        "routeTables: [{name: t, routes: [{name: all, addressPrefix: 0.0.0.0/0, nextHopType: VirtualAppliance, \
         nextHopIpAddress: 10.1.2.9}]}]\nvirtualMachines:",
    );
    let lab = Lab::new(&file);
    let sent = udp(("10.1.3.4", 5000), (HOST, 53));
    assert_eq!(lab.send("app", &sent), out("nva", sent.clone()));
}

#[test]
fn pip_05_machines_meet_by_public_addresses_over_the_edge() {
    let lab = lab();
    let request = tcp(("10.1.2.4", 5000), ("203.0.113.77", 443), SYN);
    assert_eq!(lab.send("bare", &request), out("web", tcp(("203.0.113.78", 5000), ("10.1.1.4", 443), SYN)));
    let answer = tcp(("10.1.1.4", 443), ("203.0.113.78", 5000), SYN | ACK);
    assert_eq!(lab.send("web", &answer), out("bare", tcp(("203.0.113.77", 443), ("10.1.2.4", 5000), SYN | ACK)));
}

#[test]
fn pip_01_pip_02_errors_about_a_translated_flow_quote_what_their_receiver_knows() {
    let lab = lab();
    let unreachable = |from, quoted: &[u8]| build::icmp_unreachable(ip(from), quoted);
    // A router about a packet of an instance, and of a NAT gateway's flow.
    lab.send("web", &udp(("10.1.1.4", 5), (HOST, 53))).unwrap();
    let about = unreachable("198.18.0.2", &udp(("203.0.113.77", 5), (HOST, 53)));
    assert_eq!(lab.send("internet", &about), out("web", unreachable("198.18.0.2", &udp(("10.1.1.4", 5), (HOST, 53)))));
    let sent = tcp(("10.1.3.4", 5000), (HOST, 80), SYN);
    let port = lab.mapped("app", &sent, "203.0.113.10");
    let about = unreachable("198.18.0.2", &tcp(("203.0.113.10", port), (HOST, 80), SYN));
    assert_eq!(lab.send("internet", &about), out("app", unreachable("198.18.0.2", &sent)));
    let forged = unreachable("198.18.0.2", &tcp(("203.0.113.10", port ^ 1), (HOST, 80), SYN));
    assert_eq!(lab.send("internet", &forged), Err(DropReason::Unsolicited));
    // A guest about a packet that it got.
    lab.send("internet", &udp((HOST, 99), ("203.0.113.77", 9))).unwrap();
    let about = unreachable("10.1.1.4", &udp((HOST, 99), ("10.1.1.4", 9)));
    let outside = unreachable("203.0.113.77", &udp((HOST, 99), ("203.0.113.77", 9)));
    assert_eq!(lab.send("web", &about), out("internet", outside));
}

#[test]
fn super_packets_are_translated_whole_and_their_checksum_stays_partial() {
    let lab = lab();
    lab.mapped("app", &tcp(("10.1.3.4", 5000), (HOST, 80), SYN), "203.0.113.10");
    let payload = vec![7; 40_000];
    let whole = |src| build::tcp(src, at(HOST, 80), ACK, &payload);
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type: Offload::GSO_TCPV4,
        hdr_len: 40,
        gso_size: 1460,
        csum_start: 20,
        csum_offset: 16,
    };
    let partial = |mut bytes: Vec<u8>| {
        // The uninverted sum of the pseudo-header, as the kernel leaves it.
        let words = bytes[12..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = words.sum::<u32>() + 6 + (bytes.len() as u32 - 20);
        let sum = (sum >> 16) + (sum & 0xffff);
        bytes[36..38].copy_from_slice(&((sum >> 16) as u16 + sum as u16).to_be_bytes());
        bytes
    };
    let (sent, left) = lab.send_offloaded("app", &partial(whole(at("10.1.3.4", 5000))), offload).unwrap();
    let port = u16::from_be_bytes([sent.bytes[20], sent.bytes[21]]);
    assert_eq!(sent.bytes, partial(whole(at("203.0.113.10", port))));
    assert_eq!(left, offload);
}
