//! The life of peering links, step by step: a file, another file, a verb, and how the links then stand.

mod deleted;
mod warnings;

use PeeringState::{Connected, Disconnected, Initiated};
use SyncLevel::{FullyInSync, LocalAndRemoteNotInSync, LocalNotInSync, RemoteNotInSync};
use vnet::compile::compile;
use vnet::daemon::change;
use vnet::model::{Existing, Learned, Links, Network, PeeringError, PeeringState, SubnetIx, SyncLevel, VnetIx};
use vnet::{analysis, config};

/// A topology in one line a VNet: `name[@location][!] ranges > remote[+property=value] ...`; `!` is a classic one; a link
/// from a to b is called `a-b`.
fn file(vnets: &[&str]) -> Network {
    try_file(vnets).unwrap_or_else(|errors| panic!("{errors}"))
}

fn try_file(vnets: &[&str]) -> Result<Network, config::Errors> {
    let text: String = vnets.iter().map(|line| vnet(line)).collect();
    config::load(&format!("name: p\nvirtualNetworks:\n{text}"), "p.yaml").map(|loaded| loaded.network)
}

fn vnet(line: &str) -> String {
    let (head, links) = line.split_once('>').unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let name = words.next().unwrap();
    let (name, model) = name.strip_suffix('!').map_or((name, "resourceManager"), |name| (name, "classic"));
    let (name, location) = name.split_once('@').unwrap_or((name, "westeurope"));
    let ranges: Vec<_> = words.collect();
    let links = links.split_whitespace().map(|link| {
        let (remote, property) = link.split_once('+').unwrap_or((link, "allowForwardedTraffic=false"));
        let property = property.replace('=', ": ");
        format!("{{name: {name}-{remote}, remoteVirtualNetwork: {remote}, {property}}}")
    });
    let links: Vec<_> = links.collect();
    let subnets: Vec<_> =
        ranges.iter().enumerate().map(|(i, range)| format!("{{name: s{i}, addressPrefix: {range}}}")).collect();
    format!(
        "  - {{name: {name}, location: {location}, deploymentModel: {model}, addressSpace: [{}], subnets: [{}], virtualNetworkPeerings: [{}]}}\n",
        ranges.join(", "),
        subnets.join(", "),
        links.join(", ")
    )
}

/// Applies the files one after another to a network that began with the first.
fn apply(files: &[&[&str]]) -> Result<Network, Vec<PeeringError>> {
    let mut files = files.iter().map(|vnets| file(vnets));
    let first = Links::default().advance(files.next().unwrap())?;
    files.try_fold(first, |network, next| Links::of(&network).advance(next))
}

fn stand(network: &Network, link: &str) -> (PeeringState, SyncLevel) {
    let at = network.find_link(link).unwrap();
    (network.link(at).state, network.sync_level(at))
}

/// The prefixes that a VNet's first subnet has peering routes for.
fn peering_routes(network: &Network, vnet: usize) -> Vec<String> {
    let compiled = compile(network, &Learned::default(), 1);
    let routes = compiled.effective_routes(SubnetIx { vnet: VnetIx(vnet), subnet: 0 }).iter();
    let peering = routes.filter(|route| route.next_hop_type.to_string() == "VNetPeering");
    peering.map(|route| route.prefixes.to_string()).collect()
}

const A: &str = "a 10.1.0.0/16";
const B: &str = "b 10.2.0.0/16";
const A_B: &str = "a 10.1.0.0/16 > b";
const B_A: &str = "b 10.2.0.0/16 > a";

#[test]
fn peer_02_the_second_link_connects_both() {
    let network = apply(&[&[A, B], &[A_B, B]]).unwrap();
    assert_eq!(stand(&network, "a-b"), (Initiated, FullyInSync));
    assert_eq!(peering_routes(&network, 0), Vec::<String>::new(), "SYS-09: no route before both are Connected");

    let network = apply(&[&[A, B], &[A_B, B], &[A_B, B_A]]).unwrap();
    assert_eq!(stand(&network, "a-b"), (Connected, FullyInSync));
    assert_eq!(stand(&network, "b-a"), (Connected, FullyInSync));
    assert_eq!(peering_routes(&network, 0), ["10.2.0.0/16"]);
}

