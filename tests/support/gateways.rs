//! A network with flows through gateways of every kind: virtual networks, sites, tunnels with NAT rules, a private cloud.

pub(crate) const TOPOLOGY: &str = "
internet: {addresses: [198.18.0.1]}
publicIPAddresses: [{name: hub-ip, sku: Standard}, {name: other-ip, sku: Standard}, {name: er-ip, sku: Standard}]
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.0.0/24}, {name: GatewaySubnet, addressPrefix: 10.1.255.0/26, routeTable: by-nva}]
    virtualNetworkPeerings: [{name: hub-spoke, remoteVirtualNetwork: spoke, allowGatewayTransit: true}]
  - name: spoke
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: spoke-hub, remoteVirtualNetwork: hub, useRemoteGateways: true}]
  - name: other
    location: westeurope
    addressSpace: [10.3.0.0/16]
    subnets: [{name: s, addressPrefix: 10.3.0.0/24}, {name: GatewaySubnet, addressPrefix: 10.3.255.0/26}]
virtualNetworkGateways:
  - name: hub-gw
    virtualNetwork: hub
    publicIPAddress: hub-ip
    sku: VpnGw2
    natRules:
      - {name: out, mode: EgressSnat, internalMappings: [{addressSpace: 10.1.0.0/24}], externalMappings: [{addressSpace: 172.30.1.0/24}]}
      - {name: in, mode: IngressSnat, internalMappings: [{addressSpace: 10.1.0.0/24}], externalMappings: [{addressSpace: 172.30.2.0/24}]}
      - {name: lent, type: Dynamic, mode: IngressSnat, internalMappings: [{addressSpace: 10.1.0.0/24}], externalMappings: [{addressSpace: 172.30.3.0/30}]}
      - {name: pool, type: Dynamic, mode: IngressSnat, internalMappings: [{addressSpace: 192.168.5.0/24}], externalMappings: [{addressSpace: 172.30.4.0/30}]}
      - {name: mask, type: Dynamic, mode: EgressSnat, internalMappings: [{addressSpace: 10.1.0.0/24}], externalMappings: [{addressSpace: 172.30.5.0/30}]}
  - {name: other-gw, virtualNetwork: other, publicIPAddress: other-ip, sku: VpnGw2}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: hub, publicIPAddress: er-ip, sku: ErGw1AZ}
localNetworkGateways:
  - {name: dc, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [192.168.1.0/24]}
  - {name: twin, gatewayIpAddress: 198.51.100.2, localNetworkAddressSpace: [10.1.0.0/24]}
  - {name: lent, gatewayIpAddress: 198.51.100.3, localNetworkAddressSpace: [10.1.0.0/24]}
  - {name: pool, gatewayIpAddress: 198.51.100.4, localNetworkAddressSpace: [192.168.5.0/24]}
  - {name: mask, gatewayIpAddress: 198.51.100.5, localNetworkAddressSpace: [192.168.6.0/24]}
connections:
  - {name: hub-dc, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: dc, sharedKey: k}
  - {name: hub-twin, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: twin, sharedKey: k, ingressNatRules: [in], egressNatRules: [out]}
  - {name: hub-lent, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: lent, sharedKey: k, ingressNatRules: [lent], egressNatRules: [out]}
  - {name: hub-pool, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: pool, sharedKey: k, ingressNatRules: [pool]}
  - {name: hub-mask, connectionType: IPsec, virtualNetworkGateway1: hub-gw, localNetworkGateway2: mask, sharedKey: k, egressNatRules: [mask]}
  - {name: hub-other, connectionType: Vnet2Vnet, virtualNetworkGateway1: hub-gw, virtualNetworkGateway2: other-gw, sharedKey: k}
  - {name: other-hub, connectionType: Vnet2Vnet, virtualNetworkGateway1: other-gw, virtualNetworkGateway2: hub-gw, sharedKey: k}
  - {name: hub-cloud, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: cloud-circuit, authorizationKey: k}
privateClouds:
  - name: cloud
    networkBlock: 10.175.0.0/22
    internet: Enabled
    segments: [{name: one, addressPrefix: 10.176.1.0/24, addresses: [10.176.1.10]}, {name: two, addressPrefix: 10.176.2.0/24, addresses: [10.176.2.10]}]
    authorizations: [{name: hub, authorizationKey: k}]
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [192.168.1.0/24], addresses: [192.168.1.10]}
  - {name: twin, gatewayIpAddress: 198.51.100.2, addressSpace: [10.1.0.0/24], addresses: [10.1.0.10]}
  - {name: lent, gatewayIpAddress: 198.51.100.3, addressSpace: [10.1.0.0/24], addresses: [10.1.0.10]}
  - {name: pool, gatewayIpAddress: 198.51.100.4, addressSpace: [192.168.5.0/24], addresses: [192.168.5.10]}
  - {name: mask, gatewayIpAddress: 198.51.100.5, addressSpace: [192.168.6.0/24], addresses: [192.168.6.10]}
