//! Ports and flow records that several share: who has none left.

use std::net::IpAddr;

use vnet::analysis::{PortUse, refuser, snat};
use vnet::compile::{Compiled, compile};
use vnet::config;
use vnet::dataplane::{DropReason, NicId};
use vnet::model::{Learned, Network};

fn compiled(text: &str) -> (Network, Compiled) {
    let network = config::load(text, "lab.yaml").unwrap_or_else(|errors| panic!("{errors}")).network;
    let compiled = compile(&network, &Learned::default(), 1);
    (network, compiled)
}

/// Failures count in the row of their protocol, and make one at a NAT gateway where nothing else does.
#[test]
fn snat_05_a_failure_counts_for_its_interface_and_protocol() {
    let (network, compiled) = compiled(
        "
name: out
publicIPAddresses: [{name: ip, ipAddress: 203.0.113.20}]
natGateways: [{name: nat, publicIpAddresses: [ip]}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24, natGateway: nat}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.4}]}
  - {name: b, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.5}]}
internet: {}
",
    );
    let mut in_use = PortUse::default();
    in_use.fail(NicId(1), [2, 3, 0]);
    in_use.fail(NicId(0), [0; 3]);
    in_use.fail(NicId(1), [0, 4, 0]);
    let rows = snat(&network, &compiled, Some(&in_use));
    let told = rows.iter().map(|row| (row.interface.as_str(), row.protocol.as_str(), row.used_ports, row.failed));
    assert_eq!(told.collect::<Vec<_>>(), [("b/eth0", "Tcp", Some(0), Some(2)), ("b/eth0", "Udp", Some(0), Some(7))]);
    let ip = IpAddr::from([203, 0, 113, 20]);
    assert!(rows.iter().all(|row| row.public_address == ip && row.source == "NAT gateway nat"), "{rows:?}");
}

/// A network's share is used up by its machines together, so that it is named and not the one that came last.
#[test]
fn nsg_26_whose_count_it_was_is_named() {
    let (network, compiled) = compiled(include_str!("../../config/private-cloud-full.yaml"));
    let named = |reason| {
        let all = compiled.ids().senders().filter_map(|(nic, _)| refuser(&network, &compiled, nic, reason));
        all.collect::<Vec<_>>()
    };
    let (cloud, guest) = (&network.private_clouds[0], &network.virtual_machines[0]);
    let interfaces = named(DropReason::FlowLimit);
    assert!(interfaces.contains(&format!("{}/eth0", guest.name)), "{interfaces:?}");
    let shares = named(DropReason::NetworkFlowLimit);
    assert!(shares.contains(&format!("private cloud {}", cloud.name)), "{shares:?}");
    assert!(shares.contains(&format!("virtual network {}", network.virtual_networks[0].name)), "{shares:?}");
    assert_eq!(refuser(&network, &compiled, NicId(9999), DropReason::FlowLimit), None);
}
