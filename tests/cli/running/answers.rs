//! `vnet explain` and `vnet reach` in words: every kind of note, and what real packets have settled.

use serde_json::{Value, json};
use vnet::daemon::api::protocol::Request;

use super::{Lab, once, refused};

fn path(hops: &[&str]) -> Value {
    let hop = |nic: &&str| json!({"node": nic, "nic": nic, "steps": [{"what": "route", "object": "route r", "text": format!("through {nic}")}]});
    json!({"delivered": true, "dropped": null, "hops": hops.iter().map(hop).collect::<Vec<_>>()})
}

fn explanation(changes: impl FnOnce(&mut Value)) -> Value {
    let mut explanation = json!({
        "source": "web/eth0 (10.0.0.4)", "destination": "db/eth0 (10.1.0.4)", "probe": "tcp/443", "verdict": "reachable",
        "forward": path(&["web/eth0"]), "return": path(&["db/eth0"]), "cause": null, "fix": null, "further": [], "warnings": [],
    });
    changes(&mut explanation);
    explanation
}

/// What is explained, in a lab that sends no packets.
fn lab(changes: impl Fn(&mut Value) + Send + Sync + 'static) -> Lab {
    Lab::start(move |request| match request {
        Request::Explain { .. } => once(json!({"explanation": explanation(&changes)})),
        Request::ExplainLive(_) => {
            let mut live = explanation(&changes);
            live["flow"] = json!({"nic": "web/eth0", "sourcePort": 7, "ageMs": 61_900, "idleMs": 50, "packetsSent": 1,
                                  "packetsReceived": 3, "flows": 1});
            once(json!({"liveExplanation": live}))
        }
        Request::Forecast(_) => once(json!({"refused": {"message": "no forecast", "help": null}})),
        other => refused(other),
    })
}

const HEAD: &str = "web/eth0 (10.0.0.4) to db/eth0 (10.1.0.4), tcp/443\n";
const WAYS: &str = "
There
  web/eth0
    route    through web/eth0  [route r]

Back
  db/eth0
    route    through db/eth0  [route r]
";

#[test]
fn a_plain_answer_is_short() {
    let lab = lab(|_| {});
    assert_eq!(lab.prints("explain web db:443"), format!("{HEAD}{WAYS}\nverdict  reachable\n"));
    let (source, destination) = ("web".to_owned(), "db:443".to_owned());
    assert_eq!(lab.asked(), [Request::Explain { source, destination }]);
    let live = "by the flow from port 7: on record at web/eth0 for 61.9 s, last packet 0.0 s ago, 1 packet sent and 3 received\n";
    assert_eq!(lab.prints("explain --live web db:443"), format!("{HEAD}{live}{WAYS}\nverdict  reachable\n"));
    assert!(matches!(lab.asked()[..], [Request::ExplainLive(_)]));
    let rows =
        "forward\tweb/eth0\troute\tthrough web/eth0\troute r\nreturn\tdb/eth0\troute\tthrough db/eth0\troute r\n";
    assert_eq!(lab.prints("explain web db:443 -o tsv"), rows);
}

#[test]
fn an_obstacle_has_its_cause_and_its_fix_and_so_has_the_next_one() {
    let lab = lab(|answer| {
        (answer["verdict"], answer["return"]) = (json!("blocked"), Value::Null);
        (answer["cause"], answer["reasons"]) = (json!("a rule"), json!(["it is first", "it is wide"]));
        let changes = json!([{"path": "routes[0].name", "value": "new"}, {"path": "routes[1]", "value": null}]);
        answer["fix"] =
            json!({"text": "change it", "changes": changes, "commands": ["vnet peering sync"], "checked": true});
        let fix = json!({"text": "change that", "changes": [], "checked": true});
        answer["further"] = json!([{"cause": "another", "fix": fix}, {"cause": "a third", "fix": null}]);
        answer["warnings"] = json!(["a doubt"]);
    });
    let text = format!(
        "{HEAD}{}
verdict  blocked
cause    a rule
why      it is first
why      it is wide
fix      change it
         vnet peering sync
         routes[0].name: new
         remove routes[1]
then     another
fix      change that
then     a third
warning  a doubt
",
        WAYS.split("\nBack").next().unwrap()
    );
    let answer = lab.run("explain web db:443");
    assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (1, text.as_str(), ""));
    let painted = lab.run("explain web db:443 --color always").stdout;
    for (colour, word) in [
        (36, "There"),
        (31, "verdict  "),
        (31, "cause    "),
        (36, "why      "),
        (32, "fix      "),
        (31, "then     "),
        (33, "warning  "),
    ] {
        assert!(painted.contains(&format!("\u{1b}[1m\u{1b}[{colour}m{word}\u{1b}[0m")), "{word}: {painted:?}");
    }
}

