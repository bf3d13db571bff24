//! The first commands that a stranger types, in a real lab: they work, and print what the pages show but for numbers.

use std::io::Write;
use std::path::Path;
use std::process::{self, Command};

use regex::Regex;
use vnet::sys::caps::{self, CapabilitySet};

use crate::examples::{alike, asks_a_file, path, steps};
use crate::page::Page;

/// What a load brings is for another machine to say.
const LEFT_OUT: &str = "vnet bench";

/// The lab ends with this, also after a failure.
struct Ended(String);

impl Drop for Ended {
    fn drop(&mut self) {
        // A lab that has gone by itself is none that runs.
        let _ = Command::new(env!("CARGO_BIN_EXE_vnet")).args(["down", &self.0]).output();
    }
}

#[test]
fn the_first_commands_work_as_printed() {
    let rights = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    if !caps::has(rights) || !Path::new("/dev/net/tun").exists() {
        assert!(std::env::var("CI").is_err(), "CI runs every test: needs root and /dev/net/tun");
        let _ = writeln!(std::io::stderr(), "skipped: needs root and /dev/net/tun");
        return;
    }
    for name in ["README.md", "docs/start/first-lab.md"] {
        let page = Page::read(name);
        let lab = Ended(format!("docs{}", process::id()));
        let mut worked = 0;
        for (_, first, lines) in page.blocks().into_iter().filter(|(kind, ..)| *kind == "console") {
            for step in steps(&lines) {
                if asks_a_file(&step.command) || step.command.starts_with(LEFT_OUT) {
                    continue;
                }
                let mut words = step.command.split(' ');
                assert_eq!(words.next(), Some("vnet"), "{name}:{first}");
                let mut vnet = Command::new("vnet");
                vnet.env("PATH", path()).env_remove("VNET_LAB");
                let output = vnet.args(["-l", &lab.0]).args(words).output().unwrap();
                let printed = String::from_utf8(output.stdout).unwrap().replace(&format!(" -l {}", lab.0), "");
                let printed = without_numbers(&printed.replace(&lab.0, "hub-spoke"));
                let shown = without_numbers(&step.shown.join("\n"));
                let (shown, lines): (Vec<_>, Vec<_>) = (shown.lines().collect(), printed.trim_end().lines().collect());
                assert!(alike(&shown, &lines), "{name}:{first}: `{}` prints\n{printed}", step.command);
                worked += 1;
            }
        }
        assert!(worked > 2, "{name} shows only {worked} commands");
    }
}

/// Without what varies: numbers with their units, and the columns that they stretch.
fn without_numbers(text: &str) -> String {
    let number = Regex::new(r"\d+(\.\d+)?( ?(us|ms|s|[kMG]?B|[kMG]?bit/s)\b)?").unwrap();
    let column = Regex::new(r" {2,}|-{2,}").unwrap();
    column.replace_all(&number.replace_all(text, "#"), "  ").into_owned()
}
