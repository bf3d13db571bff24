//! The kernel as a second opinion: random security groups, the same as nftables rulesets, and the same real packets.
//!
//! Two machines of four addresses each, once in a lab and once around a kernel router; TCP connections, UDP datagrams and
//! pings both ways, many at once. A packet that is answered in one world must be answered in the other.
//!
//! Left out, since the two differ there or one lacks it: packets in mid-stream without state (the kernel's `invalid`, an
//! NSG judges them as new), ICMP errors, ESP and AH, timeouts, tags and groups (both are lists of ranges), one tuple used
//! by both ends at once, IPv6. The group's default rules are written out: all addresses are in the tag VirtualNetwork.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use vnet::sys::netns::{self, Netns};
use vnet::sys::ping::Pinger;
use vnet::sys::socket::Origin;

use crate::lab::sockets::bound;
use crate::lab::{Lab, NEVER, SOON, has_program, permitted, unique};

const ROUNDS: u16 = 8;
const PROBES: u16 = 60;
const PORTS: [u16; 5] = [22, 80, 81, 443, 5000];
/// Of each machine: 10.70.SIDE.HOST.
const HOSTS: [u8; 4] = [4, 5, 6, 7];

#[test]
fn nsg_10_and_20_a_security_group_passes_what_nftables_passes() {
    if !permitted() || !has_program("nft") || !has_program("ip") {
        return;
    }
    let mut random = Random(7);
    let lab = Lab::up(&topology(&[Vec::new(), Vec::new()])).unwrap();
    let ours = ["a", "b"].map(|node| lab.node(node));
    let kernel = Router::new();
    let done = AtomicBool::new(false);
    let mut passed = 0;
    thread::scope(|scope| {
        for (side, space) in ours.iter().chain(&kernel.ends).enumerate() {
            let done = &done;
            scope.spawn(move || space.run(|| serve(side % 2, done)).unwrap());
        }
        // A failed assertion must not leave the servers waiting.
        let _stop = Stop(&done);
        for round in 0..ROUNDS {
            let groups = [random.group(round), random.group(round)];
            lab.apply(&topology(&groups));
            kernel.load(&ruleset(&groups));
            let probes: Vec<_> = (0..PROBES).map(|n| random.probe(first_port(round) + n)).collect();
            let [here, there] = [&ours, &kernel.ends].map(|spaces| ask(spaces, &probes, NEVER));
            for (probe, (here, there)) in probes.iter().zip(here.into_iter().zip(there)) {
                // On a busy machine silence may only be slowness: ask the silent ones again, and wait.
                let again = |spaces, answered| answered || ask(spaces, std::slice::from_ref(probe), SOON)[0];
                let agree = here == there || again(&ours, here) == again(&kernel.ends, there);
                assert!(
                    agree,
                    "round {round}, {probe:?}: in the lab {here}, in the kernel {there}\n{}",
                    ruleset(&groups)
                );
                passed += usize::from(here || there);
            }
        }
    });
    let all = usize::from(ROUNDS * PROBES);
    assert!(passed > all / 5 && passed < all * 4 / 5, "{passed} of {all} passed: that proves little");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One rule of a group; empty lists are `*`. The elements of a list do not overlap.
#[derive(Clone, Debug)]
struct Rule {
    priority: u16,
    inbound: bool,
    allow: bool,
    protocol: &'static str,
    source: Vec<String>,
    destination: Vec<String>,
    source_ports: Vec<String>,
    destination_ports: Vec<String>,
}

#[derive(Clone, Debug)]
struct Probe {
    kind: Kind,
    /// 0 is a, 1 is b.
    from: usize,
    source: SocketAddr,
    destination: SocketAddr,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Udp,
    Ping,
}

fn first_port(round: u16) -> u16 {
    20_000 + 200 * round
}

fn address(side: usize, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 70, side as u8 + 1, host).into()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn group(&mut self, round: u16) -> Vec<Rule> {
        let count = 4 + self.below(12) as u16;
        let mut rules: Vec<_> = (0..count).map(|n| self.rule(100 + n, round)).collect();
        if self.below(2) == 0 {
            // Without it the default rule lets everything in.
            let everything =
                Rule { priority: 4096, allow: false, protocol: "*", ..self.rule(4096, round) }.unrestricted();
            rules.extend([true, false].map(|inbound| Rule { inbound, ..everything.clone() }));
        }
        rules
    }

    fn rule(&mut self, priority: u16, round: u16) -> Rule {
        let protocol = self.pick(&["*", "*", "Tcp", "Tcp", "Udp", "Icmp"]);
        let first = first_port(round);
        let sources: Vec<_> = (0..3).map(|n| format!("{}-{}", first + 20 * n, first + 20 * n + 19)).collect();
        let ports = protocol != "Icmp";
        Rule {
            priority,
            inbound: self.below(2) == 0,
            allow: self.below(2) == 0,
            protocol,
            source: self.addresses(),
            destination: self.addresses(),
            source_ports: if ports && self.below(4) == 0 { self.some(&sources) } else { Vec::new() },
            destination_ports: if ports && self.below(3) > 0 {
                self.some(&["22", "80-81", "443", "5000"])
            } else {
                Vec::new()
            },
        }
    }

    /// Anything, a side, or some hosts of one.
    fn addresses(&mut self) -> Vec<String> {
        let side = 1 + self.below(2);
        match self.below(3) {
            0 => Vec::new(),
            1 => vec![format!("10.70.{side}.0/24")],
            _ => self.some(&["4/31", "6", "7"].map(|hosts| format!("10.70.{side}.{hosts}"))),
        }
    }

    /// One or two of these, in their order.
    fn some(&mut self, from: &[impl ToString]) -> Vec<String> {
        let (one, other) = (self.below(from.len()), self.below(from.len()));
        let chosen = from.iter().enumerate().filter(|(i, _)| *i == one || *i == other);
        chosen.map(|(_, item)| item.to_string()).collect()
    }

    fn probe(&mut self, source_port: u16) -> Probe {
        let from = self.below(2);
        Probe {
            kind: self.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Ping]),
            from,
            source: SocketAddr::new(address(from, self.pick(&HOSTS)), source_port),
            destination: SocketAddr::new(address(1 - from, self.pick(&HOSTS)), self.pick(&PORTS)),
        }
    }
}

