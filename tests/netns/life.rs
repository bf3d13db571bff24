//! A lab's life: up, entered, down, and nothing left.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process_group};
use serde_json::{Value, json};

use vnet::sys::process;

use crate::lab::{Lab, NEVER, eventually, permitted, stderr, stdout, vnet};

const HUB_SPOKE: &str = include_str!("../../config/hub-spoke.yaml");

fn daemon(lab: &Lab) -> Pid {
    let pid = lab.data(&["status"])["pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
}

#[test]
fn every_example_comes_up_and_goes() {
    if !permitted() {
        return;
    }
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("attach:") {
            continue; // tests/netns/attach.rs
        }
        let lab = Lab::prepared(&text).among_examples();
        // A program that an example starts need not be installed here.
        assert!(matches!(lab.start().status.code(), Some(0 | 3)), "{}", file.display());
        assert!(lab.vnet(&["status"]).status.success());
        assert_code(&lab.down(), 0);
        assert_eq!(lab.remains(), Vec::<PathBuf>::new(), "{}", file.display());
    }
}

#[test]
fn up_takes_less_than_a_second() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    // The best of a few: other tests want the processors too.
    let best = (0..5).map(|_| {
        let start = Instant::now();
        assert_code(&lab.start(), 0);
        let took = start.elapsed();
        lab.assert_ping("web", "10.2.1.10");
        assert_code(&lab.down(), 0);
        took
    });
    let best = best.min().unwrap();
    assert!(best.as_millis() < 1000, "{best:?}");
}

/// The kernel makes the route to an IPv6 address a little after the address: `up` and `apply` wait for it.
#[test]
fn the_first_ipv6_packet_arrives() {
    const DUAL_STACK: &str = include_str!("../../config/dual-stack.yaml");
    let more = DUAL_STACK.replace(
        "virtualMachines:\n",
        "virtualMachines:\n  - {name: new, networkInterfaces: [{subnet: west/default}]}\n",
    );
    assert_ne!(more, DUAL_STACK);
    for _ in 0..3 {
        let Some(lab) = Lab::up(DUAL_STACK) else { return };
        lab.assert_ping("left", "fd00:60::4");
        lab.assert_ping("right", "10.50.0.4");
        lab.apply(&more);
        lab.assert_ping("right", "fd00:50::5");
    }
}

#[test]
fn down_works_after_a_crash_and_knows_when_there_is_no_such_lab() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    assert_code(&lab.down(), 0);
    let again = lab.down();
    assert_code(&again, 5);
    assert!(stderr(&again).contains(&format!("lab {} does not run", lab.name)), "{}", stderr(&again));
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());

    assert_code(&lab.start(), 0);
    lab.crash();
    assert!(stdout(&vnet().arg("ls").output().unwrap()).contains("crashed"));
    assert!(lab.remains().len() > 3);
    assert_code(&lab.down(), 0);
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
    assert_code(&lab.down(), 5);
}

#[test]
fn up_after_a_crash_cleans_first() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.crash();
    assert_code(&lab.start(), 0);
    lab.assert_ping("web", "10.2.1.10");
}

#[test]
fn two_labs_stand_side_by_side() {
    let (Some(one), Some(two)) = (Lab::up(HUB_SPOKE), Lab::up(HUB_SPOKE)) else { return };
    one.assert_ping("web", "10.2.1.10");
    two.assert_ping("web", "10.2.1.10");
    let output = vnet().arg("status").output().unwrap();
    assert_code(&output, 2);
    assert!(stderr(&output).contains(&one.name) && stderr(&output).contains(&two.name), "{}", stderr(&output));
    assert_code(&one.down(), 0);
    two.assert_ping("web", "10.2.1.10");
    assert_code(&one.vnet(&["status"]), 5);
}

#[test]
fn a_lab_runs_once() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let output = lab.start();
    assert_code(&output, 2);
    assert!(stderr(&output).contains("runs already"), "{}", stderr(&output));
    lab.assert_ping("web", "10.2.1.10");
}

