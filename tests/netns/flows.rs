//! Flows as they begin and end, reported to clients that follow.

use std::io::{BufRead, BufReader, Lines};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, eventually, stdout, vnet};
use crate::trace::watchers;

const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");

/// `vnet flows -f`, which hears of everything from now on.
pub(crate) struct Flows {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Flows {
    pub(crate) fn follow(lab: &Lab, arguments: &[&str]) -> Self {
        let before = watchers(lab);
        let mut command = vnet();
        command.args(["-l", &lab.name, "flows", "-f", "-o", "json"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        eventually("it follows", || watchers(lab) > before);
        Self { child, lines }
    }

    /// What is told next of this kind.
    pub(crate) fn next(&mut self, event: &str) -> Value {
        let mut told = self.lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        told.find(|told| told["event"] == event).unwrap()
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nsg_20_and_22_a_follower_sees_flows_run_begin_end_and_be_refused() {
    let Some(lab) = Lab::up(TIERS) else { return };
    lab.assert_ping("web", "10.40.2.4");
    let mut flows = Flows::follow(&lab, &["web"]);
    let running = flows.next("Running");
    assert_eq!((&running["protocol"], &running["direction"]), (&json!("Icmp"), &json!("Outbound")));

    assert_eq!(lab.tcp("web", "app", "10.40.2.4", 8080, 5000), Some(5000));
    let begun = flows.next("Begun");
    assert_eq!((&begun["state"], &begun["destinationPort"]), (&json!("SynSent"), &json!(8080)));
    assert_eq!(begun["packetsSent"], 1);
    let ended = flows.next("Ended");
    assert_eq!((&ended["state"], &ended["sourcePort"]), (&json!("Closed"), &begun["sourcePort"]));
    assert!(ended["bytesSent"].as_u64().unwrap() > 5000, "{ended}");

    let mut refused = Flows::follow(&lab, &["db", "--port", "22"]);
    assert_eq!(lab.tcp("web", "db", "10.40.3.4", 22, 0), None);
    let denied = refused.next("Denied");
    assert_eq!((&denied["access"], &denied["rules"]), (&json!("Deny"), &json!(["db-tier securityRules/deny-vnet"])));
}

/// web sends through an appliance to db, which lets in port 80 alone.
const CHAIN: &str = "
networkSecurityGroups:
  - name: guarded
    securityRules:
      - {name: web, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '80'}
      - {name: nothing-else, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
routeTables:
  - {name: there, routes: [{name: db, addressPrefix: 10.50.2.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.50.0.4}]}
  - {name: back, routes: [{name: web, addressPrefix: 10.50.1.0/24, nextHopType: VirtualAppliance, nextHopIpAddress: 10.50.0.4}]}
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.50.0.0/16]
    subnets:
      - {name: nva, addressPrefix: 10.50.0.0/24}
      - {name: web, addressPrefix: 10.50.1.0/24, routeTable: there}
      - {name: db, addressPrefix: 10.50.2.0/24, routeTable: back, networkSecurityGroup: guarded}
virtualMachines:
  - {name: nva, networkInterfaces: [{subnet: v/nva, enableIPForwarding: true}]}
  - {name: web, networkInterfaces: [{subnet: v/web}]}
  - {name: db, networkInterfaces: [{subnet: v/db}]}
";

/// The first packet came as far as the appliance: the sender's flow names the rule behind it that denies its packets.
#[test]
fn nsg_20_a_flow_that_the_other_end_denies_says_so_at_its_sender() {
    let Some(lab) = Lab::up(CHAIN) else { return };
    assert_eq!(lab.tcp("web", "db", "10.50.2.4", 22, 0), None);
    assert_eq!(lab.tcp("web", "db", "10.50.2.4", 80, 5000), Some(5000));
    let denied = lab.data(&["flows", "--state", "denied"]);
    assert_eq!(denied.as_array().unwrap().len(), 1, "{denied}");
    let place = (&denied[0]["node"], &denied[0]["destinationPort"], &denied[0]["access"]);
    assert_eq!(place, (&json!("web"), &json!(22), &json!("Deny")), "{denied}");
    assert_eq!(denied[0]["deniedAt"], "db/eth0");
    assert_eq!(denied[0]["rules"], json!(["guarded securityRules/nothing-else"]));
    let table = stdout(&lab.vnet(&["flows", "web", "--port", "22"]));
    assert!(table.contains("Denied at db/eth0 by guarded securityRules/nothing-else  Deny"), "{table}");
    let rows = lab.data(&["flows", "--port", "22", "--both"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["access"] == "Deny"), "{rows}");

    // The one that passes is one flow with the rules of all, in columns as in JSON.
    let passed = lab.data(&["flows", "--port", "80"]);
    assert_eq!(passed.as_array().unwrap().len(), 1, "{passed}");
    assert_eq!(
        (&passed[0]["node"], &passed[0]["alsoAt"]),
        (&json!("web"), &json!(["nva/eth0", "db/eth0"])),
        "{passed}"
    );
    assert_eq!((&passed[0]["access"], &passed[0]["deniedAt"]), (&json!("Allow"), &Value::Null));
    assert_eq!(passed[0]["rules"], json!(["guarded securityRules/web"]));
    assert_eq!(stdout(&lab.vnet(&["flows", "--port", "80", "-o", "tsv"])).lines().count(), 1);
    assert_eq!(stdout(&lab.vnet(&["flows", "--port", "80", "-o", "tsv", "--both"])).lines().count(), 4);
    assert_eq!(lab.data(&["flows", "--port", "80", "--both"]).as_array().unwrap().len(), 4);
}

/// One backend behind an internal frontend, which lets clients in at port 53 alone, and machines with public addresses.
const TRANSLATED: &str = "
internet: {}
publicIPAddresses: [{name: one, ipAddress: 203.0.113.77}, {name: two, ipAddress: 203.0.113.78}]
networkSecurityGroups:
  - name: guarded
    securityRules:
      - {name: dns, priority: 100, direction: Inbound, access: Allow, protocol: Udp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '5353'}
      - {name: nothing-else, priority: 200, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: in, subnet: v/s, privateIPAddress: 10.50.0.100}]
    backendAddressPools: [{name: all}]
    loadBalancingRules:
      - {name: dns, frontendIPConfiguration: in, backendAddressPool: all, protocol: Udp, frontendPort: 53, backendPort: 5353}
      - {name: web, frontendIPConfiguration: in, backendAddressPool: all, protocol: Tcp, frontendPort: 80, backendPort: 8080}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.50.0.0/16], subnets: [{name: s, addressPrefix: 10.50.0.0/24}]}
virtualMachines:
  - name: backend
    networkInterfaces:
      - {subnet: v/s, privateIPAddress: 10.50.0.10, networkSecurityGroup: guarded, publicIPAddress: two,
         loadBalancerBackendAddressPools: [lb/all]}
  - {name: client, networkInterfaces: [{subnet: v/s, privateIPAddress: 10.50.0.20, publicIPAddress: one}]}
";

#[test]
fn lb_04_and_pip_01_a_translated_flow_is_shown_once() {
    let Some(lab) = Lab::up(TRANSLATED) else { return };
    let server = lab.inside("backend", || UdpSocket::bind("0.0.0.0:5353").unwrap());
    let ask = |from: u16, at: &str| {
        let client = lab.inside("client", || bound(|| UdpSocket::bind(("0.0.0.0", from))));
        client.send_to(b"?", at).unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        let (_, asker) = server.recv_from(&mut [0; 1]).unwrap();
        server.send_to(b"!", asker).unwrap();
        let flows = lab.data(&["flows", "--port", &from.to_string()]);
        assert_eq!(flows.as_array().unwrap().len(), 1, "{flows}");
        assert_eq!((&flows[0]["node"], &flows[0]["access"]), (&json!("client"), &json!("Allow")), "{flows}");
        flows[0].clone()
    };
    let balanced = ask(20_001, "10.50.0.100:53");
    assert_eq!(balanced["alsoAt"], json!(["backend/eth0 as 10.50.0.10:5353"]), "{balanced}");
    assert_eq!(balanced["translatedAddress"], Value::Null);
    let public = ask(20_002, "203.0.113.78:5353");
    assert_eq!(public["alsoAt"], json!(["backend/eth0 as 10.50.0.10:5353"]), "{public}");
    assert_eq!(public["translatedAddress"], json!("203.0.113.77"));
    let own = lab.data(&["flows", "backend", "--port", "5353", "--address", "10.50.0.20"]);
    assert_eq!((&own[0]["translatedAddress"], &own[0]["translatedPort"]), (&json!("10.50.0.100"), &json!(53)), "{own}");

    // What the backend's rule refuses is in no way allowed.
    let frontend = "10.50.0.100:80".parse().unwrap();
    assert!(lab.inside("client", || TcpStream::connect_timeout(&frontend, NEVER)).is_err());
    let rows = lab.data(&["flows", "--port", "80", "--address", "10.50.0.100"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["access"] == "Deny"), "{rows}");
}
