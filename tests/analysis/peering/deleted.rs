//! Links whose remote virtual network was deleted, and the fixes for them (PEER-03, PEER-04).

use std::time::Instant;

use super::*;

/// Applies a file as a running lab does: what stands decides which of its links may lead nowhere.
fn put(running: &Network, vnets: &[&str]) -> Result<Network, String> {
    let text: String = vnets.iter().map(|line| vnet(line)).collect();
    let text = format!("name: p\nvirtualNetworks:\n{text}");
    let loaded = config::load_with(&text, "p.yaml", &Existing::of(running), &config::no_files);
    let wanted = loaded.map_err(|errors| errors.to_string())?.network;
    change::apply(running, wanted, false).map_err(|refusal| refusal.message)
}

/// After its remote is deleted a link stays, Disconnected, and is listed as it was; a file that never had it errs.
#[test]
fn peer_04_a_deleted_virtual_network_leaves_the_remote_link_behind() {
    let linked = put(&file(&[A_B, B_A]), &[A_B, B_A]).unwrap();
    let left = put(&linked, &[A_B]).unwrap();
    let rows = analysis::peerings(&left);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.name.as_str(), row.remote_virtual_network.id.as_str()), ("a-b", "b"));
    assert_eq!(row.peering_state, Disconnected);
    assert_eq!(row.remote_address_space.address_prefixes, ["10.2.0.0/16".parse().unwrap()]);
    assert_eq!(peering_routes(&left, 0), Vec::<String>::new());
    assert!(change::warnings(&left).concat().contains("virtual network b was deleted"));
    // It stays so: applied again, after a restart, beside other changes.
    assert_eq!(put(&left, &[A_B]).unwrap(), left);
    let links: Links = serde_json::from_str(&serde_json::to_string(&Links::of(&left)).unwrap()).unwrap();
    assert_eq!(links, Links::of(&left));

    assert!(put(&file(&[A]), &[A_B]).unwrap_err().contains("there is no virtual network `b`"));
    let other = "a 10.1.0.0/16 > c";
    assert!(put(&linked, &[other]).unwrap_err().contains("there is no virtual network `c`"));
    // An update is a PUT, and a PUT with a link to no network is refused.
    let changed = "a 10.1.0.0/16 > b+allowForwardedTraffic=true";
    assert!(put(&left, &[changed]).unwrap_err().contains("there is no virtual network `b`"));
    // In another region the virtual network itself is another one.
    assert!(put(&linked, &["a@northeurope 10.1.0.0/16 > b"]).is_err());
}

#[test]
fn peer_04_a_virtual_network_made_anew_is_peered_by_another_put() {
    let left = put(&file(&[A_B, B_A]), &[A_B]).unwrap();
    let anew = put(&left, &[A_B, B]).unwrap();
    assert_eq!(stand(&anew, "a-b"), (Disconnected, FullyInSync), "the same name and range");
    assert_eq!(anew.lost_links, []);
    assert!(put(&left, &[A_B, B_A]).unwrap_err().contains("RemotePeeringIsDisconnected"), "PEER-03");
    // Written again: by verb, or by an update.
    let synced = change::sync(&anew, Some("a-b")).unwrap();
    assert_eq!(stand(&synced, "a-b").0, Initiated);
    let joined = put(&synced, &[A_B, B_A]).unwrap();
    assert_eq!([stand(&joined, "a-b").0, stand(&joined, "b-a").0], [Connected, Connected]);
    let changed = put(&anew, &["a 10.1.0.0/16 > b+allowForwardedTraffic=true", B]).unwrap();
    assert_eq!(stand(&changed, "a-b").0, Initiated);
    // With another range it has the old one in view.
    let moved = put(&left, &[A_B, "b 10.3.0.0/16"]).unwrap();
    assert_eq!(stand(&moved, "a-b"), (Disconnected, RemoteNotInSync));
}

#[test]
fn peer_04_a_link_left_behind_can_be_removed_and_not_synced() {
    let left = put(&file(&[A_B, B_A]), &[A_B]).unwrap();
    let refused = change::sync(&left, Some("a/a-b")).unwrap_err();
    assert!(refused.message.contains("there is no virtual network b"), "{}", refused.message);
    assert_eq!(analysis::peerings(&change::remove_peering(&left, "a-b").unwrap()), []);
    assert_eq!(analysis::peerings(&put(&left, &[A]).unwrap()), [], "or taken out of the file");
}

/// A fix names the place that the file has, which lists the lost link before.
#[test]
fn peer_04_paths_count_the_lost_link() {
    let text = |gone: &str| {
        let a = vnet("a 10.1.0.0/16 > b c+allowVirtualNetworkAccess=false");
        let c = vnet("c 10.3.0.0/16 > a");
        let machines = "virtualMachines: [{name: x, networkInterfaces: [{subnet: a/s0}]}, {name: y, networkInterfaces: [{subnet: c/s0}]}]";
        format!("name: p\nvirtualNetworks:\n{a}{c}{gone}{machines}\n")
    };
    let before = config::load(&text(&vnet(B_A)), "p.yaml").unwrap().network;
    let loaded = config::load_with(&text(""), "p.yaml", &Existing::of(&before), &config::no_files).unwrap();
    let network = change::apply(&before, loaded.network, false).unwrap();
    let query = analysis::parse_query("x", "y").unwrap();
    let answer =
        analysis::explain(&network, &compile(&network, &Learned::default(), 1), &query, Instant::now()).unwrap();
    assert_eq!(
        answer.fix.unwrap().changes[0].path,
        "virtualNetworks[0].virtualNetworkPeerings[1].allowVirtualNetworkAccess"
    );
}

