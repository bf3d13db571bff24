//! `device: veth` in namespaces that exist already: pairs that the lab makes there, and pairs that stood before.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vnet::sys::netns::{self, Netns};
use vnet::sys::process::{ProcessId, Signal};

use crate::attach::Named;
use crate::lab::{Lab, NEVER, SOON, eventually, has_program, permitted, ping, stderr, stdout, unique};

const WEB: &str = "10.1.1.10";
const DB: &str = "10.1.1.11";
const OWN: &str = "10.1.1.4";

/// Two machines in namespaces that exist, `web` and `db` as these say, and one of the lab's own.
fn topology(web: &str, db: &str) -> String {
    let machine = |(name, address, attach): (&str, &str, &str)| match attach {
        "" => String::new(),
        attach => format!(
            "  - {{name: {name}, networkInterfaces: [{{subnet: v/s, privateIPAddress: {address}, attach: {{{attach}}}}}]}}\n"
        ),
    };
    let machines: String = [("web", WEB, web), ("db", DB, db)].map(machine).concat();
    format!(
        "emulation: {{device: veth}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
virtualMachines:
  - {{name: own, networkInterfaces: [{{subnet: v/s, privateIPAddress: {OWN}}}]}}
{machines}"
    )
}

fn new_in(namespace: &Named) -> String {
    format!("namespace: {}, interface: eth0", namespace.0)
}

fn standing_in(namespace: &Named) -> String {
    format!("namespace: {}, interface: eth0, configure: false", namespace.0)
}

/// A namespace with one end of a pair, as a script sets it up, and another with the other end.
struct Pair {
    inside: Named,
    outside: Named,
    end: String,
}

impl Pair {
    fn new(address: &str, end_is: &str) -> Self {
        let (inside, outside) = (Named::new("i"), Named::new("o"));
        let end = unique("e").replace('-', "x");
        let pair = Self { inside, outside, end };
        let Self { inside, outside, end } = &pair;
        ip(inside, &format!("link add eth0 type veth peer name {end} netns {}", outside.0));
        ip(inside, &format!("address add {address}/24 dev eth0"));
        ip(inside, "link set eth0 mtu 1400 up");
        ip(inside, "route add default dev eth0");
        ip(outside, &format!("link set {end} {end_is}"));
        pair
    }

    /// What `ip` and `tc` show of both ends, and of all else that is there, without the carrier: the kernel reports that
    /// later.
    fn shown(&self) -> [String; 2] {
        [&self.inside, &self.outside].map(|namespace| {
            let of = |program: &str, words: &str| {
                let mut command = Command::new(program);
                command.args(words.split(' '));
                stdout(&namespace.open().run(|| command.output()).unwrap().unwrap())
            };
            // IPv6 addresses come and go with the carrier.
            let queueing = of("tc", "qdisc show");
            // A device that was once up keeps its queue.
            let programs = queueing.lines().filter(|line| !line.contains(" root ")).collect::<String>();
            let all = [of("ip", "-d link"), of("ip", "-4 address"), of("ip", "-4 route"), programs].concat();
            let carrier = [
                "NO-CARRIER,",
                ",LOWER_UP",
                "state UP",
                "state DOWN",
                "state LOWERLAYERDOWN",
                " linkdown",
                "noop",
                "noqueue",
            ];
            carrier.iter().fold(all, |text, word| text.replace(word, ""))
        })
    }
}

/// The lines of one that are not in the other.
fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String]| {
        let those: Vec<_> = those.iter().flat_map(|text| text.lines()).collect();
        let lines = these.iter().flat_map(|text| text.lines()).filter(|line| !those.contains(line));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    [only(before, after), only(after, before)].concat()
}

/// Everything is as it was.
fn assert_given_back(pairs: &[&Pair], before: &[[String; 2]]) {
    for (pair, before) in pairs.iter().zip(before) {
        assert_eq!(differences(before, &pair.shown()), Vec::<String>::new());
    }
}

fn ip(namespace: &Named, words: &str) {
    let output = Command::new("ip").arg("-n").arg(&namespace.0).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", stderr(&output));
}

/// One flow of datagrams that are sent back.
struct Echo {
    client: UdpSocket,
    server: UdpSocket,
}

impl Echo {
    fn between((from, source): (&Netns, &str), (to, target): (&Netns, &str)) -> Self {
        let bind = |namespace: &Netns, address: &str| namespace.run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
        let (client, server) = (bind(from, source), bind(to, target));
        client.connect(server.local_addr().unwrap()).unwrap();
        Self { client, server }
    }

