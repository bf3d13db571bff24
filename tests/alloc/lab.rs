//! A lab in memory: two peered virtual networks, `web` in one and `db` in the other, many routes and rules between them.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

use vnet::compile::compile;
use vnet::config;
use vnet::dataplane::{FlowLimits, Flows, Paths, PortId, Quiet, Snapshot, Timestamp, Verdict};
use vnet::model::Learned;
use vnet::wire::{Offload, Packet};

pub(crate) struct Lab {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) flows: Flows,
    pub(crate) now: Timestamp,
    /// As a worker has them.
    paths: RefCell<Paths>,
}

impl Lab {
    pub(crate) const WEB: PortId = PortId(0);
    pub(crate) const DB: PortId = PortId(1);
    /// In [`Self::translating`].
    pub(crate) const CLIENT: PortId = PortId(0);
    pub(crate) const BACKEND: PortId = PortId(1);
    pub(crate) const NATTED: PortId = PortId(2);
    pub(crate) const INTERNET: PortId = PortId(3);

    /// Web's subnet has this many user routes, of which one spreads flows over `db` and an unused address. Each subnet
    /// this many rules: half inbound, half outbound, of which only the first ever matches, inbound TCP port 25, and
    /// denies. The default rules allow the rest.
    pub(crate) fn new(routes: u32, rules: u32) -> Self {
        Self::of(&topology(routes, rules))
    }

    /// In order of their ports: a client, the backend of an internal load balancer at 10.1.0.100:80, a machine that leaves
    /// by a NAT gateway, and the Internet.
    pub(crate) fn translating() -> Self {
        Self::of(TRANSLATING)
    }

    pub(crate) fn of(topology: &str) -> Self {
        let loaded = config::load(topology, "lab.vnet.yaml").expect("the topology is valid");
        let compiled = compile(&loaded.network, &Learned::default(), 1);
        let flows = Flows::new(FlowLimits::default());
        Self { snapshot: compiled.snapshot, flows, now: Timestamp(1), paths: RefCell::default() }
    }

    #[inline]
    pub(crate) fn send(&self, from: PortId, bytes: &mut [u8]) -> Verdict {
        self.send_as(from, bytes, Offload::default())
    }

    /// The same as a kernel handed it over.
    #[inline]
    pub(crate) fn send_as(&self, from: PortId, bytes: &mut [u8], offload: Offload) -> Verdict {
        let mut parsed = Packet::parse(bytes, offload);
        let packet = parsed.as_mut().unwrap();
        let mut paths = self.paths.borrow_mut();
        paths.process(&self.snapshot, &self.flows, from, self.now, packet, &mut Quiet)
    }

    /// An hour passes and every record ends.
    pub(crate) fn forget_flows(&mut self) {
        self.now.0 += 3_600_000_000_000;
        while self.flows.records.expire(self.now, 100_000) > 0 {}
    }

    /// No path is cached.
    pub(crate) fn forget_paths(&mut self) {
        self.paths = RefCell::default();
    }
}

fn topology(routes: u32, rules: u32) -> String {
    let mut text = TOPOLOGY.to_owned();
    text += "routeTables:\n  - name: many\n    routes:\n";
    text += "      - {name: spread, addressPrefix: 10.99.0.0/16, nextHopType: VirtualApplianceEcmp, \
             nextHop: {nextHopIpAddresses: [10.2.0.4, 10.2.0.99]}}\n";
    for n in 1..routes {
        let (high, low) = (n / 250, n % 250);
        writeln!(text, "      - {{name: r{n}, addressPrefix: 10.{}.{low}.0/24, nextHopType: None}}", 100 + high)
            .unwrap();
    }
    text += "networkSecurityGroups:\n  - name: many\n    securityRules:\n";
    for n in 0..rules {
        let direction = if n % 2 == 0 { "Inbound" } else { "Outbound" };
        let (priority, port) = (100 + n, if n == 0 { 25 } else { 20_000 + n });
        let source = if n == 0 { "'*'".to_owned() } else { format!("10.{}.0.0/16", 1 + n % 2) };
        writeln!(
            text,
            "      - {{name: r{n}, priority: {priority}, direction: {direction}, access: Deny, protocol: Tcp, \
             sourceAddressPrefix: {source}, sourcePortRange: '*', destinationAddressPrefix: '*', \
             destinationPortRange: {port}}}"
        )
        .unwrap();
    }
    text
}

pub(crate) const TRANSLATING: &str = "
name: translating
internet: {addresses: [198.18.0.1]}
publicIPAddresses: [{name: out, ipAddress: 203.0.113.10}]
natGateways: [{name: nat, publicIpAddresses: [out]}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: in, subnet: v/s, privateIPAddress: 10.1.0.100}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: tcp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080, enableTcpReset: true}
      - {name: udp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Udp, frontendPort: 80, backendPort: 8080}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}, {name: n, addressPrefix: 10.1.1.0/24, natGateway: nat}]
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.4}]}
  - {name: web, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.0.5, loadBalancerBackendAddressPools: [lb/web]}]}
  - {name: nat, networkInterfaces: [{subnet: v/n, privateIPAddress: 10.1.1.4}]}
";

const TOPOLOGY: &str = "
name: lab
virtualNetworks:
  - name: left
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets:
      - {name: web, addressPrefixes: [10.1.0.0/24, 'fd00:1::/64'], routeTable: many, networkSecurityGroup: many}
    virtualNetworkPeerings: [{name: left-right, remoteVirtualNetwork: right}]
  - name: right
    location: westeurope
    addressSpace: [10.2.0.0/16, 'fd00:2::/48']
    subnets:
      - {name: db, addressPrefixes: [10.2.0.0/24, 'fd00:2::/64'], networkSecurityGroup: many}
    virtualNetworkPeerings: [{name: right-left, remoteVirtualNetwork: left}]
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: left/web}]}
  - {name: db, networkInterfaces: [{subnet: right/db}]}
";
