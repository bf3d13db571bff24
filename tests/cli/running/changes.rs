//! Commands that change a lab: what they ask for, and how they tell what came of it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use vnet::daemon::api::protocol::{Apply, Change, Request};
use vnet::model::Side;

use super::{Ended, Lab, once, refused};

fn outage(seconds: u64, warnings: &[&str]) -> Value {
    json!({"outage": {
        "lab": "lab", "what": "instance 2 of gw", "away": ["gw/1"], "seconds": seconds,
        "down": if seconds == 0 { json!([]) } else { json!(["to-site", "to-dc"]) },
        "detours": if seconds == 0 { json!([]) } else { json!([{"to": "site", "by": []}, {"to": "dc", "by": ["a", "b"]}]) },
        "warnings": warnings,
    }})
}

#[test]
fn an_outage_says_what_is_down_and_where_flows_go() {
    let lab = Lab::start(|request| match request {
        Request::Change(Change::FailOver { seconds, .. } | Change::FailCircuit { seconds, .. }) => {
            once(outage(*seconds, if *seconds == 7 { &["the other is away, too"] } else { &[] }))
        }
        other => refused(other),
    });
    let text = |seconds: u64| {
        format!(
            "lab lab: instance 2 of gw: away for {seconds} s\ndown until then: to-site, to-dc\n\
             site: nothing leads there until then\ndc: flows move to a, b\n"
        )
    };
    let failover =
        |instance, seconds| Request::Change(Change::FailOver { gateway: "gw".to_owned(), instance, seconds });
    let fail = |side, seconds| Request::Change(Change::FailCircuit { circuit: "er".to_owned(), side, seconds });
    for (line, seconds, wanted) in [
        ("gateway failover gw", 12, failover(0, 12)),
        ("gateway failover gw --unplanned", 75, failover(0, 75)),
        ("gateway failover gw --instance 2 --seconds 3", 3, failover(1, 3)),
        ("circuit fail er", 60, fail(None, 60)),
        ("circuit fail er primary --seconds 1", 1, fail(Some(Side::Primary), 1)),
        ("circuit fail er secondary", 60, fail(Some(Side::Secondary), 60)),
    ] {
        assert_eq!(lab.prints(line), text(seconds), "{line}");
        assert_eq!(lab.asked(), [wanted], "{line}");
    }
    assert_eq!(lab.prints("circuit fail er --seconds 0"), "lab lab: instance 2 of gw: back now\n");
    assert_eq!(lab.prints("circuit fail er -o tsv"), "instance 2 of gw\tsite\t\ninstance 2 of gw\tdc\ta,b\n");
    let warned = lab.run("circuit fail er --seconds 7");
    assert_eq!((warned.code, warned.stdout), (3, text(7)));
    assert_eq!(warned.stderr, "warning: the other is away, too\n");
}

const FILE: &str = "\
name: lab
virtualNetworks:
  - name: v
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets:
      - {name: s, addressPrefix: 10.0.1.0/24}
virtualMachines:
  - {name: web, networkInterfaces: [{subnet: v/s}]}
";

fn changed(alter: impl FnOnce(&mut Value)) -> Value {
    let mut answer = json!({
        "lab": "lab", "applied": true, "generation": 4, "warnings": [], "restored": ["web/eth0"],
        "changes": [
            {"action": "create", "type": "subnets", "name": "v/new", "properties": [{"property": "a", "before": null, "after": "1"}]},
            {"action": "update", "type": "routes", "name": "t/r", "properties": [{"property": "nextHopType", "before": "None", "after": null}]},
            {"action": "delete", "type": "virtualMachines", "name": "old", "properties": []},
        ],
        "flows": [{"nic": "old/eth0", "effect": "end"}, {"nic": "web/eth0", "effect": "nextPacket"},
                  {"nic": "db/eth0", "effect": "nextPacket"}, {"nic": "app/eth0", "effect": "newFlows"}],
    });
    alter(&mut answer);
    json!({"changed": answer})
}