    fn exchange(&self, count: usize, patience: std::time::Duration) -> usize {
        let mut buffer = [0; 64];
        self.server.set_read_timeout(Some(patience)).unwrap();
        self.client.set_read_timeout(Some(patience)).unwrap();
        let back = |_: &usize| {
            self.client.send(b"there").unwrap();
            let Ok((length, peer)) = self.server.recv_from(&mut buffer) else { return false };
            self.server.send_to(&buffer[..length], peer).is_ok() && self.client.recv(&mut buffer).is_ok()
        };
        (0..count).filter(back).count()
    }

    /// Whether the kernel carries it while the daemon stands still.
    fn is_carried(&self, lab: &Lab) -> bool {
        eventually("packets arrive", || self.exchange(4, NEVER) == 4);
        let pid = lab.data(&["status"])["pid"].as_u64().unwrap() as u32;
        let daemon = ProcessId::of(pid).unwrap();
        let mut through = false;
        eventually("the kernel carries the flow", || {
            assert_eq!(self.exchange(4, SOON), 4);
            assert!(daemon.signal(Signal::STOP).unwrap());
            through = (0..100).all(|_| self.exchange(1, NEVER) == 1);
            assert!(daemon.signal(Signal::CONT).unwrap());
            through
        });
        through
    }
}

/// A transfer, where the program for that is installed.
fn transfers(from: &Netns, to: &Netns, target: &str) {
    if !has_program("iperf3") {
        return;
    }
    let start = |namespace: &Netns, words: &str| {
        let mut iperf3 = Command::new("iperf3");
        iperf3.args(words.split(' ')).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        namespace.run(|| iperf3.spawn()).unwrap().unwrap()
    };
    let mut server = start(to, "-s -1");
    let words = format!("-c {target} -n 64M --connect-timeout 500");
    eventually("iperf3 transfers", || start(from, &words).wait().unwrap().success());
    assert!(server.wait().unwrap().success());
}

#[test]
fn the_kernel_carries_flows_of_pairs_that_are_made_in_namespaces_of_others() {
    if !permitted() {
        return;
    }
    let (web, db) = (Named::new("w"), Named::new("d"));
    let Some(lab) = Lab::up(&topology(&new_in(&web), &new_in(&db))) else { return };
    assert_eq!(lab.data(&["status"])["tunInterfaces"], Value::Null);
    assert!(Echo::between((&web.open(), WEB), (&db.open(), DB)).is_carried(&lab));
    assert!(Echo::between((&lab.node("own"), OWN), (&db.open(), DB)).is_carried(&lab));
    transfers(&web.open(), &db.open(), DB);
    assert!(lab.down().status.success());
    assert!(!web.has("eth0") && !db.has("eth0"), "what the lab made goes with it");
}

impl Named {
    fn has(&self, device: &str) -> bool {
        self.open().run(|| vnet::sys::netlink::Netlink::open().unwrap().link(device).is_ok()).unwrap()
    }
}

#[test]
fn a_pair_that_stands_is_taken_and_given_back_as_it_was() {
    if !permitted() {
        return;
    }
    let (web, db) = (Pair::new(WEB, "up"), Pair::new(DB, "down"));
    let before = [&web, &db].map(Pair::shown);
    let topology = topology(&standing_in(&web.inside), &standing_in(&db.inside));
    let Some(lab) = Lab::up(&topology) else { return };
    assert_eq!(lab.data(&["status"])["tunInterfaces"], Value::Null);
    let [inside, outside] = [web.inside.open(), db.inside.open()];
    inside.run(|| assert!(ping(DB, 64, SOON).unwrap().arrived)).unwrap();
    assert!(Echo::between((&inside, WEB), (&outside, DB)).is_carried(&lab));
    assert!(Echo::between((&lab.node("own"), OWN), (&inside, WEB)).is_carried(&lab));
    transfers(&inside, &outside, DB);
    transfers(&outside, &inside, WEB);
    assert_eq!(differences(&before[0][..1], &web.shown()[..1]), Vec::<String>::new(), "the interface is left alone");
    let addresses = Command::new("ip").args(["-n", &web.outside.0, "-6", "address"]).output().unwrap();
    assert!(!stdout(&addresses).contains("vnet-"), "what leads on says nothing: {}", stdout(&addresses));
    assert!(lab.down().status.success());
    assert_given_back(&[&web, &db], &before);
}

