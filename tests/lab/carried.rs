//! What the kernel carries by itself: it needs no daemon, and is counted, captured and reported as if it did.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use vnet::sys::process::{ProcessId, Signal};

use crate::lab::{Lab, NEVER, SOON, eventually, has_program, saw, stderr, stdout, vnet};

const PAIR: &str = "
emulation: {device: veth}
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24, networkSecurityGroup: nsg}]}
networkSecurityGroups:
  - name: nsg
    securityRules:
      - {name: no, priority: 100, direction: Inbound, access: RULE, protocol: Udp, sourceAddressPrefix: '*',
         sourcePortRange: '*', destinationAddressPrefix: '*', destinationPortRange: '7000'}
virtualMachines:
  - {name: a, networkInterfaces: [{subnet: v/s}]}
  - {name: b, networkInterfaces: [{subnet: v/s}]}
";

fn allowing() -> String {
    PAIR.replace("RULE", "Allow")
}

/// A flow of datagrams that are sent back, one at a time.
struct Echo {
    client: UdpSocket,
    server: UdpSocket,
    sent: u32,
}

impl Echo {
    fn new(lab: &Lab) -> Self {
        let server = lab.inside("b", || UdpSocket::bind("10.1.1.5:7000").unwrap());
        let client = lab.inside("a", || UdpSocket::bind("10.1.1.4:7001").unwrap());
        client.connect("10.1.1.5:7000".parse::<SocketAddr>().unwrap()).unwrap();
        Self { client, server, sent: 0 }
    }