impl Rule {
    fn unrestricted(self) -> Self {
        let none = Vec::new;
        Self { source: none(), destination: none(), source_ports: none(), destination_ports: none(), ..self }
    }
}

/// The lab: each machine in a subnet of its own, with its group.
fn topology(groups: &[Vec<Rule>; 2]) -> String {
    let list = |items: &[String]| if items.is_empty() { "'*'".to_owned() } else { format!("'{}'", items.join("', '")) };
    let mut text =
        "virtualNetworks:\n  - name: v\n    location: westeurope\n    addressSpace: [10.70.0.0/16]\n    subnets:\n"
            .to_owned();
    let sides = ["a", "b"].into_iter().zip(1..);
    for (name, side) in sides.clone() {
        writeln!(text, "      - {{name: {name}, addressPrefix: 10.70.{side}.0/24, networkSecurityGroup: {name}}}")
            .unwrap();
    }
    text.push_str("virtualMachines:\n");
    for (name, side) in sides.clone() {
        let configuration = |host: &u8| format!("{{subnet: v/{name}, privateIPAddress: 10.70.{side}.{host}}}");
        let configurations = HOSTS.iter().map(configuration).collect::<Vec<_>>().join(", ");
        writeln!(text, "  - {{name: {name}, networkInterfaces: [{{ipConfigurations: [{configurations}]}}]}}").unwrap();
    }
    text.push_str("networkSecurityGroups:\n");
    for ((name, _), group) in sides.zip(groups) {
        writeln!(text, "  - name: {name}\n    securityRules:{}", if group.is_empty() { " []" } else { "" }).unwrap();
        for (n, rule) in group.iter().enumerate() {
            writeln!(
                text,
                "      - {{name: r{n}, priority: {}, direction: {}, access: {}, protocol: '{}', sourceAddressPrefixes: [{}], \
                 sourcePortRanges: [{}], destinationAddressPrefixes: [{}], destinationPortRanges: [{}]}}",
                rule.priority,
                if rule.inbound { "Inbound" } else { "Outbound" },
                if rule.allow { "Allow" } else { "Deny" },
                rule.protocol,
                list(&rule.source),
                list(&rule.source_ports),
                list(&rule.destination),
                list(&rule.destination_ports),
            )
            .unwrap();
        }
    }
    text
}

/// The same for the router between them: a chain for each group and direction, in which `return` is the group's yes.
fn ruleset(groups: &[Vec<Rule>; 2]) -> String {
    let mut text = "flush ruleset\ntable ip nsg {\n".to_owned();
    for (name, group) in ["a", "b"].into_iter().zip(groups) {
        for inbound in [true, false] {
            writeln!(text, "  chain {}_{name} {{", if inbound { "in" } else { "out" }).unwrap();
            let mut rules: Vec<_> = group.iter().filter(|rule| rule.inbound == inbound).collect();
            rules.sort_by_key(|rule| rule.priority);
            for rule in rules {
                writeln!(text, "    {}", statement(rule)).unwrap();
            }
            // AllowVnetInBound, AllowVnetOutBound
            text.push_str("    return\n  }\n");
        }
    }
    text.push_str(
        "  chain forward {\n    type filter hook forward priority 0; policy drop;\n    ct state established accept\n",
    );
    for (from, to) in [("a", "b"), ("b", "a")] {
        writeln!(text, "    iifname {from} oifname {to} jump out_{from}\n    iifname {from} oifname {to} jump in_{to}")
            .unwrap();
    }
    text + "    ct state new accept\n  }\n}\n"
}

