//! What is told of links that a file alone does not repair, and of verbs that are refused: each whole text.

use super::*;

fn running(files: &[&[&str]]) -> Network {
    apply(files).unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn peer_18_old_ranges_are_told_from_the_side_that_has_them() {
    let grown = "a 10.1.0.0/16 10.9.0.0/16 > b";
    let old = |link: &str, level: &str, remote: &str| {
        format!(
            "peering {link} is {level}: it routes the ranges that {remote} had before; `vnet peering sync {link}` brings it up to date"
        )
    };
    let network = running(&[&[A_B, B_A], &[grown, B_A]]);
    assert_eq!(change::warnings(&network), [old("b/b-a", "RemoteNotInSync", "a")]);
    assert_eq!(change::left_behind(&network), [""; 0], "a sync of all brings it up to date");
    let both = running(&[&[A_B, B_A], &[grown, "b 10.2.0.0/16 10.8.0.0/16 > a"]]);
    let level = "LocalAndRemoteNotInSync";
    assert_eq!(change::warnings(&both), [old("a/a-b", level, "b"), old("b/b-a", level, "a")]);
    assert_eq!(change::warnings(&change::sync(&both, None).unwrap()), [""; 0]);
    assert_eq!(change::warnings(&running(&[&[A_B, B_A]])), [""; 0]);
}

#[test]
fn peer_44_the_link_that_azure_keeps_is_told_by_the_name_of_the_other() {
    let classic = "c! 10.3.0.0/16";
    let network = running(&[&["a 10.1.0.0/16 > c", classic], &["a 10.1.0.0/16 10.9.0.0/16 > c", classic]]);
    let text = "peering a/a-c is not in sync; `vnet peering sync a/a-c` brings it up to date";
    assert_eq!(change::warnings(&network), [text]);
    assert_eq!(change::warnings(&change::sync(&network, Some("a-c")).unwrap()), [""; 0]);
    // Once the other side was made anew, it is told once, as a link without it.
    let anew = running(&[&["a 10.1.0.0/16 > c", classic], &["a 10.1.0.0/16 > c", "c@northeurope! 10.3.0.0/16"]]);
    let [text] = &change::warnings(&anew)[..] else { panic!("{:?}", change::warnings(&anew)) };
    assert!(text.starts_with("peering a/a-c is Disconnected: its other side in c was deleted; "), "{text}");
}

#[test]
fn peer_03_a_link_alone_is_told_with_both_ways_out() {
    let half = running(&[&[A_B, B_A], &[A_B, B]]);
    let text = "peering a/a-b is Disconnected: its other side in b was deleted; `vnet peering sync a/a-b`, then apply a file with \
                both links, or `vnet peering rm a/a-b`, then apply a file with neither (PEER-03)";
    assert_eq!(change::warnings(&half), [text]);
    assert_eq!(change::left_behind(&half), [text]);
    assert_eq!(change::left_to_sync(&half, "a-b"), None);
    assert_eq!(change::warnings(&change::remove_peering(&half, "a/a-b").unwrap()), [""; 0]);
}

#[test]
fn verbs_name_what_is_not_there_and_what_is() {
    let network = running(&[&[A_B, B_A]]);
    for refused in [change::sync(&network, Some("none")), change::remove_peering(&network, "none")] {
        let refusal = refused.unwrap_err();
        assert!(refusal.message.contains("`none`") && refusal.message.contains("a/a-b"), "{refusal:?}");
    }
    let removed = change::remove_peering(&network, "A-B").unwrap();
    assert!(removed.find_link("a-b").is_err() && stand(&removed, "b-a").0 == Disconnected);
}
