//! Load balancers with real packets: ten thousand flows over five backends, and what becomes of flows when one dies.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::sockets::bound;
use crate::lab::{Lab, SOON, eventually, stdout};

/// Of the probes below.
const INTERVAL: Duration = Duration::from_secs(5);

fn topology(backends: usize) -> String {
    let backend = |n: usize| {
        let address = address(n);
        format!(
            "  - {{name: b{n}, networkInterfaces: [{{subnet: v/s, privateIPAddress: {address}, loadBalancerBackendAddressPools: [lb/all]}}]}}\n"
        )
    };
    let backends: String = (0..backends).map(backend).collect();
    format!(
        "
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{{name: in, subnet: v/s, privateIPAddress: 10.50.0.100}}]
    backendAddressPools: [{{name: all}}]
    probes: [{{name: alive, protocol: Tcp, port: 9000, intervalInSeconds: 5}}]
    loadBalancingRules:
      - {{name: dns, frontendIPConfiguration: in, backendAddressPool: all, protocol: Udp, frontendPort: 53, backendPort: 5353}}
      - {{name: web, frontendIPConfiguration: in, backendAddressPool: all, probe: alive, protocol: Tcp, frontendPort: 80, backendPort: 8080}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.50.0.0/16], subnets: [{{name: s, addressPrefix: 10.50.0.0/24}}]}}
virtualMachines:
{backends}  - {{name: client, networkInterfaces: [{{subnet: v/s}}]}}
"
    )
}

fn address(backend: usize) -> IpAddr {
    IpAddr::from([10, 50, 0, 10 + backend as u8])
}

/// Of one rule, by backend: whether it is up, and how many flows it has.
fn backends(lab: &Lab, rule: &str) -> BTreeMap<String, (bool, u64)> {
    let rows = lab.data(&["lb", "lb"]);
    let of_rule = rows.as_array().unwrap().iter().filter(|row| row["rule"] == rule);
    let row = |row: &Value| {
        let node = row["backend"].as_str().unwrap().split('/').next().unwrap().to_owned();
        (node, (row["health"] == "Up", row["flows"].as_u64().unwrap()))
    };
    of_rule.map(row).collect()
}

#[test]
fn lb_03_ten_thousand_flows_over_five_backends_are_even_within_five_percent() {
    const FLOWS: u16 = 10_000;
    /// Under way at a time: a device's queue has room for more.
    const BURST: u16 = 200;
    let Some(lab) = Lab::up(&topology(5)) else { return };
    let bind = |n: usize| lab.inside(&format!("b{n}"), || UdpSocket::bind((address(n), 5353)).unwrap());
    let servers: Vec<_> = (0..5).map(bind).collect();
    for server in &servers {
        server.set_nonblocking(true).unwrap();
    }
    let mut counts = [0_u64; 5];
    let drain = |counts: &mut [u64; 5]| {
        for (server, count) in servers.iter().zip(counts) {
            while server.recv(&mut [0; 8]).is_ok() {
                *count += 1;
            }
        }
    };
    lab.inside("client", || {
        for burst in (0..FLOWS).step_by(BURST.into()) {
            for flow in burst..burst + BURST {
                let client = UdpSocket::bind((IpAddr::from([0; 4]), 20_000 + flow)).unwrap();
                client.send_to(b"flow", "10.50.0.100:53").unwrap();
            }
            let deadline = Instant::now() + SOON;
            while counts.iter().sum::<u64>() < u64::from(burst + BURST) {
                assert!(Instant::now() < deadline, "{counts:?} of {}", burst + BURST);
                drain(&mut counts);
            }
        }
    });
    assert!(counts.iter().all(|count| count.abs_diff(2000) <= 100), "{counts:?}");
    let told: Vec<_> = backends(&lab, "dns").into_values().map(|(_, flows)| flows).collect();
    assert_eq!(told, counts);
}

/// What a backend runs.
struct Server {
    /// Asked by the probe; the kernel accepts.
    alive: Option<TcpListener>,
    web: TcpListener,
}

impl Server {
    fn start(lab: &Lab, n: usize) -> Self {
        let web = lab.inside(&format!("b{n}"), || bound(|| TcpListener::bind((address(n), 8080))));
        web.set_nonblocking(true).unwrap();
        let mut server = Self { alive: None, web };
        server.live(lab, n);
        server
    }