#[test]
fn peer_01_both_links_in_one_step() {
    let network = apply(&[&[A, B], &[A_B, B_A]]).unwrap();
    assert_eq!(stand(&network, "a/a-b"), (Connected, FullyInSync));
    assert_eq!(stand(&network, "b/b-a"), (Connected, FullyInSync));
}

#[test]
fn cs_04_a_half_deleted_peering() {
    let half: &[&[&str]] = &[&[A_B, B_A], &[A, B_A]];
    let network = apply(half).unwrap();
    assert_eq!(stand(&network, "b-a").0, Disconnected);
    assert_eq!(peering_routes(&network, 1), Vec::<String>::new(), "SYS-09");

    // Nothing but the deleted link again: refused, however often.
    let errors = apply(&[half, &[&[A_B, B_A]]].concat()).unwrap_err();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(
        error.to_string(),
        "RemotePeeringIsDisconnected: Cannot create or update peering a/a-b because remote peering b/b-a referencing \
         parent virtual network a is in Disconnected state. Update or re-create the remote peering to get it back to \
         Initiated state. Peering gets Disconnected when remote vnet or remote peering is deleted and re-created"
    );
    assert!(error.help().contains("vnet peering rm b/b-a"), "{}", error.help());

    // Delete the other as well, and create both.
    let network = apply(&[half, &[&[A, B], &[A_B, B_A]]].concat()).unwrap();
    assert_eq!([stand(&network, "a-b").0, stand(&network, "b-a").0], [Connected, Connected]);
}

#[test]
fn peer_03_the_ways_out_of_half_a_peering() {
    let half = || apply(&[&[A_B, B_A], &[A, B_A]]).unwrap();
    let connected = |network: Network, next: &[&str]| {
        let network = Links::of(&network).advance(file(next)).unwrap();
        assert_eq!([stand(&network, "a-b").0, stand(&network, "b-a").0], [Connected, Connected]);
    };
    // By verb: remove what is left and create both.
    let mut network = half();
    network.remove_link(network.find_link("b/b-a").unwrap());
    connected(network, &[A_B, B_A]);
    // By verb: put what is left again, which makes it Initiated, and create the other.
    let mut network = half();
    network.sync_link(network.find_link("b-a").unwrap()).unwrap();
    assert_eq!(stand(&network, "b-a").0, Initiated);
    connected(network, &[A_B, B_A]);
    // By file: an update of what is left is a put too, alone or in the same step.
    let changed = "b 10.2.0.0/16 > a+allowForwardedTraffic=true";
    let network = Links::of(&half()).advance(file(&[A, changed])).unwrap();
    assert_eq!(stand(&network, "b-a").0, Initiated);
    connected(network, &[A_B, changed]);
    connected(half(), &[A_B, changed]);
    // A file that says the same again is no put.
    let network = Links::of(&half()).advance(file(&[A, B_A])).unwrap();
    assert_eq!(stand(&network, "b-a").0, Disconnected);
}

#[test]
fn peer_03_removing_by_verb_leaves_the_other_side_behind() {
    let mut network = apply(&[&[A_B, B_A]]).unwrap();
    network.remove_link(network.find_link("a-b").unwrap());
    assert_eq!(stand(&network, "b-a").0, Disconnected);
    assert!(network.find_link("a-b").is_err());
    assert!(Links::of(&network).advance(file(&[A_B, B_A])).is_err());
}

#[test]
fn peer_03_a_renamed_link_is_another_link() {
    let mut next = file(&[A_B, B_A]);
    next.virtual_networks[0].peerings[0].name = "other".into();
    let errors = Links::of(&apply(&[&[A_B, B_A]]).unwrap()).advance(next).unwrap_err();
    assert!(matches!(&errors[..], [PeeringError::RemotePeeringIsDisconnected { link, .. }] if link == "a/other"));
}

