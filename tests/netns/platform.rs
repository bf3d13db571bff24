//! What guests ask the platform, asked by real programs: names, and what a machine is told of itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, SOON, has_program, stdout};

/// A peered pair, and a third with the addresses of the first; the first machine's rules deny all that they can.
const LAB: &str = "
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16, 'fd00:1::/48']
    subnets: [{name: s, addressPrefixes: [10.1.0.0/24, 'fd00:1::/64'], networkSecurityGroup: closed}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
  - name: b
    location: northeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: s, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
  - {name: c, location: uksouth, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.0.0/24}]}
networkSecurityGroups:
  - name: closed
    securityRules:
      - {name: in, priority: 4096, direction: Inbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
      - {name: out, priority: 4096, direction: Outbound, access: Deny, protocol: '*', sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '*'}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: a/s}]}
  - {name: db, networkInterfaces: [{subnet: a/s}]}
  - {name: far, networkInterfaces: [{subnet: b/s}]}
  - {name: other, networkInterfaces: [{subnet: c/s}]}
";

const INSTANCE: &str = "http://169.254.169.254/metadata/instance?api-version=2021-02-01";

fn dig(lab: &Lab, node: &str, question: &[&str]) -> String {
    let dig = lab.exec(node, &[&["dig", "+time=5", "+tries=3"], question].concat());
    assert!(dig.status.success(), "{dig:?}");
    stdout(&dig)
}

fn instance(lab: &Lab, node: &str) -> Value {
    let curl = lab.exec(node, &["curl", "-sS", "-m10", "-H", "Metadata: true", INSTANCE]);
    serde_json::from_str(&stdout(&curl)).unwrap_or_else(|error| panic!("{error}: {}", stdout(&curl)))
}

/// PEER-12: names end where the virtual network does, though packets cross the peering.
#[test]
fn peer_12_names_are_those_of_ones_own_virtual_network() {
    let Some(lab) = Lab::up(LAB).filter(|_| has_program("dig")) else { return };
    assert_eq!(dig(&lab, "web", &["+short", "+search", "db"]), "10.1.0.5\n");
    assert_eq!(dig(&lab, "web", &["+short", "+search", "DB", "AAAA"]), "fd00:1::5\n");
    assert_eq!(dig(&lab, "web", &["+short", "+tcp", "-x", "10.1.0.5"]), "db.internal.cloudapp.net.\n");
    assert_eq!(dig(&lab, "web", &["+short", "-x", "fd00:1::5"]), "db.internal.cloudapp.net.\n");
    assert!(dig(&lab, "web", &["far.internal.cloudapp.net"]).contains("status: NXDOMAIN"));
    // A foreign one is refused at once: it has no forwarder.
    assert!(dig(&lab, "web", &["example.org"]).contains("status: REFUSED"));
    // The same address in another virtual network is another machine's.
    assert_eq!(dig(&lab, "other", &["+short", "-x", "10.1.0.4"]), "other.internal.cloudapp.net.\n");
    // As a program finds it that knows nothing of vnet.
    let by_name = std::process::Command::new("ip")
        .args(["netns", "exec", &format!("{}-far", lab.name), "dig", "+short", "+search", "far"])
        .output()
        .unwrap();
    assert_eq!(stdout(&by_name), "10.2.0.4\n");

    // A machine that comes is known, and one that goes is not.
    lab.apply(&LAB.replace("name: db,", "name: cache,"));
    assert_eq!(dig(&lab, "web", &["+short", "+search", "cache"]), "10.1.0.5\n");
    assert!(dig(&lab, "web", &["db.internal.cloudapp.net"]).contains("status: NXDOMAIN"));
}

#[test]
fn fab_12_a_machine_gets_its_metadata() {
    let Some(lab) = Lab::up(LAB).filter(|_| has_program("curl")) else { return };
    for (node, location) in [("web", "westeurope"), ("other", "uksouth")] {
        let told = instance(&lab, node);
        assert_eq!((&told["compute"]["name"], &told["compute"]["location"]), (&node.into(), &location.into()));
        assert_eq!(told["network"]["interface"][0]["ipv4"]["ipAddress"][0]["privateIpAddress"], "10.1.0.4");
    }
    let without = lab.exec("web", &["curl", "-s", "-m10", "-o", "/dev/null", "-w", "%{http_code}", INSTANCE]);
    assert_eq!(stdout(&without), "400");
}