#[test]
fn a_bad_file_makes_nothing() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared("virtualNetworks: [{name: a, adressSpace: [10.0.0.0/16]}]");
    let output = lab.start();
    assert_code(&output, 2);
    assert!(stderr(&output).contains("addressSpace"), "{}", stderr(&output));
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_made_leaves_nothing_and_touches_nothing() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    // A foreign file has the name of the last node's namespace.
    let theirs = Path::new("/run/netns").join(format!("{}-nva", lab.name));
    vnet::sys::netns::prepare_names().unwrap();
    fs::write(&theirs, "theirs").unwrap();
    let output = lab.start();
    let left = lab.remains();
    let text = fs::read_to_string(&theirs);
    fs::remove_file(&theirs).unwrap();
    assert!(!output.status.success());
    assert!(stderr(&output).contains(theirs.to_str().unwrap()), "{}", stderr(&output));
    assert_eq!(left, [theirs]);
    assert_eq!(text.unwrap(), "theirs");
}

#[test]
fn exec_ends_as_its_program_does() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    assert_code(&lab.exec("web", &["sh", "-c", "exit 7"]), 7);
    assert_code(&lab.exec("web", &["sh", "-c", "echo $VNET_NODE; cat; hostname"]), 0);
    assert_code(&lab.exec("web", &["no-such-program"]), 127);
    let killed = lab.exec("web", &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(15), "a shell says 143");
    let unknown = lab.exec("wep", &["true"]);
    assert_code(&unknown, 2);
    assert!(stderr(&unknown).contains("web, db, nva"), "{}", stderr(&unknown));
    let hosts = stdout(&lab.exec("db", &["cat", "/etc/hosts"]));
    for line in ["10.1.1.4 web", "10.2.1.10 db", "10.0.1.4 nva"] {
        assert!(hosts.lines().any(|found| found == line), "{hosts}");
    }
    // `ip netns exec` shows the same file.
    assert_eq!(fs::read_to_string(format!("/etc/netns/{}-db/hosts", lab.name)).unwrap(), hosts);
}

/// A machine's process by the number that it knows itself by, as processes outside know it.
pub(crate) fn process_of(lab: &Lab, node: &str, own: &str) -> Option<Pid> {
    let namespace = fs::metadata(format!("/run/netns/{}-{node}", lab.name)).ok()?.ino();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        let is_there = fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|place| place.ino() == namespace);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        is_there && numbers.and_then(|numbers| numbers.split_whitespace().last()) == Some(own)
    };
    numbers.filter(is_it).find_map(Pid::from_raw)
}

#[test]
fn programs_of_the_file_run_and_end_with_the_lab() {
    let topology =
        HUB_SPOKE.replace("{name: web,", "{name: web, run: [sh, -c, 'hostname; sleep 1000 & echo $$; wait'],");
    let Some(lab) = Lab::up(&topology) else { return };
    let log = Path::new("/run/vnet").join(&lab.name).join("programs/web.log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("the program writes its log", || lines().len() == 2);
    assert_eq!(lines()[0], "web");
    let group = process_of(&lab, "web", &lines()[1]).unwrap();
    assert_code(&lab.down(), 0);
    let runs = || process::running().any(|listed| listed.group == group.as_raw_nonzero().get().cast_unsigned());
    assert!(!runs(), "its children are gone too");

    assert_code(&lab.start(), 0);
    eventually("the program runs again", || lines().len() == 2);
    let group = process_of(&lab, "web", &lines()[1]).unwrap();
    assert!(test_kill_process_group(group).is_ok());
    lab.crash();
    assert_code(&lab.down(), 0);
    eventually("its group is gone after a crash", || test_kill_process_group(group).is_err());
}

#[test]
fn the_daemon_takes_little_memory() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let status = fs::read_to_string(format!("/proc/{}/status", daemon(&lab).as_raw_nonzero())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 64 << 10, "{resident} KiB");
}

#[test]
fn a_program_that_ends_at_once_with_an_error_is_reported() {
    if !permitted() {
        return;
    }
    let run = |words: &str| HUB_SPOKE.replace("{name: web,", &format!("{{name: web, run: {words},"));
    let lab = Lab::prepared(&run("[sh, -c, 'echo one; echo the second; exit 3']"));
    let up = lab.start();
    assert_code(&up, 3);
    assert!(stderr(&up).contains("ended: exit status: 3\n  one\n  the second\n"), "{}", stderr(&up));
    lab.assert_ping("web", "10.2.1.10");
    assert_code(&lab.down(), 0);
    lab.write(&run("[/no/such/program]"));
    let up = lab.vnet(&["up", lab.file.to_str().unwrap(), "-o", "json"]);
    assert_code(&up, 3);
    let up: Value = serde_json::from_slice(&up.stdout).unwrap();
    let status = up["failed"][0]["status"].as_str().unwrap();
    assert!(up["failed"][0]["node"] == "web" && status.contains("cannot run `/no/such/program` in web"), "{up}");
    assert_code(&lab.down(), 0);
    // One that ends and has nothing to complain of, and one that goes on.
    for fine in ["['true']", "[sleep, '1000']"] {
        lab.write(&run(fine));
        let up = lab.start();
        assert_code(&up, 0);
        assert!(!stderr(&up).contains("ended:"), "{}", stderr(&up));
        assert_code(&lab.down(), 0);
    }
}

