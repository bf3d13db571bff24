//! Programs and packet filter rules of machines, and how a lab is entered.

use std::fs;
use std::process::Command;

use serde_json::Value;
use vnet::sys::netns;

use crate::kernel::says;
use crate::lab::{Lab, eventually, stderr, stdout};

const PAIR: &str = "
virtualNetworks:
  - {name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{name: s, addressPrefix: 10.1.1.0/24}]}
virtualMachines:
  - {name: web, RUN networkInterfaces: [{subnet: v/s}]}
  - {name: db, networkInterfaces: [{subnet: v/s}]}
";

fn with(run: &str) -> String {
    PAIR.replace("RUN", run)
}

fn program(lab: &Lab) -> Value {
    lab.data(&["status"])["programs"][0].clone()
}

#[test]
fn a_program_is_told_of_when_it_ends_and_started_anew_when_it_changes() {
    let run = "run: [sh, -c, 'echo one; echo \"$VNET_LAB $VNET_NODE\"; sleep 0.5; exit 3'],";
    let Some(lab) = Lab::up(&with(run)) else { return };
    eventually("it has ended", || program(&lab)["ended"] == "exit status: 3");
    assert_eq!(program(&lab)["failed"], true);
    let log = format!("/run/vnet/{}/programs/web.log", lab.name);
    assert_eq!(fs::read_to_string(&log).unwrap(), format!("one\n{} web\n", lab.name));
    let events = stdout(&lab.vnet(&["events"]));
    assert_eq!(events.matches("ProgramEnded").count(), 1, "{events}");
    lab.apply(&with("run: [sh, -c, 'echo two; exit 0'],"));
    eventually("the other has ended", || program(&lab)["ended"] == "exit status: 0");
    assert_eq!((fs::read_to_string(&log).unwrap().as_str(), &program(&lab)["failed"]), ("two\n", &false.into()));
    lab.apply(&with("run: [sleep, '1000'],"));
    let running = program(&lab);
    assert_eq!((&running["command"], &running["ended"]), (&"sleep 1000".into(), &Value::Null), "{running}");
    // A change of another machine leaves it alone.
    let namespace = format!("{}-web", lab.name);
    let pid = || stdout(&Command::new("ip").args(["netns", "pids", &namespace]).output().unwrap());
    let before = pid();
    lab.apply(&with("run: [sleep, '1000'],").replace("{name: db,", "{name: db, guest: {forwarding: true},"));
    assert_eq!(pid(), before);
    lab.apply(&with("run: [/no/such/program],"));
    let failed = program(&lab);
    assert_eq!(failed["failed"], true, "{failed}");
    assert!(failed["ended"].as_str().unwrap().starts_with("cannot run `/no/such/program` in web"), "{failed}");
}

#[test]
fn rules_of_a_file_are_loaded_replaced_and_removed() {
    let rules = |name: &str| format!("guest: {{nftables: 'table inet {name} {{ }}'}},");
    let Some(lab) = Lab::up(&with(&rules("one"))) else { return };
    let tables = || says(&lab, "web", "nft list tables");
    assert_eq!(tables(), "table inet one\n");
    let own = || drop(says(&lab, "web", "nft add table ip own"));
    own();
    lab.apply(&with(&rules("two")));
    assert_eq!(tables(), "table ip own\ntable inet two\n", "a person's own table stays");
    let told = program(&lab);
    assert_eq!(
        (&told["node"], &told["ended"], &told["failed"]),
        (&"web".into(), &"exit status: 0".into(), &false.into())
    );
    lab.write(&with("guest: {nftables: 'table inet'},"));
    let failed = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(3), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("web: nft: "), "{}", stderr(&failed));
    assert_eq!(tables(), "table ip own\ntable inet two\n", "the last that worked stays");
    assert_eq!(program(&lab)["failed"], true);
    let log = fs::read_to_string(format!("/run/vnet/{}/programs/web.nftables.log", lab.name)).unwrap();
    assert!(
        log.starts_with("guest.nftables:1:") && !log.contains("/run/vnet"),
        "it names the text, which is in the file: {log}"
    );
    lab.apply(&with(""));
    assert_eq!(tables(), "table ip own\n");
    // What was the file's once is a person's now.
    says(&lab, "web", "nft add table inet two");
    lab.apply(&with("guest: {forwarding: true},"));
    assert_eq!(tables(), "table ip own\ntable inet two\n");
}

