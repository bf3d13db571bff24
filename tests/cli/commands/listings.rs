//! Lists of one object alone: the rows that the whole list has of it, and no others.

use super::{json, run};

/// A list, the object that is asked for in another case, and where its rows name it.
const LISTS: [(&str, &str, &str, &str); 5] = [
    ("gateway connections", "GW-sea", "/virtualNetworkGateway", "config/three-sites.yaml"),
    ("lb", "WEB", "/loadBalancer", "config/load-balancer.yaml"),
    ("peering ls", "HUB", "/virtualNetwork/id", "config/hub-spoke.yaml"),
    ("bgp learned", "GW-sea", "/node", "config/three-sites.yaml"),
    ("bgp advertised", "GW-sea", "/node", "config/three-sites.yaml"),
];

#[test]
fn a_list_of_one_object_has_its_rows_alone() {
    for (list, object, place, file) in LISTS {
        let all = json(&format!("{list} -t {file}"));
        let all = all.as_array().unwrap();
        let names =
            |row: &serde_json::Value| row.pointer(place).unwrap().as_str().unwrap().eq_ignore_ascii_case(object);
        let wanted: Vec<_> = all.iter().filter(|row| names(row)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{list}: {all:?}");
        let of_one = json(&format!("{list} {object} -t {file}"));
        assert_eq!(of_one.as_array().unwrap(), &wanted, "{list}");
        let lines = run(&format!("{list} {object} -t {file} -o tsv")).stdout;
        assert_eq!(lines.lines().count(), wanted.len(), "{list}: {lines}");
    }
}

/// ER-01: what an ExpressRoute gateway has from its circuits is listed with what its routers learn.
#[test]
fn er_01_routes_of_circuits_are_listed_with_their_gateway() {
    for (asked, from_edges) in [("learned", 4), ("learned ER", 4), ("learned vpn", 0), ("learned --refused er", 0)] {
        let rows = json(&format!("bgp {asked} -t config/branch-to-branch.yaml"));
        let from_edge = |row: &&serde_json::Value| row["sourcePeer"].as_str().unwrap().starts_with("10.3.129.");
        let found: Vec<_> = rows.as_array().unwrap().iter().filter(from_edge).collect();
        assert!(found.iter().all(|row| row["node"] == "er"), "{asked}: {found:?}");
        assert_eq!(found.len(), from_edges, "{asked}: {rows:#}");
    }
}