/// The file's own name does not matter then, in later changes neither.
#[test]
fn a_lab_is_named_on_the_command_line() {
    let Some(other) = Lab::up(HUB_SPOKE) else { return };
    let name = crate::lab::unique("named");
    let by_name = |arguments: &[&str]| vnet().args(["-l", &name]).args(arguments).output().unwrap();
    let file = other.file.to_str().unwrap();
    let up = by_name(&["up", file]);
    assert!(stdout(&up).contains(&format!("lab {name} is up")), "{}{}", stdout(&up), stderr(&up));
    assert_code(&by_name(&["exec", "web", "--", "ping", "-c1", "-W10", "db"]), 0);
    other.write(&HUB_SPOKE.replace("10.0.0.0/8", "10.0.0.0/9"));
    let applied = by_name(&["apply", file]);
    assert_code(&applied, 0);
    assert!(stdout(&applied).contains(&format!("lab {name} is changed")), "{}", stdout(&applied));
    assert_code(&by_name(&["down"]), 0);
    assert_code(&other.vnet(&["status"]), 0);
    assert_code(&by_name(&["status"]), 5);
    assert_code(&vnet().args(["-l", "no_name", "up", file]).output().unwrap(), 2);
    // The variable chooses among those that run; it names none.
    let again = vnet().env("VNET_LAB", &name).args(["up", file]).output().unwrap();
    assert!(stderr(&again).contains(&format!("lab {} runs already", other.name)), "{}", stderr(&again));
}

/// What it says to try is tried, word for word.
#[test]
fn what_demo_says_to_try_works_as_printed() {
    let Some(_other) = Lab::up(HUB_SPOKE) else { return };
    let name = crate::lab::unique("demo");
    let demo = vnet().args(["demo", "-l", &name]).output().unwrap();
    let said = stdout(&demo);
    let commands: Vec<_> = said.lines().skip_while(|line| *line != "Try next:").skip(1).collect();
    let commands = commands.iter().filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    let tried: Vec<_> = commands
        .map(|command| {
            let mut shell = std::process::Command::new("sh");
            let done = shell.args(["-c", command]).env_remove("VNET_LAB").stdin(std::process::Stdio::null()).output();
            (command, done.unwrap())
        })
        .collect();
    // It runs by now, and is told of only.
    let program = Path::new(env!("CARGO_BIN_EXE_vnet"));
    let again = |typed: &str, path: &Path, sudo: Option<&str>| {
        let mut call = vnet();
        call.arg0(typed).args(["demo", "-l", &name]).env("PATH", path).env_remove("SUDO_UID");
        stdout(&call.envs(sudo.map(|user| ("SUDO_UID", user))).output().unwrap())
    };
    let (folder, elsewhere) = (program.parent().unwrap(), Path::new("/nowhere"));
    let found = [
        ("  vnet down", again("vnet", elsewhere, None)),
        ("  vnet down", again(program.to_str().unwrap(), folder, None)),
        ("  sudo vnet down", again("vnet", folder, Some("1000"))),
    ];
    let _ = vnet().args(["down", &name]).output();
    assert_code(&demo, 0);
    assert_eq!(tried.len(), 7, "{said}");
    for (command, done) in tried {
        assert!(done.status.success(), "{command}: {}{}", stdout(&done), stderr(&done));
    }
    let looks = said.lines().find_map(|line| line.split("look around: ").nth(1)).unwrap();
    for program in looks.split(", ").filter_map(|command| command.split(' ').next()) {
        let found = std::process::Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap();
        assert!(found.status.success(), "the tests' machines have {program}");
        assert!(["ip", "ping"].contains(&program), "not every machine has {program}");
    }
    assert!(said.contains("cargo install"), "this program is not on the path: {said}");
    for (down, said) in found {
        assert!(said.lines().any(|line| line.starts_with(down)), "no `{down}` in {said}");
        assert!(!said.contains("cargo install"), "it is found by its name: {said}");
    }
}