/// A rule set may begin by removing all, and means what was its own.
#[test]
fn rules_that_flush_all_leave_what_the_file_asks_for_beside_them() {
    let rules = "nftables: 'flush ruleset; table inet one { }'";
    for (masquerade, translates) in [("", false), ("masquerade: all, ", true)] {
        let Some(lab) = Lab::up(&with(&format!("guest: {{{masquerade}{rules}}},"))) else { return };
        let listed = says(&lab, "web", "nft list ruleset");
        assert_eq!((listed.contains("table inet one"), listed.contains("masquerade")), (true, translates), "{listed}");
    }
}

/// A machine that comes again has a namespace of its own, in which nothing was loaded.
#[test]
fn rules_are_loaded_anew_where_their_machine_comes_again() {
    let file = with("guest: {nftables: 'table inet one { }'},");
    let Some(lab) = Lab::up(&file) else { return };
    let assert_loaded = |when: &str| {
        assert_eq!(says(&lab, "web", "nft list tables"), "table inet one\n", "{when}");
        assert_eq!(program(&lab)["failed"], false, "{when}");
    };
    assert_loaded("at first");
    let (head, _) = file.split_once("  - {name: web,").unwrap();
    let without = format!("{head}  - {{name: db, networkInterfaces: [{{subnet: v/s}}]}}\n");
    for (what, away) in
        [("removed", without), ("stopped", file.replace("{name: web,", "{name: web, powerState: stopped,"))]
    {
        lab.apply(&away);
        assert_eq!(program(&lab), Value::Null, "{what}: nothing is told of it");
        lab.apply(&file);
        assert_loaded(what);
    }
    netns::unbind(&netns::name_path(&format!("{}-web", lab.name))).unwrap();
    eventually("it is missed", || stdout(&lab.vnet(&["events"])).contains("DeviceLost"));
    lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_loaded("deleted");
}

#[test]
fn a_machine_that_comes_back_gets_its_rules_again() {
    let with_rules = with("guest: {nftables: 'table inet one { }'},");
    let Some(lab) = Lab::up(&with_rules) else { return };
    let without = with_rules.lines().filter(|line| !line.contains("{name: web,")).collect::<Vec<_>>().join("\n");
    let stopped = with_rules.replace("{name: web,", "{name: web, powerState: stopped,");
    for away in [without, stopped] {
        lab.apply(&away);
        assert_eq!(lab.data(&["status"])["programs"], Value::Array(Vec::new()));
        lab.apply(&with_rules);
        assert_eq!(says(&lab, "web", "nft list tables"), "table inet one\n");
        assert_eq!(program(&lab)["ended"], "exit status: 0");
    }
}

#[test]
fn a_program_in_a_node_has_its_names_and_its_place() {
    let Some(lab) = Lab::up(&with("")) else { return };
    let said =
        lab.exec("WEB", &["sh", "-c", "hostname; echo $VNET_LAB $VNET_NODE $VNET_NAMESPACE; ls /sys/class/net; pwd"]);
    let here = std::env::current_dir().unwrap();
    let (name, here) = (&lab.name, here.display());
    assert_eq!(stdout(&said), format!("web\n{name} web /run/netns/{name}-web\neth0\nlo\n{here}\n"));
    assert_eq!(lab.exec("web", &["no-such-program"]).status.code(), Some(127));
    let unknown = lab.exec("wep", &["true"]);
    assert!(stderr(&unknown).contains(&format!("lab {} has no node wep; it has web, db", lab.name)));
}
