//! A router of the user's own at a site, started by `run:`: FRR, BIRD and GoBGP speak BGP with a gateway over the tunnel, in
//! IPv4 and IPv6; what either side says is routed by, and goes and comes back with the router.

use std::path::Path;
use std::time::Duration;

use crate::lab::{Lab, has_program, permitted, stderr, stdout, vnet, within};

const EXAMPLE: &str = include_str!("../../config/site-to-site-frr.yaml");
const WITH_BIRD: &str = include_str!("../../config/site-to-site-bird.yaml");
/// The gateway knows at once that a tunnel is gone, a router only by its hold time.
const HOLD: &str = "hold time 9;";

/// What the site's address space and the networks in Azure are, in both families.
const SITE: [&str; 2] = ["192.168.50.0/24", "fd50::/64"];
const AZURE: [&str; 4] = ["10.10.0.0/16", "10.20.0.0/16", "fd10::/48", "fd20::/48"];

/// GoBGP sets no kernel routes by itself: the site has them from the file.
const GOBGP: &str = "    routes: [10.10.0.0/16, 10.20.0.0/16, 'fd10::/48', 'fd20::/48']
    run:
      - sh
      - -c
      - |
        dir=/run/gobgp-$VNET_LAB
        mkdir \"$dir\"
        cat > \"$dir/conf\" <<'END'
        [global.config]
          as = 65010
          router-id = \"192.168.50.1\"
        [[neighbors]]
          [neighbors.config]
            peer-as = 65515
            neighbor-address = \"10.10.255.30\"
          [neighbors.transport.config]
            local-address = \"192.168.50.1\"
          [neighbors.ebgp-multihop.config]
            enabled = true
            multihop-ttl = 255
          [neighbors.timers.config]
            connect-retry = 1
            hold-time = 9
            keepalive-interval = 3
            idle-hold-time-after-reset = 1
          [[neighbors.afi-safis]]
            [neighbors.afi-safis.config]
              afi-safi-name = \"ipv4-unicast\"
          [[neighbors.afi-safis]]
            [neighbors.afi-safis.config]
              afi-safi-name = \"ipv6-unicast\"
        END
        gobgpd -t toml -f \"$dir/conf\" --api-hosts 127.0.0.1:50051 -p &
        trap 'rm -r \"$dir\"; exit' TERM
        until gobgp global rib -a ipv4 add 192.168.50.0/24; do sleep 0.1; done
        gobgp global rib -a ipv6 add fd50::/64 nexthop fd50::10
        wait
";

/// What the example says for FRR's sake. GoBGP does without.
const NO_SANDBOX: &str = "    sandbox: none\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brand {
    Frr,
    Bird,
    GoBgp,
}

impl Brand {
    fn is_installed(self) -> bool {
        match self {
            // Not on the path.
            Self::Frr => Path::new("/usr/lib/frr/zebra").exists() || has_program("/usr/lib/frr/zebra"),
            Self::Bird => has_program("bird"),
            Self::GoBgp => has_program("gobgpd"),
        }
    }

    /// The example with this router at the site.
    fn topology(self) -> String {
        let (before, rest) = EXAMPLE.split_once("    run:\n").unwrap();
        let (run, after) = rest.split_once("virtualMachines:").unwrap();
        let run = match self {
            Self::Frr => format!("    run:\n{run}"),
            Self::Bird => return WITH_BIRD.to_owned(),
            Self::GoBgp => return format!("{before}{GOBGP}virtualMachines:{after}").replace(NO_SANDBOX, ""),
        };
        format!("{before}{run}virtualMachines:{after}")
    }

    /// The same while the router does not run.
    fn without_router(self) -> String {
        let topology = self.topology();
        let (before, rest) = topology.split_once("    run:\n").unwrap();
        let (_, after) = rest.split_once("virtualMachines:").unwrap();
        format!("{before}virtualMachines:{after}")
    }

    /// Whether the router at the site has a route from the gateway.
    fn knows(self, lab: &Lab, prefix: &str) -> bool {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let said = match self {
            Self::Frr | Self::Bird => lab.exec("dc", &["ip", family, "route", "show", prefix]),
            Self::GoBgp => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                lab.exec("dc", &["gobgp", "global", "rib", "-a", family, prefix])
            }
        };
        let route = stdout(&said);
        match self {
            Self::Frr => route.contains("proto bgp"),
            Self::Bird => route.contains("proto bird"),
            Self::GoBgp => route.contains("65515"),
        }
    }
}

/// A program has to start, to connect, and to hear all.
fn until(what: &str, so: impl Fn() -> bool) {
    within(Duration::from_secs(40), what, so);
}

