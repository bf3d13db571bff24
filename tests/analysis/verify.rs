//! A real packet against the model: the packets of one lab, compared with the answer of another that may differ from it.

use std::net::SocketAddr;

use vnet::analysis::{Sighting, Verdict, Verification, parse_query, retrace, sighting, verify};
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{self, FlowLimits, Flows, PortId, Recorder, Timestamp, process};
use vnet::model::{Attachment, Learned, Network};
use vnet::wire::{Offload, Packet, build};

/// Two spokes, and the hub's appliance between them in both directions. `idle` is an appliance that no route names.
const SPOKES: &str = "
name: spokes
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: nva, addressPrefix: 10.0.1.0/24}]
    virtualNetworkPeerings:
      - {name: hub-a, remoteVirtualNetwork: a, allowForwardedTraffic: true}
      - {name: hub-b, remoteVirtualNetwork: b, allowForwardedTraffic: true}
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24, routeTable: rt}]
    virtualNetworkPeerings: [{name: a-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24, routeTable: rt, networkSecurityGroup: g}]
    virtualNetworkPeerings: [{name: b-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]
routeTables:
  - {name: rt, routes: [{name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}]}
networkSecurityGroups:
  - name: g
    securityRules: [{name: spokes, priority: 100, direction: Inbound, access: Allow, protocol: '*', sourceAddressPrefix: 10.0.0.0/8, sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: a/s}]}
  - {name: b, networkInterfaces: [{subnet: b/s}]}
  - {name: nva, networkInterfaces: [{subnet: hub/nva, enableIPForwarding: true}]}
  - {name: idle, networkInterfaces: [{subnet: hub/nva, enableIPForwarding: true}]}
";

const ASKED_FROM: u16 = 50_000;
const A: &str = "10.1.0.4";
const B: &str = "10.2.0.4";

struct Lab {
    network: Network,
    compiled: Compiled,
    flows: Flows,
}