/// Two virtual networks with a machine in each, as they stand after the files, one after another.
fn stood(files: &[&[&str]]) -> Network {
    let machine = |line: &&str| {
        let vnet = line.split_whitespace().next().unwrap();
        format!("{{name: in-{vnet}, networkInterfaces: [{{subnet: {vnet}/s0}}]}}")
    };
    files.iter().fold(file(files[0]), |network, vnets| {
        let machines: Vec<_> = vnets.iter().map(machine).collect();
        let text: String = vnets.iter().map(|line| vnet(line)).collect();
        let text = format!("name: p\nvirtualNetworks:\n{text}virtualMachines: [{}]\n", machines.join(", "));
        let loaded = config::load_with(&text, "p.yaml", &Existing::of(&network), &config::no_files).unwrap();
        change::apply(&network, loaded.network, false).unwrap()
    })
}

fn ask(network: &Network, source: &str, destination: &str) -> analysis::Explanation {
    let query = analysis::parse_query(source, destination).unwrap();
    analysis::explain(network, &compile(network, &Learned::default(), 1), &query, Instant::now()).unwrap()
}

/// `explain` names the link that is left from either side, and what it proposes works.
#[test]
fn peer_03_a_disconnected_link_is_the_cause_and_its_fix_works() {
    let half = stood(&[&[A_B, B_A], &[A, B_A]]);
    for (source, destination) in [("in-a", "in-b"), ("in-b", "in-a")] {
        let answer = ask(&half, source, destination);
        let cause = answer.cause.unwrap();
        assert!(cause.contains("peering b/b-a is Disconnected: its other side in VNet a was deleted"), "{cause}");
        let fix = answer.fix.unwrap();
        assert_eq!((fix.commands, fix.checked), (vec!["vnet peering sync b/b-a".to_owned()], true));
        let [change] = &fix.changes[..] else { panic!("{:?}", fix.changes) };
        assert_eq!(change.path, "virtualNetworks[0].virtualNetworkPeerings[0]");
        assert!(change.value.as_ref().unwrap().contains("remoteVirtualNetwork: b"), "{change:?}");
    }
    // As it says: the verb, then the link.
    let synced = change::sync(&half, Some("b/b-a")).unwrap();
    let joined = put(&synced, &[A_B, B_A]).unwrap();
    assert_eq!([stand(&joined, "a-b").0, stand(&joined, "b-a").0], [Connected, Connected]);
    assert!(put(&half, &[A_B, B_A]).unwrap_err().contains("RemotePeeringIsDisconnected"), "without the verb");
}

#[test]
fn peer_04_the_link_to_a_deleted_network_is_the_cause_and_its_fix_works() {
    let left = stood(&[&[A_B, B_A], &[A_B]]);
    let answer = ask(&left, "in-a", "10.2.0.4");
    let cause = answer.cause.unwrap();
    assert!(cause.contains("10.2.0.4 was in VNet b") && cause.contains("a/a-b is Disconnected"), "{cause}");
    assert_eq!(answer.fix.unwrap().commands, ["vnet peering rm a/a-b"]);
    let other = ask(&left, "in-a", "10.3.0.4").cause.unwrap();
    assert!(!other.contains("Disconnected"), "{other}");

    let removed = change::remove_peering(&left, "a/a-b").unwrap();
    let anew = put(&removed, &[A_B, B_A]).unwrap();
    assert_eq!([stand(&anew, "a-b").0, stand(&anew, "b-a").0], [Connected, Connected]);
    assert_eq!(analysis::peerings(&put(&removed, &[A]).unwrap()), []);
}

/// PEER-04: a link that a fix adds stands in the file behind those that are there, the ones that lead nowhere too.
#[test]
fn peer_04_a_new_link_stands_behind_those_that_are_left() {
    let c = "c 10.3.0.0/16";
    let left = stood(&[&[A_B, B_A, c], &[A_B, c]]);
    let fix = ask(&left, "in-a", "in-c").fix.unwrap();
    let changes: Vec<_> = fix.changes.iter().map(|one| (one.path.as_str(), one.value.as_deref().unwrap())).collect();
    let expected = [
        ("virtualNetworks[0].virtualNetworkPeerings[1]", "{name: a-c, remoteVirtualNetwork: c}"),
        ("virtualNetworks[1].virtualNetworkPeerings[0]", "{name: c-a, remoteVirtualNetwork: a}"),
    ];
    assert_eq!(changes, expected);
    assert!(fix.checked);
}

/// A sync of all leaves Disconnected links as they are, and says so of each.
#[test]
fn peer_03_a_sync_of_all_names_the_links_that_it_leaves() {
    let half = stood(&[&[A_B, B_A], &[A, B_A]]);
    assert_eq!(change::sync(&half, None).unwrap(), half);
    let [left] = &change::left_behind(&half)[..] else { panic!("one link") };
    assert!(left.contains("b/b-a is Disconnected") && left.contains("vnet peering sync b/b-a"), "{left}");
    let gone = stood(&[&[A_B, B_A], &[A_B]]);
    let [left] = &change::left_behind(&gone)[..] else { panic!("one link") };
    assert!(left.contains("a/a-b is Disconnected") && left.contains("vnet peering rm a/a-b"), "{left}");
    assert_eq!(change::left_behind(&file(&[A_B, B_A])), Vec::<String>::new());
}