#[test]
fn peer_04_a_vnet_made_anew_leaves_the_remote_link_behind() {
    // A VNet cannot move between regions: it is deleted and created, and its links with it.
    let moved = "b@northeurope 10.2.0.0/16";
    let network = apply(&[&[A_B, B_A], &[A_B, moved]]).unwrap();
    assert_eq!(stand(&network, "a-b").0, Disconnected);
    let errors = apply(&[&[A_B, B_A], &[A_B, "b@northeurope 10.2.0.0/16 > a"]]).unwrap_err();
    assert!(matches!(&errors[..], [PeeringError::RemotePeeringIsDisconnected { link, .. }] if link == "b/b-a"));
    // A link that was waiting has lost its remote as well.
    let network = apply(&[&[A_B, B], &[A_B, moved]]).unwrap();
    assert_eq!(stand(&network, "a-b").0, Disconnected);
}

#[test]
fn cs_05_overlapping_vnets_cannot_be_peered() {
    let errors = try_file(&[A_B, "b 10.1.128.0/17 > a"]).unwrap_err();
    let [error] = &errors.0[..] else { panic!("{errors}") };
    assert_eq!(error.code, Some("VnetAddressSpacesOverlap"));
    assert_eq!(
        error.message,
        "Cannot create or update peering a/a-b. Virtual networks a and b cannot be peered because their address spaces \
         overlap. Overlapping address prefixes: 10.1.0.0/16, 10.1.128.0/17"
    );
}

#[test]
fn cs_06_overlapping_spokes_cannot_share_a_hub() {
    let hub = |links: &str| format!("h 10.0.0.0/16 > {links}");
    let (s1, s2) = ("s1 10.5.0.0/16 > h", "s2 10.5.0.0/16 > h");
    let network = apply(&[&[&hub(""), "s1 10.5.0.0/16", "s2 10.5.0.0/16"], &[&hub("s1"), s1, "s2 10.5.0.0/16"]]);
    assert_eq!(stand(&network.unwrap(), "h-s1").0, Connected);
    let errors = try_file(&[&hub("s1 s2"), s1, s2]).unwrap_err();
    let codes: Vec<_> = errors.0.iter().filter_map(|error| error.code).collect();
    assert_eq!(codes, ["VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"]);
}

#[test]
fn cs_07_address_changes_wait_for_a_sync() {
    let grown = "a 10.1.0.0/16 10.9.0.0/16 > b";
    let mut network = apply(&[&[A_B, B_A], &[grown, B_A]]).unwrap();
    assert_eq!(stand(&network, "a-b"), (Connected, LocalNotInSync), "PEER-16");
    assert_eq!(stand(&network, "b-a"), (Connected, RemoteNotInSync), "PEER-16");
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16"], "PEER-18: the old ranges only");

    network.sync_link(network.find_link("b-a").unwrap()).unwrap();
    assert_eq!(stand(&network, "a-b"), (Connected, FullyInSync), "PEER-17");
    assert_eq!(stand(&network, "b-a"), (Connected, FullyInSync), "PEER-17");
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16", "10.9.0.0/16"]);
}

#[test]
fn peer_16_both_sides_changed() {
    let (a, b) = ("a 10.1.0.0/16 10.9.0.0/16 > b", "b 10.2.0.0/16 10.8.0.0/16 > a");
    let mut network = apply(&[&[A_B, B_A], &[a, b]]).unwrap();
    for link in ["a-b", "b-a"] {
        assert_eq!(stand(&network, link), (Connected, LocalAndRemoteNotInSync));
    }
    // A sync copies what its own link shall see; the other side's waits for its own (PEER-17).
    network.sync_link(network.find_link("a-b").unwrap()).unwrap();
    assert_eq!(stand(&network, "a-b"), (Connected, LocalNotInSync));
    assert_eq!(stand(&network, "b-a"), (Connected, RemoteNotInSync));
    assert_eq!(peering_routes(&network, 0), ["10.2.0.0/16", "10.8.0.0/16"]);
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16"]);
    network.sync_link(network.find_link("b-a").unwrap()).unwrap();
    for link in ["a-b", "b-a"] {
        assert_eq!(stand(&network, link), (Connected, FullyInSync));
    }
}

