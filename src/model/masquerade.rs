//! A guest that puts its own address in place of the source of what it forwards.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// For which destinations it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masquerade {
    #[default]
    Off,
    /// For those beyond [`PRIVATE_RANGES`].
    Internet,
    All,
}

/// The destinations that Azure Firewall does not translate for by default: RFC 1918, RFC 6598, and in IPv6 RFC 4193.
pub const PRIVATE_RANGES: [IpNet; 5] = [
    ipv4([10, 0, 0, 0], 8),
    ipv4([172, 16, 0, 0], 12),
    ipv4([192, 168, 0, 0], 16),
    ipv4([100, 64, 0, 0], 10),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
];

const fn ipv4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

impl Masquerade {
    /// Destinations that are left alone; none where nothing is masqueraded.
    pub const fn spared(self) -> Option<&'static [IpNet]> {
        match self {
            Self::Off => None,
            Self::Internet => Some(&PRIVATE_RANGES),
            Self::All => Some(&[]),
        }
    }

    pub fn covers(self, destination: IpAddr) -> bool {
        self.spared().is_some_and(|spared| !spared.iter().any(|range| range.contains(&destination)))
    }
}

/// As a file has it.
impl fmt::Display for Masquerade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "false",
            Self::Internet => "true",
            Self::All => "all",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_private_leaves_for_the_internet() {
        let covers = |address: &str| Masquerade::Internet.covers(address.parse().expect("an address"));
        for private in
            ["10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.9.9", "fd00::1"]
        {
            assert!(!covers(private), "{private}");
        }
        for public in [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.0.1",
            "172.32.0.0",
            "192.167.9.9",
            "100.63.0.1",
            "100.128.0.0",
            "198.18.0.1",
            "2001:db8::1",
        ] {
            assert!(covers(public), "{public}");
        }
        let private = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        assert!(Masquerade::All.covers(private) && !Masquerade::Off.covers(private));
    }
}