const PLAN: &str = "\
+ subnets                  v/new
~ routes                   t/r
    nextHopType: None -> 
- virtualMachines          old
! networkInterfaces        web/eth0: its device was gone
flows of old/eth0 end
flows of web/eth0, db/eth0 follow with their next packet
flows of app/eth0 go on, new ones meet new rules
";

/// A lab that was given a file before, and takes another one.
fn applying(answer: impl Fn(&Apply) -> Value + Send + Sync + 'static) -> (Lab, String) {
    let lab = Lab::start(move |request| match request {
        Request::Change(Change::Apply(apply)) => once(answer(apply)),
        Request::Change(_) => once(changed(|changed| changed["warnings"] = json!(["left to sync"]))),
        other => refused(other),
    });
    lab.write("lab", "applied.yaml", FILE);
    let file = lab.home.path().join("new.vnet.yaml");
    fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (lab, file)
}

#[test]
fn a_change_is_told_object_by_object() {
    let (lab, file) = applying(|_| changed(|_| {}));
    assert_eq!(lab.prints(&format!("apply {file}")), format!("{PLAN}lab lab is changed: generation 4\n"));
    let apply = |dry_run, sync| {
        Request::Change(Change::Apply(Apply {
            text: FILE.to_owned(),
            service_tags: None,
            nftables: BTreeMap::default(),
            file: file.clone(),
            path: Some(file.clone().into()),
            dry_run,
            sync,
            no_run: false,
            agreed: true,
        }))
    };
    assert_eq!(lab.asked(), [apply(false, false)]);
    assert_eq!(lab.prints(&format!("apply --dry-run {file}")), format!("{PLAN}dry run: lab lab is left as it is\n"));
    assert_eq!(lab.prints(&format!("apply --sync {file}")), format!("{PLAN}lab lab is changed: generation 4\n"));
    assert_eq!(lab.asked(), [apply(true, false), apply(false, true)]);
    let rows =
        "create\tsubnets\tv/new\ta:  -> 1\nupdate\troutes\tt/r\tnextHopType: None ->\ndelete\tvirtualMachines\told\t\n";
    assert_eq!(lab.prints(&format!("apply -o tsv {file}")).replace("-> \n", "->\n"), rows);
    let data: Value = serde_json::from_str(&lab.prints(&format!("apply -o json {file}"))).unwrap();
    assert_eq!(
        (&data["findings"], &data["generation"], &data["changes"][0]["name"]),
        (&json!([]), &json!(4), &json!("v/new"))
    );
    let painted = lab.prints(&format!("apply --color always {file}"));
    for (colour, words) in [(32, "+ subnets"), (33, "~ routes"), (31, "- virtualMachines"), (33, "! networkInterfaces")]
    {
        assert!(painted.contains(&format!("\u{1b}[1m\u{1b}[{colour}m{words}")), "{painted:?}");
    }
}

#[test]
fn where_nothing_changes_it_says_so() {
    for (restored, applied, text) in [
        (json!([]), false, "lab lab is so already: nothing to change\n"),
        (json!([]), true, "lab lab is changed: generation 4\n"),
        (
            json!(["web/eth0"]),
            false,
            "! networkInterfaces        web/eth0: its device was gone\nlab lab is changed: generation 4\n",
        ),
    ] {
        let (lab, file) = applying(move |_| {
            changed(|changed| {
                (changed["changes"], changed["flows"]) = (json!([]), json!([]));
                (changed["restored"], changed["applied"]) = (restored.clone(), json!(applied));
            })
        });
        assert_eq!(lab.prints(&format!("apply {file}")), text);
    }
}