#[test]
fn a_crash_forwards_nothing_and_down_gives_the_pair_back() {
    if !permitted() {
        return;
    }
    let (web, db) = (Pair::new(WEB, "up"), Pair::new(DB, "down"));
    let before = [&web, &db].map(Pair::shown);
    let Some(lab) = Lab::up(&topology(&standing_in(&web.inside), &standing_in(&db.inside))) else { return };
    let echo = Echo::between((&web.inside.open(), WEB), (&db.inside.open(), DB));
    assert!(echo.is_carried(&lab));
    lab.crash();
    eventually("what led on is gone", || {
        let there = |pair: &Pair| pair.shown()[1].contains("vnet-");
        !there(&web) && !there(&db)
    });
    assert_eq!(echo.exchange(1, NEVER), 0);
    assert_eq!(differences(&before[0][..1], &web.shown()[..1]), Vec::<String>::new(), "the interface is left alone");
    assert!(lab.down().status.success());
    assert_given_back(&[&web, &db], &before);
    assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new());
    // It can be taken again, and after another crash `up` itself gives it back first.
    assert!(lab.start().status.success());
    lab.crash();
    assert!(lab.start().status.success());
    assert_eq!(echo.exchange(4, SOON), 4);
    assert!(lab.down().status.success());
    assert_given_back(&[&web, &db], &before);
}

#[test]
fn what_a_user_changes_after_a_crash_stays() {
    if !permitted() {
        return;
    }
    let (web, db) = (Pair::new(WEB, "up"), Pair::new(DB, "down"));
    let Some(lab) = Lab::up(&topology(&standing_in(&web.inside), &standing_in(&db.inside))) else { return };
    lab.crash();
    let tc = |words: &str| {
        let mut command = Command::new("tc");
        let output = web.outside.open().run(|| command.args(words.split(' ')).output()).unwrap().unwrap();
        assert!(output.status.success(), "tc {words}: {}", stderr(&output));
        stdout(&output)
    };
    tc(&format!("qdisc del dev {} clsact", web.end));
    tc(&format!("qdisc add dev {} clsact", web.end));
    // Another pair of the same names.
    ip(&db.inside, "link delete eth0");
    ip(&db.inside, &format!("link add eth0 type veth peer name {} netns {}", db.end, db.outside.0));
    ip(&db.outside, &format!("link set {} up", db.end));
    eventually("what led on is gone", || !db.shown()[1].contains("vnet-"));
    let before = db.shown();
    assert!(lab.down().status.success());
    assert!(tc("qdisc show").contains("clsact"), "a program of the user's may be there");
    assert_given_back(&[&db], &[before]);
}