impl Lab {
    fn new(text: &str) -> Self {
        let network = config::load(text, "spokes.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
        let compiled = compile(&network, &Learned::default(), 1);
        Self { network, compiled, flows: Flows::new(FlowLimits { per_nic: 100, total: 1000 }) }
    }

    /// One leg of a packet, as a capture has it.
    fn leg(&self, node: &str, mut bytes: Vec<u8>) -> Sighting {
        let named = |port: PortId| match self.compiled.ids().attachment(port) {
            Some(Attachment::Nic(nic)) => self.network.vm(self.network.nic(nic).virtual_machine).name == node,
            _ => false,
        };
        let port = (0..16).map(PortId).find(|port| named(*port)).unwrap();
        let mut packet = Packet::parse(&mut bytes, Offload::default()).unwrap();
        let mut leg = Recorder::new();
        // The recorder has the verdict too.
        let _: dataplane::Verdict =
            process(&self.compiled.snapshot, &self.flows, port, Timestamp(1), &mut packet, &mut leg);
        sighting(&self.network, &self.compiled, port, &leg, 1_000_000).unwrap()
    }

    fn request(&self, node: &str, port: u16) -> Sighting {
        self.leg(node, build::tcp(at(A, ASKED_FROM), at(B, port), 0x02, b""))
    }

    fn answer(&self, node: &str) -> Sighting {
        self.leg(node, build::tcp(at(B, 80), at(A, ASKED_FROM), 0x12, b""))
    }

    /// The probe and its answer, over the appliance.
    fn trip(&self) -> [Sighting; 4] {
        [self.request("a", 80), self.request("nva", 80), self.answer("b"), self.answer("nva")]
    }

    /// What this lab's model has to say of these packets.
    fn verify(&self, seen: &[Sighting], answered: bool) -> Verification {
        let query = parse_query("a", "10.2.0.4:80").unwrap();
        let foretold = retrace(&self.network, &self.compiled, &query, (ASKED_FROM, &[])).unwrap();
        verify(&foretold, seen, answered)
    }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn nodes(legs: &[Sighting]) -> Vec<&str> {
    legs.iter().map(|leg| leg.node.as_str()).collect()
}

#[test]
fn the_model_and_the_packets_agree_leg_for_leg() {
    let lab = Lab::new(SPOKES);
    let told = lab.verify(&lab.trip(), true);
    assert_eq!((told.agrees, told.verdict, told.source_port), (true, Verdict::Reachable, ASKED_FROM));
    assert_eq!(told.differences, [""; 0]);
    assert_eq!((nodes(&told.forward), nodes(&told.back)), (vec!["a", "nva"], vec!["b", "nva"]));
}

/// Other packets of the capture are no legs of this one: other flows, repeats, and the same packet at a machine to which the leg
/// before did not lead.
#[test]
fn a_leg_begins_where_the_one_before_ended() {
    let lab = Lab::new(SPOKES);
    let [first, second, third, fourth] = lab.trip();
    let mut noise = vec![lab.request("idle", 80), lab.request("a", 81), lab.request("nva", 81)];
    noise.extend([
        second.clone(),
        first.clone(),
        lab.request("idle", 80),
        first,
        second,
        fourth.clone(),
        third,
        fourth,
    ]);
    let told = lab.verify(&noise, true);
    assert_eq!(told.differences, [""; 0]);
    assert_eq!((nodes(&told.forward), nodes(&told.back)), (vec!["a", "nva"], vec!["b", "nva"]));
    // A leg that was dropped is the last, wherever the packet was seen as well.
    let closed = Lab::new(&SPOKES.replace("access: Allow", "access: Deny"));
    let dropped = closed.request("nva", 80);
    assert!(!dropped.path.delivered);
    let told = lab.verify(&[lab.request("a", 80), dropped, lab.request("b", 80)], false);
    assert_eq!(nodes(&told.forward), ["a", "nva"]);
}

#[test]
fn what_differs_is_told_with_its_place() {
    let lab = Lab::new(SPOKES);
    let whole = lab.trip();
    let check = |lab: &Lab, seen: &[Sighting], answered: bool, expected: &[&str]| {
        let told = lab.verify(seen, answered);
        assert_eq!(told.differences, expected);
        assert_eq!(told.agrees, expected.is_empty());
        assert_eq!(told.verdict, if answered { Verdict::Reachable } else { Verdict::Blocked });
    };
    // The same path without an answer, and an answer where the model has none.
    check(&lab, &whole, false, &["the model says reachable, the probe was not answered"]);
    let closed = Lab::new(&SPOKES.replace("access: Allow", "access: Deny"));
    check(
        &closed,
        &whole,
        true,
        &[
            "the model says blocked, the probe was answered",
            "there: the model says at b/eth0 `inbound: denies, priority 100` [NSG g on subnet b/s, rule securityRules/spokes], \
             the packet met at b/eth0 `inbound: allows, priority 100` [NSG g on subnet b/s, rule securityRules/spokes]",
        ],
    );
    check(&closed, &[closed.request("a", 80), closed.request("nva", 80)], false, &[]);
    // A packet that is not seen any more, there and back.
    let out = "at nva/eth0 `outbound: no NSG on NIC or subnet, everything is allowed` [NIC nva/eth0]";
    let there = format!("there: the model goes on {out}, but the packet was not seen there");
    let back = "back: the model goes on at nva/eth0 `outbound: follows the flow record` [NIC nva/eth0], \
                but the packet was not seen there";
    check(&lab, &whole[..1], false, &["the model says reachable, the probe was not answered", &there]);
    check(&lab, &whole[..3], true, &[back]);
    // The answer of a request that went another way proves nothing.
    check(&lab, &[whole[0].clone(), whole[2].clone()], true, &[&there]);
    // A guest's own decision is not compared: its packets end where the model's do.
    let still = Lab::new(&SPOKES.replace("{name: nva, n", "{name: nva, guest: {forwarding: false}, n"));
    check(&still, &whole[..1], false, &[]);
    check(&still, &whole[..2], false, &[&format!("there: the model ends, but the packet went on {out}")]);
}

/// A ping has its identifier, not ports.
#[test]
fn a_ping_is_followed_by_its_identifier() {
    let lab = Lab::new(SPOKES);
    let echo = |node: &str, id: u16, reply: bool| {
        let (src, dst) = if reply { (B, A) } else { (A, B) };
        lab.leg(node, build::icmp_echo(src.parse().unwrap(), dst.parse().unwrap(), id, 1, reply))
    };
    let foretold = |port| {
        let query = parse_query("a", B).unwrap();
        retrace(&lab.network, &lab.compiled, &query, (port, &[])).unwrap()
    };
    let seen = [echo("a", 7, false), echo("nva", 7, false), echo("b", 7, true), echo("nva", 7, true)];
    let told = verify(&foretold(7), &seen, true);
    assert_eq!((told.agrees, told.forward.len(), told.back.len()), (true, 2, 2));
    let told = verify(&foretold(8), &seen, true);
    assert_eq!((told.agrees, told.forward.len(), told.back.len()), (false, 0, 0));
}