    fn live(&mut self, lab: &Lab, n: usize) {
        self.alive = Some(lab.inside(&format!("b{n}"), || bound(|| TcpListener::bind((address(n), 9000)))));
    }
}

/// A connection, its other end, and the machine with that end.
fn connect(lab: &Lab, servers: &[Server]) -> (usize, TcpStream, TcpStream) {
    let frontend = SocketAddr::from(([10, 50, 0, 100], 80));
    let client = lab.inside("client", || TcpStream::connect_timeout(&frontend, SOON).unwrap());
    let deadline = Instant::now() + SOON;
    loop {
        for (n, server) in servers.iter().enumerate() {
            match server.web.accept() {
                Ok((accepted, _)) => {
                    accepted.set_nonblocking(false).unwrap();
                    return (n, client, accepted);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(Instant::now() < deadline, "no machine has the connection");
    }
}

fn carries(client: &mut TcpStream, server: &mut TcpStream) {
    let pass = |from: &mut TcpStream, to: &mut TcpStream| {
        from.write_all(b"data").unwrap();
        to.set_read_timeout(Some(SOON)).unwrap();
        to.read_exact(&mut [0; 4]).unwrap();
    };
    pass(client, server);
    pass(server, client);
}

#[test]
fn lb_13_a_dead_backend_gets_no_new_flows_and_no_flow_breaks() {
    let Some(lab) = Lab::up(&topology(3)) else { return };
    let mut servers: Vec<_> = (0..3).map(|n| Server::start(&lab, n)).collect();
    let up = |n: usize| backends(&lab, "web")[&format!("b{n}")].0;
    eventually("all are up", || (0..3).all(up));
    let mut flows: Vec<_> = (0..30).map(|_| connect(&lab, &servers)).collect();
    assert!((0..3).all(|n| flows.iter().any(|flow| flow.0 == n)), "all have some");

    servers[0].alive = None;
    let died = Instant::now();
    while up(0) {
        assert!(died.elapsed() < SOON);
    }
    // Threshold 1; a second for a busy machine.
    assert!(died.elapsed() < INTERVAL + Duration::from_secs(1), "{:?}", died.elapsed());
    let fresh: Vec<_> = (0..30).map(|_| connect(&lab, &servers)).collect();
    assert!(fresh.iter().all(|flow| flow.0 != 0));
    for (_, client, server) in &mut flows {
        carries(client, server);
    }
    eventually("why it is down is told", || {
        let events = lab.data(&["events"]);
        let mut told = events.as_array().unwrap().iter().filter(|event| event["event"] == "BackendUnhealthy");
        told.any(|event| event["reason"] == "connection refused" && event["backend"] == "b0/eth0")
    });

    servers[0].live(&lab, 0);
    eventually("it is up again", || up(0));
    assert!((0..30).any(|_| connect(&lab, &servers).0 == 0));
}

/// Two backends of a public load balancer, with eight ports each for what they begin.
const FEW_PORTS: &str = "
internet: {addresses: [198.18.0.1, 198.18.0.2]}
publicIPAddresses: [{name: one, ipAddress: 203.0.113.30}, {name: out, ipAddress: 203.0.113.10}]
natGateways: [{name: nat, publicIpAddresses: [out]}]
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: one, publicIPAddress: one}]
    backendAddressPools: [{name: web}]
    loadBalancingRules:
      - {name: http, frontendIPConfiguration: one, backendAddressPool: web, protocol: Tcp, frontendPort: 80, backendPort: 80, disableOutboundSnat: true}
    outboundRules: [{name: out, frontendIPConfigurations: [one], backendAddressPool: web, protocol: All, allocatedOutboundPorts: 8}]
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: s, addressPrefix: 10.1.1.0/24}, {name: n, addressPrefix: 10.1.2.0/24, natGateway: nat}]
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.4, loadBalancerBackendAddressPools: [lb/web]}]}
  - {name: b, powerState: stopped, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.1.1.5, loadBalancerBackendAddressPools: [lb/web]}]}
  - {name: n, networkInterfaces: [{subnet: v/n, privateIPAddress: 10.1.2.4}]}
";

