//! `vnet top` in a pseudo-terminal: what it shows, what keys do, and the terminal afterwards.
//!
//! ratatui writes only the cells that change, so the screen is what a model of a terminal makes of all that was written.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;
use vnet::sys::process::{ProcessId, Signal};

use crate::apply::assert_code;
use crate::lab::{Lab, eventually, has_program, saw, stderr, stdout, vnet};

const TIERS: &str = include_str!("../../config/nsg-tiers.yaml");
const SITE: &str = include_str!("../../config/site-to-site.yaml");

/// A terminal of 80 by 24 in which `vnet top` runs.
struct Terminal {
    script: Child,
    keys: RefCell<Option<ChildStdin>>,
    folder: TempDir,
}

impl Terminal {
    /// None where no program makes a pseudo-terminal.
    fn of(lab: &Lab) -> Option<Self> {
        if !has_program("script") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let vnet = env!("CARGO_BIN_EXE_vnet");
        let inside = format!(
            "stty rows 24 cols 80; stty -g >before; sh -c 'echo $$ >pid; exec {vnet} top {}'; echo $? >code; stty -g >after",
            lab.name
        );
        let mut script = Command::new("script");
        script.args(["-qfc", &inside, "typescript"]).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut script = script.current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let keys = RefCell::new(script.stdin.take());
        Some(Self { script, keys, folder })
    }

    fn press(&self, keys: &str) {
        let mut to = self.keys.borrow_mut();
        let to = to.as_mut().unwrap();
        to.write_all(keys.as_bytes()).unwrap();
        to.flush().unwrap();
    }

    fn written(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(name)).unwrap_or_default()).into_owned()
    }

    fn model(&self) -> vt100::Parser {
        let mut model = vt100::Parser::default();
        model.process(self.written("typescript").as_bytes());
        model
    }

    /// Waits until the screen has all of these words.
    fn shows(&self, all: &[&str]) {
        eventually(&format!("the screen shows {all:?}"), || {
            let screen = self.model().screen().contents();
            saw(&screen);
            all.iter().all(|words| screen.contains(words))
        });
    }

    fn stop(&self, signal: Signal) {
        let pid = ProcessId::of(self.written("pid").trim().parse().unwrap()).unwrap();
        assert!(pid.signal(signal).unwrap());
    }

    /// The exit code; the screen, the cursor and the settings are those of before.
    fn ended(mut self) -> String {
        assert!(self.script.wait().unwrap().success());
        let typescript = self.written("typescript");
        assert!(typescript.contains("\u{1b}[?1049h"), "it used another screen");
        let model = self.model();
        assert!(!model.screen().alternate_screen() && !model.screen().hide_cursor(), "{typescript:?}");
        assert_eq!(self.written("before"), self.written("after"), "the terminal's settings");
        self.written("code").trim().to_owned()
    }
}

#[test]
fn it_shows_the_lab_obeys_keys_and_gives_the_terminal_back() {
    let Some(lab) = Lab::up(TIERS) else { return };
    let Some(terminal) = Terminal::of(&lab) else { return };
    terminal.shows(&[&lab.name, "web/eth0", "db/eth0", "all up", "s sort (Packets/s)"]);
    terminal.press("2");
    terminal.shows(&["no packet has been dropped"]);
    let mut denied = vnet();
    let denied = denied.args(["-l", &lab.name, "exec", "web", "--", "ping", "-i0.1", "-W1", "db"]);
    let mut denied = denied.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    terminal.shows(&["NsgInbound", "web/eth0"]);
    // Others are filtered out; the machine's drops open, and rise.
    terminal.press("/nsginb\r");
    terminal.shows(&["[nsginb]"]);
    terminal.press("\r");
    terminal.shows(&["web: drops", "NsgInbound"]);
    let count = || -> Option<u64> {
        let screen = terminal.model().screen().contents();
        screen.lines().find(|line| line.contains("NsgInbound"))?.split_whitespace().next()?.parse().ok()
    };
    let before = count();
    eventually("its drops rise", || count() > before);
    denied.kill().unwrap();
    denied.wait().unwrap();
    terminal.press("u");
    terminal.shows(&["web: effective rules", "AllowVnetOutBound"]);
    terminal.press("r");
    terminal.shows(&["web: effective routes", "VnetLocal"]);
    // Escape alone is a key once nothing follows it.
    terminal.press("\u{1b}");
    terminal.shows(&["Reason", "s sort"]);
    terminal.press("1s");
    terminal.shows(&["s sort (Drops/s)", "nothing has `nsginb` in it"]);
    terminal.press("\u{1b}");
    terminal.shows(&["db/eth0"]);
    terminal.press("q");
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn a_tunnel_that_is_down_is_shown_and_a_signal_ends_it() {
    let Some(lab) = Lab::up(SITE) else { return };
    let Some(terminal) = Terminal::of(&lab) else { return };
    terminal.press("4");
    terminal.shows(&["State", "up    tunnel  hub-dc"]);
    let gateway = lab.data(&["gateway", "connections"])[0]["virtualNetworkGateway"].as_str().unwrap().to_owned();
    assert_code(&lab.vnet(&["gateway", "failover", &gateway, "--seconds", "60"]), 0);
    terminal.shows(&["down  tunnel  hub-dc", "is down", "4 Links ("]);
    assert!(stdout(&lab.vnet(&["graph"])).contains("VPN, down"), "its picture shows it too");
    terminal.stop(Signal::TERM);
    assert_eq!(terminal.ended(), "0");
}

#[test]
fn it_ends_with_the_lab_and_says_so() {
    let Some(lab) = Lab::up(TIERS) else { return };
    let Some(terminal) = Terminal::of(&lab) else { return };
    terminal.shows(&["web/eth0"]);
    assert_code(&lab.down(), 0);
    terminal.shows(&["error: "]);
    assert_eq!(terminal.ended(), "5");
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let Some(lab) = Lab::up(TIERS) else { return };
    let output = lab.vnet(&["top"]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("needs a terminal"));
}