#[test]
fn the_platform_can_be_left_out() {
    let Some(lab) = Lab::up(&format!("emulation: {{platformServices: false}}\n{LAB}")).filter(|_| has_program("dig"))
    else {
        return;
    };
    let dig = lab.exec("web", &["dig", "+time=1", "+tries=1", "@168.63.129.16", "web"]);
    assert_ne!(dig.status.code(), Some(0));
    lab.await_drop("web", "NoEndpoint");
    assert!(!stdout(&lab.exec("web", &["cat", "/etc/resolv.conf"])).contains("168.63.129.16"));
}

/// Answers so many questions for an address with 192.0.2.80, and everything with the same.
fn answer_names(socket: &UdpSocket, times: usize) {
    for _ in 0..times {
        let mut message = [0; 512];
        let Ok((len, from)) = socket.recv_from(&mut message) else { return };
        socket.send_to(&answer_to(&message[..len]), from).unwrap();
    }
}

fn answer_to(message: &[u8]) -> Vec<u8> {
    // One question, ended by the root's label, its type and class; what comes behind it is about extensions.
    let end = 12 + message[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let head = [message[0], message[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 80];
    [&head[..], &message[12..end], &record].concat()
}

#[test]
fn fab_12_names_of_others_are_asked_where_the_file_says() {
    if !crate::lab::permitted() || !has_program("dig") {
        return;
    }
    // In the namespace that the daemon lives in: one that never answers, and one that does.
    let [silent, speaking] = ["127.53.0.1:53", "127.53.0.2:53"].map(|at| UdpSocket::bind(at).unwrap());
    speaking.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let with = |forwarders: &str| format!("emulation: {{platformServices: {{dnsForwarders: [{forwarders}]}}}}\n{LAB}");
    let Some(lab) = Lab::up(&with("127.53.0.1, 127.53.0.2")) else { return };
    thread::scope(|scope| {
        scope.spawn(|| answer_names(&speaking, 3));
        assert_eq!(dig(&lab, "web", &["+short", "www.example.org"]), "192.0.2.80\n");
        assert_eq!(dig(&lab, "far", &["+short", "+tcp", "www.example.org"]), "192.0.2.80\n");
        assert_eq!(dig(&lab, "web", &["+short", "-x", "192.0.2.80", "A"]), "192.0.2.80\n", "any address");
    });
    // A network's own names are known in it alone.
    assert_eq!(dig(&lab, "web", &["+short", "+search", "db"]), "10.1.0.5\n");
    assert!(dig(&lab, "web", &["nobody.internal.cloudapp.net"]).contains("status: NXDOMAIN"));
    // No answer is an error with a message, too.
    lab.apply(&with("127.53.0.1"));
    assert!(dig(&lab, "web", &["www.example.org"]).contains("status: SERVFAIL"));
    lab.apply(LAB);
    assert!(dig(&lab, "web", &["www.example.org"]).contains("status: REFUSED"));
    drop(silent);
}

/// Answers in part over UDP, and whole over TCP: what a client asks over a connection comes whole.
#[test]
fn fab_12_what_does_not_fit_a_datagram_is_asked_for_over_a_connection() {
    if !crate::lab::permitted() || !has_program("dig") {
        return;
    }
    let (brief, at_length) = (UdpSocket::bind("127.53.0.3:53").unwrap(), TcpListener::bind("127.53.0.3:53").unwrap());
    brief.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let Some(lab) = Lab::up(&format!("emulation: {{platformServices: {{dnsForwarders: [127.53.0.3]}}}}\n{LAB}")) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut message = [0; 512];
            // Asked by UDP, then again by a client that has heard so and comes over TCP.
            for _ in 0..2 {
                let (len, from) = brief.recv_from(&mut message).unwrap();
                message[2] |= 0x82;
                brief.send_to(&message[..len], from).unwrap();
            }
            let (mut stream, _) = at_length.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let answer = answer_to(&question);
            stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).unwrap();
        });
        assert_eq!(dig(&lab, "web", &["+short", "+noedns", "www.example.org"]), "192.0.2.80\n");
    });
}

