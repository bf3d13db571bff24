//! What an outage takes down and where flows go meanwhile: instances of gateways, links of circuits, examples of `config/`.

use std::fs;
use std::path::Path;

use vnet::config::{load_with, no_files};
use vnet::daemon::outage::{Detour, outage};
use vnet::model::{Existing, Learned};

/// What is down without these names, and each place with the ways that are left to it.
fn told(file: &str, away: &[&str], also: &[&str]) -> (String, Vec<String>) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)).unwrap();
    let network = load_with(&text, file, &Existing::default(), &no_files).unwrap().network;
    let mut learned = Learned::default();
    let away: Vec<_> = away.iter().map(|name| (*name).to_owned()).collect();
    learned.down.extend(away.iter().cloned().chain(also.iter().map(|name| (*name).to_owned())));
    let (down, detours) = outage(&network, &learned, &away);
    let place = |Detour { to, by }: Detour| format!("{to}: {}", by.join(", "));
    (down.join(", "), detours.into_iter().map(place).collect())
}

#[test]
fn vpn_30_without_an_instance_its_tunnels_are_down() {
    let (two, active) = ("two-links.yaml", "active-active.yaml");
    for (file, away, also, down, places) in [
        (two, &["hub-gw"][..], &[][..], "hub-fibre, hub-radio", &["dc: "][..]),
        (active, &["hub-gw"], &[], "hub-dc1, hub-dc2", &["dc1: hub-dc1#2", "dc2: hub-dc2#2"]),
        (active, &["hub-gw#2"], &[], "hub-dc1#2, hub-dc2#2", &["dc1: hub-dc1", "dc2: hub-dc2"]),
        // What was away before is not told again, and no way.
        (active, &["hub-gw"], &["hub-gw#2"], "hub-dc1, hub-dc2", &["dc1: ", "dc2: "]),
        (active, &["hub-gw", "hub-gw#2"], &[], "hub-dc1, hub-dc1#2, hub-dc2, hub-dc2#2", &["dc1: ", "dc2: "]),
        (active, &["nothing"], &[], "", &[]),
    ] {
        let places = places.iter().map(|place| (*place).to_owned()).collect();
        assert_eq!(told(file, away, also), (down.to_owned(), places), "{file} {away:?} {also:?}");
    }
}

/// A circuit's connection is up while one of its links is.
#[test]
fn er_02_flows_move_to_the_other_link() {
    for (away, also, down, place) in [
        (&["c-primary"][..], &[][..], "c-primary", "dc: c-secondary"),
        (&["c-primary"], &["c-secondary"], "hub-c, c-primary", "dc: "),
        (&["c-primary", "c-secondary"], &[], "hub-c, c-primary, c-secondary", "dc: "),
        (&["vpn"], &[], "hub-branch", "branch: hub-branch#2"),
        (&["er"], &[], "hub-c", "dc: "),
    ] {
        let told = told("branch-to-branch.yaml", away, also);
        assert_eq!(told, (down.to_owned(), vec![place.to_owned()]), "{away:?} {also:?}");
    }
}

/// VPN-33: a client goes over to another instance where there is one.
#[test]
fn vpn_33_clients_go_over_to_another_instance() {
    let all = "hub-dc, hub-gw-laptop, hub-gw-tablet, hub-gw-kiosk";
    let places = ["dc: ", "laptop: ", "tablet: ", "kiosk: "].map(str::to_owned).to_vec();
    assert_eq!(told("point-to-site.yaml", &["hub-gw"], &[]), (all.to_owned(), places));
}
