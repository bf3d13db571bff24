//! Random networks, changes of them, and what machines in them may do.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// Where machines listen.
pub(crate) const PORTS: std::ops::Range<u16> = 7000..7003;
/// Where the internal load balancer and the first machine's public address are.
pub(crate) const FRONTEND: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 100);
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
pub(crate) const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 4);

/// The same numbers for the same seed.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    pub(crate) fn in_ten(&mut self, times: usize) -> bool {
        self.below(10) < times
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A machine with one interface.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    net: usize,
}

/// Virtual networks with machines, and an appliance in the first one.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) machines: Vec<Machine>,
    subnets: Vec<Subnet>,
    /// Between the networks of these numbers, with the flag for forwarded traffic.
    peerings: Vec<(usize, usize, bool)>,
}

/// Of each network one, with rules and routes of its own.
#[derive(Clone, Debug, Default)]
struct Subnet {
    rules: Vec<String>,
    flush: bool,
    routes: Vec<String>,
    nat_gateway: bool,
}

impl Topology {
    pub(crate) fn random(random: &mut Random) -> Self {
        let nets = 2 + random.below(3);
        let mut machines = Vec::new();
        for net in 0..nets {
            for host in 0..=random.below(2) as u8 {
                let address = Ipv4Addr::new(10, 1 + net as u8, 1, 4 + host);
                machines.push(Machine { name: format!("m{net}{host}"), address, net });
            }
        }
        let mut topology = Self { machines, subnets: vec![Subnet::default(); nets], peerings: Vec::new() };
        for _ in 0..3 * nets {
            topology.change(random);
        }
        topology
    }

    /// Other rules, routes, peerings or another way to the Internet, somewhere.
    pub(crate) fn change(&mut self, random: &mut Random) {
        let nets = self.subnets.len();
        let at = random.below(nets);
        match random.below(8) {
            0 | 1 => {
                let rules = random.below(4);
                self.subnets[at].rules = (0..rules).map(|priority| rule(100 + priority, nets, random)).collect();
            }
            2 => self.subnets[at].flush = random.in_ten(5),
            3 | 4 => {
                let drawn: Vec<_> = (0..nets).map(|net| (net, random.in_ten(3), random.in_ten(7))).collect();
                let routes = drawn.iter().filter(|(_, wanted, _)| *wanted);
                self.subnets[at].routes = routes.map(|(net, _, by)| route(*net, *by)).collect();
            }
            5 => self.subnets[at].nat_gateway = random.in_ten(5),
            _ => {
                let other = (at + 1 + random.below(nets - 1)) % nets;
                let (one, other) = (at.min(other), at.max(other));
                let before = self.peerings.len();
                self.peerings.retain(|(a, b, _)| (*a, *b) != (one, other));
                if before == self.peerings.len() || random.in_ten(6) {
                    self.peerings.push((one, other, random.in_ten(7)));
                }
            }
        }
    }

    pub(crate) fn text(&self, device: &str) -> String {
        let mut text = format!(
            "emulation: {{device: {device}, workers: 2}}
internet: {{addresses: [{INTERNET}]}}
publicIPAddresses: [{{name: own, ipAddress: {PUBLIC}}}, {{name: nat, ipAddress: 203.0.113.10}}]
natGateways: [{{name: nat, publicIpAddresses: [nat]}}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{{name: in, subnet: v0/s, privateIPAddress: {FRONTEND}}}]
    backendAddressPools: [{{name: web}}]
    loadBalancingRules:
"
        );
        for (protocol, port) in [("Tcp", PORTS.start), ("Udp", PORTS.start), ("Udp", PORTS.start + 1)] {
            let _ = writeln!(
                text,
                "      - {{name: {protocol}{port}, frontendIPConfiguration: in, backendAddressPool: web, protocol: {protocol}, \
                 frontendPort: {port}, backendPort: {port}}}"
            );
        }
        text += "networkSecurityGroups:\n";
        for (net, subnet) in self.subnets.iter().enumerate() {
            let (flush, rules) = (subnet.flush, subnet.rules.join(", "));
            let _ = writeln!(text, "  - {{name: g{net}, flushConnection: {flush}, securityRules: [{rules}]}}");
        }
        text += "routeTables:\n";
        for (net, subnet) in self.subnets.iter().enumerate() {
            let _ = writeln!(text, "  - {{name: r{net}, routes: [{}]}}", subnet.routes.join(", "));
        }
        text += "virtualNetworks:\n";
        (0..self.subnets.len()).for_each(|net| text += &self.network(net));
        text += "virtualMachines:\n";
        let _ = writeln!(
            text,
            "  - {{name: fw, networkInterfaces: [{{subnet: v0/fw, privateIPAddress: {APPLIANCE}, enableIPForwarding: true}}]}}"
        );
        for (at, Machine { name, address, net }) in self.machines.iter().enumerate() {
            let more = if at == 0 { ", loadBalancerBackendAddressPools: [lb/web], publicIPAddress: own" } else { "" };
            let _ = writeln!(
                text,
                "  - {{name: {name}, networkInterfaces: [{{subnet: v{net}/s, privateIPAddress: {address}{more}}}]}}"
            );
        }
        text
    }

    fn network(&self, net: usize) -> String {
        let (block, nat) = (1 + net, if self.subnets[net].nat_gateway { ", natGateway: nat" } else { "" });
        let appliance = if net == 0 { "      - {name: fw, addressPrefix: 10.1.2.0/24}\n" } else { "" };
        let links = self.peerings.iter().filter(|(one, other, _)| [*one, *other].contains(&net));
        let links = links.map(|(one, other, forwarded)| {
            let far = one + other - net;
            format!("{{name: v{net}-v{far}, remoteVirtualNetwork: v{far}, allowForwardedTraffic: {forwarded}}}")
        });
        format!(
            "  - name: v{net}
    location: westeurope
    addressSpace: [10.{block}.0.0/16]
    subnets:
      - {{name: s, addressPrefix: 10.{block}.1.0/24, networkSecurityGroup: g{net}, routeTable: r{net}{nat}}}
{appliance}    virtualNetworkPeerings: [{}]
",
            links.collect::<Vec<_>>().join(", ")
        )
    }
}

fn rule(priority: usize, nets: usize, random: &mut Random) -> String {
    let direction = random.pick(&["Inbound", "Outbound"]);
    let access = random.pick(&["Allow", "Deny"]);
    let protocol = random.pick(&["Tcp", "Udp", "Icmp", "'*'"]);
    let port = *random.pick(&["'*'", "7000-7001", "7002", "6000-6001"]);
    let port = if *protocol == "Icmp" { "'*'" } else { port };
    let net = format!("10.{}.0.0/16", 1 + random.below(nets));
    let source = if random.in_ten(5) { "'*'" } else { &net };
    format!(
        "{{name: p{priority}, priority: {priority}, direction: {direction}, access: {access}, protocol: {protocol}, \
         sourceAddressPrefix: {source}, sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: {port}}}"
    )
}

fn route(net: usize, by_appliance: bool) -> String {
    let hop = if by_appliance { format!("VirtualAppliance, nextHopIpAddress: {APPLIANCE}") } else { "None".to_owned() };
    format!("{{name: to{net}, addressPrefix: 10.{}.0.0/16, nextHopType: {hop}}}", 1 + net)
}
