//! Azure's rules, counted: each one that the fabric, addressing, routing, peering, security rules, VPN gateways, BGP, the ways
//! to the Internet, ExpressRoute, private clouds and route servers follow, and each limit, is named in a test.
//!
//! `rules.txt` has the ids, one a line; words behind an id say why no test can prove it yet. A test names a rule in its
//! own name, its file's, or a comment: `fn udr_12_..`, `udr-12-..yaml`, `rules: [UDR-12]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vnet::azure::families;

const LIST: &str = include_str!("rules.txt");
const FAMILIES: [&str; 23] = [
    "FAB", "ADR", "NIC", "SYS", "UDR", "RSEL", "CH", "PEER", "NSG", "TAG", "ASG", "ADM", "VPN", "BGP", "LB", "SNAT",
    "NAT", "PIP", "LIM", "ER", "GR", "AVS", "ARS",
];

#[test]
fn every_rule_is_named_in_a_test_or_says_why_not() {
    let (rules, named) = (rules(), named());
    let mut offences = Vec::new();
    for (id, reason) in &rules {
        match (reason.is_empty(), named.get(id)) {
            (true, None) => offences.push(format!("{id}: no test names it, and rules.txt does not say why")),
            (false, Some(file)) => offences.push(format!("{id}: rules.txt says `{reason}`, but {file} names it")),
            (true, Some(_)) | (false, None) => {}
        }
    }
    offences.extend(
        named
            .iter()
            .filter(|(id, _)| !rules.contains_key(*id))
            .map(|(id, file)| format!("{id}: there is no such rule, but {file} names it")),
    );
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn rules_are_listed_once_and_by_family() {
    let ids: Vec<_> = LIST.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "an id is listed twice");
    let mut families: Vec<_> = ids.iter().map(|id| id.split('-').next().unwrap_or_default()).collect();
    families.dedup();
    assert_eq!(families, FAMILIES);
}

/// Every rule that sources, tests, examples and documents cite can be read in `docs/rules`, and by `vnet rule`.
#[test]
fn every_cited_rule_is_defined() {
    let defined = defined();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut undefined = BTreeMap::new();
    let mut look = |path: &Path, text: &str| {
        for id in cited(text).filter(|id| !defined.contains(id)) {
            undefined.entry(id).or_insert_with(|| path.strip_prefix(root).unwrap_or(path).display().to_string());
        }
    };
    for folder in ["src", "tests", "config", "docs", "benches"] {
        visit(&root.join(folder), &mut look);
    }
    look(&root.join("README.md"), include_str!("../../README.md"));
    look(&root.join("CONTRIBUTING.md"), include_str!("../../CONTRIBUTING.md"));
    assert!(undefined.is_empty(), "no text in docs/rules for: {undefined:#?}");
}

/// The list above is that of the texts: none without a text, none of these families that is not listed.
#[test]
fn the_list_and_the_texts_have_the_same_rules() {
    let listed: BTreeSet<_> = rules().into_keys().collect();
    let of_these = |id: &String| FAMILIES.iter().any(|family| id.starts_with(&format!("{family}-")));
    let defined: BTreeSet<_> = defined().into_iter().filter(of_these).collect();
    assert_eq!(listed, defined);
}

/// What the text of a test names.
#[test]
fn ids_are_found_however_they_are_written() {
    let found = |text: &str| ids(text).collect::<Vec<_>>();
    assert_eq!(found("fn udr_12_unowned() // (SYS-06a, peer-03-by-verb.yaml)"), ["UDR-12", "SYS-06a", "PEER-03"]);
    assert_eq!(found("fn sys_06a_default() and sys_06_a"), ["SYS-06a", "SYS-06"]);
    assert_eq!(found("such-03 CH 03 UDR-1 UDR-123 UDR-12ab udr12 xch-03 CH-"), [""; 0]);
}

/// The ids with a text of their own.
fn defined() -> BTreeSet<String> {
    families().iter().flat_map(|family| &family.rules).map(|rule| rule.id.clone()).collect()
}

/// What reads as an id of any family: capitals, a hyphen, two digits, and perhaps a letter.
fn cited(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter_map(|word| {
        let (family, number) = word.split_once('-')?;
        let known = families().iter().any(|known| known.name == family);
        let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
        (known && digits.len() == 2 && digits.parse::<u8>().is_ok() && number.len() <= 3).then(|| word.to_owned())
    })
}

/// Each id, and the reason why no test names it.
fn rules() -> BTreeMap<String, String> {
    let split = |line: &'static str| line.split_once(' ').unwrap_or((line, ""));
    LIST.lines().map(split).map(|(id, reason)| (id.to_owned(), reason.to_owned())).collect()
}

/// The ids that tests name, each with a file that does.
fn named() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["tests", "src"] {
        visit(&root.join(folder), &mut |path, text| {
            let file = path.strip_prefix(root).expect("it is below the root").to_string_lossy().into_owned();
            // Of a source, what stands in its tests.
            let tests = match folder {
                "src" if !path.ends_with("tests.rs") => text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests),
                _ => text,
            };
            for id in ids(&file).chain(ids(tests)) {
                found.entry(id).or_insert_with(|| file.clone());
            }
        });
    }
    found
}

/// All sources and topologies below a folder but for this one.
fn visit(folder: &Path, each: &mut impl FnMut(&Path, &str)) {
    let entries = fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it can be read").path());
    for path in entries {
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "yaml" || kind == "md")
            && !path.ends_with("architecture/rules.rs")
        {
            each(&path, &fs::read_to_string(&path).expect("it is text"));
        }
    }
}

/// Ids of the families: two digits, and perhaps a letter.
fn ids(text: &str) -> impl Iterator<Item = String> + '_ {
    let id = |pair: &[&str]| {
        let family = FAMILIES.iter().find(|family| family.eq_ignore_ascii_case(pair[0]))?;
        let digits = pair[1].trim_end_matches(|c: char| c.is_ascii_lowercase());
        let is_number = digits.len() == 2 && digits.chars().all(|c| c.is_ascii_digit()) && pair[1].len() <= 3;
        is_number.then(|| format!("{family}-{}", pair[1]))
    };
    // `_` holds a name together as `-` does an id.
    let joined = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    joined.flat_map(move |words| {
        words.split(['-', '_']).collect::<Vec<_>>().windows(2).filter_map(id).collect::<Vec<_>>()
    })
}
