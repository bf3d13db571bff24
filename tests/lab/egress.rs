//! The Internet's way out through the host, which a namespace stands for here: made, recorded, and taken away whole.

use std::fs;
use std::process::Command;

use vnet::sys::netns::Netns;

use crate::kernel::says;
use crate::lab::{Lab, permitted, stderr, stdout};

fn topology(egress: &str) -> String {
    format!(
        "internet: {{addresses: [198.18.0.1]{egress}}}
virtualNetworks:
  - {{name: v, location: westeurope, addressSpace: [10.1.0.0/16], subnets: [{{name: s, addressPrefix: 10.1.1.0/24}}]}}
virtualMachines: [{{name: a, networkInterfaces: [{{subnet: v/s}}]}}]
"
    )
}

struct Host(Netns);

impl Host {
    fn new(forwards: &str) -> Self {
        let host = Netns::create().unwrap();
        host.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", forwards).unwrap()).unwrap();
        Self(host)
    }

    fn says(&self, program: &str, words: &[&str]) -> String {
        let output = self.0.run(|| Command::new(program).args(words).output().unwrap()).unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    fn forwards(&self) -> String {
        self.0.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned()).unwrap()
    }

    /// Devices that lead out of labs, and how many of them have rules.
    fn ways_out(&self) -> (Vec<String>, usize) {
        let links = self.says("ip", &["-o", "link"]);
        let names = links.lines().filter_map(|line| Some(line.split(':').nth(1)?.trim().split('@').next()?.to_owned()));
        let names: Vec<_> = names.filter(|name| name.starts_with("vnetout")).collect();
        let rules = self.says("nft", &["list", "ruleset"]);
        let with_rules = names.iter().filter(|name| rules.contains(name.as_str())).count();
        assert!(!rules.contains("vnetout") || with_rules > 0, "rules of a device that is gone: {rules}");
        (names, with_rules)
    }

    fn start(&self, lab: &Lab) {
        let output = self.0.run(|| lab.start()).unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn down(&self, lab: &Lab) {
        let output = self.0.run(|| lab.down()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn a_way_out_is_a_device_with_its_rules_and_goes_with_the_last_lab() {
    if !permitted() {
        return;
    }
    let out = topology(", egress: host");
    for found in ["0", "1"] {
        let host = Host::new(found);
        let (one, two) = (Lab::prepared(&out), Lab::prepared(&out));
        host.start(&one);
        let (names, ruled) = host.ways_out();
        assert_eq!((names.len(), ruled, host.forwards().as_str()), (1, 1, "1"));
        let digits = names[0].strip_prefix("vnetout").unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{names:?}");
        let outside = host.says("ip", &["-o", "-4", "address", "show", &names[0]]);
        let inside = says(&one, "internet", "ip -o -4 address show out0");
        let pair = |text: &str| {
            let (address, length) = text.split("inet ").nth(1).unwrap().split_once('/').unwrap();
            assert!(length.starts_with("30 "), "{text}");
            u32::from(address.parse::<std::net::Ipv4Addr>().unwrap())
        };
        assert_eq!(pair(&inside), pair(&outside) + 1);
        // In 169.254.240.0/20, away from clouds' metadata.
        assert_eq!((pair(&outside) >> 12, pair(&outside) % 4), (0xa_9fef, 1));
        assert!(says(&one, "internet", "ip route show table 100").starts_with("default via 169.254.2"));
        assert!(says(&one, "internet", "nft list ruleset").contains("masquerade"));
        assert_eq!(says(&one, "internet", "cat /proc/sys/net/ipv4/ip_forward"), "1\n");
        host.start(&two);
        assert_eq!(host.ways_out().0.len(), 2);
        host.down(&one);
        assert_eq!((host.ways_out().1, host.forwards().as_str()), (1, "1"), "the other needs it");
        host.down(&two);
        assert_eq!((host.ways_out(), host.forwards().as_str()), ((Vec::new(), 0), found), "as it was");
    }
}

#[test]
fn a_way_out_comes_and_goes_with_the_file_and_is_removed_after_a_crash() {
    if !permitted() {
        return;
    }
    let host = Host::new("0");
    let lab = Lab::prepared(&topology(""));
    host.start(&lab);
    assert_eq!((host.ways_out().0.len(), host.forwards().as_str()), (0, "0"));
    lab.apply(&topology(", egress: host"));
    assert_eq!((host.ways_out().1, host.forwards().as_str()), (1, "1"));
    lab.apply(&topology(", egress: host").replace("name: a,", "name: b,"));
    assert_eq!(host.ways_out().1, 1);
    lab.apply(&topology(""));
    assert_eq!((host.ways_out(), host.forwards().as_str()), ((Vec::new(), 0), "0"));
    lab.apply(&topology(", egress: host"));
    lab.crash();
    assert_eq!(host.forwards(), "1");
    host.down(&lab);
    assert_eq!((host.ways_out(), host.forwards().as_str()), ((Vec::new(), 0), "0"));
    assert!(lab.remains().is_empty());
}