#[test]
fn snat_05_allocated_used_and_failed_ports_are_reported() {
    let Some(lab) = Lab::up(FEW_PORTS) else { return };
    let ask = |node: &str, sockets: u16, to: &str| {
        lab.inside(node, || {
            // All are open at once: the kernel may give the port of one that is closed to the next, which is the same flow.
            let sockets: Vec<_> = (0..sockets).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
            for socket in &sockets {
                socket.send_to(b"ask", (to, 53)).unwrap();
            }
        });
    };
    ask("a", 11, "198.18.0.1");
    ask("n", 3, "198.18.0.1");
    // Ports that have served a connection are held for a while. One SYN each, and none is sent again so soon.
    lab.inside("a", || {
        for _ in 0..10 {
            let _ = TcpStream::connect_timeout(&"198.18.0.1:443".parse().unwrap(), Duration::from_millis(200));
        }
    });
    let told = || {
        let rows = lab.data(&["snat"]);
        let row = |row: &Value| {
            let number = |key: &str| row[key].as_u64();
            let numbers = ["allocatedPorts", "usedPorts", "connections", "failed"].map(number);
            (["interface", "protocol", "source"].map(|key| row[key].as_str().unwrap().to_owned()), numbers)
        };
        rows.as_array().unwrap().iter().map(row).collect::<BTreeMap<_, _>>()
    };
    let row = |names: [&str; 3], numbers: [Option<u64>; 4]| (names.map(str::to_owned), numbers);
    let frontend = "load balancer lb, frontend one";
    let expected = [
        row(["a/eth0", "Udp", frontend], [Some(8), Some(8), Some(8), Some(3)]),
        row(["a/eth0", "Tcp", frontend], [Some(8), Some(8), Some(8), Some(2)]),
        row(["b/eth0", "Udp", frontend], [Some(8), Some(0), Some(0), Some(0)]),
        row(["b/eth0", "Tcp", frontend], [Some(8), Some(0), Some(0), Some(0)]),
        row(["n/eth0", "Udp", "NAT gateway nat"], [None, Some(3), Some(3), Some(0)]),
    ];
    eventually("what was sent is mapped", || told() == expected.clone().into());
    let status = lab.data(&["status"]);
    assert_eq!(status["loadBalancers"][0]["down"], serde_json::json!(["b/eth0"]), "{status:#}");
    let words = String::from_utf8(lab.vnet(&["status"]).stdout).unwrap();
    assert!(words.contains("Load balancer lb, 1 of 2 backends up; not b/eth0"), "{words}");
}

/// A running lab names the rule that keeps probes out, and its fixes let in probes and clients.
#[test]
fn nsg_31_a_denied_probe_is_named_and_mended_in_a_running_lab() {
    let guarded = |rules: &str| {
        format!("networkSecurityGroups: [{{name: shut, securityRules: [{rules}]}}]\n{}", topology(1))
            .replace("privateIPAddress: 10.50.0.10,", "privateIPAddress: 10.50.0.10, networkSecurityGroup: shut,")
    };
    let deny = "{name: nothing, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*', \
                sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}";
    let Some(lab) = Lab::up(&guarded(deny)) else { return };
    let _server = Server::start(&lab, 0);
    let rows = lab.data(&["lb", "lb"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["rule"] == "web").unwrap();
    assert_eq!(row["deniedBy"], "NSG shut on NIC b0/eth0, rule securityRules/nothing", "{row}");
    let table = stdout(&lab.vnet(&["lb"]));
    assert!(table.contains("NSG shut on NIC b0/eth0, rule securityRules/nothing denies the probe"), "{table}");

    let answer = lab.data(&["explain", "client", "10.50.0.100:80"]);
    let further = answer["further"].as_array().unwrap().iter().map(|one| &one["fix"]);
    let fixes: Vec<_> = std::iter::once(&answer["fix"]).chain(further).collect();
    let rules: Vec<_> = fixes.iter().map(|fix| fix["changes"][0]["value"].as_str().unwrap()).collect();
    assert_eq!(rules.len(), 2, "{answer}");
    assert!(rules[0].contains("168.63.129.16") && rules[1].contains("'8080'"), "{rules:?}");
    lab.apply(&guarded(&format!("{deny}, {}", rules.join(", "))));
    eventually("it is up", || backends(&lab, "web")["b0"].0);
    lab.inside("client", || TcpStream::connect_timeout(&"10.50.0.100:80".parse().unwrap(), SOON).unwrap());
}
