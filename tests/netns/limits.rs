//! What a file may ask of the system: refused before anything is made, with the limit, what is asked, and what to do.

use std::process::{Command, Output};

use crate::lab::{ALLOW_RUN, Lab, eventually, permitted, stderr};

/// Machines with an interface each.
fn machines(count: usize, first: &str) -> String {
    let machine = |n| format!("  - {{name: m{n}, networkInterfaces: [{{subnet: v/s}}]}}\n");
    format!(
        "emulation: {{workers: 2, platformServices: false}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.0.0.0/16], subnets: [{{name: s, addressPrefix: 10.0.0.0/16}}]}}
virtualMachines:
  - {{name: first, {first}networkInterfaces: [{{subnet: v/s}}]}}
{}",
        (1..count).map(machine).collect::<String>()
    )
}

/// `up` where only so many files may be open: as they are at first, and as they may be.
fn up(lab: &Lab, soft: usize, hard: usize) -> Output {
    let mut up = Command::new("prlimit");
    up.arg(format!("--nofile={soft}:{hard}")).args([env!("CARGO_BIN_EXE_vnet"), "up"]).arg(&lab.file);
    up.env_remove("VNET_LAB").env(ALLOW_RUN, "1").output().unwrap()
}

#[test]
fn a_file_that_asks_for_too_many_open_files_makes_nothing() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&machines(40, ""));
    let refused = up(&lab, 64, 128);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    let said = stderr(&refused);
    let file = lab.file.display();
    assert!(
        said.contains(&format!("{file} asks for more than this system has:\n  144 open files for 40 devices")),
        "{said}"
    );
    assert!(said.contains("this process may open 128") && said.contains("`ulimit -Hn 144`"), "{said}");
    assert_eq!(lab.remains(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn the_number_of_open_files_is_raised_for_the_router_and_not_for_programs() {
    if !permitted() {
        return;
    }
    let lab = Lab::prepared(&machines(40, "run: [sh, -c, 'ulimit -Sn; ulimit -Hn'], "));
    let started = up(&lab, 64, 256);
    assert!(started.status.success(), "{}", stderr(&started));
    let log = format!("/run/vnet/{}/programs/first.log", lab.name);
    eventually("the program says its limits", || std::fs::read_to_string(&log).unwrap_or_default() == "64\n256\n");
    lab.assert_ping("m39", "10.0.0.4");

    // A change is refused likewise, and leaves the lab as it is.
    lab.write(&machines(120, "run: [sh, -c, 'ulimit -Sn; ulimit -Hn'], "));
    let refused = lab.vnet(&["apply", lab.file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("the change asks for more than this system has:\n  304 open files"),
        "{}",
        stderr(&refused)
    );
    lab.assert_ping("m39", "10.0.0.4");
    assert!(lab.remains().iter().all(|path| !path.ends_with(format!("{}-m119", lab.name))));
}
