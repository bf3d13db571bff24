//! Labs that were never up, sampled and drawn on a terminal of 80 by 24.

use std::cell;
use std::env;
use std::fs;
use std::process::{Command, Stdio};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Column, List, What};
use super::sample::Sampler;
use super::{in_terminal, unavailable, view};
use crate::analysis::{BackendRow, ConnectionRow, HealthState};
use crate::daemon::api::protocol::{DropCount, FlowPage, FlowRow, InterfaceCounters, Request, Response, Status};
use crate::model::ConnectionStatus;

fn screen(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| view::draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let lines = buffer.content.chunks(80).map(|row| row.iter().map(Cell::symbol).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn assert_shows(app: &App, all: &[&str]) {
    let text = screen(app);
    for words in all {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        app.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// A lab of a thousand machines; what each has sent is its number times how often it was asked.
fn thousand(asked: &cell::Cell<u64>, request: &Request) -> Response {
    let status: Status = serde_json::from_value(serde_json::json!({
        "name": "big", "file": "big.yaml", "pid": 1, "uptimeSeconds": 1, "generation": 1, "workers": 2,
        "offload": "tcp", "flows": 7, "alerts": ["a device has vanished"], "nodes": []
    }))
    .unwrap();
    let name = |number: u64| format!("machine-{number:03}");
    let drops = |reason: &str, packets| DropCount {
        node: name(7),
        nic: "eth0".to_owned(),
        reason: reason.to_owned(),
        packets,
        harmless: false,
        flow: None,
        explanation: format!("why {reason}"),
    };
    match request {
        Request::Status => Response::Status(Box::new(status)),
        Request::Counters => {
            asked.set(asked.get() + 1);
            Response::Counters((0..1000).map(|number| counters(&name(number), number * asked.get())).collect())
        }
        Request::Drops { .. } => {
            asked.set(asked.get() + 1);
            Response::Drops(vec![drops("NsgInbound", 1000), drops("NoRoute", 10 * asked.get()), drops("NoRoute", 1)])
        }
        Request::Flows { from, .. } => {
            let page = from.unwrap_or_default();
            let flows = (page * 1000..(page + 1) * 1000).map(|number| flow(&name(number % 1000), number)).collect();
            Response::Flows(FlowPage { flows, next: Some(page + 1) })
        }
        Request::Connections => Response::Connections(vec![ConnectionRow {
            name: "to-site".to_owned(),
            virtual_network_gateway: "gw".to_owned(),
            remote: "site".to_owned(),
            connection_type: "IPsec".to_owned(),
            enable_bgp: false,
            connection_status: ConnectionStatus::NotConnected,
            reason: Some("no answer".to_owned()),
        }]),
        Request::LoadBalancers => Response::LoadBalancers(vec![backend(HealthState::Up), backend(HealthState::Down)]),
        Request::Circuits => Response::Circuits(Vec::new()),
        Request::Bgp(_) => Response::BgpPeers(Vec::new()),
        Request::Peerings => Response::Peerings(Vec::new()),
        Request::Routes { .. } => Response::Routes(Vec::new()),
        other => panic!("{other:?}"),
    }
}

fn counters(node: &str, packets: u64) -> InterfaceCounters {
    let (node, nic, rx_bytes, tx_bytes) = (node.to_owned(), "eth0".to_owned(), packets * 1000, packets * 500);
    InterfaceCounters {
        node,
        nic,
        rx_packets: packets,
        rx_bytes,
        tx_packets: 0,
        tx_bytes,
        drops: 7,
        harmless_drops: 4,
        alive: true,
    }
}

fn flow(node: &str, number: u64) -> FlowRow {
    serde_json::from_value(serde_json::json!({
        "node": node, "nic": "eth0", "direction": "Outbound", "protocol": "Tcp",
        "sourceAddress": "10.0.0.4", "sourcePort": number % 60_000, "destinationAddress": "10.1.0.4",
        "destinationPort": 443, "state": "Established", "access": "Allow", "ageSeconds": 1.0, "idleSeconds": 0.0,
        "packetsSent": 1, "bytesSent": 1, "packetsReceived": 1, "bytesReceived": 1, "rules": []
    }))
    .unwrap()
}

fn backend(health: HealthState) -> BackendRow {
    BackendRow {
        load_balancer: "front".to_owned(),
        rule: "web".to_owned(),
        frontend: "10.0.0.100:80/tcp".to_owned(),
        backend_pool: "pool".to_owned(),
        backend: format!("machine-{}/eth0", if health == HealthState::Up { "001" } else { "002" }),
        address: "10.0.0.5".parse().unwrap(),
        probe: Some("http".to_owned()),
        health,
        since: None,
        reason: "503".to_owned(),
        denied_by: None,
        eligible: health == HealthState::Up,
        flows: None,
    }
}

#[test]
fn a_thousand_machines_are_sampled_sorted_and_drawn() {
    let asked = cell::Cell::new(0);
    let mut sampler = Sampler::new(|request| Ok(thousand(&asked, request)));
    let mut app = App::default();
    app.show(sampler.sample(List::Machines).unwrap());
    assert_eq!(app.rows().len(), 1000);
    assert_shows(&app, &["machine-000/eth0", "big", "q quit", "Packets/s"]);
    // Nothing is known of rates yet; then those that rise most are first.
    app.show(sampler.sample(List::Machines).unwrap());
    let first: Vec<_> = app.rows().iter().take(3).map(|row| row.key.clone()).collect();
    assert_eq!(first, ["machine-999/eth0", "machine-998/eth0", "machine-997/eth0"]);
    assert_shows(&app, &["machine-999/eth0", "bit"]);
    press(&mut app, "/machine-70\n");
    assert_eq!(app.rows().len(), 10);
    assert_shows(&app, &["machine-709/eth0", "[machine-70]"]);
    assert!(!screen(&app).contains("machine-999"));
    app.open("machine-700", What::Routes, sampler.details("machine-700", What::Routes));
    assert_shows(&app, &["machine-700: effective routes"]);
    app.open("machine-007", What::Drops, sampler.details("machine-007", What::Drops));
    assert_shows(&app, &["machine-007: drops", "NsgInbound", "why NoRoute"]);
}

/// As many rows as there is room for, and the chosen one among them, wherever it is.
#[test]
fn the_chosen_row_is_on_a_full_page() {
    let asked = cell::Cell::new(0);
    let mut app = App::default();
    app.show(Sampler::new(|request| Ok(thousand(&asked, request))).sample(List::Machines).unwrap());
    press(&mut app, "/machine-0\n");
    let order: Vec<_> = app.rows().iter().map(|row| row.key.clone()).collect();
    assert_eq!(order.len(), 100);
    let page =
        |app: &App| screen(app).lines().filter(|line| line.contains("machine-0") && line.contains("/eth0")).count();
    let room = page(&app);
    assert!((10..24).contains(&room), "{room} rows on 24 lines");
    for at in [0, 1, 50, 98, 99] {
        app.chosen = Some(order[at].clone());
        assert_shows(&app, &[&order[at]]);
        assert_eq!(page(&app), room, "with row {at} chosen");
    }
}

#[test]
fn drops_that_rise_are_first_and_have_their_reason() {
    let asked = cell::Cell::new(0);
    let mut sampler = Sampler::new(|request| Ok(thousand(&asked, request)));
    let mut app = App::default();
    app.list = List::Drops;
    app.show(sampler.sample(List::Drops).unwrap());
    assert_eq!(app.rows()[0].key, "NsgInbound machine-007/eth0", "the most of them, while none rises");
    app.show(sampler.sample(List::Drops).unwrap());
    assert_eq!(app.rows().len(), 2, "one row for a reason and an interface");
    assert_eq!(app.rows()[0].key, "NoRoute machine-007/eth0");
    assert_eq!(app.rows()[0].columns[3].text(), "21");
}

#[test]
fn what_is_down_is_in_the_first_line_and_first_in_its_list() {
    let asked = cell::Cell::new(0);
    let mut sampler = Sampler::new(|request| Ok(thousand(&asked, request)));
    let mut app = App::default();
    app.show(sampler.sample(List::Machines).unwrap());
    assert_shows(&app, &["! router big is down: a device has vanished, and 2 more", "4 Links (3 down)"]);
    app.list = List::Links;
    app.show(sampler.sample(List::Links).unwrap());
    let lines: Vec<_> = app.rows().iter().map(|row| row.columns.iter().map(Column::text).collect()).collect();
    let lines: Vec<String> = lines.iter().map(|cells: &Vec<String>| cells.join(" ")).collect();
    assert_eq!(
        lines,
        [
            "down router big a device has vanished",
            "down tunnel to-site no answer",
            "down probe front/http of machine-002/eth0 503",
            "up probe front/http of machine-001/eth0 ",
        ]
    );
}

#[test]
fn so_many_flows_are_asked_for_and_no_more() {
    let asked = cell::Cell::new(0);
    let mut sampler = Sampler::new(|request| Ok(thousand(&asked, request)));
    assert_eq!(sampler.sample(List::Flows).unwrap().rows.len(), 4000);
}

#[test]
fn long_names_leave_room_for_numbers() {
    let long = "a-machine-with-a-name-as-long-as-azure-permits-it-to-be-0123456789";
    let mut sampler = Sampler::new(|request| match request {
        Request::Counters => Ok(Response::Counters(vec![counters(long, 1)])),
        other => Ok(thousand(&cell::Cell::new(0), other)),
    });
    let mut app = App::default();
    app.show(sampler.sample(List::Machines).unwrap());
    assert_shows(&app, &["a-machine-with-a-name", "…", "Drops State", "3 up"]);
}

/// Set where this test runs itself in a terminal.
const INSIDE: &str = "VNET_TEST_IN_TERMINAL";

#[test]
fn a_panic_gives_the_terminal_back() {
    if env::var_os(INSIDE).is_some() {
        let _ = in_terminal(|terminal, _| {
            terminal.draw(|frame| frame.render_widget("drawn", frame.area())).map_err(unavailable)?;
            panic!("on purpose");
        });
    }
    if Command::new("script").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let myself = env::current_exe().unwrap();
    let name = "cli::top::tests::a_panic_gives_the_terminal_back";
    let inside = format!(
        "stty rows 24 cols 80; stty -g >before; {} --exact {name} --nocapture; stty -g >after",
        myself.display()
    );
    let mut script = Command::new("script");
    script.args(["-qfc", &inside, "typescript"]).env("SHELL", "/bin/sh").env("TERM", "xterm").env(INSIDE, "yes");
    script.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(script.status().unwrap().success());
    let typescript = written("typescript");
    let mut screen = vt100::Parser::default();
    screen.process(&typescript);
    let text = String::from_utf8_lossy(&typescript);
    assert!(text.contains("drawn") && text.contains("on purpose"), "{text}");
    let (restored, message) = (text.find("\u{1b}[?1049l").unwrap(), text.find("on purpose").unwrap());
    assert!(restored < message, "the message is on the screen that stays");
    assert!(!screen.screen().alternate_screen() && !screen.screen().hide_cursor());
    assert_eq!(written("before"), written("after"));
}
