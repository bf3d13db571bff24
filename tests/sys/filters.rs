//! Packet filter rules: those that are made, and those that are counted.

use std::fs;

use vnet::sys::nftables::{self, TABLE};
use vnet::sys::packet_filter::{Hook, Rules, rules};

use super::{inside, run};

fn nft(text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text.replace("; }", ";\n}").replace("} }", "}\n}")).unwrap();
    run(&format!("nft -f {}", file.path().display()));
}

/// What is there, in an order of its own.
fn counted(known: Option<&str>) -> Vec<(bool, bool, Vec<Hook>, usize)> {
    let all = rules(known).unwrap().into_iter();
    let mut all: Vec<_> = all.map(|Rules { ipv4, ipv6, hooks, count }| (ipv4, ipv6, hooks, count)).collect();
    all.sort();
    all
}

#[test]
fn a_masquerade_spares_what_it_is_told_to_and_goes_again() {
    inside(|_| {
        let listed = || run("nft list ruleset");
        let ranges = ["10.0.0.0/8", "192.168.4.0/22", "fd00::/8"].map(|range| range.parse().unwrap());
        nftables::set_masquerade(Some(&ranges)).unwrap();
        let text = listed();
        for line in [
            "table inet vnet {",
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip daddr 10.0.0.0/8 accept",
            "ip daddr 192.168.4.0/22 accept",
            "ip6 daddr fd00::/8 accept",
            "masquerade",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let rules: Vec<_> = text.lines().filter(|line| line.contains("accept") || line.contains("masq")).collect();
        assert!(
            rules.len() == 5 && rules[4].trim().starts_with("iif != ") && rules[4].ends_with("masquerade"),
            "{text}"
        );
        nftables::set_masquerade(Some(&[])).unwrap();
        assert_eq!(listed().matches("daddr").count(), 0, "in place of the rules before");
        // A user's own table stays.
        nft("table inet own { chain c { type filter hook input priority 0; tcp dport 80 accept; } }");
        nftables::set_masquerade_from("eth7", true).unwrap();
        let text = listed();
        assert!(text.contains("table inet eth7 {") && text.contains("iifname \"eth7\" masquerade"), "{text}");
        assert_eq!(counted(Some(TABLE)).len(), 2, "but for the one that is known");
        nftables::set_masquerade_from("eth7", false).unwrap();
        nftables::set_masquerade(None).unwrap();
        nftables::set_masquerade(None).unwrap();
        assert!(listed().starts_with("table inet own {") && listed().matches("table ").count() == 1, "{}", listed());
    });
}

#[test]
fn rules_are_counted_where_a_packet_meets_them() {
    inside(|_| {
        assert_eq!(counted(None), []);
        nft("
table inet t {
    chain in { type filter hook input priority 0; policy accept; tcp dport 80 jump web; tcp dport 81 drop; }
    chain on { type filter hook forward priority 0; policy drop; jump web; }
    chain pre { type filter hook prerouting priority 0; }
    chain web { counter; jump deep; }
    chain deep { counter; counter; }
    chain unused { counter; }
}
table ip four {
    map m { type inet_service : verdict; elements = { 80 : jump here } }
    chain out { type filter hook output priority 0; tcp dport vmap @m; }
    chain here { counter; }
    chain also { counter; counter; }
}
table ip6 six { chain post { type filter hook postrouting priority 0; policy drop; } }
table arp a { chain in { type filter hook input priority 0; counter; } }
");
        let (input, forward, output, post) = (Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting);
        let mut expected = vec![
            (true, true, vec![input], 2),
            (true, true, vec![forward], 2),
            (true, true, vec![input, forward], 2),
            (true, true, vec![input, forward], 2),
            (true, false, vec![output], 1),
            (true, false, vec![output], 1),
            (true, false, vec![output], 2),
            (false, true, vec![post], 1),
        ];
        expected.sort();
        assert_eq!(counted(None), expected);
        assert_eq!(counted(Some("t")).len(), 4);
        assert_eq!(counted(Some("four")).len(), 8, "of both families alone");
    });
}

#[test]
fn rules_of_devices_and_of_the_older_tables_count() {
    inside(|_| {
        nft("table netdev n { chain i { type filter hook ingress device lo priority 0; counter; } }");
        assert_eq!(counted(None), [(true, true, vec![Hook::Prerouting], 1)]);
        nft("delete table netdev n");
        if std::process::Command::new("iptables-legacy").arg("-L").output().is_ok_and(|output| output.status.success())
        {
            assert_eq!(counted(None), [], "an empty table of theirs");
            for line in [
                "iptables-legacy -A INPUT -p tcp --dport 80 -j ACCEPT",
                "iptables-legacy -P FORWARD DROP",
                "iptables-legacy -N own",
                "iptables-legacy -A own -j DROP",
                "iptables-legacy -A own -j ACCEPT",
                "iptables-legacy -A OUTPUT -j own",
                "iptables-legacy -t nat -A POSTROUTING -j ACCEPT",
                "ip6tables-legacy -A INPUT -j DROP",
                "ip6tables-legacy -A INPUT -j ACCEPT",
            ] {
                run(line);
            }
            let mut expected = vec![
                (true, false, vec![Hook::Input], 1),
                (true, false, vec![Hook::Forward], 1),
                (true, false, vec![Hook::Output], 3),
                (true, false, vec![Hook::Postrouting], 1),
                (false, true, vec![Hook::Input], 2),
            ];
            expected.sort();
            assert_eq!(counted(None), expected);
        }
    });
}