#[test]
fn the_exit_code_is_that_of_the_verdict() {
    for (verdict, warnings, code, words) in [
        ("reachable", json!([]), 0, "reachable"),
        ("reachable", json!(["a doubt"]), 3, "reachable"),
        ("blocked", json!([]), 1, "blocked"),
        ("wrongHost", json!([]), 1, "wrong host"),
        ("depends", json!([]), 3, "depends on the flow's hash"),
    ] {
        let lab = lab(move |answer| (answer["verdict"], answer["warnings"]) = (json!(verdict), warnings.clone()));
        let answer = lab.run("explain web db:443");
        assert_eq!(answer.code, code, "{verdict}");
        assert!(answer.stdout.contains(&format!("verdict  {words}\n")), "{}", answer.stdout);
    }
}

#[test]
fn ways_are_shown_up_to_a_dozen() {
    for (ways, more) in [(1, ""), (12, ""), (14, "  and 2 more\n")] {
        let lab = lab(move |answer| {
            let branch = |port: usize| match port {
                0 => json!({"sourcePort": port, "via": [], "viaReturn": null, "dropped": "NoRoute"}),
                1 => json!({"sourcePort": port, "via": ["a", "b"], "viaReturn": [], "dropped": null}),
                _ => json!({"sourcePort": port, "via": ["a"], "viaReturn": ["b", "c"], "dropped": null}),
            };
            answer["branches"] = (0..ways).map(branch).collect();
        });
        let text = lab.prints("explain web db:443");
        let (_, shown) = text.split_once(&format!("\nWays, by the flow's hash: {ways}\n")).unwrap();
        let lines = (0..ways.min(12)).map(|port| match port {
            0 => "  directly: NoRoute, as from port 0\n".to_owned(),
            1 => "  via a, b, back directly: arrives, as from port 1\n".to_owned(),
            _ => format!("  via a, back via b, c: arrives, as from port {port}\n"),
        });
        assert_eq!(shown, format!("{}{more}\nverdict  reachable\n", lines.collect::<String>()));
    }
}

/// Where no packet can be sent, the answer stands as it is, with a warning; and what a packet did is told.
#[test]
fn guests_with_rules_leave_it_to_a_packet() {
    let without = "warning: no real packet could settle it: no forecast\n";
    for (probe, settled, words) in [
        ("tcp/443", Value::Null, None),
        (
            "tcp/443",
            json!({"verdict": "reachable", "via": ["nva"], "viaReturn": [], "sourcePort": 9, "lost": null}),
            Some("from port 9 was answered, there via nva"),
        ),
        (
            "ping",
            json!({"verdict": "blocked", "via": null, "viaReturn": ["nva", "b"], "sourcePort": 9,
                        "lost": {"at": null, "sentOn": false, "text": "only web saw it"}}),
            Some("with identifier 9 was not answered: only web saw it, back via nva, b"),
        ),
        (
            "udp/53",
            json!({"verdict": "blocked", "via": null, "viaReturn": null, "sourcePort": 9, "lost": null}),
            Some("from port 9 was not answered"),
        ),
    ] {
        let lab = lab(move |answer| {
            (answer["probe"], answer["verdict"], answer["settled"]) = (json!(probe), json!("depends"), settled.clone());
            answer["guestRules"] = json!([{"node": "nva", "rules": 2, "hooks": ["forward"]}]);
        });
        let answer = lab.run("explain web db:443");
        let settled = words.map_or_else(String::new, |words| format!("settled  a real packet {words}\n"));
        let (before, after) = answer.stdout.split_once("\nverdict  depends on the guest\nguest    ").unwrap();
        assert!(before.starts_with("web/eth0"), "{before}");
        let (guest, rest) = after.split_once('\n').unwrap();
        assert!(guest.contains("nva") && guest.ends_with("; this program does not evaluate them"), "{guest}");
        assert_eq!((answer.code, rest, answer.stderr.as_str()), (3, settled.as_str(), without));
        // A flow of its own, or a file, has no packet to ask.
        assert_eq!(lab.run("explain --live web db:443").stderr, "");
    }
}

fn pair(source: &str, destination: &str, changes: impl FnOnce(&mut Value)) -> Value {
    let mut pair = json!({
        "source": source, "destination": destination, "traffic": "ping", "verdict": "reachable",
        "forward": {"dropped": null, "at": "x", "via": []}, "return": {"dropped": null, "at": "x", "via": []},
    });
    changes(&mut pair);
    pair
}

