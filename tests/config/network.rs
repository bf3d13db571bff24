//! What a network says of itself: what it has devices for, of which kind, and which private address is behind a public one.

use vnet::config;
use vnet::model::{Attachment, DeviceKind, Network, VnetIx};

/// One of each that has a device.
const EVERYTHING: &str = "
internet: {addresses: [198.18.0.1]}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets:
      - {name: s, addressPrefix: 10.1.0.0/24}
      - {name: GatewaySubnet, addressPrefix: 10.1.1.0/27}
      - {name: RouteServerSubnet, addressPrefix: 10.1.2.0/27}
  - {name: w, location: westeurope, addressSpace: [10.2.0.0/16], subnets: [{name: s, addressPrefix: 10.2.0.0/24}]}
  - {name: x, location: westeurope, addressSpace: [10.3.0.0/16], subnets: [{name: s, addressPrefix: 10.3.0.0/24}], attach: {namespace: left, interface: tun0, addresses: [10.3.0.4/16]}}
publicIPAddresses: [{name: p, ipAddress: 203.0.113.4}, {name: q, ipAddress: 203.0.113.5}, {name: r, ipAddress: 203.0.113.6}]
virtualNetworkGateways:
  - {name: gw, virtualNetwork: v, publicIPAddress: p}
  - {name: er, gatewayType: ExpressRoute, virtualNetwork: v}
localNetworkGateways:
  - {name: dc, gatewayIpAddress: 198.51.100.1, localNetworkAddressSpace: [172.16.0.0/16]}
  - {name: nowhere, gatewayIpAddress: 198.51.100.9, localNetworkAddressSpace: [172.17.0.0/16]}
expressRouteCircuits:
  - {name: c, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.0.0/30, secondaryPeerAddressPrefix: 172.30.0.4/30, vlanId: 10}]}
  - {name: idle, peerings: [{peeringType: AzurePrivatePeering, peerASN: 65010, primaryPeerAddressPrefix: 172.30.1.0/30, secondaryPeerAddressPrefix: 172.30.1.4/30, vlanId: 10}]}
  - {name: bare}
connections:
  - {name: to-nowhere, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: nowhere, sharedKey: k}
  - {name: to-dc, connectionType: IPsec, virtualNetworkGateway1: gw, localNetworkGateway2: dc, sharedKey: k}
  - {name: to-c, connectionType: ExpressRoute, virtualNetworkGateway1: er, peer: c}
sites:
  - {name: dc, gatewayIpAddress: 198.51.100.1, addressSpace: [172.16.0.0/16]}
  - {name: office, expressRouteCircuits: [c], addressSpace: [192.168.90.0/24]}
routeServers: [{name: rs, virtualNetwork: v}]
virtualMachines:
  - {name: off, powerState: stopped, networkInterfaces: [{subnet: w/s}]}
  - name: a
    networkInterfaces:
      - {subnet: v/s, privateIPAddress: 10.1.0.4, publicIPAddress: q}
      - {subnet: v/s, privateIPAddress: 10.1.0.5, publicIPAddress: r}
  - {name: b, networkInterfaces: [{subnet: v/s, attach: {namespace: right, interface: tun0}}]}
";

fn load(text: &str) -> Network {
    config::load(text, "everything.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}")).network
}

fn words(network: &Network, attachments: impl IntoIterator<Item = Attachment>) -> Vec<String> {
    let word = |attachment| match attachment {
        Attachment::Nic(nic) => {
            let nic = network.nic(nic);
            format!("{}/{}", network.vm(nic.virtual_machine).name, nic.name)
        }
        Attachment::Vnet(vnet) => format!("all of {}", network.vnet(vnet).name),
        Attachment::Gateway(gateway) => network.gateway(gateway).name.clone(),
        Attachment::Tunnel(tunnel) => format!("tunnel {}", network.connection(tunnel).name),
        Attachment::Platform(vnet) => format!("platform in {}", network.vnet(vnet).name),
        Attachment::Edge(circuit) => format!("edge {}", network.circuit(circuit).name),
        Attachment::CircuitLink(circuit, side) => network.circuit_link_name(circuit, side),
        Attachment::RouteServer(server) => network.route_server(server).name.clone(),
        Attachment::Internet => "internet".to_owned(),
        other @ (Attachment::CloudRouter(..) | Attachment::Segment(..)) => format!("{other:?}"),
    };
    attachments.into_iter().map(word).collect()
}