#[test]
fn lim_05_guests_ask_the_servers_of_their_virtual_network() {
    let servers = |servers: &str| {
        LAB.replace("[10.2.0.0/16]", &format!("[10.2.0.0/16]\n    dhcpOptions: {{dnsServers: [{servers}]}}"))
    };
    let Some(lab) = Lab::up(&servers("10.1.0.5, 192.0.2.53")) else { return };
    let resolvers = |node: &str| {
        let text = stdout(&lab.exec(node, &["cat", "/etc/resolv.conf"]));
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(resolvers("far"), ["10.1.0.5", "192.0.2.53"]);
    assert_eq!(resolvers("web"), ["168.63.129.16"]);
    lab.apply(&servers("10.1.0.4"));
    assert_eq!(resolvers("far"), ["10.1.0.4"]);
    let shown = std::fs::read_to_string(format!("/etc/netns/{}-far/resolv.conf", lab.name)).unwrap();
    assert!(shown.starts_with("nameserver 10.1.0.4\n"), "{shown}");
    // An interface's own come first (FAB-12).
    let own = |settings: &str| {
        servers("10.1.0.4")
            .replace("{subnet: b/s}", &format!("{{subnet: b/s, dnsSettings: {{dnsServers: [{settings}]}}}}"))
    };
    lab.apply(&own("10.2.0.9"));
    assert_eq!(resolvers("far"), ["10.2.0.9"]);
    lab.apply(&own("AzureProvidedDNS"));
    assert_eq!(resolvers("far"), ["168.63.129.16"]);
    lab.apply(LAB);
    assert_eq!(resolvers("far"), ["168.63.129.16"]);
}

/// FAB-12: connections that one machine leaves open keep neither others nor itself from an answer.
#[test]
fn fab_12_slow_connections_of_one_machine_do_not_delay_others() {
    let Some(lab) = Lab::up(LAB).filter(|_| has_program("curl")) else { return };
    let open = || {
        let mut stream = TcpStream::connect("169.254.169.254:80").unwrap();
        let _ = stream.write_all(b"GET /metadata");
        stream
    };
    let slow = lab.inside("far", || (0..280).map(|_| open()).collect::<Vec<_>>());
    let started = Instant::now();
    for node in ["web", "other", "db", "far"] {
        assert_eq!(instance(&lab, node)["compute"]["name"], node);
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    if has_program("dig") {
        assert_eq!(dig(&lab, "web", &["+short", "+tcp", "+search", "db"]), "10.1.0.5\n", "nor from a name over TCP");
    }
    // Each has its deadline, too.
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read(&mut [0; 1]);
    }
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

/// A finished question takes no place among a machine's connections: one that is slow stays open beside many others.
#[test]
fn fab_12_questions_that_are_answered_cost_a_machine_no_connection() {
    let Some(lab) = Lab::up(LAB) else { return };
    let open = || TcpStream::connect("169.254.169.254:80").unwrap();
    let request = b"GET /metadata/instance?api-version=2021-02-01 HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n";
    let answer = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    lab.inside("far", || {
        let slow = open();
        // More than a machine may have at a time.
        for _ in 0..40 {
            assert!(answer(open()).starts_with("HTTP/1.1 200"));
        }
        assert!(answer(slow).starts_with("HTTP/1.1 200"));
    });
}

/// Networks may have the same addresses: machines that share one have connections of their own.
#[test]
fn fab_12_machines_with_one_address_in_two_networks_have_their_own_connections() {
    let network = |name: &str| {
        format!(
            "  - {{name: {name}, location: westeurope, addressSpace: [10.1.0.0/16], \
             subnets: [{{name: s, addressPrefix: 10.1.0.0/24}}]}}\n"
        )
    };
    let machine = |name: &str| {
        format!("  - {{name: {name}, networkInterfaces: [{{subnet: {name}/s, privateIPAddress: 10.1.0.4}}]}}\n")
    };
    let both = |each: &dyn Fn(&str) -> String| ["one", "other"].map(each).concat();
    let file = format!("virtualNetworks:\n{}virtualMachines:\n{}", both(&network), both(&machine));
    let Some(lab) = Lab::up(&file) else { return };
    let open = || TcpStream::connect("169.254.169.254:80").unwrap();
    let mut first = lab.inside("one", open);
    let others = lab.inside("other", || (0..40).map(|_| open()).collect::<Vec<_>>());
    first.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    first.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "beside {} of the other: {answer}", others.len());
}