#[test]
fn reach_has_a_word_for_every_pair() {
    let blocked = |pair: &mut Value| pair["verdict"] = json!("blocked");
    let branches = |ways: &[&[&str]]| {
        let branch = |via: &&[&str]| json!({"sourcePort": 1, "via": via, "viaReturn": [], "dropped": null});
        ways.iter().map(branch).collect::<Value>()
    };
    let guests = json!([{"node": "c", "rules": 1, "hooks": ["input"]}]);
    let settled = |verdict: &str, via: Value| json!({"verdict": verdict, "via": via, "viaReturn": null, "sourcePort": 1, "lost": null});
    let pairs = vec![
        pair("a", "b", |_| {}),
        pair("a", "c", |pair| pair["forward"]["via"] = json!(["n", "m"])),
        pair("a", "d", |pair| pair["branches"] = branches(&[&[], &["n"], &["m", "o"]])),
        pair("b", "a", |pair| pair["branches"] = branches(&[&["1"], &["2"], &["3"], &["4"]])),
        pair("b", "c", |pair| (pair["verdict"], pair["return"]) = (json!("blocked"), Value::Null)),
        pair("b", "d", blocked),
        pair("c", "a", |pair| pair["verdict"] = json!("depends")),
        pair("c", "b", |pair| pair["verdict"] = json!("wrongHost")),
        pair("c", "d", |pair| (pair["guestRules"], pair["verdict"]) = (guests.clone(), json!("depends"))),
        pair("d", "a", |pair| {
            (pair["guestRules"], pair["settled"]) = (guests.clone(), settled("reachable", json!([])));
        }),
        pair("d", "b", |pair| {
            (pair["guestRules"], pair["settled"]) = (guests.clone(), settled("reachable", json!(["n"])));
        }),
        pair("d", "c", |pair| {
            (pair["guestRules"], pair["settled"]) = (guests.clone(), settled("blocked", Value::Null));
        }),
    ];
    let lab = Lab::start(move |request| match request {
        Request::Reach { .. } => {
            once(json!({"reach": {"nodes": ["a", "b", "c", "d"], "traffic": ["ping"], "pairs": pairs}}))
        }
        Request::Forecast(_) => once(json!({"refused": {"message": "no forecast", "help": null}})),
        other => refused(other),
    });
    let answer = lab.run("reach");
    let text = "\
ping    a        b           c           d
------  -------  ----------  ----------  --------------------------
a       -        yes         via n, m    via directly or m, o or n
b       4 ways   -           no          no answer
c       depends  wrong host  -           depends
d       yes *    via n *     no *        -

yes: there and back    no: the question is dropped    no answer: the answer is dropped    \
wrong host: delivered to another machine with that address    depends: some flows are dropped by their hash, or by a guest's own rules    \
firewall rules of guests, which this program does not evaluate: c; *: settled by a real packet
7 of 12 reachable
";
    let squeeze =
        |text: &str| text.split_whitespace().filter(|word| !word.starts_with("---")).collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&answer.stdout), squeeze(text), "{}", answer.stdout);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, "warning: no real packets could settle it: no forecast\n"));
    let [Request::Reach { probe: Some(_), ref nodes, .. }, Request::Forecast(ref queries)] = lab.asked()[..] else {
        panic!("something else was asked")
    };
    assert_eq!((nodes.len(), queries.len()), (0, 4), "only what is open is asked");
}

const TUNNELS: &str = include_str!("../../../config/two-links.yaml");

/// A picture of a lab has what has failed there; compared with a file, what that changes.
#[test]
fn a_picture_has_what_is_down_and_what_changes() {
    let network = vnet::config::load(TUNNELS, "lab.yaml").unwrap().network;
    let names: Vec<_> = network.connections.iter().map(|connection| connection.name.clone()).collect();
    let lab = Lab::start(move |request| match request {
        Request::Connections => once(json!({"connections": names.iter().enumerate().map(|(at, name)| json!({
            "name": name, "virtualNetworkGateway": "gw", "remote": "site", "connectionType": "IPsec", "enableBgp": false,
            "connectionStatus": if at == 0 { "NotConnected" } else { "Connected" },
        })).collect::<Vec<_>>()})),
        Request::Circuits => once(json!({"circuits": []})),
        other => refused(other),
    });
    lab.write("lab", "applied.yaml", TUNNELS);
    let drawn: Value = serde_json::from_str(&lab.prints("graph -o json")).unwrap();
    assert_eq!(lab.asked(), [Request::Connections, Request::Circuits]);
    let same: Value = serde_json::from_str(&lab.prints("graph -t config/two-links.yaml -o json")).unwrap();
    assert_ne!(same, drawn, "of the file nothing is down");
    assert_eq!(lab.asked(), []);
    let changed = lab.home.path().join("changed.yaml");
    let file = changed.to_str().unwrap();
    std::fs::write(&changed, TUNNELS).unwrap();
    let plain = lab.prints(&format!("graph -t config/two-links.yaml --diff {file} -o json"));
    let more = TUNNELS.replace(
        "virtualMachines:\n",
        "virtualMachines:\n  - {name: another, networkInterfaces: [{subnet: SUBNET}]}\n",
    );
    let vnet = &network.virtual_networks[0];
    std::fs::write(&changed, more.replace("SUBNET", &format!("{}/{}", vnet.name, vnet.subnets[0].name))).unwrap();
    let compared = lab.prints(&format!("graph -t config/two-links.yaml --diff {file} -o json"));
    assert!(compared.contains("another") && !plain.contains("another"), "{compared}");
    assert_ne!(compared, plain);
}