#[test]
fn peer_17_a_sync_from_the_side_that_changed_copies_nothing() {
    let grown = "a 10.1.0.0/16 10.9.0.0/16 > b";
    let before = apply(&[&[A_B, B_A], &[grown, B_A]]).unwrap();
    let synced = change::sync(&before, Some("a-b")).unwrap();
    assert_eq!(synced, before);
    let left = change::left_to_sync(&synced, "a-b").unwrap();
    assert!(left.contains("peering b/b-a is RemoteNotInSync") && left.contains("vnet peering sync b/b-a"), "{left}");
    let synced = change::sync(&before, Some("b-a")).unwrap();
    assert_eq!(stand(&synced, "b-a").1, FullyInSync);
    assert_eq!(change::left_to_sync(&synced, "b-a"), None);
    // A classic network's side is Azure's own: it has no sync of its own: it is synced with the other side.
    let (classic, grown) = ("c! 10.3.0.0/16", "a 10.1.0.0/16 10.9.0.0/16 > c");
    let before = apply(&[&["a 10.1.0.0/16 > c", classic], &[grown, classic]]).unwrap();
    assert_eq!(change::left_to_sync(&before, "a-c"), None);
}

#[test]
fn peer_19_removing_and_resizing_need_a_sync_too() {
    for after in ["a 10.1.0.0/17 > b", "a 10.1.0.0/16 > b", "a 10.1.0.0/15 10.9.0.0/16 > b"] {
        let before = "a 10.1.0.0/16 10.9.0.0/16 > b";
        let mut network =
            apply(&[&[before, B_A], &[after.replace("10.1.0.0/15", "10.0.0.0/15").as_str(), B_A]]).unwrap();
        assert_eq!(stand(&network, "b-a").1, RemoteNotInSync, "{after}");
        assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16", "10.9.0.0/16"], "{after}: routes stay");
        network.sync_all_links();
        assert_eq!(stand(&network, "b-a").1, FullyInSync, "{after}");
    }
    // Changed back, nothing is left to sync.
    let network = apply(&[&[A_B, B_A], &["a 10.1.0.0/17 > b", B_A], &[A_B, B_A]]).unwrap();
    assert_eq!(stand(&network, "b-a").1, FullyInSync);
}

#[test]
fn peer_07_a_range_that_a_stale_view_still_has_is_refused() {
    let hub = |links: &str| format!("h 10.0.0.0/16 > {links}");
    let before: &[&str] = &[&hub("s1"), "s1 10.5.0.0/16 10.6.0.0/16 > h", "s2 10.7.0.0/16"];
    let shrunk: &[&str] = &[&hub("s1"), "s1 10.5.0.0/16 > h", "s2 10.7.0.0/16"];
    // s1 gave 10.6.0.0/16 up, but the hub was not synced and still routes it there.
    let taken: &[&str] = &[&hub("s1 s2"), "s1 10.5.0.0/16 > h", "s2 10.6.0.0/16 > h"];
    let errors = apply(&[before, shrunk, taken]).unwrap_err();
    let [error @ PeeringError::VnetAddressSpaceOverlapsWithAlreadyPeeredVnet { link, other, .. }] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!((link.as_str(), other.as_str()), ("h/h-s1", "s2"));
    assert!(error.to_string().contains("10.6.0.0/16") && error.help().contains("vnet peering sync h/h-s1"));
    // The way out.
    let mut network = apply(&[before, shrunk]).unwrap();
    network.sync_link(network.find_link("h-s1").unwrap()).unwrap();
    Links::of(&network).advance(file(taken)).unwrap();
}

#[test]
fn peer_07_a_sync_does_not_bring_two_equal_routes_either() {
    let hub = |links: &str| format!("h 10.0.0.0/16 > {links}");
    let before: &[&str] = &[&hub("s1 s2"), "s1 10.5.0.0/16 10.6.0.0/16 > h", "s2 10.7.0.0/16 > h"];
    let after: &[&str] = &[&hub("s1 s2"), "s1 10.5.0.0/16 > h", "s2 10.7.0.0/16 > h"];
    let network = apply(&[before, after]).unwrap();
    // s2 takes what s1 gave up. The hub has seen neither, so that its two views are apart still.
    let taken: &[&str] = &[&hub("s1 s2"), "s1 10.5.0.0/16 > h", "s2 10.6.0.0/16 10.7.0.0/16 > h"];
    let mut network = Links::of(&network).advance(file(taken)).unwrap();
    let s2 = network.find_link("h-s2").unwrap();
    assert!(matches!(
        network.clone().sync_link(s2),
        Err(PeeringError::VnetAddressSpaceOverlapsWithAlreadyPeeredVnet { .. })
    ));
    network.sync_link(network.find_link("h-s1").unwrap()).unwrap();
    network.sync_link(s2).unwrap();
    assert_eq!(peering_routes(&network, 0), ["10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16"]);
}