/// Warnings of the file that are new are shown; those that the lab had before are counted.
#[test]
fn warnings_are_shown_once() {
    let (lab, file) = applying(|_| changed(|_| {}));
    for (groups, words) in [("{name: a}", "1 warning is"), ("{name: a}, {name: b}", "2 warnings are")] {
        lab.write("lab", "applied.yaml", FILE);
        let doubtful = format!("{FILE}networkSecurityGroups: [{}]\n", groups.replace('}', ", securityRules: []}"));
        fs::write(&file, &doubtful).unwrap();
        let Ended { code, stderr, .. } = lab.run(&format!("apply {file}"));
        assert_eq!((code, stderr.matches("warning[unused-security-group]").count()), (0, groups.matches('{').count()));
        let data: Value = serde_json::from_str(&lab.prints(&format!("apply -o json {file}"))).unwrap();
        assert_eq!(data["findings"].as_array().unwrap().len(), groups.matches('{').count());
        lab.write("lab", "applied.yaml", &doubtful);
        let Ended { stderr, .. } = lab.run(&format!("apply {file}"));
        let shows = if words.starts_with('1') { "shows it" } else { "shows them" };
        assert_eq!(stderr, format!("note: {words} as before: `vnet validate {file}` {shows}\n"));
    }
}

/// What the daemon refuses is shown as `validate` shows it where it is a mistake of the file, else in its words.
#[test]
fn a_refused_file_is_explained() {
    let (lab, file) = applying(|_| json!({"refused": {"message": "no", "help": "try another"}}));
    let refused = lab.run(&format!("apply {file}"));
    assert_eq!(
        (refused.code, refused.stdout.as_str(), refused.stderr.as_str()),
        (2, "", "error: no\nhelp: try another\n")
    );
    fs::write(&file, FILE.replace("addressPrefix", "adressPrefix")).unwrap();
    let mistaken = lab.run(&format!("apply {file}"));
    assert_eq!((mistaken.code, mistaken.stdout.as_str()), (2, ""));
    assert!(
        mistaken.stderr.contains("did you mean `addressPrefix`?") && !mistaken.stderr.contains("try another"),
        "{mistaken:?}"
    );
}

#[test]
fn peerings_are_synced_and_removed_by_their_names() {
    let (lab, _) = applying(|_| changed(|_| {}));
    for (line, change) in [
        ("peering sync", Change::SyncPeering { link: None }),
        ("peering sync v/to-w", Change::SyncPeering { link: Some("v/to-w".to_owned()) }),
        ("peering rm v/to-w", Change::RemovePeering { link: "v/to-w".to_owned() }),
    ] {
        let Ended { code, stdout, stderr } = lab.run(line);
        let said = (code, stdout.as_str(), stderr.as_str());
        assert_eq!(said, (3, format!("{PLAN}lab lab is changed: generation 4\n").as_str(), "warning: left to sync\n"));
        assert_eq!(lab.asked(), [Request::Change(change)]);
    }
}

/// What runs in the lab already needs no other consent; what is new does, and nothing is asked of the lab before.
#[test]
fn code_that_a_lab_runs_needs_no_second_consent() {
    let (lab, file) = applying(|_| changed(|_| {}));
    let running = |command: &str| FILE.replace("{name: web,", &format!("{{name: web, run: [{command}],"));
    fs::write(&file, running("'true'")).unwrap();
    let refused = lab.run(&format!("apply {file}"));
    let help = format!(
        "error: {file} runs code in web: that needs your consent\n\
         help: `--allow-run` runs it, `--no-run` leaves it out, `vnet trust {file}` records your consent\n"
    );
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr), (2, "", help));
    assert_eq!(lab.asked(), []);
    for option in ["--allow-run", "--no-run"] {
        assert_eq!(lab.run(&format!("apply {option} {file}")).code, 0, "{option}");
        let asked = lab.asked();
        let [Request::Change(Change::Apply(apply))] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(apply.no_run, option == "--no-run");
    }
    lab.write("lab", "applied.yaml", &running("'true'"));
    assert_eq!(lab.run(&format!("apply {file}")).code, 0);
    fs::write(&file, running("'false'")).unwrap();
    assert_eq!(lab.run(&format!("apply {file}")).code, 2, "another program");
}
