//! A machine, its gateway, and a site at the end of each of two tunnels; all have one range. The first site has a name for
//! each address, the other one for all; the first has another for a port, too.

use vnet::dataplane::PortId;

use crate::lab::Lab;

pub(crate) const APP: PortId = PortId(0);
pub(crate) const FIXED: PortId = PortId(2);
pub(crate) const SHARING: PortId = PortId(3);

pub(crate) fn lab() -> Lab {
    Lab::of(TOPOLOGY)
}

const TOPOLOGY: &str = "
name: tunnelling
publicIPAddresses: [{name: gw, sku: Standard}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.1.0/24]
    subnets: [{name: s, addressPrefix: 10.0.1.0/25}, {name: GatewaySubnet, addressPrefix: 10.0.1.224/27}]
virtualNetworkGateways:
  - name: gw
    virtualNetwork: v
    publicIPAddress: gw
    sku: VpnGw2
    natRules:
      - {name: out, mode: EgressSnat, internalMappings: [{addressSpace: 10.0.1.0/24}], externalMappings: [{addressSpace: 172.30.1.0/24}]}
      - {name: web, mode: IngressSnat, internalMappings: [{addressSpace: 10.0.1.10/32, portRange: 80}], externalMappings: [{addressSpace: 172.30.4.10/32, portRange: 8080}]}
      - {name: fixed, mode: IngressSnat, internalMappings: [{addressSpace: 10.0.1.0/24}], externalMappings: [{addressSpace: 172.30.2.0/24}]}
      - {name: sharing, type: Dynamic, mode: IngressSnat, internalMappings: [{addressSpace: 10.0.1.0/24}], externalMappings: [{addressSpace: 172.30.3.9/32}]}
localNetworkGateways:
  - {name: fixed, gatewayIpAddress: 198.51.100.51, localNetworkAddressSpace: [10.0.1.0/24, 172.30.4.10/32]}
  - {name: sharing, gatewayIpAddress: 198.51.100.52, localNetworkAddressSpace: [10.0.1.0/24]}
connections:
  - {name: fixed, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: fixed, sharedKey: k, ingressNatRules: [web, fixed], egressNatRules: [out]}
  - {name: sharing, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: sharing, sharedKey: k, ingressNatRules: [sharing], egressNatRules: [out]}
sites:
  - {name: fixed, gatewayIpAddress: 198.51.100.51, addressSpace: [10.0.1.0/24], addresses: [10.0.1.10]}
  - {name: sharing, gatewayIpAddress: 198.51.100.52, addressSpace: [10.0.1.0/24], addresses: [10.0.1.10]}
virtualMachines: [{name: app, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.0.1.4}]}]
";
