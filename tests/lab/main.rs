//! Whole labs to the letter, in seconds (root): what the kernel has of each node, what a change does to it, what is left.
//!
//! One idea: a lab is up in a third of a second, so one that has a node of every kind is compared in full. Packets are
//! for `netns`; here it is files, addresses, routes, settings and what commands say about them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod asked;
mod attached;
#[path = "../support/capture.rs"]
#[allow(dead_code, reason = "labs of other programs capture")]
mod capture;
mod carried;
mod changed;
mod egress;
mod ended;
mod far;
mod kernel;
#[path = "../support/lab.rs"]
#[allow(dead_code, reason = "shared with `netns`, which uses the rest")]
mod lab;
mod links;
mod machines;
mod made;
mod started;

/// A node of every kind; where one has two interfaces, so has the other side.
const EVERYTHING: &str = "
internet: {addresses: [198.51.100.7, 198.51.100.8]}
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    dhcpOptions: {dnsServers: [10.1.1.5]}
    subnets:
      - {name: s, addressPrefixes: [10.1.1.0/24, 'fd00:1:0:1::/64']}
      - {name: back, addressPrefix: 10.1.2.0/24}
      - {name: GatewaySubnet, addressPrefix: 10.1.255.0/27}
publicIPAddresses: [{name: gw-ip, sku: Standard}, {name: er-ip, sku: Standard}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: hub, publicIPAddress: gw-ip, sku: VpnGw1}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub, publicIPAddress: er-ip, sku: ErGw1AZ}
localNetworkGateways:
  - {name: dc-lng, gatewayIpAddress: 198.51.100.50, localNetworkAddressSpace: [192.168.50.0/24]}
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc-lng, sharedKey: a-secret}
  - {name: hub-london, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: er-london}
expressRouteCircuits:
  - name: er-london
    sku: Premium
    serviceProviderProperties: {serviceProviderName: Equinix, peeringLocation: London, bandwidthInMbps: 1000}
    peerings:
      - {name: AzurePrivatePeering, peeringType: AzurePrivatePeering, peerASN: 65010,
         primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 100}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.50, addressSpace: [192.168.50.0/24], addresses: [192.168.50.10], sharedKey: a-secret}
  - {name: office, expressRouteCircuits: [er-london], addressSpace: [192.168.90.0/24], addresses: [192.168.90.10]}
virtualMachines:
  - name: nva
    guest: {forwarding: true, routes: [{addressPrefix: 10.9.0.0/16, nextHopIpAddress: 10.1.2.1}]}
    networkInterfaces:
      - {name: front, primary: true, subnet: hub/s, enableIPForwarding: true}
      - {name: back, subnet: hub/back, enableIPForwarding: true}
  - {name: web, run: [sleep, '1000'], networkInterfaces: [{name: nic, subnet: hub/s, dnsSettings: {dnsServers: [10.1.1.6, 168.63.129.16]}}]}
  - {name: off, powerState: stopped, networkInterfaces: [{name: nic, subnet: hub/s}]}
";