#[test]
fn peer_15_a_file_may_state_a_stale_view() {
    let stated = "b 10.2.0.0/16 > a+remoteAddressSpace=[10.1.0.0/17]";
    let network = apply(&[&[A_B, stated]]).unwrap();
    assert_eq!(stand(&network, "b-a"), (Connected, RemoteNotInSync));
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/17"]);
    // It says so again: nothing changes. It says so no more: the view stays until a sync.
    let network = apply(&[&[A_B, stated], &[A_B, stated], &[A_B, B_A]]).unwrap();
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/17"]);
    let network = apply(&[&[A_B, B_A], &[A_B, stated]]).unwrap();
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/17"]);
}

#[test]
fn peer_20_flags_change_without_a_change_of_state() {
    let flags = ["allowVirtualNetworkAccess=false", "allowForwardedTraffic=true", "allowGatewayTransit=true"];
    for flag in flags {
        let changed = format!("a 10.1.0.0/16 > b+{flag}");
        let network = apply(&[&[A_B, B_A], &[&changed, B_A]]).unwrap();
        assert_eq!([stand(&network, "a-b").0, stand(&network, "b-a").0], [Connected, Connected], "{flag}");
    }
}

/// A link that joins subnets, as this file's topologies write it; properties have no spaces.
fn joins(local: &str, remote: &str) -> String {
    format!("peerCompleteVnets=false,localSubnetNames=[{local}],remoteSubnetNames=[{remote}]")
}

#[test]
fn cs_28_peer_54_routes_are_those_of_the_peered_subnets() {
    let a = format!("a 10.1.1.0/24 10.1.2.0/24 > b+{}", joins("s0", "s0"));
    let b = format!("b 10.2.1.0/24 10.2.2.0/24 > a+{}", joins("s0", "s0"));
    let network = apply(&[&[&a, &b]]).unwrap();
    assert_eq!([stand(&network, "a-b"), stand(&network, "b-a")], [(Connected, FullyInSync); 2]);
    assert_eq!(peering_routes(&network, 0), ["10.2.1.0/24"]);
    // PEER-53: a subnet that takes no part has the route too.
    let compiled = compile(&network, &Learned::default(), 1);
    let other = compiled.effective_routes(SubnetIx { vnet: VnetIx(0), subnet: 1 });
    assert!(other.iter().any(|route| route.next_hop_type.to_string() == "VNetPeering"));
}

#[test]
fn peer_52_a_peering_keeps_its_type() {
    let (a, b) = ("a 10.1.0.0/16 > b", "b 10.2.0.0/16 > a");
    let subnets = joins("s0", "s0");
    let (a_s0, b_s0) = (format!("{a}+{subnets}"), format!("{b}+{subnets}"));
    for (before, after) in [([a, b], [a_s0.as_str(), &b_s0]), ([&a_s0, &b_s0], [a, b])] {
        let errors = apply(&[&before, &after]).unwrap_err();
        let [
            error @ PeeringError::TypeOfPeeringCannotChange { link, .. },
            PeeringError::TypeOfPeeringCannotChange { .. },
        ] = &errors[..]
        else {
            panic!("{errors:?}")
        };
        assert_eq!(link, "a/a-b");
        let help = error.help();
        assert!(help.contains("vnet peering rm a/a-b") && help.contains("vnet peering rm b/b-a"), "{help}");
        // The way out.
        let mut network = apply(&[&before]).unwrap();
        network.remove_link(network.find_link("a-b").unwrap());
        network.remove_link(network.find_link("b-a").unwrap());
        let network = Links::of(&network).advance(file(&after)).unwrap();
        assert_eq!([stand(&network, "a-b").0, stand(&network, "b-a").0], [Connected, Connected]);
    }
}

