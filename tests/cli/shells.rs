//! What the program does for shells and for `man`: completions as a shell asks for them, and pages.

use std::collections::BTreeSet;
use std::fs;

use crate::commands::{SUBCOMMANDS, command};

/// What bash would propose for the last of these words.
fn proposed(words: &[&str]) -> BTreeSet<String> {
    let mut asking = command(&[&["--"], words].concat());
    asking.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_IFS", "\n");
    let answer = asking.output().unwrap();
    assert!(answer.status.success() && answer.stderr.is_empty(), "{words:?}: {answer:?}");
    String::from_utf8(answer.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn completions_know_every_subcommand() {
    let commands = proposed(&["vnet", ""]);
    let missing: Vec<_> = SUBCOMMANDS.iter().filter(|subcommand| !commands.contains(**subcommand)).collect();
    assert!(missing.is_empty(), "{missing:?} of {commands:?}");
    assert_eq!(proposed(&["vnet", "flow-"]), set(&["flow-verify"]));
}

#[test]
fn each_shell_gets_a_script_that_asks_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = command(&["completions", shell]).output().unwrap();
        assert!(answer.status.success(), "{shell}");
        let script = String::from_utf8(answer.stdout).unwrap();
        assert!(script.contains("COMPLETE") && script.contains("vnet"), "{shell}: {script}");
    }
}

#[test]
fn completions_know_the_machines_of_a_file() {
    let file = ["-t", "config/hub-spoke.yaml"];
    let machines = proposed(&[&["vnet", "explain"], &file[..], &[""]].concat());
    assert!(machines.contains("web") && machines.contains("db"), "{machines:?}");
    assert_eq!(proposed(&[&["vnet", "routes"], &file[..], &["we"]].concat()), set(&["web"]));
    assert_eq!(proposed(&["vnet", "next-hop", "--topology=config/hub-spoke.yaml", "web", "d"]), set(&["db"]));
    assert_eq!(proposed(&["vnet", "routes", "-t", "no-such-file.yaml", "w"]), set(&[]));
}

#[test]
fn completions_know_topology_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.yaml", "b.yml", "notes.txt"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let start = format!("{}/", directory.path().display());
    for subcommand in ["up", "apply", "validate"] {
        let files = proposed(&["vnet", subcommand, &start]);
        assert_eq!(files, set(&[&format!("{start}a.yaml"), &format!("{start}b.yml")]), "{subcommand}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_examples_line_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let answer = command(&["man", pages.to_str().unwrap()]).output().unwrap();
    assert!(answer.status.success() && answer.stderr.is_empty(), "{answer:?}");
    for subcommand in SUBCOMMANDS {
        let page = fs::read_to_string(pages.join(format!("vnet-{subcommand}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{subcommand}: {page}");
    }
    assert!(pages.join("vnet.1").exists() && pages.join("vnet-peering-sync.1").exists());
    let page = fs::read_to_string(pages.join("vnet-explain.1")).unwrap();
    let examples = page.split(".SH EXAMPLES\n.nf\n").nth(1).unwrap().split("\n.fi").next().unwrap();
    assert!(examples.lines().any(|line| line == "vnet explain web db:443"), "{examples}");
}

#[test]
fn manual_pages_go_to_the_users_own_manual() {
    let directory = tempfile::tempdir().unwrap();
    let mut man = command(&["man"]);
    let answer = man.env("HOME", directory.path()).env_remove("XDG_DATA_HOME").output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    assert!(directory.path().join(".local/share/man/man1/vnet.1").exists());
    // A file stands where a directory should be.
    let taken = directory.path().join("taken");
    fs::write(&taken, "").unwrap();
    let answer = command(&["man", taken.to_str().unwrap()]).output().unwrap();
    assert_eq!(answer.status.code(), Some(4));
    let error = String::from_utf8(answer.stderr).unwrap();
    assert!(error.contains("cannot write to") && error.contains("help: "), "{error}");
}