/// Whether machines in the spoke have a gateway row to a prefix.
fn has_row(lab: &Lab, prefix: &str) -> bool {
    let routes = lab.data(&["routes", "app"]);
    let mut rows = routes["value"].as_array().unwrap().iter();
    rows.any(|row| row["nextHopType"] == "VirtualNetworkGateway" && row["addressPrefix"][0] == prefix)
}

fn both_know(brand: Brand, lab: &Lab) {
    for prefix in SITE {
        until(&format!("the spoke learns {prefix} from {brand:?}"), || has_row(lab, prefix));
    }
    for prefix in AZURE {
        until(&format!("{brand:?} learns {prefix}"), || brand.knows(lab, prefix));
    }
}

fn packets_pass(lab: &Lab) {
    for (from, to) in [("app", "192.168.50.10"), ("app", "fd50::10"), ("dc", "10.20.1.4"), ("dc", "fd20:0:0:1::4")] {
        lab.assert_ping(from, to);
    }
    for address in ["192.168.50.10", "fd50::10"] {
        assert_eq!(lab.tcp("app", "dc", address, 5000, 1 << 20), Some(1 << 20), "a stream to {address}");
    }
    let answered = lab.exec("app", &["ping", "-c1", "-W2", "fd50::10"]);
    assert!(stdout(&answered).contains("ttl=63"), "one gateway on the way: {}", stdout(&answered));
}

/// Routes both ways and packets; then the router ends, which takes its routes along, and comes back.
fn lives(brand: Brand) {
    if !permitted() || !brand.is_installed() {
        return;
    }
    let Some(lab) = Lab::up(&brand.topology()) else { return };
    both_know(brand, &lab);
    packets_pass(&lab);
    let sessions = lab.data(&["bgp", "peers", "hub-gw"]);
    assert_eq!((&sessions[0]["state"], &sessions[0]["asn"]), (&"Connected".into(), &65010.into()), "{sessions}");

    // Of its own sessions the gateway knows.
    let own = lab.data(&["bgp", "peers", "dc"]);
    let word = ["node", "connection", "neighbor", "state"].map(|field| own[0][field].as_str().unwrap_or_default());
    assert_eq!(word, ["dc", "hub-dc", "10.10.255.30", "Connected"], "{own}");
    assert_eq!((&own[0]["asn"], &own[0]["routesReceived"]), (&65515.into(), &AZURE.len().into()), "{own}");
    let counts = |rows: &serde_json::Value| ["messagesSent", "messagesReceived"].map(|count| rows[0][count].as_u64());
    let [sent, received] = counts(&own);
    assert!(sent > Some(1) && received > Some(1), "{own}");
    assert!(own[0]["connectedDuration"] != "", "{own}");

    lab.apply(&brand.without_router());
    until("the session is no more", || lab.data(&["bgp", "peers", "dc"])[0]["state"] == "Connecting");
    for prefix in SITE {
        until(&format!("the spoke forgets {prefix}"), || !has_row(&lab, prefix));
    }
    assert_eq!(lab.ping("app", "192.168.50.10"), None);
    assert!(has_row(&lab, "192.168.50.1/32"), "the peer's own row is the connection's, not BGP's (BGP-14a)");

    lab.apply(&brand.topology());
    both_know(brand, &lab);
    packets_pass(&lab);
    let events = lab.data(&["events"]);
    let told = events.as_array().unwrap().iter().filter(|event| event["node"] == "hub-gw");
    let told: Vec<_> = told.map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["BgpSessionUp", "BgpSessionDown", "BgpSessionUp"], "{events}");
}

/// BGP-06, BGP-10, BGP-14a, PEER-31, PEER-32.
#[test]
fn bgp_10_frr_at_a_site() {
    lives(Brand::Frr);
}

#[test]
fn bgp_10_bird_at_a_site() {
    lives(Brand::Bird);
}

#[test]
fn bgp_10_gobgp_at_a_site() {
    lives(Brand::GoBgp);
}

/// VPN-10, VPN-13: a tunnel that goes silent ends the session on both sides, at the gateway at once and at the router when
/// its hold time is over; with the tunnel all comes back.
#[test]
fn vpn_13_a_silent_tunnel_and_the_routers_hold_time() {
    if !permitted() || !Brand::Bird.is_installed() {
        return;
    }
    let topology = Brand::Bird.topology();
    assert!(topology.contains(HOLD));
    let Some(lab) = Lab::up(&topology) else { return };
    both_know(Brand::Bird, &lab);
    let other_key = topology.replace("    sharedKey: a-secret\n", "    sharedKey: another\n");
    assert_ne!(other_key, topology);
    lab.apply(&other_key);
    until("the spoke forgets the site", || !SITE.iter().any(|prefix| has_row(&lab, prefix)));
    until("the router's hold time ends", || !AZURE.iter().any(|prefix| Brand::Bird.knows(&lab, prefix)));
    lab.apply(&topology);
    both_know(Brand::Bird, &lab);
    packets_pass(&lab);
}