    /// Whether a datagram comes and its answer, too.
    fn answers(&mut self, patience: Duration) -> bool {
        for socket in [&self.client, &self.server] {
            socket.set_read_timeout(Some(patience)).unwrap();
        }
        self.sent += 1;
        let number = self.sent.to_be_bytes();
        let mut buffer = [0; 64];
        self.client.send(&number).unwrap();
        loop {
            let Ok((length, from)) = self.server.recv_from(&mut buffer) else { return false };
            self.server.send_to(&buffer[..length], from).unwrap();
            if buffer[..length] == number {
                break;
            }
        }
        loop {
            match self.client.recv(&mut buffer) {
                Ok(length) if buffer[..length] == number => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Stopped until dropped.
struct Stopped(ProcessId);

impl Stopped {
    fn of(lab: &Lab) -> Self {
        let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
        let daemon = ProcessId::of(u32::try_from(pid).unwrap()).unwrap();
        assert!(daemon.signal(Signal::STOP).unwrap());
        Self(daemon)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::CONT);
    }
}

fn await_carried(lab: &Lab, echo: &mut Echo) {
    eventually("the flow needs no daemon", || {
        (0..6).for_each(|_| assert!(echo.answers(SOON), "with the daemon"));
        std::thread::sleep(Duration::from_millis(20));
        assert!(echo.answers(SOON));
        let _stopped = Stopped::of(lab);
        (0..20).all(|_| echo.answers(NEVER))
    });
}

#[test]
fn a_known_flow_needs_no_daemon_and_is_counted_to_the_last_packet() {
    let Some(lab) = Lab::up(&allowing()) else { return };
    let mut echo = Echo::new(&lab);
    await_carried(&lab, &mut echo);
    (0..100).for_each(|_| assert!(echo.answers(SOON)));
    let status = lab.data(&["status"]);
    assert!(status["carriedFlows"].as_u64().unwrap() >= 2, "each direction: {status}");
    let sent = u64::from(echo.sent);
    let of = |node: &str, key: &str| {
        let rows = lab.data(&["counters"]);
        rows.as_array().unwrap().iter().find(|row| row["node"] == node).unwrap()[key].as_u64().unwrap()
    };
    eventually("all are counted", || {
        saw(lab.data(&["counters"]));
        [("a", "rxPackets"), ("a", "txPackets"), ("b", "rxPackets"), ("b", "txPackets")].iter().all(|(node, key)| {
            // A guest's kernel may have had a word of its own to say.
            (sent..sent + 20).contains(&of(node, key))
        })
    });
    let flows = stdout(&lab.vnet(&["flows"]));
    assert!(flows.contains("7000"), "{flows}");
}

/// A change of the rules holds for the next packet of a flow that the kernel carries, where it ends flows.
#[test]
fn a_change_that_ends_flows_ends_those_that_the_kernel_carries() {
    let Some(lab) = Lab::up(&allowing()) else { return };
    let mut echo = Echo::new(&lab);
    await_carried(&lab, &mut echo);
    lab.apply(&PAIR.replace("RULE", "Deny").replace("  - name: nsg\n", "  - name: nsg\n    flushConnection: true\n"));
    assert!(!echo.answers(NEVER), "it is denied");
    lab.await_drop("a", "NsgInbound");
    lab.apply(&allowing());
    eventually("it goes on", || echo.answers(NEVER));
    lab.switch("b", "eth0", "down");
    assert!(!echo.answers(NEVER), "its receiver is off");
    lab.switch("b", "eth0", "up");
    lab.exec("b", &["ip", "route", "add", "default", "via", "10.1.1.1"]);
    eventually("and on", || echo.answers(NEVER));
}

#[test]
fn a_capture_has_what_the_kernel_carries_and_the_flow_goes_on_without_it() {
    let Some(lab) = Lab::up(&allowing()) else { return };
    if !has_program("tcpdump") {
        return;
    }
    let mut echo = Echo::new(&lab);
    await_carried(&lab, &mut echo);
    for _ in 0..2 {
        let file = lab.file.with_file_name("lab.pcapng");
        let _ = std::fs::remove_file(&file);
        let mut capture = vnet();
        capture.args(["-l", &lab.name, "capture", "a", "udp", "--duration", "60", "-w"]).arg(&file);
        let mut capture = capture.stderr(Stdio::piped()).spawn().unwrap();
        eventually("the capture has begun", || file.exists() && std::fs::metadata(&file).unwrap().len() > 0);
        std::thread::sleep(Duration::from_millis(100));
        (0..100).for_each(|_| assert!(echo.answers(SOON)));
        assert!(ProcessId::of(capture.id()).unwrap().signal(Signal::INT).unwrap());
        assert!(capture.wait().unwrap().success());
        let read = Command::new("tcpdump").args(["-nr"]).arg(&file).output().unwrap();
        let printed = stdout(&read);
        let (there, back) = ("10.1.1.4.7001 > 10.1.1.5.7000", "10.1.1.5.7000 > 10.1.1.4.7001");
        let counts = [there, back].map(|way| printed.lines().filter(|line| line.contains(way)).count());
        assert_eq!(counts, [100, 100], "{}{printed}", stderr(&read));
        await_carried(&lab, &mut echo);
    }
}

/// NSG-20: connections that the kernel opens by itself have their records, and each of their packets is counted.
#[test]
fn connections_that_need_no_daemon_are_recorded_and_counted_to_the_last_packet() {
    let Some(lab) = Lab::up(&allowing()) else { return };
    let at: SocketAddr = "10.1.1.5:7000".parse().unwrap();
    let listener = lab.inside("b", || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut word = [0; 4];
            while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
        }
    });
    // The port that it came from, if a word came back.
    let exchange = |patience| {
        let client = lab.inside("a", || TcpStream::connect_timeout(&at, patience)).ok()?;
        client.set_read_timeout(Some(patience)).unwrap();
        (&client).write_all(b"word").ok()?;
        (&client).read_exact(&mut [0; 4]).ok()?;
        Some(u64::from(client.local_addr().unwrap().port()))
    };
    eventually("the kernel opens connections by itself", || {
        assert!((0..6).all(|_| exchange(SOON).is_some()));
        let _stopped = Stopped::of(&lab);
        exchange(NEVER).is_some()
    });
    let ports: Vec<u64> = {
        let _stopped = Stopped::of(&lab);
        (0..10).map(|_| exchange(SOON).unwrap()).collect()
    };
    let flows = || {
        let rows = lab.data(&["flows", "--both", "--limit", "10000"]);
        saw(&rows);
        let ours = |flow: &&serde_json::Value| ports.contains(&flow["sourcePort"].as_u64().unwrap());
        rows.as_array().unwrap().iter().filter(ours).cloned().collect::<Vec<_>>()
    };
    eventually("all have ended at both ends", || {
        let flows = flows();
        flows.len() == 2 * ports.len() && flows.iter().all(|flow| flow["state"] == "Closed")
    });
    eventually("what one end sent, the other received, and that is all of it", || {
        let flows = flows();
        let sum = |node: &str, field: &str| -> u64 {
            flows.iter().filter(|flow| flow["node"] == node).map(|flow| flow[field].as_u64().unwrap()).sum()
        };
        let [there, back] =
            [("a", "b"), ("b", "a")].map(|(from, to)| [sum(from, "packetsSent"), sum(to, "packetsReceived")]);
        // SYN, ACK, the word, FIN; SYN with ACK, the word, FIN.
        there[0] == there[1] && back[0] == back[1] && there[0] >= 40 && back[0] >= 30
    });
    eventually("their entries have gone", || lab.data(&["status"])["carriedFlows"] == 0);
}