#[test]
fn peer_52_subnets_join_and_leave_by_an_update_of_the_links() {
    let a = |local: &str| format!("a 10.1.1.0/24 10.1.2.0/24 > b+{}", joins(local, "s0"));
    let b = |remote: &str| format!("b 10.2.1.0/24 > a+{}", joins("s0", remote));
    let network = apply(&[&[&a("s0"), &b("s0")], &[&a("s0,s1"), &b("s0,s1")]]).unwrap();
    assert_eq!([stand(&network, "a-b"), stand(&network, "b-a")], [(Connected, FullyInSync); 2]);
    assert_eq!(peering_routes(&network, 1), ["10.1.1.0/24", "10.1.2.0/24"]);
    let at = network.find_link("a-b").unwrap();
    assert_eq!(network.participants(at), Some(vec![0, 1]));
    // One link alone: a subnet takes part if both name it.
    let network = apply(&[&[&a("s0"), &b("s0")], &[&a("s0,s1"), &b("s0")]]).unwrap();
    assert_eq!(network.participants(network.find_link("a-b").unwrap()), Some(vec![0]));
    assert_eq!(peering_routes(&network, 1), ["10.1.1.0/24"]);
    let network = apply(&[&[&a("s0"), &b("s0")], &[&a("s0"), &b("s0,s1")]]).unwrap();
    assert_eq!(network.participants(network.find_link("a-b").unwrap()), Some(vec![0]));
    assert_eq!(peering_routes(&network, 1), ["10.1.1.0/24", "10.1.2.0/24"]);
    let network = apply(&[&[&a("s0,s1"), &b("s0,s1")], &[&a("s0"), &b("s0")]]).unwrap();
    assert_eq!(peering_routes(&network, 1), ["10.1.1.0/24"]);
}

/// PEER-15, PEER-16, PEER-18 for subnets: what counts is what the peered ones have.
#[test]
fn peer_18_a_peered_subnet_that_is_resized_waits_for_a_sync() {
    let b = format!("b 10.2.1.0/24 > a+{}", joins("s0", "s0"));
    let a = |ranges: &str| format!("a {ranges} > b+{}", joins("s0", "s0"));
    let mut network = apply(&[&[&a("10.1.0.0/24"), &b], &[&a("10.1.0.0/23"), &b]]).unwrap();
    assert_eq!(stand(&network, "a-b").1, LocalNotInSync);
    assert_eq!(stand(&network, "b-a").1, RemoteNotInSync);
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/24"]);
    let text = serde_json::to_string(&Links::of(&network)).unwrap();
    let links: Links = serde_json::from_str(&text).unwrap();
    assert_eq!(links.advance(file(&[&a("10.1.0.0/23"), &b])).unwrap(), network, "what is stored survives a restart");
    network.sync_link(network.find_link("b-a").unwrap()).unwrap();
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/23"]);
    // A range that no peered subnet has does not matter.
    let network = apply(&[&[&a("10.1.0.0/24"), &b], &[&a("10.1.0.0/24 10.9.0.0/24"), &b]]).unwrap();
    assert_eq!(stand(&network, "b-a").1, FullyInSync);
}

#[test]
fn links_survive_being_written_down() {
    let grown = "a 10.1.0.0/16 10.9.0.0/16 > b";
    let network = apply(&[&[A_B, B_A], &[grown, B_A]]).unwrap();
    let text = serde_json::to_string(&Links::of(&network)).unwrap();
    let links: Links = serde_json::from_str(&text).unwrap();
    assert_eq!(links, Links::of(&network));
    assert_eq!(links.advance(file(&[grown, B_A])).unwrap(), network);
}

