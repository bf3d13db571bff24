//! Changes that fail: the lab is as it was, or the next command cleans up.

use std::fs;
use std::path::Path;

use vnet::sys::netlink::Netlink;
use vnet::sys::netns::{self, Netns};
use vnet::sys::process::{ProcessId, Signal};

use crate::apply::{HUB_SPOKE, Session, THREE_SUBNETS, assert_code, generation, with_machines};
use crate::lab::{Lab, SOON, permitted, stderr, stdout, unique, vnet};

#[test]
fn a_file_that_cannot_be_applied_leaves_everything() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut session = Session::open(&lab, "web", "db", "10.2.1.10", 9000).unwrap();
    let file = lab.file.to_str().unwrap().to_owned();
    let refused = |text: String, what: &str| {
        fs::write(&lab.file, text).unwrap();
        let output = lab.vnet(&["apply", &file]);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    };
    refused("virtualNetworks: [".to_owned(), "lab.yaml:1:");
    refused(lab.named(&HUB_SPOKE.replace("routeTable: via-nva", "routeTable: nowhere")), "no route table `nowhere`");
    refused(lab.named(&format!("emulation: {{workers: 1}}\n{HUB_SPOKE}")), "emulation.workers cannot change");
    refused(HUB_SPOKE.to_owned(), "describes lab hub-spoke");
    let resized = lab.named(&HUB_SPOKE.replace("addressPrefix: 10.2.1.0/24", "addressPrefix: 10.2.1.0/25"));
    refused(resized, "error[InUsePrefixCannotBeDeleted]: IpPrefix 10.2.1.0/24 on Subnet spoke2/db");
    let missing = lab.vnet(&["apply", "/no/such/file"]);
    assert_code(&missing, 2);
    assert_eq!(generation(&lab), 1);
    assert!(session.answers(SOON));
    let applied = fs::read_to_string(Path::new("/run/vnet").join(&lab.name).join("applied.yaml")).unwrap();
    assert_eq!(applied, lab.named(HUB_SPOKE));
    lab.write(HUB_SPOKE);
    assert_code(&vnet().args(["-l", "no-such-lab", "apply", &file]).output().unwrap(), 5);
}

#[test]
fn what_fails_half_way_is_taken_back() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let mut session = Session::open(&lab, "web", "db", "10.2.1.10", 9000).unwrap();
    // A foreign file has the name of the second machine's namespace.
    let theirs = netns::name_path(&format!("{}-second", lab.name));
    fs::write(&theirs, "theirs").unwrap();
    let before = lab.remains();
    let moved = with_machines(&[
        "{name: first, networkInterfaces: [{subnet: spoke1/app}]}",
        "{name: second, networkInterfaces: [{subnet: spoke1/app}]}",
    ]);
    lab.write(&moved.replace("10.2.1.10", "10.2.1.99"));
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    let (after, text) = (lab.remains(), fs::read_to_string(&theirs));
    fs::remove_file(&theirs).unwrap();
    assert_code(&output, 4);
    assert!(stderr(&output).contains(theirs.to_str().unwrap()), "{}", stderr(&output));
    assert_eq!(text.unwrap(), "theirs");
    let sorted = |mut paths: Vec<std::path::PathBuf>| {
        paths.sort();
        paths
    };
    assert_eq!(sorted(after), sorted(before), "the first machine is gone again");
    assert_eq!(generation(&lab), 1);
    assert!(session.answers(SOON));
    lab.assert_ping("web", "10.2.1.10");
    // The next one works.
    lab.apply(&with_machines(&["{name: first, networkInterfaces: [{subnet: spoke1/app}]}"]));
    lab.assert_ping("first", "10.2.1.10");
}

#[test]
fn a_device_that_is_taken_takes_everything_back() {
    if !permitted() {
        return;
    }
    // The last step before the tables change is the one that fails: a TUN that another lab holds.
    netns::prepare_names().unwrap();
    let name = unique("n");
    Netns::create().unwrap().bind(&netns::name_path(&name)).unwrap();
    let attached = |vnet: &str, n: u8| {
        format!(
            "  - {{name: {vnet}, location: westeurope, addressSpace: [10.{n}.0.0/16], \
             subnets: [{{name: s, addressPrefix: 10.{n}.0.0/24}}], attach: {{namespace: {name}, interface: tun0, \
             addresses: [10.{n}.0.4/16]}}}}\n"
        )
    };
    let holder = Lab::up(&format!("virtualNetworks:\n{}", attached("theirs", 8))).unwrap();
    let lab =
        Lab::up(THREE_SUBNETS.replace("NICS", "[{subnet: v/front, privateIPAddress: 10.1.1.10}]").as_str()).unwrap();
    let wanted = THREE_SUBNETS.replace("NICS", "[{subnet: v/front, privateIPAddress: 10.1.1.11}]");
    lab.write(&wanted.replace("virtualNetworks:\n", &format!("virtualNetworks:\n{}", attached("mine", 9))));
    let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    drop(holder);
    // The device is free now: an attached VNet comes to a lab that runs, and goes.
    lab.assert_ping("other", "10.1.1.10");
    let again = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    let inside = Netns::named(&name).unwrap();
    let made = inside.run(|| Netlink::open().unwrap().link("tun0").is_ok()).unwrap();
    lab.apply(&wanted);
    let left = inside.run(|| Netlink::open().unwrap().link("tun0").is_ok()).unwrap();
    netns::unbind(&netns::name_path(&name)).unwrap();
    assert_code(&output, 4);
    assert!(stderr(&output).contains("in use by another program"), "{}", stderr(&output));
    assert_code(&again, 0);
    assert_eq!((made, left), (true, false));
    lab.assert_ping("other", "10.1.1.11");
}