/// What a program that was killed did not remove itself.
struct Leftovers(String);

impl Drop for Leftovers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// BGP-06, BGP-13: a router that is killed and started again, that speaks under another number, that flaps, that falls silent
/// without a word: its routes go with it and come back, and no other machine notices.
#[test]
fn bgp_06_a_router_that_misbehaves() {
    if !permitted() || !Brand::Bird.is_installed() {
        return;
    }
    let Some(lab) = Lab::up(&Brand::Bird.topology()) else { return };
    both_know(Brand::Bird, &lab);
    let dir = format!("/run/bird-{}", lab.name);
    let left = Leftovers(dir.clone());
    let (conf, control, pid) = (format!("{dir}/conf"), format!("{dir}/ctl"), format!("{dir}/pid"));
    let signal = |name: &str| {
        let sent = lab.exec("dc", &["sh", "-c", &format!("kill -{name} $(cat {pid})")]);
        assert!(sent.status.success(), "{}", stderr(&sent));
    };
    let command = |words: &str| stdout(&lab.exec("dc", &["sh", "-c", &format!("birdc -s {control} {words}")]));
    let forgotten = |why: &str| {
        until(&format!("{why}: the spoke forgets the site"), || !SITE.iter().any(|prefix| has_row(&lab, prefix)));
        lab.assert_ping("app", "10.10.1.4");
    };
    let state = || lab.data(&["bgp", "peers", "hub-gw"])[0].clone();

    signal("KILL");
    forgotten("killed");
    let again = format!("bird -c {conf} -s {control} -P {pid}");
    assert!(lab.exec("dc", &["sh", "-c", &again]).status.success());
    both_know(Brand::Bird, &lab);

    let renumber = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&conf).unwrap();
        assert!(text.contains(from));
        std::fs::write(&conf, text.replace(from, to)).unwrap();
        assert!(command("configure").contains("Reconfigur"));
    };
    renumber("as 65010", "as 65099");
    forgotten("another AS number");
    until("the reason is known", || state()["lastError"].as_str().is_some_and(|why| why.contains("Bad Peer AS")));
    until("the session has ended", || state()["state"] != "Connected");
    renumber("as 65099", "as 65010");
    both_know(Brand::Bird, &lab);

    for _ in 0..20 {
        command("restart azure");
        command("disable static1");
        command("enable static1");
        lab.assert_ping("app", "10.10.1.4");
    }
    both_know(Brand::Bird, &lab);
    packets_pass(&lab);

    // Longer than its hold time of nine seconds.
    signal("STOP");
    forgotten("silent");
    until("the reason is known", || {
        state()["lastError"].as_str().is_some_and(|why| why.contains("Hold Timer Expired"))
    });
    signal("CONT");
    both_know(Brand::Bird, &lab);
    packets_pass(&lab);
    command("down");
    drop(left);
}

/// A site with a BGP program though the file leaves BGP to vnet: ours waits for the port and takes over once it is free.
#[test]
fn bgp_06_two_routers_want_one_port() {
    if !permitted() || !Brand::Bird.is_installed() {
        return;
    }
    let Some(lab) = Lab::up(&Brand::Bird.topology()) else { return };
    both_know(Brand::Bird, &lab);
    lab.apply(&Brand::Bird.topology().replace("ownRouter: true", "ownRouter: false"));
    lab.assert_ping("app", "192.168.50.10");
    assert_eq!(lab.data(&["bgp", "peers", "hub-gw"])[0]["state"], "Connected", "the session stays the program's");
    let dir = format!("/run/bird-{}", lab.name);
    assert!(lab.exec("dc", &["birdc", "-s", &format!("{dir}/ctl"), "down"]).status.success());
    drop(Leftovers(dir));
    until("ours speaks", || lab.data(&["bgp", "peers", "dc"])[0]["state"] == "Connected");
    until("the spoke knows the site", || has_row(&lab, SITE[0]));
}

/// The examples with sites as ends of their tests, each in a lab of its own.
#[test]
fn examples_with_sites_pass_their_own_tests() {
    if !permitted() {
        return;
    }
    let of_frr = Brand::Frr.is_installed().then_some("site-to-site-frr");
    let of_bird = Brand::Bird.is_installed().then_some("site-to-site-bird");
    let examples = ["site-to-site", "site-to-site-bgp", "three-sites", "active-active", "private-cloud-full"];
    for example in examples.into_iter().chain(of_frr).chain(of_bird) {
        let file = format!("{}/config/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let tested = vnet().args(["test", &file]).output().unwrap();
        assert!(tested.status.success(), "{example}: {}{}", stdout(&tested), stderr(&tested));
        let alone = vnet().args(["test", "--model-only", &file]).output().unwrap();
        assert!(alone.status.success(), "{example}, from the file alone: {}{}", stdout(&alone), stderr(&alone));
    }
}