/// One link is the whole of it: it is Connected at once, and nothing is left behind when it goes.
#[test]
fn peer_44_a_peering_with_a_classic_vnet_has_one_link() {
    let classic = "c! 10.3.0.0/16";
    let mut network = apply(&[&["a 10.1.0.0/16", classic], &["a 10.1.0.0/16 > c", classic]]).unwrap();
    assert_eq!(stand(&network, "a-c"), (Connected, FullyInSync));
    assert_eq!(peering_routes(&network, 0), ["10.3.0.0/16"]);
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16"], "the classic side has its route too");
    assert_eq!(analysis::peerings(&network).len(), 1, "Azure keeps the other side, and does not show it");
    assert!(network.find_link("c/a-c").is_err());

    network.remove_link(network.find_link("a-c").unwrap());
    assert_eq!([peering_routes(&network, 0), peering_routes(&network, 1)], [Vec::<String>::new(), Vec::new()]);
    let network = Links::of(&network).advance(file(&["a 10.1.0.0/16 > c", classic])).unwrap();
    assert_eq!(stand(&network, "a-c").0, Connected, "no half that would forbid it");
}

#[test]
fn peer_44_a_classic_vnet_sees_old_ranges_until_a_sync() {
    let grown = "a 10.1.0.0/16 10.9.0.0/16 > c";
    let mut network = apply(&[&["a 10.1.0.0/16 > c", "c! 10.3.0.0/16"], &[grown, "c! 10.3.0.0/16"]]).unwrap();
    assert_eq!(stand(&network, "a-c"), (Connected, LocalNotInSync));
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16"]);
    let text = serde_json::to_string(&Links::of(&network)).unwrap();
    let links: Links = serde_json::from_str(&text).unwrap();
    assert_eq!(links.advance(file(&[grown, "c! 10.3.0.0/16"])).unwrap(), network);
    network.sync_link(network.find_link("a-c").unwrap()).unwrap();
    assert_eq!(peering_routes(&network, 1), ["10.1.0.0/16", "10.9.0.0/16"]);
}

#[test]
fn peer_44_a_classic_vnet_made_anew_is_peered_by_another_put() {
    let (before, moved) = ("c! 10.3.0.0/16", "c@northeurope! 10.3.0.0/16");
    let mut network = apply(&[&["a 10.1.0.0/16 > c", before], &["a 10.1.0.0/16 > c", moved]]).unwrap();
    assert_eq!(stand(&network, "a-c").0, Disconnected);
    assert_eq!(peering_routes(&network, 1), Vec::<String>::new());
    network.sync_link(network.find_link("a-c").unwrap()).unwrap();
    assert_eq!(stand(&network, "a-c").0, Connected);
}

/// Every sequence of three files over every presence of the two links, against the rules as PEER-02 and 03 state them.
#[test]
fn every_sequence_of_presences_follows_the_rules() {
    let topology = |present: [bool; 2]| file(&[if present[0] { A_B } else { A }, if present[1] { B_A } else { B }]);
    let presences = [[false, false], [true, false], [false, true], [true, true]];
    for first in presences {
        for second in presences {
            for third in presences {
                let mut expected = [None, None];
                let mut network = Some(Links::default());
                for present in [first, second, third] {
                    let Some(links) = &network else { break };
                    let next = links.advance(topology(present)).ok();
                    expected = step(expected, present).unwrap_or([Some(Disconnected); 2]);
                    let refused = expected == [Some(Disconnected); 2];
                    assert_eq!(next.is_none(), refused, "{first:?} {second:?} {third:?}");
                    if let Some(next) = &next {
                        let state = |link| next.find_link(link).ok().map(|at| next.link(at).state);
                        assert_eq!([state("a-b"), state("b-a")], expected, "{first:?} {second:?} {third:?}");
                    }
                    network = next.as_ref().map(Links::of);
                }
            }
        }
    }
}

/// The rules, one link at a time: deletions first, then creations. None where Azure refuses.
fn step(mut links: [Option<PeeringState>; 2], present: [bool; 2]) -> Option<[Option<PeeringState>; 2]> {
    for side in 0..2 {
        if links[side].is_some() && !present[side] {
            links[side] = None;
            links[1 - side] = links[1 - side].map(|_| Disconnected);
        }
    }
    for side in 0..2 {
        if links[side].is_none() && present[side] {
            match links[1 - side] {
                None => links[side] = Some(Initiated),
                Some(Disconnected) => return None,
                Some(Initiated | Connected) => links = [Some(Connected); 2],
            }
        }
    }
    Some(links)
}