/// While another process makes or ends the lab, its directory is locked.
#[test]
fn up_waits_for_the_lock_of_a_lab() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    let dir = Path::new("/run/vnet").join(&lab.name);
    fs::create_dir_all(&dir).unwrap();
    let held = fs::File::open(&dir).unwrap();
    held.try_lock().unwrap();
    let output = std::thread::scope(|scope| {
        let up = scope.spawn(|| lab.start());
        std::thread::sleep(NEVER);
        assert!(!up.is_finished(), "the lab is locked");
        drop(held);
        up.join().unwrap()
    });
    assert_code(&output, 0);
}

/// A thread that was woken sleeps again: a lab with nothing to do takes next to no time of a CPU.
#[test]
fn an_idle_lab_sleeps() {
    let probes = (include_str!("../../config/load-balancer.yaml"), "hub/clients");
    let sessions = (include_str!("../../config/site-to-site-bgp.yaml"), "hub/shared");
    for (topology, subnet) in [probes, sessions] {
        let Some(lab) = Lab::up(topology) else { return };
        // A change wakes every thread.
        let more = format!("virtualMachines:\n  - {{name: more, networkInterfaces: [{{subnet: {subnet}}}]}}");
        lab.apply(&topology.replace("virtualMachines:", &more));
        let stat = format!("/proc/{}/stat", daemon(&lab).as_raw_nonzero());
        // User and system time, in hundredths of a second.
        let ticks = || -> u64 {
            let text = fs::read_to_string(&stat).unwrap();
            let fields = text.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
            fields.map(|field| field.parse::<u64>().unwrap()).sum()
        };
        eventually("it sleeps", || {
            let before = ticks();
            std::thread::sleep(Duration::from_secs(1));
            ticks() - before <= 3
        });
    }
}

#[test]
fn five_hundred_machines_are_counted_and_go_together() {
    if !permitted() {
        return;
    }
    let subnets = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{name: s, addressPrefix: 10.0.0.0/20}]}]\nvirtualMachines:\n";
    let machine = |n| format!("  - {{name: m{n}, networkInterfaces: [{{subnet: v/s}}]}}\n");
    let machines = (0..500).map(machine).collect::<Vec<_>>().concat();
    let lab = Lab::prepared(&format!("{subnets}{machines}"));
    let start = Instant::now();
    let up = lab.start();
    let made = start.elapsed();
    assert_code(&up, 0);
    assert!(stdout(&up).ends_with(": 500 machines\n"), "{}", stdout(&up));
    let start = Instant::now();
    assert_code(&lab.down(), 0);
    let removed = start.elapsed();
    assert_eq!(lab.remains(), Vec::<PathBuf>::new());
    // About as long as they take to be made, and five times as long where one device waits for the other.
    assert!(removed < made * 3, "made in {made:?}, removed in {removed:?}");
}

/// Each command that reads the file prints its warnings, and goes on; a change prints the warnings it causes, not what was
/// there.
#[test]
fn warnings_are_printed_at_up_and_by_the_change_that_causes_them() {
    const UNUSED: &str = "routeTables: [{name: idle, routes: []}]\n";
    const FINE: &str = "virtualNetworks: [{name: v, location: westeurope, addressSpace: [10.0.0.0/16], \
        subnets: [{name: s, addressPrefix: 10.0.1.0/24}]}]\nvirtualMachines: [{name: a, networkInterfaces: [{subnet: v/s}]}]\n";
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&format!("{UNUSED}{FINE}"));
    let doubt = |output: &Output| stderr(output).matches("warning[").count();
    let up = lab.start();
    assert_eq!((up.status.code(), doubt(&up)), (Some(0), 1), "{}", stderr(&up));
    assert!(stderr(&up).contains("idle"), "{}", stderr(&up));
    // Another one beside it: only that is new.
    let more = format!("{UNUSED}networkSecurityGroups: [{{name: spare, securityRules: []}}]\n{FINE}");
    lab.write(&more);
    let file = lab.file.to_str().unwrap();
    let dry = lab.vnet(&["apply", "--dry-run", file]);
    assert_eq!((dry.status.code(), doubt(&dry)), (Some(0), 1), "{}", stderr(&dry));
    assert!(stderr(&dry).contains("spare") && stderr(&dry).contains("1 warning is as before"), "{}", stderr(&dry));
    let applied = lab.apply(&more);
    assert_eq!((applied.status.code(), doubt(&applied)), (Some(0), 1));
    let again = lab.apply(&more);
    assert_eq!((again.status.code(), doubt(&again)), (Some(0), 0));
    assert!(stderr(&again).contains("2 warnings are as before"), "{}", stderr(&again));
}