/// Of two devices that get other addresses one cannot be found, whichever it is: the other keeps its address.
#[test]
fn devices_that_are_rearranged_already_are_taken_back() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    let rename = |node: &str, from: &str, to: &str| {
        for change in [["down", ""], ["name", to]] {
            let words =
                ["ip", "link", "set", from].into_iter().chain(change.into_iter().filter(|word| !word.is_empty()));
            assert_code(&lab.exec(node, &words.collect::<Vec<_>>()), 0);
        }
    };
    lab.write(
        &HUB_SPOKE
            .replace("10.2.1.10", "10.2.1.99")
            .replace("{subnet: spoke1/app}", "{subnet: spoke1/app, privateIPAddress: 10.1.1.44}"),
    );
    for (broken, other, address) in [("db", "web", "10.1.1.4"), ("web", "db", "10.2.1.10")] {
        rename(broken, "eth0", "lost");
        let output = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
        assert_code(&output, 4);
        assert!(stderr(&output).contains("cannot change eth0"), "{}", stderr(&output));
        assert_eq!(generation(&lab), 1);
        assert!(
            stdout(&lab.exec(other, &["ip", "addr"])).contains(&format!("{address}/")),
            "{other} keeps its address"
        );
        rename(broken, "lost", "eth0");
    }
}

#[test]
fn a_crash_after_a_change_leaves_nothing_behind() {
    let Some(lab) = Lab::up(HUB_SPOKE) else { return };
    lab.apply(&with_machines(&["{name: new, networkInterfaces: [{subnet: spoke1/app}], run: [sleep, '1000']}"]));
    lab.apply(&with_machines(&["{name: newer, networkInterfaces: [{subnet: spoke1/app}], run: [sleep, '1000']}"]));
    // A foreign namespace may have the name of a machine that was removed.
    let theirs = netns::name_path(&format!("{}-new", lab.name));
    fs::write(&theirs, "theirs").unwrap();
    lab.crash();
    let output = lab.down();
    let (left, text) = (lab.remains(), fs::read_to_string(&theirs));
    let _ = fs::remove_file(&theirs);
    assert_code(&output, 0);
    assert_eq!((left, text.unwrap()), (vec![theirs], "theirs".to_owned()));
}

/// Whenever the daemon is killed, `down` and `up` find everything that was made.
#[test]
fn killed_in_the_middle_of_a_change_it_leaves_nothing_behind() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(HUB_SPOKE);
    let run = |i: usize| {
        format!(
            "{{name: extra{i}, networkInterfaces: [{{subnet: spoke1/app}}], run: [sleep, '1{}']}}",
            std::process::id()
        )
    };
    let extra: Vec<_> = (0..20).map(run).collect();
    let extra: Vec<_> = extra.iter().map(String::as_str).collect();
    for round in 0..8_u32 {
        assert_code(&lab.start(), 0);
        let pid = lab.data(&["status"])["pid"].as_u64().unwrap();
        let daemon = ProcessId::of(u32::try_from(pid).unwrap()).unwrap();
        lab.write(&with_machines(&extra));
        std::thread::scope(|scope| {
            scope.spawn(|| lab.vnet(&["apply", lab.file.to_str().unwrap()]));
            // Further into it every time.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 25));
            daemon.signal(Signal::KILL).unwrap();
            assert!(daemon.wait_end(SOON).unwrap());
        });
        lab.write(HUB_SPOKE);
        if round % 2 == 0 {
            assert_code(&lab.start(), 0);
            lab.assert_ping("web", "10.2.1.10");
            let here: Vec<_> =
                lab.remains().into_iter().filter(|path| path.to_str().unwrap().contains("extra")).collect();
            assert_eq!(here, Vec::<std::path::PathBuf>::new());
        }
        assert_code(&lab.down(), 0);
        assert_eq!(lab.remains(), Vec::<std::path::PathBuf>::new(), "killed after {} ms", round * 25);
    }
}