fn statement(rule: &Rule) -> String {
    let mut words = Vec::new();
    let mut field = |name: &str, items: &[String]| {
        if !items.is_empty() {
            words.push(format!("{name} {{ {} }}", items.join(", ")));
        }
    };
    field("ip saddr", &rule.source);
    field("ip daddr", &rule.destination);
    let has_ports = !(rule.source_ports.is_empty() && rule.destination_ports.is_empty());
    match (rule.protocol, has_ports) {
        ("Tcp", _) => field("meta l4proto", &["tcp".to_owned()]),
        ("Udp", _) => field("meta l4proto", &["udp".to_owned()]),
        ("Icmp", _) => field("meta l4proto", &["icmp".to_owned()]),
        // NSG-07: a rule that restricts ports is about what has them.
        (_, true) => field("meta l4proto", &["tcp".to_owned(), "udp".to_owned()]),
        (_, false) => {}
    }
    field("th sport", &rule.source_ports);
    field("th dport", &rule.destination_ports);
    words.push(if rule.allow { "return" } else { "drop" }.to_owned());
    words.join(" ")
}

/// Two namespaces and the kernel's router between them; gone with its value.
struct Router {
    ends: [Netns; 2],
    middle: Netns,
    name: String,
}

impl Router {
    fn new() -> Self {
        let name = unique("asgnft");
        netns::prepare_names().unwrap();
        let make = |which: &str| {
            let space = Netns::create().unwrap();
            space.bind(&netns::name_path(&format!("{name}-{which}"))).unwrap();
            space
        };
        let (ends, middle) = (["a", "b"].map(make), make("r"));
        let all = Self { ends, middle, name };
        all.middle.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap().unwrap();
        for (side, end) in ["a", "b"].into_iter().enumerate() {
            let net = format!("10.70.{}", side + 1);
            let peer = format!("{}-{end}", all.name);
            ip(&all.middle, &format!("link add name {end} type veth peer name eth0 netns {peer}"));
            ip(&all.middle, &format!("address add {net}.1/24 dev {end}"));
            ip(&all.middle, &format!("link set dev {end} up"));
            for host in HOSTS {
                ip(&all.ends[side], &format!("address add {net}.{host}/24 dev eth0"));
            }
            ip(&all.ends[side], "link set dev eth0 up");
            ip(&all.ends[side], &format!("route add default via {net}.1"));
        }
        all
    }

    fn load(&self, ruleset: &str) {
        let load = || {
            let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            nft.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
            nft.wait().unwrap()
        };
        assert!(self.middle.run(load).unwrap().success(), "{ruleset}");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for which in ["a", "b", "r"] {
            let _ = netns::unbind(&netns::name_path(&format!("{}-{which}", self.name)));
        }
    }
}

fn ip(space: &Netns, words: &str) {
    let output = space.run(|| Command::new("ip").args(words.split(' ')).output().unwrap()).unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Listens everywhere and answers every datagram, until all is done.
fn serve(side: usize, done: &AtomicBool) {
    let places = HOSTS.iter().flat_map(|host| PORTS.map(|port| SocketAddr::new(address(side, *host), port)));
    // Connections are made without a program that accepts them.
    let listeners: Vec<_> = places.clone().map(|place| bound(|| TcpListener::bind(place))).collect();
    let sockets: Vec<_> = places.map(|place| bound(|| UdpSocket::bind(place))).collect();
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
    }
    let mut buffer = [0; 64];
    while !done.load(Ordering::Relaxed) {
        for socket in &sockets {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    drop(listeners);
}

/// Which probes are answered, all asked at once.
fn ask(spaces: &[Netns; 2], probes: &[Probe], limit: Duration) -> Vec<bool> {
    thread::scope(|scope| {
        let asked: Vec<_> = probes
            .iter()
            .map(|probe| scope.spawn(move || spaces[probe.from].run(|| probe.ask(limit)).unwrap()))
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

impl Probe {
    fn ask(&self, limit: Duration) -> bool {
        match self.kind {
            Kind::Tcp => self.connects(limit),
            Kind::Udp => self.is_echoed(limit),
            Kind::Ping => {
                let origin = Origin { device: None, address: Some(self.source.ip()) };
                let mut pinger = Pinger::from(&origin, self.destination.ip()).unwrap();
                let deadline = Instant::now() + limit;
                while Instant::now() < deadline {
                    if pinger.ask(64, NEVER.min(limit)).unwrap().is_some() {
                        return true;
                    }
                }
                false
            }
        }
    }

    fn connects(&self, limit: Duration) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &self.source).unwrap();
        let _ = connect(&socket, &self.destination);
        let limit = Timespec::try_from(limit).unwrap();
        let ready = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&limit)).unwrap();
        ready > 0 && sockopt::socket_error(&socket).unwrap().is_ok()
    }

    fn is_echoed(&self, limit: Duration) -> bool {
        let socket = bound(|| UdpSocket::bind(self.source));
        socket.connect(self.destination).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            socket.send(b"?").unwrap();
            if socket.recv(&mut [0; 8]).is_ok() {
                return true;
            }
        }
        false
    }
}