loadBalancers:
  - name: in
    frontendIPConfigurations: [{name: in, subnet: hub/s, privateIPAddress: 10.1.0.100}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: tcp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 8080}
      - {name: udp, frontendIPConfiguration: in, backendAddressPool: web, protocol: Udp, frontendPort: 80, backendPort: 8080}
  - name: nva
    frontendIPConfigurations: [{name: in, subnet: hub/s, privateIPAddress: 10.1.0.101}]
    backendAddressPools: [{name: nva}]
    loadBalancingRules: [{name: all, frontendIPConfiguration: in, backendAddressPool: nva, protocol: All, frontendPort: 0, backendPort: 0}]
routeTables:
  - {name: by-nva, routes: [{name: spoke, addressPrefix: 10.2.0.128/25, nextHopType: VirtualAppliance, nextHopIpAddress: 10.1.0.101}]}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: hub/s, privateIPAddress: 10.1.0.4, loadBalancerBackendAddressPools: [in/web]}]}
  - {name: nva, guest: {forwarding: true}, networkInterfaces: [{subnet: hub/s, privateIPAddress: 10.1.0.5, enableIPForwarding: true, loadBalancerBackendAddressPools: [nva/nva]}]}
  - {name: spoke, networkInterfaces: [{subnet: spoke/s, privateIPAddress: 10.2.0.4}]}
  - {name: far, networkInterfaces: [{subnet: spoke/s, privateIPAddress: 10.2.0.132}]}
  - {name: other, networkInterfaces: [{subnet: other/s, privateIPAddress: 10.3.0.4}]}
";

/// A flow, and whether each direction of it goes on by tables, records and two mappings at most.
pub(crate) struct Way {
    /// The node that begins it.
    pub(crate) from: &'static str,
    pub(crate) src: &'static str,
    pub(crate) dst: &'static str,
    /// The node that gets it, and where.
    pub(crate) receiver: &'static str,
    pub(crate) at: &'static str,
    pub(crate) carried: bool,
}

const fn way(
    (from, src): (&'static str, &'static str),
    dst: &'static str,
    (receiver, at): (&'static str, &'static str),
    carried: bool,
) -> Way {
    Way { from, src, dst, receiver, at, carried }
}

pub(crate) const WAYS: [Way; 18] = [
    way(("dc", "192.168.1.10"), "10.1.0.4:8080", ("web", "10.1.0.4:8080"), true),
    way(("dc", "192.168.1.10"), "10.2.0.4:80", ("spoke", "10.2.0.4:80"), true),
    way(("dc", "192.168.1.10"), "10.1.0.100:80", ("web", "10.1.0.4:8080"), true),
    way(("web", "10.1.0.4"), "192.168.1.10:80", ("dc", "192.168.1.10:80"), true),
    way(("spoke", "10.2.0.4"), "192.168.1.10:80", ("dc", "192.168.1.10:80"), true),
    way(("web", "10.1.0.4"), "10.3.0.4:80", ("other", "10.3.0.4:80"), true),
    way(("twin", "10.1.0.10"), "172.30.1.4:8080", ("web", "10.1.0.4:8080"), true),
    way(("web", "10.1.0.4"), "172.30.2.10:80", ("twin", "10.1.0.10:80"), true),
    // A port is lent to the flow, for as long as a mapping lasts; a balancer may add another.
    way(("lent", "10.1.0.10"), "172.30.1.4:8080", ("web", "10.1.0.4:8080"), true),
    way(("pool", "192.168.5.10"), "10.1.0.4:8080", ("web", "10.1.0.4:8080"), true),
    way(("pool", "192.168.5.10"), "10.1.0.100:80", ("web", "10.1.0.4:8080"), true),
    way(("web", "10.1.0.4"), "192.168.6.10:80", ("mask", "192.168.6.10:80"), true),
    way(("cloud-one", "10.176.1.10"), "198.18.0.1:82", ("internet", "198.18.0.1:82"), true),
    // Three translations: a rule's, a lent port's and a balancer's.
    way(("lent", "10.1.0.10"), "172.30.1.100:80", ("web", "10.1.0.4:8080"), false),
    way(("web", "10.1.0.4"), "10.176.1.10:80", ("cloud-one", "10.176.1.10:80"), true),
    way(("cloud-one", "10.176.1.10"), "10.1.0.4:8080", ("web", "10.1.0.4:8080"), true),
    // By an appliance that a balancer chooses.
    way(("dc", "192.168.1.10"), "10.2.0.132:80", ("far", "10.2.0.132:80"), true),
    // Neither end has records, so that loops are looked for.
    way(("cloud-one", "10.176.1.10"), "10.176.2.10:80", ("cloud-two", "10.176.2.10:80"), false),
];