/// For programs the same doubts are part of the answer, in the form that `validate` has.
#[test]
fn doubts_are_data_for_programs() {
    let doubtful = |tables: &str| {
        format!(
            "routeTables: [{tables}]\nvirtualNetworks: [{{name: v, location: westeurope, addressSpace: [10.0.0.0/16], \
             subnets: [{{name: s, addressPrefix: 10.0.1.0/24}}]}}]\n\
             virtualMachines: [{{name: a, networkInterfaces: [{{subnet: v/s}}], run: ['true']}}]\n"
        )
    };
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&doubtful("{name: idle, routes: []}"));
    let file = lab.file.to_str().unwrap();
    let codes = |answer: &Value| -> Vec<(String, String)> {
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = answer["findings"].as_array().unwrap().iter();
        findings.map(|finding| (text(finding, "code"), text(finding, "path"))).collect()
    };
    let expected = |at: usize| vec![("unused-route-table".to_owned(), format!("routeTables[{at}]"))];
    let up = lab.vnet(&["up", file, "-o", "json"]);
    assert_eq!((up.status.code(), stderr(&up).as_str()), (Some(0), ""));
    let up: Value = serde_json::from_slice(&up.stdout).unwrap();
    assert_eq!((&up["lab"], &up["nodes"]), (&json!(lab.name), &json!(["a"])));
    assert_eq!((&up["programs"][0]["command"], codes(&up)), (&json!(["true"]), expected(0)));
    assert_eq!(up["findings"], lab.data(&["validate", file]), "the same as validate's");
    lab.write(&doubtful("{name: idle, routes: []}, {name: spare, routes: []}"));
    let applied = lab.vnet(&["apply", file, "-o", "json"]);
    assert_eq!((applied.status.code(), stderr(&applied).as_str()), (Some(0), ""));
    let applied: Value = serde_json::from_slice(&applied.stdout).unwrap();
    assert_eq!((&applied["changes"][0]["name"], codes(&applied)), (&json!("spare"), expected(1)));
}

/// A `run` that is a text ends at the first command that fails; programs find those of administrators, whichever user
/// starts them.
#[test]
fn a_script_ends_at_the_first_failure_and_finds_administrators_programs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("said");
    let topology = format!(
        "
virtualNetworks: [{{name: v, location: x, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}]
virtualMachines:
  - name: m
    networkInterfaces: [{{subnet: v/s}}]
    sandbox: none
    run: |
      echo $PATH > {0}
      ls /nowhere
      echo more >> {0}
",
        file.display()
    );
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&topology);
    let _ = vnet().arg("up").arg(&lab.file).env("PATH", "/usr/bin:/bin").output().unwrap();
    let ended = || {
        let events = lab.data(&["events"]);
        events.as_array().unwrap().iter().any(|event| event["event"] == "ProgramEnded")
    };
    eventually("the script ends", ended);
    let expected = "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n";
    assert_eq!(std::fs::read_to_string(file).unwrap(), expected);
    let path = vnet()
        .args(["-l", &lab.name, "exec", "m", "--", "sh", "-c", "echo $PATH"])
        .env("PATH", "/usr/bin:/bin")
        .output();
    assert_eq!(stdout(&path.unwrap()), expected);
}

#[test]
fn a_shell_proposes_labs_and_the_machines_of_the_lab_that_is_meant() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let proposed = |words: &[&str], meant: Option<&str>| {
        let mut asking = vnet();
        asking.arg("--").arg("vnet").args(words).env("COMPLETE", "bash").env("_CLAP_IFS", "\n");
        asking.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        meant.map(|lab| asking.env("VNET_LAB", lab));
        stdout(&asking.output().unwrap()).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(proposed(&["-l", &lab.name, "exec", "w"], None), ["web"]);
    assert_eq!(proposed(&["exec", "n"], Some(&lab.name)), ["nva"]);
    let both = proposed(&["explain", &format!("--lab={}", lab.name), "web", "d"], Some("no-such-lab"));
    assert_eq!(both, ["db"], "an option counts more than the environment");
    assert!(proposed(&["down", "t"], None).contains(&lab.name));
    assert_eq!(proposed(&["-l", "no-such-lab", "exec", "w"], None), [""; 0]);
}