/// A stopped machine has none; nor has a tunnel without a site, a circuit without links, or a link without a customer.
#[test]
fn what_has_a_device_in_the_order_of_its_ports() {
    let network = load(EVERYTHING);
    let expected = [
        "all of x",
        "a/eth0",
        "a/eth1",
        "b/eth0",
        "internet",
        "gw",
        "er",
        "tunnel to-dc",
        "platform in v",
        "edge c",
        "c-primary",
        "c-secondary",
        "edge idle",
        "rs",
    ];
    assert_eq!(words(&network, network.attachments()), expected);
}

/// FAB-02: the kernel carries flows between guests and what is far away; the rest has plain TUNs beside it. An interface in a
/// namespace that is there already gets a pair only if the file asks for a kind of device.
#[test]
fn fab_02_which_devices_are_pairs() {
    let pairs = |text: &str| {
        let network = load(text);
        let is_pair = |at: &Attachment| match network.device_kind(*at, DeviceKind::Veth) {
            DeviceKind::Veth => true,
            DeviceKind::Tun => false,
            DeviceKind::Tap => panic!("{at:?}"),
        };
        let pairs: Vec<_> = network.attachments().into_iter().filter(is_pair).collect();
        words(&network, pairs)
    };
    let far = ["internet", "tunnel to-dc", "c-primary", "c-secondary"];
    assert_eq!(pairs(EVERYTHING), [&["a/eth0", "a/eth1"], &far[..]].concat());
    let asked = format!("{EVERYTHING}emulation: {{device: veth}}\n");
    assert_eq!(pairs(&asked), [&["a/eth0", "a/eth1", "b/eth0"], &far[..]].concat());
    let network = load(EVERYTHING);
    for kind in [DeviceKind::Tun, DeviceKind::Tap] {
        assert!(network.attachments().into_iter().all(|at| network.device_kind(at, kind) == kind), "{kind:?}");
    }
}

/// FAB-12, LB-10: the platform is where machines run; without its services only where it probes.
#[test]
fn fab_12_where_the_platform_is() {
    let balancer = "
emulation: {platformServices: false}
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: f, subnet: w/s}]
    backendAddressPools: [{name: pool}]
    probes: [{name: health, protocol: Tcp, port: 80}]
    loadBalancingRules: [{name: r, frontendIPConfiguration: f, backendAddressPool: pool, probe: health, protocol: Tcp, frontendPort: 80, backendPort: 80}]
";
    let member = "subnet: w/s, loadBalancerBackendAddressPools: [lb/pool]}";
    let probed = EVERYTHING.replace("subnet: w/s}", member) + balancer;
    let running = probed.replace("powerState: stopped, ", "");
    let vnets = |text: &str| load(text).platform_vnets().into_iter().collect::<Vec<_>>();
    assert_eq!(vnets(EVERYTHING), [VnetIx(0)]);
    assert_eq!(vnets(&EVERYTHING.replace("powerState: stopped, ", "")), [VnetIx(0), VnetIx(1)]);
    assert_eq!(vnets(&probed), [], "a stopped machine is not probed (LB-17)");
    assert_eq!(vnets(&running), [VnetIx(1)]);
}

/// PIP-01: a public address of an interface is translated to one private address.
#[test]
fn pip_01_the_private_address_behind_a_public_one() {
    let network = load(EVERYTHING);
    let behind = |public: &str| network.behind(public.parse().unwrap()).map(|private| private.to_string());
    assert_eq!(behind("203.0.113.5").as_deref(), Some("10.1.0.4"));
    assert_eq!(behind("203.0.113.6").as_deref(), Some("10.1.0.5"));
    assert_eq!(behind("203.0.113.4"), None, "a gateway's");
    assert_eq!(behind("10.1.0.4"), None);
}