#[test]
fn a_namespace_that_comes_back_has_its_pair_taken_again() {
    if !permitted() {
        return;
    }
    let web = Pair::new(WEB, "up");
    let topology = topology(&standing_in(&web.inside), "");
    let Some(lab) = Lab::up(&topology) else { return };
    let (namespace, name) = (web.inside.open(), netns::name_path(&web.inside.0));
    netns::unbind(&name).unwrap();
    eventually("it is let go of", || lab.data(&["status"])["nodes"].to_string().contains(r#""alive":false"#));
    namespace.bind(&name).unwrap();
    lab.apply(&topology);
    assert!(Echo::between((&lab.node("own"), OWN), (&namespace, WEB)).is_carried(&lab));
}

#[test]
fn an_attachment_that_goes_gives_its_pair_back() {
    if !permitted() {
        return;
    }
    let (web, db) = (Pair::new(WEB, "up"), Pair::new(DB, "up"));
    let before = [&web, &db].map(Pair::shown);
    let with = |web: &str| topology(web, &standing_in(&db.inside));
    let Some(lab) = Lab::up(&with("")) else { return };
    assert_given_back(&[&web], &before);
    for _ in 0..2 {
        lab.apply(&with(&standing_in(&web.inside)));
        let echo = Echo::between((&web.inside.open(), WEB), (&db.inside.open(), DB));
        assert!(echo.is_carried(&lab));
        lab.apply(&with(""));
        assert_eq!(echo.exchange(1, NEVER), 0);
        assert_given_back(&[&web], &before);
    }
}

#[test]
fn a_taken_interface_that_is_off_drops_and_counts() {
    if !permitted() {
        return;
    }
    let web = Pair::new(WEB, "up");
    let Some(lab) = Lab::up(&topology(&standing_in(&web.inside), "")) else { return };
    let echo = Echo::between((&lab.node("own"), OWN), (&web.inside.open(), WEB));
    assert!(echo.is_carried(&lab));
    ip(&web.inside, "link set eth0 down");
    eventually("packets are dropped", || {
        let before = lab.drops("own", "NodeDown");
        echo.exchange(1, NEVER);
        lab.drops("own", "NodeDown") > before
    });
    ip(&web.inside, "link set eth0 up");
    eventually("packets arrive", || echo.exchange(1, NEVER) == 1);
    assert!(echo.is_carried(&lab));
    ip(&web.outside, &format!("link delete {}", web.end));
    eventually("its device is gone", || lab.data(&["status"])["nodes"].to_string().contains(r#""alive":false"#));
}

/// Each pair's other end has the name of the other pair's attached interface, in another namespace.
#[test]
fn other_ends_may_have_any_name() {
    if !permitted() {
        return;
    }
    let (web, db) = (Pair::new(WEB, "down"), Pair::new(DB, "down"));
    for Pair { outside, end, .. } in [&web, &db] {
        ip(outside, &format!("link set {end} name eth0"));
    }
    let Some(lab) = Lab::up(&topology(&standing_in(&web.inside), &standing_in(&db.inside))) else { return };
    assert_eq!(Echo::between((&web.inside.open(), WEB), (&db.inside.open(), DB)).exchange(5, SOON), 5);
    assert!(lab.down().status.success());
}

#[test]
fn what_cannot_be_taken_is_named_with_what_to_do() {
    if !permitted() {
        return;
    }
    let web = Pair::new(WEB, "up");
    let end = web.end.clone();
    let refused = |topology: &str, words: &[&str]| {
        let lab = Lab::prepared(topology);
        let output = lab.start();
        assert_eq!(output.status.code(), Some(4), "{words:?}");
        let said = stderr(&output);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        assert!(!Path::new("/run/vnet").join(&lab.name).exists());
    };
    let standing = topology(&standing_in(&web.inside), "");
    let before = web.shown();
    let other = standing_in(&web.inside).replace("eth0", "eth7");
    refused(&topology(&other, ""), &["cannot take eth7 of", &web.inside.0, "there is no eth7", "make a veth pair"]);
    ip(&web.inside, "link add eth8 type bridge");
    let other = standing_in(&web.inside).replace("eth0", "eth8");
    refused(&topology(&other, ""), &["cannot take eth8", "one end of a veth pair, and it is none"]);
    ip(&web.inside, "link delete eth8");
    ip(&web.inside, "link add eth8 type veth peer name eth9");
    refused(&topology(&other, ""), &["its other end, eth9, is in the same namespace", "ip link set eth9 netns"]);
    ip(&web.inside, "link delete eth8");
    refused(&topology(&new_in(&web.inside), ""), &["cannot make eth0", "it exists", "configure: false"]);
    refused(&standing.replace("device: veth", "device: tun"), &["cannot make eth0", "exists and is no TUN"]);
    ip(&web.outside, "link add br0 type bridge");
    ip(&web.outside, &format!("link set {end} master br0"));
    refused(&standing, &["cannot take eth0", &format!("its other end, {end}, is a part of br0"), "nomaster"]);
    ip(&web.outside, "link delete br0");
    ip(&web.outside, &format!("address add 10.9.9.9/24 dev {end}"));
    refused(&standing, &["has the address 10.9.9.9/24", &format!("ip address flush dev {end}")]);
    ip(&web.outside, &format!("address flush dev {end}"));
    ip(&web.outside, &format!("link set {end} up"));
    let far = format!("namespace: {}, interface: {end}, configure: false", web.outside.0);
    let both = topology(&standing_in(&web.inside), &far);
    refused(&both, &["cannot take", "is attached too: each attachment takes a pair of its own"]);
    // Another lab has it.
    let Some(first) = Lab::up(&standing) else { return };
    refused(&standing, &["cannot take eth0", &format!("its other end, {end}, has programs"), "tc filter show"]);
    let echo = Echo::between((&first.node("own"), OWN), (&web.inside.open(), WEB));
    assert!(echo.is_carried(&first), "that one still has it");
    assert!(first.down().status.success());
    assert_given_back(&[&web], &[before]);
}
